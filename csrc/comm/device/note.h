/* The notes of pieces of work on a GPU, each with an event before and one behind it.
 * For watch.c.
 *
 * Work of one stream ends in the order of its notes, so only the first of each stream
 * is ever asked for: what a look costs follows from the number of streams. */
#ifndef PA_COMM_DEVICE_NOTE_H
#define PA_COMM_DEVICE_NOTE_H

#include "gpu/cuda.h"

#include <stdbool.h>

typedef struct pa_note {
    struct pa_note *next;   /* first of another stream, or free as well */
    struct pa_note *behind; /* the next of the same stream */
    struct pa_note *last;   /* of the same stream; in the first one only */
    pa_cuda_stream stream;
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

/* Adds a note behind those of its stream. */
void
pa_notes_add(pa_note **firsts, pa_note *note);

/* Takes out the first note of its stream, to which `*place` points and then to the one
 * that follows. */
pa_note *
pa_notes_take(pa_note **place);

/* So many pieces of work have ended, out of `entered`; and so many have begun. */
uint64_t
pa_notes_ended(const pa_note *firsts, uint64_t entered);
uint64_t
pa_notes_begun(const pa_note *firsts, uint64_t entered);

/* Frees notes and all behind them; NULL is fine. `forked`: without calls of CUDA. */
void
pa_notes_destroy(const pa_cuda *cuda, pa_note *firsts, bool forked);

#endif
