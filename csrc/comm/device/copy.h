/* Copies between a flow, whose pieces may stand on devices, and memory in one piece. */
#ifndef PA_COMM_DEVICE_COPY_H
#define PA_COMM_DEVICE_COPY_H

#include "comm/device/devices.h"

/* Copies the next `nbytes` of the flow to `to`, or from `from` into the flow; pieces
 * without data pass by. Pieces on a device are copied in order on their streams, so the
 * other side must stay as it is until these have come so far; host pieces at once, and
 * then the other side must be host memory. The flow must have that many left. Errors as
 * PA_CUDA. */
pa_status
pa_device_copy_from(pa_devices *devices, pa_cursor *flow, char *to, size_t nbytes,
                    pa_error *error);
pa_status
pa_device_copy_into(pa_devices *devices, pa_cursor *flow, const char *from,
                    size_t nbytes, pa_error *error);

/* Copies `nbytes` bytes to `to` from `from`, of which one or both stand at `place`; at
 * once where that is NULL. Errors as PA_CUDA. */
pa_status
pa_device_copy(pa_devices *devices, const pa_place *place, char *to, const char *from,
               size_t nbytes, pa_error *error);

/* Copies the own bytes of a flow to where the own rank receives them; both have the
 * same pieces. Errors as PA_CUDA. */
pa_status
pa_device_copy_own(pa_devices *devices, const pa_flow *send, const pa_flow *recv,
                   pa_error *error);

/* Whether any piece of the flow has data to be filled. */
bool
pa_flow_wanted(const pa_flow *flow);

#endif
