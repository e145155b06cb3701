/* The Block type: see the header. */
#include "py/block.h"

/* Released memory that is kept for later results. */
enum { POOL_KEEP_BYTES = 1 << 30 };

typedef struct BlockObject {
    PyObject_HEAD pa_block *block;
    Py_ssize_t nbytes;
} BlockObject;

PyObject *
pyaccel_block_new(pyaccel_state *state, pa_block *block, size_t nbytes)
{
    BlockObject *self = PyObject_New(BlockObject, (PyTypeObject *)state->BlockType);
    if (self != NULL) {
        self->block = block;
        self->nbytes = (Py_ssize_t)nbytes;
    }
    return (PyObject *)self;
}

static void
block_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    pa_block_release(((BlockObject *)self)->block);
    PyObject_Free(self);
    Py_DECREF(type);
}

static int
block_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    BlockObject *block = (BlockObject *)self;
    return PyBuffer_FillInfo(view, self, block->block->data, block->nbytes, 0, flags);
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
