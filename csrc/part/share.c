/* The arithmetic of a split: see the header. */
#include "part/share.h"

#include <inttypes.h>

#include "base/size.h"

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

pa_status
pa_share_compute(int64_t rank, int64_t size, size_t count, bool padded, pa_share *share,
                 pa_error *error)
{
    if (size < 1) {
        return pa_error_set(error, PA_EARGUMENT,
                            "a split needs at least one process: their number is given "
                            "as %" PRId64,
                            size);
    }
    if (rank < 0 || rank >= size) {
        return pa_error_set(error, PA_EARGUMENT,
                            "rank %" PRId64 " is none of the %" PRId64
                            " processes: give one from 0 to %" PRId64,
                            rank, size, size - 1);
    }
    size_t each = count / (size_t)size;
    size_t extra = count % (size_t)size;
    size_t before = (size_t)rank;
    if (!padded) {
        share->start = before * each + least(before, extra);
        share->stop = share->start + each + (before < extra ? 1 : 0);
        share->pad = 0;
        return PA_OK;
    }
    size_t block = each + (extra > 0 ? 1 : 0);
    /* Only a start far behind the last item can be too large for its type. */
    if (!pa_size_mul(before, block, &share->start)) {
        share->start = count;
    }
    share->start = least(share->start, count);
    share->stop = share->start + least(block, count - share->start);
    share->pad = block - (share->stop - share->start);
    return PA_OK;
}
