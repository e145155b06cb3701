/* Measuring and cutting containers, each kind in its own way: see the header. */
#include "py/cut.h"

#include "py/foreign.h"

static PyObject * // new
slice_of(PyObject *container, const pa_share *share)
{
    return PySequence_GetSlice(container, (Py_ssize_t)share->start,
                               (Py_ssize_t)share->stop);
}

/* A list of `times` references to one object. */
static PyObject * // new
repeated(PyObject *item, size_t times)
{
    PyObject *list = PyList_New((Py_ssize_t)times);
    for (size_t i = 0; list != NULL && i < times; i++) {
        if (PyList_SetItem(list, (Py_ssize_t)i, Py_NewRef(item)) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* The positions of the wanted items as a list, copies of the last one included. */
static PyObject * // new
positions_of(const pyaccel_cut *cut)
{
    PyObject *list = PyList_New(0);
    size_t wanted = cut->share.stop - cut->share.start + cut->share.pad;
    for (size_t i = 0; list != NULL && i < wanted; i++) {
        size_t position = cut->share.start + i;
        if (position >= cut->share.stop) {
            position = (size_t)cut->count - 1;
        }
        PyObject *number = PyLong_FromSize_t(position);
        if (number == NULL || PyList_Append(list, number) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(number);
    }
    return list;
}

/* The last item, `share.pad` times, in a list. */
static PyObject * // new
padding_of(PyObject *container, const pyaccel_cut *cut)
{
    PyObject *last = PySequence_GetItem(container, cut->count - 1);
    if (last == NULL) {
        return NULL;
    }
    PyObject *padding = repeated(last, cut->share.pad);
    Py_DECREF(last);
    return padding;
}

static PyObject * // new
cut_list(pyaccel_state *state, PyObject *list, const pyaccel_cut *cut)
{
    (void)state;
    const pa_share *share = &cut->share;
    /* A class derived from list may slice in a way of its own. */
    PyObject *part =
        PyList_CheckExact(list)
            ? PyList_GetSlice(list, (Py_ssize_t)share->start, (Py_ssize_t)share->stop)
            : slice_of(list, share);
    if (part == NULL || share->pad == 0) {
        return part;
    }
    PyObject *padding = padding_of(list, cut);
    PyObject *result = padding ? PySequence_InPlaceConcat(part, padding) : NULL;
    Py_XDECREF(padding);
    Py_DECREF(part);
    return result;
}

static PyObject * // new
cut_tuple(pyaccel_state *state, PyObject *tuple, const pyaccel_cut *cut)
{
    (void)state;
    const pa_share *share = &cut->share;
    PyObject *part =
        PyTuple_CheckExact(tuple)
            ? PyTuple_GetSlice(tuple, (Py_ssize_t)share->start, (Py_ssize_t)share->stop)
            : slice_of(tuple, share);
    if (part == NULL || share->pad == 0) {
        return part;
    }
    PyObject *list = padding_of(tuple, cut);
    PyObject *padding = list ? PyList_AsTuple(list) : NULL;
    PyObject *result = padding ? PySequence_Concat(part, padding) : NULL;
    Py_XDECREF(padding);
    Py_XDECREF(list);
    Py_DECREF(part);
    return result;
}

/* A part of a tensor with its padding behind it, joined by torch.cat. torch has been
 * imported, for the tensor is an object of its. */
static PyObject * // new
with_padding(PyObject *tensor, PyObject *part, const pyaccel_cut *cut)
{
    PyObject *result = NULL;
    PyObject *rows = NULL;
    PyObject *last = PySequence_GetSlice(tensor, cut->count - 1, cut->count);
    if (last == NULL) {
        goto done;
    }
    rows = repeated(last, cut->share.pad);
    if (rows == NULL || PyList_Insert(rows, 0, part) < 0) {
        goto done;
    }
    PyObject *torch = PyDict_GetItemString(PyImport_GetModuleDict(), "torch");
    if (torch == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "torch was taken from sys.modules");
        goto done;
    }
    result = PyObject_CallMethod(torch, "cat", "(O)", rows);
done:
    Py_XDECREF(rows);
    Py_XDECREF(last);
    return result;
}

/* len() of a tensor is a Python method that takes as long as the rest of a split; the
 * slot that it hides, of the class in C below torch.Tensor, answers in nanoseconds. */
static Py_ssize_t
length_of_tensor(pyaccel_state *state, PyObject *tensor)
{
    if ((PyObject *)Py_TYPE(tensor) == state->torch_Tensor) {
        PyTypeObject *base = PyType_GetSlot(Py_TYPE(tensor), Py_tp_base);
        lenfunc length = (lenfunc)(uintptr_t)PyType_GetSlot(base, Py_mp_length);
        Py_ssize_t count = length != NULL ? length(tensor) : 0;
        if (count != 0) {
            return count;
        }
    }
    /* The slot says 0 for a tensor without dimensions too. */
    return PyObject_Size(tensor);
}

static PyObject * // new
cut_tensor(pyaccel_state *state, PyObject *tensor, const pyaccel_cut *cut)
{
    (void)state;
    PyObject *part = slice_of(tensor, &cut->share);
    if (part == NULL || cut->share.pad == 0) {
        return part;
    }
    PyObject *result = with_padding(tensor, part, cut);
    Py_DECREF(part);
    return result;
}

/* Containers that take positions between brackets: NumPy's arrays, whatever their
 * class (masks and byte order stay), and pandas' indexes. */
static PyObject * // new
cut_by_positions(pyaccel_state *state, PyObject *container, const pyaccel_cut *cut)
{
    (void)state;
    if (cut->share.pad == 0) {
        return slice_of(container, &cut->share);
    }
    PyObject *positions = positions_of(cut);
    PyObject *part = positions ? PyObject_GetItem(container, positions) : NULL;
    Py_XDECREF(positions);
    return part;
}

static PyObject * // new
cut_frame(pyaccel_state *state, PyObject *frame, const pyaccel_cut *cut)
{
    PyObject *rows = PyObject_GetAttrString(frame, "iloc");
    PyObject *part = rows ? cut_by_positions(state, rows, cut) : NULL;
    Py_XDECREF(rows);
    return part;
}

/* A range as positions: it keeps a dataset's selection a view, where a list makes a
 * table. An empty one behind the last row would be out of range. */
static PyObject * // new
range_of(const pa_share *share)
{
    bool empty = share->start == share->stop;
    return PyObject_CallFunction((PyObject *)&PyRange_Type, "nn",
                                 empty ? (Py_ssize_t)0 : (Py_ssize_t)share->start,
                                 empty ? (Py_ssize_t)0 : (Py_ssize_t)share->stop);
}

static PyObject * // new
cut_dataset(pyaccel_state *state, PyObject *dataset, const pyaccel_cut *cut)
{
    (void)state;
    PyObject *positions =
        cut->share.pad == 0 ? range_of(&cut->share) : positions_of(cut);
    PyObject *part =
        positions ? PyObject_CallMethod(dataset, "select", "(O)", positions) : NULL;
    Py_XDECREF(positions);
    return part;
}

/* The wanted items one by one, in a list. */
static PyObject * // new
items_of(PyObject *sequence, const pyaccel_cut *cut)
{
    PyObject *positions = positions_of(cut);
    Py_ssize_t wanted = positions ? PyList_Size(positions) : 0;
    for (Py_ssize_t i = 0; positions != NULL && i < wanted; i++) {
        PyObject *item = PyObject_GetItem(sequence, PyList_GetItem(positions, i));
        if (item == NULL || PyList_SetItem(positions, i, item) < 0) {
            Py_CLEAR(positions);
        }
    }
    return positions;
}

/* Whether a slice holds items by position. One of its container's own class does. A
 * list or a tuple does if the container is a registered Sequence; of a dataset it may
 * as well be one item that is made of columns, for a dataset need only know single
 * positions. */
static bool
has_items(PyObject *part, PyObject *sequence, bool registered)
{
    if (Py_TYPE(part) == Py_TYPE(sequence)) {
        return true;
    }
    return registered &&
           (PyList_Check(part) || PyTuple_Check(part) || PyRange_Check(part));
}

/* The slice that is the share. NULL without an exception if there is none to rely on:
 * a registered Sequence says so by a TypeError (a deque); any other class, which was
 * never told of slices, may fail at one in any way, and its items tell the truth. */
static PyObject * // new
reliable_slice_of(pyaccel_state *state, PyObject *sequence, const pa_share *share)
{
    int registered = PyObject_IsInstance(sequence, state->Sequence);
    if (registered < 0) {
        return NULL;
    }
    PyObject *part = slice_of(sequence, share);
    if (part == NULL) {
        if (PyErr_ExceptionMatches(registered ? PyExc_TypeError : PyExc_Exception)) {
            PyErr_Clear();
        }
        return NULL;
    }
    if (!has_items(part, sequence, registered != 0)) {
        Py_CLEAR(part);
    }
    return part;
}

/* Any other sequence is sliced; one whose slices are not to be relied on, and one that
 * shall be padded, becomes a list on every rank. */
static PyObject * // new
cut_sequence(pyaccel_state *state, PyObject *sequence, const pyaccel_cut *cut)
{
    if (cut->padded) {
        return items_of(sequence, cut);
    }
    PyObject *part = reliable_slice_of(state, sequence, &cut->share);
    if (part == NULL) {
        return PyErr_Occurred() ? NULL : items_of(sequence, cut);
    }
    /* Brackets may mean anything else than items by position. */
    Py_ssize_t wanted = (Py_ssize_t)(cut->share.stop - cut->share.start);
    Py_ssize_t length = PyObject_Size(part);
    if (length == wanted) {
        return part;
    }
    Py_DECREF(part);
    if (length >= 0) {
        PyErr_Format(PyExc_TypeError, "the slice [%zu:%zu] has %zd items",
                     cut->share.start, cut->share.stop, length);
    }
    return NULL;
}

static const pyaccel_cutter list_cutter = {.cut = cut_list};
static const pyaccel_cutter tuple_cutter = {.cut = cut_tuple};
static const pyaccel_cutter tensor_cutter = {.length = length_of_tensor,
                                             .cut = cut_tensor};
static const pyaccel_cutter positions_cutter = {.cut = cut_by_positions};
static const pyaccel_cutter frame_cutter = {.cut = cut_frame};
static const pyaccel_cutter dataset_cutter = {.cut = cut_dataset};
static const pyaccel_cutter sequence_cutter = {.cut = cut_sequence};
static const pyaccel_cutter mapping_cutter = {.kind = PYACCEL_CUTTER_MAPPING};
static const pyaccel_cutter whole_cutter = {.kind = PYACCEL_CUTTER_WHOLE};

const pyaccel_cutter *
pyaccel_cutter_find(pyaccel_state *state, PyObject *object)
{
    if (PyList_Check(object)) {
        return &list_cutter;
    }
    if (PyTuple_Check(object)) {
        return &tuple_cutter;
    }
    if (PyDict_Check(object)) {
        return &mapping_cutter;
    }
    if (PyUnicode_Check(object) || PyBytes_Check(object) || PyByteArray_Check(object)) {
        return &whole_cutter;
    }
    switch (pyaccel_foreign_of(state, object)) {
    case PYACCEL_FOREIGN_TENSOR:
        return &tensor_cutter;
    case PYACCEL_FOREIGN_ARRAY:
    case PYACCEL_FOREIGN_INDEX:
        return &positions_cutter;
    case PYACCEL_FOREIGN_FRAME:
        return &frame_cutter;
    case PYACCEL_FOREIGN_DATASET:
        return &dataset_cutter;
    case PYACCEL_FOREIGN_NONE:
        break;
    }
    int mapping = PyObject_IsInstance(object, state->Mapping);
    if (mapping != 0) {
        return mapping > 0 ? &mapping_cutter : NULL;
    }
    /* A set has a length as well, but no brackets. */
    bool has_brackets = PySequence_Check(object) || PyMapping_Check(object);
    return has_brackets ? &sequence_cutter : NULL;
}

Py_ssize_t
pyaccel_cutter_length(const pyaccel_cutter *cutter, pyaccel_state *state,
                      PyObject *container)
{
    return cutter->length ? cutter->length(state, container) : PyObject_Size(container);
}
