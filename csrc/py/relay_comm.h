/* A relay's own parts, for the files that make it. */
#ifndef PYACCEL_PY_RELAY_COMM_H
#define PYACCEL_PY_RELAY_COMM_H

#include "comm/backend.h"
#include "py/relay_card.h"
#include "py/state.h"

typedef struct pyaccel_relay {
    pa_comm base;
    pa_backend backend; /* a table of its own: the name is the transport's */
    PyObject *transport;
    pyaccel_wire_card *wires; /* [size]: of the last meeting */
    pyaccel_room *rooms;      /* [size] */
    const char **ahead;       /* [size]: in the blocks, what came with each card */
    Py_buffer blocks; /* of the last meeting, without the own; `obj` may be NULL */
    bool owed;        /* it showed a card in a meeting whose cards it has not read */
    bool broken;
    char broken_text[PA_COMM_REASON];
    uint64_t heard_ns; /* when the transport was last asked what others have said */
} pyaccel_relay;

/* These are called with the interpreter lock. */

/* Keeps the exception that is set as the reason why the group is broken, and gives the
 * status of a call that ends with it. */
pa_status
pyaccel_relay_break(pyaccel_relay *relay, pa_error *error);

/* PA_OK unless the group is broken. */
pa_status
pyaccel_relay_whole(const pyaccel_relay *relay, uint32_t op, pa_error *error);

/* The deadline of a call in seconds, as Python says it. */
double
pyaccel_relay_timeout(const pyaccel_relay *relay);

/* A view of a flow's bytes, or None where it has none; with `fill` of what it has, else
 * to be written to. `*packed` (malloc) is where they stand if that is not the flow.
 * // new; NULL with an exception */
PyObject *
pyaccel_relay_view(const pa_flow *flow, bool fill, char **packed);

/* The backend's slots for messages between two ranks, of relay_channel.c; see
 * comm/backend.h. */
pa_status
pyaccel_relay_put(pa_comm *comm, uint32_t op, int to, const pa_flow *flows,
                  size_t nflows, const pa_hooks *hooks, pa_error *error);
pa_status
pyaccel_relay_take(pa_comm *comm, uint32_t op, int from, const pa_flow *into,
                   const pa_hooks *hooks, pa_error *error);
void
pyaccel_relay_taken(pa_comm *comm, int from, const char *refusal);
bool
pyaccel_relay_refused(pa_comm *comm, int to, char *text, size_t capacity);

#endif
