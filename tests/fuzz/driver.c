/* Feeds a fuzz target without libFuzzer: seeds, changed by a generator that is seeded.
 *
 *     driver INPUTS SEED     runs so many inputs; the same numbers give the same ones
 *     driver FOLDER          writes the seeds there, each a file, for libFuzzer
 *
 * It keeps some of what it made as new material, so that changes add up. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 4096, POOL = 512, CHANGES = 8 };

typedef struct input {
    size_t size;
    uint8_t data[ROOM];
} input;

/* splitmix64 */
static uint64_t
next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static size_t
below(uint64_t *state, size_t limit)
{
    return (size_t)(next(state) % limit);
}

/* Numbers at which lengths and counts turn. */
static const uint64_t turning[] = {
    0,    1,    2,    7,       8,       127,       128,       255,        256,
    8191, 8192, 8193, 1 << 17, 1 << 23, 1u << 31u, INT64_MAX, 1ull << 63, UINT64_MAX,
};

static void
insert(input *one, size_t at, const uint8_t *bytes, size_t count)
{
    count = count < ROOM - one->size ? count : ROOM - one->size;
    memmove(one->data + at + count, one->data + at, one->size - at);
    memmove(one->data + at, bytes, count);
    one->size += count;
}

static void
change(input *one, const input *other, uint64_t *state)
{
    size_t at = below(state, one->size);
    size_t left = one->size - at;
    size_t count = 1 + below(state, left < 64 ? left : 64);
    uint64_t number = turning[below(state, sizeof turning / sizeof turning[0])];
    uint8_t copy[ROOM];
    switch (below(state, 7)) {
    case 0:
        one->data[at] ^= (uint8_t)(1u << below(state, 8));
        break;
    case 1:
        one->data[at] = (uint8_t)next(state);
        break;
    case 2:
        memcpy(one->data + at, &number, left < sizeof number ? left : sizeof number);
        break;
    case 3: /* take out */
        memmove(one->data + at, one->data + at + count, left - count);
        one->size -= count < one->size ? count : 0;
        break;
    case 4: /* say twice */
        memcpy(copy, one->data + at, count);
        insert(one, at, copy, count);
        break;
    case 5: /* a part of another */
        count = 1 + below(state, other->size);
        insert(one, at, other->data + below(state, other->size - count + 1), count);
        break;
    default:
        one->size = at + 1;
    }
    one->size = one->size > 0 ? one->size : 1;
}

static int
write_seeds(const char *folder)
{
    static input one;
    for (size_t i = 0; (one.size = fuzz_seed(i, one.data, ROOM)) > 0; i++) {
        char path[ROOM];
        (void)snprintf(path, sizeof path, "%s/%zu", folder, i);
        FILE *file = fopen(path, "wb");
        if (file == NULL || fwrite(one.data, 1, one.size, file) != one.size ||
            fclose(file) != 0) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

static void
run_inputs(unsigned long long inputs, uint64_t state)
{
    static input pool[POOL];
    size_t seeds = 0;
    while (seeds < POOL &&
           (pool[seeds].size = fuzz_seed(seeds, pool[seeds].data, ROOM))) {
        (void)LLVMFuzzerTestOneInput(pool[seeds].data, pool[seeds].size);
        seeds++;
    }
    for (size_t i = seeds; i < POOL; i++) {
        pool[i] = pool[i % seeds];
    }
    static input one;
    for (unsigned long long i = 0; i < inputs; i++) {
        one = pool[below(&state, POOL)];
        for (size_t left = 1 + below(&state, CHANGES); left > 0; left--) {
            change(&one, &pool[below(&state, POOL)], &state);
        }
        (void)LLVMFuzzerTestOneInput(one.data, one.size);
        /* The seeds themselves stay, so that not everything drifts into noise. */
        if (below(&state, 16) == 0) {
            pool[seeds + below(&state, POOL - seeds)] =
                below(&state, 4) == 0 ? pool[below(&state, seeds)] : one;
        }
    }
    (void)printf("%llu inputs\n", inputs);
}

int
main(int argc, char **argv)
{
    if (argc == 2) {
        return write_seeds(argv[1]);
    }
    if (argc != 3) {
        (void)fprintf(stderr, "usage: %s INPUTS SEED, or %s FOLDER\n", argv[0],
                      argv[0]);
        return 2;
    }
    run_inputs(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10));
    return 0;
}
