/* Reduce: every rank gets, element by element, the sum, mean, maximum or minimum of the
 * leaves of all; the same bits on every rank. One operation for a whole structure. */
#ifndef PA_COMM_REDUCE_H
#define PA_COMM_REDUCE_H

#include "base/leaf.h"
#include "comm/comm.h"
#include "math/reduction.h"

/* Collective, "none" too. Fills `outputs[leaves]`, row-major memory of the results
 * where the leaves stand, which must not be the leaves' own; on a device in order on
 * its stream. Dtypes, shapes, reduction and scale must be equal on all ranks.
 * PA_EARGUMENT: a leaf that cannot be reduced so, and the other ranks are told.
 * PA_EMEMORY breaks the group if the others have gone on. Else as pa_agree. */
pa_status
pa_reduce(pa_comm *comm, const pa_leaves *leaves, pa_reduction reduction, double scale,
          char *const *outputs, const pa_hooks *hooks, pa_error *error);

/* Collective, after a meeting in which all agreed on the call: the same for leaves and
 * outputs that all stand on the host. Errors as pa_comm_stream; PA_EMEMORY breaks the
 * group. */
pa_status
pa_reduce_agreed(pa_comm *comm, const pa_leaves *leaves, pa_reduction reduction,
                 double scale, char *const *outputs, const pa_hooks *hooks,
                 pa_error *error);

#endif
