/* Whether csrc/gpu/nccl.h says what NCCL's header says. It is compiled and never run.
 */
#include "gpu/nccl.h"
#include "same.h"

/* NCCL's header includes those of CUDA's narrow floats, of which it declares nothing
 * and which need a C++ library that comes with the whole toolkit alone. */
#define __CUDA_FP16_H__
#define __CUDA_BF16_H__
#define __CUDA_FP8_H__
#include <nccl.h>

SAME_VALUE(PA_NCCL_SUCCESS, ncclSuccess);
SAME_VALUE(PA_NCCL_UNHANDLED_CUDA_ERROR, ncclUnhandledCudaError);
SAME_VALUE(PA_NCCL_SYSTEM_ERROR, ncclSystemError);
SAME_VALUE(PA_NCCL_INTERNAL_ERROR, ncclInternalError);
SAME_VALUE(PA_NCCL_INVALID_ARGUMENT, ncclInvalidArgument);
SAME_VALUE(PA_NCCL_INVALID_USAGE, ncclInvalidUsage);
SAME_VALUE(PA_NCCL_REMOTE_ERROR, ncclRemoteError);
SAME_VALUE(PA_NCCL_IN_PROGRESS, ncclInProgress);
SAME_VALUE(PA_NCCL_INT8, ncclInt8);
SAME_VALUE(PA_NCCL_UINT8, ncclUint8);
SAME_VALUE(PA_NCCL_INT32, ncclInt32);
SAME_VALUE(PA_NCCL_UINT32, ncclUint32);
SAME_VALUE(PA_NCCL_INT64, ncclInt64);
SAME_VALUE(PA_NCCL_UINT64, ncclUint64);
SAME_VALUE(PA_NCCL_FLOAT16, ncclFloat16);
SAME_VALUE(PA_NCCL_FLOAT32, ncclFloat32);
SAME_VALUE(PA_NCCL_FLOAT64, ncclFloat64);
SAME_VALUE(PA_NCCL_BFLOAT16, ncclBfloat16);
SAME_VALUE(PA_NCCL_SUM, ncclSum);
SAME_VALUE(PA_NCCL_PRODUCT, ncclProd);
SAME_VALUE(PA_NCCL_MAX, ncclMax);
SAME_VALUE(PA_NCCL_MIN, ncclMin);
SAME_VALUE(PA_NCCL_AVERAGE, ncclAvg);

SAME_FORM(pa_nccl_code, ncclResult_t);
SAME_FORM(pa_nccl_dtype, ncclDataType_t);
SAME_FORM(pa_nccl_op, ncclRedOp_t);
SAME_FORM(pa_nccl_id, ncclUniqueId);
SAME_FORM(pa_nccl_comm, ncclComm_t);
SAME_FORM(pa_cuda_stream, cudaStream_t);

/* Ours is the beginning of NCCL's configuration: up to the member that we set, and
 * padded to its alignment with what follows it there. */
SAME_VALUE(offsetof(pa_nccl_config, nbytes), offsetof(ncclConfig_t, size));
SAME_VALUE(offsetof(pa_nccl_config, magic), offsetof(ncclConfig_t, magic));
SAME_VALUE(offsetof(pa_nccl_config, version), offsetof(ncclConfig_t, version));
SAME_VALUE(offsetof(pa_nccl_config, blocking), offsetof(ncclConfig_t, blocking));
SAME_TYPE(((pa_nccl_config *)NULL)->nbytes, __typeof__(((ncclConfig_t *)NULL)->size));
SAME_TYPE(((pa_nccl_config *)NULL)->magic, __typeof__(((ncclConfig_t *)NULL)->magic));
SAME_TYPE(((pa_nccl_config *)NULL)->version,
          __typeof__(((ncclConfig_t *)NULL)->version));
SAME_TYPE(((pa_nccl_config *)NULL)->blocking,
          __typeof__(((ncclConfig_t *)NULL)->blocking));
_Static_assert(sizeof(pa_nccl_config) <= sizeof(ncclConfig_t), "ours is a beginning");
SAME_VALUE(PA_NCCL_MAGIC, NCCL_API_MAGIC);
SAME_VALUE(PA_NCCL_OLDEST, NCCL_VERSION(2, 14, 0));

/* From here on our names of types stand for NCCL's, so that our parameters can be
 * compared with NCCL's as they are. */
#define pa_cuda_stream cudaStream_t
#define pa_nccl_comm ncclComm_t
#define pa_nccl_code ncclResult_t
#define pa_nccl_dtype ncclDataType_t
#define pa_nccl_op ncclRedOp_t
#define pa_nccl_id ncclUniqueId
#define pa_nccl_config ncclConfig_t

#define SAME_CALL(name, parameters)                                                    \
    SAME_NAME(nccl##name, "nccl" #name);                                               \
    SAME_TYPE(&nccl##name, ncclResult_t(*) parameters);
PA_NCCL_MAP(SAME_CALL)

SAME_TYPE(((pa_nccl *)NULL)->GetErrorString, const char *(*)(int));
SAME_TYPE(&ncclGetErrorString, const char *(*)(ncclResult_t));
SAME_TYPE(&ncclGetLastError, const char *(*)(ncclComm_t));
#ifdef NCCL_REVOKE_DEFAULT /* since NCCL 2.29 */
SAME_TYPE(&ncclCommRevoke, ncclResult_t (*)(ncclComm_t, int));
#endif
