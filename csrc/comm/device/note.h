/* The note of a piece of work on a GPU: an event before and one behind it. For watch.c.
 */
#ifndef PA_COMM_DEVICE_NOTE_H
#define PA_COMM_DEVICE_NOTE_H

#include "gpu/cuda.h"

#include <stdbool.h>

typedef struct pa_note {
    struct pa_note *next;
    pa_cuda_event begin;
    pa_cuda_event end;
    uint64_t number;     /* of the piece of work */
    uint32_t op;         /* a pa_op */
    uint64_t running_ns; /* when the stream was seen to have come so far; 0: not yet */
} pa_note;

/* A note with its events, on the thread's current device; goes to pa_notes_destroy.
 * PA_EMEMORY; PA_CUDA's errors. */
pa_status
pa_note_make(const pa_cuda *cuda, pa_note **made, pa_error *error);

/* Frees a list of notes; NULL is fine. `forked`: without calls of CUDA. */
void
pa_notes_destroy(const pa_cuda *cuda, pa_note *list, bool forked);

#endif
