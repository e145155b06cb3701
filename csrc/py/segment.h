/* The Segment type: a group's shared memory in the hands of whoever starts the ranks.
 */
#ifndef PYACCEL_PY_SEGMENT_H
#define PYACCEL_PY_SEGMENT_H

#include "py/state.h"

/* Makes the type. -1 on failure. */
int
pyaccel_segment_setup(PyObject *module);

#endif
