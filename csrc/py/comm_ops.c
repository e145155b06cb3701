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
#include "py/outputs.h"
#include "py/tensor.h"
#include "py/tree.h"

#include <stdio.h>
#include <stdlib.h>

/* The rank that alone receives, PA_NO_ROOT if all do (None). -1 with an exception that
 * the others have been told of. */
static int
read_receiver(pyaccel_call *call, PyObject *object, int *root)
{
    int64_t value = PA_NO_ROOT;
    if (object == NULL || object == Py_None) {
        return 0;
    }
    if (pyaccel_arguments_int(object, "dst", PA_NO_ROOT, &value) < 0) {
        pyaccel_call_excuse(call);
        return -1;
    }
    pa_status status = pa_root_check(call->self->comm, call->op, "dst", value,
                                     &call->hooks, &call->error);
    *root = (int)value;
    return pyaccel_call_check(call, status);
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

/* Makes all results. On failure the group is broken, unless all values have come: the
 * others have gone on. */
static int
make_results(pyaccel_call *call, const pyaccel_leaves *leaves, const pa_gather *gather,
             pyaccel_outputs *made)
{
    for (size_t i = 0; i < leaves->count; i++) {
        int64_t rows = pa_gather_rows(gather, i);
        if (rows < 0) {
            PyErr_NoMemory();
        }
        if (rows < 0 || pyaccel_outputs_add(made, call->state, leaves, rows) < 0) {
            if (made->lease != NULL) {
                return -1;
            }
            (void)pa_error_set(&call->error, PA_EMEMORY,
                               "gather: rank %d could not make its result; its own "
                               "exception says why",
                               call->self->rank);
            pa_comm_abort(call->self->comm, call->error.message);
            return -1;
        }
    }
    return 0;
}

/* The results without a copy of their own, where that is possible; `*lent` tells. */
static int
lend_results(pyaccel_call *call, const pyaccel_leaves *leaves, pa_gather *gather,
             pyaccel_outputs *made, bool *lent)
{
    made->starts = malloc((leaves->count + 1) * sizeof *made->starts);
    if (made->starts == NULL) {
        PyErr_NoMemory();
        pa_comm_abort_memory(call->self->comm, PA_OP_GATHER);
        return -1;
    }
    pa_status status = pa_gather_lend(gather, &made->lease, made->starts, lent,
                                      &call->hooks, &call->error);
    return pyaccel_call_check(call, status);
}

/* The exchange between taking apart and putting together. */
static int
run_gather(pyaccel_call *call, pyaccel_leaves *leaves, int root, bool strict, bool copy,
           pyaccel_outputs *made)
{
    pa_gather gather;
    pa_leaves view = pyaccel_leaves_view(leaves);
    pa_status status = pa_gather_begin(&gather, call->self->comm, &view, root, strict,
                                       !copy, &call->hooks, &call->error);
    if (pyaccel_call_check(call, status) < 0) {
        return -1;
    }
    bool lent = false;
    made->readonly = !copy;
    int failed = pyaccel_outputs_init(made, leaves->count);
    if (failed < 0) {
        pa_comm_abort_memory(call->self->comm, PA_OP_GATHER);
    } else if ((!copy && lend_results(call, leaves, &gather, made, &lent) < 0) ||
               (pa_gather_receives(&gather) &&
                make_results(call, leaves, &gather, made) < 0)) {
        failed = -1;
    } else if (!lent) {
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
    static const char *const parameters[] = {"tree", "strict", "root", "copy"};
    PyObject *values[4];
    if (pyaccel_arguments_parse("gather", parameters, 4, 1, arguments, count, names,
                                values) < 0) {
        return NULL;
    }
    int strict = values[1] != NULL ? PyObject_IsTrue(values[1]) : 0;
    int copy = values[3] != NULL ? PyObject_IsTrue(values[3]) : 1;
    pyaccel_call call;
    if (strict < 0 || copy < 0 ||
        pyaccel_call_begin(&call, (CommObject *)object, PA_OP_GATHER) < 0) {
        return NULL;
    }
    call.tree = values[0];
    pyaccel_leaves leaves;
    pyaccel_leaves_init(&leaves);
    pyaccel_flatten how = {
        .state = call.state,
        .leaves = &leaves,
        .function = "_gpu_gather_one",
    };
    pyaccel_outputs made;
    pyaccel_outputs_empty(&made);
    int root = PA_NO_ROOT;
    int failed = read_receiver(&call, values[2], &root);
    if (failed == 0) {
        failed = pyaccel_call_flatten(&call, &how, values[0]);
        if (failed < 0) {
            pyaccel_call_excuse(&call);
        }
    }
    failed = failed < 0
                 ? -1
                 : run_gather(&call, &leaves, root, strict != 0, copy != 0, &made);
    pyaccel_call_end(&call);
    bool receives = root == PA_NO_ROOT || root == call.self->rank;
    PyObject *result =
        failed < 0 ? NULL
        : receives ? pyaccel_outputs_rebuild(&made, call.state, values[0], &leaves)
                   : Py_NewRef(Py_None);
    pyaccel_outputs_fini(&made);
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
    call.tree = values[0];
    pyaccel_leaves leaves;
    pyaccel_leaves_init(&leaves);
    int failed = pyaccel_arguments_int(values[1], "from_process", 0, &root);
    bool receives = root != call.self->rank;
    pyaccel_flatten how = {
        .state = call.state,
        .leaves = &leaves,
        .function = "_gpu_broadcast_one",
        .write = receives,
    };
    failed = failed < 0 ? -1 : pyaccel_call_flatten(&call, &how, values[0]);
    if (failed < 0) {
        pyaccel_call_excuse(&call);
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
run_parcels(pyaccel_call *call, PyObject *value, int from, int to, bool lend,
            const char *arguments, pa_parcels *parcels)
{
    pyaccel_pickle pickle = {0};
    if (value != NULL && pyaccel_pickle_dump(call->state, value, &pickle) < 0) {
        pyaccel_call_excuse(call);
        return -1;
    }
    pa_status status = pa_parcels_exchange(
        call->self->comm, call->op, from, to, lend, arguments, pickle.parts,
        pickle.nparts, call->state->pool, parcels, &call->hooks, &call->error);
    int failed = pyaccel_call_check(call, status);
    pyaccel_pickle_fini(&pickle);
    return failed;
}

/* Writes what ranks exchange objects for to `words`, which stay without a purpose. */
static int
read_purpose(PyObject *object, char *words, size_t capacity)
{
    if (object == NULL) {
        return 0;
    }
    PyObject *bytes = PyUnicode_AsUTF8String(object);
    if (bytes == NULL) {
        return -1;
    }
    (void)snprintf(words, capacity, "for %s", PyBytes_AsString(bytes));
    Py_DECREF(bytes);
    return 0;
}

PyObject *
pyaccel_comm_gather_object(PyObject *object, PyObject *const *arguments,
                           Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"value", "root", "copy", "purpose"};
    PyObject *values[4];
    pyaccel_call call;
    if (pyaccel_arguments_parse("gather_object", parameters, 4, 1, arguments, count,
                                names, values) < 0) {
        return NULL;
    }
    int copy = values[2] != NULL ? PyObject_IsTrue(values[2]) : 1;
    char words[64] = "copy=False";
    if (copy < 0 || read_purpose(values[3], words, sizeof words) < 0 ||
        pyaccel_call_begin(&call, (CommObject *)object, PA_OP_GATHER_OBJECT) < 0) {
        return NULL;
    }
    bool said = copy == 0 || values[3] != NULL;
    pa_parcels parcels = {0};
    int root = PA_NO_ROOT;
    int failed = read_receiver(&call, values[1], &root);
    failed = failed < 0 ? -1
                        : run_parcels(&call, values[0], PA_NO_ROOT, root, copy == 0,
                                      said ? words : NULL, &parcels);
    pyaccel_call_end(&call);
    if (failed == 0 && root != PA_NO_ROOT && root != call.self->rank) {
        pa_parcels_fini(&parcels);
        return Py_NewRef(Py_None);
    }
    PyObject *all = failed < 0 ? NULL : PyList_New(parcels.size);
    for (int rank = 0; rank < parcels.size && all != NULL; rank++) {
        PyObject *item = pyaccel_pickle_load(call.state, &parcels.at[rank], copy == 0);
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
    int failed = pyaccel_arguments_int(values[1], "from_process", 0, &root);
    failed = failed < 0 ? -1 : pyaccel_arguments_int(values[2], "length", 0, &length);
    if (failed < 0) {
        pyaccel_call_excuse(&call);
    } else {
        pa_status status = pa_root_check(call.self->comm, call.op, "from_process", root,
                                         &call.hooks, &call.error);
        failed = pyaccel_call_check(&call, status);
    }
    if (failed == 0) {
        sends = root == call.self->rank;
        char list[48] = "no list";
        if (length >= 0) {
            (void)snprintf(list, sizeof list, "a list of %lld", (long long)length);
        }
        failed = run_parcels(&call, sends ? values[0] : NULL, (int)root, PA_NO_ROOT,
                             false, list, &parcels);
    }
    pyaccel_call_end(&call);
    PyObject *result = NULL;
    if (failed == 0) {
        result = sends ? Py_NewRef(values[0])
                       : pyaccel_pickle_load(call.state, &parcels.at[root], false);
    }
    pa_parcels_fini(&parcels);
    return result;
}
