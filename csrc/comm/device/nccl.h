/* What the two files of the way over NCCL share: the group, and what enqueues. */
#ifndef PA_COMM_DEVICE_NCCL_H
#define PA_COMM_DEVICE_NCCL_H

#include "comm/device/backend.h"
#include "comm/device/nccl_link.h"
#include "comm/device/replay.h"
#include "comm/device/watch.h"

struct pa_nccl_group {
    pa_nccl_link link; /* of all ranks of the group */
    pa_watch *watch;
    pa_replays replays;
};

/* See pa_device_backend. One launch a call, enqueued on the work's stream. A failure
 * ends all that this rank has enqueued; the caller breaks the group. */
pa_status
pa_nccl_stream(pa_devices *devices, const pa_device_work *work, const pa_hooks *hooks,
               pa_error *error);

/* See pa_device_backend. Results may differ from the host's in their last bits, since
 * sums of floats are taken in NCCL's order and those of narrow floats may be rounded at
 * each step. A mean multiplies each rank's elements by one over the size in their own
 * dtype and then adds them. Where the size is a power of two no bit is lost by that but
 * of numbers so small that they become subnormal; else each element is rounded once
 * more than on the host, and the factor itself is as exact as the dtype. A mean whose
 * sum exceeds the dtype is finite here and infinite there. */
bool
pa_nccl_reduces(int size, pa_reduction reduction, double scale, pa_dtype dtype);
pa_status
pa_nccl_reduce(pa_devices *devices, const pa_device_reduction *work,
               const pa_hooks *hooks, pa_error *error);

#endif
