/* The calls of the fake CUDA driver. */
#include "record.h"
#include "settings.h"

#include "gpu/cuda.h"

#include <string.h>

enum { INVALID_DEVICE = 101 };

int
cuDriverGetVersion(int *version);
int
cuDeviceGet(int *handle, int device);
int
cuDeviceGetUuid_v2(pa_cuda_uuid *uuid, int handle);

int
cuDriverGetVersion(int *version)
{
    fake_call call;
    int code = fake_begin(&call, "cuDriverGetVersion", "%s", "");
    *version = fake_settings_get()->driver;
    return fake_end(&call, code);
}

int
cuDeviceGet(int *handle, int device)
{
    fake_call call;
    int code = fake_begin(&call, "cuDeviceGet", "device=%d", device);
    if (code == 0 && (device < 0 || device >= fake_settings_get()->count)) {
        code = INVALID_DEVICE;
    }
    if (code == 0) {
        *handle = 1000 + device; /* no ordinal, so that nobody takes it for one */
    }
    return fake_end(&call, code);
}

int
cuDeviceGetUuid_v2(pa_cuda_uuid *uuid, int handle)
{
    fake_call call;
    int device = handle - 1000;
    int code = fake_begin(&call, "cuDeviceGetUuid_v2", "handle=%d", handle);
    if (code == 0 && (device < 0 || device >= fake_settings_get()->count)) {
        code = fake_refuse(INVALID_DEVICE,
                           "cuDeviceGetUuid_v2: %d is no handle of "
                           "cuDeviceGet",
                           handle);
    }
    if (code == 0) {
        fake_uuid(fake_settings_get()->physical[device], uuid->bytes);
    }
    return fake_end(&call, code);
}
