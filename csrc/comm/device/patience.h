/* Waiting for what only can be asked, such as an event of CUDA: with the comm's
 * deadline, an eye on the peers and on the caller, and ever longer pauses. */
#ifndef PA_COMM_DEVICE_PATIENCE_H
#define PA_COMM_DEVICE_PATIENCE_H

#include "comm/comm.h"
#include "gpu/cuda.h"

typedef struct pa_patience {
    pa_comm *comm;
    uint32_t op;
    const char *what; /* for messages, such as "NCCL to connect the ranks" */
    const pa_hooks *hooks;
    bool alone;   /* it depends on no peer, whose end is then no matter */
    bool endless; /* the caller sees to the deadline */
    uint64_t began_ns;
    uint64_t looked_ns; /* when peers and caller were last looked at */
    uint32_t asked;
} pa_patience;

/* Starts a wait; nothing is read or written. */
pa_patience
pa_patience_begin(pa_comm *comm, uint32_t op, const char *what, const pa_hooks *hooks);

/* Called after each question that had no answer yet: pauses, then PA_OK: ask again.
 * Else the wait has failed and the group is broken: PA_ETIMEOUT, PA_EPEER with the rank
 * that ended, PA_EINTERRUPTED, PA_EBROKEN. */
pa_status
pa_patience_pause(pa_patience *patience, pa_error *error);

/* Waits until an event was reached on its stream. Also PA_CUDA's errors. */
pa_status
pa_patience_event(pa_patience *patience, const pa_cuda *cuda, pa_cuda_event event,
                  pa_error *error);

#endif
