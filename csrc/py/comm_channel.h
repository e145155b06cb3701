/* What sending and receiving have in common: comm_send.c and comm_recv.c. */
#ifndef PYACCEL_PY_COMM_CHANNEL_H
#define PYACCEL_PY_COMM_CHANNEL_H

#include "py/comm.h"

#include <stdbool.h>

/* Whom a call is for, and what both sides must agree on. */
typedef struct pyaccel_address {
    int64_t peer;
    int64_t tag;
    uint64_t digest;
} pyaccel_address;

/* Reads `values[3]`: the peer, called `name`, tag and digest. -1 with an exception. */
int
pyaccel_address_read(PyObject *const *values, const char *name, pyaccel_address *to);

/* This rank's end of the channel; NULL where there is no such rank, of which the core
 * says so. */
pyaccel_end *
pyaccel_end_of(CommObject *self, int64_t peer, bool sends);

/* The key of a structure in an end's dictionary, which is made if need be. // new */
PyObject *
pyaccel_end_key(pyaccel_end *end, uint64_t key);

#endif
