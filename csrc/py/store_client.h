/* The StoreClient type: a client of a key-value store, ours or torch's. */
#ifndef PYACCEL_PY_STORE_CLIENT_H
#define PYACCEL_PY_STORE_CLIENT_H

#include "py/state.h"

/* Makes the type. -1 on failure. */
int
pyaccel_store_client_setup(PyObject *module);

#endif
