/* The arithmetic of reductions, an element at a time. */
#include "network.h"

#include <math.h>
#include <string.h>

/* A 16-bit float of either kind as a float, and back, rounded to even. */
static float
widen(uint16_t bits, bool brain)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    if (brain) {
        memcpy(&value, &wide, sizeof(value));
        return value;
    }
    int exponent = bits >> 10 & 31;
    int fraction = bits & 1023;
    if (exponent == 31) {
        value = fraction != 0 ? NAN : INFINITY;
    } else if (exponent == 0) {
        value = ldexpf((float)fraction, -24);
    } else {
        value = ldexpf((float)(fraction + 1024), exponent - 25);
    }
    return bits >> 15 != 0 ? -value : value;
}

static uint16_t
narrow_brain(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if (isnan(value)) {
        return (uint16_t)(bits >> 16 | 64);
    }
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static uint16_t
narrow_half(float value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    float size = fabsf(value);
    if (isnan(value)) {
        return sign | 0x7E00;
    }
    if (size >= 65520.0f) {
        return sign | 0x7C00;
    }
    if (size < 0x1p-14f) { /* the step is the smallest number */
        return (uint16_t)(sign | (int)rintf(ldexpf(size, 24)));
    }
    int exponent;
    float fraction = frexpf(size, &exponent);
    int steps = (int)rintf(ldexpf(fraction, 11)); /* 1024 to 2048 */
    return (uint16_t)(sign + (((exponent + 14) << 10) + steps - 1024));
}

/* An element of any type: whole numbers as their bits, which wrap. */
typedef struct number {
    enum { SIGNED, UNSIGNED, REAL } kind;
    uint64_t bits;
    double real;
} number;

static number
load(const char *from, int dtype)
{
    number n = {.kind = UNSIGNED};
    int8_t small;
    int32_t medium;
    uint16_t half;
    float single;
    switch (dtype) {
    case PA_NCCL_INT8:
        memcpy(&small, from, 1);
        return (number){.kind = SIGNED, .bits = (uint64_t)(int64_t)small};
    case PA_NCCL_INT32:
        memcpy(&medium, from, 4);
        return (number){.kind = SIGNED, .bits = (uint64_t)(int64_t)medium};
    case PA_NCCL_INT64:
        n.kind = SIGNED;
        memcpy(&n.bits, from, 8);
        return n;
    case PA_NCCL_FLOAT16:
    case PA_NCCL_BFLOAT16:
        memcpy(&half, from, 2);
        return (number){.kind = REAL, .real = widen(half, dtype == PA_NCCL_BFLOAT16)};
    case PA_NCCL_FLOAT32:
        memcpy(&single, from, 4);
        return (number){.kind = REAL, .real = single};
    case PA_NCCL_FLOAT64:
        n.kind = REAL;
        memcpy(&n.real, from, 8);
        return n;
    default: /* unsigned, little end first */
        memcpy(&n.bits, from, fake_element(dtype));
        return n;
    }
}

static void
store(char *to, int dtype, number n)
{
    float single = (float)n.real;
    uint16_t half =
        dtype == PA_NCCL_BFLOAT16 ? narrow_brain(single) : narrow_half(single);
    switch (dtype) {
    case PA_NCCL_FLOAT16:
    case PA_NCCL_BFLOAT16:
        memcpy(to, &half, sizeof(half));
        break;
    case PA_NCCL_FLOAT32:
        memcpy(to, &single, sizeof(single));
        break;
    case PA_NCCL_FLOAT64:
        memcpy(to, &n.real, sizeof(n.real));
        break;
    default:
        memcpy(to, &n.bits, fake_element(dtype));
    }
}

static bool
is_less(number a, number b)
{
    return a.kind == REAL     ? a.real < b.real
           : a.kind == SIGNED ? (int64_t)a.bits < (int64_t)b.bits
                              : a.bits < b.bits;
}

static number
combine(number a, number b, int op)
{
    switch (op) {
    case PA_NCCL_PRODUCT:
        a.bits *= b.bits;
        a.real *= b.real;
        return a;
    case PA_NCCL_MAX:
        return is_less(a, b) ? b : a;
    case PA_NCCL_MIN:
        return is_less(b, a) ? b : a;
    default:
        a.bits += b.bits;
        a.real += b.real;
        return a;
    }
}

void
fake_reduce(char *to, const char *from, size_t count, int dtype, int op)
{
    size_t step = fake_element(dtype);
    for (size_t i = 0; i < count; i++, to += step, from += step) {
        store(to, dtype, combine(load(to, dtype), load(from, dtype), op));
    }
}

void
fake_divide(char *to, size_t count, int dtype, int by)
{
    size_t step = fake_element(dtype);
    for (size_t i = 0; i < count; i++, to += step) {
        number n = load(to, dtype);
        n.real /= by;
        n.bits =
            n.kind == SIGNED ? (uint64_t)((int64_t)n.bits / by) : n.bits / (uint64_t)by;
        store(to, dtype, n);
    }
}
