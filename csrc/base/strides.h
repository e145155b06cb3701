/* Strides of an array: whether its elements share memory. */
#ifndef PA_BASE_STRIDES_H
#define PA_BASE_STRIDES_H

#include <stdbool.h>
#include <stdint.h>

/* Whether two elements may lie at the same place; `unit` is an element's extent in the
 * strides' own unit. Never false when they do; true for a few odd interleavings where
 * they do not. */
bool
pa_strides_overlap(int32_t ndim, const int64_t *dims, const int64_t *strides,
                   int64_t unit);

#endif
