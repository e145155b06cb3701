/* The CUDA runtime, and the few calls of the driver that it lacks, as a table of
 * symbols. Types and values are declared by us, so that nothing of CUDA is needed to
 * build; a test compares them with CUDA's headers where these are installed. */
#ifndef PA_GPU_CUDA_H
#define PA_GPU_CUDA_H

#include "base/status.h"
#include "gpu/library.h"

#include <stdint.h>

typedef struct pa_cuda_stream_object *pa_cuda_stream; /* NULL: the default stream */
typedef struct pa_cuda_event_object *pa_cuda_event;
typedef int pa_cuda_kind;    /* of a copy: PA_CUDA_MEMCPY_... */
typedef int pa_cuda_capture; /* what a stream records: PA_CUDA_CAPTURE_NONE or other */
typedef int pa_cuda_capture_mode; /* PA_CUDA_CAPTURE_MODE_... */

/* Results that we tell apart; any other is an error too. */
enum {
    PA_CUDA_SUCCESS = 0,
    PA_CUDA_OUT_OF_MEMORY = 2,
    PA_CUDA_UNLOADING = 4, /* the process ends */
    PA_CUDA_NOT_READY = 600,
};

/* Flags and kinds of calls. */
enum {
    PA_CUDA_MEMCPY_DEFAULT = 4, /* the direction follows from the addresses */
    PA_CUDA_STREAM_NON_BLOCKING = 1,
    PA_CUDA_EVENT_DISABLE_TIMING = 2,
    PA_CUDA_EVENT_INTERPROCESS = 4,
    PA_CUDA_HOST_PORTABLE = 1,
    PA_CUDA_IPC_LAZY_PEER_ACCESS = 1,
    PA_CUDA_CAPTURE_NONE = 0,
    PA_CUDA_CAPTURE_MODE_RELAXED = 2, /* a thread's calls disturb nobody's capture */
};

enum { PA_CUDA_IPC_BYTES = 64, PA_CUDA_UUID_BYTES = 16 };

typedef struct pa_cuda_ipc_memory {
    char bytes[PA_CUDA_IPC_BYTES];
} pa_cuda_ipc_memory;

typedef struct pa_cuda_ipc_event {
    char bytes[PA_CUDA_IPC_BYTES];
} pa_cuda_ipc_event;

typedef struct pa_cuda_uuid {
    char bytes[PA_CUDA_UUID_BYTES];
} pa_cuda_uuid;

/* Each function of the runtime once: the name without "cuda", and its parameters. All
 * return a code. */
#define PA_CUDA_MAP(X)                                                                 \
    X(RuntimeGetVersion, (int *version))                                               \
    X(GetDeviceCount, (int *count))                                                    \
    X(GetDevice, (int *device))                                                        \
    X(SetDevice, (int device))                                                         \
    X(DeviceGetPCIBusId, (char *text, int capacity, int device))                       \
    X(GetLastError, (void))                                                            \
    X(Malloc, (void **address, size_t nbytes))                                         \
    X(Free, (void *address))                                                           \
    X(HostAlloc, (void **address, size_t nbytes, unsigned int flags))                  \
    X(FreeHost, (void *address))                                                       \
    X(MemcpyAsync, (void *to, const void *from, size_t nbytes, pa_cuda_kind kind,      \
                    pa_cuda_stream stream))                                            \
    X(StreamCreateWithFlags, (pa_cuda_stream * stream, unsigned int flags))            \
    X(StreamDestroy, (pa_cuda_stream stream))                                          \
    X(StreamSynchronize, (pa_cuda_stream stream))                                      \
    X(StreamWaitEvent,                                                                 \
      (pa_cuda_stream stream, pa_cuda_event event, unsigned int flags))                \
    X(StreamIsCapturing, (pa_cuda_stream stream, pa_cuda_capture * status))            \
    X(ThreadExchangeStreamCaptureMode, (pa_cuda_capture_mode * mode))                  \
    X(EventCreateWithFlags, (pa_cuda_event * event, unsigned int flags))               \
    X(EventDestroy, (pa_cuda_event event))                                             \
    X(EventRecord, (pa_cuda_event event, pa_cuda_stream stream))                       \
    X(EventQuery, (pa_cuda_event event))                                               \
    X(IpcGetMemHandle, (pa_cuda_ipc_memory * handle, void *address))                   \
    X(IpcOpenMemHandle,                                                                \
      (void **address, pa_cuda_ipc_memory handle, unsigned int flags))                 \
    X(IpcCloseMemHandle, (void *address))                                              \
    X(IpcGetEventHandle, (pa_cuda_ipc_event * handle, pa_cuda_event event))            \
    X(IpcOpenEventHandle, (pa_cuda_event * event, pa_cuda_ipc_event handle))

#define PA_CUDA_MEMBER(name, parameters) int(*name) parameters;
typedef struct pa_cuda {
    PA_CUDA_MAP(PA_CUDA_MEMBER)
    const char *(*GetErrorName)(int code);
    const char *(*GetErrorString)(int code);
    /* Of the driver, each NULL where it was not found. */
    int (*DriverDeviceGet)(int *handle, int device);            /* cuDeviceGet */
    int (*DriverDeviceGetUuid)(pa_cuda_uuid *uuid, int handle); /* cuDeviceGetUuid_v2 */
    int (*DriverPrimaryState)(int handle, unsigned int *flags,
                              int *active); /* cuDevicePrimaryCtxGetState */
} pa_cuda;
#undef PA_CUDA_MEMBER

/* The table, filled at the first call, which also counts the devices; NULL where the
 * runtime is not to be had, or no device is visible: pa_cuda_reason says why. The same
 * for the whole life of the process. From any thread. */
const pa_cuda *
pa_cuda_get(void);

/* Why pa_cuda_get gives NULL, in a sentence; empty where it gives the table. */
const char *
pa_cuda_reason(void);

/* PA_OK for PA_CUDA_SUCCESS. Else clears the runtime's own memory of the error and says
 * which call failed on which device and why: PA_EMEMORY for a lack of device memory,
 * PA_ESYSTEM else. For PA_CUDA. */
pa_status
pa_cuda_check(const pa_cuda *cuda, int code, const char *call, pa_error *error);

/* A call of the runtime as a pa_status: PA_CUDA(cuda, error, EventRecord(event, s)). */
#define PA_CUDA(cuda, error, call)                                                     \
    pa_cuda_check((cuda), (cuda)->call, "cuda" #call, (error))

/* What pa_cuda_enter has changed in the thread that called it. */
typedef struct pa_cuda_before {
    int device;                /* the one that was current; -1: no other was */
    pa_cuda_capture_mode mode; /* the thread's own; -1: it was not changed */
} pa_cuda_before;

#define PA_CUDA_BEFORE_INIT {-1, -1} /* nothing was entered */

/* Makes `device` the thread's current one, and its mode of captures the relaxed one, in
 * which our calls do not spoil what another thread captures meanwhile. Says what was
 * before, for pa_cuda_leave. PA_CUDA's errors; nothing is changed then. */
pa_status
pa_cuda_enter(const pa_cuda *cuda, int device, pa_cuda_before *before, pa_error *error);

/* Undoes pa_cuda_enter, but for one case: a device that this process has not used does
 * not become current again, as making it so would take some hundred MiB of its memory.
 * Every new thread begins with such a device, number 0. It stays on ours then, as it
 * would after torch's own guards. Where nothing was entered, nothing is done. */
void
pa_cuda_leave(const pa_cuda *cuda, pa_cuda_before before);

/* Whether a stream has come to an event; PA_CUDA's errors. The runtime remembers that
 * it has not as it does an error, which is cleared, as whoever asks next would see it.
 */
pa_status
pa_cuda_reached(const pa_cuda *cuda, pa_cuda_event event, bool *reached,
                pa_error *error);

/* What identifies a device, and one instance of a divided one, on every host: by the
 * driver, else from the PCI bus address. PA_CUDA's errors. */
pa_status
pa_cuda_identity(const pa_cuda *cuda, int device, pa_cuda_uuid *uuid, pa_error *error);

#endif
