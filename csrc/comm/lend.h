/* Lending: the ranks of one host read each other's payload where it was put once.
 *
 * Every rank puts its payload into an arena of its own (sys/arena.h) and shows where it
 * is; the others map it; then all say whether they could. A rank does not write to an
 * arena again before its last lease is gone, so after that second meeting nobody has to
 * wait for anybody. Arenas stay with the communicator and are used again. */
#ifndef PA_COMM_LEND_H
#define PA_COMM_LEND_H

#include "comm/comm.h"
#include "sys/arena.h"

/* Where the next part begins when `at` bytes are taken; false if that fits no size. */
bool
pa_lend_place(size_t *at, size_t nbytes, size_t *start);

/* Collective, in the midst of operation `op`, whose ranks agree and know how much each
 * sends: `nbytes[size]`, the ends of the last parts as pa_lend_place places them, not 0
 * on all ranks. Lends `parts[nparts]` of this rank and fills `leases[size]`: NULL where
 * a rank sends nothing, and everywhere but on rank `to` (PA_NO_ROOT: all receive). The
 * caller releases them. `*lent` is the same on all ranks: false, with no leases, where
 * some rank has no memory for it or cannot open what the others have; the latter is not
 * tried again. Errors as pa_comm_meet. */
pa_status
pa_lend(pa_comm *comm, uint32_t op, int to, const pa_part *parts, size_t nparts,
        const size_t *nbytes, pa_lease **leases, bool *lent, const pa_hooks *hooks,
        pa_error *error);

/* Collective, like pa_lend, of one arena that all ranks write to: rank `to` makes it
 * (the first rank with PA_NO_ROOT), of `nbytes` bytes (more than 0, equal on all
 * ranks), and every rank writes its `pieces[count]`. `*lease` is NULL where nothing is
 * received. */
pa_status
pa_lend_joined(pa_comm *comm, uint32_t op, int to, const pa_arena_piece *pieces,
               size_t count, size_t nbytes, pa_lease **lease, bool *lent,
               const pa_hooks *hooks, pa_error *error);

#endif
