/* State of the extension module: every object that it keeps is declared here, once. */
#ifndef PYACCEL_PY_STATE_H
#define PYACCEL_PY_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* A function as a slot's value: ISO C converts it only by way of an integer. */
#define PYACCEL_SLOT(function) ((void *)(uintptr_t)(function))

/* A function of any calling convention as a method table's entry. */
#define PYACCEL_METHOD(function) ((PyCFunction)(uintptr_t)(function))

/* Members: types, exceptions and interned names. Traverse, clear and the struct
 * all follow from this list. */
#define PYACCEL_STATE_MAP(X)                                                           \
    X(DistributedOperationException)                                                   \
    X(DistributedTimeoutError)                                                         \
    X(DistributedPeerError)                                                            \
    X(CommType)                                                                        \
    X(SegmentType)                                                                     \
    X(StoreServerType)                                                                 \
    X(StoreClientType)                                                                 \
    X(BlockType)                                                                       \
    X(ArrowBytesType)                                                                  \
    X(SplitContextType)                                                                \
    X(Mapping)                                                                         \
    X(Sequence)                                                                        \
    X(Enum)                                                                            \
    X(numpy_ndarray)                                                                   \
    X(pandas_DataFrame)                                                                \
    X(pandas_Series)                                                                   \
    X(pandas_Index)                                                                    \
    X(datasets_Dataset)                                                                \
    X(pickle_dumps)                                                                    \
    X(pickle_loads)                                                                    \
    X(pickle_options)                                                                  \
    X(dumps_with_buffers)                                                              \
    X(torch_Tensor)                                                                    \
    X(torch_Parameter)                                                                 \
    X(torch_handle_of)                                                                 \
    X(torch_raw_stream)                                                                \
    X(torch_empty)                                                                     \
    X(torch_strided)                                                                   \
    X(torch_int8)                                                                      \
    X(torch_uint8)                                                                     \
    X(torch_dtypes)                                                                    \
    X(str_as_subclass)                                                                 \
    X(str_buffers)                                                                     \
    X(str_contiguous)                                                                  \
    X(str_copy_)                                                                       \
    X(str_cpu)                                                                         \
    X(str_data_ptr)                                                                    \
    X(str_detach)                                                                      \
    X(str_device)                                                                      \
    X(str_dtype)                                                                       \
    X(str_fields)                                                                      \
    X(str_fill_)                                                                       \
    X(str_index)                                                                       \
    X(str_is_cpu)                                                                      \
    X(str_is_conj)                                                                     \
    X(str_is_neg)                                                                      \
    X(str_is_quantized)                                                                \
    X(str_is_nested)                                                                   \
    X(str_items)                                                                       \
    X(str_layout)                                                                      \
    X(str_dunder_name)                                                                 \
    X(str_name)                                                                        \
    X(str_narrow)                                                                      \
    X(str_new_empty)                                                                   \
    X(str_num_processes)                                                               \
    X(str_process_index)                                                               \
    X(str_resolve_conj)                                                                \
    X(str_resolve_neg)                                                                 \
    X(str_shape)                                                                       \
    X(str_stride)                                                                      \
    X(str_to)                                                                          \
    X(str_type)

#define PYACCEL_STATE_MEMBER(name) PyObject *name;
typedef struct pyaccel_state {
    PYACCEL_STATE_MAP(PYACCEL_STATE_MEMBER)
    struct pa_pool *pool;                  /* memory of all results */
    struct pa_shim *shim;                  /* libtorch's C shim; NULL: none */
    struct pa_torch_devices *devices;      /* torch's streams; NULL: torch not bound */
    const struct pa_dl_exchange *exchange; /* torch's table; NULL: none, or not seen */
    int torch_bound;                       /* torch's objects above are filled */
    int torch_hip;                         /* what torch calls cuda is AMD's */
    int tensor_path;                       /* a pyaccel_tensor_path */
} pyaccel_state;
#undef PYACCEL_STATE_MEMBER

/* Puts a new reference (or NULL) into a slot and drops what was there. Steals. */
static inline void
pyaccel_slot_set(PyObject **slot, PyObject *value)
{
    PyObject *old = *slot;
    *slot = value;
    Py_XDECREF(old);
}

/* The state of a module object; never NULL for ours. */
static inline pyaccel_state *
pyaccel_state_get(PyObject *module)
{
    return PyModule_GetState(module);
}

/* The state behind a type of ours (heap types made with the module). */
static inline pyaccel_state *
pyaccel_state_of(PyTypeObject *type)
{
    return PyType_GetModuleState(type);
}

#endif
