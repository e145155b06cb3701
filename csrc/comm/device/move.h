/* One operation's way between GPUs: which one, and errors that reach every rank. For
 * move.c and reduce.c. */
#ifndef PA_COMM_DEVICE_MOVE_H
#define PA_COMM_DEVICE_MOVE_H

#include "comm/device/backend.h"

/* Collective: sets the devices up if this is the first operation on one, and chooses
 * the way for a payload of `nbytes`, the same number on every rank. Errors as
 * pa_devices_join; PA_EARGUMENT on every rank where a graph is being captured and the
 * way cannot be. */
pa_status
pa_devices_way(pa_comm *comm, uint32_t op, uint32_t placed, bool apart, size_t nbytes,
               const pa_device_backend **way, const pa_hooks *hooks, pa_error *error);

/* Breaks the group because this rank's share of `op` failed on its device, and gives
 * the status back. */
pa_status
pa_devices_break(pa_comm *comm, uint32_t op, pa_status status, pa_error *error);

#endif
