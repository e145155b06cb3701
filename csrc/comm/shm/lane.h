/* One call at one end of a lane: what put.c and take.c share. See lane.c. */
#ifndef PA_COMM_SHM_LANE_H
#define PA_COMM_SHM_LANE_H

#include "comm/shm/rank.h"

enum {
    PA_LANE_PIECE = 128 << 10,     /* bytes copied before the other end is told */
    PA_LANE_LEAST_RING = 64 << 10, /* of a yard */
};

/* What stands before bytes of a message, or at the end of a ring. */
typedef struct pa_shm_frame {
    uint64_t nbytes;   /* 0: the lane goes on in a ring ... */
    uint64_t capacity; /* ... of so many bytes */
} pa_shm_frame;

typedef struct pa_shm_lane_call {
    pa_shm *shm;
    pa_shm_lane *lane;
    pa_shm_end *end;
    int peer;
    bool sends;
    size_t need;    /* bytes, or room for bytes, without which it waits */
    uint64_t told;  /* how far the other end knows of this one */
    uint32_t steps; /* pieces copied */
    pa_shm_waiter waiter;
} pa_shm_lane_call;

extern const pa_shm_words pa_shm_lane_words;

/* Begins a call that sends to `peer`, or receives from it; the error of a group that is
 * not whole. */
pa_status
pa_shm_lane_begin(pa_shm_lane_call *call, pa_comm *comm, uint32_t op, int peer,
                  bool sends, const pa_hooks *hooks, pa_error *error);

/* Ends it, on every path; gives `status` back. */
pa_status
pa_shm_lane_end(pa_shm_lane_call *call, pa_status status);

/* Waits until `need` bytes, or room for them, are there. */
pa_status
pa_shm_lane_wait(pa_shm_lane_call *call, size_t need, pa_error *error);

/* Tells the other end how far this one is. */
void
pa_shm_lane_tell(pa_shm_lane_call *call);

/* After a piece of `nbytes` was copied: the other end hears of it, and the caller of
 * every few. */
pa_status
pa_shm_lane_step(pa_shm_lane_call *call, size_t nbytes, pa_error *error);

/* The piece of the ring where this end is, of at most `most` bytes. */
char *
pa_shm_lane_piece(const pa_shm_end *end, size_t most, size_t *nbytes);

/* Bytes that the sender may put in, and that the receiver may take out. */
size_t
pa_shm_lane_room(const pa_shm_lane_call *call);
size_t
pa_shm_lane_came(const pa_shm_lane_call *call);

/* Where a ring of `capacity` bytes stands in the segment; goes on in that one. What was
 * written to the present one stays there. */
size_t
pa_shm_lane_yard(const pa_shm_lane_call *call, size_t capacity);
pa_status
pa_shm_lane_move(pa_shm_lane_call *call, size_t capacity, pa_error *error);

#endif
