/* Pinned host memory on the way between devices and the host's backend: two slots, so
 * that one is copied while the other travels. For staged.c and staged_reduce.c. */
#ifndef PA_COMM_DEVICE_STAGING_H
#define PA_COMM_DEVICE_STAGING_H

#include "comm/device/backend.h"

enum { PA_STAGE_SLOTS = 2, PA_STAGE_CHUNK = 2 << 20 };

/* The events of one device. */
typedef struct pa_stage_events {
    pa_cuda_event left[PA_STAGE_SLOTS];   /* what left the device is in the slot */
    pa_cuda_event landed[PA_STAGE_SLOTS]; /* what the slot held has left it */
} pa_stage_events;

typedef struct pa_staging {
    char *send[PA_STAGE_SLOTS]; /* [chunk] */
    char *recv[PA_STAGE_SLOTS]; /* [size][chunk] */
    size_t chunk;
    bool pinned;
    pa_stage_events *events; /* [ndevices] */
    int ndevices;
} pa_staging;

/* The devices that one operation touches, with the caller's streams. */
typedef struct pa_stage_places {
    const pa_place **at;
    size_t count;
} pa_stage_places;

/* Notes a place, unless it is there already or NULL. `places->at` has room. */
void
pa_stage_note(pa_stage_places *places, const pa_place *place);

/* Makes slots of at least `chunk` bytes a rank. Waits until the old ones are idle. */
pa_status
pa_stage_reserve(pa_devices *devices, uint32_t op, size_t chunk, const pa_hooks *hooks,
                 pa_error *error);

/* Marks the end of what was enqueued from (`left`) or to the devices in a slot. */
pa_status
pa_stage_mark(pa_devices *devices, const pa_stage_places *places, size_t slot,
              bool left, pa_error *error);

/* Waits on the host for the marks of a slot on all devices. */
pa_status
pa_stage_await(pa_devices *devices, uint32_t op, size_t slot, bool left,
               const pa_hooks *hooks, pa_error *error);

/* The slots of pa_device_staged. */
pa_status
pa_staged_open(pa_devices *devices, const pa_hooks *hooks, pa_error *error);
void
pa_staged_close(pa_devices *devices, bool forked);
bool
pa_staged_reduces(int size, pa_reduction reduction, double scale, pa_dtype dtype);
pa_status
pa_staged_reduce(pa_devices *devices, const pa_device_reduction *work,
                 const pa_hooks *hooks, pa_error *error);

#endif
