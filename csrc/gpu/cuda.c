/* The CUDA runtime's table and what is done with a single device: see the header. */
#include "gpu/cuda.h"

#include "base/hash.h"
#include "gpu/load.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { BUS_CAPACITY = 32, BOOT_CAPACITY = 64 };

static struct {
    pthread_once_t once;
    pa_cuda table;
    bool usable;
    char reason[PA_GPU_REASON];
} known = {.once = PTHREAD_ONCE_INIT};

void
pa_cuda_load(pa_gpu_library *library)
{
#define PA_CUDA_ROW(name, parameters) PA_GPU_ENTRY(pa_cuda, "cuda", name, false),
    static const pa_library_entry entries[] = {
        PA_CUDA_MAP(PA_CUDA_ROW) PA_GPU_ENTRY(pa_cuda, "cuda", GetErrorName, false),
        PA_GPU_ENTRY(pa_cuda, "cuda", GetErrorString, false),
    };
#undef PA_CUDA_ROW
    size_t count = sizeof entries / sizeof entries[0];
    if (pa_gpu_fill(library, entries, count, &known.table)) {
        (void)known.table.RuntimeGetVersion(&library->version);
    }
}

void
pa_cuda_load_driver(pa_gpu_library *library)
{
    struct {
        int (*version)(int *version);
    } asked = {0};
    const pa_library_entry ask[] = {{"cuDriverGetVersion", 0, false}};
    static const pa_library_entry entries[] = {
        {"cuDeviceGet", offsetof(pa_cuda, DriverDeviceGet), false},
        {"cuDeviceGetUuid_v2", offsetof(pa_cuda, DriverDeviceGetUuid), true},
        {"cuDevicePrimaryCtxGetState", offsetof(pa_cuda, DriverPrimaryState), true},
    };
    size_t count = sizeof entries / sizeof entries[0];
    if (pa_gpu_fill(library, ask, 1, &asked) &&
        pa_gpu_fill(library, entries, count, &known.table)) {
        (void)asked.version(&library->version);
    }
}

static void
look(void)
{
    const pa_gpu_library *library = pa_gpu_find(PA_GPU_CUDART);
    /* For its functions in the table; without it the runtime's alone have to do. */
    (void)pa_gpu_find(PA_GPU_DRIVER);
    if (library->handle == NULL) {
        (void)snprintf(known.reason, sizeof known.reason, "%s", library->reason);
        return;
    }
    int count = 0;
    int code = known.table.GetDeviceCount(&count);
    if (code != PA_CUDA_SUCCESS) {
        (void)known.table.GetLastError();
        (void)snprintf(
            known.reason, sizeof known.reason, "cudaGetDeviceCount failed: %s: %s",
            known.table.GetErrorName(code), known.table.GetErrorString(code));
    } else if (count <= 0) {
        (void)snprintf(known.reason, sizeof known.reason,
                       "no CUDA device is visible to this process: see "
                       "CUDA_VISIBLE_DEVICES");
    }
    known.usable = known.reason[0] == '\0';
}

const pa_cuda *
pa_cuda_get(void)
{
    (void)pthread_once(&known.once, look);
    return known.usable ? &known.table : NULL;
}

const char *
pa_cuda_reason(void)
{
    (void)pthread_once(&known.once, look);
    return known.reason;
}

pa_status
pa_cuda_check(const pa_cuda *cuda, int code, const char *call, pa_error *error)
{
    if (code == PA_CUDA_SUCCESS) {
        return PA_OK;
    }
    /* What the runtime remembers would be taken for an error of the next call that asks
     * for it, torch's among them. */
    (void)cuda->GetLastError();
    pa_status status = code == PA_CUDA_OUT_OF_MEMORY ? PA_EMEMORY : PA_ESYSTEM;
    char where[32] = "";
    int device = -1;
    if (cuda->GetDevice(&device) == PA_CUDA_SUCCESS) {
        (void)snprintf(where, sizeof where, " on device %d", device);
    } else {
        (void)cuda->GetLastError();
    }
    if (error != NULL) {
        error->sys_errno = 0;
    }
    return pa_error_set(error, status, "%.*s failed%s: %s: %s", (int)strcspn(call, "("),
                        call, where, cuda->GetErrorName(code),
                        cuda->GetErrorString(code));
}

/* The thread's mode of captures before it became this one; -1 where it did not. */
static pa_cuda_capture_mode
exchange_mode(const pa_cuda *cuda, pa_cuda_capture_mode mode)
{
    if (cuda->ThreadExchangeStreamCaptureMode(&mode) != PA_CUDA_SUCCESS) {
        (void)cuda->GetLastError();
        return -1;
    }
    return mode;
}

pa_status
pa_cuda_enter(const pa_cuda *cuda, int device, pa_cuda_before *before, pa_error *error)
{
    int current = -1;
    *before = (pa_cuda_before)PA_CUDA_BEFORE_INIT;
    PA_TRY(PA_CUDA(cuda, error, GetDevice(&current)));
    if (current != device) {
        PA_TRY(PA_CUDA(cuda, error, SetDevice(device)));
        before->device = current;
    }
    before->mode = exchange_mode(cuda, PA_CUDA_CAPTURE_MODE_RELAXED);
    return PA_OK;
}

/* Whether the driver knows that nothing in this process has used the device yet. */
static bool
is_unused(const pa_cuda *cuda, int device)
{
    int handle = 0;
    unsigned int flags = 0;
    int active = 1;
    return cuda->DriverDeviceGet != NULL && cuda->DriverPrimaryState != NULL &&
           cuda->DriverDeviceGet(&handle, device) == PA_CUDA_SUCCESS &&
           cuda->DriverPrimaryState(handle, &flags, &active) == PA_CUDA_SUCCESS &&
           active == 0;
}

void
pa_cuda_leave(const pa_cuda *cuda, pa_cuda_before before)
{
    if (before.mode >= 0) {
        (void)exchange_mode(cuda, before.mode);
    }
    if (before.device >= 0 && !is_unused(cuda, before.device) &&
        cuda->SetDevice(before.device) != PA_CUDA_SUCCESS) {
        (void)cuda->GetLastError();
    }
}

pa_status
pa_cuda_reached(const pa_cuda *cuda, pa_cuda_event event, bool *reached,
                pa_error *error)
{
    int code = cuda->EventQuery(event);
    *reached = code == PA_CUDA_SUCCESS;
    if (code == PA_CUDA_NOT_READY) {
        (void)cuda->GetLastError();
        return PA_OK;
    }
    return pa_cuda_check(cuda, code, "cudaEventQuery", error);
}

/* A number for this host, the same in all its containers and until it starts anew. */
static uint64_t
host_hash(void)
{
    char boot[BOOT_CAPACITY] = "";
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file != NULL) {
        size_t length = fread(boot, 1, sizeof boot, file);
        (void)fclose(file);
        return pa_hash_bytes(PA_HASH_SEED, boot, length);
    }
    return PA_HASH_SEED;
}

pa_status
pa_cuda_identity(const pa_cuda *cuda, int device, pa_cuda_uuid *uuid, pa_error *error)
{
    int handle = 0;
    if (cuda->DriverDeviceGet != NULL && cuda->DriverDeviceGetUuid != NULL &&
        cuda->DriverDeviceGet(&handle, device) == PA_CUDA_SUCCESS &&
        cuda->DriverDeviceGetUuid(uuid, handle) == PA_CUDA_SUCCESS) {
        return PA_OK;
    }
    char bus[BUS_CAPACITY] = "";
    PA_TRY(PA_CUDA(cuda, error, DeviceGetPCIBusId(bus, sizeof bus, device)));
    uint64_t words[] = {host_hash(), pa_hash_bytes(PA_HASH_SEED, bus, strlen(bus))};
    _Static_assert(sizeof words == sizeof uuid->bytes, "two words are an identity");
    memcpy(uuid->bytes, words, sizeof words);
    return PA_OK;
}
