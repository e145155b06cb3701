/* NCCL as a table of symbols, declared by us for version 2.14 and newer; a test
 * compares the declarations with NCCL's header where that is installed. */
#ifndef PA_GPU_NCCL_H
#define PA_GPU_NCCL_H

#include "base/dtype.h"
#include "base/status.h"
#include "gpu/cuda.h"

typedef struct pa_nccl_comm_object *pa_nccl_comm;
typedef int pa_nccl_code; /* PA_NCCL_SUCCESS or an error */

/* Results that we tell apart. */
enum {
    PA_NCCL_SUCCESS = 0,
    PA_NCCL_UNHANDLED_CUDA_ERROR = 1,
    PA_NCCL_SYSTEM_ERROR = 2,
    PA_NCCL_INTERNAL_ERROR = 3,
    PA_NCCL_INVALID_ARGUMENT = 4,
    PA_NCCL_INVALID_USAGE = 5,
    PA_NCCL_REMOTE_ERROR = 6,
    PA_NCCL_IN_PROGRESS = 7,
};

/* Types of elements. */
typedef enum pa_nccl_dtype {
    PA_NCCL_INT8 = 0,
    PA_NCCL_UINT8 = 1,
    PA_NCCL_INT32 = 2,
    PA_NCCL_UINT32 = 3,
    PA_NCCL_INT64 = 4,
    PA_NCCL_UINT64 = 5,
    PA_NCCL_FLOAT16 = 6,
    PA_NCCL_FLOAT32 = 7,
    PA_NCCL_FLOAT64 = 8,
    PA_NCCL_BFLOAT16 = 9,
} pa_nccl_dtype;

/* Reductions. */
typedef enum pa_nccl_op {
    PA_NCCL_SUM = 0,
    PA_NCCL_PRODUCT = 1,
    PA_NCCL_MAX = 2,
    PA_NCCL_MIN = 3,
    PA_NCCL_AVERAGE = 4,
} pa_nccl_op;

enum { PA_NCCL_ID_BYTES = 128, PA_NCCL_OLDEST = 21400 };

#define PA_NCCL_MAGIC 0xcafebeefu /* begins a configuration */

typedef struct pa_nccl_id {
    char bytes[PA_NCCL_ID_BYTES];
} pa_nccl_id;

/* The beginning of NCCL's configuration, whose end grows with its versions: it reads
 * `nbytes` bytes and takes its defaults for the rest. */
typedef struct pa_nccl_config {
    size_t nbytes;
    unsigned int magic;
    unsigned int version;
    int blocking;
} pa_nccl_config;

/* A communicator whose calls return PA_NCCL_IN_PROGRESS instead of waiting. */
#define PA_NCCL_CONFIG_NON_BLOCKING                                                    \
    {sizeof(pa_nccl_config), PA_NCCL_MAGIC, PA_NCCL_OLDEST, 0}

/* Each function that we need once: the name without "nccl", and its parameters. All
 * return a code. Elements, not bytes, are counted. */
#define PA_NCCL_MAP(X)                                                                 \
    X(GetVersion, (int *version))                                                      \
    X(GetUniqueId, (pa_nccl_id * id))                                                  \
    X(CommInitRankConfig, (pa_nccl_comm * comm, int size, pa_nccl_id id, int rank,     \
                           pa_nccl_config *config))                                    \
    X(CommGetAsyncError, (pa_nccl_comm comm, pa_nccl_code * code))                     \
    X(CommFinalize, (pa_nccl_comm comm))                                               \
    X(CommDestroy, (pa_nccl_comm comm))                                                \
    X(CommAbort, (pa_nccl_comm comm))                                                  \
    X(GroupStart, (void))                                                              \
    X(GroupEnd, (void))                                                                \
    X(AllGather, (const void *send, void *recv, size_t count, pa_nccl_dtype dtype,     \
                  pa_nccl_comm comm, pa_cuda_stream stream))                           \
    X(Broadcast, (const void *send, void *recv, size_t count, pa_nccl_dtype dtype,     \
                  int root, pa_nccl_comm comm, pa_cuda_stream stream))                 \
    X(AllReduce, (const void *send, void *recv, size_t count, pa_nccl_dtype dtype,     \
                  pa_nccl_op op, pa_nccl_comm comm, pa_cuda_stream stream))            \
    X(Send, (const void *send, size_t count, pa_nccl_dtype dtype, int peer,            \
             pa_nccl_comm comm, pa_cuda_stream stream))                                \
    X(Recv, (void *recv, size_t count, pa_nccl_dtype dtype, int peer,                  \
             pa_nccl_comm comm, pa_cuda_stream stream))

#define PA_NCCL_MEMBER(name, parameters) int(*name) parameters;
typedef struct pa_nccl {
    PA_NCCL_MAP(PA_NCCL_MEMBER)
    const char *(*GetErrorString)(int code);
    const char *(*GetLastError)(pa_nccl_comm comm);  /* (optional) */
    int (*CommRevoke)(pa_nccl_comm comm, int flags); /* (optional) */
} pa_nccl;
#undef PA_NCCL_MEMBER

/* The table, filled at the first call; NULL where NCCL is not to be had or older than
 * PA_NCCL_OLDEST: pa_gpu_find says why. From any thread. */
const pa_nccl *
pa_nccl_get(void);

/* NCCL's type for elements of that dtype in a reduction; -1 if it has none. Booleans
 * are PA_NCCL_UINT8; elements of a complex number are two of its parts', which
 * `*per_element` says. */
int
pa_nccl_dtype_of(pa_dtype dtype, size_t *per_element);

/* "2.28.9" for 22809. */
void
pa_nccl_version_format(int version, char *text, size_t capacity);

#endif
