/* libtorch's C shim: see the header. */
#include "torch/shim.h"

#include "sys/library.h"

#include <stdlib.h>

/* Every function returns 0 on success. */
typedef int32_t (*get_pointer)(void *handle, void **out);
typedef int32_t (*get_count)(void *handle, int64_t *out);
typedef int32_t (*get_counts)(void *handle, int64_t **out);
typedef int32_t (*get_code)(void *handle, int32_t *out);
typedef int32_t (*delete_handle)(void *handle);
typedef int32_t (*ask_code)(void);

enum { MOST_DTYPES = 32 };

typedef struct known_dtype {
    int32_t code; /* torch's, of this version */
    pa_dl_dtype dtype;
} known_dtype;

struct pa_shim {
    void *library;
    get_pointer data_ptr;
    get_count dim;
    get_counts sizes;
    get_counts strides;
    get_code dtype;
    get_code device_type;
    get_code device_index;
    delete_handle release;
    int32_t cpu; /* torch's codes of these types of devices */
    int32_t cuda;
    known_dtype dtypes[MOST_DTYPES];
    size_t ndtypes;
};

/* ISO C has no conversion from an object pointer to a function pointer; the system
 * promises that both have one form. */
typedef union symbol {
    void *address;
    get_pointer pointer;
    get_count count;
    get_counts counts;
    get_code code;
    delete_handle release;
    ask_code ask;
} symbol;

static symbol
find(const pa_shim *shim, const char *name)
{
    return (symbol){.address = pa_library_symbol(shim->library, name)};
}

static void
learn_dtypes(pa_shim *shim)
{
    static const struct {
        const char *name;
        pa_dl_dtype dtype;
    } rows[] = {
#define PA_SHIM_ROW(name, code, bits, lanes)                                           \
    {"aoti_torch_dtype_" #name, {code, bits, lanes}},
        PA_DTYPE_MAP(PA_SHIM_ROW)
#undef PA_SHIM_ROW
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        symbol code = find(shim, rows[i].name);
        if (code.address != NULL && shim->ndtypes < MOST_DTYPES) {
            shim->dtypes[shim->ndtypes++] = (known_dtype){code.ask(), rows[i].dtype};
        }
    }
}

pa_shim *
pa_shim_open(void)
{
    pa_shim *shim = calloc(1, sizeof *shim);
    if (shim == NULL) {
        return NULL;
    }
    shim->library = pa_library_find("libtorch_cpu.so", 0);
    if (shim->library != NULL) {
        shim->data_ptr = find(shim, "aoti_torch_get_data_ptr").pointer;
        shim->dim = find(shim, "aoti_torch_get_dim").count;
        shim->sizes = find(shim, "aoti_torch_get_sizes").counts;
        shim->strides = find(shim, "aoti_torch_get_strides").counts;
        shim->dtype = find(shim, "aoti_torch_get_dtype").code;
        shim->device_type = find(shim, "aoti_torch_get_device_type").code;
        shim->device_index = find(shim, "aoti_torch_get_device_index").code;
        shim->release = find(shim, "aoti_torch_delete_tensor_object").release;
    }
    symbol cpu = {0};
    symbol cuda = {0};
    if (shim->library != NULL) {
        cpu = find(shim, "aoti_torch_device_type_cpu");
        cuda = find(shim, "aoti_torch_device_type_cuda");
    }
    if (shim->data_ptr == NULL || shim->dim == NULL || shim->sizes == NULL ||
        shim->strides == NULL || shim->dtype == NULL || shim->device_type == NULL ||
        shim->device_index == NULL || shim->release == NULL || cpu.address == NULL ||
        cuda.address == NULL) {
        pa_shim_close(shim);
        return NULL;
    }
    shim->cpu = cpu.ask();
    shim->cuda = cuda.ask();
    learn_dtypes(shim);
    return shim;
}

void
pa_shim_close(pa_shim *shim)
{
    if (shim != NULL) {
        pa_library_close(shim->library);
        free(shim);
    }
}

bool
pa_shim_view(const pa_shim *shim, void *handle, pa_dl_tensor *view)
{
    int32_t device = 0;
    int32_t index = 0;
    int32_t code = 0;
    int64_t ndim = 0;
    *view = (pa_dl_tensor){0};
    if (shim->device_type(handle, &device) != 0 ||
        (device != shim->cpu && device != shim->cuda) ||
        shim->device_index(handle, &index) != 0 || shim->dtype(handle, &code) != 0 ||
        shim->dim(handle, &ndim) != 0 || shim->sizes(handle, &view->shape) != 0 ||
        shim->strides(handle, &view->strides) != 0 ||
        shim->data_ptr(handle, &view->data) != 0) {
        return false;
    }
    bool on_cuda = device == shim->cuda;
    view->device =
        (pa_dl_device){on_cuda ? PA_DL_CUDA : PA_DL_CPU, on_cuda ? index : 0};
    view->ndim = (int32_t)ndim;
    for (size_t i = 0; i < shim->ndtypes; i++) {
        if (shim->dtypes[i].code == code) {
            view->dtype = shim->dtypes[i].dtype;
            return true;
        }
    }
    return false;
}

void
pa_shim_release(const pa_shim *shim, void *handle)
{
    (void)shim->release(handle);
}
