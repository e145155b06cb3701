/* The StoreServer type: serves a key-value store to ranks and to torch. */
#ifndef PYACCEL_PY_STORE_SERVER_H
#define PYACCEL_PY_STORE_SERVER_H

#include "py/state.h"

/* Makes the type. -1 on failure. */
int
pyaccel_store_server_setup(PyObject *module);

#endif
