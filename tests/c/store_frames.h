/* Requests of the store's protocol as the tests write them, into a buffer. */
#ifndef TESTS_C_STORE_FRAMES_H
#define TESTS_C_STORE_FRAMES_H

#include "store/session.h"

#include <stdlib.h>
#include <string.h>

static inline pa_bytes
text(const char *value)
{
    return (pa_bytes){value, strlen(value)};
}

/* What cannot fail in a test. */
static inline void
must(bool fine)
{
    if (!fine) {
        abort();
    }
}

static inline void
put_op(pa_buffer *out, unsigned op)
{
    must(pa_frame_put_u8(out, op));
}

static inline void
put_text(pa_buffer *out, const char *value)
{
    must(pa_frame_put_bytes(out, text(value)));
}

static inline void
put_validate(pa_buffer *out)
{
    put_op(out, PA_STORE_VALIDATE);
    must(pa_frame_put_u32(out, PA_STORE_MAGIC));
}

/* A request of texts alone, NULL at the end. */
static inline void
put_texts(pa_buffer *out, unsigned op, const char *first, const char *second,
          const char *third)
{
    put_op(out, op);
    const char *const all[] = {first, second, third};
    for (size_t i = 0; i < 3 && all[i] != NULL; i++) {
        put_text(out, all[i]);
    }
}

/* A request of a key and a number. */
static inline void
put_number(pa_buffer *out, unsigned op, const char *key, int64_t number)
{
    put_texts(out, op, key, NULL, NULL);
    must(pa_frame_put_u64(out, (uint64_t)number));
}

/* A request of a count and so many texts, of which at most two are given. */
static inline void
put_list(pa_buffer *out, unsigned op, uint64_t count, const char *first,
         const char *second)
{
    put_op(out, op);
    must(pa_frame_put_u64(out, count));
    if (first != NULL) {
        put_text(out, first);
    }
    if (second != NULL) {
        put_text(out, second);
    }
}

/* One request of every kind, after the greeting. */
static inline void
put_everything(pa_buffer *out)
{
    put_validate(out);
    put_op(out, PA_STORE_PING);
    must(pa_frame_put_u32(out, 0x01020304));
    put_texts(out, PA_STORE_SET, "/a", "one", NULL);
    put_op(out, PA_STORE_LIST_KEYS); /* several would come in any order */
    put_texts(out, PA_STORE_COMPARE_SET, "/a", "one", "two");
    put_texts(out, PA_STORE_COMPARE_SET, "/b", "x", "y");
    put_texts(out, PA_STORE_COMPARE_SET, "/c", "", "new");
    put_texts(out, PA_STORE_GET, "/a", NULL, NULL);
    put_texts(out, PA_STORE_GET, "/none", NULL, NULL);
    put_number(out, PA_STORE_ADD, "/n", 40);
    put_number(out, PA_STORE_ADD, "/n", -42);
    put_list(out, PA_STORE_CHECK, 2, "/a", "/n");
    put_list(out, PA_STORE_CHECK, 2, "/a", "/none");
    put_list(out, PA_STORE_CHECK, 0, NULL, NULL);
    put_list(out, PA_STORE_WAIT, 2, "/a", "/n");
    put_list(out, PA_STORE_WAIT, 2, "/a", "/late");
    put_op(out, PA_STORE_CANCEL_WAIT);
    put_op(out, PA_STORE_GETNUMKEYS);
    put_texts(out, PA_STORE_DELETE_KEY, "/c", NULL, NULL);
    put_texts(out, PA_STORE_DELETE_KEY, "/c", NULL, NULL);
    put_texts(out, PA_STORE_APPEND, "/a", " and more", NULL);
    put_texts(out, PA_STORE_APPEND, "/d", "", NULL);
    put_list(out, PA_STORE_MULTI_GET, 2, "/a", "/d");
    put_list(out, PA_STORE_MULTI_SET, 1, "/m", "value");
    put_texts(out, PA_STORE_QUEUE_PUSH, "/q", "first", NULL);
    put_texts(out, PA_STORE_QUEUE_PUSH, "/q", "second", NULL);
    put_texts(out, PA_STORE_QUEUE_LEN, "/q", NULL, NULL);
    put_texts(out, PA_STORE_QUEUE_POP, "/q", NULL, NULL);
    put_texts(out, PA_STORE_QUEUE_POP, "/q", NULL, NULL);
    put_texts(out, PA_STORE_QUEUE_POP, "/q", NULL, NULL);
    put_number(out, PA_STORE_BARRIER, "/bar", 1);
    put_list(out, PA_STORE_WAIT, 1, "/self", NULL);
    put_texts(out, PA_STORE_SET, "/self", "woken by myself", NULL);
    put_texts(out, PA_STORE_SHOW_SECRET, "anything", NULL, NULL);
}

#endif
