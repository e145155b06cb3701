/* The communicator: the one way in which ranks exchange anything.
 *
 * Every collective is made of two moves, and every rank makes the same ones:
 *
 *   meet    each rank shows a card (what it is about to do, how much it will send, and
 *           up to PA_CARD_INLINE bytes of payload) and sees the cards of all. All ranks
 *           see the same cards, so all decide alike what comes next.
 *   stream  every rank sends the bytes that its card announced to all who want them.
 *
 * A communicator is used by one thread at a time; the caller sees to that. A failed
 * wait breaks the group for every rank: see pa_comm_broken. */
#ifndef PA_COMM_COMM_H
#define PA_COMM_COMM_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pa_comm pa_comm;

/* What a rank does in a collective; the name is the one that users know. */
#define PA_OP_MAP(X)                                                                   \
    X(PA_OP_BARRIER, "wait_for_everyone")                                              \
    X(PA_OP_GATHER, "gather")                                                          \
    X(PA_OP_BROADCAST, "broadcast")                                                    \
    X(PA_OP_REDUCE, "reduce")                                                          \
    X(PA_OP_PAD, "pad_across_processes")                                               \
    X(PA_OP_GATHER_OBJECT, "gather_object")                                            \
    X(PA_OP_BROADCAST_OBJECT, "broadcast_object_list")                                 \
    X(PA_OP_SEND, "send")                                                              \
    X(PA_OP_RECV, "recv")                                                              \
    X(PA_OP_SEND_OBJECT, "send_object")                                                \
    X(PA_OP_RECV_OBJECT, "recv_object")                                                \
    X(PA_OP_DESCRIBE, "comparing what the ranks called")                               \
    X(PA_OP_DEVICES, "setting up the GPUs")

#define PA_OP_NAME(name, text) name,
typedef enum pa_op { PA_OP_NONE, PA_OP_MAP(PA_OP_NAME) } pa_op;
#undef PA_OP_NAME

/* The user's name of an operation; never NULL. */
const char *
pa_op_text(uint32_t op);

enum {
    PA_CARD_INLINE = 208,
    PA_NO_ROOT = -1,
    PA_COMM_REASON = 1792, /* capacity of the text that says why a group is broken */
};

#define PA_PATIENCE_NS UINT64_C(60000000000)

/* Where a rank's leaves stand, for the others to see. */
typedef enum pa_placed {
    PA_PLACED_DEVICE = 1,   /* one or more on a device */
    PA_PLACED_APART = 2,    /* not all of these on the rank's own device */
    PA_PLACED_CAPTURED = 4, /* the caller's stream is being captured in a graph */
    PA_PLACED_SPLIT = 8,    /* of all ranks: captured on some of them only */
} pa_placed;

/* What one rank shows in a meeting. */
typedef struct pa_card {
    uint32_t op;          /* a pa_op */
    int32_t root;         /* the operation's root, or PA_NO_ROOT */
    uint64_t fingerprint; /* of everything that must be equal on all ranks */
    uint64_t nbytes;      /* bytes of its payload, inline or streamed */
    uint64_t head;        /* bytes of the payload that describe the rest */
    uint32_t count;       /* pieces in the rest */
    uint32_t ninline;     /* bytes at `inlined`, at most PA_CARD_INLINE */
    uint32_t placed;      /* where its leaves stand: bits of pa_placed */
    bool failed;          /* it cannot take part; `inlined` is a text that says why */
    const char *inlined;  /* in the cards of others: valid until the next meeting */
    /* (optional, in the own card only) what this rank sends in the stream after this
     * meeting, if there is one: a backend may send it ahead. */
    const struct pa_flow *follows;
} pa_card;

/* A piece of the caller's memory; on a device only where a call says so. */
typedef struct pa_part {
    char *data;
    size_t nbytes;
    const struct pa_place *place; /* (optional, default: the host) */
} pa_part;

/* One rank's bytes in a stream, as pieces in order; `nbytes` is their sum. What is
 * received for a part whose data is NULL passes by unread; so does all with `parts`
 * NULL. */
typedef struct pa_flow {
    const pa_part *parts;
    size_t nparts;
    size_t nbytes;
} pa_flow;

/* How a caller takes part in waiting. Every slot is optional, and so is the struct. */
typedef struct pa_hooks {
    void *context;
    /* Called once, before the first wait that may last or copy that is long: the
     * caller gives up what others may need meanwhile (the interpreter lock). */
    void (*release)(void *context);
    /* Called about every 25 ms of waiting: false stops the operation with
     * PA_EINTERRUPTED and breaks the group. `missing` is the first rank waited for. */
    bool (*tick)(void *context, uint64_t waited_ns, int missing);
    /* Called when the ranks' calls differ or a wait lasts longer than a tick: writes
     * where the own one stands, such as "run.py:12", to `text`, cut to `capacity`. */
    void (*site)(void *context, char *text, size_t capacity);
    /* Called once in a wait that lasts longer than the patience: a text of several
     * lines says who is waited for and where all ranks are. */
    void (*lasts)(void *context, const char *text);
    /* Writes the containers around the leaves in words, cut to `capacity`; nothing
     * without any. */
    void (*outline)(void *context, char *text, size_t capacity);
} pa_hooks;

/* A world of one. NULL when memory is short. */
pa_comm *
pa_comm_create_self(void);

/* Leaves the group (the others are told) and frees the handle; NULL is fine. */
void
pa_comm_destroy(pa_comm *comm);

/* Leaves the group but keeps the handle, which then answers PA_ECLOSED. May be called
 * twice. In a forked child it only lets go of the child's memory. */
void
pa_comm_close(pa_comm *comm);

/* As pa_comm_close; with `ending` in a process that is about to end, which the others
 * are told. Where GPUs of other ranks still need what this one has, it waits for them,
 * up to the deadline of an operation, and calls `hooks->tick`, which can stop that. */
void
pa_comm_leave(pa_comm *comm, bool ending, const pa_hooks *hooks);

/* Facts that never change: rank, number of ranks, the backend's name. */
int
pa_comm_rank(const pa_comm *comm);
int
pa_comm_size(const pa_comm *comm);
const char *
pa_comm_backend(const pa_comm *comm);

/* The deadline of each wait, in nanoseconds; PA_DEADLINE_NEVER for none. */
uint64_t
pa_comm_timeout(const pa_comm *comm);
void
pa_comm_set_timeout(pa_comm *comm, uint64_t timeout_ns);

/* How long a wait may last before hooks.lasts is called, in nanoseconds; at first
 * PA_PATIENCE_NS. */
uint64_t
pa_comm_patience(const pa_comm *comm);
void
pa_comm_set_patience(pa_comm *comm, uint64_t patience_ns);

/* PA_OK if the handle can be used by this process; else PA_ECLOSED or PA_EFORKED,
 * with the operation's name in the message. */
pa_status
pa_comm_check(pa_comm *comm, uint32_t op, pa_error *error);

/* Collective. Shows `mine` and fills `all[size]` with everybody's card, own included.
 * Waits for all ranks. Cards that differ are no error here: see comm/agree.h.
 * PA_ETIMEOUT, PA_EPEER, PA_EINTERRUPTED, PA_EBROKEN. */
pa_status
pa_comm_meet(pa_comm *comm, const pa_card *mine, pa_card *all, const pa_hooks *hooks,
             pa_error *error);

/* Shows a failed card with `text` (cut to PA_CARD_INLINE bytes) in the meeting that the
 * others are in or will come to: this rank cannot take part in `op`. Waits for nobody,
 * unless it excused itself from the meeting before as well: then for those who have yet
 * to come to that one. Errors of the group are left for the next call to report, but
 * for PA_EINTERRUPTED, which a hook asked for. */
pa_status
pa_comm_excuse(pa_comm *comm, uint32_t op, const char *text, const pa_hooks *hooks);

/* Collective, right after a meeting in which every rank's `nbytes` became known.
 * Sends `send` and fills `recv[q]` with what rank q sends, `recv[rank]` with a copy of
 * the own bytes; recv[q].nbytes must be what q sends, on every rank. `op` is for
 * messages. Waits as pa_comm_meet. */
pa_status
pa_comm_stream(pa_comm *comm, uint32_t op, const pa_flow *send, const pa_flow *recv,
               const pa_hooks *hooks, pa_error *error);

/* Breaks the group from any thread: whoever waits or comes later fails with `text`.
 * The first call wins. */
void
pa_comm_abort(pa_comm *comm, const char *text);

/* pa_comm_abort because this rank has no memory to go on with `op`, which it says. */
void
pa_comm_abort_memory(pa_comm *comm, uint32_t op);

/* Whether another rank is seen to have ended or left; as pa_comm_gone. */
bool
pa_comm_rank_gone(pa_comm *comm, int rank);

/* The first rank that is seen to have ended or left, or -1; from any thread, but not
 * while or after the comm is closed. Waits for nobody and breaks nothing. */
int
pa_comm_gone(pa_comm *comm);

/* What a rank shows to the others between meetings: numbers that grow. */
typedef enum pa_shown {
    PA_SHOWN_WORK,   /* comm/device/watch.c: pieces of work that have ended, */
    PA_SHOWN_BEGUN,  /* and that have begun */
    PA_SHOWN_TAKEN,  /* comm/device/ipc.c, */
    PA_SHOWN_CLOSED, /* and there too */
    PA_SHOWN_COUNT,
} pa_shown;

/* Shows a number to the other ranks; from any thread, but not while or after the comm
 * is closed. */
void
pa_comm_show(pa_comm *comm, pa_shown what, uint64_t number);

/* The number that a rank has shown last, at first 0; UINT64_MAX where ranks see nothing
 * of each other between meetings. As pa_comm_show. */
uint64_t
pa_comm_shown(pa_comm *comm, pa_shown what, int rank);

/* Copies why the group is broken into `text`; false if it is not. */
bool
pa_comm_broken(pa_comm *comm, char *text, size_t capacity);

#endif
