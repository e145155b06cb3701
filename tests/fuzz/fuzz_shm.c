/* What a rank reads of a group's segment, where a peer wrote arbitrary bytes.
 *
 *     +----+-------+-------+------------+-------+-------+-------+------------+--
 *     | op | flags | where | u16 offset | count | bytes | where | u16 offset | ...
 *     +----+-------+-------+------------+-------+-------+-------+------------+--
 *
 * The segment is one of two ranks, of which this one is real. The other's memory says
 * at first what it would in a call that is like ours (or, by a flag, in one that
 * differs, so that the ranks describe their calls); then the bytes are written over it,
 * before the call or, by another flag, while it waits. The call has to end, well or
 * with an error, and must not touch anything beyond its memory. */
#include "fuzz.h"

#include "comm/agree.h"
#include "comm/broadcast.h"
#include "comm/describe.h"
#include "comm/gather.h"
#include "comm/parcel.h"
#include "comm/reduce.h"
#include "comm/shm/rank.h"
#include "comm/shm/shm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Operations of the first byte; what is beyond them is taken modulo their number. */
enum {
    ATTACH,
    BARRIER,
    GATHER,
    BROADCAST,
    ALL_OBJECTS,
    ONE_OBJECT,
    REDUCE,
    OPERATIONS
};

/* Flags: the peer's fingerprint is another one; the payload is streamed; the bytes come
 * after this rank has shown its card. */
enum { DIFFERS = 1, STREAMS = 2, LATE = 4 };

/* Where bytes are written. */
enum { HEADER, MEMBERS, LINES, DESCRIPTION, RING, PLACES };

enum { HEAD = 2, PATCH = 4, ROOM = 8192, RESULT_MAX = 1 << 20, PEER = 1, CHUNKS = 3 };

static struct {
    int fd;
    pa_shm_map map;
    pa_comm *comm;
    pa_pool *pool;
    size_t nfront;       /* bytes of the segment before the rings */
    char *front;         /* them, as they are at the beginning of each call */
    const uint8_t *late; /* the input that is to be written while this rank waits */
    size_t nlate;
} here = {.fd = -1};

static void
must(bool fine)
{
    if (!fine) {
        abort();
    }
}

static void
set_up(void)
{
    must(pa_shm_create(2, &here.fd, NULL) == PA_OK);
    must(pa_shm_layout_map(here.fd, 2, &here.map, NULL) == PA_OK);
    must(pa_shm_attach_mapped(&here.map, 0, NULL, &here.comm, NULL) == PA_OK);

    here.pool = pa_pool_create(0);
    here.nfront = (size_t)(here.map.rings - (char *)here.map.base);
    here.front = malloc(here.nfront);
    must(here.pool != NULL && here.front != NULL);
    here.map.members[PEER].state = PA_SHM_PRESENT;
    here.map.published[PEER].value = CHUNKS;
    memcpy(here.front, here.map.base, here.nfront);
}

/* As if nothing had been called yet. What the peer takes of this rank's ring is not
 * seen: a call puts at most one chunk there. */
static pa_shm *
begin(void)
{
    pa_shm *shm = (pa_shm *)here.comm;
    memcpy(here.map.base, here.front, here.nfront);
    memset(here.map.rings + PA_SHM_CHUNK_BYTES * PA_SHM_RING_CHUNKS, 0, ROOM);
    shm->policy = (pa_shm_policy){0};
    shm->base.timeout_ns = 1;
    shm->meeting = 0;
    shm->owes = false;
    shm->told = false;
    shm->put = 0;
    shm->taken[PEER] = 0;
    return shm;
}

/* ---- What this rank passes, and what a peer that is like it would show ---- */

typedef struct call {
    int64_t shapes[2][2];
    pa_leaf leaf[2];
    pa_leaves leaves;
    pa_part parts[3];
    char data[ROOM];
} call;

static void
call_make(call *made, bool streams)
{
    pa_dtype dtype = {.code = 2, .bits = 32, .lanes = 1};
    int64_t columns = streams ? 300 : 3;
    *made = (call){.shapes = {{2, columns}, {1, 2}}};
    made->leaf[0] =
        (pa_leaf){made->data, (size_t)columns * 8, 4, made->shapes[0], 2, dtype, NULL};
    made->leaf[1] = (pa_leaf){made->data + 4000, 8, 4, made->shapes[1], 2, dtype, NULL};
    made->leaves = (pa_leaves){made->leaf, 2, 7};
    made->parts[0] = (pa_part){made->data, streams ? 400 : 20, NULL};
    made->parts[1] = (pa_part){made->data + 1000, 9, NULL};
    made->parts[2] = (pa_part){made->data + 2000, 500, NULL};
}

static pa_shm_line *
peer_line(uint32_t meeting)
{
    return &here.map.lines[(meeting & 1u) * 2 + PEER];
}

static void
show_like(const call *own, int op, unsigned flags)
{
    static const uint32_t ops[] = {
        PA_OP_NONE,          PA_OP_BARRIER,          PA_OP_GATHER, PA_OP_BROADCAST,
        PA_OP_GATHER_OBJECT, PA_OP_BROADCAST_OBJECT, PA_OP_REDUCE,
    };
    bool objects = op == ALL_OBJECTS || op == ONE_OBJECT;
    pa_shm_line *line = peer_line(1);
    line->op = ops[op];
    line->root = op == BROADCAST || op == ONE_OBJECT ? PEER : PA_NO_ROOT;
    bool leaves = op == GATHER || op == BROADCAST || op == REDUCE;
    pa_called called = {
        .leaves = leaves ? &own->leaves : NULL,
        .arguments = op == REDUCE ? "sum, scale=1" : NULL,
    };
    line->fingerprint = pa_called_fingerprint(&called);
    if (leaves) {
        line->nbytes = pa_leaves_nbytes(&own->leaves);
    } else if (objects) {
        const uint64_t lengths[] = {own->parts[1].nbytes, own->parts[2].nbytes};
        line->head = sizeof lengths + own->parts[0].nbytes;
        line->nbytes = line->head + lengths[0] + lengths[1];
        line->count = 2;
        memcpy(line->inlined, lengths, sizeof lengths);
        char *ring = here.map.rings + PA_SHM_CHUNK_BYTES * PA_SHM_RING_CHUNKS;
        memcpy(ring, lengths, sizeof lengths);
    }
    uint64_t inlined = objects ? line->head : line->nbytes;
    line->ninline = inlined <= PA_CARD_INLINE ? (uint32_t)inlined : 0;
    line->fingerprint += flags & DIFFERS;
    line->round = 1;
    /* In the next meeting it describes a call of its own, if there is one. */
    pa_shm_line *next = peer_line(2);
    pa_card card = {.op = line->op, .root = line->root};
    card.fingerprint = line->fingerprint;
    size_t nbytes = 0;
    char *words = pa_describe_write(&card, &called, NULL, &nbytes);
    must(words != NULL && nbytes <= PA_CARD_INLINE);
    memcpy(next->inlined, words, nbytes);
    free(words);
    next->op = PA_OP_DESCRIBE;
    next->root = PA_NO_ROOT;
    next->nbytes = nbytes;
    next->ninline = (uint32_t)nbytes;
    next->round = 2;
}

/* ---- The peer's bytes ---- */

static void
write_over(unsigned place, size_t offset, const uint8_t *bytes, size_t count)
{
    char *const starts[] = {
        [HEADER] = here.map.base,
        [MEMBERS] = (char *)here.map.members,
        [LINES] = (char *)peer_line(1),
        [DESCRIPTION] = (char *)peer_line(2),
        [RING] = here.map.rings + PA_SHM_CHUNK_BYTES * PA_SHM_RING_CHUNKS,
    };
    const size_t sizes[] = {
        [HEADER] = sizeof(pa_shm_header),
        [MEMBERS] = here.nfront - (size_t)(starts[MEMBERS] - starts[HEADER]),
        [LINES] = sizeof(pa_shm_line),
        [DESCRIPTION] = sizeof(pa_shm_line),
        [RING] = ROOM,
    };
    size_t size = sizes[place];
    offset %= size;
    memcpy(starts[place] + offset, bytes,
           count < size - offset ? count : size - offset);
}

static void
patch(const uint8_t *data, size_t size)
{
    for (size_t at = HEAD; at + PATCH <= size;) {
        size_t offset = (size_t)data[at + 1] | (size_t)data[at + 2] << 8;
        size_t count = data[at + 3];
        unsigned place = data[at] % PLACES;
        at += PATCH;
        count = count < size - at ? count : size - at;
        write_over(place, offset, data + at, count);
        at += count;
    }
    /* A rank that is killed while it says why it broke the group is waited for, a tenth
     * of a second: too long for so many inputs. */
    uint32_t breaking = PA_SHM_BREAKING;
    (void)atomic_compare_exchange_strong(&here.map.header->broken, &breaking,
                                         PA_SHM_BROKEN);
}

/* The hook of a wait that is about to last. In the first one the late bytes come, and
 * with them the peer's card; later ones have no time, and so has one for a card that
 * the bytes have taken away. */
static void
come_late(void *context)
{
    pa_shm *shm = context;
    shm->base.timeout_ns = 1;
    if (here.late != NULL) {
        peer_line(1)->round = 1;
        patch(here.late, here.nlate);
        here.late = NULL;
        bool shown = peer_line(1)->round == 1 && peer_line(1)[-PEER].round == 1;
        shm->base.timeout_ns = shown ? UINT64_C(1000000000) : 1;
    }
}

/* ---- Calls ---- */

static void
attach(void)
{
    pa_comm *comm = NULL;
    pa_shm_owner *owner = NULL;
    if (pa_shm_attach(here.fd, PEER, 2, NULL, &comm, NULL) == PA_OK) {
        pa_comm_destroy(comm);
    }
    if (pa_shm_owner_open(here.fd, &owner, NULL) == PA_OK) {
        (void)pa_shm_owner_mark_ended(owner, PEER, "ended", NULL);
        pa_shm_owner_close(owner);
    }
}

/* Room for the result of a leaf, as a caller has to measure it; NULL where it is more
 * than this caller has. */
static char *
result_of(const pa_gather *gather, const pa_leaf *leaf, size_t index)
{
    int64_t rows = pa_gather_rows(gather, index);
    size_t row = leaf->itemsize * (size_t)leaf->shape[1];
    return rows < 0 || (uint64_t)rows > RESULT_MAX / row ? NULL
                                                         : malloc((size_t)rows * row);
}

static void
gather(const call *own, const pa_hooks *hooks, pa_error *error)
{
    pa_gather both;
    if (pa_gather_begin(&both, here.comm, &own->leaves, PA_NO_ROOT, false, false, hooks,
                        error) != PA_OK) {
        return;
    }
    char *outputs[2] = {
        result_of(&both, &own->leaf[0], 0),
        result_of(&both, &own->leaf[1], 1),
    };
    if (outputs[0] != NULL && outputs[1] != NULL) {
        (void)pa_gather_finish(&both, outputs, hooks, error);
    }
    free(outputs[0]);
    free(outputs[1]);
    pa_gather_fini(&both);
}

static void
reduce(const call *own, const pa_hooks *hooks, pa_error *error)
{
    char *outputs[2] = {malloc(own->leaf[0].nbytes), malloc(own->leaf[1].nbytes)};
    must(outputs[0] != NULL && outputs[1] != NULL);
    (void)pa_reduce(here.comm, &own->leaves, PA_REDUCTION_SUM, 1.0, outputs, hooks,
                    error);
    free(outputs[0]);
    free(outputs[1]);
}

/* Reads every byte of what came. */
static void
objects(const call *own, uint32_t op, int from, const pa_hooks *hooks, pa_error *error)
{
    pa_parcels all = {0};
    unsigned sum = 0;
    if (pa_parcels_exchange(here.comm, op, from, PA_NO_ROOT, false, NULL, own->parts, 3,
                            here.pool, &all, hooks, error) != PA_OK) {
        return;
    }
    for (int rank = 0; rank < all.size; rank++) {
        const pa_parcel *one = &all.at[rank];
        for (size_t i = 0; i < one->ntext; i++) {
            sum += (unsigned char)one->text[i];
        }
        for (uint32_t i = 0; i < one->nbuffers; i++) {
            must(one->buffers[i]->capacity >= one->lengths[i]);
            sum += one->lengths[i] > 0 ? (unsigned char)one->buffers[i]->data[0] : 0;
        }
    }
    must(sum != 0 || all.size == 2);
    pa_parcels_fini(&all);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static call own;
    if (size < HEAD) {
        return 0;
    }
    if (here.fd < 0) {
        set_up();
    }
    pa_shm *shm = begin();
    pa_hooks hooks = {.context = shm, .release = come_late};
    int op = data[0] % OPERATIONS;
    call_make(&own, (data[1] & STREAMS) != 0);
    show_like(&own, op, data[1]);
    here.late = NULL;
    if ((data[1] & LATE) != 0) {
        here.late = data;
        here.nlate = size;
        peer_line(1)->round = 0;
        shm->base.timeout_ns = UINT64_C(1000000000);
    } else {
        patch(data, size);
    }
    pa_error error = PA_ERROR_INIT;
    switch (op) {
    case ATTACH:
        attach();
        break;
    case BARRIER:
        (void)pa_barrier(here.comm, &hooks, &error);
        break;
    case GATHER:
        gather(&own, &hooks, &error);
        break;
    case BROADCAST:
        (void)pa_broadcast(here.comm, &own.leaves, PEER, &hooks, &error);
        break;
    case ALL_OBJECTS:
        objects(&own, PA_OP_GATHER_OBJECT, PA_NO_ROOT, &hooks, &error);
        break;
    case REDUCE:
        reduce(&own, &hooks, &error);
        break;
    default:
        objects(&own, PA_OP_BROADCAST_OBJECT, PEER, &hooks, &error);
    }
    char text[PA_SHM_TEXT];
    (void)pa_comm_broken(here.comm, text, sizeof text);
    return 0;
}

/* ---- Seeds ---- */

/* Bytes of a description without texts before the first dimension of its first leaf. */
enum { BEFORE_SHAPE = 52 };

static size_t
put_patch(uint8_t *to, size_t at, unsigned place, size_t offset, const void *bytes,
          size_t count)
{
    to[at] = (uint8_t)place;
    to[at + 1] = (uint8_t)(offset & 255);
    to[at + 2] = (uint8_t)(offset >> 8);
    to[at + 3] = (uint8_t)count;
    memcpy(to + at + PATCH, bytes, count);
    return at + PATCH + count;
}

/* Every operation, alike and different, short and streamed; each with one field of the
 * card, of the description and of the ring written over. */
size_t
fuzz_seed(size_t number, uint8_t *to, size_t room)
{
    static const size_t fields[] = {
        offsetof(pa_shm_line, nbytes),
        offsetof(pa_shm_line, head),
        offsetof(pa_shm_line, count),
        offsetof(pa_shm_line, ninline),
    };
    size_t field = fields[number % 4];
    size_t flags = number / 4 % 8;
    if (number >= OPERATIONS * 4 * 8 || room < 256) {
        return 0;
    }
    if (here.fd < 0) {
        set_up();
    }
    /* Less than what is sent, by a card or by the ring. */
    uint64_t value = (flags & STREAMS) != 0 ? 300 : 16;
    uint32_t rows = 5;
    to[0] = (uint8_t)(number / 32);
    to[1] = (uint8_t)flags;
    size_t at = HEAD;
    if (to[0] == ATTACH) {
        at = put_patch(to, at, HEADER, number % 4 * 8, &value, 8);
    } else if ((flags & DIFFERS) != 0) {
        size_t first_shape = offsetof(pa_shm_line, inlined) + BEFORE_SHAPE;
        at = put_patch(to, at, DESCRIPTION, first_shape, &rows, 4);
    } else if ((flags & LATE) != 0) {
        /* Of this rank's own line, which stands before the peer's. */
        size_t own = (size_t)((char *)peer_line(1) - (char *)here.map.members);
        at = put_patch(to, at, MEMBERS, own + field - sizeof(pa_shm_line), &value, 4);
    } else {
        at = put_patch(to, at, LINES, field, &value, 4);
        at = put_patch(to, at, RING, 0, &value, 8);
    }
    return at;
}
