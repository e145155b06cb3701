/* What NVML says of GPUs: see the header. */
#include "gpu/nvml.h"

#include "gpu/load.h"
#include "gpu/nvml_table.h"

#include <stdlib.h>

static pa_nvml known;

void
pa_nvml_load(pa_gpu_library *library)
{
#define PA_NVML_ROW(name, parameters, may_lack)                                        \
    PA_GPU_ENTRY(pa_nvml, "nvml", name, may_lack),
    static const pa_library_entry entries[] = {
        PA_NVML_MAP(PA_NVML_ROW) PA_GPU_ENTRY(pa_nvml, "nvml", ErrorString, false),
    };
#undef PA_NVML_ROW
    (void)pa_gpu_fill(library, entries, sizeof entries / sizeof entries[0], &known);
}

static pa_status
check(int code, const char *call, pa_error *error)
{
    if (code == PA_NVML_SUCCESS) {
        return PA_OK;
    }
    if (error != NULL) {
        error->sys_errno = 0;
    }
    return pa_error_set(error, PA_ESYSTEM, "%s failed: %s", call,
                        known.ErrorString(code));
}

/* NVML counts who uses it: each that gets PA_OK calls Shutdown once. */
static pa_status
start(pa_error *error)
{
    const pa_gpu_library *library = pa_gpu_find(PA_GPU_NVML);
    if (library->handle == NULL) {
        if (error != NULL) {
            error->sys_errno = 0;
        }
        return pa_error_set(error, PA_ESYSTEM, "%s", library->reason);
    }
    return check(known.Init_v2(), "nvmlInit_v2", error);
}

static pa_status
describe(pa_nvml_device device, pa_nvml_gpu *gpu, pa_error *error)
{
    PA_TRY(check(known.DeviceGetName(device, gpu->name, sizeof gpu->name),
                 "nvmlDeviceGetName", error));
    PA_TRY(check(known.DeviceGetUUID(device, gpu->uuid, sizeof gpu->uuid),
                 "nvmlDeviceGetUUID", error));
    /* A GPU that has no memory of its own does not say how much. */
    pa_nvml_memory memory = {0};
    if (known.DeviceGetMemoryInfo(device, &memory) == PA_NVML_SUCCESS) {
        gpu->memory = memory.total;
        gpu->memory_free = memory.free;
    }
    unsigned int mode = 0;
    unsigned int pending = 0;
    int code = PA_NVML_NOT_SUPPORTED;
    gpu->mig = -1;
    if (known.DeviceGetMigMode != NULL) {
        code = known.DeviceGetMigMode(device, &mode, &pending);
        gpu->mig = code == PA_NVML_NOT_SUPPORTED ? 0 : -1;
    }
    if (code == PA_NVML_SUCCESS) {
        gpu->mig = mode == PA_NVML_MIG_ENABLED;
    }
    return PA_OK;
}

static pa_status
list(pa_nvml_gpu *gpus, unsigned int found, int *count, pa_error *error)
{
    for (unsigned int i = 0; i < found; i++) {
        pa_nvml_device device = NULL;
        int code = known.DeviceGetHandleByIndex_v2(i, &device);
        if (code == PA_NVML_NO_PERMISSION) {
            continue; /* The machine's, but not this container's. */
        }
        PA_TRY(check(code, "nvmlDeviceGetHandleByIndex_v2", error));
        PA_TRY(describe(device, &gpus[*count], error));
        *count += 1;
    }
    return PA_OK;
}

pa_status
pa_nvml_list(pa_nvml_gpu **gpus, int *count, pa_error *error)
{
    PA_TRY(start(error));
    unsigned int found = 0;
    int listed = 0;
    pa_nvml_gpu *made = NULL;
    pa_status status =
        check(known.DeviceGetCount_v2(&found), "nvmlDeviceGetCount_v2", error);
    if (status != PA_OK) {
        goto done;
    }
    made = calloc((size_t)found + 1, sizeof *made);
    if (made == NULL) {
        status =
            pa_error_set(error, PA_EMEMORY, "no memory for a list of %u GPUs", found);
        goto done;
    }
    status = list(made, found, &listed, error);
    if (status == PA_OK) {
        *gpus = made;
        *count = listed;
        made = NULL;
    }
done:
    free(made);
    (void)known.Shutdown();
    return status;
}

pa_status
pa_nvml_driver(char *text, size_t capacity, pa_error *error)
{
    PA_TRY(start(error));
    pa_status status = check(known.SystemGetDriverVersion(text, (unsigned int)capacity),
                             "nvmlSystemGetDriverVersion", error);
    (void)known.Shutdown();
    return status;
}
