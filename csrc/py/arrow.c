/* The ArrowBytes type: see the header. */
#include "py/arrow.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The two structs of Arrow's C data interface, in its order. */
typedef struct arrow_schema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct arrow_schema **children;
    struct arrow_schema *dictionary;
    void (*release)(struct arrow_schema *);
    void *private_data;
} arrow_schema;

typedef struct arrow_array {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct arrow_array **children;
    struct arrow_array *dictionary;
    void (*release)(struct arrow_array *);
    void *private_data;
} arrow_array;

static const char schema_name[] = "arrow_schema";
static const char array_name[] = "arrow_array";

/* The elements that a flat array may have, by Arrow's letter. */
typedef struct element {
    char format[2];
    int64_t nbytes;
} element;

static const element elements[] = {
    {"C", 1}, {"s", 2}, {"S", 2}, {"i", 4}, {"I", 4}, {"f", 4},
};

typedef struct ArrowObject {
    PyObject_HEAD const element *element;
    char *data;
    Py_ssize_t nbytes;
    PyObject *owner; /* an array's capsule, or NULL: `view` keeps the memory */
    Py_buffer view;
} ArrowObject;

static const element *
find_element(const char *format)
{
    for (size_t i = 0; format != NULL && i < sizeof elements / sizeof elements[0];
         i++) {
        if (strcmp(format, elements[i].format) == 0) {
            return &elements[i];
        }
    }
    PyErr_Format(PyExc_ValueError, "an Arrow array of %s is not known here",
                 format != NULL ? format : "no format");
    return NULL;
}

/* A new object without memory. // new */
static ArrowObject *
arrow_new(pyaccel_state *state, const element *kind)
{
    ArrowObject *self =
        PyObject_New(ArrowObject, (PyTypeObject *)state->ArrowBytesType);
    if (self != NULL) {
        self->element = kind;
        self->data = NULL;
        self->nbytes = 0;
        self->owner = NULL;
        self->view = (Py_buffer){0};
    }
    return self;
}

static void
arrow_dealloc(PyObject *object)
{
    ArrowObject *self = (ArrowObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyBuffer_Release(&self->view);
    Py_XDECREF(self->owner);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int
arrow_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    ArrowObject *self = (ArrowObject *)object;
    /* Nobody writes to an array of Arrow's; but what is pickled as read-only arrives as
     * read-only, and the receiver's memory is its own. */
    return PyBuffer_FillInfo(view, object, self->data, self->nbytes, 0, flags);
}

/* ---- Giving memory away as an array ---- */

static void
schema_release(arrow_schema *schema)
{
    schema->release = NULL;
}

/* Called by whoever took the array over, on any thread. */
static void
array_release(arrow_array *array)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    Py_DECREF((PyObject *)array->private_data);
    PyGILState_Release(gil);
    free(array->buffers);
    array->release = NULL;
}

static void
schema_capsule_free(PyObject *capsule)
{
    arrow_schema *schema = PyCapsule_GetPointer(capsule, schema_name);
    if (schema->release != NULL) {
        schema->release(schema);
    }
    free(schema);
}

static void
array_capsule_free(PyObject *capsule)
{
    arrow_array *array = PyCapsule_GetPointer(capsule, array_name);
    if (array->release != NULL) {
        array->release(array);
    }
    free(array);
}

static PyObject *
make_schema(const ArrowObject *self)
{
    arrow_schema *schema = calloc(1, sizeof *schema);
    if (schema == NULL) {
        return PyErr_NoMemory();
    }
    schema->format = self->element->format;
    schema->name = "";
    schema->release = schema_release;
    PyObject *capsule = PyCapsule_New(schema, schema_name, schema_capsule_free);
    if (capsule == NULL) {
        free(schema);
    }
    return capsule;
}

static PyObject *
make_array(ArrowObject *self)
{
    arrow_array *array = calloc(1, sizeof *array);
    const void **buffers = calloc(2, sizeof *buffers);
    PyObject *capsule = NULL;
    if (array == NULL || buffers == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    buffers[1] = self->data;
    array->length = self->nbytes / self->element->nbytes;
    array->n_buffers = 2;
    array->buffers = buffers;
    array->release = array_release;
    array->private_data = self;
    capsule = PyCapsule_New(array, array_name, array_capsule_free);
    if (capsule != NULL) {
        Py_INCREF((PyObject *)self);
        return capsule;
    }
done:
    free(buffers);
    free(array);
    return capsule;
}

static PyObject *
arrow_c_array(PyObject *object, PyObject *requested)
{
    (void)requested;
    ArrowObject *self = (ArrowObject *)object;
    PyObject *schema = make_schema(self);
    PyObject *array = schema != NULL ? make_array(self) : NULL;
    PyObject *both = array != NULL ? PyTuple_Pack(2, schema, array) : NULL;
    Py_XDECREF(schema);
    Py_XDECREF(array);
    return both;
}

/* ---- Taking memory ---- */

static PyObject *
arrow_bytes(PyObject *module, PyObject *arguments)
{
    const char *format = NULL;
    PyObject *buffer = NULL;
    if (!PyArg_ParseTuple(arguments, "sO:arrow_bytes", &format, &buffer)) {
        return NULL;
    }
    const element *kind = find_element(format);
    ArrowObject *self =
        kind != NULL ? arrow_new(pyaccel_state_get(module), kind) : NULL;
    if (self == NULL) {
        return NULL;
    }
    if (PyObject_GetBuffer(buffer, &self->view, PyBUF_SIMPLE) < 0) {
        Py_DECREF((PyObject *)self);
        return NULL;
    }
    self->data = self->view.buf;
    self->nbytes = self->view.len;
    return (PyObject *)self;
}

/* The flat array in an array: itself, or the only child of fixed-size lists. NULL if it
 * is of another build. */
static const arrow_array *
flat_part(const arrow_schema **schema, const arrow_array *array)
{
    if ((*schema)->n_children == 1 && array->n_children == 1 && array->offset == 0 &&
        strncmp((*schema)->format, "+w:", 3) == 0) {
        *schema = (*schema)->children[0];
        array = array->children[0];
    }
    bool flat = array->n_children == 0 && array->n_buffers == 2 && array->offset == 0 &&
                array->length >= 0 && array->buffers[1] != NULL;
    return flat ? array : NULL;
}

static PyObject *
arrow_bytes_of(PyObject *module, PyObject *arguments)
{
    PyObject *schema_capsule = NULL;
    PyObject *array_capsule = NULL;
    if (!PyArg_ParseTuple(arguments, "OO:arrow_bytes_of", &schema_capsule,
                          &array_capsule)) {
        return NULL;
    }
    const arrow_schema *schema = PyCapsule_GetPointer(schema_capsule, schema_name);
    const arrow_array *array =
        schema != NULL ? PyCapsule_GetPointer(array_capsule, array_name) : NULL;
    if (array == NULL) {
        return NULL;
    }
    const arrow_array *flat = schema->release != NULL && array->release != NULL
                                  ? flat_part(&schema, array)
                                  : NULL;
    if (flat == NULL) {
        PyErr_SetString(PyExc_ValueError, "an Arrow array that is not flat");
        return NULL;
    }
    const element *kind = find_element(schema->format);
    if (kind == NULL) {
        return NULL;
    }
    if (flat->length > PY_SSIZE_T_MAX / kind->nbytes) {
        PyErr_SetString(PyExc_ValueError, "an Arrow array that fits no memory");
        return NULL;
    }
    ArrowObject *self = arrow_new(pyaccel_state_get(module), kind);
    if (self == NULL) {
        return NULL;
    }
    self->data = (char *)(uintptr_t)flat->buffers[1];
    self->nbytes = (Py_ssize_t)(flat->length * kind->nbytes);
    self->owner = Py_NewRef(array_capsule);
    return (PyObject *)self;
}

static PyObject *
arrow_get_format(PyObject *object, void *closure)
{
    (void)closure;
    return PyUnicode_FromString(((ArrowObject *)object)->element->format);
}

static PyGetSetDef arrow_members[] = {
    {"format", arrow_get_format, NULL, PyDoc_STR("Arrow's letter of an element."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef arrow_methods[] = {
    {"__arrow_c_array__", arrow_c_array, METH_VARARGS,
     PyDoc_STR("__arrow_c_array__($self, requested_schema=None, /)\n--\n\n"
               "The memory as capsules of a schema and an array.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot arrow_slots[] = {
    {Py_tp_dealloc, PYACCEL_SLOT(arrow_dealloc)},
    {Py_tp_methods, arrow_methods},
    {Py_tp_getset, arrow_members},
    {Py_bf_getbuffer, PYACCEL_SLOT(arrow_getbuffer)},
    {Py_tp_doc, "Flat memory as Arrow passes it on. Private."},
    {0, NULL},
};

static PyType_Spec arrow_spec = {
    .name = "pyaccel._C.ArrowBytes",
    .basicsize = sizeof(ArrowObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = arrow_slots,
};

static PyMethodDef arrow_module_methods[] = {
    {"arrow_bytes", arrow_bytes, METH_VARARGS,
     PyDoc_STR("arrow_bytes($module, format, buffer, /)\n--\n\n"
               "The buffer's memory, of elements of Arrow's format.")},
    {"arrow_bytes_of", arrow_bytes_of, METH_VARARGS,
     PyDoc_STR("arrow_bytes_of($module, schema, array, /)\n--\n\n"
               "The memory of the flat array in two capsules of Arrow's.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_arrow_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    state->ArrowBytesType = PyType_FromModuleAndSpec(module, &arrow_spec, NULL);
    return state->ArrowBytesType != NULL
               ? PyModule_AddFunctions(module, arrow_module_methods)
               : -1;
}
