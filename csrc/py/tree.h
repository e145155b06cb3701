/* Nested structures: lists, tuples, namedtuples and mappings of leaves, taken apart
 * before an operation and put together again, with the same types, after it; or walked.
 */
#ifndef PYACCEL_PY_TREE_H
#define PYACCEL_PY_TREE_H

#include "py/leaves.h"

/* How a structure is taken apart. */
typedef struct pyaccel_flatten {
    pyaccel_state *state;
    pyaccel_leaves *leaves;
    const char *function; /* the name in accelerate's message about other types */
    bool write;           /* leaves are written to */
    bool nested_stays;    /* a nested tensor is a leaf of nothing, not a TypeError */
} pyaccel_flatten;

/* Adds all leaves of `tree`, in order, and what is around them to the leaves' hash.
 * -1 with TypeError for a leaf that is neither tensor nor array. */
int
pyaccel_tree_flatten(const pyaccel_flatten *how, PyObject *tree);

/* What is done to each object of a structure. */
typedef struct pyaccel_walk pyaccel_walk;
struct pyaccel_walk {
    pyaccel_state *state;
    void *context;
    /* What stands for a leaf. // new */
    PyObject *(*leaf)(const pyaccel_walk *walk, PyObject *leaf);
    /* (optional) What stands for an object that is no plain list, tuple or dict, before
     * it is looked into; NULL without an exception: look into it. // new */
    PyObject *(*whole)(const pyaccel_walk *walk, PyObject *object);
    /* (optional) Whether the value under this key stays as it is; -1 with an exception.
     */
    int (*keep)(const pyaccel_walk *walk, PyObject *key);
};

/* A structure like `tree`, of the same types, with what the walk makes of its leaves. A
 * type that cannot be called with a plain container is copied and filled anew. // new
 */
PyObject *
pyaccel_tree_map(const pyaccel_walk *walk, PyObject *tree);

/* A structure like `tree` whose leaves are `results[count]`, in order. // new
 * RuntimeError if the tree has changed since it was taken apart. */
PyObject *
pyaccel_tree_rebuild(pyaccel_state *state, PyObject *tree, PyObject *const *results,
                     size_t count);

/* Adds is_leaf. -1 on failure. */
int
pyaccel_tree_setup(PyObject *module);

#endif
