/* The buffers by which the ranks of a host share bytes of their devices: see ipc.c for
 * what is done with them. */
#ifndef PA_COMM_DEVICE_IPC_GROUP_H
#define PA_COMM_DEVICE_IPC_GROUP_H

#include "comm/device/devices.h"

enum { PA_IPC_SLOTS = 2, PA_IPC_SLOT_BYTES = 8 << 20 };

/* The buffer of one rank, the own one or one that was opened. */
typedef struct pa_ipc_buffer {
    char *memory; /* [PA_IPC_SLOTS][PA_IPC_SLOT_BYTES] */
    pa_cuda_event filled[PA_IPC_SLOTS];
    pa_cuda_event drained[PA_IPC_SLOTS];
} pa_ipc_buffer;

typedef struct pa_ipc_group {
    pa_ipc_buffer *ranks;  /* [size] */
    pa_cuda_stream stream; /* for the probe, */
    char *probe;           /* [PROBE_BYTES] with pinned memory */
    uint64_t chunk;        /* number of the next one */
} pa_ipc_group;

/* The slots of pa_device_ipc; see comm/device/backend.h. */
pa_status
pa_ipc_open(pa_devices *devices, const pa_hooks *hooks, pa_error *error);
void
pa_ipc_close(pa_devices *devices, bool forked);

#endif
