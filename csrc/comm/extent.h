/* Extents: how long the longest leaf of all ranks is along a dimension. */
#ifndef PA_COMM_EXTENT_H
#define PA_COMM_EXTENT_H

#include "base/leaf.h"
#include "comm/comm.h"

/* Collective. Fills `longest[leaves]` with the largest size along dimension `dim` (from
 * the end if negative) of each leaf over all ranks; -1 for a leaf without that
 * dimension. Structures and numbers of dimensions must be equal on all ranks, sizes and
 * dtypes need not. Errors as pa_agree; PA_EMEMORY breaks the group if the others have
 * gone on. */
pa_status
pa_extent_longest(pa_comm *comm, const pa_leaves *leaves, int64_t dim, int64_t *longest,
                  const pa_hooks *hooks, pa_error *error);

/* Dimension `dim` of a leaf, counted from the front, or -1 if it has none such. */
int
pa_extent_dim(const pa_leaf *leaf, int64_t dim);

#endif
