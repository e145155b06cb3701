/* Waiting while a group is left: for GPUs that still work, and for the other ranks. */
#ifndef PA_COMM_DEVICE_LEAVE_H
#define PA_COMM_DEVICE_LEAVE_H

#include "comm/device/devices.h"

/* Asks a question again and again, with pauses, until the answer is yes. False once
 * `limit_ns` has passed, the group is broken, or who leaves it wants to stop (the hooks
 * of pa_comm_leave). Breaks nothing. */
bool
pa_device_await(const pa_devices *devices, bool (*question)(const pa_devices *devices),
                uint64_t limit_ns);

#endif
