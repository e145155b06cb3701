/* One operation of a Comm: its turn, the interpreter lock, its hooks and its errors. */
#include "py/comm.h"

#include "base/clock.h"
#include "py/alarm.h"
#include "py/error.h"
#include "py/outline.h"
#include "py/site.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void
release_hook(void *context)
{
    pyaccel_call *call = context;
    if (call->thread == NULL) {
        call->thread = PyEval_SaveThread();
    }
}

void
pyaccel_call_resume(pyaccel_call *call)
{
    if (call->thread != NULL) {
        PyEval_RestoreThread(call->thread);
        call->thread = NULL;
    }
}

/* Lets Python's signal handlers run. */
static bool
tick_hook(void *context, uint64_t waited_ns, int missing)
{
    (void)waited_ns;
    (void)missing;
    pyaccel_call *call = context;
    bool released = call->thread != NULL;
    pyaccel_call_resume(call);
    bool go_on = PyErr_CheckSignals() == 0;
    if (go_on && released) {
        call->thread = PyEval_SaveThread();
    }
    return go_on;
}

/* Says to the user, once an operation, whom we wait for. */
static void
lasts_hook(void *context, const char *text)
{
    pyaccel_call *call = context;
    if (call->warned) {
        return;
    }
    call->warned = 1;
    bool released = call->thread != NULL;
    pyaccel_call_resume(call);
    PyObject *line = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    if (line != NULL) {
        PySys_FormatStderr("pyaccel: %U\n", line);
    }
    Py_XDECREF(line);
    PyErr_Clear();
    if (released) {
        call->thread = PyEval_SaveThread();
    }
}

static void
site_hook(void *context, char *text, size_t capacity)
{
    pyaccel_call *call = context;
    bool released = call->thread != NULL;
    pyaccel_call_resume(call);
    pyaccel_site_format(text, capacity);
    if (released) {
        call->thread = PyEval_SaveThread();
    }
}

static void
outline_hook(void *context, char *text, size_t capacity)
{
    pyaccel_call *call = context;
    bool released = call->thread != NULL;
    pyaccel_call_resume(call);
    if (call->tree != NULL) {
        pyaccel_outline_format(call->state, call->tree, text, capacity);
    }
    if (released) {
        call->thread = PyEval_SaveThread();
    }
}

/* -1 with an exception if the handle is closed or belongs to the process before a
 * fork. */
static int
check_usable(pyaccel_call *call)
{
    call->comm = call->self->comm;
    if (call->comm == NULL) {
        PyErr_Format(call->state->DistributedOperationException,
                     "%s: this process has left the group; do this before "
                     "destroy_process_group()",
                     pa_op_text(call->op));
        return -1;
    }
    pa_status status = pa_comm_check(call->comm, call->op, &call->error);
    if (status != PA_OK) {
        (void)pyaccel_error_raise(call->state, status, &call->error);
        return -1;
    }
    return 0;
}

/* The moment a tick from now, on the clock that mutexes know. */
static struct timespec
next_tick(void)
{
    struct timespec moment;
    (void)clock_gettime(CLOCK_REALTIME, &moment);
    moment.tv_nsec += 25000000;
    if (moment.tv_nsec >= 1000000000) {
        moment.tv_nsec -= 1000000000;
        moment.tv_sec++;
    }
    return moment;
}

/* Waits until the other threads' operations are over, and takes the lock. Ctrl-C and
 * the deadline end the wait: -1 with an exception. */
static int
wait_for_turn(pyaccel_call *call)
{
    uint64_t deadline = pa_clock_deadline(pa_comm_timeout(call->comm));
    for (;;) {
        struct timespec moment = next_tick();
        PyThreadState *thread = PyEval_SaveThread();
        int taken = pthread_mutex_timedlock(&call->turn->lock, &moment);
        PyEval_RestoreThread(thread);
        if (taken == 0) {
            return 0;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
        if (pa_clock_now() >= deadline) {
            PyErr_Format(call->state->DistributedTimeoutError,
                         "%s: another thread of this process was in an operation until "
                         "the deadline",
                         pa_op_text(call->op));
            return -1;
        }
    }
}

/* Takes the call's turn, waiting for it. */
static int
take_turn(pyaccel_call *call)
{
    pyaccel_turn *turn = call->turn;
    if (pthread_mutex_trylock(&turn->lock) != 0) {
        if (turn->held && pthread_equal(turn->holder, pthread_self())) {
            PyErr_Format(PyExc_RuntimeError,
                         "%s was called while this thread is in another %s (from a "
                         "signal handler or a destructor)",
                         pa_op_text(call->op),
                         turn == &call->self->turn ? "collective operation"
                                                   : "call for the same channel");
            return -1;
        }
        if (wait_for_turn(call) < 0) {
            return -1;
        }
    }
    turn->holder = pthread_self();
    turn->held = 1;
    /* Once more: it may have been closed while this thread waited for its turn. */
    if (check_usable(call) < 0) {
        pyaccel_call_end(call);
        return -1;
    }
    return 0;
}

static void
call_init(pyaccel_call *call, CommObject *self, pyaccel_turn *turn, uint32_t op)
{
    *call = (pyaccel_call){
        .self = self,
        .turn = turn,
        .state = pyaccel_state_of(Py_TYPE((PyObject *)self)),
        .op = op,
    };
    call->hooks = (pa_hooks){
        .context = call,
        .release = release_hook,
        .tick = tick_hook,
        .site = site_hook,
        .lasts = lasts_hook,
        .outline = outline_hook,
    };
}

int
pyaccel_call_begin(pyaccel_call *call, CommObject *self, uint32_t op)
{
    call_init(call, self, &self->turn, op);
    /* Before the lock: in a forked child another thread may hold it for ever. */
    return check_usable(call) < 0 ? -1 : take_turn(call);
}

int
pyaccel_call_begin_channel(pyaccel_call *call, CommObject *self, pyaccel_end *end,
                           uint32_t op)
{
    call_init(call, self, end != NULL ? &end->turn : NULL, op);
    if (check_usable(call) < 0) {
        return -1;
    }
    pyaccel_comm_borrow(self);
    if (end != NULL && take_turn(call) < 0) {
        pyaccel_comm_return(self);
        return -1;
    }
    return 0;
}

int
pyaccel_call_flatten(pyaccel_call *call, const pyaccel_flatten *how, PyObject *tree)
{
    if (pyaccel_tree_flatten(how, tree) < 0) {
        return -1;
    }
    return how->leaves->nplaces > 0 ? pyaccel_call_uses_devices(call) : 0;
}

void
pyaccel_call_excuse(pyaccel_call *call)
{
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *trace = NULL;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *name = PyObject_GetAttrString(type, "__name__");
    PyObject *text = name != NULL && value != NULL
                         ? PyUnicode_FromFormat("%U: %S", name, value)
                         : NULL;
    PyObject *bytes = text != NULL ? PyUnicode_AsUTF8String(text) : NULL;
    const char *said = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
    /* Nothing that went wrong with the text may replace the exception itself. */
    PyErr_Clear();
    /* A long text is cut rather than the place, and so is a long place. */
    char site[PA_CARD_INLINE / 2];
    char whole[PA_CARD_INLINE + 1];
    pyaccel_site_format(site, sizeof site);
    int room = (int)(sizeof whole - sizeof " at " - strlen(site));
    (void)snprintf(whole, sizeof whole, "%.*s%s%s", room,
                   said != NULL ? said : "an exception", site[0] != '\0' ? " at " : "",
                   site);
    pa_status status = pa_comm_excuse(call->self->comm, call->op, whole, &call->hooks);
    pyaccel_call_resume(call);
    Py_XDECREF(name);
    Py_XDECREF(text);
    Py_XDECREF(bytes);
    if (status == PA_EINTERRUPTED && PyErr_Occurred()) {
        /* Ctrl-C while it waited to be heard. */
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(trace);
    } else {
        PyErr_Restore(type, value, trace);
    }
}

void
pyaccel_call_end(pyaccel_call *call)
{
    pyaccel_call_resume(call);
    if (call->turn != NULL) {
        call->turn->held = 0;
        (void)pthread_mutex_unlock(&call->turn->lock);
    }
}

void
pyaccel_call_end_channel(pyaccel_call *call)
{
    pyaccel_call_end(call);
    pyaccel_comm_return(call->self);
}

int
pyaccel_call_check(pyaccel_call *call, pa_status status)
{
    pyaccel_call_resume(call);
    if (status == PA_OK) {
        return 0;
    }
    char reason[8];
    if (pa_comm_broken(call->comm, reason, sizeof reason)) {
        pyaccel_alarm_hear(call->self->alarm);
    }
    (void)pyaccel_error_raise(call->state, status, &call->error);
    return -1;
}
