/* The results of an operation before they have values: new tensors and arrays. */
#ifndef PYACCEL_PY_OUTPUTS_H
#define PYACCEL_PY_OUTPUTS_H

#include "py/leaves.h"
#include "sys/arena.h"

typedef struct pyaccel_outputs {
    PyObject **objects; /* [count], owned */
    char **data;        /* [count], their memory */
    size_t count;
    bool readonly;   /* arrays are */
    pa_lease *lease; /* owned or NULL: the values stand there, at `starts` */
    size_t *starts;  /* [count], owned or NULL */
    PyObject *object_inline[PYACCEL_LEAVES_INLINE];
    char *data_inline[PYACCEL_LEAVES_INLINE];
} pyaccel_outputs;

/* Starts empty, so that pyaccel_outputs_fini may be called. The struct must not be
 * moved afterwards. */
void
pyaccel_outputs_empty(pyaccel_outputs *outputs);

/* Makes room for `count` results. -1 with an exception. */
int
pyaccel_outputs_init(pyaccel_outputs *outputs, size_t count);

/* Drops all results that are still here, and the room. */
void
pyaccel_outputs_fini(pyaccel_outputs *outputs);

/* A new tensor or array, as the leaf `index` is one, of its dtype with `shape[ndim]`,
 * and its memory of `nbytes`. // new */
PyObject *
pyaccel_output_make(pyaccel_state *state, const pyaccel_leaves *leaves, size_t index,
                    int32_t ndim, const int64_t *shape, size_t nbytes, char **data);

/* Adds the result of the next leaf: of its kind, dtype and inner shape, with `rows`
 * rows. With `rows` negative of its very shape. With a lease arrays are views of it,
 * and tensors copies. -1 with an exception. */
int
pyaccel_outputs_add(pyaccel_outputs *outputs, pyaccel_state *state,
                    const pyaccel_leaves *leaves, int64_t rows);

/* The structure `tree` with the finished results in the places of its leaves, each on
 * the device of its leaf. // new */
PyObject *
pyaccel_outputs_rebuild(pyaccel_outputs *outputs, pyaccel_state *state, PyObject *tree,
                        const pyaccel_leaves *leaves);

#endif
