/* Python objects as parcels: pickle protocol 5 with large buffers beside the stream. */
#ifndef PYACCEL_PY_OBJECT_H
#define PYACCEL_PY_OBJECT_H

#include "comm/parcel.h"
#include "py/state.h"

/* A serialised object that is about to be sent. Starts zeroed. */
typedef struct pyaccel_pickle {
    PyObject *text;    /* owned: bytes */
    PyObject *buffers; /* owned or NULL: a list of PickleBuffer */
    Py_buffer *views;  /* [nviews] of the buffers */
    size_t nviews;
    pa_part *parts; /* text, then buffers: what the core sends */
    size_t nparts;
} pyaccel_pickle;

/* Serialises the object. -1 with whatever exception that raised. */
int
pyaccel_pickle_dump(pyaccel_state *state, PyObject *object, pyaccel_pickle *pickle);

/* Drops what pyaccel_pickle_dump made; a zeroed one is fine. */
void
pyaccel_pickle_fini(pyaccel_pickle *pickle);

/* The object in a parcel; its buffers go over to it, `readonly` or not (leased ones
 * always are). // new */
PyObject *
pyaccel_pickle_load(pyaccel_state *state, pa_parcel *parcel, bool readonly);

/* Adds keep_buffer_in_band. -1 on failure. */
int
pyaccel_pickle_setup(PyObject *module);

#endif
