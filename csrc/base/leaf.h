/* A leaf of a nested structure: a contiguous array in the caller's memory. */
#ifndef PA_BASE_LEAF_H
#define PA_BASE_LEAF_H

#include "base/dtype.h"

#include <stddef.h>
#include <stdint.h>

typedef struct pa_leaf {
    char *data; /* row-major; may be NULL when nbytes is 0 */
    size_t nbytes;
    size_t itemsize;
    const int64_t *shape; /* [ndim] */
    int32_t ndim;
    pa_dtype dtype;
} pa_leaf;

/* All leaves of a structure, in its order. */
typedef struct pa_leaves {
    const pa_leaf *at;
    size_t count;
    uint64_t structure; /* hash of the containers and keys around the leaves */
} pa_leaves;

/* Bytes of the payload of all leaves. */
size_t
pa_leaves_nbytes(const pa_leaves *leaves);

/* Copies the leaves, one after the other, to a packed payload and back. */
void
pa_leaves_pack(const pa_leaves *leaves, char *packed);
void
pa_leaves_unpack(const pa_leaves *leaves, const char *packed);

/* Hash of the structure, the dtypes and all dimensions. */
uint64_t
pa_leaves_fingerprint(const pa_leaves *leaves);

#endif
