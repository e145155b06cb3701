/* Reductions: see the header.
 *
 * A type is five loops over a block of elements: load, three ways to combine, store.
 * They have a constant length, which compilers make vector code of without being told
 * how; what is in the last block beyond the end is computed and thrown away. */
#include "math/reduction.h"

#include "math/narrow.h"

#include <stdint.h>
#include <string.h>

/* Elements of a block: a few of them fit the first cache. */
enum { BLOCK = 256, WIDEST = 8 };

typedef struct number {
    pa_dtype dtype;
    size_t size; /* bytes of an element */
    bool exact;  /* integers and booleans: no mean, no scale */
    void (*load)(void *restrict sums, const void *restrict block);
    void (*sum)(void *restrict sums, const void *restrict block);
    void (*max)(void *restrict sums, const void *restrict block);
    void (*min)(void *restrict sums, const void *restrict block);
    void (*store)(void *restrict block, const void *restrict sums, double divisor,
                  double scale);
} number;

/* The loops are macros because C has no other way to write one for several types. */

/* ---- Integers: sums wrap, as unsigned ones do ---- */

/* name, type, unsigned type, DLPack's code and bits */
#define PA_INTEGER_MAP(X)                                                              \
    X(int8, int8_t, uint8_t, PA_DTYPE_INT, 8)                                          \
    X(int16, int16_t, uint16_t, PA_DTYPE_INT, 16)                                      \
    X(int32, int32_t, uint32_t, PA_DTYPE_INT, 32)                                      \
    X(int64, int64_t, uint64_t, PA_DTYPE_INT, 64)                                      \
    X(uint8, uint8_t, uint8_t, PA_DTYPE_UINT, 8)                                       \
    X(uint16, uint16_t, uint16_t, PA_DTYPE_UINT, 16)                                   \
    X(uint32, uint32_t, uint32_t, PA_DTYPE_UINT, 32)                                   \
    X(uint64, uint64_t, uint64_t, PA_DTYPE_UINT, 64)

#define PA_INTEGER_LOOPS(name, type, unsigned_type, code, bits)                        \
    static void name##_load(void *restrict sums, const void *restrict block)           \
    {                                                                                  \
        type *a = sums;                                                                \
        const type *b = block;                                                         \
        for (int i = 0; i < BLOCK; i++) {                                              \
            a[i] = (type)(b[i]);                                                       \
        }                                                                              \
    }                                                                                  \
    static void name##_sum(void *restrict sums, const void *restrict block)            \
    {                                                                                  \
        type *a = sums;                                                                \
        const type *b = block;                                                         \
        for (int i = 0; i < BLOCK; i++) {                                              \
            a[i] = (type)((unsigned_type)((unsigned_type)a[i] + (unsigned_type)b[i])); \
        }                                                                              \
    }                                                                                  \
    static void name##_max(void *restrict sums, const void *restrict block)            \
    {                                                                                  \
        type *a = sums;                                                                \
        const type *b = block;                                                         \
        for (int i = 0; i < BLOCK; i++) {                                              \
            a[i] = (type)(a[i] > b[i] ? a[i] : b[i]);                                  \
        }                                                                              \
    }                                                                                  \
    static void name##_min(void *restrict sums, const void *restrict block)            \
    {                                                                                  \
        type *a = sums;                                                                \
        const type *b = block;                                                         \
        for (int i = 0; i < BLOCK; i++) {                                              \
            a[i] = (type)(a[i] < b[i] ? a[i] : b[i]);                                  \
        }                                                                              \
    }                                                                                  \
    static void name##_store(void *restrict block, const void *restrict sums,          \
                             double divisor, double scale)                             \
    {                                                                                  \
        (void)divisor;                                                                 \
        (void)scale;                                                                   \
        memcpy(block, sums, BLOCK * sizeof(type));                                     \
    }
PA_INTEGER_MAP(PA_INTEGER_LOOPS)
#undef PA_INTEGER_LOOPS

/* ---- Floating point: narrow formats are computed with as float ---- */

static inline float
same_float(float x)
{
    return x;
}

static inline double
same_double(double x)
{
    return x;
}

/* name, type to compute with, type in memory, from memory, to memory, DLPack's code and
 * bits */
#define PA_FLOAT_MAP(X)                                                                \
    X(float64, double, double, same_double, same_double, PA_DTYPE_FLOAT, 64)           \
    X(float32, float, float, same_float, same_float, PA_DTYPE_FLOAT, 32)               \
    X(float16, float, uint16_t, pa_float16_decode, pa_float16_encode, PA_DTYPE_FLOAT,  \
      16)                                                                              \
    X(bfloat16, float, uint16_t, pa_bfloat16_decode, pa_bfloat16_encode,               \
      PA_DTYPE_BFLOAT, 16)                                                             \
    X(float8_e4m3fn, float, uint8_t, pa_float8_e4m3fn_decode, pa_float8_e4m3fn_encode, \
      10, 8)                                                                           \
    X(float8_e4m3fnuz, float, uint8_t, pa_float8_e4m3fnuz_decode,                      \
      pa_float8_e4m3fnuz_encode, 11, 8)                                                \
    X(float8_e5m2, float, uint8_t, pa_float8_e5m2_decode, pa_float8_e5m2_encode, 12,   \
      8)                                                                               \
    X(float8_e5m2fnuz, float, uint8_t, pa_float8_e5m2fnuz_decode,                      \
      pa_float8_e5m2fnuz_encode, 13, 8)

/* `a != a` is how a NaN is kept. */
#define PA_FLOAT_LOOPS(name, wide, type, decode, encode, code, bits)                   \
    static void name##_load(void *restrict sums, const void *restrict block)           \
    {                                                                                  \
        wide *a = sums;                                                                \
        const type *from = block;                                                      \
        for (int i = 0; i < BLOCK; i++) {                                              \
            wide b = decode(from[i]);                                                  \
            a[i] = b;                                                                  \
        }                                                                              \
    }                                                                                  \
    static void name##_sum(void *restrict sums, const void *restrict block)            \
    {                                                                                  \
        wide *a = sums;                                                                \
        const type *from = block;                                                      \
        for (int i = 0; i < BLOCK; i++) {                                              \
            wide b = decode(from[i]);                                                  \
            a[i] = a[i] + b;                                                           \
        }                                                                              \
    }                                                                                  \
    static void name##_max(void *restrict sums, const void *restrict block)            \
    {                                                                                  \
        wide *a = sums;                                                                \
        const type *from = block;                                                      \
        for (int i = 0; i < BLOCK; i++) {                                              \
            wide b = decode(from[i]);                                                  \
            a[i] = a[i] > b || a[i] != a[i] ? a[i] : b;                                \
        }                                                                              \
    }                                                                                  \
    static void name##_min(void *restrict sums, const void *restrict block)            \
    {                                                                                  \
        wide *a = sums;                                                                \
        const type *from = block;                                                      \
        for (int i = 0; i < BLOCK; i++) {                                              \
            wide b = decode(from[i]);                                                  \
            a[i] = a[i] < b || a[i] != a[i] ? a[i] : b;                                \
        }                                                                              \
    }                                                                                  \
    static void name##_store(void *restrict block, const void *restrict sums,          \
                             double divisor, double scale)                             \
    {                                                                                  \
        type *to = block;                                                              \
        const wide *a = sums;                                                          \
        wide by = (wide)divisor;                                                       \
        wide times = (wide)scale;                                                      \
        for (int i = 0; i < BLOCK; i++) {                                              \
            to[i] = (type)encode(a[i] / by * times);                                   \
        }                                                                              \
    }
PA_FLOAT_MAP(PA_FLOAT_LOOPS)
#undef PA_FLOAT_LOOPS

/* ---- The table ---- */

static const number numbers[] = {
#define PA_INTEGER_ROW(name, type, unsigned_type, code, bits)                          \
    {{code, bits, 1, 0}, sizeof(type), true,       name##_load,                        \
     name##_sum,         name##_max,   name##_min, name##_store},
#define PA_FLOAT_ROW(name, wide, type, decode, encode, code, bits)                     \
    {{code, bits, 1, 0}, sizeof(type), false,      name##_load,                        \
     name##_sum,         name##_max,   name##_min, name##_store},
    PA_INTEGER_MAP(PA_INTEGER_ROW) PA_FLOAT_MAP(PA_FLOAT_ROW)
#undef PA_INTEGER_ROW
#undef PA_FLOAT_ROW
    /* The sum of booleans is their maximum, so that it stays one. */
    {{PA_DTYPE_BOOL, 8, 1, 0},
     1,
     true,
     uint8_load,
     uint8_max,
     uint8_max,
     uint8_min,
     uint8_store},
};

/* How the elements of a type are computed with; NULL if they are no numbers. A complex
 * number is two real ones, for whoever does not ask for an order. */
static const number *
number_of(pa_dtype dtype)
{
    if (dtype.code == PA_DTYPE_COMPLEX) {
        dtype.code = PA_DTYPE_FLOAT;
        dtype.bits /= 2;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (pa_dtype_equal(numbers[i].dtype, dtype)) {
            return &numbers[i];
        }
    }
    return NULL;
}

/* ---- The reductions ---- */

static const char *const texts[] = {
#define PA_REDUCTION_ROW(name, text) [name] = (text),
    PA_REDUCTION_MAP(PA_REDUCTION_ROW)
#undef PA_REDUCTION_ROW
};

bool
pa_reduction_find(const char *text, pa_reduction *reduction)
{
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(texts[i], text) == 0) {
            *reduction = (pa_reduction)i;
            return true;
        }
    }
    return false;
}

const char *
pa_reduction_text(pa_reduction reduction)
{
    return texts[reduction];
}

pa_status
pa_reduction_check(pa_reduction reduction, double scale, pa_dtype dtype,
                   pa_error *error)
{
    char name[48];
    pa_dtype_format(dtype, name, sizeof name);
    const number *kind = number_of(dtype);
    if (reduction == PA_REDUCTION_NONE && scale == 1.0) {
        return PA_OK;
    }
    bool ordered = reduction == PA_REDUCTION_MAX || reduction == PA_REDUCTION_MIN;
    if (kind == NULL) {
        return pa_error_set(error, PA_EARGUMENT,
                            "reduce: %s holds no numbers to compute with: convert it "
                            "to another dtype first",
                            name);
    }
    if (kind->exact && reduction == PA_REDUCTION_MEAN) {
        return pa_error_set(error, PA_EARGUMENT,
                            "reduce: the mean of %s is no %s: convert it to a floating-"
                            "point dtype first, or take the sum",
                            name, name);
    }
    if (kind->exact && scale != 1.0) {
        return pa_error_set(error, PA_EARGUMENT,
                            "reduce: scale is %g, and %s cannot be scaled: convert it "
                            "to a floating-point dtype first",
                            scale, name);
    }
    if (dtype.code == PA_DTYPE_COMPLEX && ordered) {
        return pa_error_set(error, PA_EARGUMENT,
                            "reduce: %s has no order, so there is no %s: take \"sum\" "
                            "or \"mean\"",
                            name, texts[reduction]);
    }
    return PA_OK;
}

void
pa_reduction_run(pa_reduction reduction, double scale, pa_dtype dtype,
                 const char *const *from, int count, char *out, size_t nbytes)
{
    const number *kind = number_of(dtype);
    void (*combine)(void *, const void *) = reduction == PA_REDUCTION_MAX   ? kind->max
                                            : reduction == PA_REDUCTION_MIN ? kind->min
                                                                            : kind->sum;
    double divisor = reduction == PA_REDUCTION_MEAN ? count : 1.0;
    _Alignas(64) char sums[BLOCK * WIDEST] = {0};
    _Alignas(64) char block[BLOCK * WIDEST] = {0};
    size_t step = BLOCK * kind->size;
    for (size_t at = 0; at < nbytes; at += step) {
        size_t now = nbytes - at < step ? nbytes - at : step;
        for (int i = 0; i < count; i++) {
            memcpy(block, from[i] + at, now);
            (i == 0 ? kind->load : combine)(sums, block);
        }
        kind->store(block, sums, divisor, scale);
        memcpy(out + at, block, now);
    }
}
