/* What comes from torch for the memory of a device: where a tensor's memory is, and
 * which of the device's streams torch works on. */
#ifndef PA_TORCH_DEVICES_H
#define PA_TORCH_DEVICES_H

#include "torch/dlpack.h"

typedef struct pa_torch_devices pa_torch_devices;

/* Where memory can be that is not a CUDA device's. */
enum {
    PA_TORCH_HOST = -1,
    PA_TORCH_AWAY = -2, /* on a device that the core does not serve */
};

/* Finds what torch has loaded; `exchange` may be NULL. NULL when memory is short. Goes
 * to pa_torch_devices_close. */
pa_torch_devices *
pa_torch_devices_open(const pa_dl_exchange *exchange);

/* Gives it back; NULL is fine. */
void
pa_torch_devices_close(pa_torch_devices *devices);

/* Where the memory of a view is: the number that CUDA gives the device in this process,
 * or one of the above. Looks at nothing of the view but its memory and device. */
int
pa_torch_devices_where(const pa_torch_devices *devices, const pa_dl_tensor *view);

/* torch's current stream of a CUDA device. 0; -1 with a Python exception; 1 where this
 * torch tells it in Python only. */
int
pa_torch_devices_stream(const pa_torch_devices *devices, int device, void **stream);

#endif
