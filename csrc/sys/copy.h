/* Copies of large pieces, by the way that turns out to be the faster one.
 *
 * Ordinary stores read the destination's lines first; non-temporal stores do not, and
 * win on some machines and lose on others. So both are tried on the first real copies
 * into large destinations, and the clock decides. */
#ifndef PA_SYS_COPY_H
#define PA_SYS_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PA_COPY_TRIALS = 24 }; /* pieces a way, before the decision */

/* What has been measured so far; starts zeroed. One thread at a time. */
typedef struct pa_copier {
    uint32_t trials;
    bool streaming;      /* the decision, once trials are over */
    uint64_t best_ns[2]; /* the least time a 64 KiB: ordinary, non-temporal */
} pa_copier;

/* Copies `nbytes` bytes between places that do not overlap. `large` says that the
 * whole destination is too large to be read again from the cache. */
void
pa_copier_copy(pa_copier *copier, char *to, const char *from, size_t nbytes,
               bool large);

/* Whether this processor has non-temporal stores that we use. */
bool
pa_copier_can_stream(void);

#endif
