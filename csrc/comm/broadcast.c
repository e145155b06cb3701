/* Broadcast and barrier: see the header. */
#include "comm/broadcast.h"

#include "comm/agree.h"

#include <stdlib.h>
#include <string.h>

pa_status
pa_root_check(pa_comm *comm, uint32_t op, const char *argument, int64_t root,
              const pa_hooks *hooks, pa_error *error)
{
    if (root >= 0 && root < pa_comm_size(comm)) {
        return PA_OK;
    }
    PA_TRY(pa_comm_excuse(comm, op, "it named a root that is no rank of the group",
                          hooks));
    return pa_error_set(error, PA_EARGUMENT,
                        "%s: %s is %lld with %d processes: name one from 0 to %d",
                        pa_op_text(op), argument, (long long)root, pa_comm_size(comm),
                        pa_comm_size(comm) - 1);
}

/* What a broadcast needs beside the leaves; one allocation. */
typedef struct scratch {
    pa_card *cards; /* [size] */
    pa_flow *flows; /* [size] */
    pa_part *parts; /* [leaves] */
} scratch;

static pa_status
scratch_make(scratch *made, pa_comm *comm, uint32_t op, size_t leaves, pa_error *error)
{
    size_t size = (size_t)pa_comm_size(comm);
    made->cards =
        malloc(size * (sizeof(pa_card) + sizeof(pa_flow)) + leaves * sizeof(pa_part));
    if (made->cards == NULL) {
        (void)pa_comm_excuse(comm, op, "memory is short", NULL);
        return pa_error_set(error, PA_EMEMORY, "%s: no memory for %zu leaves",
                            pa_op_text(op), leaves);
    }
    made->flows = (pa_flow *)(void *)(made->cards + size);
    made->parts = (pa_part *)(void *)(made->flows + size);
    return PA_OK;
}

/* The leaves' memory as one flow: what the root sends, and where the others get it. */
static pa_flow
flow_of(const pa_leaves *leaves, scratch *work)
{
    pa_flow flow = {.parts = work->parts, .nparts = leaves->count};
    for (size_t i = 0; i < leaves->count; i++) {
        work->parts[i] = (pa_part){leaves->at[i].data, leaves->at[i].nbytes, NULL};
        flow.nbytes += leaves->at[i].nbytes;
    }
    return flow;
}

static pa_status
stream_from(pa_comm *comm, const pa_flow *flow, int root, scratch *work,
            const pa_hooks *hooks, pa_error *error)
{
    static const pa_flow nothing = {0};
    bool sends = pa_comm_rank(comm) == root;
    for (int rank = 0; rank < pa_comm_size(comm); rank++) {
        work->flows[rank] = nothing;
    }
    work->flows[root] = *flow;
    if (sends) {
        /* The root has the bytes already: nothing goes to itself. */
        work->flows[root].parts = NULL;
    }
    return pa_comm_stream(comm, PA_OP_BROADCAST, sends ? flow : &nothing, work->flows,
                          hooks, error);
}

pa_status
pa_broadcast(pa_comm *comm, const pa_leaves *leaves, int64_t root,
             const pa_hooks *hooks, pa_error *error)
{
    scratch work;
    PA_TRY(pa_root_check(comm, PA_OP_BROADCAST, "from_process", root, hooks, error));
    PA_TRY(scratch_make(&work, comm, PA_OP_BROADCAST, leaves->count, error));
    bool sends = pa_comm_rank(comm) == root;
    size_t nbytes = pa_leaves_nbytes(leaves);
    char packed[PA_CARD_INLINE];
    bool inlined = nbytes <= sizeof packed;
    if (inlined && sends) {
        pa_leaves_pack(leaves, packed);
    }
    pa_called called = {.leaves = leaves};
    pa_flow flow = flow_of(leaves, &work);
    pa_card mine = {
        .op = PA_OP_BROADCAST,
        .root = (int32_t)root,
        .fingerprint = pa_called_fingerprint(&called),
        .nbytes = nbytes,
        .inlined = packed,
        .ninline = inlined && sends ? (uint32_t)nbytes : 0,
        .follows = !inlined && sends ? &flow : NULL,
    };
    pa_agreement agreement = {0};
    pa_status status = pa_comm_meet(comm, &mine, work.cards, hooks, error);
    if (status == PA_OK) {
        status = pa_agree(comm, work.cards, &called, false, &agreement, hooks, error);
    }
    if (status == PA_OK && !inlined) {
        status = stream_from(comm, &flow, (int)root, &work, hooks, error);
    } else if (status == PA_OK && !sends) {
        pa_leaves_unpack(leaves, work.cards[root].inlined);
    }
    pa_agreement_fini(&agreement);
    free(work.cards);
    return status;
}

pa_status
pa_barrier(pa_comm *comm, const pa_hooks *hooks, pa_error *error)
{
    enum { USUAL = 16 };
    pa_card usual[USUAL];
    scratch work = {.cards = usual};
    if (pa_comm_size(comm) > USUAL) {
        PA_TRY(scratch_make(&work, comm, PA_OP_BARRIER, 0, error));
    }
    pa_card mine = {.op = PA_OP_BARRIER, .root = PA_NO_ROOT};
    pa_agreement agreement = {0};
    pa_status status = pa_comm_meet(comm, &mine, work.cards, hooks, error);
    if (status == PA_OK) {
        status = pa_agree(comm, work.cards, NULL, false, &agreement, hooks, error);
    }
    pa_agreement_fini(&agreement);
    if (work.cards != usual) {
        free(work.cards);
    }
    return status;
}
