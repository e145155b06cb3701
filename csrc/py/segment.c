/* The Segment type: see the header. */
#include "py/segment.h"

#include "comm/shm/shm.h"
#include "py/arguments.h"
#include "py/error.h"

#include <unistd.h>

typedef struct SegmentObject {
    PyObject_HEAD pa_shm_owner *owner; /* NULL when closed */
    int fd;
    int size;
} SegmentObject;

static PyObject *
segment_new(PyTypeObject *type, PyObject *arguments, PyObject *named)
{
    static char *segment_keywords[] = {"size", NULL};
    int size = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, named, "i:Segment", segment_keywords,
                                     &size)) {
        return NULL;
    }
    pyaccel_state *state = pyaccel_state_of(type);
    pa_error error = PA_ERROR_INIT;
    int fd = -1;
    pa_shm_owner *owner = NULL;
    pa_status status = pa_shm_create(size, &fd, &error);
    if (status == PA_OK) {
        status = pa_shm_owner_open(fd, &owner, &error);
    }
    SegmentObject *self = NULL;
    if (status != PA_OK) {
        (void)pyaccel_error_raise(state, status, &error);
    } else {
        self = PyObject_New(SegmentObject, type);
    }
    if (self == NULL) {
        pa_shm_owner_close(owner);
        if (fd >= 0) {
            (void)close(fd);
        }
        return NULL;
    }
    self->owner = owner;
    self->fd = fd;
    self->size = size;
    return (PyObject *)self;
}

static void
segment_release(SegmentObject *self)
{
    pa_shm_owner_close(self->owner);
    self->owner = NULL;
    if (self->fd >= 0) {
        (void)close(self->fd);
        self->fd = -1;
    }
}

static void
segment_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    segment_release((SegmentObject *)object);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyObject *
segment_close(PyObject *object, PyObject *unused)
{
    (void)unused;
    segment_release((SegmentObject *)object);
    Py_RETURN_NONE;
}

static PyObject *
segment_mark_ended(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                   PyObject *names)
{
    static const char *const parameters[] = {"rank", "message"};
    PyObject *values[2];
    SegmentObject *self = (SegmentObject *)object;
    if (pyaccel_arguments_parse("mark_ended", parameters, 2, 2, arguments, count, names,
                                values) < 0) {
        return NULL;
    }
    long rank = PyLong_AsLong(values[0]);
    if (rank == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (self->owner == NULL) {
        PyErr_SetString(PyExc_ValueError, "mark_ended: the segment is closed");
        return NULL;
    }
    PyObject *text = PyUnicode_AsUTF8String(values[1]);
    if (text == NULL) {
        return NULL;
    }
    pa_error error = PA_ERROR_INIT;
    int checked = rank < 0 || rank > INT32_MAX ? -1 : (int)rank;
    pa_status status =
        pa_shm_owner_mark_ended(self->owner, checked, PyBytes_AsString(text), &error);
    Py_DECREF(text);
    if (status != PA_OK) {
        return pyaccel_error_raise(pyaccel_state_of(Py_TYPE(object)), status, &error);
    }
    Py_RETURN_NONE;
}

static PyObject *
get_fd(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((SegmentObject *)self)->fd);
}

static PyObject *
get_size(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((SegmentObject *)self)->size);
}

static PyMethodDef segment_methods[] = {
    {"mark_ended", PYACCEL_METHOD(segment_mark_ended), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "mark_ended($self, /, rank, message)\n--\n\n"
         "Says that a rank has ended: whoever waits for it raises with the message.\n"
         "A rank that left the group before is not missed.")},
    {"close", segment_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\n"
               "Closes the owner's view; the ranks keep theirs. May be called twice.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef segment_getset[] = {
    {"fd", get_fd, NULL,
     PyDoc_STR("The descriptor, close-on-exec; ranks attach to it. -1 when closed."),
     NULL},
    {"size", get_size, NULL, PyDoc_STR("The number of ranks."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot segment_slots[] = {
    {Py_tp_new, PYACCEL_SLOT(segment_new)},
    {Py_tp_dealloc, PYACCEL_SLOT(segment_dealloc)},
    {Py_tp_methods, segment_methods},
    {Py_tp_getset, segment_getset},
    {Py_tp_doc, "Segment(size)\n--\n\n"
                "The shared memory of a group of ranks, for whoever starts them."},
    {0, NULL},
};

static PyType_Spec segment_spec = {
    .name = "pyaccel._C.Segment",
    .basicsize = sizeof(SegmentObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = segment_slots,
};

int
pyaccel_segment_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    state->SegmentType = PyType_FromModuleAndSpec(module, &segment_spec, NULL);
    if (state->SegmentType == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Segment", state->SegmentType);
}
