/* The Comm type: a communicator for Python. Every collective releases the interpreter
 * lock while it waits, can be interrupted by Ctrl-C, and keeps to its deadline. */
#ifndef PYACCEL_PY_COMM_H
#define PYACCEL_PY_COMM_H

#include "comm/comm.h"
#include "py/tree.h"

#include <pthread.h>

/* What one thread at a time may do: the collectives of a group, or one end of one of
 * its channels. */
typedef struct pyaccel_turn {
    pthread_mutex_t lock;
    pthread_t holder; /* who has the lock, while `held` */
    int held;
} pyaccel_turn;

/* This rank's end of a channel. */
typedef struct pyaccel_end {
    pyaccel_turn turn;
    PyObject *structures; /* owned or NULL: those that the other side has been told, or
                           * has told, by key: see structure.h */
} pyaccel_end;

typedef struct CommObject {
    PyObject_HEAD pa_comm *comm; /* until close */
    pyaccel_turn turn;           /* of the collectives */
    pyaccel_end *ends; /* [2][size]: of the channels to each rank, then from */
    int borrowers;     /* calls that use `comm` without the lock */
    pa_comm *orphan;   /* closed while it was borrowed; the last borrower destroys it */
    struct pyaccel_alarm *alarm; /* NULL until a device is named or used */
    int rank;                    /* facts outlive the communicator */
    int size;
    const char *backend;
} CommObject;

/* One operation of a Comm, from pyaccel_call_begin to pyaccel_call_end. */
typedef struct pyaccel_call {
    CommObject *self;
    pa_comm *comm; /* self->comm may be closed while a channel waits */
    pyaccel_turn *turn;
    pyaccel_state *state;
    PyThreadState *thread; /* saved while the interpreter lock is released */
    pa_hooks hooks;
    pa_error error;
    PyObject *tree; /* borrowed or NULL: what the script passed */
    uint32_t op;
    int warned; /* the text about a long wait was written */
} pyaccel_call;

/* Checks the handle and waits for its turn. -1 with an exception, and then no end is
 * due.
 */
int
pyaccel_call_begin(pyaccel_call *call, CommObject *self, uint32_t op);

/* Takes a structure apart (py/tree.h) for an operation that moves bytes of its leaves,
 * which may stand on devices. -1 with an exception. */
int
pyaccel_call_flatten(pyaccel_call *call, const pyaccel_flatten *how, PyObject *tree);

/* To be called before work on devices can be enqueued: whatever fails of it later is
 * raised then. -1 with MemoryError. */
int
pyaccel_call_uses_devices(pyaccel_call *call);

/* As pyaccel_call_begin, for one end of a channel (NULL: of none that there is), beside
 * whatever else the Comm does. */
int
pyaccel_call_begin_channel(pyaccel_call *call, CommObject *self, pyaccel_end *end,
                           uint32_t op);

/* Keeps a Comm's communicator alive for a call that does not have its turn, even if it
 * is closed meanwhile. */
void
pyaccel_comm_borrow(CommObject *self);
void
pyaccel_comm_return(CommObject *self);

/* Takes the interpreter lock back if the operation released it. */
void
pyaccel_call_resume(pyaccel_call *call);

/* Tells the other ranks that this one cannot take part, with the text of the exception
 * that is set; it stays set. */
void
pyaccel_call_excuse(pyaccel_call *call);

/* Gives the turn back; the interpreter lock is held afterwards. */
void
pyaccel_call_end(pyaccel_call *call);
void
pyaccel_call_end_channel(pyaccel_call *call);

/* Resumes, and sets the exception for a status that is not PA_OK. -1 then, else 0. */
int
pyaccel_call_check(pyaccel_call *call, pa_status status);

/* The collectives of comm_ops.c, comm_reduce.c and comm_pad.c, as entries of the method
 * table. */
PyObject *
pyaccel_comm_barrier(PyObject *object, PyObject *unused);
PyObject *
pyaccel_comm_gather(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                    PyObject *names);
PyObject *
pyaccel_comm_broadcast(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                       PyObject *names);
PyObject *
pyaccel_comm_reduce(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                    PyObject *names);
PyObject *
pyaccel_comm_gather_object(PyObject *object, PyObject *const *arguments,
                           Py_ssize_t count, PyObject *names);
PyObject *
pyaccel_comm_pad(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                 PyObject *names);
PyObject *
pyaccel_comm_broadcast_object(PyObject *object, PyObject *const *arguments,
                              Py_ssize_t count, PyObject *names);

/* What comm_devices.c adds to the method table. */
PyObject *
pyaccel_comm_set_device(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                        PyObject *names);
PyObject *
pyaccel_comm_ask_ways(PyObject *object, PyObject *rows);
PyObject *
pyaccel_comm_devices(PyObject *object, PyObject *unused);

/* Messages between two ranks, of comm_send.c and comm_recv.c, as entries of the method
 * table. */
PyObject *
pyaccel_comm_send(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                  PyObject *names);
PyObject *
pyaccel_comm_recv(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                  PyObject *names);
PyObject *
pyaccel_comm_send_object(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names);
PyObject *
pyaccel_comm_recv_object(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names);

/* Makes the type and adds comm_self and comm_attach. -1 on failure. */
int
pyaccel_comm_setup(PyObject *module);

#endif
