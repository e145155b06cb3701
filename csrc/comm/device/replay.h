/* The marks of work that was captured in a CUDA graph: which of it is running now, of
 * what only the graph itself knows when it is launched, and where. For watch.c.
 *
 * Around each piece the graph writes a word of pinned memory: a copy of a one before it
 * and of a zero behind it. The graph may be launched for as long as it lives, of which
 * nobody tells us, so a word is never used again and never freed. */
#ifndef PA_COMM_DEVICE_REPLAY_H
#define PA_COMM_DEVICE_REPLAY_H

#include "comm/comm.h"
#include "gpu/cuda.h"

#include <stdbool.h>

typedef struct pa_replay {
    struct pa_replay *next;
    uint32_t op;                      /* a pa_op */
    const volatile uint64_t *running; /* not 0: it is running, on the GPU */
} pa_replay;

typedef struct pa_replays {
    char *numbers;   /* on the device: 0, then 1 */
    uint64_t *words; /* pinned: the block in use */
    size_t free;     /* words of it that are free */
    pa_replay *all;
} pa_replays;

/* Makes the mark of work of a stream that is being captured, and captures its
 * beginning; on the thread's current device. Waits for a copy the first time. PA_CUDA's
 * errors; PA_EMEMORY; those of pa_patience_event. */
pa_status
pa_replays_begin(pa_replays *replays, pa_comm *comm, const pa_cuda *cuda, uint32_t op,
                 pa_cuda_stream stream, const pa_hooks *hooks, pa_replay **made,
                 pa_error *error);

/* Captures the end of that work. PA_CUDA's errors. */
pa_status
pa_replays_end(const pa_replays *replays, const pa_cuda *cuda, const pa_replay *mark,
               pa_cuda_stream stream, pa_error *error);

/* Adds a mark to those that are looked at; it goes with them. */
void
pa_replays_add(pa_replays *replays, pa_replay *mark);

/* What is running now; NULL: nothing that was captured. */
const pa_replay *
pa_replays_running(const pa_replays *replays);

/* Frees what no graph can write to; without calls of CUDA. */
void
pa_replays_close(pa_replays *replays);

#endif
