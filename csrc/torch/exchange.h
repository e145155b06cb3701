/* Tensors through the exchange table: reading one as a leaf and making one over our own
 * memory. No Python here: an object is a void pointer that torch understands. */
#ifndef PA_TORCH_EXCHANGE_H
#define PA_TORCH_EXCHANGE_H

#include "base/leaf.h"
#include "sys/pool.h"
#include "torch/dlpack.h"

#include <stdbool.h>

/* The table of major version 1 with every function that we call, or NULL. */
const pa_dl_exchange *
pa_exchange_check(const void *table);

/* Row-major memory and metadata of a borrowed tensor as a leaf, whose `shape` then
 * belongs to the tensor, and whose place is left to the caller. False if the view is
 * not one that can be used as it is: with strides, or without memory. */
bool
pa_exchange_leaf(const pa_dl_tensor *view, pa_leaf *leaf);

/* Makes a tensor of `shape[ndim]` over a fresh block of the pool: `*data` is its
 * memory, `*object` a new reference of torch's, which owns the block. Returns 0; -1
 * with a Python exception; 1 without one when memory is short. */
int
pa_exchange_make(const pa_dl_exchange *exchange, pa_pool *pool, pa_dtype dtype,
                 int32_t ndim, const int64_t *shape, size_t nbytes, char **data,
                 void **object);

#endif
