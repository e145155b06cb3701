/* A 64-bit hash for fingerprints: see the header. */
#include "base/hash.h"

#include <string.h>

uint64_t
pa_hash_bytes(uint64_t hash, const void *bytes, size_t nbytes)
{
    const unsigned char *at = bytes;
    hash = pa_hash_mix(hash, nbytes);
    for (; nbytes >= 8; nbytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = pa_hash_mix(hash, word);
    }
    if (nbytes > 0) {
        uint64_t word = 0;
        memcpy(&word, at, nbytes);
        hash = pa_hash_mix(hash, word);
    }
    return hash;
}
