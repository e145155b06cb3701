/* Reductions: elements of several ranks become one, always in the order of the ranks,
 * so that the same inputs give the same bits. */
#ifndef PA_MATH_REDUCTION_H
#define PA_MATH_REDUCTION_H

#include "base/dtype.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Each reduction once: name, and the word that users know; with "none" each rank keeps
 * its own elements. */
#define PA_REDUCTION_MAP(X)                                                            \
    X(PA_REDUCTION_SUM, "sum")                                                         \
    X(PA_REDUCTION_MEAN, "mean")                                                       \
    X(PA_REDUCTION_MAX, "max")                                                         \
    X(PA_REDUCTION_MIN, "min")                                                         \
    X(PA_REDUCTION_NONE, "none")

#define PA_REDUCTION_NAME(name, text) name,
typedef enum pa_reduction { PA_REDUCTION_MAP(PA_REDUCTION_NAME) } pa_reduction;
#undef PA_REDUCTION_NAME

/* The reduction of that name into `*reduction`; false if there is none. */
bool
pa_reduction_find(const char *text, pa_reduction *reduction);

/* The user's name of a reduction; never NULL. */
const char *
pa_reduction_text(pa_reduction reduction);

/* PA_OK if elements of that type can be reduced and scaled so; PA_EARGUMENT, with a
 * sentence, for a mean or a scale of integers, an order of complex numbers, and types
 * that hold no numbers. */
pa_status
pa_reduction_check(pa_reduction reduction, double scale, pa_dtype dtype,
                   pa_error *error);

/* Writes to `out[nbytes]` the reduction (not "none") of `from[count][nbytes]`, times
 * `scale`. What pa_reduction_check refuses must not be asked for. `out` may be one of
 * the inputs; nothing needs to be aligned. Integers wrap; sums of booleans are true
 * where any is; 8 and 16 bit floats are summed as float32 and rounded once; a maximum
 * or minimum with a NaN is one. */
void
pa_reduction_run(pa_reduction reduction, double scale, pa_dtype dtype,
                 const char *const *from, int count, char *out, size_t nbytes);

#endif
