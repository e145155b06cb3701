/* One client's conversation: see the header. */
#include "store/session.h"

#include <stddef.h>
#include <string.h>
#include <sys/random.h>

/* With more than this to be sent the client has to read first. */
enum { OUT_LIMIT = 1 << 20 };

pa_status
pa_store_init(pa_store *store, pa_bytes secret, pa_error *error)
{
    if (secret.nbytes > PA_STORE_SECRET_MAX) {
        return pa_error_set(error, PA_EARGUMENT,
                            "the secret has %zu bytes: at most %d are possible",
                            secret.nbytes, PA_STORE_SECRET_MAX);
    }
    *store = (pa_store){0};
    uint64_t seed = 0;
    /* Without it keys are merely easier to make collide. */
    (void)!getrandom(&seed, sizeof seed, GRND_NONBLOCK);
    pa_bytes reserved = {PA_STORE_RESERVED, strlen(PA_STORE_RESERVED)};
    if (secret.nbytes == 0) {
        reserved.nbytes = 0;
    } else {
        memcpy(store->secret, secret.data, secret.nbytes);
    }
    store->nsecret = secret.nbytes;
    store->table = pa_table_create(reserved, seed);
    if (store->table == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for the store");
    }
    return PA_OK;
}

void
pa_store_fini(pa_store *store)
{
    pa_table_destroy(store->table);
    *store = (pa_store){0};
}

void
pa_session_init(pa_session *session, pa_store *store)
{
    *session = (pa_session){.store = store, .trusted = store->nsecret == 0};
}

void
pa_session_fini(pa_session *session)
{
    pa_session **place = &session->store->woken;
    while (session->woken && *place != session) {
        place = &(*place)->next_woken;
    }
    if (session->woken) {
        *place = session->next_woken;
    }
    pa_table_cancel(session->store->table, &session->waiter);
    pa_buffer_fini(&session->in);
    pa_buffer_fini(&session->out);
}

pa_session *
pa_store_take_woken(pa_store *store)
{
    pa_session *session = store->woken;
    if (session != NULL) {
        store->woken = session->next_woken;
        session->next_woken = NULL;
        session->woken = false;
    }
    return session;
}

/* Answers those whose wait has just ended; their answer comes before any later one. */
static void
answer_woken(pa_session *self)
{
    pa_store *store = self->store;
    pa_table_waiter *waiter = NULL;
    while ((waiter = pa_table_take_woken(store->table)) != NULL) {
        char *base = (char *)waiter - offsetof(pa_session, waiter);
        pa_session *woken = (pa_session *)(void *)base;
        if (!pa_frame_put_u8(&woken->out, PA_STORE_STOP_WAITING)) {
            woken->failed = true;
        }
        if (woken != self && !woken->woken) {
            woken->woken = true;
            woken->next_woken = store->woken;
            store->woken = woken;
        }
    }
}

/* ---- What needs more than a line ---- */

static bool
show_secret(pa_session *session, pa_bytes shown)
{
    const pa_store *store = session->store;
    unsigned different = shown.nbytes != store->nsecret;
    /* Every byte is looked at, so that the time does not tell where they differ. */
    for (size_t i = 0; i < shown.nbytes && i < store->nsecret; i++) {
        different |= (unsigned char)shown.data[i] ^ store->secret[i];
    }
    session->trusted = session->trusted || different == 0;
    bool said = pa_frame_put_u8(&session->out, session->trusted ? PA_STORE_TRUSTED
                                                                : PA_STORE_NOT_TRUSTED);
    return said && session->trusted;
}

/* Whether this session may use the key. */
static bool
permitted(const pa_session *session, pa_bytes key)
{
    return session->trusted || !pa_table_is_reserved(session->store->table, key);
}

static bool
permitted_all(const pa_session *session, pa_frame_reader keys, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (!permitted(session, pa_frame_read_bytes(&keys))) {
            return false;
        }
    }
    return true;
}

static bool
check(pa_session *session, pa_frame_reader *fields, uint64_t count)
{
    bool all = true;
    for (uint64_t i = 0; i < count; i++) {
        all &= pa_table_has(session->store->table, pa_frame_read_bytes(fields));
    }
    return pa_frame_put_u8(&session->out, all ? PA_STORE_READY : PA_STORE_NOT_READY);
}

static bool
wait_for(pa_session *session, pa_frame_reader *fields, uint64_t count)
{
    pa_table *table = session->store->table;
    bool ready = false;
    pa_table_cancel(table, &session->waiter);
    if (pa_table_wait(table, &session->waiter, fields, count, &ready) != PA_OK) {
        return false;
    }
    return !ready || pa_frame_put_u8(&session->out, PA_STORE_STOP_WAITING);
}

static bool
meet(pa_session *session, pa_bytes key, int64_t size)
{
    pa_table *table = session->store->table;
    bool ready = false;
    pa_table_cancel(table, &session->waiter);
    if (pa_table_meet(table, &session->waiter, key, size, &ready) != PA_OK) {
        return false;
    }
    return !ready || pa_frame_put_u8(&session->out, PA_STORE_STOP_WAITING);
}

static bool
get_several(pa_session *session, pa_frame_reader *fields, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        pa_bytes key = pa_frame_read_bytes(fields);
        pa_bytes value = pa_table_get(session->store->table, key);
        size_t said = pa_buffer_size(&session->out) + value.nbytes;
        if (said > PA_STORE_ANSWER_MAX || !pa_frame_put_bytes(&session->out, value)) {
            return false;
        }
    }
    return true;
}

static bool
set_several(pa_session *session, pa_frame_reader *fields, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        pa_bytes key = pa_frame_read_bytes(fields);
        pa_bytes value = pa_frame_read_bytes(fields);
        if (!permitted(session, key) ||
            !pa_table_set(session->store->table, key, value)) {
            return false;
        }
    }
    return true;
}

static bool
compare_set(pa_session *session, pa_bytes key, pa_frame_reader *fields)
{
    pa_bytes expected = pa_frame_read_bytes(fields);
    pa_bytes desired = pa_frame_read_bytes(fields);
    pa_bytes now = {NULL, 0};
    return pa_table_compare_set(session->store->table, key, expected, desired, &now) &&
           pa_frame_put_bytes(&session->out, now);
}

static bool
add(pa_session *session, pa_bytes key, int64_t amount)
{
    return pa_table_add(session->store->table, key, &amount) == PA_OK &&
           pa_frame_put_u64(&session->out, (uint64_t)amount);
}

/* How many there were, and the first of them if there was one. */
static bool
pop(pa_session *session, pa_bytes key)
{
    pa_table *table = session->store->table;
    pa_bytes element = {NULL, 0};
    if (!pa_table_front(table, key, &element)) {
        return pa_frame_put_u64(&session->out, 0);
    }
    bool said = pa_frame_put_u64(&session->out, pa_table_queued(table, key)) &&
                pa_frame_put_bytes(&session->out, element);
    pa_table_drop(table, key);
    return said;
}

static bool
list(pa_session *session)
{
    const pa_table *table = session->store->table;
    return pa_frame_put_u64(&session->out, pa_table_count(table, session->trusted)) &&
           pa_table_list(table, session->trusted, &session->out);
}

/* ---- Requests ---- */

/* A request about one key, which comes first. */
static bool
about_key(pa_session *session, pa_store_op op, pa_frame_reader *fields)
{
    pa_table *table = session->store->table;
    pa_buffer *out = &session->out;
    pa_bytes key = pa_frame_read_bytes(fields);
    if (!permitted(session, key)) {
        return false;
    }
    switch (op) {
    case PA_STORE_SET:
        return pa_table_set(table, key, pa_frame_read_bytes(fields));
    case PA_STORE_COMPARE_SET:
        return compare_set(session, key, fields);
    case PA_STORE_GET:
        return pa_frame_put_bytes(out, pa_table_get(table, key));
    case PA_STORE_ADD:
        return add(session, key, (int64_t)pa_frame_read_u64(fields));
    case PA_STORE_DELETE_KEY:
        return pa_frame_put_u64(out, pa_table_delete(table, key));
    case PA_STORE_APPEND:
        return pa_table_append(table, key, pa_frame_read_bytes(fields)) == PA_OK;
    case PA_STORE_QUEUE_PUSH:
        return pa_table_push(table, key, pa_frame_read_bytes(fields));
    case PA_STORE_QUEUE_POP:
        return pop(session, key);
    case PA_STORE_QUEUE_LEN:
        return pa_frame_put_u64(out, pa_table_queued(table, key));
    case PA_STORE_BARRIER:
        return meet(session, key, (int64_t)pa_frame_read_u64(fields));
    default:
        return false;
    }
}

/* A request about several keys, whose number comes first. */
static bool
about_keys(pa_session *session, pa_store_op op, pa_frame_reader *fields)
{
    uint64_t count = pa_frame_read_u64(fields);
    if (op == PA_STORE_MULTI_SET) {
        return set_several(session, fields, count);
    }
    if (!permitted_all(session, *fields, count)) {
        return false;
    }
    switch (op) {
    case PA_STORE_CHECK:
        return check(session, fields, count);
    case PA_STORE_WAIT:
        return wait_for(session, fields, count);
    default:
        return get_several(session, fields, count);
    }
}

static bool
carry_out(pa_session *session, pa_store_op op, pa_frame_reader *fields)
{
    pa_table *table = session->store->table;
    if (!session->validated) {
        session->validated =
            op == PA_STORE_VALIDATE && pa_frame_read_u32(fields) == PA_STORE_MAGIC;
        return session->validated;
    }
    switch (op) {
    case PA_STORE_VALIDATE: /* once only */
        return false;
    case PA_STORE_PING:
        return pa_frame_put_u32(&session->out, pa_frame_read_u32(fields));
    case PA_STORE_SHOW_SECRET:
        return show_secret(session, pa_frame_read_bytes(fields));
    case PA_STORE_GETNUMKEYS:
        return pa_frame_put_u64(&session->out, pa_table_count(table, session->trusted));
    case PA_STORE_LIST_KEYS:
        return list(session);
    case PA_STORE_CANCEL_WAIT:
        pa_table_cancel(table, &session->waiter);
        return pa_frame_put_u8(&session->out, PA_STORE_WAIT_CANCELED);
    case PA_STORE_CHECK:
    case PA_STORE_WAIT:
    case PA_STORE_MULTI_GET:
    case PA_STORE_MULTI_SET:
        return about_keys(session, op, fields);
    default:
        return about_key(session, op, fields);
    }
}

bool
pa_session_run(pa_session *session)
{
    for (;;) {
        session->paused = pa_buffer_size(&session->out) > OUT_LIMIT;
        if (session->paused) {
            return true;
        }
        pa_bytes bytes = pa_buffer_get(&session->in);
        switch (pa_frame_scan_on(&session->scan, bytes)) {
        case PA_FRAME_PARTIAL:
            return true;
        case PA_FRAME_BAD:
            return false;
        case PA_FRAME_WHOLE:
            break;
        }
        pa_frame_reader fields = {bytes.data + 1};
        bool fine =
            carry_out(session, (pa_store_op)(unsigned char)bytes.data[0], &fields);
        pa_buffer_drop(&session->in, session->scan.at);
        session->scan = (pa_frame_scan){0};
        answer_woken(session);
        if (!fine || session->failed) {
            return false;
        }
    }
}
