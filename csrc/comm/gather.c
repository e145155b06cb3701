/* Gather: see the header. */
#include "comm/gather.h"

#include "comm/device/devices.h"
#include "comm/lend.h"

#include <stdlib.h>
#include <string.h>

/* Rows of a leaf on a rank. */
static int64_t
rows_of(const pa_gather *gather, size_t leaf, int rank)
{
    if (gather->agreement.uneven) {
        return gather->agreement.rows[(size_t)rank * gather->leaves->count + leaf];
    }
    const pa_leaf *own = &gather->leaves->at[leaf];
    return own->ndim > 0 ? own->shape[0] : 1;
}

/* Bytes of one row; the same on every rank, and known where there are no rows. */
static size_t
row_nbytes(const pa_leaf *leaf)
{
    size_t nbytes = leaf->itemsize;
    for (int32_t d = 1; d < leaf->ndim; d++) {
        nbytes *= (size_t)leaf->shape[d];
    }
    return nbytes;
}

static pa_status
allocate(pa_gather *gather, size_t size, pa_error *error)
{
    size_t leaves = gather->leaves->count;
    size_t each = sizeof(pa_card) + sizeof(pa_flow) + leaves * sizeof(pa_part);
    gather->cards = malloc(size * each + leaves * sizeof(pa_part));
    if (gather->cards == NULL) {
        (void)pa_comm_excuse(gather->comm, PA_OP_GATHER, "memory is short", NULL);
        return pa_error_set(error, PA_EMEMORY, "gather: no memory for %zu leaves",
                            leaves);
    }
    gather->flows = (pa_flow *)(void *)(gather->cards + size);
    gather->parts = (pa_part *)(void *)(gather->flows + size);
    gather->own = gather->parts + size * leaves;
    for (size_t i = 0; i < leaves; i++) {
        const pa_leaf *leaf = &gather->leaves->at[i];
        gather->own[i] = (pa_part){leaf->data, leaf->nbytes, leaf->place};
    }
    gather->send = (pa_flow){gather->own, leaves, gather->nbytes};
    return PA_OK;
}

pa_status
pa_gather_begin(pa_gather *gather, pa_comm *comm, const pa_leaves *leaves, int root,
                bool strict, bool lend, const pa_hooks *hooks, pa_error *error)
{
    *gather = (pa_gather){
        .comm = comm,
        .leaves = leaves,
        .root = root,
        .nbytes = pa_leaves_nbytes(leaves),
    };
    PA_TRY(allocate(gather, (size_t)pa_comm_size(comm), error));
    char packed[PA_CARD_INLINE];
    uint32_t placed = pa_devices_placed(comm, leaves);
    gather->inlined = placed == 0 && gather->nbytes <= sizeof packed;
    if (gather->inlined) {
        pa_leaves_pack(leaves, packed);
    }
    pa_called called = {.leaves = leaves, .arguments = lend ? "copy=False" : NULL};
    pa_card mine = {
        .op = PA_OP_GATHER,
        .root = root,
        .fingerprint = pa_called_fingerprint(&called),
        .nbytes = gather->nbytes,
        .placed = placed,
        .inlined = packed,
        .ninline = gather->inlined ? (uint32_t)gather->nbytes : 0,
        .follows = gather->inlined || placed != 0 ? NULL : &gather->send,
    };
    pa_status status = pa_comm_meet(comm, &mine, gather->cards, hooks, error);
    if (status == PA_OK) {
        status = pa_agree(comm, gather->cards, &called, !strict, &gather->agreement,
                          hooks, error);
    }
    if (status != PA_OK) {
        pa_gather_fini(gather);
        return status;
    }
    if (gather->agreement.uneven || gather->agreement.apart) {
        /* The descriptions have used up the meeting, and the inline bytes with it. */
        gather->inlined = false;
    }
    gather->placed = pa_cards_placed(gather->cards, pa_comm_size(comm));
    return PA_OK;
}

bool
pa_gather_receives(const pa_gather *gather)
{
    return gather->root == PA_NO_ROOT || gather->root == pa_comm_rank(gather->comm);
}

int64_t
pa_gather_rows(const pa_gather *gather, size_t leaf)
{
    int64_t rows = 0;
    for (int rank = 0; rank < pa_comm_size(gather->comm); rank++) {
        if (__builtin_add_overflow(rows, rows_of(gather, leaf, rank), &rows)) {
            return -1;
        }
    }
    return rows;
}

/* Deals the inline payload of a card out to the results' parts. */
static void
unpack(const pa_card *card, const pa_part *parts, size_t count)
{
    const char *from = card->inlined;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].nbytes > 0 && parts[i].data != NULL) {
            memcpy(parts[i].data, from, parts[i].nbytes);
        }
        from += parts[i].nbytes;
    }
}

/* Where each rank's bytes go in the results, or how many pass by. */
static void
place_parts(pa_gather *gather, char *const *outputs)
{
    size_t leaves = gather->leaves->count;
    int size = pa_comm_size(gather->comm);
    bool receives = pa_gather_receives(gather);
    for (int rank = 0; rank < size; rank++) {
        bool wanted = receives || gather->placed != 0;
        gather->flows[rank] = (pa_flow){
            .parts = wanted ? gather->parts + (size_t)rank * leaves : NULL,
            .nparts = leaves,
        };
    }
    for (size_t i = 0; i < leaves; i++) {
        size_t row = row_nbytes(&gather->leaves->at[i]);
        char *at = receives ? outputs[i] : NULL;
        for (int rank = 0; rank < size; rank++) {
            size_t nbytes = (size_t)rows_of(gather, i, rank) * row;
            gather->parts[(size_t)rank * leaves + i] =
                (pa_part){at, nbytes, gather->leaves->at[i].place};
            gather->flows[rank].nbytes += nbytes;
            at = receives && nbytes > 0 ? at + nbytes : at;
        }
    }
}

pa_status
pa_gather_finish(pa_gather *gather, char *const *outputs, const pa_hooks *hooks,
                 pa_error *error)
{
    place_parts(gather, outputs);
    if (!gather->inlined) {
        pa_move move = {
            .op = PA_OP_GATHER,
            .placed = gather->placed,
            .apart = gather->agreement.apart,
            .send = &gather->send,
            .recv = gather->flows,
            .receiver = gather->root,
            .sender = PA_NO_ROOT,
        };
        return pa_devices_move(gather->comm, &move, hooks, error);
    }
    for (int rank = 0; pa_gather_receives(gather) && rank < pa_comm_size(gather->comm);
         rank++) {
        unpack(&gather->cards[rank], gather->flows[rank].parts, gather->leaves->count);
    }
    return PA_OK;
}

/* Where the own rows of each leaf belong among all, and where the last result ends. */
static bool
place_joined(const pa_gather *gather, size_t *starts, pa_arena_piece *pieces,
             size_t *nbytes)
{
    *nbytes = 0;
    int rank = pa_comm_rank(gather->comm);
    for (size_t i = 0; i < gather->leaves->count; i++) {
        size_t row = row_nbytes(&gather->leaves->at[i]);
        int64_t rows = pa_gather_rows(gather, i);
        size_t all = 0;
        size_t before = 0;
        for (int lower = 0; lower < rank; lower++) {
            before += (size_t)rows_of(gather, i, lower) * row;
        }
        if (rows < 0 || __builtin_mul_overflow((size_t)rows, row, &all) ||
            !pa_lend_place(nbytes, all, &starts[i])) {
            return false;
        }
        pieces[i] = (pa_arena_piece){gather->own[i].data, gather->own[i].nbytes,
                                     starts[i] + before};
    }
    return true;
}

pa_status
pa_gather_lend(pa_gather *gather, pa_lease **lease, size_t *starts, bool *lent,
               const pa_hooks *hooks, pa_error *error)
{
    *lease = NULL;
    *lent = false;
    if (gather->inlined || gather->placed != 0) {
        return PA_OK;
    }
    size_t nbytes = 0;
    size_t count = gather->leaves->count;
    pa_arena_piece *pieces = malloc((count + 1) * sizeof *pieces);
    if (pieces == NULL) {
        pa_comm_abort_memory(gather->comm, PA_OP_GATHER);
        return pa_error_set(error, PA_EMEMORY, "gather: no memory for %zu leaves",
                            count);
    }
    pa_status status = PA_OK;
    /* What fits no size has the same fate on all ranks: their results cannot be made.
     */
    if (place_joined(gather, starts, pieces, &nbytes) && nbytes > 0) {
        status = pa_lend_joined(gather->comm, PA_OP_GATHER, gather->root, pieces, count,
                                nbytes, lease, lent, hooks, error);
    }
    free(pieces);
    return status;
}

void
pa_gather_fini(pa_gather *gather)
{
    pa_agreement_fini(&gather->agreement);
    free(gather->cards);
    gather->cards = NULL;
}
