/* A 64-bit hash for fingerprints: fast, the same on every rank, not for secrets. */
#ifndef PA_BASE_HASH_H
#define PA_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define PA_HASH_SEED UINT64_C(0x2545F4914F6CDD1D)

/* `hash` with one more word mixed in; the order of words matters. */
static inline uint64_t
pa_hash_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

/* `hash` with `nbytes` bytes and their number mixed in. */
uint64_t
pa_hash_bytes(uint64_t hash, const void *bytes, size_t nbytes);

#endif
