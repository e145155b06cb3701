/* The containers of a nested structure in words: see the header. */
#include "py/outline.h"

#include <stdbool.h>
#include <string.h>

/* A text that is cut at its capacity, with dots where it was. */
typedef struct writer {
    pyaccel_state *state;
    char *text;
    size_t capacity;
    size_t used;
    bool full;
} writer;

static void
say(writer *to, const char *words)
{
    static const char dots[] = "...";
    size_t length = strlen(words);
    if (to->full) {
        return;
    }
    if (length + to->used + sizeof dots > to->capacity) {
        words = dots;
        length = sizeof dots - 1;
        to->full = true;
    }
    memcpy(to->text + to->used, words, length + 1);
    to->used += length;
}

/* An object's text, or a question mark where it has none. */
static void
say_object(writer *to, PyObject *text)
{
    PyObject *bytes = text != NULL ? PyUnicode_AsUTF8String(text) : NULL;
    const char *words = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
    say(to, words != NULL ? words : "?");
    PyErr_Clear();
    Py_XDECREF(bytes);
    Py_XDECREF(text);
}

static void
say_tree(writer *to, PyObject *tree);

static void
say_sequence(writer *to, PyObject *tree, bool list)
{
    Py_ssize_t size = PySequence_Size(tree);
    say(to, list ? "[" : "(");
    for (Py_ssize_t i = 0; i < size && !to->full; i++) {
        PyObject *item = PySequence_GetItem(tree, i);
        say(to, i > 0 ? ", " : "");
        if (item != NULL) {
            say_tree(to, item);
        }
        Py_XDECREF(item);
    }
    say(to, list ? "]" : size == 1 ? ",)" : ")");
}

static void
say_mapping(writer *to, PyObject *tree)
{
    PyObject *items = PyMapping_Items(tree);
    say(to, "{");
    for (Py_ssize_t i = 0; items != NULL && i < PyList_Size(items) && !to->full; i++) {
        PyObject *pair = PyList_GetItem(items, i); // borrowed
        PyObject *key = PySequence_GetItem(pair, 0);
        PyObject *value = PySequence_GetItem(pair, 1);
        say(to, i > 0 ? ", " : "");
        say_object(to, key != NULL ? PyObject_Repr(key) : NULL);
        say(to, ": ");
        if (value != NULL) {
            say_tree(to, value);
        }
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    say(to, "}");
    Py_XDECREF(items);
}

/* Types that are not Python's own are named. */
static void
say_type(writer *to, PyObject *tree)
{
    if (!PyList_CheckExact(tree) && !PyTuple_CheckExact(tree) &&
        !PyDict_CheckExact(tree)) {
        say_object(to, PyObject_GetAttr((PyObject *)Py_TYPE(tree),
                                        to->state->str_dunder_name));
    }
}

static void
say_tree(writer *to, PyObject *tree)
{
    bool list = PyList_Check(tree);
    bool sequence = list || PyTuple_Check(tree);
    bool mapping = !sequence && PyObject_IsInstance(tree, to->state->Mapping) > 0;
    if (!sequence && !mapping) {
        say(to, "_");
    } else if (Py_EnterRecursiveCall(" in a nested structure") != 0) {
        say(to, "...");
    } else {
        say_type(to, tree);
        if (sequence) {
            say_sequence(to, tree, list);
        } else {
            say_mapping(to, tree);
        }
        Py_LeaveRecursiveCall();
    }
    PyErr_Clear();
}

void
pyaccel_outline_format(pyaccel_state *state, PyObject *tree, char *text,
                       size_t capacity)
{
    writer to = {.state = state, .text = text, .capacity = capacity};
    text[0] = '\0';
    say_tree(&to, tree);
    if (strcmp(text, "_") == 0) {
        text[0] = '\0';
    }
}
