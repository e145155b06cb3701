/* Copies between flows and memory in one piece: see the header. */
#include "comm/device/copy.h"

#include <string.h>

pa_status
pa_device_copy(pa_devices *devices, const pa_place *place, char *to, const char *from,
               size_t nbytes, pa_error *error)
{
    if (place == NULL) {
        memcpy(to, from, nbytes);
        return PA_OK;
    }
    const pa_cuda *cuda = devices->cuda;
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    if (place->device != devices->device) {
        PA_TRY(pa_cuda_enter(cuda, place->device, &before, error));
    }
    pa_status status =
        PA_CUDA(cuda, error,
                MemcpyAsync(to, from, nbytes, PA_CUDA_MEMCPY_DEFAULT, place->stream));
    pa_cuda_leave(cuda, before);
    return status;
}

/* The piece under the cursor, and how much of it can be taken at once. */
static const pa_part *
piece(pa_cursor *flow, size_t wanted, size_t *nbytes)
{
    while (flow->offset == flow->parts[flow->index].nbytes) {
        flow->index++;
        flow->offset = 0;
    }
    const pa_part *part = &flow->parts[flow->index];
    size_t left = part->nbytes - flow->offset;
    *nbytes = left < wanted ? left : wanted;
    return part;
}

pa_status
pa_device_copy_from(pa_devices *devices, pa_cursor *flow, char *to, size_t nbytes,
                    pa_error *error)
{
    while (nbytes > 0) {
        size_t run = 0;
        const pa_part *part = piece(flow, nbytes, &run);
        PA_TRY(pa_device_copy(devices, part->place, to, part->data + flow->offset, run,
                              error));
        flow->offset += run;
        to += run;
        nbytes -= run;
    }
    return PA_OK;
}

pa_status
pa_device_copy_into(pa_devices *devices, pa_cursor *flow, const char *from,
                    size_t nbytes, pa_error *error)
{
    while (nbytes > 0) {
        size_t run = 0;
        const pa_part *part = piece(flow, nbytes, &run);
        if (part->data != NULL) {
            PA_TRY(pa_device_copy(devices, part->place, part->data + flow->offset, from,
                                  run, error));
        }
        flow->offset += run;
        from += run;
        nbytes -= run;
    }
    return PA_OK;
}

pa_status
pa_device_copy_own(pa_devices *devices, const pa_flow *send, const pa_flow *recv,
                   pa_error *error)
{
    for (size_t i = 0; recv->parts != NULL && i < recv->nparts; i++) {
        const pa_part *to = &recv->parts[i];
        if (to->data != NULL && to->nbytes > 0) {
            PA_TRY(pa_device_copy(devices, to->place, to->data, send->parts[i].data,
                                  to->nbytes, error));
        }
    }
    return PA_OK;
}

bool
pa_flow_wanted(const pa_flow *flow)
{
    bool wanted = false;
    for (size_t i = 0; flow->parts != NULL && i < flow->nparts; i++) {
        wanted = wanted || (flow->parts[i].data != NULL && flow->parts[i].nbytes > 0);
    }
    return wanted;
}
