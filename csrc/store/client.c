/* A client of the store: see the header. */
#include "store/client.h"

#include "base/clock.h"
#include "store/link.h"
#include "store/wire.h"

#include <string.h>
#include <unistd.h>

/* How much longer than the caller's patience a server may take for what it does at
 * once, so that the connection stays usable. */
static const pa_patience grace = {.timeout_ns = UINT64_C(1000000000)};

/* ---- Putting requests together ---- */

static pa_status
check_key(pa_bytes key, pa_error *error)
{
    if (key.nbytes + 1 > PA_STORE_KEY_MAX) {
        return pa_error_set(error, PA_EARGUMENT,
                            "a key of %zu bytes, '%.32s...': at most %d are possible",
                            key.nbytes, key.data, PA_STORE_KEY_MAX - 1);
    }
    return PA_OK;
}

static bool
put_key(pa_buffer *out, pa_bytes key)
{
    return pa_frame_put_u64(out, key.nbytes + 1) && pa_frame_put_u8(out, '/') &&
           pa_buffer_put(out, key.data, key.nbytes);
}

/* A request about one key; more fields may follow. */
static pa_status
ask(pa_client *client, unsigned op, pa_bytes key, pa_error *error)
{
    PA_TRY(check_key(key, error));
    if (!pa_frame_put_u8(&client->out, op) || !put_key(&client->out, key)) {
        return pa_link_no_memory(client, error);
    }
    return PA_OK;
}

/* A request about several keys. */
static pa_status
ask_all(pa_client *client, unsigned op, const pa_bytes *keys, size_t count,
        pa_error *error)
{
    if (count > PA_STORE_KEYS_MAX) {
        return pa_error_set(error, PA_EARGUMENT, "%zu keys: at most %d are possible",
                            count, PA_STORE_KEYS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        PA_TRY(check_key(keys[i], error));
    }
    bool fine = pa_frame_put_u8(&client->out, op) &&
                pa_frame_put_u64(&client->out, (uint64_t)count);
    for (size_t i = 0; i < count && fine; i++) {
        fine = put_key(&client->out, keys[i]);
    }
    return fine ? PA_OK : pa_link_no_memory(client, error);
}

/* ---- Opening and closing ---- */

/* Says who we are, and hears that it is a store that trusts us. */
static pa_status
introduce(pa_client *client, pa_bytes secret, const pa_patience *patience,
          pa_error *error)
{
    pa_call call;
    PA_TRY(pa_call_begin(&call, client, "opening a connection", patience, error));
    uint32_t nonce = (uint32_t)getpid();
    pa_buffer *out = &client->out;
    bool fine = pa_frame_put_u8(out, PA_STORE_VALIDATE) &&
                pa_frame_put_u32(out, PA_STORE_MAGIC) &&
                pa_frame_put_u8(out, PA_STORE_PING) && pa_frame_put_u32(out, nonce) &&
                (secret.nbytes == 0 || (pa_frame_put_u8(out, PA_STORE_SHOW_SECRET) &&
                                        pa_frame_put_bytes(out, secret)));
    if (!fine) {
        return pa_link_no_memory(client, error);
    }
    PA_TRY(pa_call_send(&call));
    char echo[sizeof nonce];
    PA_TRY(pa_call_receive(&call, echo, sizeof echo));
    pa_frame_reader reader = {echo};
    if (pa_frame_read_u32(&reader) != nonce) {
        return pa_error_set(error, PA_EREMOTE,
                            "who listens at %s port %d is no store: it answered "
                            "something else",
                            client->host, client->port);
    }
    if (secret.nbytes == 0) {
        return PA_OK;
    }
    unsigned char trusted = PA_STORE_NOT_TRUSTED;
    pa_status status = pa_call_receive(&call, &trusted, sizeof trusted);
    if (status == PA_EPEER) {
        return pa_error_set(error, PA_EREMOTE,
                            "the store at %s port %d knows of no secrets: it is not "
                            "one of pyaccel",
                            client->host, client->port);
    }
    if (status == PA_OK && trusted != PA_STORE_TRUSTED) {
        return pa_error_set(error, PA_EREMOTE,
                            "the store at %s port %d has another secret: it belongs to "
                            "another launch",
                            client->host, client->port);
    }
    return status;
}

pa_status
pa_client_open(const char *host, int port, pa_bytes secret, const pa_patience *patience,
               pa_client **client, pa_error *error)
{
    if (secret.nbytes > PA_STORE_SECRET_MAX) {
        return pa_error_set(error, PA_EARGUMENT,
                            "the secret has %zu bytes: at most %d are possible",
                            secret.nbytes, PA_STORE_SECRET_MAX);
    }
    pa_patience left = *patience;
    uint64_t deadline = pa_clock_deadline(patience->timeout_ns);
    pa_client *made = NULL;
    pa_status status = pa_link_open(host, port, deadline, patience, &made, error);
    if (status == PA_OK) {
        uint64_t now = pa_clock_now();
        left.timeout_ns = deadline > now ? deadline - now : 0;
        status = introduce(made, secret, &left, error);
    }
    if (status != PA_OK) {
        pa_client_close(made);
        return status;
    }
    *client = made;
    return PA_OK;
}

void
pa_client_abort(pa_client *client)
{
    pa_link_abort(client);
}

void
pa_client_close(pa_client *client)
{
    pa_link_close(client);
}

/* ---- Calls ---- */

static pa_status
check_value(pa_bytes key, pa_bytes value, pa_error *error)
{
    if (value.nbytes > PA_STORE_VALUE_MAX) {
        return pa_error_set(error, PA_EARGUMENT,
                            "a value of %zu bytes for the key '%.*s': at most %d are "
                            "possible",
                            value.nbytes, (int)(key.nbytes < 64 ? key.nbytes : 64),
                            key.data, PA_STORE_VALUE_MAX);
    }
    return PA_OK;
}

pa_status
pa_client_set(pa_client *client, pa_bytes key, pa_bytes value,
              const pa_patience *patience, pa_error *error)
{
    pa_call call;
    PA_TRY(check_value(key, value, error));
    PA_TRY(pa_call_begin(&call, client, "set", patience, error));
    PA_TRY(ask(client, PA_STORE_SET, key, error));
    if (!pa_frame_put_bytes(&client->out, value)) {
        return pa_link_no_memory(client, error);
    }
    return pa_call_send(&call);
}

pa_status
pa_client_add(pa_client *client, pa_bytes key, int64_t amount,
              const pa_patience *patience, int64_t *sum, pa_error *error)
{
    pa_call call;
    PA_TRY(pa_call_begin(&call, client, "add", patience, error));
    PA_TRY(ask(client, PA_STORE_ADD, key, error));
    if (!pa_frame_put_u64(&client->out, (uint64_t)amount)) {
        return pa_link_no_memory(client, error);
    }
    PA_TRY(pa_call_send(&call));
    uint64_t answer = 0;
    PA_TRY(pa_call_receive_u64(&call, &answer));
    *sum = (int64_t)answer;
    return PA_OK;
}

pa_status
pa_client_delete(pa_client *client, pa_bytes key, const pa_patience *patience,
                 bool *found, pa_error *error)
{
    pa_call call;
    PA_TRY(pa_call_begin(&call, client, "delete_key", patience, error));
    PA_TRY(ask(client, PA_STORE_DELETE_KEY, key, error));
    PA_TRY(pa_call_send(&call));
    uint64_t count = 0;
    PA_TRY(pa_call_receive_u64(&call, &count));
    *found = count > 0;
    return PA_OK;
}

/* An answer that is a value. */
static pa_status
receive_value(pa_call *call, pa_bytes *value)
{
    uint64_t nbytes = 0;
    PA_TRY(pa_call_receive_u64(call, &nbytes));
    return pa_call_receive_bytes(call, nbytes, value);
}

pa_status
pa_client_compare_set(pa_client *client, pa_bytes key, pa_bytes expected,
                      pa_bytes desired, const pa_patience *patience, pa_bytes *now,
                      pa_error *error)
{
    pa_call call;
    PA_TRY(check_value(key, expected, error));
    PA_TRY(check_value(key, desired, error));
    PA_TRY(pa_call_begin(&call, client, "compare_set", patience, error));
    PA_TRY(ask(client, PA_STORE_COMPARE_SET, key, error));
    if (!pa_frame_put_bytes(&client->out, expected) ||
        !pa_frame_put_bytes(&client->out, desired)) {
        return pa_link_no_memory(client, error);
    }
    PA_TRY(pa_call_send(&call));
    return receive_value(&call, now);
}

pa_status
pa_client_check(pa_client *client, const pa_bytes *keys, size_t count,
                const pa_patience *patience, bool *all, pa_error *error)
{
    pa_call call;
    PA_TRY(pa_call_begin(&call, client, "check", patience, error));
    PA_TRY(ask_all(client, PA_STORE_CHECK, keys, count, error));
    PA_TRY(pa_call_send(&call));
    unsigned char answer = PA_STORE_NOT_READY;
    PA_TRY(pa_call_receive(&call, &answer, sizeof answer));
    *all = answer == PA_STORE_READY;
    return PA_OK;
}

/* After a wait that has to end: takes it back, so that the connection stays usable. */
static void
cancel_wait(pa_call *call)
{
    pa_call cancel;
    if (pa_call_begin(&cancel, call->client, call->name, &grace, NULL) != PA_OK ||
        !pa_frame_put_u8(&call->client->out, PA_STORE_CANCEL_WAIT) ||
        pa_call_send(&cancel) != PA_OK) {
        return;
    }
    /* The key may have come in the meantime, and is then reported first. */
    unsigned char answer = PA_STORE_STOP_WAITING;
    while (answer != PA_STORE_WAIT_CANCELED) {
        if (pa_call_receive(&cancel, &answer, sizeof answer) != PA_OK) {
            return;
        }
    }
}

/* Says that keys have not come, of which the first stands for all. */
static pa_status
unfulfilled(const pa_call *call, const pa_bytes *keys, size_t count)
{
    pa_bytes first = count > 0 ? keys[0] : (pa_bytes){"", 0};
    return pa_error_set(call->error, PA_ETIMEOUT,
                        "%s: the store at %s port %d has not got %s'%.*s' after %.1f s",
                        call->name, call->client->host, call->client->port,
                        count > 1 ? "all keys from " : "the key ",
                        (int)(first.nbytes < 64 ? first.nbytes : 64), first.data,
                        (double)call->patience->timeout_ns / 1e9);
}

/* Waits within a call that has begun, and goes on with it. */
static pa_status
wait_within(pa_call *call, const pa_bytes *keys, size_t count)
{
    PA_TRY(ask_all(call->client, PA_STORE_WAIT, keys, count, call->error));
    PA_TRY(pa_call_send(call));
    unsigned char answer = PA_STORE_STOP_WAITING;
    pa_status status = pa_call_await(call);
    if (status == PA_OK) {
        return pa_call_receive(call, &answer, sizeof answer);
    }
    if (status == PA_ETIMEOUT || status == PA_EINTERRUPTED) {
        cancel_wait(call);
    }
    return status == PA_ETIMEOUT ? unfulfilled(call, keys, count) : status;
}

pa_status
pa_client_wait(pa_client *client, const pa_bytes *keys, size_t count,
               const pa_patience *patience, pa_error *error)
{
    pa_call call;
    PA_TRY(pa_call_begin(&call, client, "wait", patience, error));
    return wait_within(&call, keys, count);
}

/* In one message: is the key there, and what is it? Mostly that is all. The answer is
 * taken even when it comes late, since it comes. */
static pa_status
get_at_once(pa_call *call, pa_bytes key, bool *there, pa_bytes *value)
{
    PA_TRY(ask_all(call->client, PA_STORE_CHECK, &key, 1, call->error));
    PA_TRY(ask(call->client, PA_STORE_GET, key, call->error));
    PA_TRY(pa_call_send(call));
    pa_status waited = pa_call_await(call);
    if (waited != PA_OK && waited != PA_ETIMEOUT && waited != PA_EINTERRUPTED) {
        return waited;
    }
    pa_call late = *call;
    if (waited != PA_OK) {
        PA_TRY(pa_call_begin(&late, call->client, call->name, &grace, call->error));
    }
    unsigned char answer = PA_STORE_NOT_READY;
    PA_TRY(pa_call_receive(&late, &answer, sizeof answer));
    PA_TRY(receive_value(&late, value));
    *there = answer == PA_STORE_READY;
    if (waited == PA_ETIMEOUT) {
        return *there ? PA_OK : unfulfilled(call, &key, 1);
    }
    return waited;
}

pa_status
pa_client_get(pa_client *client, pa_bytes key, const pa_patience *patience,
              pa_bytes *value, pa_error *error)
{
    pa_call call;
    bool there = false;
    PA_TRY(pa_call_begin(&call, client, "get", patience, error));
    PA_TRY(get_at_once(&call, key, &there, value));
    if (there) {
        return PA_OK;
    }
    PA_TRY(wait_within(&call, &key, 1));
    PA_TRY(ask(client, PA_STORE_GET, key, error));
    PA_TRY(pa_call_send(&call));
    return receive_value(&call, value);
}
