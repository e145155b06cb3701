/* The calls of the fake CUDA driver. */
#include "record.h"
#include "settings.h"

#include "gpu/cuda.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

/* Handles are no ordinals, so that nobody takes one for the other. */
enum { INVALID_DEVICE = 101, FIRST_HANDLE = 1000 };

int
cuDriverGetVersion(int *version);
int
cuDeviceGet(int *handle, int device);
int
cuDeviceGetUuid_v2(pa_cuda_uuid *uuid, int handle);
int
cuDevicePrimaryCtxGetState(int handle, unsigned int *flags, int *active);

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
        *handle = FIRST_HANDLE + device;
    }
    return fake_end(&call, code);
}

static int
check_handle(int code, const char *name, int handle)
{
    int device = handle - FIRST_HANDLE;
    if (code == 0 && (device < 0 || device >= fake_settings_get()->count)) {
        code = fake_refuse(INVALID_DEVICE, "%s: %d is no handle of cuDeviceGet", name,
                           handle);
    }
    return code;
}

int
cuDeviceGetUuid_v2(pa_cuda_uuid *uuid, int handle)
{
    fake_call call;
    int device = handle - FIRST_HANDLE;
    int code = fake_begin(&call, "cuDeviceGetUuid_v2", "handle=%d", handle);
    code = check_handle(code, "cuDeviceGetUuid_v2", handle);
    if (code == 0) {
        fake_uuid(fake_settings_get()->physical[device], uuid->bytes);
    }
    return fake_end(&call, code);
}

/* What the fake runtime says, where this process has loaded it. */
static bool
is_used(int device)
{
    void *runtime = dlopen("libcudart-fake.so", RTLD_NOLOAD | RTLD_NOW);
    bool (*used)(int device) = NULL;
    if (runtime == NULL) {
        return false;
    }
    *(void **)&used = dlsym(runtime, "fake_used");
    bool answer = used(device);
    dlclose(runtime);
    return answer;
}

int
cuDevicePrimaryCtxGetState(int handle, unsigned int *flags, int *active)
{
    fake_call call;
    int code = fake_begin(&call, "cuDevicePrimaryCtxGetState", "handle=%d", handle);
    code = check_handle(code, "cuDevicePrimaryCtxGetState", handle);
    if (code == 0) {
        *flags = 0;
        *active = is_used(handle - FIRST_HANDLE);
    }
    return fake_end(&call, code);
}
