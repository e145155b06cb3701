/* What is known of a structure without its tensors: enough to make new ones for it.
 *
 * Beside the values a message carries the structure's key. The first time that a side
 * sends one of this key the structure comes along, pickled: its containers and keys,
 * and each leaf's dtype. Both sides keep what they have seen, by key. */
#ifndef PYACCEL_PY_STRUCTURE_H
#define PYACCEL_PY_STRUCTURE_H

#include "comm/describe.h"
#include "py/leaves.h"

/* The key of leaves that were taken from a structure: its containers, kinds of leaves,
 * dtypes, and which of them are of other devices than the CPU. */
uint64_t
pyaccel_structure_key(const pyaccel_leaves *leaves);

/* Whether the key says all about the containers of a tree: they are Python's own dicts,
 * lists and tuples, under keys with plain values. Others may have more to them, which
 * must come along each time. */
bool
pyaccel_structure_plain(const pyaccel_state *state, PyObject *tree);

/* The structure `tree`, of which `leaves` were taken, as an object that can be pickled.
 * // new */
PyObject *
pyaccel_structure_new(pyaccel_state *state, PyObject *tree,
                      const pyaccel_leaves *leaves);

/* Adds `count` leaves of such a structure to empty `leaves`, with the dtypes and shapes
 * that `reader` has; what stood on a CUDA device is placed on this rank's, if it has
 * one (pyaccel_place_own). -1 with an exception; DistributedOperationException where
 * the two do not belong together. */
int
pyaccel_structure_leaves(pyaccel_state *state, PyObject *structure,
                         pa_describe_reader reader, uint32_t count, pa_comm *comm,
                         pyaccel_leaves *leaves);

/* A result for leaf `index`, `made` on the CPU, on this process' device of the kind
 * that the leaf came from, if it has one; else itself. // new */
PyObject *
pyaccel_structure_settle(PyObject *structure, size_t index, PyObject *made,
                         pyaccel_state *state);

/* Its containers with nothing in the places of the leaves. // borrowed */
PyObject *
pyaccel_structure_tree(PyObject *structure);

#endif
