/* The buffers that the ranks of a host share: made, told, opened, tried, and given back
 * in an order that CUDA allows. */
#include "comm/device/ipc_group.h"

#include "comm/device/join.h"
#include "comm/device/leave.h"
#include "comm/device/patience.h"

#include <stdlib.h>
#include <string.h>

enum { PROBE_BYTES = 64 };

/* How long the end of a group waits for the other ranks to give back what they have
 * mapped, before it leaves the own buffer to the driver. */
static const uint64_t closing_ns = UINT64_C(2000000000);

/* What a rank tells the others to open. */
typedef struct handles {
    pa_cuda_ipc_memory memory;
    pa_cuda_ipc_event filled[PA_IPC_SLOTS];
    pa_cuda_ipc_event drained[PA_IPC_SLOTS];
} handles;

/* ---- Beginning ---- */

static pa_status
make_own(pa_devices *devices, handles *told, pa_error *error)
{
    const pa_cuda *cuda = devices->cuda;
    pa_ipc_group *group = devices->ipc;
    pa_ipc_buffer *own = &group->ranks[pa_comm_rank(devices->comm)];
    unsigned int flags = PA_CUDA_EVENT_DISABLE_TIMING | PA_CUDA_EVENT_INTERPROCESS;
    void *memory = NULL;
    PA_TRY(PA_CUDA(cuda, error, HostAlloc(&memory, PROBE_BYTES, 0)));
    group->probe = memory;
    PA_TRY(PA_CUDA(cuda, error,
                   StreamCreateWithFlags(&group->stream, PA_CUDA_STREAM_NON_BLOCKING)));
    PA_TRY(PA_CUDA(cuda, error,
                   Malloc(&memory, (size_t)PA_IPC_SLOTS * PA_IPC_SLOT_BYTES)));
    own->memory = memory;
    PA_TRY(PA_CUDA(cuda, error, IpcGetMemHandle(&told->memory, memory)));
    for (int slot = 0; slot < PA_IPC_SLOTS; slot++) {
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
    pa_ipc_buffer *other = &devices->ipc->ranks[rank];
    void *memory = NULL;
    PA_TRY(
        PA_CUDA(cuda, error,
                IpcOpenMemHandle(&memory, told->memory, PA_CUDA_IPC_LAZY_PEER_ACCESS)));
    other->memory = memory;
    for (int slot = 0; slot < PA_IPC_SLOTS; slot++) {
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

/* Ends a step that all ranks must have done before the next: PA_OK if they have. */
static pa_status
settle(pa_devices *devices, pa_status status, const pa_error *said,
       const pa_hooks *hooks, pa_error *error)
{
    char why[PA_DEVICE_TEXT];
    PA_TRY(pa_devices_all_did(devices, status == PA_OK ? NULL : said->message, why,
                              sizeof why, hooks, error));
    return why[0] == '\0' ? PA_OK : pa_error_set(error, PA_ESYSTEM, "%s", why);
}

static pa_status
open_all(pa_devices *devices, handles *all, const pa_hooks *hooks, pa_error *error)
{
    int size = pa_comm_size(devices->comm);
    int own = pa_comm_rank(devices->comm);
    handles mine = {0};
    pa_error said = PA_ERROR_INIT;
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    pa_status status = pa_cuda_enter(devices->cuda, devices->device, &before, &said);
    bool entered = status == PA_OK;
    if (entered) {
        status = make_own(devices, &mine, &said);
    }
    status = settle(devices, status, &said, hooks, error);
    if (status == PA_OK) {
        status = pa_devices_exchange(devices, &mine, sizeof mine, all, hooks, error);
    }
    if (status == PA_OK) {
        for (int rank = 0; rank < size && status == PA_OK; rank++) {
            status = rank != own ? open_other(devices, rank, &all[rank], &said) : PA_OK;
        }
        if (status == PA_OK) {
            status = write_pattern(devices, hooks, &said);
        }
        status = settle(devices, status, &said, hooks, error);
    }
    if (status == PA_OK) {
        status = read_patterns(devices, hooks, error);
    }
    if (entered) {
        pa_cuda_leave(devices->cuda, before);
    }
    return status;
}

pa_status
pa_ipc_open(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    size_t size = (size_t)pa_comm_size(devices->comm);
    pa_ipc_group *group = calloc(1, sizeof *group);
    pa_ipc_buffer *ranks = calloc(size, sizeof *ranks);
    handles *all = calloc(size, sizeof *all);
    if (group == NULL || ranks == NULL || all == NULL) {
        free(group);
        free(ranks);
        free(all);
        pa_comm_abort_memory(devices->comm, PA_OP_DEVICES);
        return pa_error_set(error, PA_EMEMORY, "no memory for %zu ranks", size);
    }
    group->ranks = ranks;
    devices->ipc = group;
    pa_status status = open_all(devices, all, hooks, error);
    free(all);
    return status;
}

/* ---- Ending ---- */

/* Whether a device has come to all events of a buffer's rank. Where asking fails there
 * is nothing to wait for. */
static bool
has_drained(const pa_devices *devices, int rank)
{
    const pa_ipc_buffer *buffer = &devices->ipc->ranks[rank];
    bool drained = true;
    for (int slot = 0; slot < PA_IPC_SLOTS; slot++) {
        bool reached = true;
        drained = drained && (buffer->drained[slot] == NULL ||
                              pa_cuda_reached(devices->cuda, buffer->drained[slot],
                                              &reached, NULL) != PA_OK ||
                              reached);
    }
    return drained;
}

/* Whether nobody copies any more: this rank from the others, nor they from this one.
 * They have enqueued their copies of a chunk once they have shown its number. */
static bool
all_drained(const pa_devices *devices)
{
    const pa_comm *comm = devices->comm;
    bool drained = true;
    for (int rank = 0; rank < comm->size; rank++) {
        bool enqueued =
            rank == comm->rank ||
            pa_comm_shown(devices->comm, PA_SHOWN_TAKEN, rank) >= devices->ipc->chunk;
        drained = drained && (pa_comm_rank_gone(devices->comm, rank) ||
                              (enqueued && has_drained(devices, rank)));
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
destroy_events(const pa_cuda *cuda, const pa_ipc_buffer *buffer)
{
    for (int slot = 0; slot < PA_IPC_SLOTS; slot++) {
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
        const pa_ipc_buffer *other = &devices->ipc->ranks[rank];
        if (rank != pa_comm_rank(devices->comm)) {
            destroy_events(cuda, other);
            if (other->memory != NULL) {
                (void)cuda->IpcCloseMemHandle(other->memory);
            }
        }
    }
}

/* CUDA leaves open what happens to memory that is freed while another process has it
 * mapped. So every rank first waits for all copies, gives back what it has mapped and
 * says so, and frees its own when all have. Where that does not come about in time, or
 * the group is broken, everything stays for the driver to take back when this process
 * ends: freeing waits for the device, which may wait for a process that is gone. */
static void
close_entered(pa_devices *devices)
{
    const pa_cuda *cuda = devices->cuda;
    const pa_ipc_buffer *own = &devices->ipc->ranks[pa_comm_rank(devices->comm)];
    if (!pa_device_await(devices, all_drained, pa_comm_timeout(devices->comm))) {
        return;
    }
    close_others(devices);
    pa_comm_show(devices->comm, PA_SHOWN_CLOSED, ++devices->ipc_closes);
    if (pa_device_await(devices, others_closed, closing_ns)) {
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
    (void)cuda->GetLastError();
}

void
pa_ipc_close(pa_devices *devices, bool forked)
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
