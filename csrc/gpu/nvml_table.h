/* NVML as a table of symbols, for gpu/nvml.c and for the test that compares these
 * declarations of ours with NVML's header. */
#ifndef PA_GPU_NVML_TABLE_H
#define PA_GPU_NVML_TABLE_H

#include <stdbool.h>

typedef struct pa_nvml_device_object *pa_nvml_device;

/* Results that we tell apart. */
enum {
    PA_NVML_SUCCESS = 0,
    PA_NVML_NOT_SUPPORTED = 3,
    PA_NVML_NO_PERMISSION = 4,
};

enum { PA_NVML_TEXT = 96, PA_NVML_MIG_ENABLED = 1 };

typedef struct pa_nvml_memory {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
} pa_nvml_memory;

/* Each function that we need once: the name without "nvml", its parameters, and whether
 * NVML may lack it. All return a code. */
#define PA_NVML_MAP(X)                                                                 \
    X(Init_v2, (void), false)                                                          \
    X(Shutdown, (void), false)                                                         \
    X(SystemGetDriverVersion, (char *text, unsigned int capacity), false)              \
    X(DeviceGetCount_v2, (unsigned int *count), false)                                 \
    X(DeviceGetHandleByIndex_v2, (unsigned int index, pa_nvml_device *device), false)  \
    X(DeviceGetName, (pa_nvml_device device, char *text, unsigned int capacity),       \
      false)                                                                           \
    X(DeviceGetUUID, (pa_nvml_device device, char *text, unsigned int capacity),       \
      false)                                                                           \
    X(DeviceGetMemoryInfo, (pa_nvml_device device, pa_nvml_memory * memory), false)    \
    X(DeviceGetMigMode,                                                                \
      (pa_nvml_device device, unsigned int *mode, unsigned int *pending), true)

#define PA_NVML_MEMBER(name, parameters, may_lack) int(*name) parameters;
typedef struct pa_nvml {
    PA_NVML_MAP(PA_NVML_MEMBER)
    const char *(*ErrorString)(int code);
} pa_nvml;
#undef PA_NVML_MEMBER

#endif
