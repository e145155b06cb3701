/* Devices, errors, and what every call of the runtime has to pass. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t fake_changed = PTHREAD_COND_INITIALIZER;

static _Atomic pid_t owner;
static _Atomic int lost;
static _Thread_local int current;
static _Thread_local int last_error;
static _Atomic uint64_t used; /* a bit for each device with a context */

pid_t
fake_owner(void)
{
    return atomic_load(&owner);
}

int
fake_current(void)
{
    return current;
}

int
fake_lost(void)
{
    return atomic_load(&lost);
}

void
fake_lose(int code)
{
    pthread_mutex_lock(&fake_lock);
    atomic_store(&lost, code);
    pthread_cond_broadcast(&fake_changed);
    pthread_mutex_unlock(&fake_lock);
}

int
fake_last_error(void)
{
    return last_error;
}

/* As the real runtime makes a context on the first use of a device. */
static void
use(int device)
{
    if (device >= 64) {
        abort();
    }
    atomic_fetch_or(&used, UINT64_C(1) << device);
}

bool
fake_used(int device)
{
    return device >= 0 && device < 64 && (atomic_load(&used) >> device & 1) != 0;
}

int
fake_ask(int code)
{
    pid_t first = 0;
    pid_t self = getpid();
    if (!atomic_compare_exchange_strong(&owner, &first, self) && first != self) {
        return fake_refuse(FAKE_INITIALIZATION,
                           "CUDA was initialized by process %ld, of which this one is "
                           "a fork: the child may not use it",
                           (long)first);
    }
    if ((code & FAKE_LOSES) != 0) {
        fake_lose(code & ~FAKE_LOSES);
    }
    code &= ~FAKE_LOSES;
    return code != 0 ? code : fake_lost();
}

int
fake_enter(int code)
{
    code = fake_ask(code);
    if (code == 0) {
        use(current);
    }
    return code;
}

int
fake_enter_unsafe(int code, const char *name)
{
    code = fake_enter(code);
    if (code != 0) {
        return code;
    }
    pthread_mutex_lock(&fake_lock);
    bool forbidden = fake_graph_forbids();
    pthread_mutex_unlock(&fake_lock);
    if (forbidden) {
        return fake_refuse(FAKE_CAPTURE_UNSUPPORTED,
                           "%s while a stream is being captured, which forbids it",
                           name);
    }
    return 0;
}

int
fake_leave(const fake_call *call, int code)
{
    if (code != 0) {
        last_error = code;
    }
    return fake_end(call, code);
}

int
cudaGetLastError(void)
{
    fake_call call;
    int code = fake_begin(&call, "cudaGetLastError", "%s", "");
    if (code == 0) {
        code = last_error;
    }
    last_error = fake_lost();
    return fake_end(&call, code);
}

int
cudaRuntimeGetVersion(int *version)
{
    fake_call call;
    int code = fake_begin(&call, "cudaRuntimeGetVersion", "%s", "");
    *version = fake_settings_get()->runtime;
    return fake_leave(&call, code);
}

int
cudaGetDeviceCount(int *count)
{
    fake_call call;
    int code = fake_ask(fake_begin(&call, "cudaGetDeviceCount", "%s", ""));
    *count = code == 0 ? fake_settings_get()->count : 0;
    if (code == 0 && *count == 0) {
        code = FAKE_NO_DEVICE;
    }
    return fake_leave(&call, code);
}

static bool
exists(int device)
{
    return device >= 0 && device < fake_settings_get()->count;
}

int
cudaGetDevice(int *device)
{
    fake_call call;
    int code = fake_ask(fake_begin(&call, "cudaGetDevice", "%s", ""));
    if (code == 0 && fake_settings_get()->count == 0) {
        code = FAKE_NO_DEVICE;
    }
    if (code == 0) {
        *device = current;
    }
    return fake_leave(&call, code);
}

int
cudaSetDevice(int device)
{
    fake_call call;
    int code = fake_ask(fake_begin(&call, "cudaSetDevice", "device=%d", device));
    if (code == 0 && !exists(device)) {
        code = fake_settings_get()->count == 0 ? FAKE_NO_DEVICE : FAKE_INVALID_DEVICE;
    }
    if (code == 0) {
        current = device;
        use(device);
    }
    return fake_leave(&call, code);
}

int
cudaDeviceGetPCIBusId(char *text, int capacity, int device)
{
    fake_call call;
    int code = fake_ask(fake_begin(&call, "cudaDeviceGetPCIBusId",
                                   "device=%d capacity=%d", device, capacity));
    if (code == 0 && !exists(device)) {
        code = FAKE_INVALID_DEVICE;
    }
    if (code == 0 && capacity < 13) {
        code = FAKE_INVALID_VALUE;
    }
    if (code == 0) {
        const fake_settings *settings = fake_settings_get();
        int physical = settings->mig ? 0 : settings->physical[device];
        snprintf(text, (size_t)capacity, "0000:%02X:00.0", 0x17 + physical);
    }
    return fake_leave(&call, code);
}
