/* Keys of mappings: see the header. */
#include "py/key.h"

#include "base/hash.h"

/* What stands in the hash for the commonest type's name, and after a tuple's items. */
enum { HASH_STR = 21, HASH_TUPLE_END };

/* Text that need not be UTF-8. */
static int
hash_text(PyObject *text, uint64_t *hash)
{
    Py_ssize_t length = 0;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &length);
    if (bytes != NULL) {
        *hash = pa_hash_bytes(*hash, bytes, (size_t)length);
    } else if (PyErr_ExceptionMatches(PyExc_UnicodeError)) {
        PyErr_Clear(); /* a lone surrogate: its length must do */
        *hash = pa_hash_mix(*hash, (uint64_t)PyUnicode_GetLength(text));
    } else {
        return -1;
    }
    return 0;
}

/* As hash_text, for a new reference, which is dropped, or NULL. */
static int
hash_made_text(PyObject *text, uint64_t *hash)
{
    int status = text != NULL ? hash_text(text, hash) : -1;
    Py_XDECREF(text);
    return status;
}

/* By the name: the value can be any object. */
static int
hash_member(pyaccel_state *state, PyObject *member, uint64_t *hash)
{
    PyObject *name = PyObject_GetAttr(member, state->str_name);
    PyObject *text = name != NULL ? PyObject_Str(name) : NULL;
    Py_XDECREF(name);
    return hash_made_text(text, hash);
}

static int
hash_tuple(pyaccel_state *state, PyObject *tuple, uint64_t *hash)
{
    if (Py_EnterRecursiveCall(" in a mapping's key")) {
        return -1;
    }
    int status = 0;
    for (Py_ssize_t i = 0; i < PyTuple_Size(tuple) && status == 0; i++) {
        PyObject *item = PyTuple_GetItem(tuple, i); // borrowed
        status = pyaccel_key_hash(state, item, hash);
    }
    *hash = pa_hash_mix(*hash, HASH_TUPLE_END);
    Py_LeaveRecursiveCall();
    return status;
}

/* Whether `key` is a member of an enumeration; -1 with an exception. The type is looked
 * up at the first need, since importing it takes long. */
static int
is_member(pyaccel_state *state, PyObject *key)
{
    if (state->Enum == NULL) {
        PyObject *module = PyImport_ImportModule("enum");
        if (module == NULL) {
            return -1;
        }
        state->Enum = PyObject_GetAttrString(module, "Enum");
        Py_DECREF(module);
        if (state->Enum == NULL) {
            return -1;
        }
    }
    return PyObject_IsInstance(key, state->Enum);
}

/* The value of a key whose type is in the hash. Subclasses of the plain types may have
 * a repr of their own, so it is not asked. */
static int
hash_value(pyaccel_state *state, PyObject *key, uint64_t *hash)
{
    int member = is_member(state, key);
    if (member != 0) {
        return member < 0 ? -1 : hash_member(state, key, hash);
    }
    if (PyUnicode_Check(key)) {
        return hash_text(key, hash);
    }
    if (PyLong_Check(key)) { /* bool too */
        return hash_made_text(PyNumber_ToBase(key, 16), hash);
    }
    if (PyFloat_Check(key)) {
        double value = PyFloat_AsDouble(key);
        *hash = pa_hash_bytes(*hash, &value, sizeof value);
        return 0;
    }
    if (PyBytes_Check(key)) {
        *hash = pa_hash_bytes(*hash, PyBytes_AsString(key), (size_t)PyBytes_Size(key));
        return 0;
    }
    return PyTuple_Check(key) ? hash_tuple(state, key, hash) : 0;
}

int
pyaccel_key_hash(pyaccel_state *state, PyObject *key, uint64_t *hash)
{
    if (PyUnicode_CheckExact(key)) {
        *hash = pa_hash_mix(*hash, HASH_STR);
        return hash_text(key, hash);
    }
    PyObject *type = (PyObject *)Py_TYPE(key);
    PyObject *name = PyObject_GetAttr(type, state->str_dunder_name);
    return hash_made_text(name, hash) < 0 ? -1 : hash_value(state, key, hash);
}
