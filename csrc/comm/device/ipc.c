/* The way by CUDA IPC: each rank has a buffer of its own on its device, which the
 * others of the host have mapped once.
 *
 *     rank 0   own bytes -> slot of 0    filled       slot of 1 -> result    drained
 *     rank 1   own bytes -> slot of 1    filled       slot of 0 -> result    drained
 *                                          meet
 *
 * After the meeting of a chunk each rank knows that the others have recorded `filled`,
 * and the host waits until their devices have come to it; then the copies into the
 * results are enqueued. It is the host that waits, and not the stream, because a stream
 * that waits for an event of a process that was killed waits for ever, and nothing can
 * end it. Two slots suffice: a rank fills slot k % 2 for chunk k + 2 after the meeting
 * of k + 1, before which everybody had recorded `drained` of chunk k. Chunks are
 * counted over all operations, whose streams may differ. */
#include "comm/device/backend.h"
#include "comm/device/copy.h"
#include "comm/device/ipc_group.h"
#include "comm/device/patience.h"

#include <stdlib.h>

/* One operation. */
typedef struct ipc_move {
    pa_devices *devices;
    const pa_device_work *work;
    pa_cursor from;
    pa_cursor *into; /* [size] */
    pa_card *cards;  /* [size] */
    const pa_hooks *hooks;
    pa_error *error;
} ipc_move;

static size_t
piece_of(const pa_flow *flow, size_t begin)
{
    size_t left = flow->nbytes > begin ? flow->nbytes - begin : 0;
    return left < PA_IPC_SLOT_BYTES ? left : PA_IPC_SLOT_BYTES;
}

/* Waits on the host until a device has come to an event of another rank. */
static pa_status
await_peer(ipc_move *m, pa_cuda_event event)
{
    pa_patience patience = pa_patience_begin(m->devices->comm, m->work->op,
                                             "the GPU of another rank", m->hooks);
    return pa_patience_event(&patience, m->devices->cuda, event, m->error);
}

/* Fills the own slot once all have drained it. */
static pa_status
fill(ipc_move *m, size_t begin, int slot)
{
    const pa_cuda *cuda = m->devices->cuda;
    pa_ipc_group *group = m->devices->ipc;
    int own = pa_comm_rank(m->devices->comm);
    size_t nbytes = piece_of(m->work->send, begin);
    if (nbytes == 0) {
        return PA_OK;
    }
    for (int rank = 0; rank < pa_comm_size(m->devices->comm); rank++) {
        if (rank != own) {
            PA_TRY(await_peer(m, group->ranks[rank].drained[slot]));
        }
    }
    /* Another stream of this rank may have filled the slot before. */
    PA_TRY(
        PA_CUDA(cuda, m->error,
                StreamWaitEvent(m->work->stream, group->ranks[own].filled[slot], 0)));
    char *to = group->ranks[own].memory + (size_t)slot * PA_IPC_SLOT_BYTES;
    PA_TRY(pa_device_copy_from(m->devices, &m->from, to, nbytes, m->error));
    return PA_CUDA(cuda, m->error,
                   EventRecord(group->ranks[own].filled[slot], m->work->stream));
}

/* Takes what is wanted from the others' slots. */
static pa_status
drain(ipc_move *m, size_t begin, int slot)
{
    const pa_cuda *cuda = m->devices->cuda;
    pa_ipc_group *group = m->devices->ipc;
    int own = pa_comm_rank(m->devices->comm);
    for (int rank = 0; rank < pa_comm_size(m->devices->comm); rank++) {
        const pa_flow *flow = &m->work->recv[rank];
        size_t nbytes = piece_of(flow, begin);
        if (rank == own || nbytes == 0 || !pa_flow_wanted(flow)) {
            continue;
        }
        PA_TRY(await_peer(m, group->ranks[rank].filled[slot]));
        PA_TRY(pa_device_copy_into(m->devices, &m->into[rank],
                                   group->ranks[rank].memory +
                                       (size_t)slot * PA_IPC_SLOT_BYTES,
                                   nbytes, m->error));
    }
    PA_TRY(PA_CUDA(cuda, m->error,
                   EventRecord(group->ranks[own].drained[slot], m->work->stream)));
    pa_comm_show(m->devices->comm, PA_SHOWN_TAKEN, group->chunk);
    return PA_OK;
}

static pa_status
run(ipc_move *m)
{
    pa_comm *comm = m->devices->comm;
    const pa_device_work *work = m->work;
    size_t most = 0;
    for (int rank = 0; rank < pa_comm_size(comm); rank++) {
        most = work->recv[rank].nbytes > most ? work->recv[rank].nbytes : most;
        m->into[rank] = (pa_cursor){.parts = work->recv[rank].parts};
    }
    m->from = (pa_cursor){.parts = work->send->parts};
    PA_TRY(pa_device_copy_own(m->devices, work->send, &work->recv[pa_comm_rank(comm)],
                              m->error));
    for (size_t begin = 0; begin < most; begin += PA_IPC_SLOT_BYTES) {
        int slot = (int)(m->devices->ipc->chunk++ % PA_IPC_SLOTS);
        PA_TRY(fill(m, begin, slot));
        pa_card card = {.op = work->op, .root = PA_NO_ROOT};
        PA_TRY(pa_comm_meet(comm, &card, m->cards, m->hooks, m->error));
        PA_TRY(drain(m, begin, slot));
    }
    return PA_OK;
}

static pa_status
ipc_stream(pa_devices *devices, const pa_device_work *work, const pa_hooks *hooks,
           pa_error *error)
{
    size_t size = (size_t)pa_comm_size(devices->comm);
    ipc_move m = {.devices = devices, .work = work, .hooks = hooks, .error = error};
    m.cards = malloc(size * (sizeof(pa_card) + sizeof(pa_cursor)));
    if (m.cards == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for %zu ranks", size);
    }
    m.into = (pa_cursor *)(void *)(m.cards + size);
    pa_status status = run(&m);
    free(m.cards);
    return status;
}

const pa_device_backend pa_device_ipc = {
    .name = "ipc",
    .open = pa_ipc_open,
    .stream = ipc_stream,
    .close = pa_ipc_close,
};
