/* What is enqueued over NCCL: one group of calls, hence one launch, for a whole tree.
 *
 * Every rank must make the same calls in the same order, so what is called follows from
 * the lengths that all ranks know:
 *
 *   all receive   all ranks' parts of an index are as long: AllGather into the result
 *                 else: a Broadcast a rank that has bytes, each into its place
 *   one sends     a Broadcast a part, in place
 *   one receives  Send and Recv a part, matched in the order of the parts
 *
 * Bytes are bytes to NCCL: only reductions have types. */
#include "comm/device/nccl.h"

#include "comm/device/patience.h"

/* One rank's calls of one operation. */
typedef struct calls {
    pa_devices *devices;
    int rank; /* this one */
    uint32_t op;
    pa_cuda_stream stream;
    bool captured;               /* in a graph: it does not run now */
    const pa_device_work *moves; /* or */
    const pa_device_reduction *reduces;
} calls;

/* ---- Moving bytes ---- */

/* A part of a flow; a flow without bytes need not have any. */
static pa_part
part_of(const pa_flow *flow, size_t index)
{
    return index < flow->nparts && flow->parts != NULL ? flow->parts[index]
                                                       : (pa_part){0};
}

static size_t
parts_of_all(const pa_device_work *work, int size)
{
    size_t most = work->send->nparts;
    for (int rank = 0; rank < size; rank++) {
        most = work->recv[rank].nparts > most ? work->recv[rank].nparts : most;
    }
    return most;
}

/* Whether the parts of an index can be gathered by one call: as long on every rank, and
 * one behind the other. */
static bool
is_even(const pa_device_work *work, int size, size_t index)
{
    pa_part first = part_of(&work->recv[0], index);
    for (int rank = 1; rank < size; rank++) {
        pa_part part = part_of(&work->recv[rank], index);
        if (part.nbytes != first.nbytes) {
            return false;
        }
        /* Parts without bytes need not stand anywhere. */
        if (part.nbytes > 0 && part.data != first.data + part.nbytes * (size_t)rank) {
            return false;
        }
    }
    return true;
}

static void
gather_uneven(pa_nccl_link *link, const calls *made, size_t index)
{
    const pa_device_work *work = made->moves;
    pa_nccl_comm comm = link->calling;
    for (int rank = 0; rank < pa_comm_size(made->devices->comm); rank++) {
        pa_part to = part_of(&work->recv[rank], index);
        const char *from =
            rank == made->rank ? part_of(work->send, index).data : to.data;
        if (to.nbytes > 0) {
            PA_NCCL(link, Broadcast(from, to.data, to.nbytes, PA_NCCL_UINT8, rank, comm,
                                    made->stream));
        }
    }
}

static void
gather_to_all(pa_nccl_link *link, const calls *made)
{
    const pa_device_work *work = made->moves;
    pa_nccl_comm comm = link->calling;
    int size = pa_comm_size(made->devices->comm);
    size_t count = parts_of_all(work, size);
    for (size_t i = 0; i < count; i++) {
        pa_part first = part_of(&work->recv[0], i);
        if (!is_even(work, size, i)) {
            gather_uneven(link, made, i);
        } else if (first.nbytes > 0) {
            PA_NCCL(link, AllGather(part_of(work->send, i).data, first.data,
                                    first.nbytes, PA_NCCL_UINT8, comm, made->stream));
        }
    }
}

static void
send_to_all(pa_nccl_link *link, const calls *made)
{
    const pa_device_work *work = made->moves;
    pa_nccl_comm comm = link->calling;
    bool sends = made->rank == work->sender;
    const pa_flow *flow = sends ? work->send : &work->recv[work->sender];
    for (size_t i = 0; i < flow->nparts; i++) {
        pa_part part = part_of(flow, i);
        if (part.nbytes > 0) {
            PA_NCCL(link, Broadcast(part.data, part.data, part.nbytes, PA_NCCL_UINT8,
                                    work->sender, comm, made->stream));
        }
    }
}

static void
gather_to_one(pa_nccl_link *link, const calls *made)
{
    const pa_device_work *work = made->moves;
    pa_nccl_comm comm = link->calling;
    if (made->rank != work->receiver) {
        for (size_t i = 0; i < work->send->nparts; i++) {
            pa_part part = part_of(work->send, i);
            if (part.nbytes > 0) {
                PA_NCCL(link, Send(part.data, part.nbytes, PA_NCCL_UINT8,
                                   work->receiver, comm, made->stream));
            }
        }
        return;
    }
    for (int rank = 0; rank < pa_comm_size(made->devices->comm); rank++) {
        const pa_flow *flow = &work->recv[rank];
        for (size_t i = 0; rank != made->rank && i < flow->nparts; i++) {
            pa_part part = part_of(flow, i);
            if (part.nbytes > 0) {
                PA_NCCL(link, Recv(part.data, part.nbytes, PA_NCCL_UINT8, rank, comm,
                                   made->stream));
            }
        }
    }
}

/* The only receiver's own bytes, which need no NCCL. */
static pa_status
copy_own(const calls *made, pa_error *error)
{
    const pa_device_work *work = made->moves;
    const pa_cuda *cuda = made->devices->cuda;
    const pa_flow *own = &work->recv[work->receiver];
    for (size_t i = 0; i < own->nparts; i++) {
        pa_part from = part_of(work->send, i);
        pa_part to = part_of(own, i);
        if (to.nbytes > 0 && to.data != from.data) {
            PA_TRY(PA_CUDA(cuda, error,
                           MemcpyAsync(to.data, from.data, to.nbytes,
                                       PA_CUDA_MEMCPY_DEFAULT, made->stream)));
        }
    }
    return PA_OK;
}

/* ---- Reducing ---- */

/* How NCCL reduces so: the sum of booleans is their maximum, as on the host. */
static pa_nccl_op
op_of(pa_reduction reduction, pa_dtype dtype)
{
    switch (reduction) {
    case PA_REDUCTION_MAX:
        return PA_NCCL_MAX;
    case PA_REDUCTION_MIN:
        return PA_NCCL_MIN;
    case PA_REDUCTION_MEAN:
        return PA_NCCL_AVERAGE;
    default:
        return dtype.code == PA_DTYPE_BOOL ? PA_NCCL_MAX : PA_NCCL_SUM;
    }
}

static bool
is_exact(pa_dtype dtype)
{
    return dtype.code == PA_DTYPE_INT || dtype.code == PA_DTYPE_UINT ||
           dtype.code == PA_DTYPE_BOOL;
}

bool
pa_nccl_reduces(int size, pa_reduction reduction, double scale, pa_dtype dtype)
{
    size_t per_element = 0;
    (void)size;
    if (scale != 1.0 || pa_nccl_dtype_of(dtype, &per_element) < 0) {
        return false;
    }
    switch (reduction) {
    case PA_REDUCTION_SUM:
        return true;
    case PA_REDUCTION_MEAN:
        /* NCCL multiplies each rank's elements by one over the size before it adds
         * them; see its header for what that does to the last bits. */
        return !is_exact(dtype);
    case PA_REDUCTION_MAX:
    case PA_REDUCTION_MIN:
        /* Of floats NCCL takes the other one where one is no number. */
        return is_exact(dtype);
    default:
        return false;
    }
}

static void
reduce_all(pa_nccl_link *link, const calls *made)
{
    const pa_device_reduction *work = made->reduces;
    pa_nccl_comm comm = link->calling;
    for (size_t i = 0; i < work->leaves->count; i++) {
        const pa_leaf *leaf = &work->leaves->at[i];
        size_t per_element = 0;
        pa_nccl_dtype dtype =
            (pa_nccl_dtype)pa_nccl_dtype_of(leaf->dtype, &per_element);
        pa_nccl_op op = op_of(work->reduction, leaf->dtype);
        if (leaf->nbytes > 0) {
            PA_NCCL(link, AllReduce(leaf->data, work->outputs[i],
                                    leaf->nbytes / leaf->itemsize * per_element, dtype,
                                    op, comm, made->stream));
        }
    }
}

/* ---- Enqueueing ---- */

/* Whether this rank takes part in any call; where all must, all come to the same. */
static bool
has_calls(const calls *made)
{
    const pa_device_work *work = made->moves;
    if (work == NULL) {
        return pa_leaves_nbytes(made->reduces->leaves) > 0;
    }
    int own = made->rank;
    if (work->sender != PA_NO_ROOT) {
        return (own == work->sender ? work->send : &work->recv[work->sender])->nbytes >
               0;
    }
    if (work->receiver != PA_NO_ROOT && own != work->receiver) {
        return work->send->nbytes > 0;
    }
    for (int rank = 0; rank < pa_comm_size(made->devices->comm); rank++) {
        if (work->recv[rank].nbytes > 0) {
            return true;
        }
    }
    return false;
}

static pa_status
issue(const calls *made, bool *done, pa_error *error)
{
    pa_nccl_link *link = &made->devices->nccl->link;
    PA_TRY(pa_nccl_link_start(link, error));
    if (made->reduces != NULL) {
        reduce_all(link, made);
    } else if (made->moves->sender != PA_NO_ROOT) {
        send_to_all(link, made);
    } else if (made->moves->receiver != PA_NO_ROOT) {
        gather_to_one(link, made);
    } else {
        gather_to_all(link, made);
    }
    return pa_nccl_link_commit(link, done, error);
}

/* Issues the calls and waits until they are on the stream, so that what the caller
 * enqueues next comes behind them. At the first call of a kind NCCL connects the ranks
 * for it, in a thread of its own. */
static pa_status
issue_and_settle(const calls *made, const pa_hooks *hooks, pa_error *error)
{
    bool done = false;
    pa_patience wait = pa_patience_begin(made->devices->comm, made->op,
                                         "NCCL to enqueue the work", hooks);
    PA_TRY(issue(made, &done, error));
    while (!done) {
        PA_TRY(pa_nccl_link_ask(&made->devices->nccl->link, true, &done, error));
        if (!done) {
            PA_TRY(pa_patience_pause(&wait, error));
        }
    }
    return PA_OK;
}

/* The watch may need the interpreter's lock to look at a group of several hosts, and
 * the launch may wait for what only the watch can end: so the caller gives it up
 * before. */
static void
release(const calls *made, const pa_hooks *hooks)
{
    bool one_host = made->devices->comm->backend->one_host;
    if (!one_host && hooks != NULL && hooks->release != NULL) {
        hooks->release(hooks->context);
    }
}

static pa_status
enqueue_watched(const calls *made, const pa_hooks *hooks, pa_error *error)
{
    struct pa_nccl_group *group = made->devices->nccl;
    if (made->captured) {
        atomic_store(&group->link.captured, true);
    }
    PA_TRY(made->captured
               ? pa_watch_begin_captured(group->watch, made->op, made->stream, hooks,
                                         error)
               : pa_watch_begin(group->watch, made->op, made->stream, error));
    if (made->moves != NULL && made->moves->receiver == made->rank) {
        PA_TRY(copy_own(made, error));
    }
    release(made, hooks);
    PA_TRY(issue_and_settle(made, hooks, error));
    return made->captured ? pa_watch_end_captured(group->watch, made->stream, error)
                          : pa_watch_end(group->watch, made->stream, error);
}

/* Ends what this rank has enqueued: the peers will end theirs, since the caller breaks
 * the group. Where it was broken already, that is the cause. */
static pa_status
enqueue(const calls *made, const pa_hooks *hooks, pa_error *error)
{
    pa_devices *devices = made->devices;
    char broken[PA_COMM_REASON];
    if (!has_calls(made)) {
        pa_watch_pass(devices->nccl->watch);
        return PA_OK;
    }
    pa_status status = enqueue_watched(made, hooks, error);
    if (status != PA_OK) {
        pa_devices_abort(devices);
    }
    if (status == PA_EBROKEN && pa_comm_broken(devices->comm, broken, sizeof broken)) {
        return pa_error_set(error, status, "%s: %s", pa_op_text(made->op), broken);
    }
    if (status == PA_EBROKEN) {
        (void)pa_watch_failed(devices->nccl->watch, error);
    }
    return status;
}

pa_status
pa_nccl_stream(pa_devices *devices, const pa_device_work *work, const pa_hooks *hooks,
               pa_error *error)
{
    calls made = {
        .devices = devices,
        .rank = pa_comm_rank(devices->comm),
        .op = work->op,
        .stream = work->stream,
        .captured = work->captured,
        .moves = work,
    };
    return enqueue(&made, hooks, error);
}

pa_status
pa_nccl_reduce(pa_devices *devices, const pa_device_reduction *work,
               const pa_hooks *hooks, pa_error *error)
{
    calls made = {
        .devices = devices,
        .rank = pa_comm_rank(devices->comm),
        .op = PA_OP_REDUCE,
        .stream = work->stream,
        .captured = work->captured,
        .reduces = work,
    };
    return enqueue(&made, hooks, error);
}
