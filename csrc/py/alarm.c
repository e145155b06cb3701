/* Failures of work on GPUs, raised in the main thread: see the header. */
#include "py/alarm.h"

#include "py/error.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct pyaccel_alarm {
    pyaccel_state *state;
    PyObject *type;    /* owned: keeps the module, and with it the state */
    atomic_int owners; /* the Comm, and a call that the interpreter has yet to make */
    atomic_bool sounded;
    atomic_bool heard;
    pa_status status;
    pa_error error;
};

void
pyaccel_alarm_release(pyaccel_alarm *alarm)
{
    if (alarm != NULL && atomic_fetch_sub(&alarm->owners, 1) == 1) {
        Py_DECREF(alarm->type);
        free(alarm);
    }
}

void
pyaccel_alarm_hear(pyaccel_alarm *alarm)
{
    if (alarm != NULL) {
        atomic_store(&alarm->heard, true);
    }
}

/* In the main thread, between two instructions of the script. */
static int
raise_failure(void *context)
{
    pyaccel_alarm *alarm = context;
    bool heard = atomic_load(&alarm->heard);
    if (!heard) {
        (void)pyaccel_error_raise(alarm->state, alarm->status, &alarm->error);
    }
    pyaccel_alarm_release(alarm);
    return heard ? 0 : -1;
}

/* On any thread, without the interpreter. */
static void
sound(void *context, pa_status status, const char *text)
{
    pyaccel_alarm *alarm = context;
    if (atomic_exchange(&alarm->sounded, true)) {
        return;
    }
    alarm->status = status;
    (void)snprintf(alarm->error.message, sizeof alarm->error.message, "%s", text);
    atomic_fetch_add(&alarm->owners, 1);
    if (Py_AddPendingCall(raise_failure, alarm) < 0) {
        /* The interpreter has no room: the next operation says that the group broke. */
        atomic_fetch_sub(&alarm->owners, 1);
    }
}

pyaccel_alarm *
pyaccel_alarm_set(pyaccel_state *state, pa_comm *comm)
{
    pa_devices *devices = pa_devices_of(comm);
    pyaccel_alarm *alarm = devices != NULL ? malloc(sizeof *alarm) : NULL;
    if (alarm == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *alarm = (pyaccel_alarm){
        .state = state,
        .type = Py_NewRef(state->CommType),
        .error = PA_ERROR_INIT,
    };
    atomic_init(&alarm->owners, 1);
    atomic_init(&alarm->sounded, false);
    atomic_init(&alarm->heard, false);
    devices->failed_context = alarm;
    devices->failed = sound;
    return alarm;
}
