/* What the watch sees when it looks at enqueued work: whether that has ended, has
 * failed or can never end. For watch.c. */
#ifndef PA_COMM_DEVICE_LOOK_H
#define PA_COMM_DEVICE_LOOK_H

#include "comm/device/devices.h"
#include "comm/device/note.h"

typedef struct pa_look {
    pa_devices *devices;
    /* (optional) Whether the work has failed by itself, with a sentence. */
    pa_status (*ask)(pa_devices *devices, pa_error *error);
    bool together; /* every rank shows how far it is with the same work */
    bool missed;   /* a peer was gone at the look before */
} pa_look;

/* What one look has found. */
typedef struct pa_finding {
    pa_status status; /* PA_OK: all is well */
    bool told;        /* the group is broken already, and the others know */
    bool over;        /* the process ends, and CUDA has ended before us */
    pa_error error;
} pa_finding;

/* Moves the notes of work that has ended from `*pending` to `*free`; finds work that
 * has failed, or has been running for longer than the deadline. */
void
pa_look_at_work(const pa_look *look, pa_note **pending, pa_note **free,
                pa_finding *found);

/* Finds what ends work of `op` that is unfinished. The comm's backend may need a lock
 * that the caller of the work holds. */
void
pa_look_at_group(pa_look *look, uint32_t op, pa_finding *found);

/* Ends what cannot end by itself, and tells everybody. On one host the group is broken
 * first, so that whoever fails next knows why; else last, since it may take a network,
 * or the lock of the interpreter. */
void
pa_look_report(const pa_look *look, const pa_finding *found);

#endif
