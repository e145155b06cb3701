/* The ArrowBytes type: see the header. */
#include "py/arrow.h"

#include <stdbool.h>
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
    PyObject_HEAD char *data;
    Py_ssize_t nbytes;
    PyObject *owner; /* the array's capsule */
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

static void
arrow_dealloc(PyObject *object)
{
    ArrowObject *self = (ArrowObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(self->owner);
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
    pyaccel_state *state = pyaccel_state_get(module);
    ArrowObject *self =
        PyObject_New(ArrowObject, (PyTypeObject *)state->ArrowBytesType);
    if (self == NULL) {
        return NULL;
    }
    self->data = (char *)(uintptr_t)flat->buffers[1];
    self->nbytes = (Py_ssize_t)(flat->length * kind->nbytes);
    self->owner = Py_NewRef(array_capsule);
    return (PyObject *)self;
}

static PyType_Slot arrow_slots[] = {
    {Py_tp_dealloc, PYACCEL_SLOT(arrow_dealloc)},
    {Py_bf_getbuffer, PYACCEL_SLOT(arrow_getbuffer)},
    {Py_tp_doc, "The memory of a flat array of Arrow's. Private."},
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
