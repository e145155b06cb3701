/* The containers of a nested structure in words, for messages. */
#ifndef PYACCEL_PY_OUTLINE_H
#define PYACCEL_PY_OUTLINE_H

#include "py/state.h"

/* Writes the containers and keys of `tree` to `text`, such as "{'a': _, 'b': [_, _]}"
 * with `_` for each leaf, cut to `capacity`; nothing for a leaf alone. Needs the
 * interpreter lock; leaves no exception. */
void
pyaccel_outline_format(pyaccel_state *state, PyObject *tree, char *text,
                       size_t capacity);

#endif
