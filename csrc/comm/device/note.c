/* The notes of pieces of work on a GPU: see the header. */
#include "comm/device/note.h"

#include <stdlib.h>

pa_status
pa_note_make(const pa_cuda *cuda, pa_note **made, pa_error *error)
{
    *made = calloc(1, sizeof **made);
    if (*made == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory to watch over work on GPUs");
    }
    unsigned int flags = PA_CUDA_EVENT_DISABLE_TIMING;
    pa_status status =
        PA_CUDA(cuda, error, EventCreateWithFlags(&(*made)->begin, flags));
    if (status == PA_OK) {
        status = PA_CUDA(cuda, error, EventCreateWithFlags(&(*made)->end, flags));
    }
    if (status != PA_OK) {
        pa_notes_destroy(cuda, *made, false);
        *made = NULL;
    }
    return status;
}

void
pa_notes_add(pa_note **firsts, pa_note *note)
{
    pa_note *first = *firsts;
    note->behind = NULL;
    while (first != NULL && first->stream != note->stream) {
        first = first->next;
    }
    if (first != NULL) {
        first->last->behind = note;
        first->last = note;
    } else {
        note->last = note;
        note->next = *firsts;
        *firsts = note;
    }
}

pa_note *
pa_notes_take(pa_note **place)
{
    pa_note *taken = *place;
    pa_note *second = taken->behind;
    if (second != NULL) {
        second->next = taken->next;
        second->last = taken->last;
        *place = second;
    } else {
        *place = taken->next;
    }
    taken->next = NULL;
    taken->behind = NULL;
    return taken;
}

uint64_t
pa_notes_ended(const pa_note *firsts, uint64_t entered)
{
    uint64_t ended = entered;
    for (; firsts != NULL; firsts = firsts->next) {
        ended = firsts->number - 1 < ended ? firsts->number - 1 : ended;
    }
    return ended;
}

uint64_t
pa_notes_begun(const pa_note *firsts, uint64_t entered)
{
    uint64_t begun = entered;
    for (; firsts != NULL; firsts = firsts->next) {
        const pa_note *waits = firsts->running_ns == 0 ? firsts : firsts->behind;
        if (waits != NULL && waits->number - 1 < begun) {
            begun = waits->number - 1;
        }
    }
    return begun;
}

void
pa_notes_destroy(const pa_cuda *cuda, pa_note *firsts, bool forked)
{
    while (firsts != NULL) {
        pa_note *gone = pa_notes_take(&firsts);
        if (gone->begin != NULL && !forked) {
            (void)cuda->EventDestroy(gone->begin);
        }
        if (gone->end != NULL && !forked) {
            (void)cuda->EventDestroy(gone->end);
        }
        free(gone);
    }
}
