/* One NCCL communicator, and the protocol by which two threads share it.
 *
 * NCCL allows one thread at a time inside a communicator, and none while another aborts
 * it. Yet the thread that watches over the work must be able to abort what the main
 * thread waits for. So:
 *
 *   - Whoever calls NCCL for a link holds its lock, and holds it for that call alone (a
 *     group of calls counts as one). The communicators are non-blocking, so calls
 *     return; all waiting is done by asking again, between which the lock is free.
 *   - To end a communicator is to take it out of the link, under the lock. Who took it
 *     out is the only one who knows it and ends it without the lock. All others find
 *     the link empty and say that the group is broken.
 *   - It is aborted in a thread of its own. NCCL first raises the flag that ends its
 *     kernels, and then frees memory, for which CUDA waits for all that is queued on
 * the device, the caller's own work of hours among it.
 *
 * One wait inside NCCL is left. Versions that launch in the call itself, not in a
 * thread, block there while the device's queue of launches is full, and that queue may
 * be full behind the very kernel that is to be aborted. Who aborts therefore waits for
 * the lock for PA_NCCL_LOCK_NS only. Then it revokes the communicator, which raises the
 * flag and frees nothing, and leaves it to who is inside to abort it when that call has
 * returned. Versions of NCCL that cannot revoke are told to abort at once: nothing but
 * the flag lets the launch return, though they may free what it still reads. */
#ifndef PA_COMM_DEVICE_NCCL_LINK_H
#define PA_COMM_DEVICE_NCCL_LINK_H

#include "gpu/nccl.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Messages name the call, NCCL's version and its words; who, where and in which
 * operation is the caller's to say. */

/* How long who aborts waits for who is inside NCCL. */
#define PA_NCCL_LOCK_NS UINT64_C(2000000000)

/* How long a communicator whose work is done may take to be closed in good order, and
 * one whose work was captured: NCCL waits for the end of the graphs, which may live. */
#define PA_NCCL_CLOSE_NS UINT64_C(10000000000)
#define PA_NCCL_GRAPHS_NS UINT64_C(500000000)

/* How long pa_nccl_link_close waits for an abort, so that it does not meet the end of
 * the process half-way. */
#define PA_NCCL_ABORT_NS UINT64_C(2000000000)

typedef struct pa_nccl_link {
    const pa_nccl *nccl;
    pthread_mutex_t lock;
    _Atomic(pa_nccl_comm) comm; /* NULL: not made, or taken out */
    /* Taken out and revoked while somebody was inside NCCL, who is to abort it. */
    _Atomic(pa_nccl_comm) left;
    pthread_t aborting; /* the thread that aborts it */
    atomic_bool aborted;
    /* Work was captured in a graph, which keeps the communicator from being freed. */
    atomic_bool captured;
    /* Of the group of calls that is being put together. */
    pa_nccl_comm calling;
    int code; /* the first that was refused, or PA_NCCL_SUCCESS */
    const char *refused;
} pa_nccl_link;

/* An empty link in the caller's storage; goes to pa_nccl_link_close. */
void
pa_nccl_link_init(pa_nccl_link *link, const pa_nccl *nccl);

/* A new id for pa_nccl_link_connect, to be given to all its ranks; PA_NCCL's errors. */
pa_status
pa_nccl_link_identify(const pa_nccl_link *link, pa_nccl_id *id, pa_error *error);

/* Begins to make the communicator, on the thread's current device; it is there once
 * pa_nccl_link_ask says `done`. `rank` is among the `size` ranks of `id`. Waits for
 * nobody. */
pa_status
pa_nccl_link_connect(pa_nccl_link *link, int size, pa_nccl_id id, int rank,
                     pa_error *error);

/* Whether what was begun last is done: made, or put on the stream. PA_EBROKEN once the
 * communicator was ended; what NCCL says was wrong as PA_ESYSTEM or PA_EPEER. Waits for
 * nobody, and for the lock only if `wait`: else PA_OK and not done. */
pa_status
pa_nccl_link_ask(pa_nccl_link *link, bool wait, bool *done, pa_error *error);

/* Opens a group of calls, which PA_NCCL adds; all become one launch. On PA_OK the lock
 * is held until pa_nccl_link_commit, which must follow at once. PA_EBROKEN. */
pa_status
pa_nccl_link_start(pa_nccl_link *link, pa_error *error);

/* Notes the result of a call of a group; for PA_NCCL. */
void
pa_nccl_link_note(pa_nccl_link *link, int code, const char *call);

/* A call of an open group: PA_NCCL(link, AllGather(send, recv, n, t, comm, stream)). */
#define PA_NCCL(link, call) pa_nccl_link_note((link), (link)->nccl->call, "nccl" #call)

/* Closes the group: its calls go to their streams, or none does. `*done` says whether
 * they are there already; else ask. Errors as pa_nccl_link_ask. */
pa_status
pa_nccl_link_commit(pa_nccl_link *link, bool *done, pa_error *error);

/* Ends what waits in the communicator's kernels, and the communicator in a thread of
 * its own; from any thread, once or more. Waits for PA_NCCL_LOCK_NS at most. */
void
pa_nccl_link_abort(pa_nccl_link *link);

/* Frees what the link has: in good order where `healthy` and nothing is unfinished on
 * the device. A healthy communicator that NCCL cannot close in time, because a peer
 * does not close its own or live graphs hold it, stays until the process ends: to abort
 * it would take memory from the peers that they use. One that is not healthy, or was
 * never made whole, is aborted. Waits for the constants above at most. Where `forked`
 * NCCL is left alone. */
void
pa_nccl_link_close(pa_nccl_link *link, bool healthy, bool forked);

#endif
