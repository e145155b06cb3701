/* csrc/gpu: where libraries come from, why they are off, what errors say. What complete
 * libraries do is tested with those of tests/fakes. */
#include "testing.h"

#include "gpu/cuda.h"
#include "gpu/library.h"
#include "gpu/nccl.h"
#include "gpu/nvml.h"
#include "sys/library.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A library that is there on every machine and has none of the functions. */
static const char *const foreign[] = {"libm.so.6"};

/* What is found is kept for the life of a process, so each test has one of its own. */
static bool
holds_in_a_child(bool (*holds)(void))
{
    pid_t child = fork();
    if (child == 0) {
        _exit(holds() ? 0 : 1);
    }
    int status = -1;
    return waitpid(child, &status, 0) == child && status == 0;
}

static bool
is_off(pa_gpu_kind kind, const char *missing)
{
    const pa_gpu_library *library = pa_gpu_find(kind);
    return library->handle == NULL && !library->mapped && library->version == 0 &&
           strstr(library->reason, missing) != NULL &&
           strstr(library->reason, "libm.so.6") != NULL &&
           strcmp(library->path, "") == 0 && pa_gpu_find(kind) == library;
}

static bool
foreign_libraries_are_off(void)
{
    static const char *const first[] = {"cudaRuntimeGetVersion", "cuDriverGetVersion",
                                        "ncclGetVersion", "nvmlInit_v2"};
    for (int kind = 0; kind < PA_GPU_KINDS; kind++) {
        if (!pa_gpu_search((pa_gpu_kind)kind, foreign, 1) ||
            !is_off((pa_gpu_kind)kind, first[kind])) {
            return false;
        }
    }
    pa_error error = PA_ERROR_INIT;
    pa_nvml_gpu *gpus = NULL;
    int count = 0;
    char text[80];
    return pa_cuda_get() == NULL && strstr(pa_cuda_reason(), "libm.so.6") != NULL &&
           pa_nccl_get() == NULL && pa_nvml_list(&gpus, &count, &error) == PA_ESYSTEM &&
           gpus == NULL &&
           strcmp(error.message, pa_gpu_find(PA_GPU_NVML)->reason) == 0 &&
           pa_nvml_driver(text, sizeof text, &error) == PA_ESYSTEM;
}

static void
a_library_without_the_functions_is_off(void)
{
    CHECK(holds_in_a_child(foreign_libraries_are_off));
}

static bool
missing_file_is_passed_over(void)
{
    const char *const paths[] = {"/nowhere/libnccl.so.2", "libm.so.6"};
    return pa_gpu_search(PA_GPU_NCCL, paths, 2) &&
           is_off(PA_GPU_NCCL, "ncclGetVersion");
}

static bool
missing_file_is_named(void)
{
    const char *const paths[] = {"/nowhere/libnccl.so.2"};
    if (!pa_gpu_search(PA_GPU_NCCL, paths, 1)) {
        return false;
    }
    const pa_gpu_library *library = pa_gpu_find(PA_GPU_NCCL);
    return library->handle != NULL || /* this machine has NCCL under its plain name */
           (strstr(library->reason, "NCCL could not be loaded") != NULL &&
            strstr(library->reason, "/nowhere/libnccl.so.2") != NULL &&
            strstr(library->reason, "; libnccl.so.2: ") != NULL);
}

static void
named_files_are_tried_in_order(void)
{
    CHECK(holds_in_a_child(missing_file_is_passed_over));
    CHECK(holds_in_a_child(missing_file_is_named));
}

static bool
search_comes_too_late(void)
{
    const char *const other[] = {"/nowhere/a", "/nowhere/b"};
    return pa_gpu_search(PA_GPU_NVML, other, 2) &&
           pa_gpu_search(PA_GPU_NVML, NULL, 0) &&
           pa_gpu_search(PA_GPU_NVML, foreign, 1) &&
           is_off(PA_GPU_NVML, "nvmlInit_v2") &&
           !pa_gpu_search(PA_GPU_NVML, other, 2) &&
           pa_gpu_search(PA_GPU_NCCL, other, 2);
}

static void
what_is_named_counts_until_the_library_was_looked_for(void)
{
    CHECK(holds_in_a_child(search_comes_too_late));
}

static void *
find_all(void *context)
{
    const void **found = context;
    *found = pa_gpu_find(PA_GPU_NVML);
    (void)pa_cuda_get();
    (void)pa_nccl_get();
    return NULL;
}

static void
threads_find_the_same(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    const void *found[THREADS] = {NULL};
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQUAL(pthread_create(&threads[i], NULL, find_all, &found[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
        CHECK(found[i] == pa_gpu_find(PA_GPU_NVML));
    }
}

static void
reasons_stand_where_tables_do_not(void)
{
    CHECK((pa_cuda_get() == NULL) == (pa_cuda_reason()[0] != '\0'));
    CHECK((pa_nccl_get() == NULL) == (pa_gpu_find(PA_GPU_NCCL)->reason[0] != '\0'));
}

/* A runtime of three functions that a test can ask what it was told. */
static int errors_kept;
static int current_device;
static int devices_set;
static pa_cuda_capture_mode capture_mode;

static int
get_last_error(void)
{
    int kept = errors_kept;
    errors_kept = 0;
    return kept;
}

static int
get_device(int *device)
{
    *device = current_device;
    return 0;
}

static int
set_device(int device)
{
    if (device > 7) {
        errors_kept = 101;
        return 101;
    }
    devices_set += 1;
    current_device = device;
    return 0;
}

static int
exchange_mode(pa_cuda_capture_mode *mode)
{
    pa_cuda_capture_mode before = capture_mode;
    capture_mode = *mode;
    *mode = before;
    return 0;
}

static const char *
error_name(int code)
{
    return code == 101 ? "cudaErrorInvalidDevice" : "cudaErrorMemoryAllocation";
}

static const char *
error_string(int code)
{
    return code == 101 ? "invalid device ordinal" : "out of memory";
}

static int
no_memory(void **address, size_t nbytes)
{
    (void)address;
    (void)nbytes;
    errors_kept = PA_CUDA_OUT_OF_MEMORY;
    return PA_CUDA_OUT_OF_MEMORY;
}

static int
bus_id(char *text, int capacity, int device)
{
    (void)snprintf(text, (size_t)capacity, "0000:0%d:00.0", device);
    return 0;
}

static int
driver_device(int *handle, int device)
{
    *handle = 40 + device;
    return 0;
}

/* Only device 5 was used by this process. */
static int
driver_state(int handle, unsigned int *flags, int *active)
{
    *flags = 0;
    *active = handle == 45;
    return 0;
}

static int
driver_uuid(pa_cuda_uuid *uuid, int handle)
{
    memset(uuid->bytes, handle, sizeof uuid->bytes);
    return 0;
}

static const pa_cuda small = {
    .GetLastError = get_last_error,
    .GetDevice = get_device,
    .SetDevice = set_device,
    .ThreadExchangeStreamCaptureMode = exchange_mode,
    .GetErrorName = error_name,
    .GetErrorString = error_string,
    .Malloc = no_memory,
    .DeviceGetPCIBusId = bus_id,
};

static void
an_error_names_call_device_and_cause(void)
{
    pa_error error = PA_ERROR_INIT;
    void *address = NULL;
    error.sys_errno = 5;
    current_device = 3;
    CHECK_EQUAL(PA_CUDA(&small, &error, Malloc(&address, 100)), PA_EMEMORY);
    CHECK_TEXT(error.message, "cudaMalloc failed on device 3: "
                              "cudaErrorMemoryAllocation: out of memory");
    CHECK_EQUAL(error.sys_errno, 0);
    CHECK_EQUAL(errors_kept, 0);
    CHECK_EQUAL(PA_CUDA(&small, NULL, SetDevice(9)), PA_ESYSTEM);
    CHECK_EQUAL(errors_kept, 0);
    CHECK_EQUAL(PA_CUDA(&small, &error, SetDevice(3)), PA_OK);
}

static void
entering_a_device_is_undone(void)
{
    pa_error error = PA_ERROR_INIT;
    pa_cuda_before before;
    current_device = 1;
    devices_set = 0;
    capture_mode = 0;
    CHECK_EQUAL(pa_cuda_enter(&small, 1, &before, &error), PA_OK);
    CHECK_EQUAL(capture_mode, PA_CUDA_CAPTURE_MODE_RELAXED);
    pa_cuda_leave(&small, before);
    CHECK_EQUAL(devices_set, 0);
    CHECK_EQUAL(capture_mode, 0);
    capture_mode = 1;
    CHECK_EQUAL(pa_cuda_enter(&small, 2, &before, &error), PA_OK);
    CHECK_EQUAL(current_device, 2);
    CHECK_EQUAL(capture_mode, PA_CUDA_CAPTURE_MODE_RELAXED);
    pa_cuda_leave(&small, before);
    CHECK_EQUAL(current_device, 1);
    CHECK_EQUAL(capture_mode, 1);
    CHECK_EQUAL(devices_set, 2);
    CHECK_EQUAL(pa_cuda_enter(&small, 9, &before, &error), PA_ESYSTEM);
    pa_cuda_leave(&small, before);
    CHECK_EQUAL(current_device, 1);
    CHECK_EQUAL(capture_mode, 1);
    CHECK_EQUAL(devices_set, 2);
    pa_cuda_leave(&small, (pa_cuda_before){9, -1});
    CHECK_EQUAL(errors_kept, 0);
    pa_cuda_leave(NULL, (pa_cuda_before)PA_CUDA_BEFORE_INIT);
}

static void
an_unused_device_is_not_entered_again(void)
{
    pa_error error = PA_ERROR_INIT;
    pa_cuda full = small;
    pa_cuda_before before;
    full.DriverDeviceGet = driver_device;
    full.DriverPrimaryState = driver_state;
    current_device = 0;
    CHECK_EQUAL(pa_cuda_enter(&full, 1, &before, &error), PA_OK);
    pa_cuda_leave(&full, before);
    CHECK_EQUAL(current_device, 1);
    current_device = 5;
    CHECK_EQUAL(pa_cuda_enter(&full, 1, &before, &error), PA_OK);
    pa_cuda_leave(&full, before);
    CHECK_EQUAL(current_device, 5);
}

static void
an_identity_is_the_drivers_or_the_bus_address(void)
{
    pa_error error = PA_ERROR_INIT;
    pa_cuda full = small;
    pa_cuda_uuid one;
    pa_cuda_uuid two;
    full.DriverDeviceGet = driver_device;
    full.DriverDeviceGetUuid = driver_uuid;
    CHECK_EQUAL(pa_cuda_identity(&full, 2, &one, &error), PA_OK);
    CHECK_EQUAL(one.bytes[0], 42);
    CHECK_EQUAL(one.bytes[15], 42);
    CHECK_EQUAL(pa_cuda_identity(&small, 2, &one, &error), PA_OK);
    CHECK_EQUAL(pa_cuda_identity(&small, 2, &two, &error), PA_OK);
    CHECK_EQUAL(memcmp(&one, &two, sizeof one), 0);
    CHECK_EQUAL(pa_cuda_identity(&small, 3, &two, &error), PA_OK);
    CHECK(memcmp(&one, &two, sizeof one) != 0);
}

static void
versions_of_nccl_are_formatted(void)
{
    char text[32];
    pa_nccl_version_format(22809, text, sizeof text);
    CHECK_TEXT(text, "2.28.9");
    pa_nccl_version_format(21403, text, sizeof text);
    CHECK_TEXT(text, "2.14.3");
    pa_nccl_version_format(2804, text, sizeof text);
    CHECK_TEXT(text, "2.8.4");
}

static void
dtypes_of_nccl(void)
{
    size_t per_element = 0;
    CHECK_EQUAL(pa_nccl_dtype_of((pa_dtype){PA_DTYPE_BFLOAT, 16, 1, 0}, &per_element),
                PA_NCCL_BFLOAT16);
    CHECK_EQUAL(per_element, 1);
    CHECK_EQUAL(pa_nccl_dtype_of((pa_dtype){PA_DTYPE_COMPLEX, 128, 1, 0}, &per_element),
                PA_NCCL_FLOAT64);
    CHECK_EQUAL(per_element, 2);
    CHECK_EQUAL(pa_nccl_dtype_of((pa_dtype){PA_DTYPE_BOOL, 8, 1, 0}, &per_element),
                PA_NCCL_UINT8);
    CHECK_EQUAL(pa_nccl_dtype_of((pa_dtype){PA_DTYPE_INT, 16, 1, 0}, &per_element), -1);
    CHECK_EQUAL(pa_nccl_dtype_of((pa_dtype){PA_DTYPE_FLOAT, 32, 2, 0}, &per_element),
                -1);
    CHECK_EQUAL(pa_nccl_dtype_of((pa_dtype){10, 8, 1, 0}, &per_element), -1);
}

static void
a_library_is_opened_by_name(void)
{
    char text[512] = "";
    CHECK(pa_library_open("/nowhere/libx.so", text, sizeof text) == NULL);
    CHECK(strstr(text, "/nowhere/libx.so") != NULL);
    void *library = pa_library_open("libm.so.6", text, sizeof text);
    CHECK(library != NULL);
    pa_library_path(library, text, sizeof text);
    CHECK(text[0] == '/' && strstr(text, "/libm.so.6") != NULL);
    struct {
        double (*cosine)(double);
        void (*none)(void);
    } table = {0};
    const pa_library_entry entries[] = {
        {"cos", 0, false},
        {"no_such_function", sizeof(void *), true},
        {"nor_this", sizeof(void *), false},
    };
    CHECK(pa_library_fill(library, entries, 2, &table) == NULL);
    CHECK(table.cosine(0.0) == 1.0);
    CHECK(table.none == NULL);
    CHECK_TEXT(pa_library_fill(library, entries, 3, &table), "nor_this");
    pa_library_close(library);
}

static void
kinds_have_names(void)
{
    CHECK_TEXT(pa_gpu_kind_text(PA_GPU_CUDART), "CUDA runtime");
    CHECK_TEXT(pa_gpu_kind_text(PA_GPU_NVML), "NVML");
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(a_library_without_the_functions_is_off),
        TESTING(named_files_are_tried_in_order),
        TESTING(what_is_named_counts_until_the_library_was_looked_for),
        TESTING(threads_find_the_same),
        TESTING(reasons_stand_where_tables_do_not),
        TESTING(an_error_names_call_device_and_cause),
        TESTING(entering_a_device_is_undone),
        TESTING(an_unused_device_is_not_entered_again),
        TESTING(an_identity_is_the_drivers_or_the_bus_address),
        TESTING(versions_of_nccl_are_formatted),
        TESTING(dtypes_of_nccl),
        TESTING(a_library_is_opened_by_name),
        TESTING(kinds_have_names),
    };
    return TESTING_RUN(cases);
}
