/* Sizes that say when they overflow. */
#ifndef PA_BASE_SIZE_H
#define PA_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `*out = a + b`; false, with `*out` undefined, when that does not fit. */
static inline bool
pa_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* `*out = a * b`; false, with `*out` undefined, when that does not fit. */
static inline bool
pa_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* The least multiple of `unit` (a power of two) that is not below `n`. */
static inline size_t
pa_size_round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

#endif
