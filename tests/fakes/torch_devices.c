/* In place of csrc/torch/devices.c in the test build: tensors of the CPU over memory of
 * the fake CUDA runtime count as tensors of its devices, and which of their streams is
 * current is what a test says. */
#include "torch/devices.h"

#include "fakes/torch_devices.h"
#include "gpu/library.h"
#include "sys/library.h"

#include <stdlib.h>

enum { FAKE_DEVICES = 8 };

typedef union symbol {
    void *address;
    int (*device_of)(const void *address);
} symbol;

struct pa_torch_devices {
    int unused;
};

static struct {
    void *streams[FAKE_DEVICES];
    int empties;
} chosen = {.empties = PA_TORCH_HOST};

void
fake_torch_use(int device, void *stream)
{
    if (device >= 0 && device < FAKE_DEVICES) {
        chosen.streams[device] = stream;
    }
}

void
fake_torch_empties(int device)
{
    chosen.empties = device;
}

pa_torch_devices *
pa_torch_devices_open(const pa_dl_exchange *exchange)
{
    (void)exchange;
    return calloc(1, sizeof(pa_torch_devices));
}

void
pa_torch_devices_close(pa_torch_devices *devices)
{
    free(devices);
}

int
pa_torch_devices_where(const pa_torch_devices *devices, const pa_dl_tensor *view)
{
    (void)devices;
    void *runtime = pa_gpu_find(PA_GPU_CUDART)->handle;
    symbol found = {NULL};
    if (runtime != NULL) {
        found.address = pa_library_symbol(runtime, "fake_device_of");
    }
    if (found.address == NULL) {
        return PA_TORCH_HOST; /* there is none, or the real one */
    }
    if (view->data == NULL) {
        return chosen.empties;
    }
    int device = found.device_of((char *)view->data + view->byte_offset);
    return device >= 0 ? device : PA_TORCH_HOST;
}

int
pa_torch_devices_stream(const pa_torch_devices *devices, int device, void **stream)
{
    (void)devices;
    if (device >= FAKE_DEVICES) {
        return 1;
    }
    *stream = chosen.streams[device];
    return 0;
}
