/* Leaves of a nested structure: see the header. */
#include "base/leaf.h"

#include "base/hash.h"

#include <string.h>

size_t
pa_leaves_nbytes(const pa_leaves *leaves)
{
    size_t nbytes = 0;
    for (size_t i = 0; i < leaves->count; i++) {
        /* Cannot overflow: all of them are in memory. */
        nbytes += leaves->at[i].nbytes;
    }
    return nbytes;
}

bool
pa_leaves_on_host(const pa_leaves *leaves)
{
    bool on_host = true;
    for (size_t i = 0; i < leaves->count; i++) {
        on_host = on_host && leaves->at[i].place == NULL;
    }
    return on_host;
}

void
pa_leaves_pack(const pa_leaves *leaves, char *packed)
{
    for (size_t i = 0; i < leaves->count; i++) {
        if (leaves->at[i].nbytes > 0) {
            memcpy(packed, leaves->at[i].data, leaves->at[i].nbytes);
            packed += leaves->at[i].nbytes;
        }
    }
}

void
pa_leaves_unpack(const pa_leaves *leaves, const char *packed)
{
    for (size_t i = 0; i < leaves->count; i++) {
        if (leaves->at[i].nbytes > 0) {
            memcpy(leaves->at[i].data, packed, leaves->at[i].nbytes);
            packed += leaves->at[i].nbytes;
        }
    }
}

uint64_t
pa_leaves_fingerprint(const pa_leaves *leaves)
{
    uint64_t hash = pa_hash_mix(PA_HASH_SEED, leaves->structure);
    for (size_t i = 0; i < leaves->count; i++) {
        const pa_leaf *leaf = &leaves->at[i];
        uint64_t type = (uint64_t)leaf->dtype.code << 48 |
                        (uint64_t)leaf->dtype.bits << 40 |
                        (uint64_t)leaf->dtype.lanes << 24 |
                        (uint64_t)(leaf->place != NULL) << 23 | (uint64_t)leaf->ndim;
        hash = pa_hash_mix(hash, type);
        hash = pa_hash_mix(hash, leaf->dtype.detail);
        for (int32_t d = 0; d < leaf->ndim; d++) {
            hash = pa_hash_mix(hash, (uint64_t)leaf->shape[d]);
        }
    }
    return hash;
}
