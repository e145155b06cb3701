/* Dividing whole inputs: first all lengths are compared, then everything is cut. */
#include "py/divide.h"

#include "py/cut.h"
#include "py/error.h"

/* Where the walk is, for messages: keys from the inside out; NULL is the input. */
typedef struct place {
    const struct place *outer;
    PyObject *key;
} place;

typedef struct division {
    pyaccel_state *state;
    pyaccel_cut cut; /* its count is -1 until a length is known */
    bool alone;      /* one rank: nothing is shared out */
    bool warned;
    /* Names cost more than the walk, so they are made by a second one, if needed. */
    bool naming;
    bool differ;          /* lengths that differ were met */
    PyObject *first_name; /* owned; the name of the first container, while naming */
} division;

static PyObject * // new
place_name(const place *place)
{
    if (place == NULL) {
        return PyUnicode_FromString("inputs");
    }
    PyObject *outer = place_name(place->outer);
    PyObject *name = outer ? PyUnicode_FromFormat("%U[%R]", outer, place->key) : NULL;
    Py_XDECREF(outer);
    return name;
}

static PyObject * // new
type_name(PyObject *object)
{
    return PyObject_GetAttrString((PyObject *)Py_TYPE(object), "__name__");
}

/* ---- Refusing and warning ---- */

/* What to do about an object that cannot be split; %U stands for its place. */
static const char *
remedy_for(PyObject *object)
{
    if (PyAnySet_Check(object)) {
        return "a set has no order that all processes agree on, so pass sorted(%U)";
    }
    if (PyObject_HasAttrString(object, "__getitem__")) {
        return "it cannot be measured and sliced, so pass a list";
    }
    if (PyObject_HasAttrString(object, "__iter__")) {
        return "its items cannot be had by position, so pass list(%U)";
    }
    return "it is a single value, so put it into a list, or leave it out";
}

static void
set_refusal(PyObject *object, const place *place)
{
    PyObject *where = place_name(place);
    PyObject *kind = where ? type_name(object) : NULL;
    PyObject *remedy = kind ? PyUnicode_FromFormat(remedy_for(object), where) : NULL;
    if (remedy != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "split_between_processes cannot split %U of type %U: %U", where,
                     kind, remedy);
    }
    Py_XDECREF(remedy);
    Py_XDECREF(kind);
    Py_XDECREF(where);
}

/* Raises TypeError for an object that cannot be split; an exception that is set already
 * becomes its cause. */
static void
refuse(PyObject *object, const place *place)
{
    if (!PyErr_Occurred()) {
        set_refusal(object, place);
        return;
    }
    PyObject *type;
    PyObject *cause;
    PyObject *traceback;
    PyErr_Fetch(&type, &cause, &traceback);
    PyErr_NormalizeException(&type, &cause, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    set_refusal(object, place);
    PyObject *refusal;
    PyErr_Fetch(&type, &refusal, &traceback);
    PyErr_NormalizeException(&type, &refusal, &traceback);
    PyException_SetCause(refusal, cause); /* steals the cause */
    PyErr_Restore(type, refusal, traceback);
}

static int
warn_of_whole(division *division, PyObject *object, const place *place)
{
    if (division->alone || division->warned) {
        return 0;
    }
    division->warned = true;
    int status = -1;
    PyObject *where = place_name(place);
    PyObject *kind = where ? type_name(object) : NULL;
    if (kind != NULL) {
        status = PyErr_WarnFormat(
            PyExc_UserWarning, 1,
            "split_between_processes: %U is of type %U, which is one item, so every "
            "process gets the whole of it; put it into a list to split that",
            where, kind);
    }
    Py_XDECREF(kind);
    Py_XDECREF(where);
    return status;
}

/* ---- Comparing lengths ---- */

static int
compare_length(division *division, const place *place, Py_ssize_t length)
{
    Py_ssize_t count = division->cut.count;
    if (count < 0) {
        division->cut.count = length;
        division->first_name = division->naming ? place_name(place) : NULL;
        return division->naming && division->first_name == NULL ? -1 : 0;
    }
    if (count == length) {
        return 0;
    }
    division->differ = true;
    PyObject *name = division->naming ? place_name(place) : NULL;
    if (name != NULL) {
        PyErr_Format(PyExc_ValueError,
                     "All values in the dictionary must have the same length: the "
                     "length of %U is %zd but that of %U is %zd",
                     division->first_name, count, name, length);
        Py_DECREF(name);
    }
    return -1;
}

static int
measure(division *division, PyObject *object, const place *place);

/* A plain dict of what a mapping has, whatever its class. */
static PyObject * // new
plain_copy(PyObject *mapping)
{
    if (PyDict_CheckExact(mapping)) {
        return PyDict_Copy(mapping);
    }
    PyObject *copy = PyDict_New();
    if (copy != NULL && PyDict_Update(copy, mapping) < 0) {
        Py_CLEAR(copy);
    }
    return copy;
}

static int
measure_mapping(division *division, PyObject *mapping, const place *outer)
{
    if (Py_EnterRecursiveCall(" while splitting nested inputs")) {
        return -1;
    }
    int status = 0;
    PyObject *key;
    PyObject *value;
    Py_ssize_t position = 0;
    PyObject *dict =
        PyDict_CheckExact(mapping) ? Py_NewRef(mapping) : plain_copy(mapping);
    if (dict == NULL) {
        status = -1;
    }
    while (status == 0 && PyDict_Next(dict, &position, &key, &value)) {
        /* A length may be somebody's Python code, which could empty the dict. */
        Py_INCREF(key);
        Py_INCREF(value);
        status = measure(division, value, &(place){outer, key});
        Py_DECREF(value);
        Py_DECREF(key);
    }
    Py_XDECREF(dict);
    Py_LeaveRecursiveCall();
    return status;
}

/* Checks an object and all in it. -1 with an exception; without one only if lengths
 * differ and the walk is not naming. */
static int
measure(division *division, PyObject *object, const place *place)
{
    const pyaccel_cutter *cutter = pyaccel_cutter_find(division->state, object);
    if (cutter == NULL) {
        if (!PyErr_Occurred()) {
            refuse(object, place);
        }
        return -1;
    }
    switch (cutter->kind) {
    case PYACCEL_CUTTER_MAPPING:
        return measure_mapping(division, object, place);
    case PYACCEL_CUTTER_WHOLE:
        return warn_of_whole(division, object, place);
    case PYACCEL_CUTTER_ITEMS:
        break;
    }
    Py_ssize_t length = pyaccel_cutter_length(cutter, division->state, object);
    if (length < 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            refuse(object, place);
        }
        return -1;
    }
    return compare_length(division, place, length);
}

/* Finds the length that all containers share and checks everything on the way. */
static int
measure_all(division *division, PyObject *inputs)
{
    division->cut.count = -1;
    int status = measure(division, inputs, NULL);
    if (status < 0 && division->differ) {
        division->naming = true;
        division->cut.count = -1;
        status = measure(division, inputs, NULL);
        Py_CLEAR(division->first_name);
    }
    return status;
}

/* ---- Cutting ---- */

static PyObject * // new
cut(division *division, PyObject *object, const place *place);

/* A copy of a mapping, made by its own method, with the values of a dict. */
static PyObject * // new
copy_with(PyObject *mapping, PyObject *dict)
{
    PyObject *key;
    PyObject *value;
    Py_ssize_t position = 0;
    PyObject *copy = PyObject_CallMethod(mapping, "copy", NULL);
    while (copy != NULL && PyDict_Next(dict, &position, &key, &value)) {
        if (PyObject_SetItem(copy, key, value) < 0) {
            Py_CLEAR(copy);
        }
    }
    return copy;
}

/* Whether a mapping was made, and holds just the objects of a dict. The exception of
 * a class that cannot do it is forgotten; -1 for others, such as KeyboardInterrupt. */
static int
holds_all(PyObject *mapping, PyObject *dict)
{
    PyObject *key;
    PyObject *value;
    Py_ssize_t position = 0;
    bool same = mapping != NULL && PyObject_Size(mapping) == PyDict_Size(dict);
    while (same && PyDict_Next(dict, &position, &key, &value)) {
        PyObject *held = PyObject_GetItem(mapping, key);
        same = held == value;
        Py_XDECREF(held);
    }
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyErr_Clear();
    return same;
}

/* Turns a dict (stolen) into a mapping of the class that `mapping` has. Most classes
 * are made from a dict, some (defaultdict) only copy themselves; for a class that does
 * neither the dict stays what it is. */
static PyObject * // new
rebuild(PyObject *mapping, PyObject *dict)
{
    if (PyDict_CheckExact(mapping)) {
        return dict;
    }
    PyObject *type = (PyObject *)Py_TYPE(mapping);
    for (int attempt = 0; attempt < 2; attempt++) {
        PyObject *result = attempt == 0 ? PyObject_CallFunctionObjArgs(type, dict, NULL)
                                        : copy_with(mapping, dict);
        int status = holds_all(result, dict);
        if (status > 0) {
            Py_DECREF(dict);
            return result;
        }
        Py_XDECREF(result);
        if (status < 0) {
            Py_DECREF(dict);
            return NULL;
        }
    }
    return dict;
}

static PyObject * // new
cut_mapping(division *division, PyObject *mapping, const place *outer)
{
    if (Py_EnterRecursiveCall(" while splitting nested inputs")) {
        return NULL;
    }
    PyObject *key;
    PyObject *value;
    Py_ssize_t position = 0;
    /* Its values are replaced one by one; nobody else knows of it meanwhile. */
    PyObject *result = plain_copy(mapping);
    while (result != NULL && PyDict_Next(result, &position, &key, &value)) {
        PyObject *part = cut(division, value, &(place){outer, key});
        if (part == NULL || PyDict_SetItem(result, key, part) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(part);
    }
    Py_LeaveRecursiveCall();
    return result ? rebuild(mapping, result) : NULL;
}

static PyObject * // new
cut(division *division, PyObject *object, const place *place)
{
    const pyaccel_cutter *cutter = pyaccel_cutter_find(division->state, object);
    PyObject *part = NULL;
    if (cutter != NULL) {
        switch (cutter->kind) {
        case PYACCEL_CUTTER_MAPPING:
            return cut_mapping(division, object, place);
        case PYACCEL_CUTTER_WHOLE:
            return Py_NewRef(object);
        case PYACCEL_CUTTER_ITEMS:
            part = cutter->cut(division->state, object, &division->cut);
            break;
        }
    }
    if (part == NULL &&
        (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_TypeError))) {
        refuse(object, place);
    }
    return part;
}

PyObject *
pyaccel_divide(pyaccel_state *state, PyObject *inputs, int64_t rank, int64_t size,
               bool padded)
{
    division division = {.state = state, .alone = size == 1, .cut = {.padded = padded}};
    if (measure_all(&division, inputs) < 0) {
        return NULL;
    }
    if (division.cut.count < 0) {
        division.cut.count = 0; /* nothing to cut in there */
    }
    pa_error error; /* 2 KiB that only a failure fills */
    pa_status status = pa_share_compute(rank, size, (size_t)division.cut.count, padded,
                                        &division.cut.share, &error);
    if (status != PA_OK) {
        return pyaccel_error_raise(state, status, &error);
    }
    return division.alone ? Py_NewRef(inputs) : cut(&division, inputs, NULL);
}
