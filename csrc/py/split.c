/* split_between_processes, without a Python frame between the caller and the slices. */
#include "py/split.h"

#include "py/arguments.h"
#include "py/divide.h"

/* ---- The block that a split opens ---- */

/* What `with` enters. Entering computes the share, so that it may be done again. */
typedef struct ContextObject {
    PyObject_HEAD PyObject *inputs;
    int64_t rank;
    int64_t size;
    bool padded;
} ContextObject;

static PyObject *
context_enter(PyObject *self, PyObject *unused)
{
    (void)unused;
    const ContextObject *context = (const ContextObject *)self;
    return pyaccel_divide(pyaccel_state_of(Py_TYPE(self)), context->inputs,
                          context->rank, context->size, context->padded);
}

static PyObject *
context_exit(PyObject *self, PyObject *const *exception, Py_ssize_t count)
{
    (void)self;
    (void)exception;
    (void)count;
    Py_RETURN_NONE; /* an exception of the block goes on */
}

static int
context_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((ContextObject *)self)->inputs);
    return 0;
}

static int
context_clear(PyObject *self)
{
    Py_CLEAR(((ContextObject *)self)->inputs);
    return 0;
}

static void
context_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)context_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef context_methods[] = {
    {"__enter__", context_enter, METH_NOARGS,
     PyDoc_STR("__enter__($self, /)\n--\n\nThis process' share of the inputs.")},
    {"__exit__", PYACCEL_METHOD(context_exit), METH_FASTCALL | METH_STATIC,
     PyDoc_STR("Ends the block; its exceptions go on.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot context_slots[] = {
    {Py_tp_dealloc, PYACCEL_SLOT(context_dealloc)},
    {Py_tp_traverse, PYACCEL_SLOT(context_traverse)},
    {Py_tp_clear, PYACCEL_SLOT(context_clear)},
    {Py_tp_methods, context_methods},
    {Py_tp_doc, "A block in which a process works on its share of the inputs."},
    {0, NULL},
};

static PyType_Spec context_spec = {
    .name = "pyaccel._C.SplitContext",
    .basicsize = sizeof(ContextObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = context_slots,
};

/* ---- The class that has the method ---- */

/* An attribute that holds a whole number; -1 with an exception, as for the number. */
static int64_t
read_number(PyObject *self, PyObject *name)
{
    PyObject *number = PyObject_GetAttr(self, name);
    if (number == NULL) {
        return -1;
    }
    int64_t value = PyLong_AsLongLong(number);
    Py_DECREF(number);
    return value;
}

static int
read_flag(PyObject *flag)
{
    return flag ? PyObject_IsTrue(flag) : 0;
}

static PyObject *
split_between_processes(PyObject *self, PyTypeObject *defining_class,
                        PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const parameters[] = {"inputs", "apply_padding"};
    pyaccel_state *state = pyaccel_state_of(defining_class);
    PyObject *values[2];
    if (pyaccel_arguments_parse("split_between_processes", parameters, 2, 1, args,
                                nargs, kwnames, values) < 0) {
        return NULL;
    }
    int padded = read_flag(values[1]);
    if (padded < 0) {
        return NULL;
    }
    int64_t size = read_number(self, state->str_num_processes);
    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int64_t rank = read_number(self, state->str_process_index);
    if (rank == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ContextObject *context =
        PyObject_GC_New(ContextObject, (PyTypeObject *)state->SplitContextType);
    if (context == NULL) {
        return NULL;
    }
    context->inputs = Py_NewRef(values[0]);
    context->rank = rank;
    context->size = size;
    context->padded = padded != 0;
    PyObject_GC_Track((PyObject *)context);
    return (PyObject *)context;
}

static PyMethodDef splitter_methods[] = {
    {"split_between_processes", PYACCEL_METHOD(split_between_processes),
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "split_between_processes($self, inputs, apply_padding=False)\n--\n\n"
         "A block in which each process works on its share of the inputs.\n\n"
         "Every process gets a run of neighbouring items; the first ones get what is\n"
         "left over. Lists, tuples, tensors, arrays, ranges and other sequences, "
         "pandas\n"
         "objects and datasets are split; of dicts and other mappings, nested ones\n"
         "too, each value, and all must have the same length. Text and bytes are one\n"
         "item: every process gets the whole of it. The inputs are not changed.\n\n"
         "`apply_padding` makes all shares equally long with copies of the last item,\n"
         "which stand at the end of the whole: gather the results, and keep as many "
         "as\n"
         "there were inputs.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot splitter_slots[] = {
    {Py_tp_methods, splitter_methods},
    {Py_tp_doc, "Base of classes with `num_processes` and `process_index`: the method "
                "that splits\ninputs between the processes."},
    {0, NULL},
};

static PyType_Spec splitter_spec = {
    .name = "pyaccel._C.Splitter",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = splitter_slots,
};

/* ---- The function ---- */

static PyObject *
split(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const char *const parameters[] = {"inputs", "rank", "size", "apply_padding"};
    PyObject *values[4];
    if (pyaccel_arguments_parse("split", parameters, 4, 3, args, nargs, kwnames,
                                values) < 0) {
        return NULL;
    }
    int64_t rank = PyLong_AsLongLong(values[1]);
    if (rank == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int64_t size = PyLong_AsLongLong(values[2]);
    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int padded = read_flag(values[3]);
    if (padded < 0) {
        return NULL;
    }
    return pyaccel_divide(pyaccel_state_get(module), values[0], rank, size,
                          padded != 0);
}

static PyMethodDef split_methods[] = {
    {"split", PYACCEL_METHOD(split), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("split($module, /, inputs, rank, size, apply_padding=False)\n--\n\n"
               "The share of `rank` among `size` processes, as "
               "split_between_processes gives it.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_split_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    state->SplitContextType = PyType_FromModuleAndSpec(module, &context_spec, NULL);
    if (state->SplitContextType == NULL) {
        return -1;
    }
    PyObject *splitter = PyType_FromModuleAndSpec(module, &splitter_spec, NULL);
    if (splitter == NULL) {
        return -1;
    }
    int status = PyModule_AddObjectRef(module, "Splitter", splitter);
    Py_DECREF(splitter);
    return status < 0 ? -1 : PyModule_AddFunctions(module, split_methods);
}
