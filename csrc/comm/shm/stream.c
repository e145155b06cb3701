/* Streaming: each rank puts its bytes into its ring, chunk by chunk, and takes those of
 * the others out of theirs.
 *
 *   published[s]     how many chunks rank s has put into its ring, ever
 *   consumed[s][r]   how many of them rank r has taken (or passed by), ever
 *
 * A chunk may be put when every rank has taken the one that it overwrites. A rank does
 * whatever can be done (put, take, copy its own bytes) and pauses only when nothing
 * can: going in lock-step instead costs a time slice at every hand-over when ranks
 * share processors. */
#include "comm/shm/rank.h"

/* A destination that is larger than this will not be read again from the cache. */
enum { LARGE_BYTES = 4 << 20 };

/* Steps, each of at least a chunk, after which a rank that never pauses looks up. */
enum { STEPS_A_LOOK = 16 };

typedef struct stream {
    pa_shm *shm;
    const pa_flow *send;
    const pa_flow *recv;
    pa_cursor put_from; /* where the next chunk to put begins */
    size_t to_put;      /* bytes not yet put */
    pa_cursor own_from; /* the own bytes' way to the own result */
    size_t to_copy;     /* own bytes not yet copied */
    bool taking;        /* something is left to take */
    bool large;         /* the results do not fit the cache */
} stream;

static size_t
chunk_of(size_t nbytes)
{
    return nbytes < PA_SHM_CHUNK_BYTES ? nbytes : PA_SHM_CHUNK_BYTES;
}

static char *
chunk_at(const pa_shm *shm, int rank, uint32_t number)
{
    size_t chunk = (size_t)rank * PA_SHM_RING_CHUNKS + number % PA_SHM_RING_CHUNKS;
    return shm->map.rings + chunk * PA_SHM_CHUNK_BYTES;
}

static pa_shm_word *
consumed_at(const pa_shm *shm, int sender, int reader)
{
    return &shm->map.consumed[(size_t)sender * (size_t)shm->base.size + (size_t)reader];
}

/* Whether the chunk that the next one overwrites is still wanted by `reader`. */
static bool
slot_wanted(const pa_shm *shm, int reader)
{
    uint32_t taken = atomic_load(&consumed_at(shm, shm->base.rank, reader)->value);
    return reader != shm->base.rank && shm->put - taken >= PA_SHM_RING_CHUNKS;
}

/* Whether something of `rank` is needed before the stream can go on. */
static bool
stream_awaits(const void *job, int rank)
{
    const stream *s = job;
    const pa_shm *shm = s->shm;
    if (rank == shm->base.rank) {
        return false;
    }
    bool data_missing =
        shm->todo[rank] > 0 &&
        atomic_load(&shm->map.published[rank].value) == shm->taken[rank];
    return data_missing || (s->to_put > 0 && slot_wanted(shm, rank));
}

static bool
put_chunk(stream *s)
{
    pa_shm *shm = s->shm;
    for (int reader = 0; reader < shm->base.size; reader++) {
        if (slot_wanted(shm, reader)) {
            return false;
        }
    }
    size_t nbytes = chunk_of(s->to_put);
    pa_cursor_read(&s->put_from, chunk_at(shm, shm->base.rank, shm->put), nbytes);
    s->to_put -= nbytes;
    shm->put++;
    atomic_store(&shm->map.published[shm->base.rank].value, shm->put);
    for (int rank = 0; rank < shm->base.size; rank++) {
        if (rank != shm->base.rank) {
            pa_shm_ring(&shm->map, rank);
        }
    }
    return true;
}

/* As pa_cursor_write, by the faster kind of store when the result is large. */
static void
write_large(pa_copier *copier, pa_cursor *to, const char *from, size_t nbytes)
{
    const pa_part *part = &to->parts[to->index];
    if (part->data != NULL && part->nbytes - to->offset >= nbytes) {
        pa_copier_copy(copier, part->data + to->offset, from, nbytes, true);
        to->offset += nbytes;
    } else {
        pa_cursor_write(to, from, nbytes);
    }
}

static bool
take_chunk(stream *s, int sender)
{
    pa_shm *shm = s->shm;
    if (shm->todo[sender] == 0 ||
        atomic_load(&shm->map.published[sender].value) == shm->taken[sender]) {
        return false;
    }
    size_t nbytes = chunk_of(shm->todo[sender]);
    if (s->recv[sender].parts != NULL) {
        const char *from = chunk_at(shm, sender, shm->taken[sender]);
        if (s->large) {
            write_large(&shm->copier, &shm->cursors[sender], from, nbytes);
        } else {
            pa_cursor_write(&shm->cursors[sender], from, nbytes);
        }
    }
    shm->todo[sender] -= nbytes;
    shm->taken[sender]++;
    atomic_store(&consumed_at(shm, sender, shm->base.rank)->value, shm->taken[sender]);
    pa_shm_ring(&shm->map, sender);
    return true;
}

/* Copies a chunk of the own bytes to the own result. */
static bool
copy_own(stream *s)
{
    if (s->to_copy == 0) {
        return false;
    }
    pa_cursor *to = &s->shm->cursors[s->shm->base.rank];
    size_t nbytes = chunk_of(s->to_copy);
    pa_cursor_copy(&s->own_from, to, nbytes);
    s->to_copy -= nbytes;
    return true;
}

/* Does what can be done now; false if nothing can. */
static bool
step(stream *s)
{
    pa_shm *shm = s->shm;
    int size = shm->base.size;
    bool did = s->to_put > 0 && put_chunk(s);
    s->taking = false;
    /* Each rank begins with another sender, so that readers do not queue up. */
    for (int i = 1; i < size; i++) {
        int sender = (shm->base.rank + i) % size;
        did = take_chunk(s, sender) || did;
        s->taking = s->taking || shm->todo[sender] > 0;
    }
    return did || copy_own(s);
}

pa_status
pa_shm_stream(pa_comm *comm, uint32_t op, const pa_flow *send, const pa_flow *recv,
              const pa_hooks *hooks, pa_error *error)
{
    pa_shm *shm = (pa_shm *)comm;
    PA_TRY(pa_shm_whole(shm, op, error));
    size_t all = 0;
    for (int rank = 0; rank < comm->size; rank++) {
        shm->cursors[rank] = (pa_cursor){.parts = recv[rank].parts};
        shm->todo[rank] = rank == comm->rank ? 0 : recv[rank].nbytes;
        all += recv[rank].nbytes;
    }
    stream s = {
        .shm = shm,
        .send = send,
        .recv = recv,
        .put_from = {.parts = send->parts},
        .to_put = comm->size > 1 ? send->nbytes : 0,
        .own_from = {.parts = send->parts},
        .to_copy = recv[comm->rank].parts != NULL ? send->nbytes : 0,
        .taking = true,
        .large = all >= LARGE_BYTES,
    };
    pa_shm_waiter waiter;
    pa_shm_waiter_init(&waiter, shm, op, hooks, stream_awaits, &s);
    if (all >= PA_SHM_CHUNK_BYTES) {
        pa_shm_waiter_release(&waiter);
    }
    pa_status status = PA_OK;
    bool paused = false;
    uint32_t steps = 0;
    while (status == PA_OK && (s.to_put > 0 || s.to_copy > 0 || s.taking)) {
        if (!step(&s)) {
            if (s.to_put == 0 && s.to_copy == 0 && !s.taking) {
                break;
            }
            paused = true;
            status = pa_shm_waiter_pause(&waiter, error);
            continue;
        }
        if (paused) {
            paused = false;
            pa_shm_waiter_progress(&waiter);
        }
        if (++steps % STEPS_A_LOOK == 0) {
            status = pa_shm_waiter_busy(&waiter, error);
        }
    }
    pa_shm_waiter_end(&waiter);
    return status;
}
