/* A leaf of a nested structure: a contiguous array in the caller's memory, which may be
 * a GPU's. */
#ifndef PA_BASE_LEAF_H
#define PA_BASE_LEAF_H

#include "base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory of a CUDA device. What a NULL place points to is the host's. */
typedef struct pa_place {
    int device;   /* as the CUDA runtime counts in this process */
    void *stream; /* the caller's: work on it is in order with the caller's own */
} pa_place;

typedef struct pa_leaf {
    char *data; /* row-major; may be NULL when nbytes is 0 */
    size_t nbytes;
    size_t itemsize;
    const int64_t *shape; /* [ndim] */
    int32_t ndim;
    pa_dtype dtype;
    const pa_place *place; /* (optional, default: the host) where `data` points to */
} pa_leaf;

/* All leaves of a structure, in its order. */
typedef struct pa_leaves {
    const pa_leaf *at;
    size_t count;
    uint64_t structure; /* hash of the containers and keys around the leaves */
} pa_leaves;

/* Whether no leaf stands on a device. */
bool
pa_leaves_on_host(const pa_leaves *leaves);

/* Bytes of the payload of all leaves. */
size_t
pa_leaves_nbytes(const pa_leaves *leaves);

/* Copies the leaves, all on the host, one after the other, to a packed payload and
 * back. */
void
pa_leaves_pack(const pa_leaves *leaves, char *packed);
void
pa_leaves_unpack(const pa_leaves *leaves, const char *packed);

/* Hash of the structure, the dtypes, all dimensions, and which leaves stand on devices.
 */
uint64_t
pa_leaves_fingerprint(const pa_leaves *leaves);

#endif
