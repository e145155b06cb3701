/* Keys of mappings, as ranks compare them. */
#ifndef PYACCEL_PY_KEY_H
#define PYACCEL_PY_KEY_H

#include "py/state.h"

/* Mixes a key into `*hash`: the type and the value of text, numbers, bytes, None, enum
 * members and tuples of these; of any other key the type alone, because nothing else
 * about it need be the same in two processes. -1 with an exception. */
int
pyaccel_key_hash(pyaccel_state *state, PyObject *key, uint64_t *hash);

#endif
