/* One rank's side of a group in shared memory: shared by the files of this backend. */
#ifndef PA_COMM_SHM_RANK_H
#define PA_COMM_SHM_RANK_H

#include "comm/backend.h"
#include "comm/shm/layout.h"
#include "sys/copy.h"

/* How long to wait in which way; it follows from usable CPUs and the ranks here. */
typedef struct pa_shm_policy {
    uint64_t spin_ns;  /* look again at once; 0 where ranks outnumber CPUs */
    uint64_t yield_ns; /* then give way to others between looks; then sleep */
} pa_shm_policy;

/* This rank's end of a lane; its ring is the lane's own, or stands in its yard. */
typedef struct pa_shm_end {
    uint64_t at;      /* bytes put in or taken out, ever */
    uint64_t base;    /* `at` where the ring began to be used */
    char *ring;       /* NULL: not used yet */
    size_t capacity;  /* of the ring */
    uint64_t left;    /* the receiver's: bytes of the frame that are still to come */
    uint32_t crowded; /* as that of pa_shm */
    bool mapped;      /* the ring stands in the yard */
    pa_copier copier;
} pa_shm_end;

typedef struct pa_shm {
    pa_comm base;
    pa_shm_map map;
    bool borrows_map; /* the mapping is somebody else's */
    pa_shm_policy policy;
    pa_copier copier;
    uint32_t crowded;   /* waits in a row that only giving way ended: see waiter.c */
    uint32_t meeting;   /* number of the last meeting that this rank showed a card in */
    uint32_t operation; /* number of the last operation, the own count of all */
    bool owes;          /* it showed a failed card there and did not wait */
    _Atomic bool told;  /* the caller has had the error that broke the group */
    uint32_t put;       /* chunks put into the own ring, ever */
    uint32_t *taken;    /* [size] chunks taken from each ring, ever */
    int *pidfds;        /* [size] pidfd of each peer, or -1 */
    pa_cursor *cursors; /* [size] scratch of a stream */
    size_t *todo;       /* [size] scratch of a stream: bytes still to take */
    pa_shm_end *ends;   /* [2][size]: of the lanes to each rank, then from each */
    char inlined[PA_CARD_INLINE]; /* of the own card */
} pa_shm;

typedef struct pa_shm_waiter pa_shm_waiter;

/* What is said of a wait: of a meeting and its stream (report.c) or of a lane. */
typedef struct pa_shm_words {
    /* (optional) Tells the others where the call of this wait stands, once a wait. */
    void (*place)(pa_shm_waiter *waiter);
    /* (optional) Takes back that this rank waits. */
    void (*leave)(pa_shm_waiter *waiter);
    /* Write that what is waited for did not come in time; how a peer ended or left; and
     * for whom this rank has waited how long. */
    void (*late)(pa_shm_waiter *waiter, char *text, size_t capacity);
    void (*gone)(pa_shm_waiter *waiter, int rank, char *text, size_t capacity);
    void (*lasts)(pa_shm_waiter *waiter, uint64_t waited_ns, char *text,
                  size_t capacity);
} pa_shm_words;

extern const pa_shm_words pa_shm_meeting_words;

/* One wait, in three phases; see waiter.c. */
struct pa_shm_waiter {
    pa_shm *shm;
    uint32_t op;
    const pa_hooks *hooks;
    /* Whether this rank still needs something from `rank`. */
    bool (*awaits)(const void *job, int rank);
    const void *job;
    pa_shm_bell *bell;         /* these three may be set after init: where it sleeps, */
    uint32_t *crowded;         /* what it has learned, */
    const pa_shm_words *words; /* and what it says */
    uint64_t started_ns; /* when the clock was first read since the last progress */
    uint64_t ticked_ns;  /* when the caller's tick was last called */
    uint32_t looks;      /* looks since the last progress */
    uint32_t rings;      /* the bell's count when this rank last looked at it */
    bool yielding;       /* spinning is over */
    bool slept;          /* giving way is over too */
    bool armed;          /* the bell says that this rank waits */
    bool released;       /* the caller's release was called */
    bool placed;         /* where the call stands was noted in the segment */
    bool said_long;      /* the caller was told that this lasts */
    uint64_t ending_ns;  /* when a peer was first seen that is about to end */
    int gone;            /* a peer that was seen to have ended, or -1 */
};

/* Starts a wait of `op`; nothing is read or written. */
void
pa_shm_waiter_init(pa_shm_waiter *waiter, pa_shm *shm, uint32_t op,
                   const pa_hooks *hooks, bool (*awaits)(const void *, int),
                   const void *job);

/* Called each time when nothing could be done: pauses a little, in the way that the
 * time already spent asks for, then PA_OK: look again. Else the wait has failed, the
 * group is broken, and the caller must not look again. */
pa_status
pa_shm_waiter_pause(pa_shm_waiter *waiter, pa_error *error);

/* Called when something could be done, so that the next pause begins anew. */
void
pa_shm_waiter_progress(pa_shm_waiter *waiter);

/* Called every few MiB by who finds work all the time: looks whether the group is whole
 * and asks the caller, every 25 ms, whether to go on. As pa_shm_waiter_pause. */
pa_status
pa_shm_waiter_busy(pa_shm_waiter *waiter, pa_error *error);

/* PA_OK unless `rank` has left or ended, as far as the segment says; else as
 * pa_shm_waiter_pause. */
pa_status
pa_shm_waiter_gone(pa_shm_waiter *waiter, int rank, pa_error *error);

/* Ends the wait, on every path. */
void
pa_shm_waiter_end(pa_shm_waiter *waiter);

/* Calls the caller's release hook, once a wait: before a copy that takes long. */
void
pa_shm_waiter_release(pa_shm_waiter *waiter);

/* PA_OK while the group is whole; else the error that broke it, the first time as it
 * was and later as PA_EBROKEN. */
pa_status
pa_shm_whole(pa_shm *shm, uint32_t op, pa_error *error);

/* The backend's slots of these names; see comm/backend.h. */
pa_status
pa_shm_meet(pa_comm *comm, const pa_card *mine, pa_card *all, const pa_hooks *hooks,
            pa_error *error);
pa_status
pa_shm_excuse(pa_comm *comm, const pa_card *failed, const pa_hooks *hooks);
pa_status
pa_shm_stream(pa_comm *comm, uint32_t op, const pa_flow *send, const pa_flow *recv,
              const pa_hooks *hooks, pa_error *error);
pa_status
pa_shm_put(pa_comm *comm, uint32_t op, int to, const pa_flow *flows, size_t nflows,
           const pa_hooks *hooks, pa_error *error);
pa_status
pa_shm_take(pa_comm *comm, uint32_t op, int from, const pa_flow *into,
            const pa_hooks *hooks, pa_error *error);
void
pa_shm_taken(pa_comm *comm, int from, const char *refusal);
bool
pa_shm_refused(pa_comm *comm, int to, char *text, size_t capacity);

/* Unmaps the rings that stand in yards. */
void
pa_shm_lanes_fini(pa_shm *shm);

#endif
