/* Receiving from a lane: see lane.c. */
#include "comm/shm/lane.h"
#include "sys/segment.h"

#include <stdio.h>

/* A destination that is larger does not stay in the cache. */
enum { LARGE_BYTES = 4 << 20 };

/* As pa_cursor_write, by the faster kind of store where the result is large. */
static void
write_piece(pa_shm_lane_call *call, pa_cursor *to, const char *from, size_t nbytes,
            bool large)
{
    const pa_part *part = &to->parts[to->index];
    if (large && part->data != NULL && part->nbytes - to->offset >= nbytes) {
        pa_copier_copy(&call->end->copier, part->data + to->offset, from, nbytes, true);
        to->offset += nbytes;
    } else {
        pa_cursor_write(to, from, nbytes);
    }
}

static pa_status
take_flow(pa_shm_lane_call *call, const pa_flow *flow, pa_error *error)
{
    pa_cursor to = {.parts = flow->parts};
    size_t left = flow->nbytes;
    bool large = left >= LARGE_BYTES;
    pa_status status = PA_OK;
    while (left > 0 && status == PA_OK) {
        status = pa_shm_lane_wait(call, 1, error);
        if (status == PA_OK) {
            size_t came = pa_shm_lane_came(call);
            size_t most = left < came ? left : came;
            size_t nbytes = 0;
            const char *from = pa_shm_lane_piece(
                call->end, most < PA_LANE_PIECE ? most : PA_LANE_PIECE, &nbytes);
            if (flow->parts != NULL) {
                write_piece(call, &to, from, nbytes, large);
            }
            left -= nbytes;
            status = pa_shm_lane_step(call, nbytes, error);
        }
    }
    return status;
}

/* What cannot have been sent by this version of pyaccel. */
static pa_status
fail_garbage(pa_shm_lane_call *call, pa_error *error)
{
    char text[PA_SHM_TEXT];
    (void)snprintf(text, sizeof text,
                   "%s from rank %d on shm: what came is no message of this version of "
                   "pyaccel; every process must use the same one",
                   pa_op_text(call->waiter.op), call->peer);
    (void)pa_shm_break(&call->shm->map, PA_EBROKEN, text);
    return pa_shm_whole(call->shm, call->waiter.op, error);
}

/* Follows the sender to the ring that it says. */
static pa_status
follow(pa_shm_lane_call *call, uint64_t capacity, pa_error *error)
{
    pa_shm_end old = *call->end;
    bool larger = !old.mapped || capacity > old.capacity;
    if (capacity < PA_LANE_LEAST_RING || capacity > call->shm->map.yard_bytes / 2 ||
        (capacity & (capacity - 1)) != 0 || !larger) {
        return fail_garbage(call, error);
    }
    pa_status status = pa_shm_lane_move(call, (size_t)capacity, error);
    if (status != PA_OK) {
        pa_comm_abort_memory(&call->shm->base, call->waiter.op);
    } else if (old.mapped) {
        pa_segment_drop(call->shm->map.fd, pa_shm_lane_yard(call, old.capacity),
                        old.capacity);
    }
    return status;
}

/* Reads frames up to the next with bytes. */
static pa_status
take_frame(pa_shm_lane_call *call, pa_error *error)
{
    pa_status status = PA_OK;
    while (call->end->left == 0 && status == PA_OK) {
        pa_shm_frame mark = {0};
        pa_part part = {(char *)&mark, sizeof mark, NULL};
        pa_flow flow = {&part, 1, sizeof mark};
        status = take_flow(call, &flow, error);
        if (status == PA_OK && mark.nbytes == 0) {
            status = follow(call, mark.capacity, error);
        }
        call->end->left = status == PA_OK ? mark.nbytes : 0;
    }
    return status;
}

pa_status
pa_shm_take(pa_comm *comm, uint32_t op, int from, const pa_flow *into,
            const pa_hooks *hooks, pa_error *error)
{
    pa_shm_lane_call call;
    PA_TRY(pa_shm_lane_begin(&call, comm, op, from, false, hooks, error));
    atomic_store(&call.lane->attending, 1);
    pa_status status = take_frame(&call, error);
    if (status == PA_OK && into->nbytes > call.end->left) {
        status = fail_garbage(&call, error);
    }
    if (status == PA_OK) {
        if (into->nbytes >= PA_LANE_PIECE) {
            pa_shm_waiter_release(&call.waiter);
        }
        status = take_flow(&call, into, error);
        call.end->left -= into->nbytes;
    }
    return pa_shm_lane_end(&call, status);
}

void
pa_shm_taken(pa_comm *comm, int from, const char *refusal)
{
    pa_shm *shm = (pa_shm *)comm;
    pa_shm_lane *lane =
        &shm->map.lanes[(size_t)from * (size_t)comm->size + (size_t)comm->rank];
    atomic_store(&lane->attending, 0);
    uint32_t refused = atomic_load(&lane->refused);
    /* The sender has yet to see the last one: that is the one it is told of. */
    if (refusal != NULL && refused == atomic_load(&lane->refusals_seen)) {
        (void)snprintf(lane->refusal, sizeof lane->refusal, "%s", refusal);
        atomic_store(&lane->refused, refused + 1);
    }
}
