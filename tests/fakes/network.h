/* The inside of the fake NCCL: communicators, and the memory that the ranks of one
 * share. Guarded by the fake CUDA runtime's lock; what other ranks see is atomic. */
#ifndef TESTS_FAKES_NETWORK_H
#define TESTS_FAKES_NETWORK_H

#include "runtime.h"

#include "gpu/nccl.h"

/* What a rank is about to do in a collective; the same on all of them. */
typedef struct fake_card {
    int kind; /* fake_piece_kind */
    int dtype;
    int op;
    int root;
    uint64_t count;
    uint64_t offset; /* of its input, in the memory of its device */
} fake_card;

/* A rank as the others see it. `arrived` and `passed` count collectives: it has shown
 * its card of number n once `arrived` is n, and needs nobody's input any more once
 * `passed` is n. */
typedef struct fake_member {
    int process;
    int file; /* of its device's memory */
    uint64_t nbytes;
    int version;
    char uuid[FAKE_UUID_BYTES];
    int device;
    _Atomic uint32_t joined;
    _Atomic uint32_t finalized; /* it will come to no collective any more */
    _Atomic uint64_t arrived;
    _Atomic uint64_t passed;
    fake_card card;
} fake_member;

/* What is on its way from one rank to another: one message at a time. */
typedef struct fake_channel {
    _Atomic uint64_t posted;
    _Atomic uint64_t taken;
    uint64_t offset;
    uint64_t nbytes;
} fake_channel;

/* Shared by the ranks of a communicator; members[size] and channels[size][size] follow.
 */
typedef struct fake_segment {
    uint64_t token;
    _Atomic uint32_t size; /* of the communicator, as the first rank said it */
    _Atomic uint32_t bell;
    _Atomic uint32_t broken; /* a rank has seen that calls do not match */
    fake_member members[];
} fake_segment;

typedef enum fake_stage {
    FAKE_JOINING,
    FAKE_READY,
    FAKE_FINALIZING,
    FAKE_FINALIZED,
    FAKE_REVOKED,
} fake_stage;

typedef struct fake_launch fake_launch;

typedef struct fake_comm {
    uint64_t serial;
    int rank;
    int size;
    int device;
    bool blocking;
    fake_stage stage;
    bool joining; /* its thread is at work */
    bool gone;    /* destroyed or aborted: no handle any more */
    int polls;    /* answers "in progress" still to give */
    bool busy;    /* an operation has not been polled to its end */
    int code;     /* asynchronous error */
    _Atomic bool aborted;
    int running;          /* launches that a stream is at */
    int users;            /* launches that are queued or captured */
    int inside;           /* threads that wait in a call for room in the queue */
    fake_launch *waiting; /* launches that are queued once it was polled */
    fake_launch **last;
    uint64_t last_stream; /* serial of the latest launch's */
    uint64_t collectives; /* that ran */
    pa_nccl_id id;
    fake_segment *segment;
    const char *base;    /* of the memory of this rank's device */
    const char **memory; /* [size] that of every rank, as it is mapped here */
    struct fake_comm *next;
} fake_comm;

typedef enum fake_piece_kind {
    FAKE_ALL_GATHER,
    FAKE_BROADCAST,
    FAKE_ALL_REDUCE,
    FAKE_SEND,
    FAKE_RECV,
} fake_piece_kind;

/* One call of a collective, or of a send or a receive. */
typedef struct fake_piece {
    fake_piece_kind kind;
    const char *send;
    char *recv;
    size_t count;
    int dtype;
    int op;
    int root; /* or the peer */
    uint64_t stream;
    uint64_t number; /* of a send or receive that was begun: its turn in the channel */
    bool done;
} fake_piece;

/* What one group gives to one communicator: one kernel. */
struct fake_launch {
    fake_op op;
    fake_comm *comm;
    fake_piece *pieces;
    size_t npieces;
    fake_use *uses;
    fake_launch *next;
};

#define FAKE_DECLARE(name, parameters) int nccl##name parameters;
PA_NCCL_MAP(FAKE_DECLARE)
#undef FAKE_DECLARE
int
ncclCommRevoke(pa_nccl_comm comm, int flags);

/* Begins a call of NCCL: `code` is fake_begin's. */
int
fake_nccl_enter(int code);

/* With the lock: the communicator of a handle; NULL after a violation. */
fake_comm *
fake_comm_of(pa_nccl_comm handle, const char *call);

/* With the lock: whether a call may use the communicator now; a code of NCCL's. */
int
fake_comm_ready(const fake_comm *comm, const char *call);

/* With the lock: a call has begun an operation; the code that it returns. */
int
fake_comm_begin(fake_comm *comm);

/* With the lock: queues what waits for being polled. */
void
fake_comm_flush(fake_comm *comm);

/* With the lock: frees a communicator that is gone once nobody uses it. */
void
fake_comm_settle(fake_comm *comm);

/* With the lock: the communicator's asynchronous error from now on, and why. */
void
fake_comm_break(fake_comm *comm, int code, const char *text);

/* Room for the largest group that a test has; it takes memory only where it is used. */
enum { FAKE_SEGMENT_BYTES = 1 << 20 };

/* Bytes that a communicator of that size needs in its segment. */
size_t
fake_segment_bytes(int size);

/* The thread that joins a communicator (its argument) to the other ranks. */
void *
fake_join(void *comm);

/* With the lock: identities of this process that no group has been made with yet. */
size_t
fake_identities(void);

/* The channel from one rank to another. */
fake_channel *
fake_channel_of(const fake_comm *comm, int from, int to);

/* Bytes of an element. */
size_t
fake_element(int dtype);

/* With the lock: frees a launch that was never queued, or is done. */
void
fake_launch_drop(fake_launch *launch);

/* The launch's work on its stream. */
void
fake_launch_run(fake_op *op);
void
fake_launch_destroy(fake_op *op);

/* to[i] = to[i] op from[i]; then, for an average, the division. */
void
fake_reduce(char *to, const char *from, size_t count, int dtype, int op);
void
fake_divide(char *to, size_t count, int dtype, int by);

/* Groups that were begun and not ended, in all threads. */
int
fake_groups_open(void);

#endif
