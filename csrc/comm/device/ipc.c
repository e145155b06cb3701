/* The way by CUDA IPC: each rank has a buffer of its own on its device, which the
 * others of the host have mapped once.
 *
 *     rank 0   own bytes -> slot of 0    filled       slot of 1 -> result    drained
 *     rank 1   own bytes -> slot of 1    filled       slot of 0 -> result    drained
 *                                          meet
 *
 * Everything is enqueued; only the meeting of a chunk is the host's: after it each rank
 * knows that the others have recorded `filled`, so that waiting for that event on the
 * own stream waits for the bytes. Two slots suffice: a rank fills slot k % 2 for chunk
 * k + 2 after the meeting of k + 1, before which everybody had recorded `drained` of
 * chunk k. Chunks are counted over all operations, whose streams may differ. */
#include "base/clock.h"
#include "comm/device/backend.h"
#include "comm/device/copy.h"
#include "comm/device/join.h"
#include "comm/device/patience.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SLOTS = 2, SLOT_BYTES = 8 << 20, PROBE_BYTES = 64, PAUSE_NS = 100000 };

/* How long the end of a group waits for a device and for the other ranks, each. */
static const uint64_t closing_ns = UINT64_C(2000000000);

/* What a rank tells the others to open. */
typedef struct handles {
    pa_cuda_ipc_memory memory;
    pa_cuda_ipc_event filled[SLOTS];
    pa_cuda_ipc_event drained[SLOTS];
    int32_t failed;
} handles;

/* The buffer of one rank, the own one or one that was opened. */
typedef struct ipc_buffer {
    char *memory; /* [SLOTS][SLOT_BYTES] */
    pa_cuda_event filled[SLOTS];
    pa_cuda_event drained[SLOTS];
} ipc_buffer;

typedef struct pa_ipc_group {
    ipc_buffer *ranks;     /* [size] */
    pa_cuda_stream stream; /* for the probe, */
    char *probe;           /* [PROBE_BYTES] with pinned memory */
    uint64_t chunk;        /* number of the next one */
} pa_ipc_group;

/* ---- Beginning ---- */

static pa_status
make_own(pa_devices *devices, handles *told, pa_error *error)
{
    const pa_cuda *cuda = devices->cuda;
    pa_ipc_group *group = devices->ipc;
    ipc_buffer *own = &group->ranks[pa_comm_rank(devices->comm)];
    unsigned int flags = PA_CUDA_EVENT_DISABLE_TIMING | PA_CUDA_EVENT_INTERPROCESS;
    void *memory = NULL;
    PA_TRY(PA_CUDA(cuda, error, HostAlloc(&memory, PROBE_BYTES, 0)));
    group->probe = memory;
    PA_TRY(PA_CUDA(cuda, error,
                   StreamCreateWithFlags(&group->stream, PA_CUDA_STREAM_NON_BLOCKING)));
    PA_TRY(PA_CUDA(cuda, error, Malloc(&memory, (size_t)SLOTS * SLOT_BYTES)));
    own->memory = memory;
    PA_TRY(PA_CUDA(cuda, error, IpcGetMemHandle(&told->memory, memory)));
    for (int slot = 0; slot < SLOTS; slot++) {
        PA_TRY(PA_CUDA(cuda, error, EventCreateWithFlags(&own->filled[slot], flags)));
        PA_TRY(PA_CUDA(cuda, error, EventCreateWithFlags(&own->drained[slot], flags)));
        PA_TRY(PA_CUDA(cuda, error,
                       IpcGetEventHandle(&told->filled[slot], own->filled[slot])));
        PA_TRY(PA_CUDA(cuda, error,
                       IpcGetEventHandle(&told->drained[slot], own->drained[slot])));
    }
    return PA_OK;
}

static pa_status
open_other(pa_devices *devices, int rank, const handles *told, pa_error *error)
{
    const pa_cuda *cuda = devices->cuda;
    ipc_buffer *other = &devices->ipc->ranks[rank];
    void *memory = NULL;
    PA_TRY(
        PA_CUDA(cuda, error,
                IpcOpenMemHandle(&memory, told->memory, PA_CUDA_IPC_LAZY_PEER_ACCESS)));
    other->memory = memory;
    for (int slot = 0; slot < SLOTS; slot++) {
        PA_TRY(PA_CUDA(cuda, error,
                       IpcOpenEventHandle(&other->filled[slot], told->filled[slot])));
        PA_TRY(PA_CUDA(cuda, error,
                       IpcOpenEventHandle(&other->drained[slot], told->drained[slot])));
    }
    return PA_OK;
}

/* Waits on the host for what was enqueued on the group's own stream. */
static pa_status
finish_probe(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    pa_cuda_event event = devices->ipc->ranks[pa_comm_rank(devices->comm)].filled[0];
    pa_patience patience =
        pa_patience_begin(devices->comm, PA_OP_DEVICES, "its GPU to copy", hooks);
    PA_TRY(PA_CUDA(devices->cuda, error, EventRecord(event, devices->ipc->stream)));
    return pa_patience_event(&patience, devices->cuda, event, error);
}

/* The bytes with which a rank's buffer begins in the probe. */
static void
fill_pattern(char *bytes, int rank)
{
    for (int i = 0; i < PROBE_BYTES; i++) {
        bytes[i] = (char)(rank * 31 + i * 7 + 1);
    }
}

/* Copies a pattern's bytes from or to the memory on a device, and waits for them. */
static pa_status
copy_probe(pa_devices *devices, char *to, const char *from, const pa_hooks *hooks,
           pa_error *error)
{
    PA_TRY(PA_CUDA(devices->cuda, error,
                   MemcpyAsync(to, from, PROBE_BYTES, PA_CUDA_MEMCPY_DEFAULT,
                               devices->ipc->stream)));
    return finish_probe(devices, hooks, error);
}

static pa_status
write_pattern(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    pa_ipc_group *group = devices->ipc;
    int rank = pa_comm_rank(devices->comm);
    fill_pattern(group->probe, rank);
    return copy_probe(devices, group->ranks[rank].memory, group->probe, hooks, error);
}

/* Reads what all wrote: containers exist where a handle opens and yet leads nowhere. */
static pa_status
read_patterns(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    pa_ipc_group *group = devices->ipc;
    for (int rank = 0; rank < pa_comm_size(devices->comm); rank++) {
        char expected[PROBE_BYTES];
        fill_pattern(expected, rank);
        memset(group->probe, 0, PROBE_BYTES);
        PA_TRY(
            copy_probe(devices, group->probe, group->ranks[rank].memory, hooks, error));
        if (memcmp(group->probe, expected, sizeof expected) != 0) {
            return pa_error_set(error, PA_ESYSTEM,
                                "CUDA IPC shows other bytes than rank %d wrote", rank);
        }
    }
    return PA_OK;
}

/* A step that all ranks must have done before the next; `*why` is empty if they have.
 */
static pa_status
settle(pa_devices *devices, pa_status status, const pa_error *said, char *why,
       const pa_hooks *hooks, pa_error *error)
{
    return pa_devices_all_did(devices, status == PA_OK ? NULL : said->message, why,
                              PA_DEVICE_TEXT, hooks, error);
}

static pa_status
open_all(pa_devices *devices, handles *all, const pa_hooks *hooks, pa_error *error)
{
    int size = pa_comm_size(devices->comm);
    int own = pa_comm_rank(devices->comm);
    char why[PA_DEVICE_TEXT];
    handles mine = {0};
    pa_error said = PA_ERROR_INIT;
    pa_status status = make_own(devices, &mine, &said);
    mine.failed = status != PA_OK;
    PA_TRY(pa_devices_exchange(devices, &mine, sizeof mine, all, hooks, error));
    for (int rank = 0; rank < size; rank++) {
        if (all[rank].failed != 0) {
            return pa_error_set(error, PA_ESYSTEM, "%s",
                                rank == own ? said.message
                                            : "another rank has no buffer to share");
        }
    }
    for (int rank = 0; rank < size && status == PA_OK; rank++) {
        status = rank != own ? open_other(devices, rank, &all[rank], &said) : PA_OK;
    }
    if (status == PA_OK) {
        status = write_pattern(devices, hooks, &said);
    }
    PA_TRY(settle(devices, status, &said, why, hooks, error));
    if (why[0] != '\0') {
        return pa_error_set(error, PA_ESYSTEM, "%s", why);
    }
    return read_patterns(devices, hooks, error);
}

static pa_status
ipc_open(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    size_t size = (size_t)pa_comm_size(devices->comm);
    pa_ipc_group *group = calloc(1, sizeof *group);
    ipc_buffer *ranks = calloc(size, sizeof *ranks);
    handles *all = calloc(size, sizeof *all);
    pa_status status = PA_OK;
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    if (group == NULL || ranks == NULL || all == NULL) {
        pa_comm_abort_memory(devices->comm, PA_OP_DEVICES);
        status = pa_error_set(error, PA_EMEMORY, "no memory for %zu ranks", size);
        goto done;
    }
    group->ranks = ranks;
    devices->ipc = group;
    group = NULL;
    ranks = NULL;
    status = pa_cuda_enter(devices->cuda, devices->device, &before, error);
    if (status != PA_OK) {
        /* The others wait for what this rank has to tell. */
        handles failed = {.failed = 1};
        (void)pa_devices_exchange(devices, &failed, sizeof failed, all, hooks, NULL);
        goto done;
    }
    status = open_all(devices, all, hooks, error);
    pa_cuda_leave(devices->cuda, before);
done:
    free(all);
    free(ranks);
    free(group);
    return status;
}

/* Asks again and again, up to a limit, until the answer is yes. */
static bool
await(bool (*question)(const pa_devices *devices), const pa_devices *devices)
{
    uint64_t deadline = pa_clock_deadline(closing_ns);
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    bool answer = question(devices);
    while (!answer && pa_clock_now() < deadline) {
        (void)nanosleep(&pause, NULL);
        answer = question(devices);
    }
    return answer;
}

/* Whether this rank's device has copied all that it was to take from the others. */
static bool
own_drained(const pa_devices *devices)
{
    const ipc_buffer *own = &devices->ipc->ranks[pa_comm_rank(devices->comm)];
    bool drained = true;
    for (int slot = 0; slot < SLOTS; slot++) {
        drained = drained &&
                  (own->drained[slot] == NULL ||
                   devices->cuda->EventQuery(own->drained[slot]) != PA_CUDA_NOT_READY);
    }
    return drained;
}

/* Whether no other rank has the own buffer mapped any more. */
static bool
others_closed(const pa_devices *devices)
{
    bool closed = true;
    for (int rank = 0; rank < pa_comm_size(devices->comm); rank++) {
        closed = closed && (rank == pa_comm_rank(devices->comm) ||
                            pa_comm_rank_gone(devices->comm, rank) ||
                            pa_comm_shown(devices->comm, PA_SHOWN_CLOSED, rank) >=
                                devices->ipc_closes);
    }
    return closed;
}

static void
destroy_events(const pa_cuda *cuda, const ipc_buffer *buffer)
{
    for (int slot = 0; slot < SLOTS; slot++) {
        if (buffer->filled[slot] != NULL) {
            (void)cuda->EventDestroy(buffer->filled[slot]);
        }
        if (buffer->drained[slot] != NULL) {
            (void)cuda->EventDestroy(buffer->drained[slot]);
        }
    }
}

/* Gives back what the others have lent. */
static void
close_others(pa_devices *devices)
{
    const pa_cuda *cuda = devices->cuda;
    for (int rank = 0; rank < pa_comm_size(devices->comm); rank++) {
        const ipc_buffer *other = &devices->ipc->ranks[rank];
        if (rank != pa_comm_rank(devices->comm)) {
            destroy_events(cuda, other);
            if (other->memory != NULL) {
                (void)cuda->IpcCloseMemHandle(other->memory);
            }
        }
    }
}

/* CUDA leaves open what happens to memory that is freed while another process has it
 * mapped. So every rank first gives back what it has mapped and says so, and frees its
 * own when all have. Where some rank does not say so in time, which may still copy, the
 * own buffer stays until this process ends. */
static void
close_entered(pa_devices *devices)
{
    const pa_cuda *cuda = devices->cuda;
    const ipc_buffer *own = &devices->ipc->ranks[pa_comm_rank(devices->comm)];
    (void)await(own_drained, devices);
    close_others(devices);
    pa_comm_show(devices->comm, PA_SHOWN_CLOSED, ++devices->ipc_closes);
    if (await(others_closed, devices)) {
        destroy_events(cuda, own);
        if (own->memory != NULL) {
            (void)cuda->Free(own->memory);
        }
    }
    if (devices->ipc->stream != NULL) {
        (void)cuda->StreamDestroy(devices->ipc->stream);
    }
    if (devices->ipc->probe != NULL) {
        (void)cuda->FreeHost(devices->ipc->probe);
    }
}

static void
ipc_close(pa_devices *devices, bool forked)
{
    pa_ipc_group *group = devices->ipc;
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    if (group == NULL) {
        return;
    }
    if (!forked &&
        pa_cuda_enter(devices->cuda, devices->device, &before, NULL) == PA_OK) {
        close_entered(devices);
        pa_cuda_leave(devices->cuda, before);
    }
    free(group->ranks);
    free(group);
    devices->ipc = NULL;
}

/* ---- Moving bytes ---- */

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
    return left < SLOT_BYTES ? left : SLOT_BYTES;
}

/* Fills the own slot once the others have drained it. */
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
        PA_TRY(PA_CUDA(
            cuda, m->error,
            StreamWaitEvent(m->work->stream, group->ranks[rank].drained[slot], 0)));
    }
    char *to = group->ranks[own].memory + (size_t)slot * SLOT_BYTES;
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
        PA_TRY(PA_CUDA(
            cuda, m->error,
            StreamWaitEvent(m->work->stream, group->ranks[rank].filled[slot], 0)));
        PA_TRY(pa_device_copy_into(
            m->devices, &m->into[rank],
            group->ranks[rank].memory + (size_t)slot * SLOT_BYTES, nbytes, m->error));
    }
    return PA_CUDA(cuda, m->error,
                   EventRecord(group->ranks[own].drained[slot], m->work->stream));
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
    for (size_t begin = 0; begin < most; begin += SLOT_BYTES) {
        int slot = (int)(m->devices->ipc->chunk++ % SLOTS);
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
    .open = ipc_open,
    .stream = ipc_stream,
    .close = ipc_close,
};
