/* Lanes: what one rank sends to another, without the help of any other call.
 *
 *   written   bytes that the sender has put in, ever      | frame | bytes ... | frame |
 *   taken     bytes that the receiver has taken, ever
 *
 * A frame says how many bytes follow, or that the lane goes on in a larger ring. A lane
 * begins with the ring of its page, which costs little for every pair of a large group.
 * When that is too small the sender takes a larger one from the lane's yard: for all of
 * a message, so that it can go on while the receiver computes; or, when the receiver
 * waits already, one that keeps to the second cache. What does not fit either (or where
 * memory is short) flows through, as the receiver takes it.
 *
 * Both ends map the yard through the segment's own descriptor, so there is nothing that
 * a peer could fail to open. The sender leaves a ring for ever, and the receiver gives
 * its memory back when it has read the last of it. */
#include "comm/shm/lane.h"

#include "sys/segment.h"

enum { STEPS_A_LOOK = 16 }; /* pieces */

/* ---- Rings ---- */

/* Where a ring of `capacity` bytes stands in the segment. */
size_t
pa_shm_lane_yard(const pa_shm_lane_call *call, size_t capacity)
{
    const pa_shm *shm = call->shm;
    size_t from = (size_t)(call->sends ? shm->base.rank : call->peer);
    size_t to = (size_t)(call->sends ? call->peer : shm->base.rank);
    size_t pair = from * (size_t)shm->base.size + to;
    return shm->map.yards_at + pair * shm->map.yard_bytes + capacity;
}

static void
end_unmap(pa_shm_end *end)
{
    if (end->mapped) {
        pa_segment_unmap(end->ring, end->capacity);
    }
    end->mapped = false;
}

/* Goes on in a ring of the yard; what was written to the old one stays there. */
pa_status
pa_shm_lane_move(pa_shm_lane_call *call, size_t capacity, pa_error *error)
{
    pa_shm_end *end = call->end;
    void *ring = NULL;
    PA_TRY(pa_segment_map_part(call->shm->map.fd, pa_shm_lane_yard(call, capacity),
                               capacity, &ring, error));
    end_unmap(end);
    end->ring = ring;
    end->capacity = capacity;
    end->base = end->at;
    end->mapped = true;
    return PA_OK;
}

void
pa_shm_lanes_fini(pa_shm *shm)
{
    for (int i = 0; i < 2 * shm->base.size && shm->ends != NULL; i++) {
        end_unmap(&shm->ends[i]);
    }
}

/* The piece of the ring at `at`, of at most `most` bytes. */
char *
pa_shm_lane_piece(const pa_shm_end *end, size_t most, size_t *nbytes)
{
    size_t start = (size_t)((end->at - end->base) % end->capacity);
    size_t left = end->capacity - start;
    *nbytes = most < left ? most : left;
    return end->ring + start;
}

/* ---- What can be done now ---- */

/* Bytes that the sender may put in. The last few of a ring are kept for the frame that
 * says where the lane goes on. The word is the peer's: it is not trusted. */
size_t
pa_shm_lane_room(const pa_shm_lane_call *call)
{
    const pa_shm_end *end = call->end;
    uint64_t taken = atomic_load(&call->lane->taken);
    uint64_t unread = end->at - (taken > end->base ? taken : end->base);
    size_t most = end->capacity - sizeof(pa_shm_frame);
    return unread < most ? most - (size_t)unread : 0;
}

/* Bytes that the receiver may take out. */
size_t
pa_shm_lane_came(const pa_shm_lane_call *call)
{
    uint64_t came = atomic_load(&call->lane->written) - call->end->at;
    return came < call->end->capacity ? (size_t)came : call->end->capacity;
}

static bool
lane_awaits(const void *job, int rank)
{
    const pa_shm_lane_call *call = job;
    return rank == call->peer &&
           (call->sends ? pa_shm_lane_room(call) : pa_shm_lane_came(call)) < call->need;
}

/* ---- One call ---- */

pa_status
pa_shm_lane_begin(pa_shm_lane_call *call, pa_comm *comm, uint32_t op, int peer,
                  bool sends, const pa_hooks *hooks, pa_error *error)
{
    pa_shm *shm = (pa_shm *)comm;
    size_t size = (size_t)comm->size;
    size_t own = (size_t)comm->rank;
    size_t other = (size_t)peer;
    *call = (pa_shm_lane_call){
        .shm = shm,
        .lane = &shm->map.lanes[sends ? own * size + other : other * size + own],
        .end = &shm->ends[sends ? other : size + other],
        .peer = peer,
        .sends = sends,
    };
    pa_shm_end *end = call->end;
    if (end->ring == NULL) {
        end->ring = call->lane->ring;
        end->capacity = sizeof call->lane->ring;
    }
    call->told = end->at;
    pa_shm_waiter *waiter = &call->waiter;
    pa_shm_waiter_init(waiter, shm, op, hooks, lane_awaits, call);
    waiter->bell = sends ? &call->lane->sender : &call->lane->receiver;
    waiter->crowded = &end->crowded;
    waiter->words = &pa_shm_lane_words;
    return pa_shm_whole(shm, op, error);
}

/* Tells the other end how far this one is. */
void
pa_shm_lane_tell(pa_shm_lane_call *call)
{
    if (call->told != call->end->at) {
        call->told = call->end->at;
        atomic_store(call->sends ? &call->lane->written : &call->lane->taken,
                     call->told);
        pa_shm_ring_bell(call->sends ? &call->lane->receiver : &call->lane->sender);
    }
}

/* Waits until `need` bytes, or room for them, are there. */
pa_status
pa_shm_lane_wait(pa_shm_lane_call *call, size_t need, pa_error *error)
{
    call->need = need;
    pa_status status = PA_OK;
    bool paused = false;
    while (status == PA_OK && lane_awaits(call, call->peer)) {
        if (!paused) {
            pa_shm_lane_tell(call);
            paused = true;
        }
        status = pa_shm_waiter_pause(&call->waiter, error);
    }
    if (paused && status == PA_OK) {
        pa_shm_waiter_progress(&call->waiter);
    }
    return status;
}

/* After a piece: the other end hears of it, and the caller every few. */
pa_status
pa_shm_lane_step(pa_shm_lane_call *call, size_t nbytes, pa_error *error)
{
    call->end->at += nbytes;
    if (call->end->at - call->told >= PA_LANE_PIECE) {
        pa_shm_lane_tell(call);
    }
    if (nbytes >= PA_LANE_PIECE && ++call->steps % STEPS_A_LOOK == 0) {
        return pa_shm_waiter_busy(&call->waiter, error);
    }
    return PA_OK;
}

pa_status
pa_shm_lane_end(pa_shm_lane_call *call, pa_status status)
{
    pa_shm_lane_tell(call);
    pa_shm_waiter_end(&call->waiter);
    return status;
}
