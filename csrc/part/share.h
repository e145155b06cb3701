/* Who gets which items: the arithmetic of a split, without the items. */
#ifndef PA_PART_SHARE_H
#define PA_PART_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A rank's share of `count` items: those from `start` up to but without `stop`, then
 * `pad` copies of the last of all items. Always start <= stop <= count.
 *
 *   5 items a b c d e, 4 ranks
 *   not padded   | a b | c   | d   | e   |   the first ranks take what is left over
 *   padded       | a b | c d | e e | e e |   blocks of ceil(5/4); copies at the end
 *
 * Put one after the other, the shares of all ranks are the items in their order; when
 * padded, the copies follow, so cutting the whole to `count` drops just these. */
typedef struct pa_share {
    size_t start;
    size_t stop;
    size_t pad;
} pa_share;

/* The share of `rank` among `size` ranks. When `padded`, every rank has equally many
 * items, copies included; copies of nothing are nothing, so with no items there are
 * none. PA_EARGUMENT, with `*share` undefined, unless 0 <= rank < size. Does not wait.
 */
pa_status
pa_share_compute(int64_t rank, int64_t size, size_t count, bool padded, pa_share *share,
                 pa_error *error);

#endif
