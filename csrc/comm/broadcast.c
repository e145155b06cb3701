/* Broadcast and barrier: see the header. */
#include "comm/broadcast.h"

#include "comm/agree.h"
#include "comm/device/devices.h"

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
    pa_card *cards;   /* [size] */
    pa_flow *flows;   /* [size] */
    pa_part *parts;   /* [leaves] */
    pa_part *nothing; /* [leaves]: as long as `parts`, and without data */
} scratch;

static pa_status
scratch_make(scratch *made, pa_comm *comm, uint32_t op, size_t leaves, pa_error *error)
{
    size_t size = (size_t)pa_comm_size(comm);
    made->cards = malloc(size * (sizeof(pa_card) + sizeof(pa_flow)) +
                         2 * leaves * sizeof(pa_part));
    if (made->cards == NULL) {
        (void)pa_comm_excuse(comm, op, "memory is short", NULL);
        return pa_error_set(error, PA_EMEMORY, "%s: no memory for %zu leaves",
                            pa_op_text(op), leaves);
    }
    made->flows = (pa_flow *)(void *)(made->cards + size);
    made->parts = (pa_part *)(void *)(made->flows + size);
    made->nothing = made->parts + leaves;
    return PA_OK;
}

/* The leaves' memory as one flow: what the root sends, and where the others get it. */
static pa_flow
flow_of(const pa_leaves *leaves, scratch *work)
{
    pa_flow flow = {.parts = work->parts, .nparts = leaves->count};
    for (size_t i = 0; i < leaves->count; i++) {
        const pa_leaf *leaf = &leaves->at[i];
        work->parts[i] = (pa_part){leaf->data, leaf->nbytes, leaf->place};
        work->nothing[i] = (pa_part){NULL, leaf->nbytes, leaf->place};
        flow.nbytes += leaf->nbytes;
    }
    return flow;
}

/* Sends the root's flow to all others. */
static pa_status
move_from(pa_comm *comm, const pa_flow *flow, int root, uint32_t placed, bool apart,
          scratch *work, const pa_hooks *hooks, pa_error *error)
{
    bool sends = pa_comm_rank(comm) == root;
    for (int rank = 0; rank < pa_comm_size(comm); rank++) {
        work->flows[rank] = (pa_flow){0};
    }
    work->flows[root] = *flow;
    if (sends) {
        /* The root has the bytes already: nothing goes to itself. */
        work->flows[root].parts = work->nothing;
    }
    pa_flow none = {0};
    pa_move move = {
        .op = PA_OP_BROADCAST,
        .placed = placed,
        .apart = apart,
        .send = sends ? flow : &none,
        .recv = work->flows,
        .receiver = PA_NO_ROOT,
        .sender = root,
    };
    return pa_devices_move(comm, &move, hooks, error);
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
    uint32_t placed = pa_devices_placed(comm, leaves);
    bool inlined = placed == 0 && nbytes <= sizeof packed;
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
        .placed = placed,
        .inlined = packed,
        .ninline = inlined && sends ? (uint32_t)nbytes : 0,
        .follows = !inlined && placed == 0 && sends ? &flow : NULL,
    };
    pa_agreement agreement = {0};
    pa_status status = pa_comm_meet(comm, &mine, work.cards, hooks, error);
    if (status == PA_OK) {
        status = pa_agree(comm, work.cards, &called, false, &agreement, hooks, error);
    }
    placed = status == PA_OK ? pa_cards_placed(work.cards, pa_comm_size(comm)) : 0;
    if (status == PA_OK && (!inlined || placed != 0)) {
        status = move_from(comm, &flow, (int)root, placed, agreement.apart, &work,
                           hooks, error);
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
