/* Monotonic time and deadlines: see the header. */
#include "base/clock.h"

#include <time.h>

uint64_t
pa_clock_now(void)
{
    struct timespec now;
    /* Cannot fail: CLOCK_MONOTONIC always exists on Linux. */
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t
pa_clock_deadline(uint64_t timeout_ns)
{
    uint64_t now = pa_clock_now();
    return timeout_ns > PA_DEADLINE_NEVER - now ? PA_DEADLINE_NEVER : now + timeout_ns;
}
