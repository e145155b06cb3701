/* The note of a piece of work on a GPU: see the header. */
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
pa_notes_destroy(const pa_cuda *cuda, pa_note *list, bool forked)
{
    while (list != NULL) {
        pa_note *gone = list;
        list = gone->next;
        if (gone->begin != NULL && !forked) {
            (void)cuda->EventDestroy(gone->begin);
        }
        if (gone->end != NULL && !forked) {
            (void)cuda->EventDestroy(gone->end);
        }
        free(gone);
    }
}
