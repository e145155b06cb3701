/* The collectives of the Comm type: from Python objects to the core and back.
 *
 * Each takes its arguments apart with the interpreter lock, runs the core's exchange,
 * which gives the lock up when it waits, and builds the result with the lock again.
 * A rank that fails before it has met the others excuses itself, so that they get an
 * error instead of waiting for it. */
#include "py/comm.h"

#include "comm/broadcast.h"
#include "comm/gather.h"
#include "comm/parcel.h"
#include "py/arguments.h"
#include "py/error.h"
#include "py/numpy.h"
#include "py/object.h"
#include "py/tensor.h"
#include "py/tree.h"

#include <stdlib.h>

/* The text of the exception that is set, for the other ranks; it stays set. */
static void
excuse_with_exception(pyaccel_call *call)
{
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *trace = NULL;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *name = PyObject_GetAttrString(type, "__name__");
    PyObject *text = name != NULL && value != NULL
                         ? PyUnicode_FromFormat("%U: %S", name, value)
                         : NULL;
    PyObject *bytes = text != NULL ? PyUnicode_AsUTF8String(text) : NULL;
    const char *said = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
    /* Nothing that went wrong with the text may replace the exception itself. */
    PyErr_Clear();
    pa_status status = pa_comm_excuse(
        call->self->comm, call->op, said != NULL ? said : "an exception", &call->hooks);
    pyaccel_call_resume(call);
    Py_XDECREF(name);
    Py_XDECREF(text);
    Py_XDECREF(bytes);
    if (status == PA_EINTERRUPTED && PyErr_Occurred()) {
        /* Ctrl-C while it waited to be heard. */
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
    } else {
        PyErr_Restore(type, value, trace);
    }
}

/* An int argument with a default; -1 with an exception. */
static int
read_int(PyObject *object, const char *name, int64_t missing, int64_t *value)
{
    *value = missing;
    if (object == NULL) {
        return 0;
    }
    *value = PyLong_AsLongLong(object);
    if (*value != -1 || !PyErr_Occurred()) {
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Format(PyExc_TypeError, "%s must be an int, not %R", name,
                     (PyObject *)Py_TYPE(object));
    } else if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
        PyErr_Format(PyExc_ValueError, "%s is %R: name a process of the group", name,
                     object);
    }
    return -1;
}

PyObject *
pyaccel_comm_barrier(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyaccel_call call;
    if (pyaccel_call_begin(&call, (CommObject *)object, PA_OP_BARRIER) < 0) {
        return NULL;
    }
    pa_status status = pa_barrier(call.self->comm, &call.hooks, &call.error);
    int failed = pyaccel_call_check(&call, status);
    pyaccel_call_end(&call);
    return failed < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- Gather ---- */

/* The results of a gather before they have values. */
typedef struct outputs {
    PyObject **objects; /* [count], owned */
    char **data;        /* [count] */
    size_t count;
    PyObject *object_inline[PYACCEL_LEAVES_INLINE];
    char *data_inline[PYACCEL_LEAVES_INLINE];
} outputs;

static void
outputs_fini(outputs *made)
{
    for (size_t i = 0; i < made->count; i++) {
        Py_XDECREF(made->objects[i]);
    }
    if (made->objects != made->object_inline) {
        free(made->objects);
        free(made->data);
    }
}

static int
outputs_init(outputs *made, size_t count)
{
    made->objects = made->object_inline;
    made->data = made->data_inline;
    made->count = 0;
    if (count > PYACCEL_LEAVES_INLINE) {
        made->objects = malloc(count * sizeof *made->objects);
        made->data = malloc(count * sizeof *made->data);
        if (made->objects == NULL || made->data == NULL) {
            free(made->objects);
            free(made->data);
            made->objects = made->object_inline;
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

/* A result of leaf `index` with `rows` rows. // new */
static PyObject *
make_result(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
            int64_t rows, char **data)
{
    const pa_leaf *leaf = &leaves->at[index];
    int64_t lone = rows;
    int64_t *dims = leaves->dims + leaves->extra[index].dims_at;
    int32_t ndim = leaf->ndim > 0 ? leaf->ndim : 1;
    int64_t *shape = leaf->ndim > 0 ? dims : &lone;
    size_t nbytes = leaf->itemsize;
    int64_t own_rows = shape[0];
    shape[0] = rows;
    for (int32_t d = 0; d < ndim; d++) {
        if (__builtin_mul_overflow(nbytes, (size_t)shape[d], &nbytes)) {
            shape[0] = own_rows;
            PyErr_SetString(PyExc_MemoryError, "the gathered result is too large");
            return NULL;
        }
    }
    PyObject *made =
        leaves->extra[index].kind == PYACCEL_TENSOR
            ? pyaccel_tensor_make(state, leaves, index, ndim, shape, nbytes, data)
            : pyaccel_array_make(state, leaves, index, ndim, shape, nbytes, data);
    shape[0] = own_rows;
    return made;
}

/* Makes all results. On failure the group is broken: the others have gone on. */
static int
make_results(pyaccel_call *call, const pyaccel_leaves *leaves, const pa_gather *gather,
             outputs *made)
{
    for (size_t i = 0; i < leaves->count; i++) {
        int64_t rows = pa_gather_rows(gather, i);
        PyObject *result =
            rows < 0 ? PyErr_NoMemory()
                     : make_result(call->state, leaves, i, rows, &made->data[i]);
        if (result == NULL) {
            pa_comm_abort(call->self->comm,
                          "gather: a rank could not make its result; its own exception "
                          "says why");
            return -1;
        }
        made->objects[made->count++] = result;
    }
    return 0;
}

/* The exchange between taking apart and putting together. */
static int
run_gather(pyaccel_call *call, pyaccel_leaves *leaves, bool strict, outputs *made)
{
    pa_gather gather;
    pa_leaves view = pyaccel_leaves_view(leaves);
    pa_status status = pa_gather_begin(&gather, call->self->comm, &view, strict,
                                       &call->hooks, &call->error);
    if (pyaccel_call_check(call, status) < 0) {
        return -1;
    }
    int failed = outputs_init(made, leaves->count);
    if (failed < 0) {
        pa_comm_abort(call->self->comm, "gather: memory is short on a rank");
    } else if (make_results(call, leaves, &gather, made) < 0) {
        failed = -1;
    } else {
        status = pa_gather_finish(&gather, made->data, &call->hooks, &call->error);
        failed = pyaccel_call_check(call, status);
    }
    pa_gather_fini(&gather);
    return failed;
}

PyObject *
pyaccel_comm_gather(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                    PyObject *names)
{
    static const char *const parameters[] = {"tree", "strict"};
    PyObject *values[2];
    if (pyaccel_arguments_parse("gather", parameters, 2, 1, arguments, count, names,
                                values) < 0) {
        return NULL;
    }
    int strict = values[1] != NULL ? PyObject_IsTrue(values[1]) : 0;
    pyaccel_call call;
    if (strict < 0 ||
        pyaccel_call_begin(&call, (CommObject *)object, PA_OP_GATHER) < 0) {
        return NULL;
    }
    pyaccel_leaves leaves;
    pyaccel_leaves_init(&leaves);
    pyaccel_flatten how = {
        .state = call.state,
        .leaves = &leaves,
        .function = "_gpu_gather_one",
    };
    outputs made = {.objects = made.object_inline};
    int failed = pyaccel_tree_flatten(&how, values[0]);
    if (failed < 0) {
        excuse_with_exception(&call);
    } else {
        failed = run_gather(&call, &leaves, strict != 0, &made);
    }
    pyaccel_call_end(&call);
    PyObject *result = failed < 0 ? NULL
                                  : pyaccel_tree_rebuild(call.state, values[0],
                                                         made.objects, made.count);
    outputs_fini(&made);
    pyaccel_leaves_fini(&leaves);
    return result;
}

/* ---- Broadcast ---- */

/* Writes what was received back where a leaf was a copy, then rebuilds the tree from
 * the very same leaf objects. // new */
static PyObject *
finish_broadcast(pyaccel_state *state, PyObject *tree, const pyaccel_leaves *leaves,
                 bool received)
{
    PyObject **sources = malloc((leaves->count + 1) * sizeof *sources);
    if (sources == NULL) {
        return PyErr_NoMemory();
    }
    int failed = 0;
    for (size_t i = 0; i < leaves->count && failed == 0; i++) {
        sources[i] = leaves->extra[i].source;
        if (received) {
            failed = leaves->extra[i].kind == PYACCEL_TENSOR
                         ? pyaccel_tensor_write_back(state, leaves, i)
                         : pyaccel_array_write_back(leaves, i);
        }
    }
    PyObject *result =
        failed < 0 ? NULL : pyaccel_tree_rebuild(state, tree, sources, leaves->count);
    free(sources);
    return result;
}

PyObject *
pyaccel_comm_broadcast(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                       PyObject *names)
{
    static const char *const parameters[] = {"tree", "root"};
    PyObject *values[2];
    int64_t root = 0;
    pyaccel_call call;
    if (pyaccel_arguments_parse("broadcast", parameters, 2, 1, arguments, count, names,
                                values) < 0 ||
        pyaccel_call_begin(&call, (CommObject *)object, PA_OP_BROADCAST) < 0) {
        return NULL;
    }
    pyaccel_leaves leaves;
    pyaccel_leaves_init(&leaves);
    int failed = read_int(values[1], "from_process", 0, &root);
    bool receives = root != call.self->rank;
    pyaccel_flatten how = {
        .state = call.state,
        .leaves = &leaves,
        .function = "_gpu_broadcast_one",
        .write = receives,
    };
    failed = failed < 0 ? -1 : pyaccel_tree_flatten(&how, values[0]);
    if (failed < 0) {
        excuse_with_exception(&call);
    } else {
        pa_leaves view = pyaccel_leaves_view(&leaves);
        pa_status status =
            pa_broadcast(call.self->comm, &view, root, &call.hooks, &call.error);
        failed = pyaccel_call_check(&call, status);
    }
    pyaccel_call_end(&call);
    PyObject *result =
        failed < 0 ? NULL : finish_broadcast(call.state, values[0], &leaves, receives);
    pyaccel_leaves_fini(&leaves);
    return result;
}

/* ---- Objects ---- */

/* Sends `value` (unless NULL) and receives the parcels. */
static int
run_parcels(pyaccel_call *call, PyObject *value, int root, uint64_t fingerprint,
            pa_parcels *parcels)
{
    pyaccel_pickle pickle = {0};
    if (value != NULL && pyaccel_pickle_dump(call->state, value, &pickle) < 0) {
        excuse_with_exception(call);
        return -1;
    }
    pa_status status = pa_parcels_exchange(
        call->self->comm, call->op, root, fingerprint, pickle.parts, pickle.nparts,
        call->state->pool, parcels, &call->hooks, &call->error);
    int failed = pyaccel_call_check(call, status);
    pyaccel_pickle_fini(&pickle);
    return failed;
}

PyObject *
pyaccel_comm_gather_object(PyObject *object, PyObject *value)
{
    pyaccel_call call;
    if (pyaccel_call_begin(&call, (CommObject *)object, PA_OP_GATHER_OBJECT) < 0) {
        return NULL;
    }
    pa_parcels parcels = {0};
    int failed = run_parcels(&call, value, PA_NO_ROOT, 0, &parcels);
    pyaccel_call_end(&call);
    PyObject *all = failed < 0 ? NULL : PyList_New(parcels.size);
    for (int rank = 0; rank < parcels.size && all != NULL; rank++) {
        PyObject *item = pyaccel_pickle_load(call.state, &parcels.at[rank]);
        if (item == NULL || PyList_SetItem(all, rank, item) < 0) {
            Py_CLEAR(all);
        }
    }
    pa_parcels_fini(&parcels);
    return all;
}

PyObject *
pyaccel_comm_broadcast_object(PyObject *object, PyObject *const *arguments,
                              Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"value", "root", "length"};
    PyObject *values[3];
    int64_t root = 0;
    int64_t length = 0;
    pyaccel_call call;
    if (pyaccel_arguments_parse("broadcast_object", parameters, 3, 1, arguments, count,
                                names, values) < 0 ||
        pyaccel_call_begin(&call, (CommObject *)object, PA_OP_BROADCAST_OBJECT) < 0) {
        return NULL;
    }
    pa_parcels parcels = {0};
    bool sends = false;
    int failed = read_int(values[1], "from_process", 0, &root);
    failed = failed < 0 ? -1 : read_int(values[2], "length", 0, &length);
    if (failed < 0) {
        excuse_with_exception(&call);
    } else {
        pa_status status =
            pa_root_check(call.self->comm, call.op, root, &call.hooks, &call.error);
        failed = pyaccel_call_check(&call, status);
    }
    if (failed == 0) {
        sends = root == call.self->rank;
        uint64_t fingerprint = (uint64_t)length;
        failed = run_parcels(&call, sends ? values[0] : NULL, (int)root, fingerprint,
                             &parcels);
    }
    pyaccel_call_end(&call);
    PyObject *result = NULL;
    if (failed == 0) {
        result = sends ? Py_NewRef(values[0])
                       : pyaccel_pickle_load(call.state, &parcels.at[root]);
    }
    pa_parcels_fini(&parcels);
    return result;
}
