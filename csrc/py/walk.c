/* Walks over nested structures: see the header. */
#include "py/walk.h"

#include "py/arguments.h"
#include "py/numpy.h"
#include "py/tensor.h"
#include "py/tree.h"

#include <stdbool.h>

/* ---- recursively_apply ---- */

typedef struct application {
    PyObject *function;
    PyObject *arguments; /* a tuple */
    PyObject *keywords;  /* a dict or NULL */
    PyObject *test;      /* NULL: is it a tensor? */
    bool strict;
    bool plain; /* neither arguments nor keywords */
} application;

/* A function's name, else how it prints. // new */
static PyObject *
name_of(pyaccel_state *state, PyObject *function)
{
    PyObject *name = PyObject_GetAttr(function, state->str_dunder_name);
    if (name == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        name = PyObject_Repr(function);
    }
    return name;
}

/* accelerate's wording, which scripts and their users know. */
static void
refuse(pyaccel_state *state, const application *apply, PyObject *leaf)
{
    PyObject *function = name_of(state, apply->function);
    PyObject *test = function == NULL      ? NULL
                     : apply->test == NULL ? PyUnicode_FromString("is_torch_tensor")
                                           : name_of(state, apply->test);
    if (test != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "Unsupported types (%R) passed to `%S`. Only nested "
                     "list/tuple/dicts of objects that are valid for `%S` should be "
                     "passed.",
                     (PyObject *)Py_TYPE(leaf), function, test);
    }
    Py_XDECREF(function);
    Py_XDECREF(test);
}

/* -1 with an exception. */
static int
passes(const pyaccel_walk *walk, const application *apply, PyObject *leaf)
{
    if (apply->test == NULL) {
        return pyaccel_tensor_check(walk->state, leaf);
    }
    PyObject *answer = PyObject_CallFunctionObjArgs(apply->test, leaf, NULL);
    int passed = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return passed;
}

static PyObject *
call_with(const application *apply, PyObject *leaf)
{
    if (apply->plain) {
        return PyObject_CallFunctionObjArgs(apply->function, leaf, NULL);
    }
    PyObject *lone = PyTuple_New(1);
    if (lone == NULL) {
        return NULL;
    }
    (void)PyTuple_SetItem(lone, 0, Py_NewRef(leaf));
    PyObject *arguments = PySequence_Concat(lone, apply->arguments);
    PyObject *result = arguments != NULL
                           ? PyObject_Call(apply->function, arguments, apply->keywords)
                           : NULL;
    Py_DECREF(lone);
    Py_XDECREF(arguments);
    return result;
}

static PyObject *
apply_leaf(const pyaccel_walk *walk, PyObject *leaf)
{
    const application *apply = walk->context;
    int passed = passes(walk, apply, leaf);
    if (passed > 0) {
        return call_with(apply, leaf);
    }
    if (passed == 0 && apply->strict) {
        refuse(walk->state, apply, leaf);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(leaf);
}

/* What a script has imported of torch may be needed to know a tensor. */
static int
bind_torch(pyaccel_state *state)
{
    return state->torch_bound ? 0 : pyaccel_tensor_bind(state);
}

static PyObject *
recursively_apply(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
                  PyObject *names)
{
    static const char *const parameters[] = {"func",      "data",   "args",
                                             "test_type", "strict", "kwargs"};
    PyObject *values[6];
    pyaccel_state *state = pyaccel_state_get(module);
    if (pyaccel_arguments_parse("recursively_apply", parameters, 6, 6, arguments, count,
                                names, values) < 0 ||
        bind_torch(state) < 0) {
        return NULL;
    }
    int strict = PyObject_IsTrue(values[4]);
    Py_ssize_t keywords = strict < 0 ? -1 : PyObject_Size(values[5]);
    Py_ssize_t extra = keywords < 0 ? -1 : PyObject_Size(values[2]);
    if (extra < 0) {
        return NULL;
    }
    application apply = {
        .function = values[0],
        .arguments = values[2],
        .keywords = values[5],
        .test = values[3] != Py_None ? values[3] : NULL,
        .strict = strict != 0,
        .plain = keywords == 0 && extra == 0,
    };
    pyaccel_walk walk = {.state = state, .context = &apply, .leaf = apply_leaf};
    return pyaccel_tree_map(&walk, values[1]);
}

/* ---- send_to_device ---- */

typedef struct transfer {
    PyObject *device;
    PyObject *keywords; /* {"non_blocking": ...} */
    PyObject *skip;     /* a container of keys, or NULL */
    bool to_cpu;        /* the device is "cpu", whatever its index */
    PyObject *queueing; /* keywords for tensors of the host, or NULL: as for others */
    bool *queued;       /* whether a copy was queued with these */
} transfer;

/* What `to` is called with for an object; NULL with an exception. */
static PyObject *
keywords_for(const pyaccel_walk *walk, PyObject *object)
{
    const transfer *how = walk->context;
    if (how->queueing == NULL || !pyaccel_tensor_check(walk->state, object)) {
        return how->keywords;
    }
    PyObject *is_cpu = PyObject_GetAttr(object, walk->state->str_is_cpu);
    Py_XDECREF(is_cpu); // True and False outlive it
    if (is_cpu != Py_True) {
        return is_cpu != NULL ? how->keywords : NULL;
    }
    *how->queued = true;
    return how->queueing;
}

/* Calls `to`: first as tensors take it, then without the keyword. // new */
static PyObject *
call_to(PyObject *to, const transfer *how, PyObject *keywords)
{
    PyObject *arguments = PyTuple_New(1);
    if (arguments == NULL) {
        return NULL;
    }
    (void)PyTuple_SetItem(arguments, 0, Py_NewRef(how->device));
    PyObject *sent = PyObject_Call(to, arguments, keywords);
    if (sent == NULL && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        sent = PyObject_Call(to, arguments, NULL);
    }
    Py_DECREF(arguments);
    return sent;
}

/* Whether an ordinary tensor is where it shall be; -1 with an exception. */
static int
is_there(const pyaccel_walk *walk, PyObject *object)
{
    const transfer *how = walk->context;
    PyObject *type = (PyObject *)Py_TYPE(object);
    if (type != walk->state->torch_Tensor && type != walk->state->torch_Parameter) {
        return 0;
    }
    if (how->to_cpu) {
        /* Asks for no new object, as the device would be. */
        PyObject *is_cpu = PyObject_GetAttr(object, walk->state->str_is_cpu);
        Py_XDECREF(is_cpu); // True and False outlive it
        return is_cpu == NULL ? -1 : is_cpu == Py_True;
    }
    PyObject *device = PyObject_GetAttr(object, walk->state->str_device);
    int there = device == NULL ? -1 : 0;
    if (there == 0 && Py_TYPE(device) == Py_TYPE(how->device)) {
        there = PyObject_RichCompareBool(device, how->device, Py_EQ);
    }
    Py_XDECREF(device);
    return there;
}

static PyObject *
send_whole(const pyaccel_walk *walk, PyObject *object)
{
    int there = is_there(walk, object);
    if (there != 0) {
        return there < 0 ? NULL : Py_NewRef(object);
    }
    PyObject *to = PyObject_GetAttr(object, walk->state->str_to);
    if (to == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        }
        return NULL;
    }
    PyObject *keywords = keywords_for(walk, object);
    PyObject *sent = keywords != NULL ? call_to(to, walk->context, keywords) : NULL;
    Py_DECREF(to);
    return sent;
}

static PyObject *
stay(const pyaccel_walk *walk, PyObject *leaf)
{
    (void)walk;
    return Py_NewRef(leaf);
}

static int
is_skipped(const pyaccel_walk *walk, PyObject *key)
{
    const transfer *how = walk->context;
    return PySequence_Contains(how->skip, key);
}

static PyObject *
send_to_device(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
               PyObject *names)
{
    static const char *const parameters[] = {"tree", "device", "keywords", "skip_keys",
                                             "settle"};
    PyObject *values[5];
    pyaccel_state *state = pyaccel_state_get(module);
    if (pyaccel_arguments_parse("send_to_device", parameters, 5, 4, arguments, count,
                                names, values) < 0 ||
        bind_torch(state) < 0) {
        return NULL;
    }
    transfer how = {.device = values[1], .keywords = values[2]};
    how.skip = values[3] != Py_None ? values[3] : NULL;
    PyObject *spelled = PyObject_Str(how.device);
    if (spelled == NULL) {
        return NULL;
    }
    how.to_cpu = PyUnicode_Compare(spelled, state->str_cpu) == 0;
    Py_DECREF(spelled);
    bool queued = false;
    PyObject *settle = values[4] != Py_None ? values[4] : NULL;
    how.queued = &queued;
    if (settle != NULL) {
        how.queueing = Py_BuildValue("{sO}", "non_blocking", Py_True);
        if (how.queueing == NULL) {
            return NULL;
        }
    }
    pyaccel_walk walk = {
        .state = state,
        .context = &how,
        .leaf = stay,
        .whole = send_whole,
        .keep = how.skip != NULL ? is_skipped : NULL,
    };
    PyObject *sent = pyaccel_tree_map(&walk, values[0]);
    Py_XDECREF(how.queueing);
    if (sent != NULL && queued) {
        PyObject *settled = PyObject_CallFunctionObjArgs(settle, how.device, NULL);
        if (settled == NULL) {
            Py_CLEAR(sent);
        }
        Py_XDECREF(settled);
    }
    return sent;
}

/* ---- find_batch_size ---- */

/* The first item of a container, by its first key in a mapping. // new; NULL without an
 * exception if it is none. */
static PyObject *
first_item(pyaccel_state *state, PyObject *data)
{
    if ((PyObject *)Py_TYPE(data) == state->torch_Tensor) {
        return NULL; // the usual end, without a look at what a mapping is
    }
    PyObject *value = NULL;
    Py_ssize_t at = 0;
    if (PyDict_CheckExact(data) && PyDict_Next(data, &at, NULL, &value)) {
        return Py_NewRef(value);
    }
    bool sequence = PyList_Check(data) || PyTuple_Check(data);
    int mapping = sequence             ? 0
                  : PyDict_Check(data) ? 1
                                       : PyObject_IsInstance(data, state->Mapping);
    if (mapping < 0 || (!sequence && mapping == 0)) {
        return NULL;
    }
    Py_ssize_t size = PyObject_Size(data);
    if (size == 0) {
        PyErr_Format(PyExc_ValueError, "Cannot find the batch size from empty %R.",
                     (PyObject *)Py_TYPE(data));
    }
    if (size <= 0) {
        return NULL;
    }
    if (sequence) {
        return PySequence_GetItem(data, 0);
    }
    PyObject *keys = PyObject_GetIter(data);
    PyObject *key = keys != NULL ? PyIter_Next(keys) : NULL;
    PyObject *item = key != NULL ? PyObject_GetItem(data, key) : NULL;
    Py_XDECREF(key);
    Py_XDECREF(keys);
    return item;
}

/* The first dimension of a tensor or array. // new */
static PyObject *
rows_of(pyaccel_state *state, PyObject *leaf)
{
    int known = pyaccel_tensor_check(state, leaf) ? 1 : pyaccel_array_check(leaf);
    if (known == 0) {
        PyErr_Format(PyExc_TypeError,
                     "Can only find the batch size of tensors but got %R.",
                     (PyObject *)Py_TYPE(leaf));
    }
    if (known <= 0) {
        return NULL;
    }
    PyObject *shape = PyObject_GetAttr(leaf, state->str_shape);
    PyObject *rows = shape != NULL ? PySequence_GetItem(shape, 0) : NULL;
    Py_XDECREF(shape);
    return rows;
}

static PyObject *
find_batch_size(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
                PyObject *names)
{
    static const char *const parameters[] = {"data"};
    PyObject *values[1];
    pyaccel_state *state = pyaccel_state_get(module);
    if (pyaccel_arguments_parse("find_batch_size", parameters, 1, 1, arguments, count,
                                names, values) < 0 ||
        bind_torch(state) < 0) {
        return NULL;
    }
    PyObject *data = Py_NewRef(values[0]);
    PyObject *first = NULL;
    while ((first = first_item(state, data)) != NULL) {
        Py_DECREF(data);
        data = first;
    }
    PyObject *rows = PyErr_Occurred() ? NULL : rows_of(state, data);
    Py_DECREF(data);
    return rows;
}

static PyMethodDef walk_methods[] = {
    {"recursively_apply", PYACCEL_METHOD(recursively_apply),
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "recursively_apply($module, /, func, data, args, test_type, strict, "
         "kwargs)\n--\n\n"
         "The structure with func(leaf, *args, **kwargs) for each leaf that passes\n"
         "test_type (None: that is a tensor).")},
    {"send_to_device", PYACCEL_METHOD(send_to_device), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "send_to_device($module, /, tree, device, keywords, skip_keys,\n"
         "               settle=None)\n--\n\n"
         "The structure with everything that has a method `to` on the device. With\n"
         "settle, tensors of the host are copied without waiting, and then it is\n"
         "called with the device, if there was one.")},
    {"find_batch_size", PYACCEL_METHOD(find_batch_size), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("find_batch_size($module, /, data)\n--\n\n"
               "The first dimension of the first tensor or array of the structure.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_walk_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, walk_methods);
}
