/* The DLPack 1.x structures and the exchange table that torch.Tensor carries from 2.10
 * on: declared by us, so that nothing of torch is needed to build. The layouts are
 * DLPack's (github.com/dmlc/dlpack, include/dlpack/dlpack.h); a test compares them with
 * what torch really does. */
#ifndef PA_TORCH_DLPACK_H
#define PA_TORCH_DLPACK_H

#include <stdint.h>

enum { PA_DL_CPU = 1, PA_DL_CUDA = 2, PA_DL_MAJOR = 1 };

/* The name of the type attribute's capsule. */
#define PA_DL_CAPSULE "dlpack_exchange_api"

typedef struct pa_dl_version {
    uint32_t major;
    uint32_t minor;
} pa_dl_version;

typedef struct pa_dl_device {
    int32_t type;
    int32_t id;
} pa_dl_device;

typedef struct pa_dl_dtype {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} pa_dl_dtype;

typedef struct pa_dl_tensor {
    void *data;
    pa_dl_device device;
    int32_t ndim;
    pa_dl_dtype dtype;
    int64_t *shape;
    int64_t *strides; /* in elements; NULL for row-major */
    uint64_t byte_offset;
} pa_dl_tensor;

typedef struct pa_dl_managed {
    pa_dl_version version;
    void *context;
    void (*deleter)(struct pa_dl_managed *self);
    uint64_t flags;
    pa_dl_tensor tensor;
} pa_dl_managed;

typedef struct pa_dl_header {
    pa_dl_version version;
    struct pa_dl_header *previous; /* an older version of the table, or NULL */
} pa_dl_header;

/* All functions need the interpreter lock and leave a Python exception on failure. */
typedef struct pa_dl_exchange {
    pa_dl_header header;
    int (*allocate)(pa_dl_tensor *prototype, pa_dl_managed **out, void *error_context,
                    void (*set_error)(void *error_context, const char *kind,
                                      const char *message));
    int (*from_object)(void *object, pa_dl_managed **out);
    int (*to_object)(pa_dl_managed *steals, void **object);
    /* (optional) Fills a view whose shape and strides belong to the object. */
    int (*borrow)(void *object, pa_dl_tensor *out);
    int (*current_stream)(int32_t device_type, int32_t device_id, void **stream);
} pa_dl_exchange;

#endif
