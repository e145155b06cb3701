/* The GPUs of a group: one device a rank, and the ways between them.
 *
 * Nothing is set up before the first operation whose leaves stand on a device. Then
 * every rank says what it has, all come to the same choice of ways, and the choice for
 * one operation follows from its bytes and from facts that all ranks share, so that no
 * rank ever takes another way than its peers.
 *
 *   nccl     one rank a GPU                            enqueued on the caller's stream
 *   ipc      ranks of one host that share a GPU, or    enqueued once the peers' bytes
 *            GPUs that can read each other             are there
 *   staged   anything, mixed places too                the host waits for the bytes */
#ifndef PA_COMM_DEVICE_DEVICES_H
#define PA_COMM_DEVICE_DEVICES_H

#include "base/leaf.h"
#include "comm/backend.h"
#include "gpu/cuda.h"

enum { PA_DEVICE_WAYS = 3, PA_DEVICE_TEXT = 1024 };

/* What a rank says of its device when the group's are set up. */
typedef struct pa_device_facts {
    pa_cuda_uuid uuid;
    int32_t device;       /* as the runtime counts in that process; -1: it has none */
    int32_t cuda;         /* version of the runtime */
    int32_t nccl;         /* version of NCCL; 0: it has none */
    uint32_t shared_nccl; /* it allows several ranks a GPU with NCCL */
    uint64_t asked;       /* hash of the choice that this rank asked for */
    char no_cuda[PA_GPU_REASON]; /* why it has no device; empty: it has one */
    char no_nccl[PA_GPU_REASON]; /* why it has no NCCL */
} pa_device_facts;

/* A row of the choice: this way for payloads of up to so many bytes. */
typedef struct pa_device_row {
    const struct pa_device_backend *way;
    size_t up_to; /* SIZE_MAX in the last row */
} pa_device_row;

/* The choice by a payload's bytes. */
typedef struct pa_device_choice {
    pa_device_row rows[PA_DEVICE_WAYS];
    size_t count; /* 0: none made */
} pa_device_choice;

typedef struct pa_devices {
    pa_comm *comm;
    /* NULL: this rank has no CUDA, or has not needed it. Atomic, since messages are
     * sent beside collectives. */
    const pa_cuda *_Atomic cuda;
    int device;              /* this rank's; -1: not known, or none */
    bool shared_nccl;        /* the caller allows several ranks a GPU with NCCL */
    bool joined;             /* set up with all ranks */
    pa_device_facts *ranks;  /* [size], once joined */
    pa_device_choice asked;  /* by the caller */
    pa_device_choice choice; /* once joined */
    char off[PA_DEVICE_WAYS][PA_DEVICE_TEXT]; /* why a way is off; empty: it is on */
    /* Each backend's own, NULL where it is off. */
    struct pa_nccl_group *nccl;
    struct pa_ipc_group *ipc;
    uint64_t ipc_closes; /* how often the way by ipc was closed on this rank */
    struct pa_staging *staging;
    /* What to do when work that was enqueued has failed: see comm/device/watch.h. */
    void (*failed)(void *context, pa_status status, const char *text);
    void *failed_context;
} pa_devices;

/* The devices of a comm, made at the first call, not yet set up. NULL when memory is
 * short. */
pa_devices *
pa_devices_of(pa_comm *comm);

/* Sees to it that `cuda` is there, from any thread; PA_ESYSTEM where it cannot be. */
pa_status
pa_devices_need_cuda(pa_devices *devices, pa_error *error);

/* Names this rank's device before the first operation on one; else that operation's is
 * the rank's. PA_EARGUMENT once they are set up with another. */
pa_status
pa_devices_set(pa_comm *comm, int device, pa_error *error);

/* Asks for ways other than those of pa_device_default: rows such as
 * "staged<=4096,nccl" (see choice.h). The same on all ranks; before the first operation
 * on a device. PA_EARGUMENT with the rows that are possible. */
pa_status
pa_devices_ask(pa_comm *comm, const char *rows, pa_error *error);

/* Allows several ranks a GPU with NCCL versions that can do so (NCCL's own variable,
 * which the caller has read); at first not. PA_EMEMORY. */
pa_status
pa_devices_allow_shared(pa_comm *comm, bool allowed, pa_error *error);

/* Whether the place's stream is being captured in a CUDA graph. */
bool
pa_place_captured(const pa_place *place);

/* Bits of pa_placed for leaves. */
uint32_t
pa_devices_placed(pa_comm *comm, const pa_leaves *leaves);

/* One rank's share of an operation that moves bytes. */
typedef struct pa_move {
    uint32_t op;
    uint32_t placed; /* bits of pa_placed, of all ranks */
    bool apart;      /* some leaf stands on a device on some ranks only */
    const pa_flow *send;
    const pa_flow *recv; /* [size] */
    int receiver;        /* the only rank that receives, or PA_NO_ROOT */
    int sender;          /* the only rank that sends, or PA_NO_ROOT */
} pa_move;

/* The bits of pa_placed of all ranks, from the cards of a meeting. */
uint32_t
pa_cards_placed(const pa_card *cards, int size);

/* Collective, right after a meeting and pa_agree: pa_comm_stream where parts may stand
 * on devices. With any bit in `placed` every flow with bytes has its parts, as many on
 * every rank, and data that passes by unread is NULL. What parts on devices receive
 * comes in order on their streams; host memory is filled at return. Errors as
 * pa_comm_stream; an error of one rank's device breaks the group. */
pa_status
pa_devices_move(pa_comm *comm, const pa_move *move, const pa_hooks *hooks,
                pa_error *error);

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
