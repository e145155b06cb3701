/* Pinned host memory on the way between devices and the host: see the header. */
#include "comm/device/staging.h"

#include "comm/device/leave.h"
#include "comm/device/patience.h"

#include <stdlib.h>

enum { SMALLEST_CHUNK = 64 << 10 };

void
pa_stage_note(pa_stage_places *places, const pa_place *place)
{
    bool known = place == NULL;
    for (size_t i = 0; i < places->count; i++) {
        known = known || places->at[i]->device == place->device;
    }
    if (!known) {
        places->at[places->count++] = place;
    }
}

/* ---- Memory ---- */

static void
free_slots(pa_devices *devices)
{
    pa_staging *staging = devices->staging;
    for (size_t slot = 0; slot < PA_STAGE_SLOTS; slot++) {
        if (!staging->pinned) {
            free(staging->send[slot]);
            free(staging->recv[slot]);
        } else {
            /* What cannot be freed because the device fell off is lost with it. */
            (void)devices->cuda->FreeHost(staging->send[slot]);
            (void)devices->cuda->FreeHost(staging->recv[slot]);
        }
        staging->send[slot] = NULL;
        staging->recv[slot] = NULL;
    }
    staging->chunk = 0;
}

static pa_status
make_slot(const pa_devices *devices, size_t nbytes, char **made, pa_error *error)
{
    void *memory = NULL;
    if (devices->staging->pinned) {
        PA_TRY(PA_CUDA(devices->cuda, error,
                       HostAlloc(&memory, nbytes, PA_CUDA_HOST_PORTABLE)));
    } else {
        memory = malloc(nbytes);
    }
    *made = memory;
    return memory != NULL
               ? PA_OK
               : pa_error_set(error, PA_EMEMORY, "no memory for %zu bytes", nbytes);
}

pa_status
pa_stage_reserve(pa_devices *devices, uint32_t op, size_t chunk, const pa_hooks *hooks,
                 pa_error *error)
{
    pa_staging *staging = devices->staging;
    if (staging->chunk >= chunk) {
        return PA_OK;
    }
    /* Pinning waits for the whole device, so it is not done again for every payload
     * that is a little larger. */
    size_t rounded = SMALLEST_CHUNK;
    while (rounded < chunk) {
        rounded *= 2;
    }
    chunk = rounded;
    for (size_t slot = 0; slot < PA_STAGE_SLOTS; slot++) {
        PA_TRY(pa_stage_await(devices, op, slot, false, hooks, error));
    }
    free_slots(devices);
    staging->pinned = devices->cuda != NULL;
    pa_status status = PA_OK;
    for (size_t slot = 0; slot < PA_STAGE_SLOTS && status == PA_OK; slot++) {
        status = make_slot(devices, chunk, &staging->send[slot], error);
        if (status == PA_OK) {
            status = make_slot(devices, chunk * (size_t)pa_comm_size(devices->comm),
                               &staging->recv[slot], error);
        }
    }
    if (status != PA_OK) {
        free_slots(devices);
        return status;
    }
    staging->chunk = chunk;
    return PA_OK;
}

/* ---- Order ---- */

static pa_cuda_event *
event_of(pa_staging *staging, int device, size_t slot, bool left)
{
    pa_stage_events *events = &staging->events[device];
    return left ? &events->left[slot] : &events->landed[slot];
}

pa_status
pa_stage_mark(pa_devices *devices, const pa_stage_places *places, size_t slot,
              bool left, pa_error *error)
{
    const pa_cuda *cuda = devices->cuda;
    pa_status status = PA_OK;
    for (size_t i = 0; i < places->count && status == PA_OK; i++) {
        const pa_place *place = places->at[i];
        pa_cuda_event *event = event_of(devices->staging, place->device, slot, left);
        pa_cuda_before before = PA_CUDA_BEFORE_INIT;
        PA_TRY(pa_cuda_enter(cuda, place->device, &before, error));
        if (*event == NULL) {
            status = PA_CUDA(cuda, error,
                             EventCreateWithFlags(event, PA_CUDA_EVENT_DISABLE_TIMING));
        }
        if (status == PA_OK) {
            status = PA_CUDA(cuda, error, EventRecord(*event, place->stream));
        }
        pa_cuda_leave(cuda, before);
    }
    return status;
}

pa_status
pa_stage_await(pa_devices *devices, uint32_t op, size_t slot, bool left,
               const pa_hooks *hooks, pa_error *error)
{
    pa_patience patience = pa_patience_begin(
        devices->comm, op,
        left ? "its GPU to copy to the host" : "its GPU to copy from the host", hooks);
    patience.alone = true;
    for (int device = 0; device < devices->staging->ndevices; device++) {
        pa_cuda_event event = *event_of(devices->staging, device, slot, left);
        if (event != NULL) {
            PA_TRY(pa_patience_event(&patience, devices->cuda, event, error));
        }
    }
    return PA_OK;
}

/* ---- Beginning and end ---- */

pa_status
pa_staged_open(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    (void)hooks;
    int count = 0;
    if (devices->cuda != NULL) {
        PA_TRY(PA_CUDA(devices->cuda, error, GetDeviceCount(&count)));
    }
    pa_staging *staging = calloc(1, sizeof *staging);
    pa_stage_events *events = calloc((size_t)count + 1, sizeof *events);
    if (staging == NULL || events == NULL) {
        free(staging);
        free(events);
        return pa_error_set(error, PA_EMEMORY, "no memory for the staging of %d GPUs",
                            count);
    }
    staging->events = events;
    staging->ndevices = count;
    devices->staging = staging;
    return PA_OK;
}

/* Whether no copy from or to a slot is under way. Where asking fails there is none. */
static bool
is_idle(const pa_devices *devices)
{
    const pa_staging *staging = devices->staging;
    bool idle = true;
    for (int device = 0; device < staging->ndevices; device++) {
        for (size_t slot = 0; slot < PA_STAGE_SLOTS; slot++) {
            pa_cuda_event event = staging->events[device].landed[slot];
            bool reached = true;
            idle = idle &&
                   (event == NULL ||
                    pa_cuda_reached(devices->cuda, event, &reached, NULL) != PA_OK ||
                    reached);
        }
    }
    return idle;
}

/* Slots that a device still reads stay for the driver to take back. */
static void
close_open(pa_devices *devices)
{
    pa_staging *staging = devices->staging;
    if (devices->cuda != NULL &&
        !pa_device_await(devices, is_idle, pa_comm_timeout(devices->comm))) {
        return;
    }
    pa_cuda_event *events = (pa_cuda_event *)(void *)staging->events;
    size_t count =
        (size_t)staging->ndevices * sizeof(pa_stage_events) / sizeof(pa_cuda_event);
    for (size_t i = 0; i < count; i++) {
        if (events[i] != NULL) {
            (void)devices->cuda->EventDestroy(events[i]);
        }
    }
    free_slots(devices);
    if (devices->cuda != NULL) {
        (void)devices->cuda->GetLastError();
    }
}

void
pa_staged_close(pa_devices *devices, bool forked)
{
    pa_staging *staging = devices->staging;
    if (staging == NULL) {
        return;
    }
    if (!forked) {
        close_open(devices);
    }
    free(staging->events);
    free(staging);
    devices->staging = NULL;
}
