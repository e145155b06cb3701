/* The ArrowBytes type: flat memory that Arrow's C data interface passes from library to
 * library. Pillow gives and takes an image's pixels that way, as they stand. */
#ifndef PYACCEL_PY_ARROW_H
#define PYACCEL_PY_ARROW_H

#include "py/state.h"

/* Makes the type and adds arrow_bytes and arrow_bytes_of. -1 on failure. */
int
pyaccel_arrow_setup(PyObject *module);

#endif
