/* The Block type: see the header. */
#include "py/block.h"

/* Released memory that is kept for later results. */
enum { POOL_KEEP_BYTES = 1 << 30 };

typedef struct BlockObject {
    PyObject_HEAD pa_block *block; /* or NULL */
    pa_lease *lease;               /* or NULL */
    char *data;
    Py_ssize_t nbytes;
    int readonly;
} BlockObject;

/* // new */
static BlockObject *
new_object(pyaccel_state *state, char *data, size_t nbytes, bool readonly)
{
    BlockObject *self = PyObject_New(BlockObject, (PyTypeObject *)state->BlockType);
    if (self != NULL) {
        self->block = NULL;
        self->lease = NULL;
        self->data = data;
        self->nbytes = (Py_ssize_t)nbytes;
        self->readonly = readonly;
    }
    return self;
}

PyObject *
pyaccel_block_new(pyaccel_state *state, pa_block *block, size_t nbytes, bool readonly)
{
    BlockObject *self = new_object(state, block->data, nbytes, readonly);
    if (self != NULL) {
        self->block = block;
    }
    return (PyObject *)self;
}

PyObject *
pyaccel_block_leased(pyaccel_state *state, pa_lease *lease, size_t start, size_t nbytes)
{
    char *data = (char *)(uintptr_t)pa_lease_data(lease) + start;
    BlockObject *self = new_object(state, data, nbytes, true);
    if (self != NULL) {
        self->lease = pa_lease_hold(lease);
    }
    return (PyObject *)self;
}

static void
block_dealloc(PyObject *object)
{
    BlockObject *self = (BlockObject *)object;
    PyTypeObject *type = Py_TYPE(object);
    pa_block_release(self->block);
    pa_lease_release(self->lease);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int
block_getbuffer(PyObject *object, Py_buffer *view, int flags)
{
    BlockObject *self = (BlockObject *)object;
    return PyBuffer_FillInfo(view, object, self->data, self->nbytes, self->readonly,
                             flags);
}

static PyType_Slot block_slots[] = {
    {Py_tp_dealloc, PYACCEL_SLOT(block_dealloc)},
    {Py_bf_getbuffer, PYACCEL_SLOT(block_getbuffer)},
    {Py_tp_doc, "Memory of a result. Private."},
    {0, NULL},
};

static PyType_Spec block_spec = {
    .name = "pyaccel._C.Block",
    .basicsize = sizeof(BlockObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = block_slots,
};

int
pyaccel_block_setup(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    state->pool = pa_pool_create(POOL_KEEP_BYTES);
    if (state->pool == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    state->BlockType = PyType_FromModuleAndSpec(module, &block_spec, NULL);
    return state->BlockType != NULL ? 0 : -1;
}
