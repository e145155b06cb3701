/* Functions about the machine and this build: see the header. */
#include "py/system.h"

#include "comm/shm/layout.h"
#include "py/error.h"
#include "py/tensor.h"
#include "sys/copy.h"
#include "sys/cpus.h"
#include "sys/pool.h"

static PyObject *
usable_cpus(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyFloat_FromDouble(pa_cpus_usable());
}

static PyObject *
build_info(PyObject *module, PyObject *unused)
{
    (void)unused;
    pyaccel_state *state = pyaccel_state_get(module);
    if (!state->torch_bound && pyaccel_tensor_bind(state) < 0) {
        return NULL;
    }
    pa_pool_stats pool = pa_pool_get_stats(state->pool);
    pyaccel_tensor_path path = pyaccel_tensor_path_now(state);
    bool exchange = pyaccel_tensor_path_available(state, PYACCEL_PATH_EXCHANGE);
    bool shim = pyaccel_tensor_path_available(state, PYACCEL_PATH_SHIM);
#ifdef Py_LIMITED_API
    const char *abi = "abi3";
#else
    const char *abi = "full";
#endif
    return Py_BuildValue(
        "{sssssOsss{sOsOsO}sisisnsnsn}", "compiler", __VERSION__, "abi", abi, "torch",
        state->torch_bound ? Py_True : Py_False, "tensor_path",
        pyaccel_tensor_path_name(path), "tensor_paths", "exchange",
        exchange ? Py_True : Py_False, "shim", shim ? Py_True : Py_False, "attributes",
        Py_True, "chunk_bytes", (int)PA_SHM_CHUNK_BYTES, "inline_bytes",
        (int)PA_CARD_INLINE, "live_blocks", (Py_ssize_t)pool.live_blocks, "kept_blocks",
        (Py_ssize_t)pool.kept_blocks, "kept_bytes", (Py_ssize_t)pool.kept_bytes);
}

static PyMethodDef system_methods[] = {
    {"usable_cpus", usable_cpus, METH_NOARGS,
     PyDoc_STR("usable_cpus($module, /)\n--\n\n"
               "Processors this process may use: affinity and cgroup quota.")},
    {"build_info", build_info, METH_NOARGS,
     PyDoc_STR("build_info($module, /)\n--\n\n"
               "How the core was built and what it uses, as a dict.")},
    {NULL, NULL, 0, NULL},
};

int
pyaccel_system_setup(PyObject *module)
{
    return PyModule_AddFunctions(module, system_methods);
}
