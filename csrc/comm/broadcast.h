/* Broadcast and barrier. */
#ifndef PA_COMM_BROADCAST_H
#define PA_COMM_BROADCAST_H

#include "base/leaf.h"
#include "comm/comm.h"

/* Collective. Fills the leaves of every other rank with those of `root`; dtypes and
 * shapes must be equal on all ranks. One exchange for the whole structure.
 * PA_EARGUMENT: no such root, and the other ranks are told. Else as pa_agree. */
pa_status
pa_broadcast(pa_comm *comm, const pa_leaves *leaves, int64_t root,
             const pa_hooks *hooks, pa_error *error);

/* Collective. Returns when every rank has come. Errors as pa_agree. */
pa_status
pa_barrier(pa_comm *comm, const pa_hooks *hooks, pa_error *error);

/* PA_OK if `root` is a rank; else an excuse for the others (see pa_comm_excuse) and
 * PA_EARGUMENT, with the argument's name for users. */
pa_status
pa_root_check(pa_comm *comm, uint32_t op, const char *argument, int64_t root,
              const pa_hooks *hooks, pa_error *error);

#endif
