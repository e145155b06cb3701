/* Tensors that results are received in, and where they go: see py/tensor.h. */
#include "py/tensor.h"
#include "py/tensor_attributes.h"

/* Sizes as a tuple. // new */
static PyObject *
pack_sizes(int32_t ndim, const int64_t *shape)
{
    PyObject *sizes = PyTuple_New(ndim);
    for (int32_t d = 0; d < ndim && sizes != NULL; d++) {
        PyObject *size = PyLong_FromLongLong(shape[d]);
        if (size == NULL || PyTuple_SetItem(sizes, d, size) < 0) {
            Py_CLEAR(sizes);
        }
    }
    return sizes;
}

/* torch.empty(sizes, dtype=dtype, device=device), of the leaf's dtype. // new */
static PyObject *
make_empty(pyaccel_state *state, const pyaccel_leaf *extra, PyObject *device,
           PyObject *sizes)
{
    PyObject *made = NULL;
    PyObject *dtype = extra->dtype != NULL
                          ? Py_NewRef(extra->dtype)
                          : PyObject_GetAttr(extra->holder, state->str_dtype);
    PyObject *positional = PyTuple_Pack(1, sizes);
    PyObject *named = PyDict_New();
    if (dtype != NULL && positional != NULL && named != NULL &&
        PyDict_SetItem(named, state->str_dtype, dtype) == 0 &&
        PyDict_SetItem(named, state->str_device, device) == 0) {
        made = PyObject_Call(state->torch_empty, positional, named);
    }
    Py_XDECREF(dtype);
    Py_XDECREF(positional);
    Py_XDECREF(named);
    return made;
}

/* holder.new_empty(sizes), in memory of torch's caching allocator. A tensor over the
 * exchange table's memory would be as quick to make, but `record_stream` passes by what
 * it does not know as its own, and the memory would be used anew too early. // new */
static PyObject *
make_like(pyaccel_state *state, PyObject *holder, PyObject *sizes)
{
    PyObject *made =
        PyObject_CallMethodObjArgs(holder, state->str_new_empty, sizes, NULL);
    if (made != NULL && (PyObject *)Py_TYPE(made) != state->torch_Tensor) {
        PyObject *plain = PyObject_CallMethodObjArgs(made, state->str_as_subclass,
                                                     state->torch_Tensor, NULL);
        Py_DECREF(made);
        made = plain;
    }
    return made;
}

/* On the device of a leaf that has one: of its own tensor's kind where it has one,
 * which a leaf that another rank sent has not. // new */
static PyObject *
make_on_device(pyaccel_state *state, const pyaccel_leaves *leaves,
               const pyaccel_leaf *extra, PyObject *sizes)
{
    if (extra->holder != Py_None) {
        return make_like(state, extra->holder, sizes);
    }
    PyObject *device =
        PyUnicode_FromFormat("cuda:%d", leaves->places[extra->place_at].device);
    PyObject *made = device != NULL ? make_empty(state, extra, device, sizes) : NULL;
    Py_XDECREF(device);
    return made;
}

PyObject *
pyaccel_tensor_make_by_attributes(pyaccel_state *state, const pyaccel_leaves *leaves,
                                  size_t index, int32_t ndim, const int64_t *shape,
                                  size_t nbytes, char **data)
{
    const pyaccel_leaf *extra = &leaves->extra[index];
    PyObject *sizes = pack_sizes(ndim, shape);
    if (sizes == NULL) {
        return NULL;
    }
    PyObject *made = extra->place_at < 0
                         ? make_empty(state, extra, state->str_cpu, sizes)
                         : make_on_device(state, leaves, extra, sizes);
    Py_DECREF(sizes);
    if (made == NULL) {
        return NULL;
    }
    bool absent = false;
    int status = pyaccel_tensor_address(state, made, data);
    if (status < 0) {
        absent = PyErr_ExceptionMatches(PyExc_RuntimeError) != 0;
    } else if (*data == NULL && nbytes > 0) {
        absent = true;
        status = -1;
    }
    if (absent) {
        PyErr_SetString(PyExc_RuntimeError,
                        "torch.empty gave a tensor without memory: results cannot be "
                        "made inside a torch.func transform or a mode that fakes "
                        "tensors");
    }
    if (status < 0) {
        Py_CLEAR(made);
    }
    return made;
}

int
pyaccel_tensor_write_back(pyaccel_state *state, const pyaccel_leaves *leaves,
                          size_t index)
{
    const pyaccel_leaf *extra = &leaves->extra[index];
    if (extra->holder == extra->source) {
        return 0;
    }
    /* Through a detached alias: a parameter refuses to be written in place. */
    PyObject *target =
        PyObject_CallMethodObjArgs(extra->source, state->str_detach, NULL);
    if (target == NULL) {
        return -1;
    }
    char *here = NULL;
    int status = extra->away ? 0 : pyaccel_tensor_address(state, target, &here);
    if (status == 0 && here != leaves->at[index].data) {
        PyObject *done =
            PyObject_CallMethodObjArgs(target, state->str_copy_, extra->holder, NULL);
        status = done != NULL ? 0 : -1;
        Py_XDECREF(done);
    }
    Py_DECREF(target);
    return status;
}

/* tensor.narrow(dim, start, length).method(argument); -1 with an exception. */
static int
call_on_part(pyaccel_state *state, PyObject *tensor, int dim, int64_t start,
             int64_t length, PyObject *method, PyObject *argument)
{
    PyObject *numbers[] = {PyLong_FromLong(dim), PyLong_FromLongLong(start),
                           PyLong_FromLongLong(length)};
    PyObject *part = NULL;
    PyObject *done = NULL;
    if (numbers[0] != NULL && numbers[1] != NULL && numbers[2] != NULL) {
        part = PyObject_CallMethodObjArgs(tensor, state->str_narrow, numbers[0],
                                          numbers[1], numbers[2], NULL);
    }
    if (part != NULL) {
        done = PyObject_CallMethodObjArgs(part, method, argument, NULL);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        Py_XDECREF(numbers[i]);
    }
    Py_XDECREF(part);
    Py_XDECREF(done);
    return done != NULL ? 0 : -1;
}

int
pyaccel_tensor_pad(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                   PyObject *made, int dim, int64_t length, PyObject *value, bool first)
{
    int64_t own = leaves->at[index].shape[dim];
    int64_t added = length - own;
    /* Detached, or the result would have a gradient. */
    PyObject *values = PyObject_CallMethodObjArgs(leaves->extra[index].holder,
                                                  state->str_detach, NULL);
    int status = values == NULL ? -1 : 0;
    if (status == 0) {
        status = call_on_part(state, made, dim, first ? 0 : own, added,
                              state->str_fill_, value);
    }
    if (status == 0) {
        status = call_on_part(state, made, dim, first ? added : 0, own,
                              state->str_copy_, values);
    }
    Py_XDECREF(values);
    return status;
}

PyObject *
pyaccel_tensor_send_home(pyaccel_state *state, const pyaccel_leaves *leaves,
                         size_t index, PyObject *made)
{
    const pyaccel_leaf *extra = &leaves->extra[index];
    if (!extra->away) {
        return Py_NewRef(made);
    }
    PyObject *device = PyObject_GetAttr(extra->source, state->str_device);
    PyObject *home = device != NULL
                         ? PyObject_CallMethodObjArgs(made, state->str_to, device, NULL)
                         : NULL;
    Py_XDECREF(device);
    return home;
}
