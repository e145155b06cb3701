/* Python objects as parcels: see the header. */
#include "py/object.h"

#include "comm/lend.h"
#include "py/block.h"

#include <stdlib.h>
#include <string.h>

enum {
    IN_BAND_BYTES = 4096, /* below, one more copy is cheaper than a piece of its own */
    PLAIN_NODES = 256, /* objects that are looked at before pickling in the short way */
};

/* ---- Python's pickle ---- */

/* Finds the functions that serialise and deserialise; at once when they are known. */
static int
pickle_bind(pyaccel_state *state)
{
    if (state->pickle_loads != NULL) {
        return 0;
    }
    PyObject *pickle = PyImport_ImportModule("_pickle");
    PyObject *objects =
        pickle != NULL ? PyImport_ImportModule("pyaccel._objects") : NULL;
    if (objects != NULL) {
        pyaccel_slot_set(&state->dumps_with_buffers,
                         PyObject_GetAttrString(objects, "dumps"));
        pyaccel_slot_set(&state->pickle_options, Py_BuildValue("{si}", "protocol", 5));
        pyaccel_slot_set(&state->pickle_dumps, PyObject_GetAttrString(pickle, "dumps"));
        pyaccel_slot_set(&state->pickle_loads, PyObject_GetAttrString(pickle, "loads"));
    }
    Py_XDECREF(pickle);
    Py_XDECREF(objects);
    if (state->dumps_with_buffers == NULL || state->pickle_options == NULL ||
        state->pickle_dumps == NULL || state->pickle_loads == NULL) {
        Py_CLEAR(state->pickle_loads);
        return -1;
    }
    return 0;
}

/* ---- Serialising ---- */

/* Whether an object is made of Python's own types only, so that no reducer of ours and
 * no large buffer can be in it. Stops at the first other object or after a while. */
static bool
is_plain(PyObject *object, int *left)
{
    if (--*left < 0) {
        return false;
    }
    if (object == Py_None || PyUnicode_CheckExact(object) ||
        PyLong_CheckExact(object) || PyFloat_CheckExact(object) ||
        PyBool_Check(object) || PyBytes_CheckExact(object)) {
        return true;
    }
    if (PyDict_CheckExact(object)) {
        PyObject *key = NULL;
        PyObject *value = NULL;
        Py_ssize_t at = 0;
        while (PyDict_Next(object, &at, &key, &value)) {
            if (!is_plain(key, left) || !is_plain(value, left)) {
                return false;
            }
        }
        return true;
    }
    bool list = PyList_CheckExact(object);
    if (!list && !PyTuple_CheckExact(object)) {
        return false;
    }
    Py_ssize_t size = list ? PyList_Size(object) : PyTuple_Size(object);
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *item =
            list ? PyList_GetItem(object, i) : PyTuple_GetItem(object, i); // borrowed
        if (!is_plain(item, left)) {
            return false;
        }
    }
    return true;
}

/* Views of all buffers, and the table of parts. -1 with an exception. */
static int
collect_parts(pyaccel_pickle *pickle)
{
    Py_ssize_t count = pickle->buffers != NULL ? PyList_Size(pickle->buffers) : 0;
    pickle->parts = malloc(((size_t)count + 1) * sizeof *pickle->parts);
    pickle->views = malloc(((size_t)count + 1) * sizeof *pickle->views);
    if (pickle->parts == NULL || pickle->views == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *buffer = PyList_GetItem(pickle->buffers, i); // borrowed
        Py_buffer *view = &pickle->views[i];
        if (PyObject_GetBuffer(buffer, view, PyBUF_ANY_CONTIGUOUS) < 0) {
            return -1;
        }
        pickle->nviews++;
        pickle->parts[i + 1] = (pa_part){view->buf, (size_t)view->len, NULL};
    }
    char *text = PyBytes_AsString(pickle->text);
    if (text == NULL) {
        return -1;
    }
    pickle->parts[0] = (pa_part){text, (size_t)PyBytes_Size(pickle->text), NULL};
    pickle->nparts = (size_t)count + 1;
    return 0;
}

int
pyaccel_pickle_dump(pyaccel_state *state, PyObject *object, pyaccel_pickle *pickle)
{
    *pickle = (pyaccel_pickle){0};
    if (pickle_bind(state) < 0) {
        return -1;
    }
    int left = PLAIN_NODES;
    if (is_plain(object, &left)) {
        PyObject *arguments = PyTuple_Pack(1, object);
        if (arguments != NULL) {
            pickle->text =
                PyObject_Call(state->pickle_dumps, arguments, state->pickle_options);
            Py_DECREF(arguments);
        }
    } else {
        pickle->buffers = PyList_New(0);
        if (pickle->buffers != NULL) {
            pickle->text = PyObject_CallFunctionObjArgs(state->dumps_with_buffers,
                                                        object, pickle->buffers, NULL);
        }
    }
    if (pickle->text == NULL || collect_parts(pickle) < 0) {
        pyaccel_pickle_fini(pickle);
        return -1;
    }
    return 0;
}

void
pyaccel_pickle_fini(pyaccel_pickle *pickle)
{
    for (size_t i = 0; i < pickle->nviews; i++) {
        PyBuffer_Release(&pickle->views[i]);
    }
    free(pickle->views);
    free(pickle->parts);
    Py_XDECREF(pickle->text);
    Py_XDECREF(pickle->buffers);
    *pickle = (pyaccel_pickle){0};
}

/* ---- Deserialising ---- */

/* Buffer `i` of a parcel as a Python object; where it is leased, its place follows
 * `*at`. // new */
static PyObject *
take_buffer(pyaccel_state *state, pa_parcel *parcel, uint32_t i, bool readonly,
            size_t *at)
{
    size_t nbytes = (size_t)parcel->lengths[i];
    if (parcel->lease != NULL) {
        size_t start = 0;
        (void)pa_lend_place(at, nbytes, &start);
        return pyaccel_block_leased(state, parcel->lease, start, nbytes);
    }
    PyObject *block = pyaccel_block_new(state, parcel->buffers[i], nbytes, readonly);
    if (block != NULL) {
        parcel->buffers[i] = NULL;
    }
    return block;
}

/* The buffers of a parcel as Python objects that own them. // new */
static PyObject *
take_buffers(pyaccel_state *state, pa_parcel *parcel, bool readonly)
{
    size_t at = 0;
    PyObject *buffers = PyTuple_New((Py_ssize_t)parcel->nbuffers);
    for (uint32_t i = 0; i < parcel->nbuffers && buffers != NULL; i++) {
        PyObject *block = take_buffer(state, parcel, i, readonly, &at);
        if (block == NULL || PyTuple_SetItem(buffers, (Py_ssize_t)i, block) < 0) {
            Py_CLEAR(buffers);
        }
    }
    return buffers;
}

PyObject *
pyaccel_pickle_load(pyaccel_state *state, pa_parcel *parcel, bool readonly)
{
    /* A rank that only receives has not bound anything by sending. */
    if (pickle_bind(state) < 0) {
        return NULL;
    }
    PyObject *object = NULL;
    PyObject *options = NULL;
    PyObject *arguments = NULL;
    PyObject *text = PyMemoryView_FromMemory((char *)(uintptr_t)parcel->text,
                                             (Py_ssize_t)parcel->ntext, PyBUF_READ);
    if (text == NULL) {
        return NULL;
    }
    if (parcel->nbuffers == 0) {
        object = PyObject_CallFunctionObjArgs(state->pickle_loads, text, NULL);
        goto done;
    }
    PyObject *buffers = take_buffers(state, parcel, readonly);
    if (buffers == NULL) {
        goto done;
    }
    options = PyDict_New();
    arguments = PyTuple_Pack(1, text);
    if (options != NULL && arguments != NULL &&
        PyDict_SetItem(options, state->str_buffers, buffers) == 0) {
        object = PyObject_Call(state->pickle_loads, arguments, options);
    }
    Py_DECREF(buffers);
done:
    Py_XDECREF(options);
    Py_XDECREF(arguments);
    Py_DECREF(text);
    return object;
}

/* ---- The buffer callback ---- */

/* Called by the pickler for each buffer: true keeps it in the stream. */
static PyObject *
keep_buffer_in_band(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyList_Check(arguments[0])) {
        return PyErr_Format(PyExc_TypeError,
                            "keep_buffer_in_band takes a list and a buffer");
    }
    Py_buffer view;
    if (PyObject_GetBuffer(arguments[1], &view, PyBUF_FULL_RO) < 0) {
        return NULL;
    }
    bool keep = view.len < IN_BAND_BYTES || !PyBuffer_IsContiguous(&view, 'A');
    PyBuffer_Release(&view);
    if (!keep && PyList_Append(arguments[0], arguments[1]) < 0) {
        return NULL;
    }
    return PyBool_FromLong(keep);
}

static PyMethodDef pickle_methods[] = {
    {"keep_buffer_in_band", PYACCEL_METHOD(keep_buffer_in_band), METH_FASTCALL,
     PyDoc_STR("keep_buffer_in_band($module, buffers, buffer, /)\n--\n\n"
               "Appends a large contiguous buffer to the list and returns False; True\n"
               "for one that is better copied into the pickle.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_pickle_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, pickle_methods);
}
