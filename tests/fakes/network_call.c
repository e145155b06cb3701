/* Collectives, sends and receives: checked when they are called, gathered into one
 * launch a communicator and group, and queued when the group ends, or once the
 * communicator was polled. */
#include "network.h"

#include <stdlib.h>
#include <string.h>

enum { DTYPES = 12 };

/* The calling thread's group. */
typedef struct group {
    int depth;
    int code; /* the first error in it */
    fake_launch *launches;
} group;

static _Thread_local group own;
static _Atomic int open_groups;

int
fake_groups_open(void)
{
    return atomic_load(&open_groups);
}

/* The launch for a communicator in this thread's group, new at its first call. */
static fake_launch *
launch_of(fake_comm *comm)
{
    fake_launch **place = &own.launches;
    while (*place != NULL && (*place)->comm != comm) {
        place = &(*place)->next;
    }
    if (*place == NULL) {
        fake_launch *made = calloc(1, sizeof(*made));
        if (made == NULL) {
            abort();
        }
        made->op = (fake_op){
            .name = "run.nccl", .run = fake_launch_run, .destroy = fake_launch_destroy};
        made->comm = comm;
        comm->users++;
        *place = made;
    }
    return *place;
}

/* With the lock: the stream of a serial number; NULL. */
static fake_stream *
stream_of(uint64_t serial)
{
    fake_stream *each = fake_streams();
    while (each != NULL && each->serial != serial) {
        each = each->next;
    }
    return each;
}

static bool
names(const fake_launch *launch, const fake_stream *stream)
{
    for (size_t i = 0; i < launch->npieces; i++) {
        if (launch->pieces[i].stream == stream->serial) {
            return true;
        }
    }
    return false;
}

/* With the lock: a launch becomes work of the first stream that it names: behind the
 * other streams that it names, before what these get next, and behind the
 * communicator's launch before it. */
static void
queue(fake_launch *launch)
{
    fake_comm *comm = launch->comm;
    fake_stream *first = stream_of(launch->pieces[0].stream);
    if (first == NULL) {
        fake_refuse(0, "a stream was destroyed before NCCL had queued its work on it");
        fake_launch_drop(launch);
        return;
    }
    for (fake_stream *each = fake_streams(); each != NULL; each = each->next) {
        if (names(launch, each) || each->serial == comm->last_stream) {
            fake_push_after(first, each);
        }
    }
    /* Other ranks may have waited for what NCCL did here on any stream. */
    for (fake_stream *each = fake_streams(); each != NULL; each = each->next) {
        fake_clock_know(&first->clock, each->serial, each->launched);
    }
    first->launched = fake_push(first, &launch->op);
    for (fake_stream *each = fake_streams(); each != NULL; each = each->next) {
        if (names(launch, each)) {
            fake_push_after(each, first);
        }
    }
    comm->last_stream = first->serial;
}

void
fake_comm_flush(fake_comm *comm)
{
    while (comm->waiting != NULL) {
        fake_launch *launch = comm->waiting;
        comm->waiting = launch->next;
        queue(launch);
    }
    comm->last = &comm->waiting;
}

/* With the lock: waits while the queue is full, as who launches does. */
static void
await_room(fake_comm *comm)
{
    int room = fake_settings_get()->queue;
    comm->inside++;
    while (room > 0 && comm->users > room && !atomic_load(&comm->aborted)) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    comm->inside--;
}

/* With the lock: hands over what the group has gathered; the code for its end. */
static int
submit(void)
{
    int code = own.code;
    bool begun = false;
    while (own.launches != NULL) {
        fake_launch *launch = own.launches;
        fake_comm *comm = launch->comm;
        own.launches = launch->next;
        launch->next = NULL;
        code = code != 0 ? code : comm->code;
        if (code != 0) {
            fake_launch_drop(launch);
            continue;
        }
        *comm->last = launch;
        comm->last = &launch->next;
        if (fake_comm_begin(comm) == 0) {
            fake_comm_flush(comm);
        } else {
            begun = true;
        }
        await_room(comm);
    }
    own.code = 0;
    return code != 0 ? code : begun ? PA_NCCL_IN_PROGRESS : 0;
}

int
ncclGroupStart(void)
{
    fake_call call;
    int code = fake_nccl_enter(fake_begin(&call, "ncclGroupStart", "%s", ""));
    if (code == 0 && own.depth++ == 0) {
        atomic_fetch_add(&open_groups, 1);
    }
    return fake_end(&call, code);
}

int
ncclGroupEnd(void)
{
    fake_call call;
    int fault = fake_begin(&call, "ncclGroupEnd", "%s", "");
    int code = 0;
    if (own.depth == 0) {
        code = fake_refuse(PA_NCCL_INVALID_USAGE,
                           "ncclGroupEnd: this thread has started no group");
    } else if (--own.depth == 0) {
        atomic_fetch_sub(&open_groups, 1);
        pthread_mutex_lock(&fake_lock);
        own.code = own.code != 0 ? own.code : fake_nccl_enter(fault);
        code = submit();
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_end(&call, code);
}

/* With the lock: whether memory may be given to a kernel of the communicator. */
static bool
check_memory(const fake_comm *comm, const void *address, size_t nbytes,
             const char *call)
{
    if (nbytes == 0) {
        return true;
    }
    const fake_block *block = fake_block_of(address);
    bool on_device =
        block != NULL && (block->kind == FAKE_DEVICE || block->kind == FAKE_TENSOR);
    if (!fake_range_check(address, nbytes, call)) {
        return false;
    }
    if (!on_device || block->device != comm->device) {
        fake_refuse(0, "%s: %p is not memory of device %d, the communicator's", call,
                    address, comm->device);
        return false;
    }
    return true;
}

/* Bytes that a piece reads and writes. */
static void
extents(const fake_comm *comm, const fake_piece *piece, size_t *reads, size_t *writes)
{
    size_t nbytes = piece->count * fake_element(piece->dtype);
    bool root = piece->kind != FAKE_BROADCAST || piece->root == comm->rank;
    *reads = piece->kind == FAKE_RECV || !root ? 0 : nbytes;
    *writes = piece->kind == FAKE_SEND ? 0 : nbytes;
    if (piece->kind == FAKE_ALL_GATHER) {
        *writes *= (size_t)comm->size;
    }
}

/* Input and output may be the same place, and else have nothing in common. */
static bool
check_overlap(const fake_comm *comm, const fake_piece *piece, size_t reads,
              size_t writes, const char *call)
{
    const char *same = piece->recv;
    if (piece->kind == FAKE_ALL_GATHER) {
        same += (size_t)comm->rank * reads;
    }
    bool apart =
        piece->send + reads <= piece->recv || piece->recv + writes <= piece->send;
    if (reads > 0 && writes > 0 && piece->send != same && !apart) {
        fake_refuse(0, "%s: input %p and output %p overlap, and not as in place", call,
                    (const void *)piece->send, (void *)piece->recv);
        return false;
    }
    return true;
}

/* With the lock: every rule for the arguments of one call; a code of NCCL's. */
static int
check(const fake_comm *comm, const fake_piece *piece, const fake_stream *stream,
      const char *call)
{
    size_t reads;
    size_t writes;
    if (piece->dtype < 0 || piece->dtype >= DTYPES || piece->op < 0 || piece->op > 4) {
        return fake_refuse(PA_NCCL_INVALID_ARGUMENT, "%s: type %d, operation %d", call,
                           piece->dtype, piece->op);
    }
    if (piece->root < 0 || piece->root >= comm->size) {
        return fake_refuse(PA_NCCL_INVALID_ARGUMENT, "%s: rank %d of %d", call,
                           piece->root, comm->size);
    }
    if (stream->device != comm->device) {
        return fake_refuse(PA_NCCL_INVALID_ARGUMENT,
                           "%s: a stream of device %d for a communicator of device %d",
                           call, stream->device, comm->device);
    }
    extents(comm, piece, &reads, &writes);
    bool good = check_memory(comm, piece->send, reads, call) &&
                check_memory(comm, piece->recv, writes, call) &&
                check_overlap(comm, piece, reads, writes, call);
    return good ? 0 : PA_NCCL_INVALID_ARGUMENT;
}

/* With the lock: adds a call to its launch. */
static void
gather(fake_comm *comm, const fake_piece *piece)
{
    fake_launch *launch = launch_of(comm);
    size_t count = launch->npieces;
    fake_piece *pieces = realloc(launch->pieces, (count + 1) * sizeof(*pieces));
    fake_use *uses = realloc(launch->uses, 2 * (count + 1) * sizeof(*uses));
    if (pieces == NULL || uses == NULL) {
        abort();
    }
    size_t reads;
    size_t writes;
    extents(comm, piece, &reads, &writes);
    pieces[count] = *piece;
    uses[2 * count] = (fake_use){piece->send, reads, false};
    uses[2 * count + 1] = (fake_use){piece->recv, writes, true};
    launch->pieces = pieces;
    launch->npieces = count + 1;
    launch->uses = uses;
    launch->op.uses = uses;
    launch->op.nuses = 2 * (count + 1);
}

/* What all calls below have in common. */
static int
enqueue(fake_call *call, int code, fake_piece piece, pa_nccl_comm comm_handle,
        pa_cuda_stream stream_handle)
{
    code = fake_nccl_enter(code);
    pthread_mutex_lock(&fake_lock);
    fake_comm *comm = code == 0 ? fake_comm_of(comm_handle, call->name) : NULL;
    const fake_stream *stream = NULL;
    if (code == 0 && comm == NULL) {
        code = PA_NCCL_INVALID_ARGUMENT;
    }
    if (code == 0) {
        code = fake_comm_ready(comm, call->name);
    }
    if (code == 0) {
        stream = (uintptr_t)stream_handle <= 1
                     ? fake_stream_default(comm->device)
                     : fake_stream_of(stream_handle, call->name);
        code = stream == NULL ? PA_NCCL_INVALID_ARGUMENT
                              : check(comm, &piece, stream, call->name);
    }
    if (code == 0) {
        piece.stream = stream->serial;
        gather(comm, &piece);
    }
    if (own.depth == 0) {
        own.code = code;
        code = submit();
    } else if (code != 0) {
        own.code = own.code != 0 ? own.code : code;
    } else if (!comm->blocking && fake_settings_get()->polls > 0) {
        code = PA_NCCL_IN_PROGRESS;
    }
    pthread_mutex_unlock(&fake_lock);
    return fake_end(call, code);
}

int
ncclAllGather(const void *send, void *recv, size_t count, pa_nccl_dtype dtype,
              pa_nccl_comm comm, pa_cuda_stream stream)
{
    fake_call call;
    int code = fake_begin(&call, "ncclAllGather",
                          "send=%p recv=%p count=%zu dtype=%d comm=%p stream=%p", send,
                          recv, count, dtype, (void *)comm, (void *)stream);
    fake_piece piece = {.kind = FAKE_ALL_GATHER,
                        .send = send,
                        .recv = recv,
                        .count = count,
                        .dtype = (int)dtype};
    return enqueue(&call, code, piece, comm, stream);
}

int
ncclBroadcast(const void *send, void *recv, size_t count, pa_nccl_dtype dtype, int root,
              pa_nccl_comm comm, pa_cuda_stream stream)
{
    fake_call call;
    int code =
        fake_begin(&call, "ncclBroadcast",
                   "send=%p recv=%p count=%zu dtype=%d root=%d comm=%p stream=%p", send,
                   recv, count, dtype, root, (void *)comm, (void *)stream);
    fake_piece piece = {.kind = FAKE_BROADCAST,
                        .send = send,
                        .recv = recv,
                        .count = count,
                        .dtype = (int)dtype,
                        .root = root};
    return enqueue(&call, code, piece, comm, stream);
}

int
ncclAllReduce(const void *send, void *recv, size_t count, pa_nccl_dtype dtype,
              pa_nccl_op op, pa_nccl_comm comm, pa_cuda_stream stream)
{
    fake_call call;
    int code = fake_begin(&call, "ncclAllReduce",
                          "send=%p recv=%p count=%zu dtype=%d op=%d comm=%p stream=%p",
                          send, recv, count, dtype, op, (void *)comm, (void *)stream);
    fake_piece piece = {.kind = FAKE_ALL_REDUCE,
                        .send = send,
                        .recv = recv,
                        .count = count,
                        .dtype = (int)dtype,
                        .op = (int)op};
    return enqueue(&call, code, piece, comm, stream);
}

int
ncclSend(const void *send, size_t count, pa_nccl_dtype dtype, int peer,
         pa_nccl_comm comm, pa_cuda_stream stream)
{
    fake_call call;
    int code = fake_begin(&call, "ncclSend",
                          "send=%p count=%zu dtype=%d peer=%d comm=%p stream=%p", send,
                          count, dtype, peer, (void *)comm, (void *)stream);
    fake_piece piece = {.kind = FAKE_SEND,
                        .send = send,
                        .count = count,
                        .dtype = (int)dtype,
                        .root = peer};
    return enqueue(&call, code, piece, comm, stream);
}

int
ncclRecv(void *recv, size_t count, pa_nccl_dtype dtype, int peer, pa_nccl_comm comm,
         pa_cuda_stream stream)
{
    fake_call call;
    int code = fake_begin(&call, "ncclRecv",
                          "recv=%p count=%zu dtype=%d peer=%d comm=%p stream=%p", recv,
                          count, dtype, peer, (void *)comm, (void *)stream);
    fake_piece piece = {.kind = FAKE_RECV,
                        .recv = recv,
                        .count = count,
                        .dtype = (int)dtype,
                        .root = peer};
    return enqueue(&call, code, piece, comm, stream);
}
