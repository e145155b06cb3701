/* csrc/store without sockets: frames, the table, conversations. */
#include "testing.h"

#include "store/session.h"
#include "store_frames.h"

#include <stdbool.h>
#include <stdint.h>

enum { SESSIONS = 4 };

/* A store and some who talk to it. */
typedef struct talk {
    pa_store store;
    pa_session who[SESSIONS];
    pa_buffer request;
} talk;

static void
talk_begin(talk *all, const char *secret)
{
    *all = (talk){0};
    pa_error error = PA_ERROR_INIT;
    must(pa_store_init(&all->store, text(secret), &error) == PA_OK);
    for (int i = 0; i < SESSIONS; i++) {
        pa_session_init(&all->who[i], &all->store);
        put_validate(&all->who[i].in);
        must(pa_session_run(&all->who[i]));
    }
}

static void
talk_end(talk *all)
{
    for (int i = 0; i < SESSIONS; i++) {
        pa_session_fini(&all->who[i]);
    }
    pa_store_fini(&all->store);
    pa_buffer_fini(&all->request);
}

/* Has one of them say what was put into `request`; whether the session goes on. */
static bool
say(talk *all, int who)
{
    pa_bytes bytes = pa_buffer_get(&all->request);
    must(pa_buffer_put(&all->who[who].in, bytes.data, bytes.nbytes));
    pa_buffer_fini(&all->request);
    bool goes_on = pa_session_run(&all->who[who]);
    while (pa_store_take_woken(&all->store) != NULL) {
    }
    return goes_on;
}

/* Whether one of them has been answered exactly this; the answer is taken away. */
static bool
heard(talk *all, int who, const char *bytes, size_t nbytes)
{
    pa_buffer *out = &all->who[who].out;
    bool same = pa_buffer_size(out) == nbytes &&
                (nbytes == 0 || memcmp(pa_buffer_get(out).data, bytes, nbytes) == 0);
    pa_buffer_drop(out, pa_buffer_size(out));
    return same;
}

/* `heard` with the bytes of a string constant. */
#define HEARD(all, who, bytes) heard((all), (who), (bytes), sizeof(bytes) - 1)

/* What a fresh session answers when the bytes come in pieces of so many. */
static bool
answer_to(pa_bytes bytes, size_t first, size_t piece, pa_buffer *answer)
{
    talk all;
    talk_begin(&all, "");
    pa_session *self = &all.who[0];
    self->validated = false;
    bool fine = true;
    for (size_t at = 0; at < bytes.nbytes && fine;) {
        size_t size = at == 0 && first > 0 ? first : piece;
        size = size < bytes.nbytes - at ? size : bytes.nbytes - at;
        must(pa_buffer_put(&self->in, bytes.data + at, size));
        fine = pa_session_run(self);
        at += size;
    }
    pa_bytes said = pa_buffer_get(&self->out);
    must(pa_buffer_put(answer, said.data, said.nbytes));
    talk_end(&all);
    return fine;
}

static void
a_request_may_come_in_any_pieces(void)
{
    pa_buffer requests = {0};
    pa_buffer whole = {0};
    put_everything(&requests);
    pa_bytes bytes = pa_buffer_get(&requests);
    CHECK(answer_to(bytes, 0, bytes.nbytes, &whole));
    CHECK(pa_buffer_size(&whole) > 200);
    for (size_t split = 1; split < bytes.nbytes; split++) {
        pa_buffer parts = {0};
        CHECK(answer_to(bytes, split, bytes.nbytes, &parts));
        CHECK_EQUAL(pa_buffer_size(&parts), pa_buffer_size(&whole));
        CHECK(memcmp(parts.data, whole.data, pa_buffer_size(&whole)) == 0);
        pa_buffer_fini(&parts);
    }
    pa_buffer bytewise = {0};
    CHECK(answer_to(bytes, 1, 1, &bytewise));
    CHECK_EQUAL(pa_buffer_size(&bytewise), pa_buffer_size(&whole));
    pa_buffer_fini(&bytewise);
    pa_buffer_fini(&whole);
    pa_buffer_fini(&requests);
}

/* Whether the scanner refuses a beginning that ends in a length or count. */
static bool
is_refused(const char *beginning, size_t nbytes, uint64_t number)
{
    pa_buffer frame = {0};
    must(pa_buffer_put(&frame, beginning, nbytes) && pa_frame_put_u64(&frame, number));
    pa_frame_scan scan = {0};
    pa_frame_state state = pa_frame_scan_on(&scan, pa_buffer_get(&frame));
    pa_buffer_fini(&frame);
    return state == PA_FRAME_BAD;
}

static void
lengths_beyond_the_limits_are_refused_at_once(void)
{
    CHECK(!is_refused("\3", 1, PA_STORE_KEY_MAX));
    CHECK(is_refused("\3", 1, PA_STORE_KEY_MAX + 1));
    CHECK(is_refused("\3", 1, UINT64_MAX));
    const char set[] = "\1\1\0\0\0\0\0\0\0k";
    CHECK(!is_refused(set, sizeof set - 1, PA_STORE_VALUE_MAX));
    CHECK(is_refused(set, sizeof set - 1, PA_STORE_VALUE_MAX + 1));
    CHECK(is_refused(set, sizeof set - 1, UINT64_MAX));
    CHECK(!is_refused("\5", 1, PA_STORE_KEYS_MAX));
    CHECK(is_refused("\5", 1, PA_STORE_KEYS_MAX + 1));
    CHECK(is_refused("\x0b", 1, UINT64_MAX));
    CHECK(is_refused("p", 1, PA_STORE_SECRET_MAX + 1));
    for (int op = 0; op < 256; op++) {
        char byte = (char)op;
        bool known = op <= PA_STORE_BARRIER || op == PA_STORE_SHOW_SECRET;
        pa_frame_scan scan = {0};
        pa_frame_state state = pa_frame_scan_on(&scan, (pa_bytes){&byte, 1});
        CHECK_EQUAL(state != PA_FRAME_BAD, known);
    }
}

static void
a_request_as_a_whole_has_a_limit(void)
{
    pa_buffer frame = {0};
    put_op(&frame, PA_STORE_MULTI_SET);
    must(pa_frame_put_u64(&frame, 100));
    pa_frame_scan scan = {0};
    pa_frame_state state = PA_FRAME_PARTIAL;
    int values = 0;
    while (state == PA_FRAME_PARTIAL && values < 100) {
        put_text(&frame, "/k");
        must(pa_frame_put_u64(&frame, PA_STORE_VALUE_MAX));
        must(pa_buffer_reserve(&frame, PA_STORE_VALUE_MAX) != NULL);
        memset(frame.data + frame.end, 'v', PA_STORE_VALUE_MAX);
        pa_buffer_grow(&frame, PA_STORE_VALUE_MAX);
        state = pa_frame_scan_on(&scan, pa_buffer_get(&frame));
        values++;
    }
    pa_buffer_fini(&frame);
    CHECK_EQUAL(state, PA_FRAME_BAD);
    CHECK_EQUAL(values, PA_STORE_REQUEST_MAX / PA_STORE_VALUE_MAX);
}

static void
who_does_not_begin_with_the_magic_is_ended(void)
{
    talk all;
    talk_begin(&all, "");
    all.who[0].validated = false;
    put_texts(&all.request, PA_STORE_GET, "/a", NULL, NULL);
    CHECK(!say(&all, 0));
    all.who[1].validated = false;
    put_op(&all.request, PA_STORE_VALIDATE);
    must(pa_frame_put_u32(&all.request, PA_STORE_MAGIC + 1));
    CHECK(!say(&all, 1));
    put_validate(&all.request); /* a second time */
    CHECK(!say(&all, 2));
    CHECK(HEARD(&all, 0, ""));
    talk_end(&all);
}

static void
a_wait_ends_when_all_keys_are_there(void)
{
    talk all;
    talk_begin(&all, "");
    put_list(&all.request, PA_STORE_WAIT, 2, "/a", "/b");
    CHECK(say(&all, 0));
    put_list(&all.request, PA_STORE_WAIT, 2, "/b", "/b");
    CHECK(say(&all, 1));
    put_texts(&all.request, PA_STORE_SET, "/a", "", NULL);
    CHECK(say(&all, 2));
    CHECK(HEARD(&all, 0, "") && HEARD(&all, 1, ""));
    put_number(&all.request, PA_STORE_ADD, "/b", 1);
    CHECK(say(&all, 2));
    CHECK(HEARD(&all, 0, "\0") && HEARD(&all, 1, "\0"));
    CHECK(HEARD(&all, 2, "\1\0\0\0\0\0\0\0"));
    talk_end(&all);
}

static void
a_cancelled_wait_is_over(void)
{
    talk all;
    talk_begin(&all, "");
    put_list(&all.request, PA_STORE_WAIT, 1, "/a", NULL);
    CHECK(say(&all, 0));
    put_op(&all.request, PA_STORE_CANCEL_WAIT);
    CHECK(say(&all, 0));
    CHECK(HEARD(&all, 0, "\1"));
    put_list(&all.request, PA_STORE_WAIT, 1, "/b", NULL);
    put_list(&all.request, PA_STORE_WAIT, 1, "/c", NULL); /* instead of that for b */
    CHECK(say(&all, 0));
    put_texts(&all.request, PA_STORE_SET, "/a", "", NULL);
    put_texts(&all.request, PA_STORE_SET, "/b", "", NULL);
    CHECK(say(&all, 1));
    CHECK(HEARD(&all, 0, ""));
    pa_session_fini(&all.who[0]); /* in the middle of its wait */
    pa_session_init(&all.who[0], &all.store);
    put_texts(&all.request, PA_STORE_SET, "/c", "", NULL);
    CHECK(say(&all, 1));
    talk_end(&all);
}

static void
one_element_wakes_one(void)
{
    talk all;
    talk_begin(&all, "");
    for (int i = 0; i < 2; i++) {
        put_list(&all.request, PA_STORE_WAIT, 1, "/q", NULL);
        CHECK(say(&all, i));
    }
    put_texts(&all.request, PA_STORE_QUEUE_PUSH, "/q", "v", NULL);
    CHECK(say(&all, 2));
    CHECK(HEARD(&all, 0, "\0") && HEARD(&all, 1, ""));
    put_texts(&all.request, PA_STORE_QUEUE_PUSH, "/q", "w", NULL);
    CHECK(say(&all, 2));
    CHECK(HEARD(&all, 1, "\0"));
    put_texts(&all.request, PA_STORE_QUEUE_POP, "/q", NULL, NULL);
    CHECK(say(&all, 0));
    CHECK(HEARD(&all, 0, "\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0v"));
    talk_end(&all);
}

static void
a_barrier_wakes_all_who_came(void)
{
    talk all;
    talk_begin(&all, "");
    put_list(&all.request, PA_STORE_WAIT, 1, "/bar", NULL);
    CHECK(say(&all, 3)); /* waits for the key, which comes with the first */
    for (int i = 0; i < 2; i++) {
        put_number(&all.request, PA_STORE_BARRIER, "/bar", 3);
        CHECK(say(&all, i));
        CHECK(HEARD(&all, i, ""));
    }
    CHECK(HEARD(&all, 3, "\0"));
    put_number(&all.request, PA_STORE_BARRIER, "/bar", 3);
    CHECK(say(&all, 2));
    for (int i = 0; i < 3; i++) {
        CHECK(HEARD(&all, i, "\0"));
    }
    put_texts(&all.request, PA_STORE_GET, "/bar", NULL, NULL);
    CHECK(say(&all, 0));
    CHECK(HEARD(&all, 0,
                "\1\0\0\0\0\0\0\0"
                "3"));
    talk_end(&all);
}

/* Whether ADD of 1 to a key with this value goes well; the sum as a text. */
static bool
add_one_to(const char *value, char *sum, size_t room)
{
    talk all;
    talk_begin(&all, "");
    put_texts(&all.request, PA_STORE_SET, "/n", value, NULL);
    put_number(&all.request, PA_STORE_ADD, "/n", 1);
    bool fine = say(&all, 0);
    pa_bytes now = pa_table_get(all.store.table, text("/n"));
    (void)snprintf(sum, room, "%.*s", (int)now.nbytes, now.data);
    talk_end(&all);
    return fine;
}

static void
numbers_are_read_as_torch_reads_them(void)
{
    char sum[64];
    CHECK(add_one_to("  12abc", sum, sizeof sum));
    CHECK_TEXT(sum, "13");
    CHECK(add_one_to("\t-5", sum, sizeof sum));
    CHECK_TEXT(sum, "-4");
    CHECK(add_one_to("-9223372036854775808", sum, sizeof sum));
    CHECK_TEXT(sum, "-9223372036854775807");
    CHECK(add_one_to("+9223372036854775807", sum, sizeof sum));
    CHECK_TEXT(sum, "-9223372036854775808");
    CHECK(!add_one_to("9223372036854775808", sum, sizeof sum));
    CHECK(!add_one_to("text", sum, sizeof sum));
    CHECK(!add_one_to("", sum, sizeof sum));
    CHECK(!add_one_to("- 1", sum, sizeof sum));
}

static void
the_secret_opens_the_reserved_keys(void)
{
    talk all;
    talk_begin(&all, "open sesame");
    put_texts(&all.request, PA_STORE_SHOW_SECRET, "open sesame", NULL, NULL);
    put_texts(&all.request, PA_STORE_SET, "/pyaccel/x", "1", NULL);
    put_texts(&all.request, PA_STORE_SET, "/else", "2", NULL);
    put_op(&all.request, PA_STORE_GETNUMKEYS);
    CHECK(say(&all, 0));
    CHECK(HEARD(&all, 0, "\0\2\0\0\0\0\0\0\0"));
    put_op(&all.request, PA_STORE_GETNUMKEYS);
    put_op(&all.request, PA_STORE_LIST_KEYS);
    CHECK(say(&all, 1));
    CHECK(HEARD(&all, 1, "\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0/else"));
    put_list(&all.request, PA_STORE_WAIT, 2, "/else", "/pyaccel/x");
    CHECK(!say(&all, 1));
    put_texts(&all.request, PA_STORE_SHOW_SECRET, "open sesamo", NULL, NULL);
    CHECK(!say(&all, 2));
    CHECK(HEARD(&all, 2, "\1"));
    put_op(&all.request, PA_STORE_MULTI_SET);
    must(pa_frame_put_u64(&all.request, 1));
    put_text(&all.request, "/pyaccel/y");
    put_text(&all.request, "3");
    CHECK(!say(&all, 3));
    CHECK(!pa_table_has(all.store.table, text("/pyaccel/y")));
    talk_end(&all);
}

static void
no_secret_can_be_refused(void)
{
    pa_store store;
    pa_error error = PA_ERROR_INIT;
    char longest[PA_STORE_SECRET_MAX + 1] = {0};
    pa_bytes secret = {longest, sizeof longest};
    CHECK_EQUAL(pa_store_init(&store, secret, &error), PA_EARGUMENT);
    CHECK(strstr(error.message, "257 bytes") != NULL);
}

static void
many_keys_come_and_go(void)
{
    talk all;
    talk_begin(&all, "");
    char key[32];
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "/key/%d", i);
        put_texts(&all.request, PA_STORE_SET, key, key, NULL);
    }
    CHECK(say(&all, 0));
    CHECK_EQUAL(pa_table_count(all.store.table, false), 5000);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(key, sizeof key, "/key/%d", i);
        pa_bytes value = pa_table_get(all.store.table, text(key));
        CHECK(value.nbytes == strlen(key) &&
              memcmp(value.data, key, value.nbytes) == 0);
        CHECK(pa_table_delete(all.store.table, text(key)));
    }
    CHECK_EQUAL(pa_table_count(all.store.table, false), 0);
    talk_end(&all);
}

static void
a_value_grows_to_its_limit(void)
{
    talk all;
    talk_begin(&all, "");
    char *piece = calloc(1, PA_STORE_VALUE_MAX);
    pa_bytes bytes = {piece, PA_STORE_VALUE_MAX};
    for (int i = 0; i < PA_STORE_WHOLE_MAX / PA_STORE_VALUE_MAX; i++) {
        CHECK_EQUAL(pa_table_append(all.store.table, text("/k"), bytes), PA_OK);
    }
    bytes.nbytes = 1;
    CHECK_EQUAL(pa_table_append(all.store.table, text("/k"), bytes), PA_EARGUMENT);
    CHECK(pa_table_set(all.store.table, text("/k"), bytes));
    CHECK_EQUAL(pa_table_get(all.store.table, text("/k")).nbytes, 1);
    free(piece);
    talk_end(&all);
}

static void
who_does_not_read_is_not_answered_further(void)
{
    talk all;
    talk_begin(&all, "");
    char *value = calloc(1, 600000);
    must(pa_table_set(all.store.table, text("/k"), (pa_bytes){value, 600000}));
    free(value);
    for (int i = 0; i < 10; i++) {
        put_texts(&all.request, PA_STORE_GET, "/k", NULL, NULL);
    }
    CHECK(say(&all, 0));
    CHECK(all.who[0].paused);
    size_t answers = 0;
    while (pa_buffer_size(&all.who[0].out) > 0) {
        answers += pa_buffer_size(&all.who[0].out) / 600000;
        CHECK(pa_buffer_size(&all.who[0].out) < 2000000);
        pa_buffer_drop(&all.who[0].out, pa_buffer_size(&all.who[0].out));
        CHECK(say(&all, 0));
    }
    CHECK_EQUAL(answers, 10);
    talk_end(&all);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(a_request_may_come_in_any_pieces),
        TESTING(lengths_beyond_the_limits_are_refused_at_once),
        TESTING(a_request_as_a_whole_has_a_limit),
        TESTING(who_does_not_begin_with_the_magic_is_ended),
        TESTING(a_wait_ends_when_all_keys_are_there),
        TESTING(a_cancelled_wait_is_over),
        TESTING(one_element_wakes_one),
        TESTING(a_barrier_wakes_all_who_came),
        TESTING(numbers_are_read_as_torch_reads_them),
        TESTING(the_secret_opens_the_reserved_keys),
        TESTING(no_secret_can_be_refused),
        TESTING(many_keys_come_and_go),
        TESTING(a_value_grows_to_its_limit),
        TESTING(who_does_not_read_is_not_answered_further),
    };
    return TESTING_RUN(cases);
}
