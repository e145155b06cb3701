/* The leaves of a Python structure on their way through an operation: as the core sees
 * them, and with the objects that keep their memory alive. */
#ifndef PYACCEL_PY_LEAVES_H
#define PYACCEL_PY_LEAVES_H

#include "base/leaf.h"
#include "py/state.h"

#include <stdbool.h>

/* A nested tensor is a leaf only where nothing is done to it. */
typedef enum pyaccel_kind {
    PYACCEL_TENSOR,
    PYACCEL_ARRAY,
    PYACCEL_NESTED,
} pyaccel_kind;

/* What belongs to a leaf beside its pa_leaf. */
typedef struct pyaccel_leaf {
    pyaccel_kind kind;
    PyObject *source; /* owned: the object in the structure */
    PyObject *holder; /* owned: whose memory the leaf is; often the source itself */
    PyObject *dtype;  /* owned or NULL: the dtype object, where results need it */
    bool away;        /* a tensor of another device, of which the holder is a copy */
    size_t dims_at;   /* where its dimensions begin in `dims` */
    int place_at;     /* which of `places` its memory is on; -1: the host's */
} pyaccel_leaf;

/* Room for what most calls pass, before memory is asked for. */
enum {
    PYACCEL_LEAVES_INLINE = 4,
    PYACCEL_DIMS_INLINE = 24,
    PYACCEL_PLACES_INLINE = 2,
};

typedef struct pyaccel_leaves {
    pa_leaf *at;
    pyaccel_leaf *extra;
    size_t count;
    size_t capacity;
    int64_t *dims; /* all leaves' dimensions: copies, since tensors can change theirs */
    size_t ndims;
    size_t dims_capacity;
    pa_place *places; /* one for each device of the call */
    size_t nplaces;
    size_t places_capacity;
    uint64_t structure;
    pa_leaf at_inline[PYACCEL_LEAVES_INLINE];
    pyaccel_leaf extra_inline[PYACCEL_LEAVES_INLINE];
    int64_t dims_inline[PYACCEL_DIMS_INLINE];
    pa_place places_inline[PYACCEL_PLACES_INLINE];
} pyaccel_leaves;

/* Starts empty. The struct must not be moved afterwards. */
void
pyaccel_leaves_init(pyaccel_leaves *leaves);

/* Drops all references and memory. */
void
pyaccel_leaves_fini(pyaccel_leaves *leaves);

/* The place of that device, if one was added; valid until another is. */
const pa_place *
pyaccel_leaves_place(const pyaccel_leaves *leaves, int device);

/* Adds a place that is not there yet. As pyaccel_leaves_place; NULL with MemoryError.
 */
const pa_place *
pyaccel_leaves_add_place(pyaccel_leaves *leaves, pa_place place);

/* Adds a leaf, whose place, if it has one, is one of these leaves': copies `leaf` and
 * its dimensions, takes new references to the objects (`dtype` may be NULL). -1 with
 * MemoryError. */
int
pyaccel_leaves_add(pyaccel_leaves *leaves, const pa_leaf *leaf, pyaccel_kind kind,
                   PyObject *source, PyObject *holder, PyObject *dtype);

/* To be called when all are added: points the leaves at their dimensions and places. */
pa_leaves
pyaccel_leaves_view(pyaccel_leaves *leaves);

#endif
