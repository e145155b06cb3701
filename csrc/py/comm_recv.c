/* Receiving from one rank: from the core's channels to Python objects. */
#include "py/comm_channel.h"

#include "comm/channel.h"
#include "py/arguments.h"
#include "py/object.h"
#include "py/outputs.h"
#include "py/structure.h"
#include "py/tree.h"

#include <stdlib.h>
#include <string.h>

/* ---- Structures ---- */

/* An object in bytes that came. // new */
static PyObject *
load(pyaccel_state *state, const char *text, size_t ntext)
{
    pa_parcel parcel = {.text = text, .ntext = ntext};
    return pyaccel_pickle_load(state, &parcel, false);
}

/* The structure that came with a message, or came before with its key. // new */
static PyObject *
structure_of(pyaccel_state *state, pyaccel_end *end, const pa_incoming *in)
{
    uint64_t word = 0;
    if (in->letter.nextra < sizeof word) {
        return PyErr_Format(state->DistributedOperationException,
                            "recv: rank %d sent a message without a structure",
                            in->from);
    }
    memcpy(&word, in->extra, sizeof word);
    PyObject *key = pyaccel_end_key(end, word);
    if (key == NULL) {
        return NULL;
    }
    PyObject *structure = NULL;
    if (in->letter.nextra > sizeof word) {
        structure =
            load(state, in->extra + sizeof word, in->letter.nextra - sizeof word);
        if (structure != NULL && PyDict_SetItem(end->structures, key, structure) < 0) {
            Py_CLEAR(structure);
        }
    } else {
        structure = Py_XNewRef(PyDict_GetItemWithError(end->structures, key));
        if (structure == NULL && !PyErr_Occurred()) {
            PyErr_Format(state->DistributedOperationException,
                         "recv: the structure of what rank %d sends could not be read "
                         "when it came first; send another one, or restart the group",
                         in->from);
        }
    }
    Py_DECREF(key);
    return structure;
}

/* ---- Messages ---- */

/* Waits for the message; 0 if the rest of it is to be taken. A structure that comes
 * first with a message that is refused is kept: it will not come again. */
static int
receive(pyaccel_call *call, pyaccel_end *end, const pyaccel_address *from,
        pa_incoming *in)
{
    pa_status status = pa_channel_receive(call->comm, call->op, from->peer, from->tag,
                                          from->digest, in, &call->hooks, &call->error);
    pyaccel_call_resume(call);
    if (status == PA_EMISMATCH && in->letter.op == PA_OP_SEND) {
        PyObject *structure = structure_of(call->state, end, in);
        Py_XDECREF(structure);
        PyErr_Clear();
    }
    return pyaccel_call_check(call, status);
}

/* Passes the rest of a message by, for the exception that is set and stays so. */
static void
drop(pyaccel_call *call, pa_incoming *in)
{
    PyObject *type = NULL;
    PyObject *value = NULL;
    PyObject *trace = NULL;
    char text[96];
    PyErr_Fetch(&type, &value, &trace);
    PyOS_snprintf(text, sizeof text,
                  "message %llu could not be received; the exception on rank %d says "
                  "why",
                  (unsigned long long)in->letter.number, call->self->rank);
    pa_status status = pa_channel_drop(in, text, &call->hooks, &call->error);
    pyaccel_call_resume(call);
    if (status == PA_EINTERRUPTED && PyErr_Occurred()) {
        Py_XDECREF(type); /* Ctrl-C came while the rest did */
        Py_XDECREF(value);
        Py_XDECREF(trace);
    } else {
        PyErr_Restore(type, value, trace);
    }
}

/* Fills new tensors and arrays. */
static int
take_outputs(pyaccel_call *call, pa_incoming *in, const pyaccel_leaves *leaves,
             pyaccel_outputs *made)
{
    if (pyaccel_outputs_init(made, leaves->count) < 0) {
        return -1;
    }
    for (size_t i = 0; i < leaves->count; i++) {
        if (pyaccel_outputs_add(made, call->state, leaves, -1) < 0) {
            return -1;
        }
    }
    pa_part *parts = malloc((leaves->count + 1) * sizeof *parts);
    if (parts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < leaves->count; i++) {
        const pa_leaf *leaf = &leaves->at[i];
        parts[i] = (pa_part){made->data[i], leaf->nbytes, leaf->place};
    }
    pa_status status =
        pa_channel_take(in, parts, leaves->count, &call->hooks, &call->error);
    free(parts);
    return pyaccel_call_check(call, status);
}

/* Moves what came from tensors of other devices to this process', unless it was
 * received there. */
static int
settle_outputs(pyaccel_state *state, PyObject *structure, const pyaccel_leaves *leaves,
               pyaccel_outputs *made)
{
    for (size_t i = 0; i < made->count; i++) {
        if (leaves->at[i].place != NULL) {
            continue;
        }
        PyObject *there =
            pyaccel_structure_settle(structure, i, made->objects[i], state);
        if (there == NULL) {
            return -1;
        }
        pyaccel_slot_set(&made->objects[i], there);
    }
    return 0;
}

/* The tree that a message becomes. // new */
static PyObject *
take_tree(pyaccel_call *call, pyaccel_end *end, pa_incoming *in)
{
    pyaccel_leaves leaves;
    pyaccel_outputs made;
    PyObject *tree = NULL;
    pyaccel_leaves_init(&leaves);
    pyaccel_outputs_empty(&made);
    PyObject *structure = structure_of(call->state, end, in);
    if (structure != NULL &&
        pyaccel_structure_leaves(call->state, structure, in->leaves, in->letter.count,
                                 call->comm, &leaves) == 0 &&
        (leaves.nplaces == 0 || pyaccel_call_uses_devices(call) == 0)) {
        (void)pyaccel_leaves_view(&leaves);
        if (take_outputs(call, in, &leaves, &made) == 0 &&
            settle_outputs(call->state, structure, &leaves, &made) == 0) {
            tree = pyaccel_outputs_rebuild(&made, call->state,
                                           pyaccel_structure_tree(structure), &leaves);
        }
    }
    Py_XDECREF(structure);
    pyaccel_outputs_fini(&made);
    pyaccel_leaves_fini(&leaves);
    return tree;
}

/* ---- Receiving objects ---- */

/* Blocks for the buffers of an object. Starts zeroed. */
typedef struct buffers {
    uint64_t *lengths;
    pa_block **blocks;
    pa_part *parts;
    uint32_t count;
} buffers;

static void
buffers_fini(buffers *room)
{
    for (uint32_t i = 0; i < room->count && room->blocks != NULL; i++) {
        pa_block_release(room->blocks[i]);
    }
    free(room->lengths);
    free(room->blocks);
    free(room->parts);
}

static int
buffers_init(buffers *room, pa_pool *pool, const pa_incoming *in)
{
    size_t count = in->letter.count;
    pa_describe_reader reader = in->leaves;
    room->lengths = calloc(count + 1, sizeof *room->lengths);
    room->blocks = calloc(count + 1, sizeof *room->blocks);
    room->parts = calloc(count + 1, sizeof *room->parts);
    room->count = in->letter.count;
    bool made = room->lengths != NULL && room->blocks != NULL && room->parts != NULL;
    for (size_t i = 0; i < count && made; i++) {
        pa_described_leaf leaf;
        made = pa_describe_read_leaf(&reader, &leaf) && leaf.ndim == 1;
        uint64_t nbytes = made ? (uint64_t)pa_described_dimension(&leaf, 0) : 0;
        made = made && nbytes <= in->letter.nbytes;
        room->lengths[i] = nbytes;
        room->blocks[i] = made ? pa_pool_take(pool, (size_t)nbytes, 0) : NULL;
        made = room->blocks[i] != NULL;
        if (made) {
            room->parts[i] = (pa_part){room->blocks[i]->data, (size_t)nbytes, NULL};
        }
    }
    if (!made) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* The object that a message becomes. // new */
static PyObject *
take_object(pyaccel_call *call, pa_incoming *in)
{
    buffers room = {0};
    PyObject *value = NULL;
    if (buffers_init(&room, call->state->pool, in) == 0) {
        pa_status status = pa_channel_take(in, room.parts, in->letter.count,
                                           &call->hooks, &call->error);
        pa_parcel parcel = {
            .text = in->extra,
            .ntext = (size_t)in->letter.nextra,
            .nbuffers = in->letter.count,
            .lengths = room.lengths,
            .buffers = room.blocks,
        };
        if (pyaccel_call_check(call, status) == 0) {
            value = pyaccel_pickle_load(call->state, &parcel, false);
        }
    }
    buffers_fini(&room);
    return value;
}

/* ---- Either ---- */

static PyObject *
receive_value(PyObject *object, const char *function, uint32_t op,
              PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    static const char *const parameters[] = {"source", "tag", "digest"};
    CommObject *self = (CommObject *)object;
    PyObject *values[3];
    pyaccel_address from;
    pyaccel_call call;
    if (pyaccel_arguments_parse(function, parameters, 3, 1, arguments, count, names,
                                values) < 0 ||
        pyaccel_address_read(values, "source", &from) < 0) {
        return NULL;
    }
    pyaccel_end *end = pyaccel_end_of(self, from.peer, false);
    if (pyaccel_call_begin_channel(&call, self, end, op) < 0) {
        return NULL;
    }
    PyObject *value = NULL;
    pa_incoming in;
    if (receive(&call, end, &from, &in) == 0) {
        value = op == PA_OP_RECV ? take_tree(&call, end, &in) : take_object(&call, &in);
        if (value == NULL) {
            drop(&call, &in);
        }
    }
    pa_incoming_fini(&in);
    pyaccel_call_end_channel(&call);
    return value;
}

PyObject *
pyaccel_comm_recv(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                  PyObject *names)
{
    return receive_value(object, "recv", PA_OP_RECV, arguments, count, names);
}

PyObject *
pyaccel_comm_recv_object(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names)
{
    return receive_value(object, "recv_object", PA_OP_RECV_OBJECT, arguments, count,
                         names);
}
