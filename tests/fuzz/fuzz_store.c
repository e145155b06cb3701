/* The store's server under arbitrary bytes: several clients, in arbitrary pieces.
 *
 *     +-------+-----+-----------+-------+-----+-----------+--
 *     | flags | who | u16 count | bytes | who | u16 count | bytes ...
 *     +-------+-----+-----------+-------+-----+-----------+--
 *
 * A flag for each client says whether it has been greeted, and one whether it has shown
 * the secret, so that inputs need not guess either. */
#include "fuzz.h"

#include "store/session.h"

#include <stdlib.h>
#include <string.h>

#include "../c/store_frames.h"

enum { CLIENTS = 4, HEAD = 3 };

typedef struct fuzzed {
    pa_store store;
    pa_session clients[CLIENTS];
    bool ended[CLIENTS];
} fuzzed;

/* What holds after every step, whatever was said. */
static void
check(fuzzed *all)
{
    for (int i = 0; i < CLIENTS; i++) {
        const pa_session *one = &all->clients[i];
        must(all->ended[i] || one->in.begin <= one->in.end);
        must(all->ended[i] || one->scan.at <= pa_buffer_size(&one->in));
        must(one->waiter.lacking <= one->waiter.nlinks);
        must(one->waiter.lacking > 0 || one->waiter.links == NULL);
        must(!one->woken);
    }
    must(pa_table_take_woken(all->store.table) == NULL);
}

static void
end(fuzzed *all, int who)
{
    pa_session_fini(&all->clients[who]);
    pa_session_init(&all->clients[who], &all->store);
    all->ended[who] = true;
}

static void
feed(fuzzed *all, int who, const uint8_t *bytes, size_t nbytes)
{
    pa_session *one = &all->clients[who];
    if (all->ended[who]) {
        return;
    }
    must(pa_buffer_put(&one->in, bytes, nbytes));
    bool goes_on = pa_session_run(one);
    for (int rounds = 0; goes_on && one->paused && rounds < 4; rounds++) {
        pa_buffer_drop(&one->out, pa_buffer_size(&one->out));
        goes_on = pa_session_run(one);
    }
    while (pa_store_take_woken(&all->store) != NULL) {
    }
    if (!goes_on) {
        end(all, who);
    }
    check(all);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzzed all = {0};
    if (size == 0) {
        return 0;
    }
    must(pa_store_init(&all.store, text("secret"), NULL) == PA_OK);
    for (int i = 0; i < CLIENTS; i++) {
        pa_session_init(&all.clients[i], &all.store);
        all.clients[i].validated = (data[0] >> i & 1) != 0;
        all.clients[i].trusted = (data[0] >> (i + CLIENTS) & 1) != 0;
    }
    for (size_t at = 1; at + HEAD <= size;) {
        int who = data[at] % CLIENTS;
        size_t count = (size_t)data[at + 1] | (size_t)data[at + 2] << 8;
        at += HEAD;
        count = count < size - at ? count : size - at;
        feed(&all, who, data + at, count);
        at += count;
    }
    for (int i = 0; i < CLIENTS; i++) {
        pa_session_fini(&all.clients[i]);
    }
    pa_store_fini(&all.store);
    return 0;
}

/* Appends one piece of one client to a seed. */
static size_t
piece(uint8_t *to, size_t at, size_t room, int who, const pa_buffer *said)
{
    pa_bytes bytes = pa_buffer_get(said);
    must(at + HEAD + bytes.nbytes <= room && bytes.nbytes < 65536);
    to[at] = (uint8_t)who;
    to[at + 1] = (uint8_t)(bytes.nbytes & 255);
    to[at + 2] = (uint8_t)(bytes.nbytes >> 8);
    memcpy(to + at + HEAD, bytes.data, bytes.nbytes);
    return at + HEAD + bytes.nbytes;
}

size_t
fuzz_seed(size_t number, uint8_t *to, size_t room)
{
    pa_buffer said = {0};
    size_t at = 1;
    switch (number) {
    case 0: /* everything, from the greeting on */
        to[0] = 0;
        put_everything(&said);
        at = piece(to, at, room, 0, &said);
        break;
    case 1: /* all wait for one key and for a barrier, then both come */
        to[0] = 0x0f;
        put_list(&said, PA_STORE_WAIT, 2, "/a", "/b");
        at = piece(to, at, room, 0, &said);
        at = piece(to, at, room, 1, &said);
        pa_buffer_fini(&said);
        put_number(&said, PA_STORE_BARRIER, "/a", 2);
        at = piece(to, at, room, 2, &said);
        at = piece(to, at, room, 3, &said);
        pa_buffer_fini(&said);
        put_texts(&said, PA_STORE_QUEUE_PUSH, "/b", "element", NULL);
        at = piece(to, at, room, 3, &said);
        break;
    case 2: /* the secret, and keys that it opens */
        to[0] = 0x3f;
        put_texts(&said, PA_STORE_SHOW_SECRET, "secret", NULL, NULL);
        put_texts(&said, PA_STORE_SET, "/pyaccel/a", "1", NULL);
        put_op(&said, PA_STORE_LIST_KEYS);
        at = piece(to, at, room, 2, &said);
        at = piece(to, at, room, 3, &said);
        break;
    default:
        at = 0;
    }
    pa_buffer_fini(&said);
    return at;
}
