/* Payloads of messages (comm/channel.h) whose leaves stand on devices, by way of the
 * host: each end of a channel has two slots of pinned memory, of which one is copied
 * from or to the device while the other travels.
 *
 * A copy is in order on the caller's stream of the leaf's device. The sender's end
 * waits for its copies, so the leaves are the caller's again at return; the receiver's
 * does not: what comes is there for whatever the caller enqueues on that stream next.
 */
#ifndef PA_COMM_DEVICE_CARRY_H
#define PA_COMM_DEVICE_CARRY_H

#include "comm/device/devices.h"

/* A payload of more than PA_CARRY_SMALL bytes is cut into chunks, each a flow of its
 * own; a smaller one travels whole. */
enum { PA_CARRY_CHUNK = 1 << 20, PA_CARRY_SMALL = 64 << 10 };

/* The slots of one end of a channel. */
typedef struct pa_carry pa_carry;

/* A payload on its way, from pa_carry_begin to pa_carry_end. */
typedef struct pa_carried {
    pa_carry *slots;
    pa_comm *comm;
    const pa_hooks *hooks;
    uint32_t op;
    const pa_part *parts; /* borrowed */
    size_t nparts;
    size_t nbytes;
    size_t chunk;    /* bytes of each but the last */
    size_t copied;   /* bytes between the device and slots */
    size_t traveled; /* bytes between slots and the peer */
    pa_cursor at;
    pa_cuda_before before;
} pa_carried;

/* Takes the slots of an end, which is made at the first call and goes to
 * pa_carry_close, for a payload in chunks of `chunk` bytes. On failure nothing has
 * happened, and no end is due. PA_EARGUMENT: a stream is being captured. PA_EMEMORY;
 * PA_CUDA's errors. */
pa_status
pa_carry_begin(pa_carried *carried, pa_carry **end, pa_comm *comm, uint32_t op,
               const pa_part *parts, size_t nparts, size_t chunk, const pa_hooks *hooks,
               pa_error *error);
void
pa_carry_end(pa_carried *carried);

/* The next chunk of a payload that is sent, in host memory, which is the sender's until
 * the next call. Waits for the device. PA_CUDA's errors; as pa_patience_pause. */
pa_status
pa_carry_fetch(pa_carried *carried, pa_part *chunk, pa_error *error);

/* Where the next chunk of a payload that is received goes, and what to do once it is
 * there. `room` waits for the device as pa_carry_fetch does. */
pa_status
pa_carry_room(pa_carried *carried, pa_part *chunk, pa_error *error);
pa_status
pa_carry_land(pa_carried *carried, pa_error *error);

/* Frees the slots of all channels, once nothing is copied any more. Where `forked` CUDA
 * is left alone. For devices.c. */
void
pa_carry_close(pa_devices *devices, bool forked);

#endif
