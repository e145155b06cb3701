/* Devices as torch has them: see the header. */
#include "torch/devices.h"

#include "sys/library.h"

#include <stdlib.h>

/* Of libtorch's C shim; returns 0 on success. */
typedef int32_t (*get_stream)(int32_t device, void **out);

struct pa_torch_devices {
    const pa_dl_exchange *exchange; /* NULL: torch before 2.10 */
    void *library;                  /* torch's part for CUDA; NULL: none */
    get_stream stream;
};

/* As in torch/shim.c. */
typedef union symbol {
    void *address;
    get_stream stream;
} symbol;

pa_torch_devices *
pa_torch_devices_open(const pa_dl_exchange *exchange)
{
    pa_torch_devices *devices = calloc(1, sizeof *devices);
    if (devices == NULL) {
        return NULL;
    }
    devices->exchange = exchange;
    devices->library = pa_library_find("libtorch_cuda.so", 0);
    if (devices->library != NULL) {
        symbol found = {.address = pa_library_symbol(
                            devices->library, "aoti_torch_get_current_cuda_stream")};
        devices->stream = found.stream;
    }
    return devices;
}

void
pa_torch_devices_close(pa_torch_devices *devices)
{
    if (devices != NULL) {
        pa_library_close(devices->library);
        free(devices);
    }
}

int
pa_torch_devices_where(const pa_torch_devices *devices, const pa_dl_tensor *view)
{
    (void)devices;
    switch (view->device.type) {
    case PA_DL_CPU:
        return PA_TORCH_HOST;
    case PA_DL_CUDA:
        return view->device.id;
    default:
        return PA_TORCH_AWAY;
    }
}

int
pa_torch_devices_stream(const pa_torch_devices *devices, int device, void **stream)
{
    if (devices->exchange != NULL && devices->exchange->current_stream != NULL) {
        return devices->exchange->current_stream(PA_DL_CUDA, device, stream) == 0 ? 0
                                                                                  : -1;
    }
    if (devices->stream != NULL && devices->stream(device, stream) == 0) {
        return 0;
    }
    return 1;
}
