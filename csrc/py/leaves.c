/* The leaves of a Python structure: see the header. */
#include "py/leaves.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

void
pyaccel_leaves_init(pyaccel_leaves *leaves)
{
    leaves->at = leaves->at_inline;
    leaves->extra = leaves->extra_inline;
    leaves->count = 0;
    leaves->capacity = PYACCEL_LEAVES_INLINE;
    leaves->dims = leaves->dims_inline;
    leaves->ndims = 0;
    leaves->dims_capacity = PYACCEL_DIMS_INLINE;
    leaves->places = leaves->places_inline;
    leaves->nplaces = 0;
    leaves->places_capacity = PYACCEL_PLACES_INLINE;
    leaves->structure = PA_HASH_SEED;
}

void
pyaccel_leaves_fini(pyaccel_leaves *leaves)
{
    for (size_t i = 0; i < leaves->count; i++) {
        Py_DECREF(leaves->extra[i].source);
        Py_DECREF(leaves->extra[i].holder);
        Py_XDECREF(leaves->extra[i].dtype);
    }
    if (leaves->at != leaves->at_inline) {
        free(leaves->at);
    }
    if (leaves->extra != leaves->extra_inline) {
        free(leaves->extra);
    }
    if (leaves->dims != leaves->dims_inline) {
        free(leaves->dims);
    }
    if (leaves->places != leaves->places_inline) {
        free(leaves->places);
    }
    leaves->count = 0;
}

/* A grown copy of an array that may still be the inline one; NULL when memory is
 * short, and the old one stays. */
static void *
grow(void *old, const void *inlined, size_t used, size_t capacity, size_t each)
{
    if (old != inlined) {
        return realloc(old, capacity * each);
    }
    void *grown = malloc(capacity * each);
    if (grown != NULL) {
        memcpy(grown, old, used * each);
    }
    return grown;
}

static int
reserve(pyaccel_leaves *leaves, size_t ndim)
{
    if (leaves->count == leaves->capacity) {
        size_t capacity = leaves->capacity * 4;
        pa_leaf *at =
            grow(leaves->at, leaves->at_inline, leaves->count, capacity, sizeof *at);
        if (at == NULL) {
            return -1;
        }
        leaves->at = at;
        pyaccel_leaf *extra = grow(leaves->extra, leaves->extra_inline, leaves->count,
                                   capacity, sizeof *extra);
        if (extra == NULL) {
            return -1;
        }
        leaves->extra = extra;
        leaves->capacity = capacity;
    }
    if (leaves->dims_capacity - leaves->ndims < ndim) {
        size_t capacity = leaves->dims_capacity * 4 + ndim;
        int64_t *dims = grow(leaves->dims, leaves->dims_inline, leaves->ndims, capacity,
                             sizeof *dims);
        if (dims == NULL) {
            return -1;
        }
        leaves->dims = dims;
        leaves->dims_capacity = capacity;
    }
    return 0;
}

const pa_place *
pyaccel_leaves_place(const pyaccel_leaves *leaves, int device)
{
    for (size_t i = 0; i < leaves->nplaces; i++) {
        if (leaves->places[i].device == device) {
            return &leaves->places[i];
        }
    }
    return NULL;
}

const pa_place *
pyaccel_leaves_add_place(pyaccel_leaves *leaves, pa_place place)
{
    if (leaves->nplaces == leaves->places_capacity) {
        size_t capacity = leaves->places_capacity * 2;
        pa_place *places = grow(leaves->places, leaves->places_inline, leaves->nplaces,
                                capacity, sizeof *places);
        if (places == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        leaves->places = places;
        leaves->places_capacity = capacity;
    }
    leaves->places[leaves->nplaces] = place;
    return &leaves->places[leaves->nplaces++];
}

int
pyaccel_leaves_add(pyaccel_leaves *leaves, const pa_leaf *leaf, pyaccel_kind kind,
                   PyObject *source, PyObject *holder, PyObject *dtype)
{
    size_t ndim = (size_t)leaf->ndim;
    if (reserve(leaves, ndim) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    if (ndim > 0) {
        memcpy(leaves->dims + leaves->ndims, leaf->shape, ndim * sizeof(int64_t));
    }
    leaves->at[leaves->count] = *leaf;
    leaves->extra[leaves->count] = (pyaccel_leaf){
        .kind = kind,
        .source = Py_NewRef(source),
        .holder = Py_NewRef(holder),
        .dtype = Py_XNewRef(dtype),
        .dims_at = leaves->ndims,
        .place_at = leaf->place != NULL ? (int)(leaf->place - leaves->places) : -1,
    };
    leaves->structure = pa_hash_mix(leaves->structure, (uint64_t)kind + 1);
    leaves->ndims += ndim;
    leaves->count++;
    return 0;
}

pa_leaves
pyaccel_leaves_view(pyaccel_leaves *leaves)
{
    for (size_t i = 0; i < leaves->count; i++) {
        const pyaccel_leaf *extra = &leaves->extra[i];
        leaves->at[i].shape = leaves->dims + extra->dims_at;
        leaves->at[i].place =
            extra->place_at >= 0 ? &leaves->places[extra->place_at] : NULL;
    }
    return (pa_leaves){leaves->at, leaves->count, leaves->structure};
}
