/* Sending to one rank: from Python objects to the core's channels. */
#include "py/comm_channel.h"

#include "comm/channel.h"
#include "py/arguments.h"
#include "py/object.h"
#include "py/structure.h"
#include "py/tree.h"

#include <stdlib.h>
#include <string.h>

/* ---- Structures ---- */

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
        const pyaccel_leaves *leaves, enclosed *with)
{
    with->word = pyaccel_structure_key(leaves);
    with->part = (pa_part){(char *)&with->word, sizeof with->word, NULL};
    with->key = pyaccel_end_key(end, with->word);
    if (with->key == NULL) {
        return -1;
    }
    bool plain = pyaccel_structure_plain(state, tree);
    int known = plain ? PyDict_Contains(end->structures, with->key) : 0;
    with->first = plain && known == 0;
    return known != 0 ? (known < 0 ? -1 : 0)
                      : enclose_structure(state, tree, leaves, with);
}

/* ---- Messages ---- */

static int
send_message(pyaccel_call *call, const pyaccel_address *to, pa_leaves leaves,
             pa_part extra)
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
send_tree(pyaccel_call *call, pyaccel_end *end, PyObject *tree,
          const pyaccel_address *to, pyaccel_leaves *leaves)
{
    pyaccel_flatten how = {.state = call->state, .leaves = leaves, .function = "send"};
    enclosed with = {0};
    if (pyaccel_call_flatten(call, &how, tree) < 0) {
        return -1;
    }
    pa_leaves view = pyaccel_leaves_view(leaves);
    int failed = enclose(call->state, end, tree, leaves, &with);
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
    pyaccel_address to;
    pyaccel_call call;
    if (pyaccel_arguments_parse("send", parameters, 4, 2, arguments, count, names,
                                values) < 0 ||
        pyaccel_address_read(values + 1, "to", &to) < 0) {
        return NULL;
    }
    pyaccel_end *end = pyaccel_end_of(self, to.peer, true);
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
send_pickle(pyaccel_call *call, const pyaccel_address *to, const pyaccel_pickle *pickle)
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
    pyaccel_address to;
    pyaccel_call call;
    if (pyaccel_arguments_parse("send_object", parameters, 4, 2, arguments, count,
                                names, values) < 0 ||
        pyaccel_address_read(values + 1, "to", &to) < 0 ||
        pyaccel_call_begin_channel(&call, self, pyaccel_end_of(self, to.peer, true),
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
