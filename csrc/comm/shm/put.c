/* Sending through a lane: see lane.c. */
#include "comm/shm/lane.h"
#include "sys/segment.h"

#include <stdio.h>
#include <string.h>

/* A ring for what the receiver takes as it comes: it keeps to the second cache. */
enum { FLOWING = 1 << 20 };

/* Bytes of a flow that may be copied at once, once there is room for them. */
static size_t
piece_of(const pa_shm_end *end, size_t left)
{
    size_t half = end->capacity / 2;
    size_t most = half < PA_LANE_PIECE ? half : PA_LANE_PIECE;
    return left < most ? left : most;
}

static pa_status
put_flow(pa_shm_lane_call *call, const pa_flow *flow, pa_error *error)
{
    pa_cursor from = {.parts = flow->parts};
    size_t left = flow->nbytes;
    pa_status status = PA_OK;
    while (left > 0 && status == PA_OK) {
        size_t nbytes = piece_of(call->end, left);
        status = pa_shm_lane_wait(call, nbytes, error);
        if (status == PA_OK) {
            char *to = pa_shm_lane_piece(call->end, nbytes, &nbytes);
            pa_cursor_read(&from, to, nbytes);
            left -= nbytes;
            status = pa_shm_lane_step(call, nbytes, error);
        }
    }
    return status;
}

static pa_status
put_frame(pa_shm_lane_call *call, pa_shm_frame mark, pa_error *error)
{
    pa_part part = {(char *)&mark, sizeof mark, NULL};
    pa_flow flow = {&part, 1, sizeof mark};
    return put_flow(call, &flow, error);
}

/* The ring that a message of `nbytes` bytes should go to: its capacity, or 0 for the
 * present one. */
static size_t
better_ring(const pa_shm_lane_call *call, size_t nbytes)
{
    const pa_shm_end *end = call->end;
    size_t most = call->shm->map.yard_bytes / 2;
    uint64_t unread = end->at - atomic_load(&call->lane->taken);
    bool whole = atomic_load(&call->lane->attending) == 0 && nbytes < most &&
                 unread < most - nbytes;
    size_t wanted = whole || nbytes < FLOWING ? nbytes : FLOWING;
    if (nbytes <= pa_shm_lane_room(call) || (!whole && end->capacity >= wanted)) {
        return 0;
    }
    size_t capacity = end->mapped ? 2 * end->capacity : PA_LANE_LEAST_RING;
    while (capacity < wanted + 2 * sizeof(pa_shm_frame)) {
        capacity *= 2;
    }
    return capacity <= most ? capacity : 0;
}

/* Moves the lane to a larger ring where that is better and there is memory. */
static void
find_room(pa_shm_lane_call *call, size_t nbytes)
{
    size_t capacity = better_ring(call, nbytes + sizeof(pa_shm_frame));
    if (capacity == 0 ||
        pa_segment_reserve(call->shm->map.fd, pa_shm_lane_yard(call, capacity),
                           capacity, NULL) != PA_OK) {
        return;
    }
    pa_shm_frame mark = {.capacity = capacity};
    pa_shm_end before = *call->end;
    size_t there = 0;
    size_t done = 0;
    while (done < sizeof mark) {
        char *to = pa_shm_lane_piece(call->end, sizeof mark - done, &there);
        memcpy(to, (char *)&mark + done, there);
        call->end->at += there;
        done += there;
    }
    if (pa_shm_lane_move(call, capacity, NULL) == PA_OK) {
        pa_shm_lane_tell(call);
    } else {
        *call->end = before;
    }
}

pa_status
pa_shm_put(pa_comm *comm, uint32_t op, int to, const pa_flow *flows, size_t nflows,
           const pa_hooks *hooks, pa_error *error)
{
    pa_shm_lane_call call;
    PA_TRY(pa_shm_lane_begin(&call, comm, op, to, true, hooks, error));
    size_t nbytes = 0;
    for (size_t i = 0; i < nflows; i++) {
        nbytes += flows[i].nbytes;
    }
    pa_status status = pa_shm_waiter_gone(&call.waiter, to, error);
    if (status == PA_OK) {
        if (nbytes >= PA_LANE_PIECE) {
            pa_shm_waiter_release(&call.waiter);
        }
        find_room(&call, nbytes);
        status = put_frame(&call, (pa_shm_frame){.nbytes = nbytes}, error);
    }
    for (size_t i = 0; i < nflows && status == PA_OK; i++) {
        status = put_flow(&call, &flows[i], error);
    }
    return pa_shm_lane_end(&call, status);
}

bool
pa_shm_refused(pa_comm *comm, int to, char *text, size_t capacity)
{
    pa_shm *shm = (pa_shm *)comm;
    pa_shm_lane *lane =
        &shm->map.lanes[(size_t)comm->rank * (size_t)comm->size + (size_t)to];
    uint32_t refused = atomic_load(&lane->refused);
    if (refused == atomic_load(&lane->refusals_seen)) {
        return false;
    }
    (void)snprintf(text, capacity, "%.*s", (int)sizeof lane->refusal, lane->refusal);
    atomic_store(&lane->refusals_seen, refused);
    return true;
}
