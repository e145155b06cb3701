/* Floating-point numbers of 8 and 16 bits: as float and back, rounded to the nearest,
 * ties to even, as torch rounds them. */
#ifndef PA_MATH_NARROW_H
#define PA_MATH_NARROW_H

#include <stdint.h>
#include <string.h>

/* How a format lays out its bits: sign, exponent, mantissa. */
typedef struct pa_narrow {
    uint32_t mantissa; /* bits of the mantissa */
    uint32_t bias;     /* of the exponent */
    uint32_t sign;     /* the sign bit */
    uint32_t top;      /* the largest finite number */
    uint32_t over;     /* what stands for anything larger, as torch has it */
    uint32_t nan;      /* what stands for not a number */
    int unsigned_zero; /* no negative zero, and one NaN, where that would be */
} pa_narrow;

/* name, DLPack's code, mantissa, bias, sign, top, over, nan, unsigned_zero */
#define PA_NARROW_MAP(X)                                                               \
    X(float16, 2, 10, 15, 0x8000, 0x7BFF, 0x7C00, 0x7E00, 0)                           \
    X(bfloat16, 4, 7, 127, 0x8000, 0x7F7F, 0x7F80, 0x7FC0, 0)                          \
    X(float8_e4m3fn, 10, 3, 7, 0x80, 0x7E, 0x7E, 0x7F, 0)                              \
    X(float8_e4m3fnuz, 11, 3, 8, 0x80, 0x7F, 0x80, 0x80, 1)                            \
    X(float8_e5m2, 12, 2, 15, 0x80, 0x7B, 0x7C, 0x7F, 0)                               \
    X(float8_e5m2fnuz, 13, 2, 16, 0x80, 0x7F, 0x80, 0x80, 1)

/* The float of these bits. */
static inline float
pa_narrow_float(uint32_t bits)
{
    float value = 0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bits of a float. */
static inline uint32_t
pa_narrow_bits(float value)
{
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* `yes` or `no`, by arithmetic: compilers make branches of conditional expressions, and
 * then no vector code. */
static inline uint32_t
pa_narrow_select(int condition, uint32_t yes, uint32_t no)
{
    uint32_t mask = 0u - (uint32_t)condition;
    return (yes & mask) | (no & ~mask);
}

/* The number that `code` stands for. No branches, so that loops over it become vector
 * code. */
static inline float
pa_narrow_decode(const pa_narrow *format, uint32_t code)
{
    uint32_t sign = code / format->sign << 31;
    uint32_t rest = code & (format->sign - 1);
    /* With its bits where float has its own the number is too small by the difference
     * of the biases, subnormal ones too. */
    float scale = pa_narrow_float((127 + 127 - format->bias) << 23);
    float value = pa_narrow_float(rest << (23 - format->mantissa)) * scale;
    uint32_t special = pa_narrow_select(rest == format->over, 0x7F800000u, 0x7FC00000u);
    uint32_t bits = pa_narrow_bits(value);
    if (format->unsigned_zero) {
        return pa_narrow_float(
            pa_narrow_select(code == format->nan, 0x7FC00000u, sign | bits));
    }
    return pa_narrow_float(sign | pa_narrow_select(rest > format->top, special, bits));
}

/* The code of the number that is nearest to `value`. No branches either. */
static inline uint32_t
pa_narrow_encode(const pa_narrow *format, float value)
{
    uint32_t shift = 23 - format->mantissa;
    uint32_t bits = pa_narrow_bits(value);
    uint32_t sign = (bits >> 31) * format->sign;
    bits &= 0x7FFFFFFFu;
    uint32_t odd = bits >> shift & 1;
    uint32_t normal = ((bits + ((1u << (shift - 1)) - 1) + odd) >> shift) -
                      ((127 - format->bias) << format->mantissa);
    /* Adding this makes float's own rounding drop what the format cannot hold. */
    uint32_t magic = (127 + 1 - format->bias + shift) << 23;
    uint32_t small = pa_narrow_bits(pa_narrow_float(bits) + pa_narrow_float(magic));
    uint32_t first_normal = (127 + 1 - format->bias) << 23;
    uint32_t code = pa_narrow_select(bits >= first_normal, normal, small - magic);
    code = pa_narrow_select(code > format->top, format->over, code);
    code = pa_narrow_select(bits > 0x7F800000u, format->nan, code);
    if (format->unsigned_zero) {
        return pa_narrow_select((code == format->nan) | (code == 0), code, sign | code);
    }
    return sign | code;
}

/* name_decode and name_encode for each format. */
#define PA_NARROW_CODEC(name, dlpack, mantissa, bias, sign, top, over, nan,            \
                        unsigned_zero)                                                 \
    static inline float pa_##name##_decode(uint32_t code)                              \
    {                                                                                  \
        const pa_narrow format = {                                                     \
            mantissa, bias, sign, top, over, nan, unsigned_zero};                      \
        return pa_narrow_decode(&format, code);                                        \
    }                                                                                  \
    static inline uint32_t pa_##name##_encode(float value)                             \
    {                                                                                  \
        const pa_narrow format = {                                                     \
            mantissa, bias, sign, top, over, nan, unsigned_zero};                      \
        return pa_narrow_encode(&format, value);                                       \
    }
PA_NARROW_MAP(PA_NARROW_CODEC)
#undef PA_NARROW_CODEC

#endif
