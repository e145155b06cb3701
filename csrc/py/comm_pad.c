/* Comm.pad: leaves of all ranks brought to one length along a dimension. The ranks
 * exchange lengths only; each pads its own leaves. */
#include "base/size.h"
#include "comm/extent.h"
#include "math/scalar.h"
#include "py/arguments.h"
#include "py/comm.h"
#include "py/outputs.h"
#include "py/tensor.h"
#include "py/tree.h"

#include <stdlib.h>
#include <string.h>

/* Memory that is moved without the interpreter lock from here on. */
enum { LARGE_BYTES = 1 << 20 };

/* A Python number as one of the core. -1 with TypeError for anything else. */
static int
read_scalar(PyObject *object, pa_scalar *scalar)
{
    *scalar = (pa_scalar){.kind = PA_SCALAR_INT};
    if (object == NULL) {
        return 0;
    }
    if (PyComplex_Check(object)) {
        scalar->kind = PA_SCALAR_COMPLEX;
        scalar->real = PyComplex_RealAsDouble(object);
        scalar->imaginary = PyComplex_ImagAsDouble(object);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *whole = PyFloat_Check(object) ? NULL : PyNumber_Index(object);
    if (whole == NULL) {
        PyErr_Clear();
        scalar->kind = PA_SCALAR_FLOAT;
        scalar->real = PyFloat_AsDouble(object);
        if (scalar->real == -1.0 && PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError,
                         "pad_across_processes: pad_index must be a number, not %R",
                         (PyObject *)Py_TYPE(object));
            return -1;
        }
        return 0;
    }
    int overflow = 0;
    scalar->integer = PyLong_AsLongLongAndOverflow(whole, &overflow);
    if (overflow > 0) {
        scalar->kind = PA_SCALAR_UINT;
        scalar->unsigned_integer = PyLong_AsUnsignedLongLong(whole);
        if (PyErr_Occurred()) {
            overflow = -1;
        }
    }
    Py_DECREF(whole);
    if (overflow < 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError,
                     "pad_across_processes: pad_index is %S: that fits no dtype",
                     object);
        return -1;
    }
    return 0;
}

/* The number as Python has it. // new */
static PyObject *
scalar_object(const pa_scalar *scalar)
{
    switch (scalar->kind) {
    case PA_SCALAR_INT:
        return PyLong_FromLongLong(scalar->integer);
    case PA_SCALAR_UINT:
        return PyLong_FromUnsignedLongLong(scalar->unsigned_integer);
    case PA_SCALAR_FLOAT:
        return PyFloat_FromDouble(scalar->real);
    case PA_SCALAR_COMPLEX:
        break;
    }
    return PyComplex_FromDoubles(scalar->real, scalar->imaginary);
}

/* Says once that nested tensors stay as they are. -1 if the warning is an error. */
static int
warn_of_nested(const pyaccel_leaves *leaves)
{
    bool nested = false;
    for (size_t i = 0; i < leaves->count; i++) {
        nested = nested || leaves->extra[i].kind == PYACCEL_NESTED;
    }
    if (!nested) {
        return 0;
    }
    PyObject *operations = PyImport_ImportModule("pyaccel.utils.operations");
    PyObject *category =
        operations != NULL
            ? PyObject_GetAttrString(operations, "CannotPadNestedTensorWarning")
            : NULL;
    int status = category != NULL
                     ? PyErr_WarnEx(category,
                                    "Cannot pad nested tensors without more "
                                    "information. Leaving unprocessed.",
                                    2)
                     : -1;
    Py_XDECREF(category);
    Py_XDECREF(operations);
    return status;
}

/* Refuses a value that one of the leaves to pad could not hold, before anybody is met:
 * which ranks will have to pad is not known yet. */
static int
check_value(const pyaccel_leaves *leaves, int64_t dim, const pa_scalar *value,
            PyObject *object)
{
    for (size_t i = 0; i < leaves->count; i++) {
        char element[PA_SCALAR_BYTES];
        size_t nbytes = 0;
        pa_dtype dtype = leaves->at[i].dtype;
        if (pa_extent_dim(&leaves->at[i], dim) >= 0 &&
            !pa_scalar_store(value, dtype, element, &nbytes)) {
            char name[48];
            pa_dtype_format(dtype, name, sizeof name);
            PyErr_Format(PyExc_ValueError,
                         "pad_across_processes: pad_index is %S, which %s cannot hold: "
                         "pass a value of that dtype",
                         object != NULL ? object : Py_None, name);
            return -1;
        }
    }
    return 0;
}

/* One leaf on its way: `outer` times `old` or `now` rows of `row` bytes. */
typedef struct padding {
    const char *from;
    char *to;
    size_t outer;
    size_t old;
    size_t now;
    size_t row;
    char element[PA_SCALAR_BYTES];
    size_t itemsize;
    bool first;
} padding;

/* Fills memory with copies of the element, each run twice as long as the one before. */
static void
fill(char *to, size_t nbytes, const char *element, size_t itemsize)
{
    if (nbytes == 0) {
        return;
    }
    memcpy(to, element, itemsize);
    for (size_t done = itemsize; done < nbytes;) {
        size_t run = done < nbytes - done ? done : nbytes - done;
        memcpy(to + done, to, run);
        done += run;
    }
}

static void
pad(const padding *p)
{
    size_t kept = p->old * p->row;
    size_t added = (p->now - p->old) * p->row;
    const char *from = p->from;
    char *to = p->to;
    for (size_t i = 0; i < p->outer; i++) {
        fill(p->first ? to : to + kept, added, p->element, p->itemsize);
        if (kept > 0) {
            memcpy(p->first ? to + added : to, from, kept);
            from += kept;
        }
        to += kept + added;
    }
}

/* Fills `made`, which stands on a device. // steals made; new */
static PyObject *
pad_on_device(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
              PyObject *made, int dim, int64_t length, const pa_scalar *value,
              bool first)
{
    PyObject *number = scalar_object(value);
    if (number == NULL || pyaccel_tensor_pad(state, leaves, index, made, dim, length,
                                             number, first) < 0) {
        Py_CLEAR(made);
    }
    Py_XDECREF(number);
    return made;
}

/* The leaf `index` at its full length. // new */
static PyObject *
pad_leaf(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index, int dim,
         int64_t length, const pa_scalar *value, bool first)
{
    const pa_leaf *leaf = &leaves->at[index];
    int64_t *shape = leaves->dims + leaves->extra[index].dims_at;
    padding p = {
        .from = leaf->data,
        .outer = 1,
        .old = (size_t)shape[dim],
        .now = (size_t)length,
        .row = leaf->itemsize,
        .first = first,
    };
    for (int d = 0; d < leaf->ndim; d++) {
        size_t *factor = d < dim ? &p.outer : &p.row;
        *factor *= d == dim ? 1 : (size_t)shape[d];
    }
    size_t nbytes = 0;
    bool fits = pa_scalar_store(value, leaf->dtype, p.element, &p.itemsize) &&
                pa_size_mul(p.now, p.row, &nbytes) &&
                pa_size_mul(nbytes, p.outer, &nbytes);
    if (!fits) {
        PyErr_SetString(PyExc_MemoryError,
                        "pad_across_processes: the result is too large for any memory");
        return NULL;
    }
    int64_t own = shape[dim];
    shape[dim] = length;
    PyObject *made =
        pyaccel_output_make(state, leaves, index, leaf->ndim, shape, nbytes, &p.to);
    shape[dim] = own;
    if (made != NULL && leaves->extra[index].place_at >= 0) {
        return pad_on_device(state, leaves, index, made, dim, length, value, first);
    }
    if (made != NULL && nbytes >= LARGE_BYTES) {
        Py_BEGIN_ALLOW_THREADS;
        pad(&p);
        Py_END_ALLOW_THREADS;
    } else if (made != NULL && nbytes > 0) {
        pad(&p);
    }
    PyObject *home =
        made != NULL ? pyaccel_tensor_send_home(state, leaves, index, made) : NULL;
    Py_XDECREF(made);
    return home;
}

/* The structure with its leaves at full length; those that are so already stay the very
 * same objects. // new */
static PyObject *
pad_all(pyaccel_state *state, PyObject *tree, const pyaccel_leaves *leaves, int64_t dim,
        const int64_t *longest, const pa_scalar *value, bool first)
{
    PyObject **results = calloc(leaves->count + 1, sizeof *results);
    if (results == NULL) {
        return PyErr_NoMemory();
    }
    size_t count = 0;
    for (; count < leaves->count; count++) {
        int d = pa_extent_dim(&leaves->at[count], dim);
        bool full = d < 0 || leaves->at[count].shape[d] >= longest[count];
        results[count] =
            full ? Py_NewRef(leaves->extra[count].source)
                 : pad_leaf(state, leaves, count, d, longest[count], value, first);
        if (results[count] == NULL) {
            break;
        }
    }
    PyObject *made = count == leaves->count
                         ? pyaccel_tree_rebuild(state, tree, results, count)
                         : NULL;
    for (size_t i = 0; i < count; i++) {
        Py_DECREF(results[i]);
    }
    free(results);
    return made;
}

PyObject *
pyaccel_comm_pad(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                 PyObject *names)
{
    static const char *const parameters[] = {"tree", "dim", "pad_index", "pad_first"};
    PyObject *values[4];
    pyaccel_call call;
    if (pyaccel_arguments_parse("pad", parameters, 4, 1, arguments, count, names,
                                values) < 0 ||
        pyaccel_call_begin(&call, (CommObject *)object, PA_OP_PAD) < 0) {
        return NULL;
    }
    call.tree = values[0];
    int64_t dim = 0;
    pa_scalar value;
    pyaccel_leaves leaves;
    pyaccel_leaves_init(&leaves);
    pyaccel_flatten how = {
        .state = call.state,
        .leaves = &leaves,
        .function = "_pad_across_processes",
        .nested_stays = true,
    };
    int first = values[3] != NULL ? PyObject_IsTrue(values[3]) : 0;
    int failed = first < 0 || pyaccel_arguments_int(values[1], "dim", 0, &dim) < 0 ||
                         read_scalar(values[2], &value) < 0 ||
                         pyaccel_tree_flatten(&how, values[0]) < 0 ||
                         warn_of_nested(&leaves) < 0
                     ? -1
                     : 0;
    pa_leaves view = pyaccel_leaves_view(&leaves);
    failed = failed < 0 ? -1 : check_value(&leaves, dim, &value, values[2]);
    int64_t *longest = failed < 0 ? NULL : malloc((leaves.count + 1) * sizeof *longest);
    if (failed == 0 && longest == NULL) {
        PyErr_NoMemory();
    }
    if (longest == NULL) {
        failed = -1;
        pyaccel_call_excuse(&call);
    } else {
        pa_status status = pa_extent_longest(call.self->comm, &view, dim, longest,
                                             &call.hooks, &call.error);
        failed = pyaccel_call_check(&call, status);
    }
    pyaccel_call_end(&call);
    PyObject *result = failed < 0 ? NULL
                                  : pad_all(call.state, values[0], &leaves, dim,
                                            longest, &value, first != 0);
    free(longest);
    pyaccel_leaves_fini(&leaves);
    return result;
}
