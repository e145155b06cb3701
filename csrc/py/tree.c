/* Nested structures: see the header. */
#include "py/tree.h"

#include "base/hash.h"
#include "py/key.h"
#include "py/numpy.h"
#include "py/tensor.h"

/* What the containers are in the hash; a list is not a tuple. */
enum { HASH_LIST = 11, HASH_TUPLE, HASH_MAPPING, HASH_END };

/* ---- What an object is ---- */

typedef enum node { LEAF, LIST, TUPLE, NAMED_TUPLE, DICT, MAPPING } node;

/* -1 with an exception. */
static int
node_of(pyaccel_state *state, PyObject *object)
{
    if (PyList_Check(object)) {
        return LIST;
    }
    if (PyTuple_Check(object)) {
        bool named =
            !PyTuple_CheckExact(object) && PyObject_HasAttr(object, state->str_fields);
        return named ? NAMED_TUPLE : TUPLE;
    }
    if (PyDict_CheckExact(object)) {
        return DICT;
    }
    PyObject *type = (PyObject *)Py_TYPE(object);
    if (type == state->torch_Tensor || type == state->torch_Parameter) {
        return LEAF;
    }
    int mapping = PyObject_IsInstance(object, state->Mapping);
    return mapping < 0 ? -1 : mapping ? MAPPING : LEAF;
}

/* ---- Taking apart ---- */

static int
flatten(const pyaccel_flatten *how, PyObject *tree);

static void
hash_in(pyaccel_leaves *leaves, uint64_t word)
{
    leaves->structure = pa_hash_mix(leaves->structure, word);
}

static int
flatten_sequence(const pyaccel_flatten *how, PyObject *tree, bool list)
{
    hash_in(how->leaves, list ? HASH_LIST : HASH_TUPLE);
    for (Py_ssize_t i = 0; i < PySequence_Size(tree); i++) {
        PyObject *item = PySequence_GetItem(tree, i);
        int status = item != NULL ? flatten(how, item) : -1;
        Py_XDECREF(item);
        if (status < 0) {
            return -1;
        }
    }
    hash_in(how->leaves, HASH_END);
    return 0;
}

static int
flatten_dict(const pyaccel_flatten *how, PyObject *tree)
{
    PyObject *key = NULL;
    PyObject *value = NULL;
    Py_ssize_t at = 0;
    hash_in(how->leaves, HASH_MAPPING);
    while (PyDict_Next(tree, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        int status = pyaccel_key_hash(how->state, key, &how->leaves->structure);
        status = status == 0 ? flatten(how, value) : -1;
        Py_DECREF(key);
        Py_DECREF(value);
        if (status < 0) {
            return -1;
        }
    }
    hash_in(how->leaves, HASH_END);
    return 0;
}

/* The items of a mapping as a list of pairs. // new */
static PyObject *
items_of(pyaccel_state *state, PyObject *mapping)
{
    PyObject *view = PyObject_CallMethodObjArgs(mapping, state->str_items, NULL);
    PyObject *items = view != NULL ? PySequence_List(view) : NULL;
    Py_XDECREF(view);
    return items;
}

static int
flatten_mapping(const pyaccel_flatten *how, PyObject *tree)
{
    PyObject *items = items_of(how->state, tree);
    if (items == NULL) {
        return -1;
    }
    int status = 0;
    hash_in(how->leaves, HASH_MAPPING);
    for (Py_ssize_t i = 0; i < PyList_Size(items) && status == 0; i++) {
        PyObject *pair = PyList_GetItem(items, i); // borrowed
        PyObject *key = PySequence_GetItem(pair, 0);
        PyObject *value = PySequence_GetItem(pair, 1);
        status = key != NULL && value != NULL
                     ? pyaccel_key_hash(how->state, key, &how->leaves->structure)
                     : -1;
        status = status == 0 ? flatten(how, value) : -1;
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    hash_in(how->leaves, HASH_END);
    Py_DECREF(items);
    return status;
}

static int
flatten_leaf(const pyaccel_flatten *how, PyObject *object)
{
    if (pyaccel_tensor_check(how->state, object)) {
        int nested = how->nested_stays ? pyaccel_tensor_nested(how->state, object) : 0;
        if (nested != 0) {
            pa_leaf nothing = {.itemsize = 1};
            return nested < 0
                       ? -1
                       : pyaccel_leaves_add(how->leaves, &nothing, PYACCEL_NESTED,
                                            object, object, NULL);
        }
        return pyaccel_tensor_add(how->state, object, how->write, how->leaves);
    }
    int array = pyaccel_array_check(object);
    if (array > 0) {
        return pyaccel_array_add(object, how->write, how->leaves);
    }
    if (array == 0) {
        /* accelerate's wording, which scripts and their users know. */
        PyErr_Format(PyExc_TypeError,
                     "Unsupported types (%R) passed to `%s`. Only nested "
                     "list/tuple/dicts of objects that are valid for `is_torch_tensor` "
                     "should be passed.",
                     (PyObject *)Py_TYPE(object), how->function);
    }
    return -1;
}

static int
flatten(const pyaccel_flatten *how, PyObject *tree)
{
    int kind = node_of(how->state, tree);
    if (kind == LEAF) {
        return flatten_leaf(how, tree);
    }
    if (kind < 0 || Py_EnterRecursiveCall(" in a nested structure")) {
        return -1;
    }
    int status = 0;
    switch ((node)kind) {
    case LIST:
    case TUPLE:
    case NAMED_TUPLE:
        status = flatten_sequence(how, tree, kind == LIST);
        break;
    case DICT:
        status = flatten_dict(how, tree);
        break;
    case MAPPING:
    case LEAF:
        status = flatten_mapping(how, tree);
        break;
    }
    Py_LeaveRecursiveCall();
    return status;
}

int
pyaccel_tree_flatten(const pyaccel_flatten *how, PyObject *tree)
{
    if (!how->state->torch_bound && pyaccel_tensor_bind(how->state) < 0) {
        return -1;
    }
    return flatten(how, tree);
}

/* ---- Building another of the same kind ---- */

/* A shallow copy of `tree` with other items, for containers that cannot be made of a
 * plain one, such as a defaultdict. With the constructor's TypeError, which is the one
 * that counts if this fails too. // new */
static PyObject *
refill_copy(PyObject *tree, PyObject *items)
{
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *trace = NULL;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *copy = PyImport_ImportModule("copy");
    PyObject *made = copy != NULL ? PyObject_CallMethod(copy, "copy", "O", tree) : NULL;
    Py_XDECREF(copy);
    int status = made != NULL ? 0 : -1;
    if (status == 0 && PyList_Check(made)) {
        status = PyList_SetSlice(made, 0, PyList_Size(made), items);
    } else if (status == 0) {
        PyObject *key = NULL;
        PyObject *item = NULL;
        Py_ssize_t at = 0;
        status = PyDict_Check(items) ? 0 : -1;
        while (status == 0 && PyDict_Next(items, &at, &key, &item)) {
            status = PyObject_SetItem(made, key, item);
        }
    }
    if (status < 0) {
        Py_CLEAR(made);
        PyErr_Clear();
        PyErr_Restore(type, value, trace);
        return NULL;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    return made;
}

/* `items`, a plain container, as the type of `tree`. Steals `items`. // new */
static PyObject *
like(PyObject *tree, PyObject *items, bool spread)
{
    PyObject *type = (PyObject *)Py_TYPE(tree);
    if (items == NULL || type == (PyObject *)Py_TYPE(items)) {
        return items;
    }
    PyObject *made = spread ? PyObject_CallObject(type, items)
                            : PyObject_CallFunctionObjArgs(type, items, NULL);
    if (made == NULL && !PyTuple_Check(tree) &&
        PyErr_ExceptionMatches(PyExc_TypeError)) {
        made = refill_copy(tree, items);
    }
    Py_DECREF(items);
    return made;
}

/* The items of a sequence after the walk, as a list or tuple. // new */
static PyObject *
map_items(const pyaccel_walk *walk, PyObject *tree, bool list)
{
    Py_ssize_t size = PySequence_Size(tree);
    PyObject *items = size < 0 ? NULL : list ? PyList_New(size) : PyTuple_New(size);
    for (Py_ssize_t i = 0; i < size && items != NULL; i++) {
        PyObject *old = PySequence_GetItem(tree, i);
        PyObject *item = old != NULL ? pyaccel_tree_map(walk, old) : NULL;
        Py_XDECREF(old);
        int status = item == NULL ? -1
                     : list       ? PyList_SetItem(items, i, item)
                                  : PyTuple_SetItem(items, i, item);
        if (status < 0) {
            Py_CLEAR(items);
        }
    }
    return items;
}

/* A value after the walk, unless its key says that it stays. // new */
static PyObject *
map_value(const pyaccel_walk *walk, PyObject *key, PyObject *value)
{
    int kept = walk->keep != NULL ? walk->keep(walk, key) : 0;
    return kept < 0 ? NULL : kept ? Py_NewRef(value) : pyaccel_tree_map(walk, value);
}

/* The values are changed in a copy, which nobody else can change meanwhile. // new */
static PyObject *
map_dict(const pyaccel_walk *walk, PyObject *tree)
{
    PyObject *made = PyDict_Copy(tree);
    PyObject *key = NULL;
    PyObject *value = NULL;
    Py_ssize_t at = 0;
    while (made != NULL && PyDict_Next(made, &at, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        PyObject *mapped = map_value(walk, key, value);
        if (mapped == NULL ||
            (mapped != value && PyDict_SetItem(made, key, mapped) < 0)) {
            Py_CLEAR(made);
        }
        Py_XDECREF(mapped);
        Py_DECREF(key);
        Py_DECREF(value);
    }
    return made;
}

/* As a dict. // new */
static PyObject *
map_mapping(const pyaccel_walk *walk, PyObject *tree)
{
    PyObject *items = items_of(walk->state, tree);
    PyObject *made = items != NULL ? PyDict_New() : NULL;
    for (Py_ssize_t i = 0; made != NULL && i < PyList_Size(items); i++) {
        PyObject *pair = PyList_GetItem(items, i); // borrowed
        PyObject *key = PySequence_GetItem(pair, 0);
        PyObject *old = PySequence_GetItem(pair, 1);
        PyObject *value = key != NULL && old != NULL ? map_value(walk, key, old) : NULL;
        if (value == NULL || PyDict_SetItem(made, key, value) < 0) {
            Py_CLEAR(made);
        }
        Py_XDECREF(key);
        Py_XDECREF(old);
        Py_XDECREF(value);
    }
    Py_XDECREF(items);
    return made;
}

PyObject *
pyaccel_tree_map(const pyaccel_walk *walk, PyObject *tree)
{
    bool plain =
        PyDict_CheckExact(tree) || PyList_CheckExact(tree) || PyTuple_CheckExact(tree);
    if (walk->whole != NULL && !plain) {
        PyObject *made = walk->whole(walk, tree);
        if (made != NULL || PyErr_Occurred()) {
            return made;
        }
    }
    int kind = node_of(walk->state, tree);
    if (kind == LEAF) {
        return walk->leaf(walk, tree);
    }
    if (kind < 0 || Py_EnterRecursiveCall(" in a nested structure")) {
        return NULL;
    }
    PyObject *items = kind == DICT      ? map_dict(walk, tree)
                      : kind == MAPPING ? map_mapping(walk, tree)
                                        : map_items(walk, tree, kind == LIST);
    Py_LeaveRecursiveCall();
    return like(tree, items, kind == NAMED_TUPLE);
}

/* ---- Putting together ---- */

/* Results that are still to be placed. */
typedef struct rebuilder {
    PyObject *const *results;
    size_t left;
} rebuilder;

static PyObject *
next_result(const pyaccel_walk *walk, PyObject *leaf)
{
    rebuilder *from = walk->context;
    (void)leaf;
    if (from->left == 0) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a nested structure changed while it was communicated");
        return NULL;
    }
    from->left--;
    return Py_NewRef(*from->results++);
}

PyObject *
pyaccel_tree_rebuild(pyaccel_state *state, PyObject *tree, PyObject *const *results,
                     size_t count)
{
    rebuilder from = {results, count};
    pyaccel_walk walk = {.state = state, .context = &from, .leaf = next_result};
    PyObject *made = pyaccel_tree_map(&walk, tree);
    if (made != NULL && from.left > 0) {
        Py_DECREF(made);
        PyErr_SetString(PyExc_RuntimeError,
                        "a nested structure changed while it was communicated");
        return NULL;
    }
    return made;
}

/* ---- For Python ---- */

static PyObject *
is_leaf(PyObject *module, PyObject *object)
{
    pyaccel_state *state = pyaccel_state_get(module);
    if (!state->torch_bound && pyaccel_tensor_bind(state) < 0) {
        return NULL;
    }
    int leaf = pyaccel_tensor_check(state, object) ? 1 : pyaccel_array_check(object);
    return leaf < 0 ? NULL : PyBool_FromLong(leaf);
}

static PyMethodDef tree_methods[] = {
    {"is_leaf", is_leaf, METH_O,
     PyDoc_STR("is_leaf($module, object, /)\n--\n\n"
               "Whether an object is a tensor or an array that operations take.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_tree_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, tree_methods);
}
