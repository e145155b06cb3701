/* What a Comm is told and asked of the group's GPUs. None of this is collective. */
#include "comm/device/devices.h"
#include "py/alarm.h"
#include "py/arguments.h"
#include "py/comm.h"

#include <string.h>

enum { REPORT_BYTES = 8192 };

int
pyaccel_call_uses_devices(pyaccel_call *call)
{
    CommObject *self = call->self;
    if (self->alarm == NULL) {
        self->alarm = pyaccel_alarm_set(call->state, self->comm);
    }
    return self->alarm != NULL ? 0 : -1;
}

PyObject *
pyaccel_comm_set_device(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                        PyObject *names)
{
    static const char *const parameters[] = {"index", "shared_nccl"};
    PyObject *values[2];
    pyaccel_call call;
    int64_t device = 0;
    if (pyaccel_arguments_parse("set_device", parameters, 2, 1, arguments, count, names,
                                values) < 0 ||
        pyaccel_arguments_int(values[0], "index", 0, &device) < 0) {
        return NULL;
    }
    int shared = values[1] != NULL ? PyObject_IsTrue(values[1]) : 0;
    if (shared < 0) {
        return NULL;
    }
    if (device < 0 || device > INT32_MAX) {
        return PyErr_Format(PyExc_ValueError, "index is %R: a device's is 0 or more",
                            values[0]);
    }
    if (pyaccel_call_begin(&call, (CommObject *)object, PA_OP_DEVICES) < 0) {
        return NULL;
    }
    int failed = pyaccel_call_uses_devices(&call);
    if (failed == 0) {
        pa_status status = pa_devices_set(call.self->comm, (int)device, &call.error);
        if (status == PA_OK) {
            status = pa_devices_allow_shared(call.self->comm, shared != 0, &call.error);
        }
        failed = pyaccel_call_check(&call, status);
    }
    pyaccel_call_end(&call);
    return failed < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
pyaccel_comm_ask_ways(PyObject *object, PyObject *rows)
{
    pyaccel_call call;
    if (!PyUnicode_Check(rows)) {
        return PyErr_Format(PyExc_TypeError, "rows must be a str, not %R",
                            (PyObject *)Py_TYPE(rows));
    }
    PyObject *bytes = PyUnicode_AsUTF8String(rows);
    const char *text = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
    if (text == NULL ||
        pyaccel_call_begin(&call, (CommObject *)object, PA_OP_DEVICES) < 0) {
        Py_XDECREF(bytes);
        return NULL;
    }
    int failed = pyaccel_call_uses_devices(&call);
    if (failed == 0) {
        pa_status status = pa_devices_ask(call.self->comm, text, &call.error);
        failed = pyaccel_call_check(&call, status);
    }
    pyaccel_call_end(&call);
    Py_DECREF(bytes);
    return failed < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *
pyaccel_comm_devices(PyObject *object, PyObject *unused)
{
    (void)unused;
    pyaccel_call call;
    char text[REPORT_BYTES] = "";
    if (pyaccel_call_begin(&call, (CommObject *)object, PA_OP_DEVICES) < 0) {
        return NULL;
    }
    pa_devices_format(call.self->comm, text, sizeof text);
    pyaccel_call_end(&call);
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
}
