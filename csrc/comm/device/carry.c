/* Payloads of messages through pinned host memory: see the header.
 *
 *     sender      device -> slot 1        while slot 0 -> peer
 *     receiver    slot 0 -> device        while peer -> slot 1
 *
 * An event for each slot and device says how far the copies of that slot are. */
#include "comm/device/carry.h"

#include "comm/device/copy.h"
#include "comm/device/leave.h"
#include "comm/device/patience.h"

#include <stdlib.h>

enum { SLOTS = 2 };

struct pa_carry {
    pa_devices *devices;
    char *slots[SLOTS];
    size_t capacity; /* of each slot */
    bool pinned;
    pa_cuda_event *marks; /* [SLOTS][ndevices]; NULL until it is needed */
    int ndevices;
};

/* ---- Slots ---- */

static void
free_slots(pa_carry *end)
{
    for (size_t slot = 0; slot < SLOTS; slot++) {
        if (!end->pinned) {
            free(end->slots[slot]);
        } else if (end->slots[slot] != NULL) {
            /* What cannot be freed because the device fell off is lost with it. */
            (void)end->devices->cuda->FreeHost(end->slots[slot]);
        }
        end->slots[slot] = NULL;
    }
    end->capacity = 0;
}

static pa_status
make_slots(pa_carry *end, size_t nbytes, bool pinned, pa_error *error)
{
    pa_status status = PA_OK;
    end->pinned = pinned;
    for (size_t slot = 0; slot < SLOTS && status == PA_OK; slot++) {
        void *memory = NULL;
        if (pinned) {
            status = PA_CUDA(end->devices->cuda, error,
                             HostAlloc(&memory, nbytes, PA_CUDA_HOST_PORTABLE));
        } else {
            memory = malloc(nbytes);
        }
        end->slots[slot] = memory;
        if (status == PA_OK && memory == NULL) {
            status = pa_error_set(error, PA_EMEMORY, "no memory for %zu bytes", nbytes);
        }
    }
    if (status != PA_OK) {
        free_slots(end);
        return status;
    }
    end->capacity = nbytes;
    return PA_OK;
}

static pa_status
make_marks(pa_carry *end, pa_error *error)
{
    int count = 0;
    PA_TRY(PA_CUDA(end->devices->cuda, error, GetDeviceCount(&count)));
    end->marks = calloc(SLOTS * (size_t)count, sizeof *end->marks);
    if (end->marks == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for the events of %d GPUs",
                            count);
    }
    end->ndevices = count;
    return PA_OK;
}

/* ---- Order ---- */

static pa_cuda_event *
mark_of(const pa_carry *end, size_t slot, int device)
{
    return &end->marks[slot * (size_t)end->ndevices + (size_t)device];
}

/* Marks how far a stream is with the copies of a slot. */
static pa_status
mark(const pa_carry *end, size_t slot, const pa_place *place, pa_error *error)
{
    const pa_cuda *cuda = end->devices->cuda;
    pa_cuda_event *event = mark_of(end, slot, place->device);
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    PA_TRY(pa_cuda_enter(cuda, place->device, &before, error));
    pa_status status = PA_OK;
    if (*event == NULL) {
        status = PA_CUDA(cuda, error,
                         EventCreateWithFlags(event, PA_CUDA_EVENT_DISABLE_TIMING));
    }
    if (status == PA_OK) {
        status = PA_CUDA(cuda, error, EventRecord(*event, place->stream));
    }
    pa_cuda_leave(cuda, before);
    return status;
}

static pa_status
mark_all(const pa_carried *carried, size_t slot, pa_error *error)
{
    const pa_place *last = NULL;
    for (size_t i = 0; i < carried->nparts; i++) {
        const pa_place *place = carried->parts[i].place;
        if (place != NULL && place != last) {
            PA_TRY(mark(carried->slots, slot, place, error));
            last = place;
        }
    }
    return PA_OK;
}

/* Waits until all copies of a slot are done. */
static pa_status
await(const pa_carried *carried, size_t slot, pa_error *error)
{
    const pa_carry *end = carried->slots;
    pa_patience patience = pa_patience_begin(carried->comm, carried->op,
                                             "its GPU to copy", carried->hooks);
    patience.alone = true;
    for (int device = 0; device < end->ndevices; device++) {
        pa_cuda_event event = *mark_of(end, slot, device);
        if (event != NULL) {
            PA_TRY(pa_patience_event(&patience, end->devices->cuda, event, error));
        }
    }
    return PA_OK;
}

/* ---- Beginning and end ---- */

/* The device of the first part on one; -1 where all are the host's. */
static int
first_device(const pa_part *parts, size_t nparts)
{
    for (size_t i = 0; i < nparts; i++) {
        if (parts[i].place != NULL) {
            return parts[i].place->device;
        }
    }
    return -1;
}

static pa_status
refuse_captured(const pa_carried *carried, pa_error *error)
{
    for (size_t i = 0; i < carried->nparts; i++) {
        const pa_place *place = carried->parts[i].place;
        if (place != NULL && pa_place_captured(place)) {
            return pa_error_set(error, PA_EARGUMENT,
                                "%s: a message cannot be captured in a CUDA graph, "
                                "since the host has a part in it; move it out of the "
                                "captured region",
                                pa_op_text(carried->op));
        }
    }
    return PA_OK;
}

static pa_status
open_end(pa_carry **end, pa_comm *comm, int device, pa_error *error)
{
    if (*end == NULL) {
        pa_carry *made = calloc(1, sizeof *made);
        pa_devices *devices = made != NULL ? pa_devices_of(comm) : NULL;
        if (devices == NULL) {
            free(made);
            return pa_error_set(error, PA_EMEMORY, "no memory for the slots of a GPU");
        }
        made->devices = devices;
        *end = made;
    }
    if (device < 0) {
        return PA_OK;
    }
    PA_TRY(pa_devices_need_cuda((*end)->devices, error));
    return (*end)->marks == NULL ? make_marks(*end, error) : PA_OK;
}

/* Slots of the kind and size that are needed, which nothing is copied from or to. */
static pa_status
reserve(const pa_carried *carried, size_t nbytes, bool pinned, pa_error *error)
{
    pa_carry *end = carried->slots;
    if (end->capacity >= nbytes && (end->pinned || !pinned)) {
        return PA_OK;
    }
    for (size_t slot = 0; slot < SLOTS; slot++) {
        PA_TRY(await(carried, slot, error));
    }
    free_slots(end);
    return make_slots(end, nbytes, pinned || end->pinned, error);
}

/* Enqueues the copies of the next chunk from the device. */
static pa_status
copy_out(pa_carried *carried, pa_error *error)
{
    size_t slot = carried->copied / carried->chunk % SLOTS;
    size_t left = carried->nbytes - carried->copied;
    size_t nbytes = left < carried->chunk ? left : carried->chunk;
    PA_TRY(pa_device_copy_from(carried->slots->devices, &carried->at,
                               carried->slots->slots[slot], nbytes, error));
    carried->copied += nbytes;
    return mark_all(carried, slot, error);
}

pa_status
pa_carry_begin(pa_carried *carried, pa_carry **end, pa_comm *comm, uint32_t op,
               const pa_part *parts, size_t nparts, size_t chunk, const pa_hooks *hooks,
               pa_error *error)
{
    size_t nbytes = 0;
    for (size_t i = 0; i < nparts; i++) {
        nbytes += parts[i].nbytes;
    }
    int device = first_device(parts, nparts);
    PA_TRY(open_end(end, comm, device, error));
    *carried = (pa_carried){
        .slots = *end,
        .comm = comm,
        .hooks = hooks,
        .op = op,
        .parts = parts,
        .nparts = nparts,
        .nbytes = nbytes,
        .chunk = chunk < nbytes ? chunk : nbytes,
        .at = {.parts = parts},
        .before = PA_CUDA_BEFORE_INIT,
    };
    const pa_cuda *cuda = (*end)->devices->cuda;
    PA_TRY(refuse_captured(carried, error));
    int own = (*end)->devices->device;
    if (device >= 0 && own >= 0) {
        PA_TRY(pa_cuda_enter(cuda, own, &carried->before, error));
    }
    pa_status status = reserve(carried, carried->chunk, device >= 0, error);
    if (status != PA_OK) {
        pa_carry_end(carried);
    }
    return status;
}

void
pa_carry_end(pa_carried *carried)
{
    pa_cuda_leave(carried->slots->devices->cuda, carried->before);
}

/* ---- Chunks ---- */

/* The slot of the chunk that travels next. */
static pa_part
next_chunk(const pa_carried *carried)
{
    size_t slot = carried->traveled / carried->chunk % SLOTS;
    size_t left = carried->nbytes - carried->traveled;
    size_t nbytes = left < carried->chunk ? left : carried->chunk;
    return (pa_part){carried->slots->slots[slot], nbytes, NULL};
}

pa_status
pa_carry_fetch(pa_carried *carried, pa_part *chunk, pa_error *error)
{
    size_t slot = carried->traveled / carried->chunk % SLOTS;
    *chunk = next_chunk(carried);
    carried->traveled += chunk->nbytes;
    /* Two at the beginning; then the one behind that which is fetched. */
    while (carried->copied < carried->nbytes &&
           carried->copied < carried->traveled + carried->chunk) {
        PA_TRY(copy_out(carried, error));
    }
    return await(carried, slot, error);
}

pa_status
pa_carry_room(pa_carried *carried, pa_part *chunk, pa_error *error)
{
    *chunk = next_chunk(carried);
    return await(carried, carried->traveled / carried->chunk % SLOTS, error);
}

pa_status
pa_carry_land(pa_carried *carried, pa_error *error)
{
    size_t slot = carried->traveled / carried->chunk % SLOTS;
    pa_part chunk = next_chunk(carried);
    carried->traveled += chunk.nbytes;
    PA_TRY(pa_device_copy_into(carried->slots->devices, &carried->at, chunk.data,
                               chunk.nbytes, error));
    return mark_all(carried, slot, error);
}

/* ---- Closing ---- */

/* Whether no copy from or to a slot is under way. Where asking fails there is none. */
static bool
is_idle(const pa_carry *end)
{
    size_t count = end != NULL ? SLOTS * (size_t)end->ndevices : 0;
    bool reached = true;
    for (size_t i = 0; i < count && reached; i++) {
        if (end->marks[i] != NULL && pa_cuda_reached(end->devices->cuda, end->marks[i],
                                                     &reached, NULL) != PA_OK) {
            reached = true;
        }
    }
    return reached;
}

static bool
are_idle(const pa_devices *devices)
{
    const pa_comm *comm = devices->comm;
    bool idle = true;
    for (int peer = 0; peer < comm->size && idle; peer++) {
        idle = is_idle(comm->channels[peer].out) && is_idle(comm->channels[peer].in);
    }
    return idle;
}

/* `idle`: the slots are nobody's; else they stay for the driver to take back. */
static void
destroy(pa_carry *end, bool idle)
{
    size_t count = end != NULL && idle ? SLOTS * (size_t)end->ndevices : 0;
    for (size_t i = 0; i < count; i++) {
        if (end->marks[i] != NULL) {
            (void)end->devices->cuda->EventDestroy(end->marks[i]);
        }
    }
    if (end != NULL && idle) {
        free_slots(end);
    }
    if (end != NULL) {
        free(end->marks);
        free(end);
    }
}

void
pa_carry_close(pa_devices *devices, bool forked)
{
    pa_comm *comm = devices->comm;
    bool idle = !forked && pa_device_await(devices, are_idle, pa_comm_timeout(comm));
    for (int peer = 0; peer < comm->size; peer++) {
        pa_channel *channel = &comm->channels[peer];
        destroy(channel->out, idle);
        destroy(channel->in, idle);
        channel->out = NULL;
        channel->in = NULL;
    }
    if (idle && devices->cuda != NULL) {
        (void)devices->cuda->GetLastError();
    }
}
