/* NumPy arrays as leaves: see the header. */
#include "py/numpy.h"

#include "base/hash.h"
#include "base/strides.h"
#include "py/block.h"

#include <numpy/arrayobject.h>

/* Fills NumPy's symbol table (its own static, once) if the script has imported NumPy.
 * 1: there; 0: not imported, so nothing can be an array; -1 with an exception. */
static int
numpy_bind(void)
{
    if (PyArray_API != NULL) {
        return 1;
    }
    PyObject *modules = PyImport_GetModuleDict();             // borrowed
    PyObject *numpy = PyDict_GetItemString(modules, "numpy"); // borrowed
    if (numpy == NULL || !PyObject_HasAttrString(numpy, "ndarray")) {
        return 0;
    }
    return PyArray_ImportNumPyAPI() < 0 ? -1 : 1;
}

int
pyaccel_array_check(PyObject *object)
{
    int bound = numpy_bind();
    if (bound <= 0) {
        return bound;
    }
    if (PyArray_CheckExact(object)) {
        return 1;
    }
    /* A masked array is more than its bytes: it is no leaf. */
    return PyArray_Check(object) && !PyObject_HasAttrString(object, "mask");
}

/* The plain dtypes have DLPack's numbers; all others are told apart by their names. */
static int
read_dtype(PyArrayObject *array, pa_dtype *dtype)
{
    PyArray_Descr *descr = PyArray_DESCR(array);
    int bits = (int)PyArray_ITEMSIZE(array) * 8;
    int code = PA_DTYPE_OTHER;
    int number = descr->type_num;
    if (PyArray_ISNOTSWAPPED(array)) {
        if (number == NPY_BOOL) {
            code = PA_DTYPE_BOOL;
        } else if (PyTypeNum_ISUNSIGNED(number)) {
            code = PA_DTYPE_UINT;
        } else if (PyTypeNum_ISSIGNED(number)) {
            code = PA_DTYPE_INT;
        } else if (number == NPY_HALF || number == NPY_FLOAT || number == NPY_DOUBLE) {
            code = PA_DTYPE_FLOAT;
        } else if (number == NPY_CFLOAT || number == NPY_CDOUBLE) {
            code = PA_DTYPE_COMPLEX;
        }
    }
    *dtype = (pa_dtype){.code = (uint8_t)code, .lanes = 1};
    if (code != PA_DTYPE_OTHER) {
        dtype->bits = (uint8_t)bits;
        return 0;
    }
    PyObject *name = PyObject_Str((PyObject *)descr);
    Py_ssize_t length = 0;
    const char *text = name != NULL ? PyUnicode_AsUTF8AndSize(name, &length) : NULL;
    if (text != NULL) {
        uint64_t hash = pa_hash_bytes(PA_HASH_SEED, text, (size_t)length);
        hash = pa_hash_mix(hash, (uint64_t)PyArray_ITEMSIZE(array));
        dtype->detail = (uint32_t)(hash >> 16);
    }
    Py_XDECREF(name);
    return text != NULL ? 0 : -1;
}

int
pyaccel_array_add(PyObject *object, bool write, pyaccel_leaves *leaves)
{
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyDataType_REFCHK(PyArray_DESCR(array))) {
        PyErr_SetString(
            PyExc_TypeError,
            "an array of Python objects cannot be sent as an array; pass it "
            "to gather_object or convert it to a dtype with plain values");
        return -1;
    }
    if (PyArray_ITEMSIZE(array) == 0) {
        /* NumPy makes no second array of such a dtype, but one of the next larger. */
        PyErr_Format(PyExc_TypeError,
                     "an array of %R, whose elements have no bytes, cannot be sent; "
                     "give its dtype a length",
                     (PyObject *)PyArray_DESCR(array));
        return -1;
    }
    if (write && !PyArray_ISWRITEABLE(array)) {
        PyErr_SetString(PyExc_ValueError,
                        "an array that receives values must be writeable; pass a copy");
        return -1;
    }
    if (write && pa_strides_overlap(PyArray_NDIM(array), PyArray_DIMS(array),
                                    PyArray_STRIDES(array), PyArray_ITEMSIZE(array))) {
        PyErr_SetString(PyExc_ValueError,
                        "an array whose elements share memory cannot receive values: "
                        "they would overwrite each other; pass a copy");
        return -1;
    }
    bool plain = PyArray_IS_C_CONTIGUOUS(array);
    PyObject *holder = plain ? Py_NewRef(object) : PyArray_NewCopy(array, NPY_CORDER);
    if (holder == NULL) {
        return -1;
    }
    PyArrayObject *held = (PyArrayObject *)holder;
    int64_t dims[NPY_MAXDIMS];
    pa_leaf leaf = {
        .data = PyArray_BYTES(held),
        .nbytes = (size_t)PyArray_NBYTES(held),
        .itemsize = (size_t)PyArray_ITEMSIZE(held),
        .shape = dims,
        .ndim = PyArray_NDIM(held),
    };
    for (int32_t d = 0; d < leaf.ndim; d++) {
        dims[d] = PyArray_DIM(held, d);
    }
    int status = read_dtype(held, &leaf.dtype);
    if (status == 0) {
        PyObject *descr = (PyObject *)PyArray_DESCR(held); // borrowed
        status =
            pyaccel_leaves_add(leaves, &leaf, PYACCEL_ARRAY, object, holder, descr);
    }
    Py_DECREF(holder);
    return status;
}

/* An array over memory that `base` keeps; steals descr and base. // new */
static PyObject *
array_over(PyArray_Descr *descr, int32_t ndim, npy_intp *dims, char *data, int flags,
           PyObject *base)
{
    PyObject *made =
        PyArray_NewFromDescr(&PyArray_Type, descr, ndim, dims, NULL, data, flags, NULL);
    if (made == NULL) {
        Py_DECREF(base);
        return NULL;
    }
    /* Steals the base, also on failure. */
    if (PyArray_SetBaseObject((PyArrayObject *)made, base) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    return made;
}

PyObject *
pyaccel_array_make(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                   int32_t ndim, const int64_t *shape, size_t nbytes, char **data)
{
    npy_intp dims[NPY_MAXDIMS];
    for (int32_t d = 0; d < ndim; d++) {
        dims[d] = (npy_intp)shape[d];
    }
    PyArray_Descr *descr =
        (PyArray_Descr *)Py_NewRef(leaves->extra[index].dtype); // stolen below
    if (nbytes < PA_POOL_LARGE) {
        PyObject *made =
            PyArray_NewFromDescr(&PyArray_Type, descr, ndim, dims, NULL, NULL, 0, NULL);
        if (made != NULL) {
            *data = PyArray_BYTES((PyArrayObject *)made);
        }
        return made;
    }
    pa_block *block = pa_pool_take(state->pool, nbytes, 0);
    PyObject *base =
        block != NULL ? pyaccel_block_new(state, block, nbytes, false) : NULL;
    if (base == NULL) {
        Py_DECREF(descr);
        pa_block_release(block);
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_MemoryError, "no memory for a result of %zu bytes",
                         nbytes);
        }
        return NULL;
    }
    *data = block->data;
    return array_over(descr, ndim, dims, block->data, NPY_ARRAY_CARRAY, base);
}

PyObject *
pyaccel_array_leased(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                     int32_t ndim, const int64_t *shape, pa_lease *lease, size_t start,
                     size_t nbytes)
{
    npy_intp dims[NPY_MAXDIMS];
    for (int32_t d = 0; d < ndim; d++) {
        dims[d] = (npy_intp)shape[d];
    }
    PyObject *base = pyaccel_block_leased(state, lease, start, nbytes);
    if (base == NULL) {
        return NULL;
    }
    char *data = (char *)(uintptr_t)pa_lease_data(lease) + start;
    PyArray_Descr *descr = (PyArray_Descr *)Py_NewRef(leaves->extra[index].dtype);
    return array_over(descr, ndim, dims, data, NPY_ARRAY_CARRAY_RO, base);
}

void
pyaccel_array_freeze(PyObject *array)
{
    PyArray_CLEARFLAGS((PyArrayObject *)array, NPY_ARRAY_WRITEABLE);
}

int
pyaccel_array_write_back(const pyaccel_leaves *leaves, size_t index)
{
    const pyaccel_leaf *extra = &leaves->extra[index];
    if (extra->holder == extra->source) {
        return 0;
    }
    return PyArray_CopyInto((PyArrayObject *)extra->source,
                            (PyArrayObject *)extra->holder);
}
