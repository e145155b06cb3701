/* Whether csrc/gpu/cuda.h says what CUDA's headers say. It is compiled and never run.
 */
#include "gpu/cuda.h"
#include "same.h"

#include <cuda.h>
#include <cuda_runtime_api.h>

SAME_VALUE(PA_CUDA_SUCCESS, cudaSuccess);
SAME_VALUE(PA_CUDA_OUT_OF_MEMORY, cudaErrorMemoryAllocation);
SAME_VALUE(PA_CUDA_NOT_READY, cudaErrorNotReady);
SAME_VALUE(PA_CUDA_MEMCPY_DEFAULT, cudaMemcpyDefault);
SAME_VALUE(PA_CUDA_STREAM_NON_BLOCKING, cudaStreamNonBlocking);
SAME_VALUE(PA_CUDA_EVENT_DISABLE_TIMING, cudaEventDisableTiming);
SAME_VALUE(PA_CUDA_EVENT_INTERPROCESS, cudaEventInterprocess);
SAME_VALUE(PA_CUDA_HOST_PORTABLE, cudaHostAllocPortable);
SAME_VALUE(PA_CUDA_IPC_LAZY_PEER_ACCESS, cudaIpcMemLazyEnablePeerAccess);
SAME_VALUE(PA_CUDA_CAPTURE_NONE, cudaStreamCaptureStatusNone);
SAME_VALUE(PA_CUDA_CAPTURE_MODE_RELAXED, cudaStreamCaptureModeRelaxed);
SAME_VALUE(PA_CUDA_SUCCESS, CUDA_SUCCESS);

SAME_FORM(pa_cuda_kind, enum cudaMemcpyKind);
SAME_FORM(pa_cuda_capture, enum cudaStreamCaptureStatus);
SAME_FORM(pa_cuda_capture_mode, enum cudaStreamCaptureMode);
SAME_FORM(pa_cuda_ipc_memory, cudaIpcMemHandle_t);
SAME_FORM(pa_cuda_ipc_event, cudaIpcEventHandle_t);
SAME_FORM(pa_cuda_uuid, CUuuid);
SAME_FORM(pa_cuda_stream, cudaStream_t);
SAME_FORM(pa_cuda_event, cudaEvent_t);
SAME_FORM(int, cudaError_t);
SAME_FORM(int, CUresult);

/* From here on our names of types stand for CUDA's, so that our parameters can be
 * compared with CUDA's as they are. */
#define pa_cuda_stream cudaStream_t
#define pa_cuda_event cudaEvent_t
#define pa_cuda_kind enum cudaMemcpyKind
#define pa_cuda_capture enum cudaStreamCaptureStatus
#define pa_cuda_capture_mode enum cudaStreamCaptureMode
#define pa_cuda_ipc_memory cudaIpcMemHandle_t
#define pa_cuda_ipc_event cudaIpcEventHandle_t

#define SAME_CALL(name, parameters)                                                    \
    SAME_NAME(cuda##name, "cuda" #name);                                               \
    SAME_TYPE(&cuda##name, cudaError_t(*) parameters);
PA_CUDA_MAP(SAME_CALL)

SAME_TYPE(((pa_cuda *)NULL)->GetErrorName, const char *(*)(int));
SAME_TYPE(((pa_cuda *)NULL)->GetErrorString, const char *(*)(int));
SAME_TYPE(&cudaGetErrorName, const char *(*)(cudaError_t));
SAME_TYPE(&cudaGetErrorString, const char *(*)(cudaError_t));

SAME_TYPE(((pa_cuda *)NULL)->DriverDeviceGet, int (*)(CUdevice *, int));
SAME_TYPE(((pa_cuda *)NULL)->DriverDeviceGetUuid, int (*)(pa_cuda_uuid *, CUdevice));
SAME_TYPE(((pa_cuda *)NULL)->DriverPrimaryState,
          int (*)(CUdevice, unsigned int *, int *));
SAME_TYPE(&cuDevicePrimaryCtxGetState, CUresult (*)(CUdevice, unsigned int *, int *));
SAME_TYPE(&cuDriverGetVersion, CUresult (*)(int *));
SAME_TYPE(&cuDeviceGet, CUresult (*)(CUdevice *, int));
SAME_TYPE(&cuDeviceGetUuid_v2, CUresult (*)(CUuuid *, CUdevice));
SAME_NAME(cuDriverGetVersion, "cuDriverGetVersion");
SAME_NAME(cuDeviceGet, "cuDeviceGet");
SAME_NAME(cuDevicePrimaryCtxGetState, "cuDevicePrimaryCtxGetState");
