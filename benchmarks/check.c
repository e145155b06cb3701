/* What a rank computes in every collective to tell whether all make the same call: the
 * fingerprint of the leaves' structure, dtypes and shapes.
 *
 *     check LEAVES BATCH SAMPLES
 *
 * Prints SAMPLES numbers, one a line: nanoseconds of one fingerprint.
 */
#include "base/clock.h"
#include "base/leaf.h"

#include <stdio.h>
#include <stdlib.h>

enum { NDIM = 2, WARM_UP = 3, LEAVES_MAX = 100000 };

static double
sample(const pa_leaves *leaves, long batch)
{
    uint64_t start = pa_clock_now();
    for (long i = 0; i < batch; i++) {
        uint64_t hash = pa_leaves_fingerprint(leaves);
        /* It is looked at, and the leaves may have changed, or nothing is computed. */
        __asm__ volatile("" : : "r"(hash) : "memory");
    }
    return (double)(pa_clock_now() - start) / (double)batch;
}

int
main(int argc, char **argv)
{
    long count = argc == 4 ? strtol(argv[1], NULL, 10) : 0;
    long batch = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
    long samples = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    if (count < 1 || count > LEAVES_MAX || batch < 1 || samples < 1) {
        (void)fprintf(stderr, "usage: check LEAVES BATCH SAMPLES\n");
        return 2;
    }
    static const int64_t shape[NDIM] = {32, 128};
    pa_leaf *at = calloc((size_t)count, sizeof *at);
    if (at == NULL) {
        (void)fprintf(stderr, "check: no memory for the leaves\n");
        return 1;
    }
    for (long i = 0; i < count; i++) {
        at[i] = (pa_leaf){
            .shape = shape,
            .ndim = NDIM,
            .dtype = {.code = 2, .bits = 32, .lanes = 1},
        };
    }
    pa_leaves leaves = {.at = at, .count = (size_t)count, .structure = 7};
    for (long i = -WARM_UP; i < samples; i++) {
        double ns = sample(&leaves, batch);
        if (i >= 0) {
            printf("%.1f\n", ns);
        }
    }
    free(at);
    return 0;
}
