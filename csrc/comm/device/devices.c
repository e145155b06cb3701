/* The GPUs of a group, before and after they are set up: see the header. */
#include "comm/device/devices.h"

#include "base/text.h"
#include "comm/device/carry.h"
#include "comm/device/choice.h"

#include <stdlib.h>

pa_devices *
pa_devices_of(pa_comm *comm)
{
    if (comm->devices == NULL) {
        pa_devices *made = calloc(1, sizeof *made);
        if (made != NULL) {
            made->comm = comm;
            made->device = -1;
        }
        comm->devices = made;
    }
    return comm->devices;
}

pa_status
pa_devices_need_cuda(pa_devices *devices, pa_error *error)
{
    if (devices->cuda == NULL) {
        devices->cuda = pa_cuda_get();
    }
    return devices->cuda != NULL
               ? PA_OK
               : pa_error_set(error, PA_ESYSTEM, "%s", pa_cuda_reason());
}

static pa_status
no_memory(pa_error *error)
{
    return pa_error_set(error, PA_EMEMORY, "no memory for the state of the GPUs");
}

pa_status
pa_devices_set(pa_comm *comm, int device, pa_error *error)
{
    pa_devices *devices = pa_devices_of(comm);
    if (devices == NULL) {
        return no_memory(error);
    }
    if (device < 0 || (devices->joined && devices->device != device)) {
        return pa_error_set(error, PA_EARGUMENT,
                            "rank %d cannot take GPU %d: its GPU is %d since the first "
                            "operation on one; choose before that",
                            pa_comm_rank(comm), device, devices->device);
    }
    devices->device = device;
    return PA_OK;
}

pa_status
pa_devices_ask(pa_comm *comm, const char *rows, pa_error *error)
{
    pa_devices *devices = pa_devices_of(comm);
    if (devices == NULL) {
        return no_memory(error);
    }
    if (devices->joined) {
        return pa_error_set(error, PA_EARGUMENT,
                            "the ways between GPUs are chosen at the first operation "
                            "on one: ask for \"%s\" before that",
                            rows);
    }
    return pa_device_choice_read(&devices->asked, rows, error);
}

pa_status
pa_devices_allow_shared(pa_comm *comm, bool allowed, pa_error *error)
{
    pa_devices *devices = pa_devices_of(comm);
    if (devices == NULL) {
        return no_memory(error);
    }
    devices->shared_nccl = allowed;
    return PA_OK;
}

/* This rank's device, which is `used` where it had none before the set-up; that also
 * where memory is short, of which the set-up tells. */
static int
own_device(pa_comm *comm, int used)
{
    pa_devices *devices = pa_devices_of(comm);
    if (devices != NULL && devices->device < 0 && !devices->joined) {
        devices->device = used;
    }
    return devices != NULL ? devices->device : used;
}

/* The default stream is never captured. To ask makes a context on the thread's current
 * device, which is the stream's therefore. */
bool
pa_place_captured(const pa_place *place)
{
    const pa_cuda *cuda = place->stream != NULL ? pa_cuda_get() : NULL;
    pa_cuda_before before;
    int capturing = PA_CUDA_CAPTURE_NONE;
    if (cuda == NULL || pa_cuda_enter(cuda, place->device, &before, NULL) != PA_OK) {
        return false;
    }
    (void)PA_CUDA(cuda, NULL, StreamIsCapturing(place->stream, &capturing));
    pa_cuda_leave(cuda, before);
    return capturing != PA_CUDA_CAPTURE_NONE;
}

uint32_t
pa_devices_placed(pa_comm *comm, const pa_leaves *leaves)
{
    uint32_t placed = 0;
    const pa_place *last = NULL;
    int own = -1;
    for (size_t i = 0; i < leaves->count; i++) {
        const pa_place *place = leaves->at[i].place;
        if (place == NULL || place == last) {
            continue;
        }
        own = last == NULL ? own_device(comm, place->device) : own;
        last = place;
        placed |= PA_PLACED_DEVICE;
        placed |= place->device != own ? PA_PLACED_APART : 0;
        placed |= pa_place_captured(place) ? PA_PLACED_CAPTURED : 0;
    }
    return placed;
}

uint32_t
pa_cards_placed(const pa_card *cards, int size)
{
    uint32_t placed = 0;
    uint32_t everywhere = PA_PLACED_CAPTURED;
    for (int rank = 0; rank < size; rank++) {
        placed |= cards[rank].placed;
        everywhere &= cards[rank].placed;
    }
    bool split = (placed & PA_PLACED_CAPTURED) != everywhere;
    return placed | (split ? PA_PLACED_SPLIT : 0);
}

static void
format_ranks(const pa_devices *devices, char *text, size_t capacity)
{
    for (int rank = 0; rank < pa_comm_size(devices->comm); rank++) {
        const pa_device_facts *facts = &devices->ranks[rank];
        if (facts->device < 0) {
            pa_text_append(text, capacity, "\nrank %d: no GPU (%s)", rank,
                           facts->no_cuda);
        } else {
            pa_text_append(text, capacity, "\nrank %d: GPU %d", rank, facts->device);
        }
    }
}

void
pa_devices_format(pa_comm *comm, char *text, size_t capacity)
{
    const pa_devices *devices = comm->devices;
    text[0] = '\0';
    if (devices == NULL || !devices->joined) {
        pa_text_append(text, capacity, "GPUs are set up at the first operation on one");
        if (devices != NULL && devices->asked.count > 0) {
            pa_text_append(text, capacity, "\nasked for: ");
            pa_device_choice_format(&devices->asked, text, capacity);
        }
        return;
    }
    pa_text_append(text, capacity, "ways: ");
    pa_device_choice_format(&devices->choice, text, capacity);
    for (size_t i = 0; i < PA_DEVICE_WAYS; i++) {
        pa_text_append(text, capacity, "\n%s: %s", pa_device_ways[i]->name,
                       devices->off[i][0] == '\0' ? "on" : devices->off[i]);
    }
    format_ranks(devices, text, capacity);
}

void
pa_devices_abort(pa_devices *devices)
{
    for (size_t i = 0; i < PA_DEVICE_WAYS; i++) {
        if (pa_device_ways[i]->abort != NULL) {
            pa_device_ways[i]->abort(devices);
        }
    }
}

void
pa_devices_close(pa_devices *devices, bool forked)
{
    if (devices == NULL) {
        return;
    }
    pa_carry_close(devices, forked);
    for (size_t i = 0; i < PA_DEVICE_WAYS; i++) {
        pa_device_ways[i]->close(devices, forked);
    }
    free(devices->ranks);
    free(devices);
}
