/* The shared-memory backend: making a group's segment, joining it, leaving it. */
#include "comm/shm/shm.h"

#include "base/size.h"
#include "comm/shm/rank.h"
#include "sys/cpus.h"
#include "sys/segment.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Measured: a peer on another processor answers within a microsecond or two, and giving
 * way costs a third of one when nobody else wants the processor. So spinning is short:
 * where two ranks happen to share a processor each spin delays the other. A wake from
 * the futex takes tens of microseconds, so giving way lasts long enough for most work
 * between two collectives of a peer. */
enum { SPIN_NS = 4000, YIELD_NS = 200000 };

/* The largest file that this process may make: a larger one is a signal. */
static size_t
largest_file(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur > (rlim_t)INT64_MAX) {
        return (size_t)INT64_MAX;
    }
    return (size_t)limit.rlim_cur;
}

pa_status
pa_shm_create(int size, int *fd, pa_error *error)
{
    size_t nbytes = 0;
    size_t reserved = 0;
    size_t yard_bytes = 0;
    PA_TRY(pa_shm_layout_size(size, largest_file(), &nbytes, &reserved, &yard_bytes,
                              error));
    int made = -1;
    PA_TRY(pa_segment_create_sparse(reserved, nbytes, &made, error));
    void *base = NULL;
    pa_status status = pa_segment_map_part(made, 0, reserved, &base, error);
    if (status != PA_OK) {
        (void)close(made);
        return status;
    }
    pa_shm_header *header = base;
    header->version = PA_SHM_VERSION;
    header->size = (uint32_t)size;
    header->nbytes = reserved;
    header->chunk_bytes = PA_SHM_CHUNK_BYTES;
    header->ring_chunks = PA_SHM_RING_CHUNKS;
    header->yard_bytes = yard_bytes;
    header->magic = PA_SHM_MAGIC;
    pa_segment_unmap(base, reserved);
    *fd = made;
    return PA_OK;
}

/* ---- A rank ---- */

static void
free_scratch(pa_shm *shm)
{
    if (shm->pidfds != NULL) {
        for (int rank = 0; rank < shm->base.size; rank++) {
            if (shm->pidfds[rank] >= 0) {
                (void)close(shm->pidfds[rank]);
            }
        }
    }
    free(shm->pidfds);
    free(shm->taken);
    free(shm->cursors);
    free(shm->todo);
    free(shm->ends);
}

static void
shm_close(pa_comm *comm, bool forked)
{
    pa_shm *shm = (pa_shm *)comm;
    if (!forked) {
        uint32_t present = PA_SHM_PRESENT;
        if (atomic_compare_exchange_strong(
                &shm->map.members[comm->rank].state, &present,
                comm->ending ? PA_SHM_ENDING : PA_SHM_LEFT)) {
            pa_shm_ring_all(&shm->map);
        }
    }
    pa_shm_lanes_fini(shm);
    if (!shm->borrows_map) {
        pa_shm_layout_unmap(&shm->map);
    }
    free_scratch(shm);
}

static void
shm_abort(pa_comm *comm, const char *text)
{
    pa_shm *shm = (pa_shm *)comm;
    (void)pa_shm_break(&shm->map, PA_EBROKEN, text);
}

static bool
shm_broken(pa_comm *comm, char *text, size_t capacity)
{
    pa_shm *shm = (pa_shm *)comm;
    if (atomic_load(&shm->map.header->broken) != PA_SHM_BROKEN) {
        return false;
    }
    (void)pa_shm_broken_by(&shm->map, text, capacity);
    return true;
}

static bool
shm_gone(pa_comm *comm, int rank)
{
    pa_shm *shm = (pa_shm *)comm;
    uint32_t state = atomic_load(&shm->map.members[rank].state);
    return state == PA_SHM_LEFT || state == PA_SHM_ENDED ||
           pa_process_ended(shm->pidfds[rank]);
}

static void
shm_show(pa_comm *comm, pa_shown what, uint64_t number)
{
    pa_shm *shm = (pa_shm *)comm;
    atomic_store(&shm->map.members[comm->rank].shown[what], number);
}

static uint64_t
shm_shown(pa_comm *comm, pa_shown what, int rank)
{
    pa_shm *shm = (pa_shm *)comm;
    return atomic_load(&shm->map.members[rank].shown[what]);
}

static const pa_backend shm_backend = {
    .name = "shm",
    /* The segments of a rank fit the second cache while it computes them. */
    .segment_block = 1 << 20,
    .one_host = true,
    .meet = pa_shm_meet,
    .excuse = pa_shm_excuse,
    .stream = pa_shm_stream,
    .put = pa_shm_put,
    .take = pa_shm_take,
    .taken = pa_shm_taken,
    .refused = pa_shm_refused,
    .abort = shm_abort,
    .broken = shm_broken,
    .gone = shm_gone,
    .show = shm_show,
    .shown = shm_shown,
    .close = shm_close,
};

/* Takes the rank's slot; it must be free. */
static pa_status
claim(pa_shm *shm, pa_error *error)
{
    pa_shm_member *slot = &shm->map.members[shm->base.rank];
    uint32_t absent = PA_SHM_ABSENT;
    if (!atomic_compare_exchange_strong(&slot->state, &absent, PA_SHM_PRESENT)) {
        return pa_error_set(
            error, PA_EARGUMENT,
            "rank %d of the group is taken by process %u; two processes "
            "were given the same rank, or one joined twice",
            shm->base.rank, atomic_load(&slot->pid));
    }
    atomic_store(&slot->pid, (uint32_t)getpid());
    return PA_OK;
}

static pa_status
alloc_scratch(pa_shm *shm, const int *pidfds, pa_error *error)
{
    size_t size = (size_t)shm->base.size;
    shm->taken = calloc(size, sizeof *shm->taken);
    shm->cursors = calloc(size, sizeof *shm->cursors);
    shm->todo = calloc(size, sizeof *shm->todo);
    shm->pidfds = calloc(size, sizeof *shm->pidfds);
    shm->ends = calloc(2 * size, sizeof *shm->ends);
    if (shm->ends == NULL || shm->taken == NULL || shm->cursors == NULL ||
        shm->todo == NULL || shm->pidfds == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for a group of %zu ranks",
                            size);
    }
    for (size_t rank = 0; rank < size; rank++) {
        shm->pidfds[rank] = -1;
    }
    for (size_t rank = 0; pidfds != NULL && rank < size; rank++) {
        if (pidfds[rank] >= 0) {
            shm->pidfds[rank] = fcntl(pidfds[rank], F_DUPFD_CLOEXEC, 0);
            if (shm->pidfds[rank] < 0) {
                return pa_error_set_errno(error, "pidfd %d of rank %zu", pidfds[rank],
                                          rank);
            }
        }
    }
    return PA_OK;
}

pa_status
pa_shm_attach_mapped(const pa_shm_map *map, int rank, const int *pidfds, pa_comm **comm,
                     pa_error *error)
{
    int size = map->size;
    if (rank < 0 || rank >= size) {
        return pa_error_set(error, PA_EARGUMENT,
                            "rank %d is out of range for a group of %d", rank, size);
    }
    pa_shm *shm = calloc(1, sizeof *shm);
    if (shm == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for a communicator");
    }
    pa_status status = pa_comm_init(&shm->base, &shm_backend, rank, size, error);
    if (status != PA_OK) {
        free(shm);
        return status;
    }
    shm->map = *map;
    shm->borrows_map = true;
    status = alloc_scratch(shm, pidfds, error);
    if (status == PA_OK) {
        status = claim(shm, error);
    }
    if (status != PA_OK) {
        free_scratch(shm);
        pa_comm_fini(&shm->base);
        free(shm);
        return status;
    }
    shm->policy.spin_ns = size <= pa_cpus_usable() ? SPIN_NS : 0;
    shm->policy.yield_ns = YIELD_NS;
    *comm = &shm->base;
    return PA_OK;
}

pa_status
pa_shm_attach(int fd, int rank, int size, const int *pidfds, pa_comm **comm,
              pa_error *error)
{
    if (size < 1) {
        return pa_error_set(error, PA_EARGUMENT, "a group cannot have %d ranks", size);
    }
    pa_shm_map map;
    PA_TRY(pa_shm_layout_map(fd, size, &map, error));
    pa_status status = pa_shm_attach_mapped(&map, rank, pidfds, comm, error);
    if (status != PA_OK) {
        pa_shm_layout_unmap(&map);
        return status;
    }
    ((pa_shm *)*comm)->borrows_map = false;
    return PA_OK;
}

/* ---- The owner's view ---- */

struct pa_shm_owner {
    pa_shm_map map;
};

pa_status
pa_shm_owner_open(int fd, pa_shm_owner **owner, pa_error *error)
{
    pa_shm_owner *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for a group's view");
    }
    pa_status status = pa_shm_layout_map(fd, 0, &opened->map, error);
    if (status != PA_OK) {
        free(opened);
        return status;
    }
    *owner = opened;
    return PA_OK;
}

void
pa_shm_owner_close(pa_shm_owner *owner)
{
    if (owner != NULL) {
        pa_shm_layout_unmap(&owner->map);
        free(owner);
    }
}

pa_status
pa_shm_owner_mark_ended(pa_shm_owner *owner, int rank, const char *text,
                        pa_error *error)
{
    if (rank < 0 || rank >= owner->map.size) {
        return pa_error_set(error, PA_EARGUMENT,
                            "rank %d is out of range for a group of %d", rank,
                            owner->map.size);
    }
    pa_shm_member *slot = &owner->map.members[rank];
    uint32_t state = atomic_load(&slot->state);
    if (state == PA_SHM_LEFT || state == PA_SHM_ENDED) {
        return PA_OK;
    }
    (void)snprintf(slot->text, sizeof slot->text, "%s", text);
    atomic_store(&slot->state, PA_SHM_ENDED);
    pa_shm_ring_all(&owner->map);
    return PA_OK;
}
