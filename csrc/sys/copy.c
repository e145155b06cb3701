/* Copies of large pieces: see the header. */
#include "sys/copy.h"

#include "base/clock.h"

#include <string.h>

enum { TRIAL_BYTES = 64 << 10 };

#if defined(__x86_64__)
#include <emmintrin.h>

bool
pa_copier_can_stream(void)
{
    return true;
}

static void
copy_streaming(char *to, const char *from, size_t nbytes)
{
    size_t lead = (size_t)(-(uintptr_t)to & 63u);
    lead = lead < nbytes ? lead : nbytes;
    memcpy(to, from, lead);
    size_t at = lead;
    for (; at + 64 <= nbytes; at += 64) {
        const __m128i *source = (const __m128i *)(const void *)(from + at);
        __m128i *target = (__m128i *)(void *)(to + at);
        __m128i a = _mm_loadu_si128(source);
        __m128i b = _mm_loadu_si128(source + 1);
        __m128i c = _mm_loadu_si128(source + 2);
        __m128i d = _mm_loadu_si128(source + 3);
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
    }
    _mm_sfence();
    memcpy(to + at, from + at, nbytes - at);
}
#else
bool
pa_copier_can_stream(void)
{
    return false;
}

static void
copy_streaming(char *to, const char *from, size_t nbytes)
{
    memcpy(to, from, nbytes);
}
#endif

void
pa_copier_copy(pa_copier *copier, char *to, const char *from, size_t nbytes, bool large)
{
    if (!large || nbytes < TRIAL_BYTES || !pa_copier_can_stream()) {
        memcpy(to, from, nbytes);
        return;
    }
    if (copier->trials == 2 * PA_COPY_TRIALS) {
        if (copier->streaming) {
            copy_streaming(to, from, nbytes);
        } else {
            memcpy(to, from, nbytes);
        }
        return;
    }
    unsigned way = copier->trials++ & 1u;
    uint64_t before = pa_clock_now();
    if (way == 1) {
        copy_streaming(to, from, nbytes);
    } else {
        memcpy(to, from, nbytes);
    }
    uint64_t spent = (pa_clock_now() - before) * TRIAL_BYTES / nbytes;
    if (copier->best_ns[way] == 0 || spent < copier->best_ns[way]) {
        copier->best_ns[way] = spent;
    }
    /* A tenth better, or it is noise. */
    copier->streaming =
        copier->best_ns[1] + copier->best_ns[1] / 10 < copier->best_ns[0];
}
