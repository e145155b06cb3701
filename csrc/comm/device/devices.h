/* The GPUs of a group: one device a rank, and the ways between them.
 *
 * Nothing is set up before the first operation whose leaves stand on a device. Then
 * every rank says what it has, all come to the same choice of ways, and the choice for
 * one operation follows from its bytes and from facts that all ranks share, so that no
 * rank ever takes another way than its peers.
 *
 *   nccl     one rank a GPU                            enqueued on the caller's stream
 *   ipc      ranks of one host that share a GPU, or    enqueued on the caller's stream
 *            GPUs that can read each other
 *   staged   anything, mixed places too                the host waits for the bytes */
#ifndef PA_COMM_DEVICE_DEVICES_H
#define PA_COMM_DEVICE_DEVICES_H

#include "comm/backend.h"
#include "gpu/cuda.h"

enum { PA_DEVICE_WAYS = 3, PA_DEVICE_TEXT = 256 };

/* What a rank says of its device when the group's are set up. */
typedef struct pa_device_facts {
    pa_cuda_uuid uuid;
    int32_t device;       /* as the runtime counts in that process; -1: it has none */
    int32_t cuda;         /* version of the runtime */
    int32_t nccl;         /* version of NCCL; 0: it has none */
    uint32_t shared_nccl; /* it allows several ranks a GPU with NCCL */
    uint64_t table;       /* hash of the choice that this rank asked for */
} pa_device_facts;

/* A row of the choice: this way for payloads of up to so many bytes. */
typedef struct pa_device_row {
    const struct pa_device_backend *way;
    size_t up_to; /* SIZE_MAX in the last row */
} pa_device_row;

typedef struct pa_devices {
    pa_comm *comm;
    const pa_cuda *cuda;    /* NULL: this rank has no CUDA */
    int device;             /* this rank's; -1: not known, or none */
    bool joined;            /* set up with all ranks */
    pa_device_facts *ranks; /* [size] */
    pa_device_row rows[PA_DEVICE_WAYS];
    size_t nrows;
    char off[PA_DEVICE_WAYS][PA_DEVICE_TEXT]; /* why a way is off; empty: it is on */
    /* Each backend's own, NULL where it is off. */
    struct pa_nccl_group *nccl;
    struct pa_ipc_group *ipc;
    struct pa_staging *staging;
    /* What to do when work that was enqueued has failed: see comm/device/watch.h. */
    void (*failed)(void *context, pa_status status, const char *text);
    void *failed_context;
} pa_devices;

/* The devices of a comm, made at the first call, not yet set up. NULL when memory is
 * short. */
pa_devices *
pa_devices_of(pa_comm *comm);

/* Names this rank's device before the first operation on one; else that operation's is
 * the rank's. PA_EARGUMENT once they are set up with another. */
pa_status
pa_devices_set(pa_comm *comm, int device, pa_error *error);

/* Asks for ways other than those of pa_device_default: rows such as
 * "staged<=4096,nccl" (see choice.h). The same on all ranks; before the first operation
 * on a device. PA_EARGUMENT with the rows that are possible. */
pa_status
pa_devices_ask(pa_comm *comm, const char *rows, pa_error *error);

/* Bits of pa_placed for leaves. */
uint32_t
pa_devices_placed(pa_comm *comm, const pa_leaves *leaves);

/* Collective, right after a meeting and pa_agree: moves bytes as pa_comm_stream does,
 * where parts may stand on devices. `cards[size]` are the meeting's; `apart` says that
 * the same leaf stands on a device on some ranks only. What parts on devices receive is
 * there in order on their streams, and host memory at return. `receiver` and `sender`
 * are ranks, or PA_NO_ROOT for all. Errors as pa_comm_stream. */
pa_status
pa_devices_stream(pa_comm *comm, uint32_t op, const pa_card *cards, bool apart,
                  const pa_flow *send, const pa_flow *recv, int receiver, int sender,
                  const pa_hooks *hooks, pa_error *error);

/* Writes the ways, what is on, and why what is off is so, a line each. */
void
pa_devices_format(pa_comm *comm, char *text, size_t capacity);

/* Ends what is enqueued on the group's devices; from any thread. For comm.c and
 * watch.c. */
void
pa_devices_abort(pa_devices *devices);

/* Frees everything; NULL is fine. For comm.c. */
void
pa_devices_close(pa_devices *devices, bool forked);

#endif
