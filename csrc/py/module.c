/* The extension module: its method table and its set-up, nothing else. */
#include "py/arrow.h"
#include "py/block.h"
#include "py/comm.h"
#include "py/error.h"
#include "py/gpu.h"
#include "py/names.h"
#include "py/object.h"
#include "py/segment.h"
#include "py/site.h"
#include "py/spawn.h"
#include "py/split.h"
#include "py/state.h"
#include "py/store_client.h"
#include "py/store_server.h"
#include "py/system.h"
#include "py/tensor.h"
#include "py/tree.h"
#include "py/walk.h"
#include "sys/pool.h"
#include "torch/devices.h"
#include "torch/shim.h"

/* Every step adds one file's types or functions; order is from the ground up. */
static int (*const setup_steps[])(PyObject *module) = {
    pyaccel_error_setup,        pyaccel_names_setup,   pyaccel_block_setup,
    pyaccel_tensor_setup,       pyaccel_tree_setup,    pyaccel_pickle_setup,
    pyaccel_comm_setup,         pyaccel_segment_setup, pyaccel_store_server_setup,
    pyaccel_store_client_setup, pyaccel_split_setup,   pyaccel_system_setup,
    pyaccel_spawn_setup,        pyaccel_walk_setup,    pyaccel_arrow_setup,
    pyaccel_site_setup,         pyaccel_gpu_setup,
};

static int
module_exec(PyObject *module)
{
    for (size_t i = 0; i < sizeof setup_steps / sizeof setup_steps[0]; i++) {
        if (setup_steps[i](module) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    pyaccel_state *state = pyaccel_state_get(module);
    if (state != NULL) {
#define PYACCEL_VISIT(name) Py_VISIT(state->name);
        PYACCEL_STATE_MAP(PYACCEL_VISIT)
#undef PYACCEL_VISIT
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    pyaccel_state *state = pyaccel_state_get(module);
    if (state != NULL) {
#define PYACCEL_CLEAR(name) Py_CLEAR(state->name);
        PYACCEL_STATE_MAP(PYACCEL_CLEAR)
#undef PYACCEL_CLEAR
    }
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear(module);
    pyaccel_state *state = pyaccel_state_get(module);
    if (state != NULL) {
        /* Results that are still alive keep it until they die. */
        pa_pool_destroy(state->pool);
        state->pool = NULL;
        pa_shim_close(state->shim);
        state->shim = NULL;
        pa_torch_devices_close(state->devices);
        state->devices = NULL;
    }
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, PYACCEL_SLOT(module_exec)},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pyaccel._C",
    .m_doc = "The C core of pyaccel. Private: use pyaccel's public modules.",
    .m_size = sizeof(pyaccel_state),
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__C(void)
{
    return PyModuleDef_Init(&module_definition);
}
