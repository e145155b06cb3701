/* Reductions of leaves on devices: by the way itself where it can, else by the host. */
#ifndef PA_COMM_DEVICE_REDUCE_H
#define PA_COMM_DEVICE_REDUCE_H

#include "comm/device/backend.h"

/* Collective, after a meeting in which all agreed on the call and some bit of `placed`
 * was set: fills the outputs, on devices in order on their streams. `work->stream` is
 * not looked at. Errors as pa_devices_move. */
pa_status
pa_devices_reduce(pa_comm *comm, const pa_device_reduction *work, uint32_t placed,
                  bool apart, const pa_hooks *hooks, pa_error *error);

#endif
