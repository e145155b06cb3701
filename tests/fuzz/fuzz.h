/* What a fuzz target gives to whoever feeds it: libFuzzer, or driver.c. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Runs one input; returns 0. What is wrong ends the program. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes the seed of that number, an input that goes far, into `room` bytes; its size,
 * 0 when there are no more. */
size_t
fuzz_seed(size_t number, uint8_t *to, size_t room);

#endif
