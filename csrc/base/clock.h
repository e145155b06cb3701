/* Monotonic time and deadlines, in nanoseconds. */
#ifndef PA_BASE_CLOCK_H
#define PA_BASE_CLOCK_H

#include <stdint.h>

/* No deadline: never reached. */
#define PA_DEADLINE_NEVER UINT64_MAX

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t
pa_clock_now(void);

/* The moment `timeout_ns` from now; PA_DEADLINE_NEVER if that does not fit. */
uint64_t
pa_clock_deadline(uint64_t timeout_ns);

#endif
