/* Lending: see the header. */
#include "comm/lend.h"

#include "base/size.h"
#include "comm/backend.h"

#include <stdlib.h>
#include <string.h>

enum {
    ALIGNMENT = 64,        /* of a part */
    UNIT_BYTES = 64 << 10, /* an arena's bytes are a multiple: so that it fits again */
};

/* An arena of this rank's; the communicator has a list of them. */
typedef struct pa_lent {
    pa_arena *arena;
    struct pa_lent *next;
} pa_lent;

bool
pa_lend_place(size_t *at, size_t nbytes, size_t *start)
{
    if (*at > SIZE_MAX - ALIGNMENT) {
        return false;
    }
    *start = pa_size_round_up(*at, ALIGNMENT);
    return pa_size_add(*start, nbytes, at);
}

void
pa_lend_fini(pa_comm *comm)
{
    while (comm->lent != NULL) {
        pa_lent *next = comm->lent->next;
        pa_arena_destroy(comm->lent->arena);
        free(comm->lent);
        comm->lent = next;
    }
}

/* Gives up the arenas that nobody reads. */
static void
drop_idle(pa_comm *comm)
{
    for (pa_lent **at = &comm->lent; *at != NULL;) {
        pa_lent *entry = *at;
        if (pa_arena_leased(entry->arena)) {
            at = &entry->next;
        } else {
            *at = entry->next;
            pa_arena_destroy(entry->arena);
            free(entry);
        }
    }
}

/* An arena of at least `nbytes` bytes that nobody reads; NULL when memory is short. */
static pa_arena *
find_arena(pa_comm *comm, size_t nbytes)
{
    pa_arena *best = NULL;
    for (const pa_lent *at = comm->lent; at != NULL; at = at->next) {
        size_t has = pa_arena_nbytes(at->arena);
        if (has >= nbytes && (best == NULL || has < pa_arena_nbytes(best)) &&
            !pa_arena_leased(at->arena)) {
            best = at->arena;
        }
    }
    if (best != NULL) {
        return best;
    }
    /* Those that are idle are too small for what this group sends. */
    drop_idle(comm);
    pa_lent *entry = malloc(sizeof *entry);
    if (entry == NULL || nbytes > SIZE_MAX - UNIT_BYTES ||
        pa_arena_create(pa_size_round_up(nbytes, UNIT_BYTES), &entry->arena, NULL) !=
            PA_OK) {
        free(entry);
        return NULL;
    }
    entry->next = comm->lent;
    comm->lent = entry;
    return entry->arena;
}

/* Puts the parts into an arena; NULL when there is no memory. */
static pa_arena *
put_parts(pa_comm *comm, const pa_part *parts, size_t nparts, size_t nbytes)
{
    pa_arena *arena = find_arena(comm, nbytes);
    size_t at = 0;
    for (size_t i = 0; i < nparts && arena != NULL; i++) {
        size_t start = 0;
        if (!pa_lend_place(&at, parts[i].nbytes, &start) || at > nbytes) {
            return NULL;
        }
        if (parts[i].nbytes > 0) {
            memcpy(pa_arena_data(arena) + start, parts[i].data, parts[i].nbytes);
        }
    }
    return arena;
}

/* One meeting: shows whether this rank is `ready` and, if it has one, its arena's
 * address. Fills `all` and tells whether every rank is ready. */
static pa_status
show(pa_comm *comm, uint32_t op, bool ready, const pa_arena *arena, pa_card *all,
     bool *all_ready, const pa_hooks *hooks, pa_error *error)
{
    pa_arena_address address = {0};
    if (arena != NULL) {
        address = pa_arena_locate(arena);
    }
    pa_card mine = {
        .op = op,
        .root = PA_NO_ROOT,
        .count = ready ? 1 : 0,
        .inlined = (const char *)&address,
        .ninline = sizeof address,
    };
    PA_TRY(pa_comm_meet(comm, &mine, all, hooks, error));
    *all_ready = true;
    for (int rank = 0; rank < comm->size; rank++) {
        *all_ready =
            *all_ready && all[rank].count == 1 && all[rank].ninline == sizeof address;
    }
    return PA_OK;
}

static void
release_all(pa_comm *comm, pa_lease **leases)
{
    for (int rank = 0; rank < comm->size; rank++) {
        pa_lease_release(leases[rank]);
        leases[rank] = NULL;
    }
}

/* Opens what every rank has put. */
static bool
open_all(pa_comm *comm, const pa_card *all, const size_t *nbytes, pa_lease **leases)
{
    bool opened = true;
    for (int rank = 0; rank < comm->size && opened; rank++) {
        if (nbytes[rank] > 0) {
            pa_arena_address address;
            memcpy(&address, all[rank].inlined, sizeof address);
            opened =
                pa_lease_open(&address, nbytes[rank], &leases[rank], NULL) == PA_OK;
        }
    }
    return opened;
}

/* Whether lending is worth a try, and if so room for the cards of a meeting. */
static pa_status
begin(pa_comm *comm, uint32_t op, pa_card **all, const pa_hooks *hooks, pa_error *error)
{
    *all = NULL;
    if (!comm->backend->one_host || comm->lending_refused) {
        return PA_OK;
    }
    if (hooks != NULL && hooks->release != NULL) {
        hooks->release(hooks->context);
    }
    *all = malloc((size_t)comm->size * sizeof **all);
    if (*all == NULL) {
        pa_comm_abort_memory(comm, op);
        return pa_error_set(error, PA_EMEMORY, "%s: memory is short on rank %d",
                            pa_op_text(op), comm->rank);
    }
    return PA_OK;
}

/* The second meeting: says whether this rank could do its part. */
static pa_status
settle(pa_comm *comm, uint32_t op, bool could, pa_card *all, bool *lent,
       const pa_hooks *hooks, pa_error *error)
{
    PA_TRY(show(comm, op, could, NULL, all, lent, hooks, error));
    comm->lending_refused = !*lent;
    return PA_OK;
}

pa_status
pa_lend(pa_comm *comm, uint32_t op, int to, const pa_part *parts, size_t nparts,
        const size_t *nbytes, pa_lease **leases, bool *lent, const pa_hooks *hooks,
        pa_error *error)
{
    *lent = false;
    memset(leases, 0, (size_t)comm->size * sizeof(pa_lease *));
    pa_card *all = NULL;
    pa_status status = begin(comm, op, &all, hooks, error);
    if (all == NULL) {
        return status;
    }
    size_t own = nbytes[comm->rank];
    pa_arena *arena = own > 0 ? put_parts(comm, parts, nparts, own) : NULL;
    bool receives = to == PA_NO_ROOT || to == comm->rank;
    bool ready = own == 0 || arena != NULL;
    status = show(comm, op, ready, arena, all, &ready, hooks, error);
    if (status == PA_OK && ready) {
        bool opened = !receives || open_all(comm, all, nbytes, leases);
        status = settle(comm, op, opened, all, lent, hooks, error);
    }
    if (!*lent) {
        release_all(comm, leases);
    }
    free(all);
    return status;
}

pa_status
pa_lend_joined(pa_comm *comm, uint32_t op, int to, const pa_arena_piece *pieces,
               size_t count, size_t nbytes, pa_lease **lease, bool *lent,
               const pa_hooks *hooks, pa_error *error)
{
    *lent = false;
    *lease = NULL;
    pa_card *all = NULL;
    pa_status status = begin(comm, op, &all, hooks, error);
    if (all == NULL) {
        return status;
    }
    int maker = to == PA_NO_ROOT ? 0 : to;
    pa_arena *arena = comm->rank == maker ? find_arena(comm, nbytes) : NULL;
    bool ready = comm->rank != maker || arena != NULL;
    status = show(comm, op, ready, arena, all, &ready, hooks, error);
    if (status == PA_OK && ready) {
        pa_arena_address address;
        memcpy(&address, all[maker].inlined, sizeof address);
        bool could = true;
        for (size_t i = 0; i < count && arena != NULL; i++) {
            memcpy(pa_arena_data(arena) + pieces[i].start, pieces[i].data,
                   pieces[i].nbytes);
        }
        if (arena == NULL) {
            could = pa_arena_write(&address, nbytes, pieces, count, NULL) == PA_OK;
        }
        if (could && (to == PA_NO_ROOT || to == comm->rank)) {
            could = pa_lease_open(&address, nbytes, lease, NULL) == PA_OK;
        }
        status = settle(comm, op, could, all, lent, hooks, error);
    }
    if (!*lent) {
        pa_lease_release(*lease);
        *lease = NULL;
    }
    free(all);
    return status;
}
