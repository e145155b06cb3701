/* The ArrowBytes type: the memory of an array that a library passes on by Arrow's C
 * data interface, as a Python buffer. Pillow gives an image's pixels that way, as they
 * stand. */
#ifndef PYACCEL_PY_ARROW_H
#define PYACCEL_PY_ARROW_H

#include "py/state.h"

/* Makes the type and adds arrow_bytes_of. -1 on failure. */
int
pyaccel_arrow_setup(PyObject *module);

#endif
