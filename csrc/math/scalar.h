/* Single numbers as elements of any type. */
#ifndef PA_MATH_SCALAR_H
#define PA_MATH_SCALAR_H

#include "base/dtype.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes of the longest element. */
enum { PA_SCALAR_BYTES = 16 };

typedef enum pa_scalar_kind {
    PA_SCALAR_INT,
    PA_SCALAR_UINT, /* an integer beyond INT64_MAX */
    PA_SCALAR_FLOAT,
    PA_SCALAR_COMPLEX,
} pa_scalar_kind;

typedef struct pa_scalar {
    pa_scalar_kind kind;
    int64_t integer;
    uint64_t unsigned_integer;
    double real; /* the value of FLOAT, and of COMPLEX the parts */
    double imaginary;
} pa_scalar;

/* Writes the number as an element of that type to `element` (PA_SCALAR_BYTES of room)
 * and its length to `nbytes`. False if it does not fit: out of range, a fraction for
 * integers, an imaginary part for reals, or a type that holds no numbers. A number that
 * a floating-point type can only hold rounded fits. */
bool
pa_scalar_store(const pa_scalar *scalar, pa_dtype dtype, char *element, size_t *nbytes);

#endif
