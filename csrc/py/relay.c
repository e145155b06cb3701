/* A backend that relays to a Python object: see the header. */
#include "py/relay.h"

#include "base/clock.h"
#include "comm/backend.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A card as bytes; what follows the struct is the inline payload. */
typedef struct wire_card {
    uint32_t op;
    int32_t root;
    uint64_t fingerprint;
    uint64_t nbytes;
    uint64_t head;
    uint32_t count;
    uint32_t ninline;
    uint64_t failed;
    char inlined[PA_CARD_INLINE];
} wire_card;

typedef struct relay_comm {
    pa_comm base;
    pa_backend backend; /* a table of its own: the name is the transport's */
    PyObject *transport;
    PyObject *cards; /* owned or NULL: bytes of the last meeting */
    bool broken;
    char broken_text[1024];
} relay_comm;

/* Breaks the group for the others as well; where the transport has done so already,
 * its own text is the one that counts. No exception is set before or after. */
static void
tell_others(const relay_comm *relay)
{
    PyErr_Clear();
    PyObject *text = PyUnicode_FromFormat("rank %d failed: %s", relay->base.rank,
                                          relay->broken_text);
    PyObject *done =
        text != NULL ? PyObject_CallMethod(relay->transport, "abort", "O", text) : NULL;
    PyErr_Clear(); /* the group is broken here in any case */
    Py_XDECREF(text);
    Py_XDECREF(done);
}

/* Keeps the exception that is set as the reason why the group is broken. */
static pa_status
break_with_exception(relay_comm *relay, pa_error *error)
{
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *trace = NULL;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *text = value != NULL ? PyObject_Str(value) : NULL;
    PyObject *bytes = text != NULL ? PyUnicode_AsUTF8String(text) : NULL;
    const char *said = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
    if (!relay->broken) {
        relay->broken = true;
        (void)snprintf(relay->broken_text, sizeof relay->broken_text, "%s",
                       said != NULL && *said != '\0' ? said : "an operation failed");
        tell_others(relay);
    }
    Py_XDECREF(text);
    Py_XDECREF(bytes);
    PyErr_Clear();
    PyErr_Restore(type, value, trace);
    return pa_error_set(error, PA_EINTERRUPTED, "%s", relay->broken_text);
}

static pa_status
check_whole(const relay_comm *relay, uint32_t op, pa_error *error)
{
    if (!relay->broken) {
        return PA_OK;
    }
    return pa_error_set(error, PA_EBROKEN,
                        "%s: the group cannot be used any more after this failure: %s",
                        pa_op_text(op), relay->broken_text);
}

/* The deadline of a call in seconds, as Python says it. */
static double
timeout_of(const relay_comm *relay)
{
    uint64_t timeout_ns = relay->base.timeout_ns;
    return timeout_ns == PA_DEADLINE_NEVER ? (double)INFINITY
                                           : (double)timeout_ns / 1e9;
}

/* ---- Meeting ---- */

/* Calls transport.meet. // new; NULL with an exception */
static PyObject *
call_meet(relay_comm *relay, const pa_card *card, bool wait)
{
    wire_card wire = {
        .op = card->op,
        .root = card->root,
        .fingerprint = card->fingerprint,
        .nbytes = card->nbytes,
        .head = card->head,
        .count = card->count,
        .ninline = card->ninline,
        .failed = card->failed,
    };
    if (card->ninline > 0) {
        memcpy(wire.inlined, card->inlined, card->ninline);
    }
    return PyObject_CallMethod(relay->transport, "meet", "sdy#O", pa_op_text(card->op),
                               timeout_of(relay), (const char *)&wire,
                               (Py_ssize_t)sizeof wire, wait ? Py_True : Py_False);
}

/* Reads everybody's card out of the bytes, which stay alive until the next meeting. */
static int
read_cards(relay_comm *relay, PyObject *bytes, pa_card *all)
{
    char *data = PyBytes_AsString(bytes);
    if (data == NULL) {
        return -1;
    }
    if (PyBytes_Size(bytes) != (Py_ssize_t)sizeof(wire_card) * relay->base.size) {
        PyErr_SetString(
            PyExc_RuntimeError,
            "the ranks showed cards of another length; all must use the same "
            "version of pyaccel");
        return -1;
    }
    for (int rank = 0; rank < relay->base.size; rank++) {
        wire_card wire;
        const char *at = data + (size_t)rank * sizeof wire;
        memcpy(&wire, at, sizeof wire);
        all[rank] = (pa_card){
            .op = wire.op,
            .root = wire.root,
            .fingerprint = wire.fingerprint,
            .nbytes = wire.nbytes,
            .head = wire.head,
            .count = wire.count,
            .ninline = wire.ninline < PA_CARD_INLINE ? wire.ninline : PA_CARD_INLINE,
            .failed = wire.failed != 0,
            .inlined = at + offsetof(wire_card, inlined),
        };
    }
    pyaccel_slot_set(&relay->cards, Py_NewRef(bytes));
    return 0;
}

static pa_status
relay_meet(pa_comm *comm, const pa_card *mine, pa_card *all, const pa_hooks *hooks,
           pa_error *error)
{
    (void)hooks;
    relay_comm *relay = (relay_comm *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    pa_status status = check_whole(relay, mine->op, error);
    if (status == PA_OK) {
        PyObject *bytes = call_meet(relay, mine, true);
        if (bytes == NULL || read_cards(relay, bytes, all) < 0) {
            status = break_with_exception(relay, error);
        }
        Py_XDECREF(bytes);
    }
    PyGILState_Release(lock);
    return status;
}

static pa_status
relay_excuse(pa_comm *comm, const pa_card *failed, const pa_hooks *hooks)
{
    (void)hooks;
    relay_comm *relay = (relay_comm *)comm;
    pa_status status = PA_OK;
    PyGILState_STATE lock = PyGILState_Ensure();
    if (!relay->broken) {
        PyObject *nothing = call_meet(relay, failed, false);
        if (nothing == NULL) {
            bool interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
            status = break_with_exception(relay, NULL);
            if (!interrupted) {
                PyErr_Clear(); /* the next call says that the group is broken */
                status = PA_EBROKEN;
            }
        }
        Py_XDECREF(nothing);
    }
    PyGILState_Release(lock);
    return status;
}

/* ---- Streaming ---- */

/* A flow's bytes in one piece: the piece itself, or `*packed` (malloc). NULL when
 * memory is short or there are no bytes. */
static char *
one_piece(const pa_flow *flow, bool fill, char **packed)
{
    *packed = NULL;
    for (size_t i = 0; i < flow->nparts; i++) {
        if (flow->parts[i].nbytes == flow->nbytes) {
            return flow->parts[i].data;
        }
    }
    *packed = malloc(flow->nbytes + 1);
    if (*packed != NULL && fill) {
        pa_cursor from = {.parts = flow->parts};
        pa_cursor_read(&from, *packed, flow->nbytes);
    }
    return *packed;
}

/* One call of transport.stream, and what has to be freed after it. */
typedef struct relay_stream {
    PyObject *sizes;
    PyObject *recv;
    PyObject *send;
    char **packed; /* [size + 1]; the last is for the own bytes */
} relay_stream;

static void
stream_fini(relay_stream *s, int size)
{
    for (int i = 0; s->packed != NULL && i <= size; i++) {
        free(s->packed[i]);
    }
    free(s->packed);
    Py_XDECREF(s->sizes);
    Py_XDECREF(s->recv);
    Py_XDECREF(s->send);
}

/* A view of a flow's bytes, or None. // new; NULL with an exception */
static PyObject *
view_of(const pa_flow *flow, bool fill, char **packed)
{
    if (flow->parts == NULL || flow->nbytes == 0) {
        return Py_NewRef(Py_None);
    }
    char *data = one_piece(flow, fill, packed);
    if (data == NULL) {
        return PyErr_NoMemory();
    }
    return PyMemoryView_FromMemory(data, (Py_ssize_t)flow->nbytes, PyBUF_WRITE);
}

static int
stream_init(relay_stream *s, int size, const pa_flow *send, const pa_flow *recv)
{
    *s = (relay_stream){0};
    s->packed = calloc((size_t)size + 1, sizeof *s->packed);
    s->sizes = PyList_New(size);
    s->recv = PyList_New(size);
    if (s->packed == NULL || s->sizes == NULL || s->recv == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (int rank = 0; rank < size; rank++) {
        PyObject *nbytes = PyLong_FromSize_t(recv[rank].nbytes);
        PyObject *view = view_of(&recv[rank], false, &s->packed[rank]);
        if (nbytes == NULL || view == NULL) {
            Py_XDECREF(nbytes);
            Py_XDECREF(view);
            return -1;
        }
        (void)PyList_SetItem(s->sizes, rank, nbytes);
        (void)PyList_SetItem(s->recv, rank, view);
    }
    s->send = view_of(send, true, &s->packed[size]);
    return s->send != NULL ? 0 : -1;
}

static pa_status
relay_stream_bytes(pa_comm *comm, uint32_t op, const pa_flow *send, const pa_flow *recv,
                   const pa_hooks *hooks, pa_error *error)
{
    (void)hooks;
    relay_comm *relay = (relay_comm *)comm;
    relay_stream s;
    PyGILState_STATE lock = PyGILState_Ensure();
    pa_status status = check_whole(relay, op, error);
    if (status == PA_OK) {
        PyObject *done = NULL;
        if (stream_init(&s, comm->size, send, recv) == 0) {
            done =
                PyObject_CallMethod(relay->transport, "stream", "sdOOO", pa_op_text(op),
                                    timeout_of(relay), s.send, s.sizes, s.recv);
        }
        if (done == NULL) {
            status = break_with_exception(relay, error);
        }
        Py_XDECREF(done);
        for (int rank = 0; rank < comm->size && status == PA_OK; rank++) {
            if (s.packed[rank] != NULL) {
                pa_cursor to = {.parts = recv[rank].parts};
                pa_cursor_write(&to, s.packed[rank], recv[rank].nbytes);
            }
        }
        stream_fini(&s, comm->size);
    }
    PyGILState_Release(lock);
    return status;
}

/* ---- Ending ---- */

static void
relay_abort(pa_comm *comm, const char *text)
{
    relay_comm *relay = (relay_comm *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    if (!relay->broken) {
        relay->broken = true;
        (void)snprintf(relay->broken_text, sizeof relay->broken_text, "%s", text);
        PyObject *type = NULL;
        PyObject *value = NULL;
        PyObject *trace = NULL;
        PyErr_Fetch(&type, &value, &trace);
        Py_XDECREF(PyObject_CallMethod(relay->transport, "abort", "s", text));
        PyErr_Clear(); /* the group is broken here in any case */
        PyErr_Restore(type, value, trace);
    }
    PyGILState_Release(lock);
}

static bool
relay_broken(pa_comm *comm, char *text, size_t capacity)
{
    const relay_comm *relay = (const relay_comm *)comm;
    (void)snprintf(text, capacity, "%s", relay->broken_text);
    return relay->broken;
}

static void
relay_close(pa_comm *comm, bool forked)
{
    relay_comm *relay = (relay_comm *)comm;
    PyGILState_STATE lock = PyGILState_Ensure();
    if (!forked) {
        PyObject *type = NULL;
        PyObject *value = NULL;
        PyObject *trace = NULL;
        PyErr_Fetch(&type, &value, &trace);
        Py_XDECREF(PyObject_CallMethod(relay->transport, "close", NULL));
        PyErr_Clear(); /* there is nobody to report to, and nothing left to do */
        PyErr_Restore(type, value, trace);
    }
    pyaccel_slot_set(&relay->cards, NULL);
    pyaccel_slot_set(&relay->transport, NULL);
    PyGILState_Release(lock);
}

pa_comm *
pyaccel_relay_create(PyObject *transport, const char *name, int rank, int size)
{
    relay_comm *relay = calloc(1, sizeof *relay);
    if (relay == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    relay->backend = (pa_backend){
        .name = name,
        .meet = relay_meet,
        .excuse = relay_excuse,
        .stream = relay_stream_bytes,
        .abort = relay_abort,
        .broken = relay_broken,
        .close = relay_close,
    };
    if (pa_comm_init(&relay->base, &relay->backend, rank, size, NULL) != PA_OK) {
        free(relay);
        PyErr_NoMemory();
        return NULL;
    }
    relay->transport = Py_NewRef(transport);
    return &relay->base;
}
