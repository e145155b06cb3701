/* Reduce: see the header.
 *
 * A payload that fits the card comes with it, a small one is gathered, and each rank
 * computes all of it. A larger one is cut into blocks, and each block into one segment
 * a rank, which that rank alone computes:
 *
 *      rank 0      a0 | a1 | a2        scatter: rank r gets segment r of all,
 *      rank 1      b0 | b1 | b2        and computes it in the order of the ranks
 *      rank 2      c0 | c1 | c2
 *                                      gather: all get all computed segments
 *
 * The payload is the leaves one after the other; a place in it is a number of bytes.
 * Segments begin at whole elements, so every rank computes whole elements. */
#include "comm/reduce.h"

#include "comm/agree.h"
#include "comm/backend.h"
#include "comm/device/reduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Payloads up to this are computed by every rank: quicker than a second stream. */
enum { GATHERED_BYTES = 64 << 10 };

/* Bytes of a block that all ranks compute; of the longest number. */
enum { WHOLE_BLOCK = 16 << 20, ITEM_BYTES = 16 };

typedef struct reducer {
    pa_comm *comm;
    const pa_leaves *leaves;
    pa_reduction reduction;
    double scale;
    char *const *outputs;
    size_t size; /* of the group */
    size_t rank;
    size_t nbytes;     /* of the payload */
    pa_card *cards;    /* [size] */
    pa_flow *flows;    /* [size] */
    const char **from; /* [size]: a piece on every rank */
    size_t *begins;    /* [leaves + 1]: where a leaf begins in the payload */
    pa_part *parts;    /* of the own bytes, then of those of the others */
    const pa_hooks *hooks;
    pa_error *error;
} reducer;

/* One allocation for all tables; the cards come first. False when memory is short. */
static bool
reducer_make(reducer *r)
{
    size_t leaves = r->leaves->count;
    /* A flow of own bytes has at most two runs of leaves, those of others a part to
     * skip before and behind. */
    size_t nparts = 2 * leaves + 4 * r->size + 8;
    size_t each = sizeof(pa_card) + sizeof(pa_flow) + sizeof(char *);
    char *memory = malloc(r->size * each + (leaves + 1) * sizeof(size_t) +
                          nparts * sizeof(pa_part));
    if (memory == NULL) {
        return false;
    }
    r->cards = (pa_card *)(void *)memory;
    r->flows = (pa_flow *)(void *)(r->cards + r->size);
    r->parts = (pa_part *)(void *)(r->flows + r->size);
    r->from = (const char **)(void *)(r->parts + nparts);
    r->begins = (size_t *)(void *)(r->from + r->size);
    r->begins[0] = 0;
    for (size_t i = 0; i < leaves; i++) {
        r->begins[i + 1] = r->begins[i] + r->leaves->at[i].nbytes;
    }
    r->nbytes = r->begins[leaves];
    return true;
}

/* ---- Places in the payload ---- */

/* The leaf that holds the byte at `place`, which is within the payload. */
static size_t
leaf_at(const reducer *r, size_t place)
{
    size_t low = 0;
    size_t high = r->leaves->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (r->begins[middle] <= place) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The beginning of the element that holds the byte at `place`. */
static size_t
whole_elements(const reducer *r, size_t place)
{
    if (place >= r->nbytes) {
        return r->nbytes;
    }
    size_t leaf = leaf_at(r, place);
    return place - (place - r->begins[leaf]) % r->leaves->at[leaf].itemsize;
}

/* Where segment `index` of the block [begin, end) begins; segment `size` is its end. */
static size_t
segment_begin(const reducer *r, size_t begin, size_t end, size_t index)
{
    if (index == r->size) {
        return end;
    }
    size_t share = (end - begin) / r->size;
    size_t place = whole_elements(r, begin + share * index);
    return place > begin ? place : begin;
}

/* The pieces of leaves (`results`: of results) that make up [begin, end), added to the
 * parts at `*count`. */
static void
add_parts(const reducer *r, bool results, size_t begin, size_t end, size_t *count)
{
    for (size_t leaf = begin < end ? leaf_at(r, begin) : 0; begin < end; leaf++) {
        size_t stop = r->begins[leaf + 1] < end ? r->begins[leaf + 1] : end;
        char *data = results ? r->outputs[leaf] : r->leaves->at[leaf].data;
        if (stop > begin) {
            r->parts[(*count)++] =
                (pa_part){data + (begin - r->begins[leaf]), stop - begin, NULL};
        }
        begin = stop;
    }
}

/* Computes [begin, end) from what `from[rank]` points to on every rank. The own entry
 * is not looked at: the own bytes are in the leaves. */
static void
compute(reducer *r, size_t begin, size_t end)
{
    for (size_t leaf = begin < end ? leaf_at(r, begin) : 0; begin < end; leaf++) {
        size_t stop = r->begins[leaf + 1] < end ? r->begins[leaf + 1] : end;
        size_t offset = begin - r->begins[leaf];
        if (stop > begin) {
            r->from[r->rank] = r->leaves->at[leaf].data + offset;
            pa_reduction_run(r->reduction, r->scale, r->leaves->at[leaf].dtype, r->from,
                             (int)r->size, r->outputs[leaf] + offset, stop - begin);
        }
        for (size_t rank = 0; rank < r->size; rank++) {
            r->from[rank] += rank == r->rank ? 0 : stop - begin;
        }
        begin = stop;
    }
}

/* ---- The three ways ---- */

static void
reduce_inlined(reducer *r)
{
    for (size_t rank = 0; rank < r->size; rank++) {
        r->from[rank] = r->cards[rank].inlined;
    }
    compute(r, 0, r->nbytes);
}

/* Where the bytes of another rank land in `room`, which holds `each` bytes of every
 * other one. */
static char *
room_of(const reducer *r, char *room, size_t each, size_t rank)
{
    return room + (rank < r->rank ? rank : rank - 1) * each;
}

/* Receives the own segment of a block from all others, while they receive theirs; with
 * `whole` everybody's segment is the block. */
static pa_status
scatter(reducer *r, bool whole, size_t begin, size_t end, size_t own_begin,
        size_t own_end, char *room)
{
    size_t own = own_end - own_begin;
    size_t count = 0;
    add_parts(r, false, begin, whole ? end : own_begin, &count);
    add_parts(r, false, whole ? end : own_end, end, &count);
    pa_flow send = {.parts = r->parts, .nparts = count};
    send.nbytes = whole ? own : end - begin - own;
    for (size_t rank = 0; rank < r->size; rank++) {
        pa_part *parts = &r->parts[count];
        if (rank == r->rank) {
            r->flows[rank] = (pa_flow){.nbytes = send.nbytes};
            continue;
        }
        /* What the peer sends is the block without the peer's own segment. */
        size_t theirs = whole ? begin : segment_begin(r, begin, end, rank);
        size_t their_end = whole ? begin : segment_begin(r, begin, end, rank + 1);
        size_t sent = (end - begin) - (their_end - theirs);
        size_t before = own_begin - begin;
        before -= rank < r->rank ? their_end - theirs : 0;
        parts[0] = (pa_part){NULL, before, NULL};
        parts[1] = (pa_part){room_of(r, room, own, rank), own, NULL};
        parts[2] = (pa_part){NULL, sent - before - own, NULL};
        r->from[rank] = parts[1].data;
        r->flows[rank] = (pa_flow){parts, 3, sent};
        count += 3;
    }
    return pa_comm_stream(r->comm, PA_OP_REDUCE, &send, r->flows, r->hooks, r->error);
}

/* Gives the computed segment to all others and receives theirs. */
static pa_status
gather(reducer *r, size_t begin, size_t end)
{
    size_t count = 0;
    for (size_t rank = 0; rank < r->size; rank++) {
        size_t first = count;
        size_t from = segment_begin(r, begin, end, rank);
        size_t to = segment_begin(r, begin, end, rank + 1);
        add_parts(r, true, from, to, &count);
        r->flows[rank] = (pa_flow){&r->parts[first], count - first, to - from};
    }
    pa_flow send = r->flows[r->rank];
    r->flows[r->rank].parts = NULL; /* they are there already */
    return pa_comm_stream(r->comm, PA_OP_REDUCE, &send, r->flows, r->hooks, r->error);
}

static pa_status
no_memory(reducer *r, size_t nbytes)
{
    pa_status status =
        pa_error_set(r->error, PA_EMEMORY,
                     "reduce: rank %zu has no memory for %zu bytes", r->rank, nbytes);
    pa_comm_abort_memory(r->comm, PA_OP_REDUCE);
    return status;
}

/* Block after block, each by all ranks (`whole`) or in segments. */
static pa_status
reduce_blocks(reducer *r, bool whole, size_t block)
{
    block = block < r->nbytes ? block : r->nbytes;
    /* Rounding to whole elements makes a segment longer than its share by less than one
     * element and one byte a rank. */
    size_t each = whole ? block : block / r->size + r->size + ITEM_BYTES;
    size_t nbytes = (r->size - 1) * each + 1;
    char *room = malloc(nbytes);
    if (room == NULL) {
        return no_memory(r, nbytes);
    }
    pa_status status = PA_OK;
    for (size_t begin = 0; begin < r->nbytes && status == PA_OK;) {
        size_t end = whole_elements(r, begin + block);
        size_t from = whole ? begin : segment_begin(r, begin, end, r->rank);
        size_t to = whole ? end : segment_begin(r, begin, end, r->rank + 1);
        status = scatter(r, whole, begin, end, from, to, room);
        if (status == PA_OK) {
            compute(r, from, to);
            status = whole ? PA_OK : gather(r, begin, end);
        }
        begin = end;
    }
    free(room);
    return status;
}

static pa_status
reduce_streamed(reducer *r)
{
    size_t block = r->comm->backend->segment_block;
    if (r->nbytes > GATHERED_BYTES && r->hooks != NULL && r->hooks->release != NULL) {
        r->hooks->release(r->hooks->context);
    }
    return r->nbytes > GATHERED_BYTES && block > 0
               ? reduce_blocks(r, false, block)
               : reduce_blocks(r, true, WHOLE_BLOCK);
}

/* Text of the arguments, for the ranks to compare. */
static void
format_arguments(const reducer *r, char *text, size_t capacity)
{
    (void)snprintf(text, capacity, "%s, scale=%.17g", pa_reduction_text(r->reduction),
                   r->scale);
}

/* Refuses leaves that cannot be reduced so, and tells the others. */
static pa_status
check_leaves(reducer *r)
{
    for (size_t i = 0; i < r->leaves->count; i++) {
        pa_error said = PA_ERROR_INIT;
        pa_status status =
            pa_reduction_check(r->reduction, r->scale, r->leaves->at[i].dtype, &said);
        if (status != PA_OK) {
            PA_TRY(pa_comm_excuse(r->comm, PA_OP_REDUCE, said.message, r->hooks));
            return pa_error_set(r->error, status, "%s", said.message);
        }
    }
    return PA_OK;
}

/* Copies the own leaves, scaled. */
static void
keep_own(reducer *r)
{
    for (size_t i = 0; i < r->leaves->count; i++) {
        const pa_leaf *leaf = &r->leaves->at[i];
        const char *own = leaf->data;
        if (leaf->nbytes > 0 && r->scale == 1.0) {
            memcpy(r->outputs[i], own, leaf->nbytes);
        } else if (leaf->nbytes > 0) {
            pa_reduction_run(PA_REDUCTION_SUM, r->scale, leaf->dtype, &own, 1,
                             r->outputs[i], leaf->nbytes);
        }
    }
}

/* What comes after the agreement, where no payload came with its card. */
static pa_status
reduce_whole(reducer *r)
{
    if (r->reduction == PA_REDUCTION_NONE) {
        keep_own(r);
        return PA_OK;
    }
    return reduce_streamed(r);
}

static pa_status
meet_and_reduce(reducer *r)
{
    char arguments[64];
    char packed[PA_CARD_INLINE];
    bool keeps = r->reduction == PA_REDUCTION_NONE;
    size_t nbytes = keeps ? 0 : r->nbytes;
    uint32_t placed = pa_devices_placed(r->comm, r->leaves);
    bool inlined = placed == 0 && nbytes <= sizeof packed;
    if (inlined && !keeps) {
        pa_leaves_pack(r->leaves, packed);
    }
    format_arguments(r, arguments, sizeof arguments);
    pa_called called = {.leaves = r->leaves, .arguments = arguments};
    pa_card mine = {
        .op = PA_OP_REDUCE,
        .root = PA_NO_ROOT,
        .fingerprint = pa_called_fingerprint(&called),
        .nbytes = nbytes,
        .placed = placed,
        .inlined = packed,
        .ninline = inlined ? (uint32_t)nbytes : 0,
    };
    pa_agreement agreement = {0};
    PA_TRY(pa_comm_meet(r->comm, &mine, r->cards, r->hooks, r->error));
    PA_TRY(pa_agree(r->comm, r->cards, &called, false, &agreement, r->hooks, r->error));
    placed = pa_cards_placed(r->cards, (int)r->size);
    if (placed != 0) {
        pa_device_reduction work = {
            .leaves = r->leaves,
            .reduction = r->reduction,
            .scale = r->scale,
            .outputs = r->outputs,
            .captured = (placed & PA_PLACED_CAPTURED) != 0,
        };
        return pa_devices_reduce(r->comm, &work, placed, agreement.apart, r->hooks,
                                 r->error);
    }
    if (inlined && !keeps) {
        reduce_inlined(r);
        return PA_OK;
    }
    return reduce_whole(r);
}

static reducer
reducer_of(pa_comm *comm, const pa_leaves *leaves, pa_reduction reduction, double scale,
           char *const *outputs, const pa_hooks *hooks, pa_error *error)
{
    return (reducer){
        .comm = comm,
        .leaves = leaves,
        .reduction = reduction,
        .scale = scale,
        .outputs = outputs,
        .size = (size_t)pa_comm_size(comm),
        .rank = (size_t)pa_comm_rank(comm),
        .hooks = hooks,
        .error = error,
    };
}

pa_status
pa_reduce_agreed(pa_comm *comm, const pa_leaves *leaves, pa_reduction reduction,
                 double scale, char *const *outputs, const pa_hooks *hooks,
                 pa_error *error)
{
    reducer r = reducer_of(comm, leaves, reduction, scale, outputs, hooks, error);
    if (!reducer_make(&r)) {
        return no_memory(&r, leaves->count * sizeof(pa_part));
    }
    pa_status status = reduce_whole(&r);
    free(r.cards);
    return status;
}

pa_status
pa_reduce(pa_comm *comm, const pa_leaves *leaves, pa_reduction reduction, double scale,
          char *const *outputs, const pa_hooks *hooks, pa_error *error)
{
    reducer r = reducer_of(comm, leaves, reduction, scale, outputs, hooks, error);
    PA_TRY(check_leaves(&r));
    if (!reducer_make(&r)) {
        PA_TRY(pa_comm_excuse(comm, PA_OP_REDUCE, "memory is short", hooks));
        return pa_error_set(error, PA_EMEMORY, "reduce: no memory for %zu leaves",
                            leaves->count);
    }
    pa_status status = meet_and_reduce(&r);
    free(r.cards);
    return status;
}
