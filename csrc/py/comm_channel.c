/* Messages between two ranks: from Python objects to the core's channels and back. */
#include "py/comm.h"

#include "comm/channel.h"
#include "py/arguments.h"
#include "py/error.h"
#include "py/object.h"
#include "py/outputs.h"
#include "py/structure.h"
#include "py/tensor.h"
#include "py/tree.h"

#include <stdlib.h>
#include <string.h>

/* ---- Arguments ---- */

/* Whom a call is for, and what both sides must agree on. */
typedef struct address {
    int64_t peer;
    int64_t tag;
    uint64_t digest;
} address;

/* Reads `values[3]`: the peer, called `name`, tag and digest. */
static int
read_address(PyObject *const *values, const char *name, address *to)
{
    *to = (address){0};
    if (pyaccel_arguments_int(values[0], name, 0, &to->peer) < 0 ||
        pyaccel_arguments_int(values[1], "tag", 0, &to->tag) < 0) {
        return -1;
    }
    if (values[2] != NULL) {
        to->digest = PyLong_AsUnsignedLongLongMask(values[2]);
        if (PyErr_Occurred()) {
            PyErr_Format(PyExc_TypeError, "digest must be an int, not %R",
                         (PyObject *)Py_TYPE(values[2]));
            return -1;
        }
    }
    return 0;
}

/* This rank's end of the channel; NULL where there is no such rank, of which the core
 * says so. */
static pyaccel_end *
end_of(CommObject *self, int64_t peer, bool sends)
{
    if (peer < 0 || peer >= self->size) {
        return NULL;
    }
    return &self->ends[(sends ? 0 : self->size) + (int)peer];
}

/* ---- Structures ---- */

/* The key of a structure in an end's dictionary, which is made if need be. // new */
static PyObject *
key_object(pyaccel_end *end, uint64_t key)
{
    if (end->structures == NULL) {
        end->structures = PyDict_New();
    }
    return end->structures != NULL ? PyLong_FromUnsignedLongLong(key) : NULL;
}

/* What goes along with the leaves: the key, and the structure unless it was sent. */
typedef struct enclosed {
    PyObject *key; /* owned or NULL */
    bool first;    /* the key alone will do the next time */
    uint64_t word;
    char *memory; /* owned or NULL */
    pa_part part;
} enclosed;

static void
enclosed_fini(enclosed *with)
{
    Py_XDECREF(with->key);
    free(with->memory);
}

/* Pickles the structure behind its key. */
static int
enclose_structure(pyaccel_state *state, PyObject *tree, const pyaccel_leaves *leaves,
                  enclosed *with)
{
    pyaccel_pickle pickle = {0};
    PyObject *structure = pyaccel_structure_new(state, tree, leaves);
    int failed =
        structure != NULL ? pyaccel_pickle_dump(state, structure, &pickle) : -1;
    Py_XDECREF(structure);
    if (failed == 0) {
        size_t ntext = pickle.parts[0].nbytes;
        with->memory = malloc(sizeof with->word + ntext);
        if (with->memory == NULL) {
            PyErr_NoMemory();
            failed = -1;
        } else {
            memcpy(with->memory, &with->word, sizeof with->word);
            memcpy(with->memory + sizeof with->word, pickle.parts[0].data, ntext);
            with->part = (pa_part){with->memory, sizeof with->word + ntext, NULL};
        }
        pyaccel_pickle_fini(&pickle);
    }
    return failed;
}

static int
enclose(pyaccel_state *state, pyaccel_end *end, PyObject *tree,
        const pyaccel_leaves *leaves, const pa_leaves *view, enclosed *with)
{
    with->word = pyaccel_structure_key(view);
    with->part = (pa_part){(char *)&with->word, sizeof with->word, NULL};
    with->key = key_object(end, with->word);
    if (with->key == NULL) {
        return -1;
    }
    bool plain = pyaccel_structure_plain(state, tree);
    int known = plain ? PyDict_Contains(end->structures, with->key) : 0;
    with->first = plain && known == 0;
    return known != 0 ? (known < 0 ? -1 : 0)
                      : enclose_structure(state, tree, leaves, with);
}

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
    PyObject *key = key_object(end, word);
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

/* ---- Sending ---- */

static int
send_message(pyaccel_call *call, const address *to, pa_leaves leaves, pa_part extra)
{
    pa_message message = {
        .op = call->op,
        .tag = to->tag,
        .digest = to->digest,
        .leaves = leaves,
        .extra = extra,
    };
    pa_status status =
        pa_channel_send(call->comm, to->peer, &message, &call->hooks, &call->error);
    return pyaccel_call_check(call, status);
}

/* Takes the tree apart and sends it. */
static int
send_tree(pyaccel_call *call, pyaccel_end *end, PyObject *tree, const address *to,
          pyaccel_leaves *leaves)
{
    pyaccel_flatten how = {.state = call->state, .leaves = leaves, .function = "send"};
    enclosed with = {0};
    if (pyaccel_tree_flatten(&how, tree) < 0) {
        return -1;
    }
    pa_leaves view = pyaccel_leaves_view(leaves);
    int failed = enclose(call->state, end, tree, leaves, &view, &with);
    failed = failed < 0 ? -1 : send_message(call, to, view, with.part);
    if (failed == 0 && with.first) {
        failed = PyDict_SetItem(end->structures, with.key, Py_None);
    }
    enclosed_fini(&with);
    return failed;
}

PyObject *
pyaccel_comm_send(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                  PyObject *names)
{
    static const char *const parameters[] = {"tree", "to", "tag", "digest"};
    CommObject *self = (CommObject *)object;
    PyObject *values[4];
    address to;
    pyaccel_call call;
    if (pyaccel_arguments_parse("send", parameters, 4, 2, arguments, count, names,
                                values) < 0 ||
        read_address(values + 1, "to", &to) < 0) {
        return NULL;
    }
    pyaccel_end *end = end_of(self, to.peer, true);
    if (pyaccel_call_begin_channel(&call, self, end, PA_OP_SEND) < 0) {
        return NULL;
    }
    call.tree = values[0];
    pyaccel_leaves leaves;
    pyaccel_leaves_init(&leaves);
    int failed = end != NULL ? send_tree(&call, end, values[0], &to, &leaves)
                             : send_message(&call, &to, (pa_leaves){0}, (pa_part){0});
    pyaccel_call_end_channel(&call);
    pyaccel_leaves_fini(&leaves);
    return failed < 0 ? NULL : Py_NewRef(Py_None);
}

/* Sends what was pickled: the buffers as leaves of bytes. */
static int
send_pickle(pyaccel_call *call, const address *to, const pyaccel_pickle *pickle)
{
    size_t count = pickle->nparts - 1;
    pa_leaf *at = calloc(count + 1, sizeof *at);
    int64_t *shapes = calloc(count + 1, sizeof *shapes);
    int failed = -1;
    if (at == NULL || shapes == NULL) {
        PyErr_NoMemory();
    } else {
        for (size_t i = 0; i < count; i++) {
            const pa_part *part = &pickle->parts[i + 1];
            shapes[i] = (int64_t)part->nbytes;
            at[i] = (pa_leaf){
                .data = part->data,
                .nbytes = part->nbytes,
                .itemsize = 1,
                .shape = &shapes[i],
                .ndim = 1,
                .dtype = {.code = PA_DTYPE_UINT, .bits = 8, .lanes = 1},
            };
        }
        failed = send_message(call, to, (pa_leaves){at, count, 0}, pickle->parts[0]);
    }
    free(at);
    free(shapes);
    return failed;
}

PyObject *
pyaccel_comm_send_object(PyObject *object, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names)
{
    static const char *const parameters[] = {"value", "to", "tag", "digest"};
    CommObject *self = (CommObject *)object;
    PyObject *values[4];
    address to;
    pyaccel_call call;
    if (pyaccel_arguments_parse("send_object", parameters, 4, 2, arguments, count,
                                names, values) < 0 ||
        read_address(values + 1, "to", &to) < 0 ||
        pyaccel_call_begin_channel(&call, self, end_of(self, to.peer, true),
                                   PA_OP_SEND_OBJECT) < 0) {
        return NULL;
    }
    pyaccel_pickle pickle = {0};
    int failed = pyaccel_pickle_dump(call.state, values[0], &pickle);
    if (failed == 0) {
        failed = send_pickle(&call, &to, &pickle);
        pyaccel_pickle_fini(&pickle);
    }
    pyaccel_call_end_channel(&call);
    return failed < 0 ? NULL : Py_NewRef(Py_None);
}

/* ---- Receiving ---- */

/* Waits for the message; 0 if the rest of it is to be taken. A structure that comes
 * first with a message that is refused is kept: it will not come again. */
static int
receive(pyaccel_call *call, pyaccel_end *end, const address *from, pa_incoming *in)
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
        parts[i] = (pa_part){made->data[i], leaves->at[i].nbytes, NULL};
    }
    pa_status status =
        pa_channel_take(in, parts, leaves->count, &call->hooks, &call->error);
    free(parts);
    return pyaccel_call_check(call, status);
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
                                 &leaves) == 0) {
        (void)pyaccel_leaves_view(&leaves);
        if (take_outputs(call, in, &leaves, &made) == 0) {
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
    address from;
    pyaccel_call call;
    if (pyaccel_arguments_parse(function, parameters, 3, 1, arguments, count, names,
                                values) < 0 ||
        read_address(values, "source", &from) < 0) {
        return NULL;
    }
    pyaccel_end *end = end_of(self, from.peer, false);
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
