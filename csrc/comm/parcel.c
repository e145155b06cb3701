/* Parcels: see the header. */
#include "comm/parcel.h"

#include "base/size.h"
#include "comm/agree.h"
#include "comm/lend.h"

#include <stdlib.h>
#include <string.h>

/* One exchange under way. */
typedef struct exchange {
    pa_comm *comm;
    uint32_t op;
    int size;
    int rank;
    int from; /* see pa_parcels_exchange */
    int to;
    pa_card *cards;    /* [size]; `inlined` is read before the next meeting */
    pa_flow *flows;    /* [size] */
    pa_part *heads;    /* [size] */
    pa_part *buffers;  /* of all ranks in order, made when their number is known */
    bool lend;         /* see pa_parcels_exchange */
    size_t *lent;      /* [size]: bytes that each rank lends */
    pa_lease **leases; /* [size] */
} exchange;

static pa_status
out_of_memory(exchange *x, pa_error *error)
{
    pa_status status = pa_error_set(error, PA_EMEMORY, "%s: memory is short on rank %d",
                                    pa_op_text(x->op), x->rank);
    pa_comm_abort_memory(x->comm, x->op);
    return status;
}

/* Whether a rank's card is one that can be true; a broken peer must not make us read
 * beyond our memory. */
static bool
card_plausible(const pa_card *card)
{
    return card->head >= (uint64_t)card->count * sizeof(uint64_t) &&
           card->nbytes >= card->head && card->nbytes < SIZE_MAX / 2 &&
           (card->head > PA_CARD_INLINE || card->ninline == card->head);
}

/* Bytes for the table and all heads, and the number of buffers; false, with an error,
 * when a rank's card cannot be true, alone or with those before it. */
static bool
measure_heads(exchange *x, size_t *nbytes, size_t *nbuffers, pa_error *error)
{
    *nbytes = (size_t)x->size * sizeof(pa_parcel);
    *nbuffers = 0;
    for (int rank = 0; rank < x->size; rank++) {
        const pa_card *card = &x->cards[rank];
        if (!card_plausible(card) ||
            !pa_size_add(*nbytes, pa_size_round_up((size_t)card->head, 8), nbytes) ||
            !pa_size_add(*nbuffers, card->count, nbuffers)) {
            pa_comm_abort(x->comm, "a rank showed a damaged card");
            (void)pa_error_set(error, PA_EBROKEN, "%s: rank %d showed a damaged card",
                               pa_op_text(x->op), rank);
            return false;
        }
    }
    return true;
}

/* Makes room for all heads and moves them there: from the cards, or by a stream. */
static pa_status
move_heads(exchange *x, const pa_flow *send, pa_parcels *parcels, const pa_hooks *hooks,
           pa_error *error)
{
    size_t nbytes = 0;
    size_t nbuffers = 0;
    if (!measure_heads(x, &nbytes, &nbuffers, error)) {
        return PA_EBROKEN;
    }
    parcels->memory = malloc(nbytes);
    parcels->tables = calloc(nbuffers + 1, sizeof(pa_block *) + sizeof(pa_part));
    if (parcels->memory == NULL || parcels->tables == NULL) {
        return out_of_memory(x, error);
    }
    parcels->at = parcels->memory;
    parcels->size = x->size;
    pa_block **blocks = parcels->tables;
    x->buffers = (pa_part *)(void *)(blocks + nbuffers + 1);
    char *at = (char *)(parcels->at + x->size);
    bool streams = false;
    for (int rank = 0; rank < x->size; rank++) {
        const pa_card *card = &x->cards[rank];
        size_t head = (size_t)card->head;
        size_t lengths = card->count * sizeof(uint64_t);
        bool wanted = (x->to == PA_NO_ROOT || x->to == x->rank) &&
                      (rank != x->rank || x->from != rank);
        parcels->at[rank] = (pa_parcel){
            .text = at + lengths,
            .ntext = wanted ? head - lengths : 0,
            .nbuffers = wanted ? card->count : 0,
            .lengths = (const uint64_t *)(void *)at,
            .buffers = blocks,
        };
        x->heads[rank] = (pa_part){at, head, NULL};
        x->flows[rank] = (pa_flow){0};
        if (head <= PA_CARD_INLINE) {
            memcpy(at, card->inlined, head);
        } else {
            x->flows[rank] = (pa_flow){wanted ? &x->heads[rank] : NULL, 1, head};
            streams = true;
        }
        at += pa_size_round_up(head, 8);
        blocks += card->count;
    }
    return streams ? pa_comm_stream(x->comm, x->op, send, x->flows, hooks, error)
                   : PA_OK;
}

static pa_status
damaged_parcel(exchange *x, int rank, pa_error *error)
{
    pa_comm_abort(x->comm, "a rank sent a damaged parcel");
    return pa_error_set(error, PA_EBROKEN, "%s: rank %d sent a damaged parcel",
                        pa_op_text(x->op), rank);
}

/* Takes a block for every buffer and moves the buffers there. */
static pa_status
move_buffers(exchange *x, const pa_flow *send, pa_pool *pool, pa_parcels *parcels,
             const pa_hooks *hooks, pa_error *error)
{
    pa_part *part = x->buffers;
    bool streams = false;
    for (int rank = 0; rank < x->size; rank++) {
        pa_parcel *parcel = &parcels->at[rank];
        size_t nbytes = (size_t)(x->cards[rank].nbytes - x->cards[rank].head);
        bool wanted = parcel->nbuffers > 0;
        x->flows[rank] = (pa_flow){wanted ? part : NULL, parcel->nbuffers, nbytes};
        streams = streams || nbytes > 0;
        size_t sum = 0;
        for (uint32_t i = 0; i < parcel->nbuffers; i++) {
            size_t length = (size_t)parcel->lengths[i];
            parcel->buffers[i] =
                length <= nbytes ? pa_pool_take(pool, length, 0) : NULL;
            if (parcel->buffers[i] == NULL) {
                return out_of_memory(x, error);
            }
            *part++ = (pa_part){parcel->buffers[i]->data, length, NULL};
            if (!pa_size_add(sum, length, &sum)) {
                sum = SIZE_MAX;
            }
        }
        if (wanted && sum != nbytes) {
            return damaged_parcel(x, rank, error);
        }
    }
    return streams ? pa_comm_stream(x->comm, x->op, send, x->flows, hooks, error)
                   : PA_OK;
}

/* The own parcel on its way: lengths and text as one head, then the buffers. */
typedef struct outgoing {
    uint64_t *lengths;
    pa_part head[2];
    size_t nhead;
    size_t nbuffers;
    size_t nbuffer_bytes;
} outgoing;

static bool
outgoing_make(outgoing *out, const pa_part *parts, size_t nparts)
{
    *out = (outgoing){0};
    if (nparts == 0) {
        return true;
    }
    out->nbuffers = nparts - 1;
    out->lengths = malloc((out->nbuffers + 1) * sizeof *out->lengths);
    if (out->lengths == NULL) {
        return false;
    }
    for (size_t i = 0; i < out->nbuffers; i++) {
        out->lengths[i] = parts[i + 1].nbytes;
        out->nbuffer_bytes += parts[i + 1].nbytes;
    }
    out->head[0] =
        (pa_part){(char *)out->lengths, out->nbuffers * sizeof *out->lengths, NULL};
    out->head[1] = parts[0];
    out->nhead = out->head[0].nbytes + out->head[1].nbytes;
    return true;
}

/* Bytes that a parcel's buffers take where they are lent; false if its lengths cannot
 * be true. */
static bool
measure_lent(const uint64_t *lengths, size_t count, size_t nbytes, size_t *lent)
{
    size_t sum = 0;
    size_t start = 0;
    *lent = 0;
    for (size_t i = 0; i < count; i++) {
        if (!pa_lend_place(lent, (size_t)lengths[i], &start) ||
            !pa_size_add(sum, (size_t)lengths[i], &sum)) {
            return false;
        }
    }
    /* Buffers without bytes need a place, too. */
    *lent += count > 0 && *lent == 0 ? 1 : 0;
    return sum == nbytes;
}

/* Lends the buffers, where that is possible and there are any; `*lent` tells. */
static pa_status
lend_buffers(exchange *x, const outgoing *out, const pa_part *parts,
             pa_parcels *parcels, bool *lent, const pa_hooks *hooks, pa_error *error)
{
    bool any = false;
    for (int rank = 0; rank < x->size; rank++) {
        pa_parcel *parcel = &parcels->at[rank];
        size_t nbytes = (size_t)(x->cards[rank].nbytes - x->cards[rank].head);
        any = any || nbytes > 0;
        if (!measure_lent(parcel->lengths, parcel->nbuffers,
                          parcel->nbuffers > 0 ? nbytes : 0, &x->lent[rank])) {
            return damaged_parcel(x, rank, error);
        }
    }
    *lent = false;
    if (!any) {
        return PA_OK;
    }
    (void)measure_lent(out->lengths, out->nbuffers, out->nbuffer_bytes,
                       &x->lent[x->rank]);
    pa_status status = pa_lend(x->comm, x->op, x->to, parts + 1, out->nbuffers, x->lent,
                               x->leases, lent, hooks, error);
    for (int rank = 0; rank < x->size && *lent; rank++) {
        parcels->at[rank].lease = x->leases[rank];
    }
    return status;
}

static pa_status
exchange_run(exchange *x, const char *arguments, const outgoing *out,
             const pa_part *parts, pa_pool *pool, pa_parcels *parcels,
             const pa_hooks *hooks, pa_error *error)
{
    char packed[PA_CARD_INLINE];
    bool inlined = out->nhead <= sizeof packed;
    if (inlined && out->nhead > 0) {
        memcpy(packed, out->head[0].data, out->head[0].nbytes);
        memcpy(packed + out->head[0].nbytes, out->head[1].data, out->head[1].nbytes);
    }
    pa_called called = {.arguments = arguments};
    pa_flow heads = {out->head, 2, inlined ? 0 : out->nhead};
    pa_flow buffers = {parts + 1, out->nbuffers, out->nbuffer_bytes};
    pa_card mine = {
        .op = x->op,
        .root = x->from != PA_NO_ROOT ? x->from : x->to,
        .fingerprint = pa_called_fingerprint(&called),
        .nbytes = out->nhead + out->nbuffer_bytes,
        .head = out->nhead,
        .count = (uint32_t)out->nbuffers,
        .inlined = packed,
        .ninline = inlined ? (uint32_t)out->nhead : 0,
        .follows = inlined ? &buffers : &heads,
    };
    pa_agreement agreement = {0};
    PA_TRY(pa_comm_meet(x->comm, &mine, x->cards, hooks, error));
    PA_TRY(pa_agree(x->comm, x->cards, &called, false, &agreement, hooks, error));
    PA_TRY(move_heads(x, &heads, parcels, hooks, error));
    bool lent = false;
    if (x->lend) {
        PA_TRY(lend_buffers(x, out, parts, parcels, &lent, hooks, error));
    }
    return lent ? PA_OK : move_buffers(x, &buffers, pool, parcels, hooks, error);
}

pa_status
pa_parcels_exchange(pa_comm *comm, uint32_t op, int from, int to, bool lend,
                    const char *arguments, const pa_part *parts, size_t nparts,
                    pa_pool *pool, pa_parcels *parcels, const pa_hooks *hooks,
                    pa_error *error)
{
    exchange x = {
        .comm = comm,
        .op = op,
        .size = pa_comm_size(comm),
        .rank = pa_comm_rank(comm),
        .from = from,
        .to = to,
        .lend = lend,
    };
    *parcels = (pa_parcels){0};
    bool sends = from == PA_NO_ROOT || from == x.rank;
    size_t size = (size_t)x.size;
    outgoing out = {0};
    x.cards = malloc(size * (sizeof(pa_card) + sizeof(pa_flow) + sizeof(pa_part) +
                             sizeof(size_t) + sizeof(pa_lease *)));
    if (x.cards == NULL || nparts > UINT32_MAX ||
        !outgoing_make(&out, parts, sends ? nparts : 0)) {
        free(x.cards);
        (void)pa_comm_excuse(comm, op, "memory is short", NULL);
        return pa_error_set(error, PA_EMEMORY, "%s: no memory for %zu buffers",
                            pa_op_text(op), nparts);
    }
    x.flows = (pa_flow *)(void *)(x.cards + size);
    x.heads = (pa_part *)(void *)(x.flows + size);
    x.lent = (size_t *)(void *)(x.heads + size);
    x.leases = (pa_lease **)(void *)(x.lent + size);
    pa_status status =
        exchange_run(&x, arguments, &out, parts, pool, parcels, hooks, error);
    if (status != PA_OK) {
        pa_parcels_fini(parcels);
    }
    free(out.lengths);
    free(x.cards);
    return status;
}

void
pa_parcels_fini(pa_parcels *parcels)
{
    for (int rank = 0; rank < parcels->size; rank++) {
        const pa_parcel *parcel = &parcels->at[rank];
        for (uint32_t i = 0; i < parcel->nbuffers; i++) {
            pa_block_release(parcel->buffers[i]);
        }
        pa_lease_release(parcel->lease);
    }
    free(parcels->memory);
    free(parcels->tables);
    *parcels = (pa_parcels){0};
}
