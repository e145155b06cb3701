/* Tensors through the exchange table: see the header. */
#include "torch/exchange.h"

const pa_dl_exchange *
pa_exchange_check(const void *table)
{
    const pa_dl_header *header = table;
    while (header != NULL && header->version.major != PA_DL_MAJOR) {
        header = header->previous;
    }
    const pa_dl_exchange *exchange = (const pa_dl_exchange *)(const void *)header;
    if (exchange == NULL || exchange->to_object == NULL || exchange->borrow == NULL) {
        return NULL;
    }
    return exchange;
}

bool
pa_exchange_leaf(const pa_dl_tensor *view, pa_leaf *leaf)
{
    int64_t count = 1;
    for (int32_t d = view->ndim - 1; d >= 0; d--) {
        bool strided = view->strides != NULL && view->strides[d] != count;
        if (strided && view->shape[d] != 1) {
            /* Strides of a tensor without elements mean nothing. */
            bool empty = false;
            for (int32_t e = 0; e < view->ndim; e++) {
                empty = empty || view->shape[e] == 0;
            }
            if (!empty) {
                return false;
            }
        }
        count *= view->shape[d];
    }
    size_t bits = (size_t)view->dtype.bits * view->dtype.lanes;
    if (bits % 8 != 0 || (view->data == NULL && count > 0)) {
        return false;
    }
    *leaf = (pa_leaf){
        .data = view->data != NULL ? (char *)view->data + view->byte_offset : NULL,
        .nbytes = (size_t)count * (bits / 8),
        .itemsize = bits / 8,
        .shape = view->shape,
        .ndim = view->ndim,
        .dtype = {view->dtype.code, view->dtype.bits, view->dtype.lanes, 0},
    };
    return true;
}

/* Runs wherever the last reference dies: on any thread, without the interpreter. */
static void
release_block(pa_dl_managed *self)
{
    pa_block_release(self->context);
}

int
pa_exchange_make(const pa_dl_exchange *exchange, pa_pool *pool, pa_dtype dtype,
                 int32_t ndim, const int64_t *shape, size_t nbytes, char **data,
                 void **object)
{
    size_t dims = (size_t)ndim * sizeof(int64_t);
    pa_block *block = pa_pool_take(pool, nbytes, sizeof(pa_dl_managed) + 2 * dims);
    if (block == NULL) {
        return 1;
    }
    pa_dl_managed *managed = block->prefix;
    int64_t *own_shape = (int64_t *)(managed + 1);
    int64_t *strides = own_shape + ndim;
    int64_t count = 1;
    for (int32_t d = ndim - 1; d >= 0; d--) {
        own_shape[d] = shape[d];
        strides[d] = count;
        count *= shape[d] > 0 ? shape[d] : 1;
    }
    *managed = (pa_dl_managed){
        .version = {PA_DL_MAJOR, 0},
        .context = block,
        .deleter = release_block,
        .tensor =
            {
                .data = block->data,
                .device = {PA_DL_CPU, 0},
                .ndim = ndim,
                .dtype = {dtype.code, dtype.bits, dtype.lanes},
                .shape = own_shape,
                .strides = strides,
            },
    };
    if (exchange->to_object(managed, object) != 0) {
        pa_block_release(block);
        return -1;
    }
    *data = block->data;
    return 0;
}
