/* csrc/gpu: the tables of CUDA and NVML on the fakes, and why CUDA is off. */
#include "testing.h"

#include "gpu/cuda.h"
#include "gpu/library.h"
#include "gpu/nvml.h"

#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* What children of a test tell it: memory that they share with it. */
typedef struct told {
    pa_cuda_uuid uuids[4];
} told;

static told *shared;

/* Offers one of the fakes, which the runner names in that variable. */
static bool
offer(pa_gpu_kind kind, const char *variable)
{
    const char *const paths[] = {getenv(variable)};
    return paths[0] != NULL && pa_gpu_search(kind, paths, 1);
}

static bool
offer_cuda(void)
{
    return offer(PA_GPU_CUDART, "PYACCEL_CUDART_SO") &&
           offer(PA_GPU_DRIVER, "PYACCEL_CUDA_SO");
}

/* Runs a part of a test where nothing was found yet, with one variable set. */
static bool
holds_in_a_child(bool (*holds)(void), const char *variable, const char *value)
{
    pid_t child = fork();
    if (child == 0) {
        _exit(setenv(variable, value, 1) == 0 && holds() ? 0 : 1);
    }
    int status = -1;
    return waitpid(child, &status, 0) == child && status == 0;
}

static bool
table_is_there(void)
{
    if (!offer_cuda()) {
        return false;
    }
    const pa_cuda *cuda = pa_cuda_get();
    int count = 0;
    return cuda != NULL && cuda == pa_cuda_get() && pa_cuda_reason()[0] == '\0' &&
           cuda->DriverDeviceGet != NULL && cuda->DriverDeviceGetUuid != NULL &&
           cuda->GetDeviceCount(&count) == PA_CUDA_SUCCESS && count == 3 &&
           pa_gpu_find(PA_GPU_DRIVER)->version > 0;
}

static bool
no_device_is_visible(void)
{
    return offer_cuda() && pa_cuda_get() == NULL &&
           strstr(pa_cuda_reason(), "cudaErrorNoDevice") != NULL &&
           pa_gpu_find(PA_GPU_CUDART)->handle != NULL;
}

static bool
driver_is_too_old(void)
{
    return offer_cuda() && pa_cuda_get() == NULL &&
           strstr(pa_cuda_reason(),
                  "cudaGetDeviceCount failed: cudaErrorInsufficientDriver: ") != NULL;
}

static void
cuda_is_off_without_a_device(void)
{
    CHECK(holds_in_a_child(table_is_there, "FAKES_DEVICES", "3"));
    CHECK(holds_in_a_child(no_device_is_visible, "FAKES_DEVICES", "0"));
    CHECK(holds_in_a_child(no_device_is_visible, "CUDA_VISIBLE_DEVICES", ""));
    CHECK(
        holds_in_a_child(driver_is_too_old, "FAKES_FAIL", "cudaGetDeviceCount:1+:35"));
}

static bool
memory_is_refused(void)
{
    const pa_cuda *cuda = offer_cuda() ? pa_cuda_get() : NULL;
    if (cuda == NULL) {
        return false;
    }
    pa_error error = PA_ERROR_INIT;
    void *address = NULL;
    pa_cuda_before before;
    pa_status entered = pa_cuda_enter(cuda, 1, &before, &error);
    pa_status refused = PA_CUDA(cuda, &error, Malloc(&address, (size_t)1 << 40));
    bool right = entered == PA_OK && before.device == 0 && refused == PA_EMEMORY &&
                 strstr(error.message, "cudaMalloc failed on device 1: "
                                       "cudaErrorMemoryAllocation: ") == error.message;
    pa_cuda_leave(cuda, before);
    int now = -1;
    return right && cuda->GetLastError() == PA_CUDA_SUCCESS &&
           cuda->GetDevice(&now) == PA_CUDA_SUCCESS && now == 1;
}

static bool
device_is_refused(void)
{
    const pa_cuda *cuda = offer_cuda() ? pa_cuda_get() : NULL;
    pa_error error = PA_ERROR_INIT;
    pa_cuda_before before;
    return cuda != NULL && pa_cuda_enter(cuda, 4, &before, &error) == PA_ESYSTEM &&
           strstr(error.message, "cudaSetDevice failed on device 0: ") != NULL &&
           cuda->GetLastError() == PA_CUDA_SUCCESS;
}

/* Whether this process has a context on a device: some of its memory. */
static bool
is_used(const pa_cuda *cuda, int device)
{
    int handle = 0;
    unsigned int flags = 0;
    int active = -1;
    return cuda->DriverDeviceGet(&handle, device) == PA_CUDA_SUCCESS &&
           cuda->DriverPrimaryState(handle, &flags, &active) == PA_CUDA_SUCCESS &&
           active == 1;
}

static bool
no_other_device_is_used(void)
{
    const pa_cuda *cuda = offer_cuda() ? pa_cuda_get() : NULL;
    pa_error error = PA_ERROR_INIT;
    pa_cuda_before before;
    void *address = NULL;
    int now = -1;
    if (cuda == NULL || pa_cuda_enter(cuda, 1, &before, &error) != PA_OK ||
        cuda->Malloc(&address, 100) != PA_CUDA_SUCCESS) {
        return false;
    }
    pa_cuda_leave(cuda, before);
    if (is_used(cuda, 0) || !is_used(cuda, 1) || cuda->SetDevice(2) != 0 ||
        pa_cuda_enter(cuda, 1, &before, &error) != PA_OK) {
        return false;
    }
    pa_cuda_leave(cuda, before);
    return cuda->GetDevice(&now) == PA_CUDA_SUCCESS && now == 2 && is_used(cuda, 2) &&
           !is_used(cuda, 3) && cuda->Free(address) == PA_CUDA_SUCCESS;
}

static void
a_device_that_nobody_uses_stays_unused(void)
{
    CHECK(holds_in_a_child(no_other_device_is_used, "FAKES_DEVICES", "4"));
}

static void
what_the_runtime_refuses_is_said_and_forgotten(void)
{
    CHECK(holds_in_a_child(memory_is_refused, "FAKES_DEVICES", "4"));
    CHECK(holds_in_a_child(device_is_refused, "FAKES_DEVICES", "4"));
}

/* The identities of the first two devices, into the two places from `at` on. */
static bool
identify(int at, bool driver)
{
    bool offered = driver ? offer_cuda() : offer(PA_GPU_CUDART, "PYACCEL_CUDART_SO");
    const pa_cuda *cuda = offered ? pa_cuda_get() : NULL;
    pa_error error = PA_ERROR_INIT;
    return cuda != NULL && (cuda->DriverDeviceGet != NULL) == driver &&
           pa_cuda_identity(cuda, 0, &shared->uuids[at], &error) == PA_OK &&
           pa_cuda_identity(cuda, 1, &shared->uuids[at + 1], &error) == PA_OK;
}

static bool
identify_first(void)
{
    return identify(0, true);
}

static bool
identify_second(void)
{
    return identify(2, true);
}

/* As where the driver is too old to say what a device is. */
static bool
identify_by_bus(void)
{
    return pa_gpu_search(PA_GPU_DRIVER, (const char *const[]){"libm.so.6"}, 1) &&
           identify(0, false);
}

static bool
same(int a, int b)
{
    return memcmp(&shared->uuids[a], &shared->uuids[b], sizeof(pa_cuda_uuid)) == 0;
}

static void
processes_agree_on_what_a_device_is(void)
{
    CHECK(holds_in_a_child(identify_first, "CUDA_VISIBLE_DEVICES", "0,1"));
    CHECK(holds_in_a_child(identify_second, "CUDA_VISIBLE_DEVICES", "1,0"));
    CHECK(!same(0, 1));
    CHECK(same(0, 3));
    CHECK(same(1, 2));
    CHECK(holds_in_a_child(identify_by_bus, "FAKES_DEVICES", "2"));
    CHECK(!same(0, 1));
    CHECK(!same(0, 2));
}

static bool
identify_instance(void)
{
    const pa_cuda *cuda = offer_cuda() ? pa_cuda_get() : NULL;
    pa_error error = PA_ERROR_INIT;
    int at = getenv("CUDA_VISIBLE_DEVICES")[0] - '0';
    return cuda != NULL &&
           pa_cuda_identity(cuda, 0, &shared->uuids[at], &error) == PA_OK;
}

static void
instances_of_a_gpu_are_told_apart(void)
{
    CHECK_EQUAL(setenv("FAKES_MIG", "on", 1), 0);
    CHECK(holds_in_a_child(identify_instance, "CUDA_VISIBLE_DEVICES", "0"));
    CHECK(holds_in_a_child(identify_instance, "CUDA_VISIBLE_DEVICES", "1"));
    CHECK_EQUAL(unsetenv("FAKES_MIG"), 0);
    CHECK(!same(0, 1));
}

static bool
nvml_lists_three(void)
{
    pa_error error = PA_ERROR_INIT;
    pa_nvml_gpu *gpus = NULL;
    int count = 0;
    char version[80] = "";
    if (!offer(PA_GPU_NVML, "PYACCEL_NVML_SO") ||
        pa_nvml_list(&gpus, &count, &error) != PA_OK) {
        return false;
    }
    bool right = count == 3 && strcmp(gpus[2].name, "Fake GPU") == 0 &&
                 gpus[0].memory > gpus[0].memory_free && gpus[0].memory_free > 0 &&
                 gpus[1].mig == 0 && strncmp(gpus[1].uuid, "GPU-", 4) == 0;
    free(gpus);
    return right && pa_nvml_driver(version, sizeof version, &error) == PA_OK &&
           strchr(version, '.') != NULL &&
           pa_nvml_driver(version, 3, &error) == PA_ESYSTEM &&
           strcmp(error.message, "nvmlSystemGetDriverVersion failed: An input argument "
                                 "is not large enough") == 0;
}

static void
nvml_lists_what_cuda_may_not_see(void)
{
    CHECK_EQUAL(setenv("CUDA_VISIBLE_DEVICES", "0", 1), 0);
    CHECK(holds_in_a_child(nvml_lists_three, "FAKES_DEVICES", "3"));
    CHECK_EQUAL(unsetenv("CUDA_VISIBLE_DEVICES"), 0);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(cuda_is_off_without_a_device),
        TESTING(what_the_runtime_refuses_is_said_and_forgotten),
        TESTING(a_device_that_nobody_uses_stays_unused),
        TESTING(processes_agree_on_what_a_device_is),
        TESTING(instances_of_a_gpu_are_told_apart),
        TESTING(nvml_lists_what_cuda_may_not_see),
    };
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return shared != MAP_FAILED ? TESTING_RUN(cases) : 1;
}
