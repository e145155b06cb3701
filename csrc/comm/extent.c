/* Extents: see the header. */
#include "comm/extent.h"

#include "base/hash.h"
#include "comm/agree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
pa_extent_dim(const pa_leaf *leaf, int64_t dim)
{
    int64_t from_front = dim < 0 ? dim + leaf->ndim : dim;
    return from_front >= 0 && from_front < leaf->ndim ? (int)from_front : -1;
}

/* Hash of what must be equal on all ranks. */
static uint64_t
fingerprint_of(const pa_called *called)
{
    uint64_t hash = pa_hash_mix(PA_HASH_SEED, called->leaves->structure);
    for (size_t i = 0; i < called->leaves->count; i++) {
        hash = pa_hash_mix(hash, (uint64_t)called->leaves->at[i].ndim);
    }
    return pa_hash_bytes(hash, called->arguments, strlen(called->arguments));
}

/* Takes the larger of two, element by element; the bytes need not be aligned. */
static void
take_larger(int64_t *longest, const char *others, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t other = 0;
        memcpy(&other, others + i * sizeof other, sizeof other);
        longest[i] = other > longest[i] ? other : longest[i];
    }
}

/* One allocation for what the ranks exchange; the cards come first. */
typedef struct exchange {
    pa_card *cards; /* [size] */
    pa_flow *flows; /* [size] */
    pa_part *parts; /* [size] */
    char *others;   /* [size][count] */
} exchange;

static pa_status
stream_sizes(pa_comm *comm, exchange *x, const pa_part *own, int64_t *longest,
             const pa_hooks *hooks, pa_error *error)
{
    int size = pa_comm_size(comm);
    int rank = pa_comm_rank(comm);
    for (int q = 0; q < size; q++) {
        x->parts[q] = (pa_part){x->others + (size_t)q * own->nbytes, own->nbytes, NULL};
        x->flows[q] = (pa_flow){q == rank ? NULL : &x->parts[q], 1, own->nbytes};
    }
    pa_flow send = {own, 1, own->nbytes};
    PA_TRY(pa_comm_stream(comm, PA_OP_PAD, &send, x->flows, hooks, error));
    for (int q = 0; q < size; q++) {
        if (q != rank) {
            take_larger(longest, x->parts[q].data, own->nbytes / sizeof *longest);
        }
    }
    return PA_OK;
}

static pa_status
run(pa_comm *comm, exchange *x, const pa_called *called, int64_t *longest,
    const pa_hooks *hooks, pa_error *error)
{
    size_t count = called->leaves->count;
    pa_part own = {(char *)longest, count * sizeof *longest, NULL};
    bool inlined = own.nbytes <= PA_CARD_INLINE;
    pa_card mine = {
        .op = PA_OP_PAD,
        .root = PA_NO_ROOT,
        .fingerprint = fingerprint_of(called),
        .nbytes = own.nbytes,
        .inlined = own.data,
        .ninline = inlined ? (uint32_t)own.nbytes : 0,
    };
    pa_agreement agreement = {0};
    PA_TRY(pa_comm_meet(comm, &mine, x->cards, hooks, error));
    PA_TRY(pa_agree(comm, x->cards, called, false, &agreement, hooks, error));
    if (!inlined) {
        return stream_sizes(comm, x, &own, longest, hooks, error);
    }
    for (int q = 0; q < pa_comm_size(comm); q++) {
        if (q != pa_comm_rank(comm)) {
            take_larger(longest, x->cards[q].inlined, count);
        }
    }
    return PA_OK;
}

pa_status
pa_extent_longest(pa_comm *comm, const pa_leaves *leaves, int64_t dim, int64_t *longest,
                  const pa_hooks *hooks, pa_error *error)
{
    size_t size = (size_t)pa_comm_size(comm);
    size_t each = sizeof(pa_card) + sizeof(pa_flow) + sizeof(pa_part) +
                  leaves->count * sizeof *longest;
    exchange x = {.cards = malloc(size * each)};
    if (x.cards == NULL) {
        PA_TRY(pa_comm_excuse(comm, PA_OP_PAD, "memory is short", hooks));
        return pa_error_set(error, PA_EMEMORY,
                            "pad_across_processes: no memory for %zu sizes",
                            leaves->count);
    }
    x.flows = (pa_flow *)(void *)(x.cards + size);
    x.parts = (pa_part *)(void *)(x.flows + size);
    x.others = (char *)(x.parts + size);
    for (size_t i = 0; i < leaves->count; i++) {
        int d = pa_extent_dim(&leaves->at[i], dim);
        longest[i] = d >= 0 ? leaves->at[i].shape[d] : -1;
    }
    char arguments[32];
    (void)snprintf(arguments, sizeof arguments, "dim=%lld", (long long)dim);
    pa_called called = {.leaves = leaves, .arguments = arguments};
    pa_status status = run(comm, &x, &called, longest, hooks, error);
    free(x.cards);
    return status;
}
