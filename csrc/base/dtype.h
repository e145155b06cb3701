/* Element types, as DLPack numbers them, and their names. Elements travel as bytes:
 * nothing here computes with them. */
#ifndef PA_BASE_DTYPE_H
#define PA_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

/* DLPack's type codes; PA_DTYPE_OTHER is ours, for types that only NumPy knows, told
 * apart by `detail`. */
enum {
    PA_DTYPE_INT = 0,
    PA_DTYPE_UINT = 1,
    PA_DTYPE_FLOAT = 2,
    PA_DTYPE_BFLOAT = 4,
    PA_DTYPE_COMPLEX = 5,
    PA_DTYPE_BOOL = 6,
    PA_DTYPE_OTHER = 255,
};

typedef struct pa_dtype {
    uint8_t code;
    uint8_t bits; /* of one lane */
    uint16_t lanes;
    uint32_t detail; /* 0, or what tells PA_DTYPE_OTHER types apart */
} pa_dtype;

/* name, code, bits, lanes: torch's name of every type that both DLPack and torch know.
 */
#define PA_DTYPE_MAP(X)                                                                \
    X(bool, 6, 8, 1)                                                                   \
    X(int8, 0, 8, 1)                                                                   \
    X(int16, 0, 16, 1)                                                                 \
    X(int32, 0, 32, 1)                                                                 \
    X(int64, 0, 64, 1)                                                                 \
    X(uint8, 1, 8, 1)                                                                  \
    X(uint16, 1, 16, 1)                                                                \
    X(uint32, 1, 32, 1)                                                                \
    X(uint64, 1, 64, 1)                                                                \
    X(float16, 2, 16, 1)                                                               \
    X(float32, 2, 32, 1)                                                               \
    X(float64, 2, 64, 1)                                                               \
    X(bfloat16, 4, 16, 1)                                                              \
    X(complex32, 5, 32, 1)                                                             \
    X(complex64, 5, 64, 1)                                                             \
    X(complex128, 5, 128, 1)                                                           \
    X(float8_e4m3fn, 10, 8, 1)                                                         \
    X(float8_e4m3fnuz, 11, 8, 1)                                                       \
    X(float8_e5m2, 12, 8, 1)                                                           \
    X(float8_e5m2fnuz, 13, 8, 1)                                                       \
    X(float8_e8m0fnu, 14, 8, 1)                                                        \
    X(float4_e2m1fn_x2, 17, 4, 2)

/* Whether two types are the same. */
static inline int
pa_dtype_equal(pa_dtype a, pa_dtype b)
{
    return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes &&
           a.detail == b.detail;
}

/* Writes the type's name, such as "float32", to `text` (cut to `capacity`). */
void
pa_dtype_format(pa_dtype dtype, char *text, size_t capacity);

#endif
