/* The fake NVML: all GPUs of the machine, whatever the process may see of them. */
#include "record.h"
#include "settings.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    INSUFFICIENT_SIZE = 7,
};

typedef struct nvml_device *nvml_device;

/* As NVML lays it out. */
typedef struct nvml_memory {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
} nvml_memory;

int
nvmlInit_v2(void);
int
nvmlShutdown(void);
int
nvmlDeviceGetCount_v2(unsigned int *count);
int
nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvml_device *device);
int
nvmlDeviceGetName(nvml_device device, char *name, unsigned int length);
int
nvmlDeviceGetUUID(nvml_device device, char *uuid, unsigned int length);
int
nvmlDeviceGetMemoryInfo(nvml_device device, nvml_memory *memory);
int
nvmlDeviceGetMigMode(nvml_device device, unsigned int *now, unsigned int *next);
int
nvmlSystemGetDriverVersion(char *version, unsigned int length);
const char *
nvmlErrorString(int code);

static _Atomic int users;

/* The GPUs of the machine: its instances are parts of one. */
static unsigned int
gpus(void)
{
    const fake_settings *settings = fake_settings_get();
    return settings->mig ? 1 : (unsigned int)settings->machine;
}

/* Begins a call that needs nvmlInit and, unless it is NULL, a handle. */
static int
enter(int code, nvml_device device)
{
    if (code != 0) {
        return code;
    }
    if (atomic_load(&users) == 0) {
        return fake_refuse(UNINITIALIZED, "NVML is used without nvmlInit_v2");
    }
    if (device != NULL && (uintptr_t)device > gpus()) {
        return fake_refuse(INVALID_ARGUMENT, "%p is no handle of NVML", (void *)device);
    }
    return 0;
}

static int
give(char *to, unsigned int length, const char *text)
{
    if (strlen(text) + 1 > length) {
        return INSUFFICIENT_SIZE;
    }
    memcpy(to, text, strlen(text) + 1);
    return 0;
}

int
nvmlInit_v2(void)
{
    fake_call call;
    int code = fake_begin(&call, "nvmlInit_v2", "%s", "");
    if (code == 0) {
        atomic_fetch_add(&users, 1);
    }
    return fake_end(&call, code);
}

int
nvmlShutdown(void)
{
    fake_call call;
    int code = enter(fake_begin(&call, "nvmlShutdown", "%s", ""), NULL);
    if (code == 0) {
        atomic_fetch_sub(&users, 1);
    }
    return fake_end(&call, code);
}

int
nvmlDeviceGetCount_v2(unsigned int *count)
{
    fake_call call;
    int code = enter(fake_begin(&call, "nvmlDeviceGetCount_v2", "%s", ""), NULL);
    if (code == 0) {
        *count = gpus();
    }
    return fake_end(&call, code);
}

int
nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvml_device *device)
{
    fake_call call;
    int code = enter(
        fake_begin(&call, "nvmlDeviceGetHandleByIndex_v2", "index=%u", index), NULL);
    if (code == 0 && index >= gpus()) {
        code = INVALID_ARGUMENT;
    }
    if (code == 0) {
        *device = (nvml_device)(uintptr_t)(index + 1);
    }
    return fake_end(&call, code);
}

int
nvmlDeviceGetName(nvml_device device, char *name, unsigned int length)
{
    fake_call call;
    int code = enter(
        fake_begin(&call, "nvmlDeviceGetName", "device=%p", (void *)device), device);
    if (code == 0) {
        code = give(name, length, "Fake GPU");
    }
    return fake_end(&call, code);
}

int
nvmlDeviceGetUUID(nvml_device device, char *uuid, unsigned int length)
{
    fake_call call;
    int code = enter(
        fake_begin(&call, "nvmlDeviceGetUUID", "device=%p", (void *)device), device);
    if (code == 0) {
        char text[FAKE_UUID_TEXT];
        fake_uuid_text((int)((uintptr_t)device - 1), text);
        memcpy(text, "GPU", 3); /* also of a divided one */
        code = give(uuid, length, text);
    }
    return fake_end(&call, code);
}

int
nvmlDeviceGetMemoryInfo(nvml_device device, nvml_memory *memory)
{
    fake_call call;
    int code =
        enter(fake_begin(&call, "nvmlDeviceGetMemoryInfo", "device=%p", (void *)device),
              device);
    if (code == 0) {
        memory->total = fake_settings_get()->memory;
        memory->used = memory->total / 4;
        memory->free = memory->total - memory->used;
    }
    return fake_end(&call, code);
}

int
nvmlDeviceGetMigMode(nvml_device device, unsigned int *now, unsigned int *next)
{
    fake_call call;
    int code = enter(
        fake_begin(&call, "nvmlDeviceGetMigMode", "device=%p", (void *)device), device);
    if (code == 0) {
        *now = fake_settings_get()->mig ? 1 : 0;
        *next = *now;
    }
    return fake_end(&call, code);
}

int
nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    fake_call call;
    int code = enter(fake_begin(&call, "nvmlSystemGetDriverVersion", "%s", ""), NULL);
    if (code == 0) {
        code = give(version, length, "580.65.06");
    }
    return fake_end(&call, code);
}

const char *
nvmlErrorString(int code)
{
    switch (code) {
    case 0:
        return "The operation was successful";
    case UNINITIALIZED:
        return "NVML was not first initialized with nvmlInit()";
    case INVALID_ARGUMENT:
        return "A supplied argument is invalid";
    case NOT_SUPPORTED:
        return "The requested operation is not available on target device";
    case INSUFFICIENT_SIZE:
        return "An input argument is not large enough";
    case 9:
        return "NVIDIA driver is not running";
    default:
        return "Unknown Error";
    }
}
