/* Setting up the GPUs of a group: every rank says what it has, and all come to the same
 * ways. */
#ifndef PA_COMM_DEVICE_JOIN_H
#define PA_COMM_DEVICE_JOIN_H

#include "comm/device/devices.h"

/* Collective; nothing to do once it was done. A way that cannot be had is no error,
 * with the reason in `off`, unless the caller asked for it: then PA_EARGUMENT on every
 * rank. Errors as pa_comm_stream. */
pa_status
pa_devices_join(pa_devices *devices, const pa_hooks *hooks, pa_error *error);

/* Collective: whether a step worked on every rank. `failed` is why it did not on this
 * one (NULL: it did); what the first rank said for which it did not goes to `why`, with
 * its number, which stays empty if there is none. Errors as pa_comm_stream. */
pa_status
pa_devices_all_did(pa_devices *devices, const char *failed, char *why, size_t capacity,
                   const pa_hooks *hooks, pa_error *error);

/* Collective: what every rank says, in `all` [size], which holds `nbytes` of each.
 * Errors as pa_comm_stream, and PA_EMISMATCH where a rank said more or less. */
pa_status
pa_devices_exchange(pa_devices *devices, const void *mine, size_t nbytes, void *all,
                    const pa_hooks *hooks, pa_error *error);

#endif
