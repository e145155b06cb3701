/* Where the memory of tensors is: see the header. */
#include "py/place.h"

#include "comm/device/devices.h"
#include "torch/devices.h"

bool
pyaccel_place_served(const pyaccel_state *state)
{
    return !state->torch_hip && pa_cuda_get() != NULL;
}

/* By Python, where torch has neither of the ways that C knows. */
static int
ask_python(const pyaccel_state *state, int device, void **stream)
{
    if (state->torch_raw_stream == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        "this torch does not tell its current CUDA stream: use torch "
                        "2.4 or newer, or pass tensor.cpu()");
        return -1;
    }
    PyObject *number = PyLong_FromLong(device);
    PyObject *raw =
        number != NULL
            ? PyObject_CallFunctionObjArgs(state->torch_raw_stream, number, NULL)
            : NULL;
    Py_XDECREF(number);
    if (raw == NULL) {
        return -1;
    }
    *stream = PyLong_AsVoidPtr(raw);
    Py_DECREF(raw);
    return *stream == NULL && PyErr_Occurred() ? -1 : 0;
}

/* The place of a device with torch's current stream; NULL with an exception. */
static const pa_place *
new_place(const pyaccel_state *state, pyaccel_leaves *leaves, int device)
{
    pa_place place = {.device = device};
    int status = pa_torch_devices_stream(state->devices, device, &place.stream);
    if (status > 0) {
        status = ask_python(state, device, &place.stream);
    }
    return status == 0 ? pyaccel_leaves_add_place(leaves, place) : NULL;
}

int
pyaccel_place_own(const pyaccel_state *state, pyaccel_leaves *leaves, pa_comm *comm,
                  const pa_place **place)
{
    *place = NULL;
    if (!pyaccel_place_served(state)) {
        return 0;
    }
    const pa_devices *devices = pa_devices_of(comm);
    if (devices == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    int device = devices->device;
    if (device < 0 && pa_cuda_get()->GetDevice(&device) != PA_CUDA_SUCCESS) {
        return 0;
    }
    *place = pyaccel_leaves_place(leaves, device);
    if (*place == NULL) {
        *place = new_place(state, leaves, device);
    }
    return *place != NULL ? 0 : -1;
}

int
pyaccel_place_find(const pyaccel_state *state, pyaccel_leaves *leaves,
                   const pa_dl_tensor *view, pa_leaf *leaf)
{
    int device = pa_torch_devices_where(state->devices, view);
    leaf->place = NULL;
    if (device == PA_TORCH_HOST) {
        return 1;
    }
    if (device == PA_TORCH_AWAY || !pyaccel_place_served(state)) {
        return 0;
    }
    leaf->place = pyaccel_leaves_place(leaves, device);
    if (leaf->place == NULL) {
        leaf->place = new_place(state, leaves, device);
    }
    return leaf->place != NULL ? 1 : -1;
}
