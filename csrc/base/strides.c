/* Strides of an array: see the header. */
#include "base/strides.h"

/* A stride's length, whichever way it goes. */
static uint64_t
length_of(int64_t stride)
{
    return stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
}

/* Whether `dim` steps over everything that the dimensions of smaller strides span. Of
 * two equal strides, one is taken for the smaller. */
static bool
steps_over(int32_t dim, int32_t ndim, const int64_t *dims, const int64_t *strides,
           int64_t unit)
{
    uint64_t step = length_of(strides[dim]);
    uint64_t span = (uint64_t)unit;
    for (int32_t d = 0; d < ndim; d++) {
        uint64_t other = length_of(strides[d]);
        bool smaller = other < step || (other == step && d < dim);
        uint64_t reach = 0;
        if (smaller && dims[d] > 1 &&
            (__builtin_mul_overflow(other, (uint64_t)dims[d] - 1, &reach) ||
             __builtin_add_overflow(span, reach, &span))) {
            return false;
        }
    }
    return span <= step;
}

bool
pa_strides_overlap(int32_t ndim, const int64_t *dims, const int64_t *strides,
                   int64_t unit)
{
    bool overlap = false;
    for (int32_t d = 0; d < ndim; d++) {
        if (dims[d] == 0) {
            return false;
        }
        overlap = overlap || (dims[d] > 1 && !steps_over(d, ndim, dims, strides, unit));
    }
    return overlap;
}
