/* Where the memory of tensors is: the host's, a CUDA device's with torch's current
 * stream, or that of a device which the core does not serve. */
#ifndef PYACCEL_PY_PLACE_H
#define PYACCEL_PY_PLACE_H

#include "comm/comm.h"
#include "py/leaves.h"
#include "torch/dlpack.h"

/* Whether the core moves bytes of what torch calls cuda itself: that is NVIDIA's, and
 * the runtime was found. */
bool
pyaccel_place_served(const pyaccel_state *state);

/* Sets the place of a leaf that is the memory of `view`; the stream of each device is
 * asked for once in a call. 1; 0 for a device that is not served; -1 with an exception.
 */
int
pyaccel_place_find(const pyaccel_state *state, pyaccel_leaves *leaves,
                   const pa_dl_tensor *view, pa_leaf *leaf);

/* Sets `*place` to this rank's device (torch's current one before the first operation
 * on one), for what came from a device of another rank; to NULL where none is served.
 * -1 with an exception. */
int
pyaccel_place_own(const pyaccel_state *state, pyaccel_leaves *leaves, pa_comm *comm,
                  const pa_place **place);

#endif
