/* All-gather of byte strings: see the header. */
#include "comm/bytes.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

/* One allocation: the table, the flows and parts of the stream, then the strings. */
typedef struct workspace {
    pa_bytes *all;
    pa_flow *flows;
    pa_part *parts;
    char *text;
} workspace;

static bool
workspace_make(workspace *work, const pa_card *cards, size_t size)
{
    size_t nbytes = size * (sizeof(pa_bytes) + sizeof(pa_flow) + sizeof(pa_part)) + 1;
    for (size_t rank = 0; rank < size; rank++) {
        if (!pa_size_add(nbytes, (size_t)cards[rank].nbytes, &nbytes)) {
            return false;
        }
    }
    char *memory = malloc(nbytes);
    if (memory == NULL) {
        return false;
    }
    work->all = (pa_bytes *)(void *)memory;
    work->flows = (pa_flow *)(void *)(work->all + size);
    work->parts = (pa_part *)(void *)(work->flows + size);
    work->text = (char *)(work->parts + size);
    return true;
}

/* Points every rank's string into the text; what came inline is copied right away. */
static void
workspace_fill(workspace *work, const pa_card *cards, size_t size)
{
    char *at = work->text;
    for (size_t rank = 0; rank < size; rank++) {
        size_t nbytes = (size_t)cards[rank].nbytes;
        bool inlined = nbytes <= PA_CARD_INLINE;
        work->all[rank] = (pa_bytes){.data = at, .nbytes = nbytes};
        work->parts[rank] = (pa_part){.data = at, .nbytes = nbytes};
        work->flows[rank] = (pa_flow){0};
        if (inlined) {
            /* The card is another process's: its two lengths need not agree. */
            memcpy(at, cards[rank].inlined, nbytes);
        } else {
            work->flows[rank] = (pa_flow){&work->parts[rank], 1, nbytes};
        }
        at += nbytes;
    }
}

pa_status
pa_bytes_gather(pa_comm *comm, uint32_t op, const pa_part *mine, pa_bytes **all,
                const pa_hooks *hooks, pa_error *error)
{
    size_t size = (size_t)pa_comm_size(comm);
    bool inlined = mine->nbytes <= PA_CARD_INLINE;
    *all = NULL;
    pa_card *cards = calloc(size, sizeof *cards);
    if (cards == NULL) {
        pa_comm_abort_memory(comm, op);
        return pa_error_set(error, PA_EMEMORY, "no memory for %zu cards", size);
    }
    pa_card card = {
        .op = PA_OP_DESCRIBE,
        .root = PA_NO_ROOT,
        .nbytes = mine->nbytes,
        .inlined = mine->data,
        .ninline = inlined ? (uint32_t)mine->nbytes : 0,
    };
    workspace work = {0};
    pa_status status = pa_comm_meet(comm, &card, cards, hooks, error);
    if (status == PA_OK && !workspace_make(&work, cards, size)) {
        pa_comm_abort_memory(comm, op);
        status = pa_error_set(error, PA_EMEMORY, "no memory for %zu strings", size);
    }
    if (status == PA_OK) {
        workspace_fill(&work, cards, size);
        pa_flow send = {
            .parts = mine, .nparts = 1, .nbytes = inlined ? 0 : mine->nbytes};
        status = pa_comm_stream(comm, op, &send, work.flows, hooks, error);
    }
    if (status == PA_OK) {
        *all = work.all;
    } else {
        free(work.all);
    }
    free(cards);
    return status;
}

void
pa_bytes_free(pa_bytes *all)
{
    free(all);
}
