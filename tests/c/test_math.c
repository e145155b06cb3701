/* Tests of csrc/math: numbers of few bits, and reductions of every type. */
#include "testing.h"

#include "math/narrow.h"
#include "math/reduction.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* ---- Narrow numbers ---- */

static void
float16_is_ieee(void)
{
    CHECK_EQUAL(pa_float16_encode(1.0f), 0x3C00);
    CHECK_EQUAL(pa_float16_encode(-2.0f), 0xC000);
    CHECK_EQUAL(pa_float16_encode(65504.0f), 0x7BFF);
    CHECK_EQUAL(pa_float16_encode(65520.0f), 0x7C00);   /* rounds to infinity */
    CHECK_EQUAL(pa_float16_encode(0x1p-24f), 0x0001);   /* the least subnormal */
    CHECK_EQUAL(pa_float16_encode(0x1p-25f), 0x0000);   /* a tie, to even */
    CHECK_EQUAL(pa_float16_encode(0x1.8p-24f), 0x0002); /* a tie, to even */
    CHECK(isnan(pa_float16_decode(pa_float16_encode(NAN))));
    CHECK(isinf(pa_float16_decode(0xFC00)));
}

static void
float8_kinds_end_as_torch_has_it(void)
{
    CHECK_EQUAL(pa_float8_e4m3fn_encode(1e9f), 0x7E); /* 448, the largest */
    CHECK_EQUAL(pa_float8_e5m2_encode(1e9f), 0x7C);   /* infinity */
    CHECK_EQUAL(pa_float8_e4m3fnuz_encode(1e9f), 0x80);
    CHECK_EQUAL(pa_float8_e4m3fnuz_encode(-0.0f), 0x00);
    CHECK(isnan(pa_float8_e5m2fnuz_decode(0x80)));
    CHECK(isnan(pa_float8_e4m3fn_decode(0xFF)));
}

/* Every number of a format comes back as it was; what is not a number stays none. */
#define CHECK_ROUND_TRIP(name, codes)                                                  \
    for (uint32_t code = 0; code < (codes); code++) {                                  \
        float value = pa_##name##_decode(code);                                        \
        uint32_t back = pa_##name##_encode(value);                                     \
        CHECK(isnan(value) ? isnan(pa_##name##_decode(back)) : back == code);          \
    }

static void
every_narrow_number_comes_back(void)
{
    CHECK_ROUND_TRIP(float16, 65536)
    CHECK_ROUND_TRIP(bfloat16, 65536)
    CHECK_ROUND_TRIP(float8_e4m3fn, 256)
    CHECK_ROUND_TRIP(float8_e4m3fnuz, 256)
    CHECK_ROUND_TRIP(float8_e5m2, 256)
    CHECK_ROUND_TRIP(float8_e5m2fnuz, 256)
}

/* ---- Reductions ---- */

static const pa_dtype int8 = {PA_DTYPE_INT, 8, 1, 0};
static const pa_dtype int64 = {PA_DTYPE_INT, 64, 1, 0};
static const pa_dtype uint8 = {PA_DTYPE_UINT, 8, 1, 0};
static const pa_dtype boolean = {PA_DTYPE_BOOL, 8, 1, 0};
static const pa_dtype float16 = {PA_DTYPE_FLOAT, 16, 1, 0};
static const pa_dtype float32 = {PA_DTYPE_FLOAT, 32, 1, 0};
static const pa_dtype complex64 = {PA_DTYPE_COMPLEX, 64, 1, 0};

/* The reduction of two single elements, as bytes. */
static void
reduce_two(pa_reduction reduction, double scale, pa_dtype dtype, const void *a,
           const void *b, void *out, size_t nbytes)
{
    const char *from[] = {a, b};
    pa_reduction_run(reduction, scale, dtype, from, 2, out, nbytes);
}

static void
integers_wrap_and_keep_their_sign(void)
{
    int8_t a = 127;
    int8_t b = -128;
    int8_t one = 1;
    int8_t out = 0;
    reduce_two(PA_REDUCTION_SUM, 1, int8, &a, &one, &out, 1);
    CHECK_EQUAL(out, -128);
    reduce_two(PA_REDUCTION_MAX, 1, int8, &a, &b, &out, 1);
    CHECK_EQUAL(out, 127);
    reduce_two(PA_REDUCTION_MAX, 1, uint8, &a, &b, &out, 1);
    CHECK_EQUAL(out, -128); /* 128 without a sign */
    int64_t large[] = {INT64_MAX, 3};
    int64_t more[] = {2, -5};
    int64_t sums[2];
    reduce_two(PA_REDUCTION_SUM, 1, int64, large, more, sums, sizeof sums);
    CHECK(sums[0] == INT64_MIN + 1 && sums[1] == -2);
}

static void
booleans_stay_booleans(void)
{
    const char a[] = {0, 0, 1, 1};
    const char b[] = {0, 1, 0, 1};
    char out[4];
    reduce_two(PA_REDUCTION_SUM, 1, boolean, a, b, out, 4);
    CHECK(memcmp(out, "\0\1\1\1", 4) == 0);
    reduce_two(PA_REDUCTION_MIN, 1, boolean, a, b, out, 4);
    CHECK(memcmp(out, "\0\0\0\1", 4) == 0);
}

static void
a_nan_stays(void)
{
    float a[] = {NAN, 1};
    float b[] = {1, NAN};
    float out[2];
    reduce_two(PA_REDUCTION_MAX, 1, float32, a, b, out, sizeof out);
    CHECK(isnan(out[0]) && isnan(out[1]));
    reduce_two(PA_REDUCTION_MIN, 1, float32, a, b, out, sizeof out);
    CHECK(isnan(out[0]) && isnan(out[1]));
}

static void
half_precision_is_rounded_once(void)
{
    /* 2048 + 1 is 2048 in float16, so step by step three would give 2048. */
    uint16_t terms[3] = {(uint16_t)pa_float16_encode(2048),
                         (uint16_t)pa_float16_encode(1),
                         (uint16_t)pa_float16_encode(1)};
    const char *from[3] = {(char *)&terms[0], (char *)&terms[1], (char *)&terms[2]};
    uint16_t out = 0;
    pa_reduction_run(PA_REDUCTION_SUM, 1, float16, from, 3, (char *)&out, sizeof out);
    CHECK_EQUAL(pa_float16_decode(out), 2050);
}

static void
mean_and_scale_of_complex_numbers(void)
{
    float a[] = {1, 2, 3, 4};
    float b[] = {3, 4, 5, 8};
    float out[4];
    reduce_two(PA_REDUCTION_MEAN, 10, complex64, a, b, out, sizeof out);
    CHECK(out[0] == 20 && out[1] == 30 && out[2] == 40 && out[3] == 60);
}

/* Lengths around the blocks, at odd addresses, with the result on top of an input. */
static void
any_length_and_address(void)
{
    enum { MOST = 1100 };
    char *a = malloc(MOST * sizeof(float) + 1);
    char *b = malloc(MOST * sizeof(float) + 1);
    for (size_t n = 0; a != NULL && b != NULL && n < MOST; n += n < 5 ? 1 : 251) {
        for (size_t i = 0; i < n; i++) {
            float x = (float)i;
            float y = 2 * (float)i;
            memcpy(a + 1 + i * sizeof x, &x, sizeof x);
            memcpy(b + 1 + i * sizeof y, &y, sizeof y);
        }
        reduce_two(PA_REDUCTION_SUM, 1, float32, a + 1, b + 1, b + 1,
                   n * sizeof(float));
        bool right = true;
        for (size_t i = 0; i < n; i++) {
            float sum = 0;
            memcpy(&sum, b + 1 + i * sizeof sum, sizeof sum);
            right = right && sum == 3 * (float)i;
        }
        CHECK(right);
    }
    free(a);
    free(b);
}

static void
what_means_nothing_is_refused(void)
{
    pa_error error = PA_ERROR_INIT;
    pa_dtype other = {PA_DTYPE_OTHER, 64, 1, 7};
    CHECK_EQUAL(pa_reduction_check(PA_REDUCTION_MEAN, 1, int64, &error), PA_EARGUMENT);
    CHECK(strstr(error.message, "mean of int64") != NULL);
    CHECK_EQUAL(pa_reduction_check(PA_REDUCTION_SUM, 0.5, int8, &error), PA_EARGUMENT);
    CHECK(strstr(error.message, "scale is 0.5") != NULL);
    CHECK_EQUAL(pa_reduction_check(PA_REDUCTION_MAX, 1, complex64, &error),
                PA_EARGUMENT);
    CHECK_EQUAL(pa_reduction_check(PA_REDUCTION_SUM, 1, other, &error), PA_EARGUMENT);
    CHECK_EQUAL(pa_reduction_check(PA_REDUCTION_SUM, 1, int64, &error), PA_OK);
    CHECK_EQUAL(pa_reduction_check(PA_REDUCTION_MEAN, 0.5, float16, &error), PA_OK);
}

static void
names_are_found(void)
{
    pa_reduction found = PA_REDUCTION_SUM;
    CHECK(pa_reduction_find("min", &found));
    CHECK_TEXT(pa_reduction_text(found), "min");
    CHECK(!pa_reduction_find("median", &found));
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(float16_is_ieee),
        TESTING(float8_kinds_end_as_torch_has_it),
        TESTING(every_narrow_number_comes_back),
        TESTING(integers_wrap_and_keep_their_sign),
        TESTING(booleans_stay_booleans),
        TESTING(a_nan_stays),
        TESTING(half_precision_is_rounded_once),
        TESTING(mean_and_scale_of_complex_numbers),
        TESTING(any_length_and_address),
        TESTING(what_means_nothing_is_refused),
        TESTING(names_are_found),
    };
    return TESTING_RUN(cases);
}
