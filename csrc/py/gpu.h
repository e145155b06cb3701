/* What there is of a GPU's libraries, and what they say of GPUs. */
#ifndef PYACCEL_PY_GPU_H
#define PYACCEL_PY_GPU_H

#include "py/state.h"

/* Adds gpu_search, gpu_libraries, gpu_list and gpu_driver. -1 on failure. */
int
pyaccel_gpu_setup(PyObject *module);

#endif
