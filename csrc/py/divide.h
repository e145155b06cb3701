/* A whole input, containers inside mappings included, divided between the ranks. */
#ifndef PYACCEL_PY_DIVIDE_H
#define PYACCEL_PY_DIVIDE_H

#include <stdbool.h>

#include "py/state.h"

/* The share of `rank` among `size` ranks of `inputs` (borrowed). Mappings are gone
 * through to the containers in them, which must all have the same length, and built
 * anew; `inputs` stays as it is. Text and bytes are one item that every rank gets, with
 * a UserWarning for the first one met. With one rank the result is `inputs` itself, but
 * what cannot be split is refused there too.
 *
 * NULL with TypeError for what cannot be split, ValueError for lengths that differ or a
 * rank out of range, or with what the containers raise. Never waits. */
PyObject * // new
pyaccel_divide(pyaccel_state *state, PyObject *inputs, int64_t rank, int64_t size,
               bool padded);

#endif
