/* Where a script is: see the header. */
#include "py/site.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Whether a frame is of pyaccel itself, or of contextlib, which runs our context
 * managers; pyaccel's examples are scripts like any other. */
static bool
frame_is_own(PyObject *frame)
{
    static const char package[] = "pyaccel.";
    static const char examples[] = "pyaccel.examples";
    PyObject *globals = PyObject_GetAttrString(frame, "f_globals");
    PyObject *name =
        globals != NULL ? PyMapping_GetItemString(globals, "__name__") : NULL;
    PyObject *bytes =
        name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8String(name) : NULL;
    const char *text = bytes != NULL ? PyBytes_AsString(bytes) : "";
    bool own = strcmp(text, "contextlib") == 0 ||
               (strncmp(text, package, sizeof package - 1) == 0 &&
                strncmp(text, examples, sizeof examples - 1) != 0);
    Py_XDECREF(bytes);
    Py_XDECREF(name);
    Py_XDECREF(globals);
    PyErr_Clear();
    return own;
}

/* The innermost frame of the script, or NULL. // new */
static PyObject *
script_frame(void)
{
    PyObject *frame = Py_XNewRef((PyObject *)PyEval_GetFrame());
    while (frame != NULL && frame != Py_None && frame_is_own(frame)) {
        PyObject *outer = PyObject_GetAttrString(frame, "f_back");
        Py_DECREF(frame);
        frame = outer;
    }
    if (frame == Py_None) {
        Py_CLEAR(frame);
    }
    return frame;
}

void
pyaccel_site_format(char *text, size_t capacity)
{
    text[0] = '\0';
    PyObject *frame = script_frame();
    PyObject *code = frame != NULL ? PyObject_GetAttrString(frame, "f_code") : NULL;
    PyObject *file = code != NULL ? PyObject_GetAttrString(code, "co_filename") : NULL;
    PyObject *line = file != NULL ? PyObject_GetAttrString(frame, "f_lineno") : NULL;
    /* Not by str(), which runs signal handlers: what they raise would be lost here. */
    long number = line != NULL ? PyLong_AsLong(line) : -1;
    PyObject *site = number >= 0 && PyUnicode_Check(file)
                         ? PyUnicode_FromFormat("%U:%ld", file, number)
                         : NULL;
    PyObject *bytes = site != NULL ? PyUnicode_AsUTF8String(site) : NULL;
    const char *said = bytes != NULL ? PyBytes_AsString(bytes) : "";
    size_t length = strlen(said);
    if (length >= capacity) {
        /* The end of a path says more than its beginning. */
        said += length - (capacity - 1);
    }
    (void)snprintf(text, capacity, "%s", said);
    Py_XDECREF(bytes);
    Py_XDECREF(site);
    Py_XDECREF(line);
    Py_XDECREF(file);
    Py_XDECREF(code);
    Py_XDECREF(frame);
    PyErr_Clear();
}

static PyObject *
call_site(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    char text[192];
    pyaccel_site_format(text, sizeof text);
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}

static PyMethodDef site_methods[] = {
    {"call_site", call_site, METH_NOARGS,
     PyDoc_STR("call_site($module, /)\n--\n\n"
               "Where the calling script is, such as run.py:12; empty if nowhere.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_site_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, site_methods);
}
