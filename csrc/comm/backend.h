/* What a backend gives to comm.c: one table of functions. Backends trust their
 * arguments, which comm.c has checked. */
#ifndef PA_COMM_BACKEND_H
#define PA_COMM_BACKEND_H

#include "comm/comm.h"
#include "sys/process.h"

typedef struct pa_backend {
    const char *name;
    /* (optional, default: never) Bytes of a block that is worth cutting into a segment
     * a rank: where a stream passes by what a rank does not want at no cost. */
    size_t segment_block;
    /* Whether all ranks run on one host under one kernel, and may lend to each other.
     */
    bool one_host;
    /* See pa_comm_meet. */
    pa_status (*meet)(pa_comm *comm, const pa_card *mine, pa_card *all,
                      const pa_hooks *hooks, pa_error *error);
    /* See pa_comm_excuse. */
    pa_status (*excuse)(pa_comm *comm, const pa_card *failed, const pa_hooks *hooks);
    /* See pa_comm_stream. */
    pa_status (*stream)(pa_comm *comm, uint32_t op, const pa_flow *send,
                        const pa_flow *recv, const pa_hooks *hooks, pa_error *error);
    /* These four carry what one rank sends to another (comm/channel.h), never to
     * itself. Several threads may call them at once, though only one for a peer and a
     * direction. (optional in a group of one) Sends flows, of which the receiver takes
     * each by one call; their memory is the caller's again at return. Waits while much
     * of what was sent before is unread. Errors as pa_comm_stream. */
    pa_status (*put)(pa_comm *comm, uint32_t op, int to, const pa_flow *flows,
                     size_t nflows, const pa_hooks *hooks, pa_error *error);
    /* Waits for the next flow of `from`, of as many bytes as `into`, and fills that. */
    pa_status (*take)(pa_comm *comm, uint32_t op, int from, const pa_flow *into,
                      const pa_hooks *hooks, pa_error *error);
    /* The message of which flows were taken is complete; `refusal` (NULL: none) is for
     * its sender. */
    void (*taken)(pa_comm *comm, int from, const char *refusal);
    /* Copies the refusal that came from `to` since the last call; false: none did. */
    bool (*refused)(pa_comm *comm, int to, char *text, size_t capacity);
    /* (optional, default: the group cannot break) See pa_comm_abort. */
    void (*abort)(pa_comm *comm, const char *text);
    /* (optional, default: false) See pa_comm_broken. */
    bool (*broken)(pa_comm *comm, char *text, size_t capacity);
    /* (optional, default: nobody is seen to be gone) See pa_comm_rank_gone. */
    bool (*gone)(pa_comm *comm, int rank);
    /* (optional, both or none) See pa_comm_show and pa_comm_shown. */
    void (*show)(pa_comm *comm, pa_shown what, uint64_t number);
    uint64_t (*shown)(pa_comm *comm, pa_shown what, int rank);
    /* Leaves the group unless `forked`, and frees what the backend holds, but not the
     * comm itself. Called once. */
    void (*close)(pa_comm *comm, bool forked);
} pa_backend;

/* How far this rank's ends of the channels to and from one peer are. */
typedef struct pa_channel {
    uint64_t sent; /* messages */
    uint64_t received;
    struct pa_carry *out; /* NULL until leaves of a device are sent, or received */
    struct pa_carry *in;
} pa_channel;

/* The common part of a communicator; a backend's own struct begins with it. */
struct pa_comm {
    const pa_backend *backend;
    int rank;
    int size;
    bool closed;
    bool ending;                 /* it is closed because this process is about to end */
    bool lending_refused;        /* some rank could not open what another lent */
    _Atomic uint64_t timeout_ns; /* also read by device/watch.c's thread */
    uint64_t patience_ns;
    pa_fork_mark *fork_mark;
    pa_channel *channels;       /* [size] */
    struct pa_loop *loop;       /* to itself: see comm/loop.h */
    struct pa_lent *lent;       /* this rank's arenas: see comm/lend.c */
    const pa_hooks *leaving;    /* of the caller of pa_comm_leave, while it runs */
    struct pa_devices *devices; /* the group's GPUs: see comm/device/devices.h */
};

/* Fills the common part; on PA_EMEMORY there is nothing to undo. */
pa_status
pa_comm_init(pa_comm *comm, const pa_backend *backend, int rank, int size,
             pa_error *error);

/* Undoes pa_comm_init, for a backend whose own making failed afterwards. */
void
pa_comm_fini(pa_comm *comm);

/* Gives up this rank's arenas; their leases stay good. For comm.c. */
void
pa_lend_fini(pa_comm *comm);

/* A place in a flow. */
typedef struct pa_cursor {
    const pa_part *parts;
    size_t index;
    size_t offset;
} pa_cursor;

/* Copies the next `nbytes` of the flow to `to`, or from `from` into the flow, but for
 * parts whose data is NULL: these pass by. The flow must have that many left. */
void
pa_cursor_read(pa_cursor *cursor, char *to, size_t nbytes);
void
pa_cursor_write(pa_cursor *cursor, const char *from, size_t nbytes);

/* Copies the next `nbytes` of one flow to the next `nbytes` of another. */
void
pa_cursor_copy(pa_cursor *from, pa_cursor *to, size_t nbytes);

#endif
