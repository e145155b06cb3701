/* What sending and receiving have in common: see the header. */
#include "py/comm_channel.h"

#include "py/arguments.h"

int
pyaccel_address_read(PyObject *const *values, const char *name, pyaccel_address *to)
{
    *to = (pyaccel_address){0};
    if (pyaccel_arguments_int(values[0], name, 0, &to->peer) < 0 ||
        pyaccel_arguments_int(values[1], "tag", 0, &to->tag) < 0) {
        return -1;
    }
    if (values[2] != NULL) {
        to->digest = PyLong_AsUnsignedLongLongMask(values[2]);
        if (PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError, "digest must be an int, not %R",
                         (PyObject *)Py_TYPE(values[2]));
            return -1;
        }
    }
    return 0;
}

pyaccel_end *
pyaccel_end_of(CommObject *self, int64_t peer, bool sends)
{
    if (peer < 0 || peer >= self->size) {
        return NULL;
    }
    return &self->ends[(sends ? 0 : self->size) + (int)peer];
}

PyObject *
pyaccel_end_key(pyaccel_end *end, uint64_t key)
{
    if (end->structures == NULL) {
        end->structures = PyDict_New();
    }
    return end->structures != NULL ? PyLong_FromUnsignedLongLong(key) : NULL;
}
