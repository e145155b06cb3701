/* One call of a StoreClient: its arguments, the lock of the client, the interpreter's.
 */
#ifndef PYACCEL_PY_STORE_CALL_H
#define PYACCEL_PY_STORE_CALL_H

#include "py/state.h"
#include "store/client.h"

#include <pthread.h>

typedef struct ClientObject {
    PyObject_HEAD pa_client *client; /* until close */
    pthread_mutex_t lock;            /* one call at a time */
    pthread_t holder;                /* who has the lock, while `held` */
    int held;
    uint64_t timeout_ns;
} ClientObject;

enum { PYACCEL_STORE_ARGUMENTS = 3 };

/* One call, during which the interpreter lock is released. */
typedef struct pyaccel_store_call {
    ClientObject *self;
    PyThreadState *thread;
    pa_patience patience;
    pa_error error;
    pa_bytes at[PYACCEL_STORE_ARGUMENTS]; /* keys and values, where they were given */
    pa_bytes *keys;                       /* [nkeys] of a list */
    Py_ssize_t nkeys;
    PyObject *held; /* keeps them */
    int64_t number; /* given, or the answer */
    pa_bytes value; /* the answer */
    bool yes;       /* the answer */
} pyaccel_store_call;

/* A method. A letter a parameter says what it is: `k` a key, `v` a value, `n` a number,
 * `l` a list of keys, `t` a timeout, None for the client's own; one says what is
 * answered: a value, a number, `b` whether, or a blank for nothing. */
typedef struct pyaccel_store_method {
    const char *name;
    pa_status (*run)(pa_client *client, pyaccel_store_call *call);
    const char *kinds;
    int required;
    const char *parameters[PYACCEL_STORE_ARGUMENTS];
    char answer;
} pyaccel_store_method;

/* The patience of a call that has no client yet, with a timeout of its own. -1 with an
 * exception. */
int
pyaccel_store_call_init(pyaccel_store_call *call, PyObject *timeout);

/* Releases the interpreter lock, after which other threads may come. */
void
pyaccel_store_call_release(pyaccel_store_call *call);

/* Takes the interpreter lock back. */
void
pyaccel_store_call_resume(pyaccel_store_call *call);

/* Makes a call: reads its arguments, waits for the client's lock, runs the method
 * without the interpreter lock. The answer, new; NULL with an exception. */
PyObject * // new
pyaccel_store_call_make(PyObject *object, const pyaccel_store_method *method,
                        PyObject *const *arguments, Py_ssize_t count, PyObject *names);

#endif
