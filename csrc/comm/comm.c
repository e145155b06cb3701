/* The communicator's face: checks what every backend may rely on, then hands over. */
#include "comm/comm.h"

#include "base/clock.h"
#include "comm/backend.h"
#include "comm/device/devices.h"
#include "comm/loop.h"

#include <stdlib.h>
#include <string.h>

const char *
pa_op_text(uint32_t op)
{
#define PA_OP_CASE(name, text)                                                         \
    case name:                                                                         \
        return text;
    switch (op) {
        PA_OP_MAP(PA_OP_CASE)
    default:
        return "an unknown operation";
    }
#undef PA_OP_CASE
}

pa_status
pa_comm_init(pa_comm *comm, const pa_backend *backend, int rank, int size,
             pa_error *error)
{
    pa_fork_mark *mark = pa_fork_mark_create();
    pa_loop *loop = pa_loop_create();
    pa_channel *channels = calloc((size_t)size, sizeof *channels);
    if (mark == NULL || loop == NULL || channels == NULL) {
        pa_fork_mark_destroy(mark);
        pa_loop_destroy(loop);
        free(channels);
        return pa_error_set(error, PA_EMEMORY, "no memory for a communicator");
    }
    *comm = (pa_comm){
        .backend = backend,
        .rank = rank,
        .size = size,
        .timeout_ns = PA_DEADLINE_NEVER,
        .patience_ns = PA_PATIENCE_NS,
        .fork_mark = mark,
        .loop = loop,
        .channels = channels,
    };
    return PA_OK;
}

void
pa_comm_fini(pa_comm *comm)
{
    pa_fork_mark_destroy(comm->fork_mark);
    pa_loop_destroy(comm->loop);
    free(comm->channels);
}

void
pa_comm_leave(pa_comm *comm, bool ending, const pa_hooks *hooks)
{
    if (comm->closed) {
        return;
    }
    bool forked = pa_fork_mark_forked(comm->fork_mark);
    comm->ending = ending;
    comm->leaving = hooks;
    pa_devices_close(comm->devices, forked);
    comm->devices = NULL;
    comm->leaving = NULL;
    comm->closed = true;
    pa_lend_fini(comm);
    comm->backend->close(comm, forked);
}

void
pa_comm_close(pa_comm *comm)
{
    pa_comm_leave(comm, false, NULL);
}

void
pa_comm_destroy(pa_comm *comm)
{
    if (comm != NULL) {
        pa_comm_close(comm);
        pa_comm_fini(comm);
        free(comm);
    }
}

int
pa_comm_rank(const pa_comm *comm)
{
    return comm->rank;
}

int
pa_comm_size(const pa_comm *comm)
{
    return comm->size;
}

const char *
pa_comm_backend(const pa_comm *comm)
{
    return comm->backend->name;
}

uint64_t
pa_comm_timeout(const pa_comm *comm)
{
    return comm->timeout_ns;
}

void
pa_comm_set_timeout(pa_comm *comm, uint64_t timeout_ns)
{
    comm->timeout_ns = timeout_ns;
}

uint64_t
pa_comm_patience(const pa_comm *comm)
{
    return comm->patience_ns;
}

void
pa_comm_set_patience(pa_comm *comm, uint64_t patience_ns)
{
    comm->patience_ns = patience_ns;
}

pa_status
pa_comm_check(pa_comm *comm, uint32_t op, pa_error *error)
{
    if (comm->closed) {
        return pa_error_set(error, PA_ECLOSED,
                            "%s: this process has left the group; do this before "
                            "destroy_process_group()",
                            pa_op_text(op));
    }
    if (pa_fork_mark_forked(comm->fork_mark)) {
        return pa_error_set(error, PA_EFORKED,
                            "%s: this process was forked from rank %d after the group "
                            "was set up and is not a rank itself; communicate in the "
                            "parent, or start the child with the spawn method",
                            pa_op_text(op), comm->rank);
    }
    return PA_OK;
}

pa_status
pa_comm_meet(pa_comm *comm, const pa_card *mine, pa_card *all, const pa_hooks *hooks,
             pa_error *error)
{
    PA_TRY(pa_comm_check(comm, mine->op, error));
    if (mine->ninline > PA_CARD_INLINE) {
        return pa_error_set(error, PA_EARGUMENT, "a card holds %d bytes, not %u",
                            (int)PA_CARD_INLINE, mine->ninline);
    }
    return comm->backend->meet(comm, mine, all, hooks, error);
}

pa_status
pa_comm_excuse(pa_comm *comm, uint32_t op, const char *text, const pa_hooks *hooks)
{
    if (pa_comm_check(comm, op, NULL) != PA_OK) {
        return PA_OK;
    }
    size_t nbytes = strlen(text);
    pa_card failed = {
        .op = op,
        .root = PA_NO_ROOT,
        .failed = true,
        .inlined = text,
        .ninline = nbytes < PA_CARD_INLINE ? (uint32_t)nbytes : PA_CARD_INLINE,
    };
    pa_status status = comm->backend->excuse(comm, &failed, hooks);
    return status == PA_EINTERRUPTED ? status : PA_OK;
}

pa_status
pa_comm_stream(pa_comm *comm, uint32_t op, const pa_flow *send, const pa_flow *recv,
               const pa_hooks *hooks, pa_error *error)
{
    PA_TRY(pa_comm_check(comm, op, error));
    return comm->backend->stream(comm, op, send, recv, hooks, error);
}

void
pa_comm_abort(pa_comm *comm, const char *text)
{
    if (pa_comm_check(comm, PA_OP_NONE, NULL) == PA_OK) {
        if (comm->backend->abort != NULL) {
            comm->backend->abort(comm, text);
        }
        pa_loop_abort(comm->loop, text);
    }
}

void
pa_comm_abort_memory(pa_comm *comm, uint32_t op)
{
    pa_error error = PA_ERROR_INIT;
    (void)pa_error_set(&error, PA_EMEMORY, "%s: memory is short on rank %d",
                       pa_op_text(op), comm->rank);
    pa_comm_abort(comm, error.message);
}

bool
pa_comm_rank_gone(pa_comm *comm, int rank)
{
    return comm->backend->gone != NULL && rank != comm->rank &&
           comm->backend->gone(comm, rank);
}

int
pa_comm_gone(pa_comm *comm)
{
    for (int rank = 0; rank < comm->size; rank++) {
        if (pa_comm_rank_gone(comm, rank)) {
            return rank;
        }
    }
    return -1;
}

void
pa_comm_show(pa_comm *comm, pa_shown what, uint64_t number)
{
    if (comm->backend->show != NULL) {
        comm->backend->show(comm, what, number);
    }
}

uint64_t
pa_comm_shown(pa_comm *comm, pa_shown what, int rank)
{
    return comm->backend->shown != NULL ? comm->backend->shown(comm, what, rank)
                                        : UINT64_MAX;
}

bool
pa_comm_broken(pa_comm *comm, char *text, size_t capacity)
{
    return comm->backend->broken != NULL && !comm->closed &&
           comm->backend->broken(comm, text, capacity);
}

/* ---- Cursors ---- */

/* The piece under the cursor and how much of it can be taken at once, from the cursor's
 * offset on. */
static char *
cursor_piece(pa_cursor *cursor, size_t wanted, size_t *nbytes)
{
    while (cursor->offset == cursor->parts[cursor->index].nbytes) {
        cursor->index++;
        cursor->offset = 0;
    }
    const pa_part *part = &cursor->parts[cursor->index];
    size_t left = part->nbytes - cursor->offset;
    *nbytes = left < wanted ? left : wanted;
    return part->data;
}

void
pa_cursor_read(pa_cursor *cursor, char *to, size_t nbytes)
{
    while (nbytes > 0) {
        size_t run = 0;
        const char *piece = cursor_piece(cursor, nbytes, &run);
        memcpy(to, piece + cursor->offset, run);
        cursor->offset += run;
        to += run;
        nbytes -= run;
    }
}

void
pa_cursor_write(pa_cursor *cursor, const char *from, size_t nbytes)
{
    while (nbytes > 0) {
        size_t run = 0;
        char *piece = cursor_piece(cursor, nbytes, &run);
        if (piece != NULL) {
            memcpy(piece + cursor->offset, from, run);
        }
        cursor->offset += run;
        from += run;
        nbytes -= run;
    }
}

void
pa_cursor_copy(pa_cursor *from, pa_cursor *to, size_t nbytes)
{
    while (nbytes > 0) {
        size_t run = 0;
        const char *piece = cursor_piece(from, nbytes, &run);
        pa_cursor_write(to, piece + from->offset, run);
        from->offset += run;
        nbytes -= run;
    }
}
