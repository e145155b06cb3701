/* Objects of other libraries, recognised without importing any of them. */
#ifndef PYACCEL_PY_FOREIGN_H
#define PYACCEL_PY_FOREIGN_H

#include "py/state.h"

typedef enum pyaccel_foreign {
    PYACCEL_FOREIGN_NONE,    /* of none of the libraries below */
    PYACCEL_FOREIGN_TENSOR,  /* torch.Tensor */
    PYACCEL_FOREIGN_ARRAY,   /* numpy.ndarray */
    PYACCEL_FOREIGN_FRAME,   /* pandas.DataFrame and Series: rows by `iloc` */
    PYACCEL_FOREIGN_INDEX,   /* pandas.Index */
    PYACCEL_FOREIGN_DATASET, /* datasets.Dataset */
} pyaccel_foreign;

/* What `object` (borrowed) is; an object of a subclass counts. A library that was not
 * imported has no objects, so its types are looked up in sys.modules, and kept in the
 * state once they were found. Raises nothing. */
pyaccel_foreign
pyaccel_foreign_of(pyaccel_state *state, PyObject *object);

#endif
