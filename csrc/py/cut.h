/* How one container of items is measured and cut, for every kind of container. */
#ifndef PYACCEL_PY_CUT_H
#define PYACCEL_PY_CUT_H

#include <stdbool.h>

#include "part/share.h"
#include "py/state.h"

/* Which of a container's items are wanted. */
typedef struct pyaccel_cut {
    pa_share share;
    Py_ssize_t count; /* how many items the container has */
    bool padded;      /* whether padding was asked for, needed here or not */
} pyaccel_cut;

typedef enum pyaccel_cutter_kind {
    PYACCEL_CUTTER_ITEMS,   /* has items to cut between */
    PYACCEL_CUTTER_MAPPING, /* has values that are cut each in its own way */
    PYACCEL_CUTTER_WHOLE,   /* text and bytes: one item, never cut */
} pyaccel_cutter_kind;

/* A kind of container. Only PYACCEL_CUTTER_ITEMS has the functions. */
typedef struct pyaccel_cutter {
    pyaccel_cutter_kind kind;
    /* (optional) The number of items; -1 with an exception. NULL: what len() says. */
    Py_ssize_t (*length)(pyaccel_state *state, PyObject *container);
    /* The wanted items, as a container of the same kind; shares memory with the whole
     * where slicing does. NULL with an exception, TypeError if it cannot be cut. */
    PyObject * // new
        (*cut)(pyaccel_state *state, PyObject *container, const pyaccel_cut *cut);
} pyaccel_cutter;

/* How `object` (borrowed) is cut; NULL when it cannot be, with an exception only if
 * finding out failed. What has neither items by position nor keys cannot be cut. */
const pyaccel_cutter *
pyaccel_cutter_find(pyaccel_state *state, PyObject *object);

/* The number of items of `container` (borrowed) for a cutter with items; -1 with an
 * exception. */
Py_ssize_t
pyaccel_cutter_length(const pyaccel_cutter *cutter, pyaccel_state *state,
                      PyObject *container);

#endif
