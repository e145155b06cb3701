/* What is known of a structure without its tensors: see the header.
 *
 * It is a tuple: the containers with None for each leaf, then for each leaf its kind,
 * its bytes an element, its dtype and the type of its device. */
#include "py/structure.h"

#include "base/hash.h"
#include "py/place.h"
#include "py/tensor.h"
#include "py/tree.h"

#include <stdlib.h>

/* Whether a leaf is a tensor of another device than the CPU. */
static bool
is_elsewhere(const pyaccel_leaf *extra)
{
    return extra->away || extra->place_at >= 0;
}

uint64_t
pyaccel_structure_key(const pyaccel_leaves *leaves)
{
    uint64_t key = pa_hash_mix(leaves->structure, leaves->count);
    for (size_t i = 0; i < leaves->count; i++) {
        pa_dtype dtype = leaves->at[i].dtype;
        uint64_t word = dtype.code | (uint64_t)dtype.bits << 8 |
                        (uint64_t)dtype.lanes << 16 | (uint64_t)dtype.detail << 32;
        key = pa_hash_mix(key, word);
        key = pa_hash_mix(key, is_elsewhere(&leaves->extra[i]));
    }
    return key;
}

static bool
is_plain_key(PyObject *key)
{
    return PyUnicode_CheckExact(key) || PyLong_CheckExact(key) || key == Py_None ||
           PyBool_Check(key) || PyBytes_CheckExact(key);
}

/* Whether an object that is no plain container is a leaf. */
static bool
is_leaf(const pyaccel_state *state, PyObject *object)
{
    PyObject *type = (PyObject *)Py_TYPE(object);
    if (type == state->torch_Tensor) {
        return true;
    }
    int mapping = PyObject_IsInstance(object, state->Mapping);
    if (mapping < 0) {
        PyErr_Clear(); /* then it is better sent once too often */
    }
    return mapping == 0 && !PyList_Check(object) && !PyTuple_Check(object);
}

bool
pyaccel_structure_plain(const pyaccel_state *state, PyObject *tree)
{
    if (PyDict_CheckExact(tree)) {
        PyObject *key = NULL;
        PyObject *value = NULL;
        Py_ssize_t at = 0;
        while (PyDict_Next(tree, &at, &key, &value)) {
            if (!is_plain_key(key) || !pyaccel_structure_plain(state, value)) {
                return false;
            }
        }
        return true;
    }
    bool list = PyList_CheckExact(tree);
    if (!list && !PyTuple_CheckExact(tree)) {
        return is_leaf(state, tree);
    }
    Py_ssize_t size = list ? PyList_Size(tree) : PyTuple_Size(tree);
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *item =
            list ? PyList_GetItem(tree, i) : PyTuple_GetItem(tree, i); // borrowed
        if (!pyaccel_structure_plain(state, item)) {
            return false;
        }
    }
    return true;
}

/* The containers of a tree. // new */
static PyObject *
empty_tree(pyaccel_state *state, PyObject *tree, size_t count)
{
    PyObject **nothing = malloc((count + 1) * sizeof *nothing);
    if (nothing == NULL) {
        return PyErr_NoMemory();
    }
    for (size_t i = 0; i < count; i++) {
        nothing[i] = Py_None;
    }
    PyObject *made = pyaccel_tree_rebuild(state, tree, nothing, count);
    free(nothing);
    return made;
}

/* The type of a leaf's device, such as "cuda"; None for the CPU. // new */
static PyObject *
device_type(pyaccel_state *state, const pyaccel_leaf *extra)
{
    if (!is_elsewhere(extra)) {
        return Py_NewRef(Py_None);
    }
    PyObject *device = PyObject_GetAttr(extra->source, state->str_device);
    PyObject *type = device != NULL ? PyObject_GetAttr(device, state->str_type) : NULL;
    Py_XDECREF(device);
    return type;
}

/* A leaf's kind, bytes an element, dtype and device. // new */
static PyObject *
describe_leaf(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index)
{
    const pyaccel_leaf *extra = &leaves->extra[index];
    PyObject *device = device_type(state, extra);
    PyObject *dtype =
        device != NULL ? PyObject_GetAttr(extra->source, state->str_dtype) : NULL;
    if (dtype == NULL) {
        Py_XDECREF(device);
        return NULL;
    }
    return Py_BuildValue("(inNN)", (int)extra->kind,
                         (Py_ssize_t)leaves->at[index].itemsize, dtype, device);
}

PyObject *
pyaccel_structure_new(pyaccel_state *state, PyObject *tree,
                      const pyaccel_leaves *leaves)
{
    PyObject *made = PyTuple_New((Py_ssize_t)leaves->count + 1);
    PyObject *item = made != NULL ? empty_tree(state, tree, leaves->count) : NULL;
    for (size_t i = 0; item != NULL; i++) {
        if (PyTuple_SetItem(made, (Py_ssize_t)i, item) < 0) {
            item = NULL;
        } else if (i == leaves->count) {
            return made;
        } else {
            item = describe_leaf(state, leaves, i);
        }
    }
    Py_XDECREF(made);
    return NULL;
}

PyObject *
pyaccel_structure_tree(PyObject *structure)
{
    return PyTuple_GetItem(structure, 0);
}

static int
set_garbage(pyaccel_state *state)
{
    PyErr_SetString(state->DistributedOperationException,
                    "recv: what came does not fit its own structure; every process "
                    "must use the same version of pyaccel");
    return -1;
}

/* Adds one leaf: `item` is its entry of the structure. */
static int
add_leaf(pyaccel_state *state, PyObject *item, const pa_described_leaf *described,
         pa_comm *comm, pyaccel_leaves *leaves)
{
    int kind = 0;
    Py_ssize_t itemsize = 0;
    PyObject *dtype = NULL;  // borrowed
    PyObject *device = NULL; // borrowed
    if (!PyArg_ParseTuple(item, "inOO", &kind, &itemsize, &dtype, &device)) {
        return -1;
    }
    if ((kind != PYACCEL_TENSOR && kind != PYACCEL_ARRAY) || itemsize < 0) {
        return set_garbage(state);
    }
    const pa_place *place = NULL;
    if (described->on_device != 0 && kind == PYACCEL_TENSOR &&
        pyaccel_place_own(state, leaves, comm, &place) < 0) {
        return -1;
    }
    int64_t *shape = malloc(((size_t)described->ndim + 1) * sizeof *shape);
    if (shape == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    pa_leaf leaf = {
        .nbytes = (size_t)itemsize,
        .itemsize = (size_t)itemsize,
        .shape = shape,
        .ndim = (int32_t)described->ndim,
        .dtype = described->dtype,
        .place = place,
    };
    bool fits = true;
    for (int32_t d = 0; d < leaf.ndim; d++) {
        shape[d] = pa_described_dimension(described, d);
        fits = fits && shape[d] >= 0 &&
               !__builtin_mul_overflow(leaf.nbytes, (size_t)shape[d], &leaf.nbytes);
    }
    int status = fits ? pyaccel_leaves_add(leaves, &leaf, (pyaccel_kind)kind, Py_None,
                                           Py_None, dtype)
                      : set_garbage(state);
    free(shape);
    return status;
}

int
pyaccel_structure_leaves(pyaccel_state *state, PyObject *structure,
                         pa_describe_reader reader, uint32_t count, pa_comm *comm,
                         pyaccel_leaves *leaves)
{
    /* What was unpickled has imported torch if there is a tensor. */
    if (!state->torch_bound && pyaccel_tensor_bind(state) < 0) {
        return -1;
    }
    if (!PyTuple_Check(structure) || PyTuple_Size(structure) != (Py_ssize_t)count + 1) {
        return set_garbage(state);
    }
    for (uint32_t i = 0; i < count; i++) {
        pa_described_leaf described;
        if (!pa_describe_read_leaf(&reader, &described)) {
            return set_garbage(state);
        }
        PyObject *item = PyTuple_GetItem(structure, (Py_ssize_t)i + 1); // borrowed
        if (add_leaf(state, item, &described, comm, leaves) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Whether this process has devices of a type, as far as torch says. -1 with an
 * exception. */
static int
has_device(PyObject *type)
{
    PyObject *torch = PyImport_ImportModule("torch");
    PyObject *module = torch != NULL ? PyObject_GetAttr(torch, type) : NULL;
    PyObject *answer = NULL;
    Py_XDECREF(torch);
    if (module != NULL) {
        answer = PyObject_CallMethod(module, "is_available", NULL);
        Py_DECREF(module);
    }
    if (answer == NULL) {
        bool silent = PyErr_ExceptionMatches(PyExc_AttributeError) != 0;
        if (silent) {
            PyErr_Clear();
        }
        return silent ? 1 : -1;
    }
    int truth = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return truth;
}

PyObject *
pyaccel_structure_settle(PyObject *structure, size_t index, PyObject *made,
                         pyaccel_state *state)
{
    PyObject *item = PyTuple_GetItem(structure, (Py_ssize_t)index + 1); // borrowed
    PyObject *type = item != NULL ? PyTuple_GetItem(item, 3) : NULL;    // borrowed
    if (type == NULL) {
        return NULL;
    }
    int has = type == Py_None ? 0 : has_device(type);
    if (has < 0) {
        return NULL;
    }
    return has == 0 ? Py_NewRef(made)
                    : PyObject_CallMethodObjArgs(made, state->str_to, type, NULL);
}
