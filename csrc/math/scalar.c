/* Single numbers as elements: see the header. */
#include "math/scalar.h"

#include "math/narrow.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* 2^63 and 2^64, which double holds exactly and the integer types do not. */
static const double int64_end = 9223372036854775808.0;
static const double uint64_end = 18446744073709551616.0;

/* The number as an integer scalar, if it is a whole one in the range of 64 bits. */
static bool
as_integer(const pa_scalar *scalar, pa_scalar *whole)
{
    *whole = *scalar;
    if (scalar->kind == PA_SCALAR_INT || scalar->kind == PA_SCALAR_UINT) {
        return true;
    }
    double value = scalar->real;
    if (scalar->imaginary != 0 || !isfinite(value) || trunc(value) != value ||
        value < -int64_end || value >= uint64_end) {
        return false;
    }
    *whole =
        value >= int64_end
            ? (pa_scalar){.kind = PA_SCALAR_UINT, .unsigned_integer = (uint64_t)value}
            : (pa_scalar){.kind = PA_SCALAR_INT, .integer = (int64_t)value};
    return true;
}

static bool
store_integer(const pa_scalar *scalar, pa_dtype dtype, char *element)
{
    pa_scalar whole;
    if (!as_integer(scalar, &whole)) {
        return false;
    }
    bool beyond = whole.kind == PA_SCALAR_UINT;
    uint64_t bits = beyond ? whole.unsigned_integer : (uint64_t)whole.integer;
    if (dtype.code == PA_DTYPE_INT) {
        int64_t most = INT64_MAX >> (64 - dtype.bits);
        if (beyond || whole.integer > most || whole.integer < -most - 1) {
            return false;
        }
    } else {
        uint64_t most =
            dtype.code == PA_DTYPE_BOOL ? 1 : UINT64_MAX >> (64 - dtype.bits);
        if ((!beyond && whole.integer < 0) || bits > most) {
            return false;
        }
    }
    memcpy(element, &bits, dtype.bits / 8); // little-endian
    return true;
}

static double
as_double(const pa_scalar *scalar)
{
    switch (scalar->kind) {
    case PA_SCALAR_INT:
        return (double)scalar->integer;
    case PA_SCALAR_UINT:
        return (double)scalar->unsigned_integer;
    case PA_SCALAR_FLOAT:
    case PA_SCALAR_COMPLEX:
        break;
    }
    return scalar->real;
}

/* Whether a type whose largest number is `largest` can hold a number, if rounded. */
static bool
fits(double value, double largest, bool has_infinity)
{
    return isnan(value) || (isinf(value) ? has_infinity : fabs(value) <= largest);
}

static bool
store_float(double value, pa_dtype dtype, char *element)
{
    float single = (float)value;
    if (dtype.code == PA_DTYPE_FLOAT && dtype.bits == 64) {
        memcpy(element, &value, sizeof value);
        return true;
    }
    if (dtype.code == PA_DTYPE_FLOAT && dtype.bits == 32) {
        memcpy(element, &single, sizeof single);
        return fits(value, FLT_MAX, true);
    }
#define PA_STORE_NARROW(name, dlpack, mantissa, bias, sign, top, over, nan,            \
                        unsigned_zero)                                                 \
    if (dtype.code == (dlpack) && 1u << (dtype.bits - 1) == (sign)) {                  \
        uint32_t code = pa_##name##_encode(single);                                    \
        memcpy(element, &code, dtype.bits / 8); /* little-endian */                    \
        return fits(value, pa_##name##_decode(top),                                    \
                    (over) != (top) && (over) != (nan));                               \
    }
    PA_NARROW_MAP(PA_STORE_NARROW)
#undef PA_STORE_NARROW
    return false;
}

bool
pa_scalar_store(const pa_scalar *scalar, pa_dtype dtype, char *element, size_t *nbytes)
{
    *nbytes = (size_t)dtype.bits * dtype.lanes / 8;
    if (dtype.lanes != 1 || *nbytes > PA_SCALAR_BYTES) {
        return false;
    }
    switch (dtype.code) {
    case PA_DTYPE_BOOL:
    case PA_DTYPE_INT:
    case PA_DTYPE_UINT:
        return dtype.bits >= 8 && store_integer(scalar, dtype, element);
    case PA_DTYPE_COMPLEX: {
        pa_dtype half = {PA_DTYPE_FLOAT, (uint8_t)(dtype.bits / 2), 1, 0};
        return store_float(as_double(scalar), half, element) &&
               store_float(scalar->imaginary, half, element + *nbytes / 2);
    }
    default:
        return scalar->imaginary == 0 && store_float(as_double(scalar), dtype, element);
    }
}
