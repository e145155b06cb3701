/* Recycled memory for results.
 *
 * Page faults cost more than the copy into fresh memory, so large blocks are mappings
 * that are kept when they are released and handed out again, with huge pages where they
 * fill them. Small blocks come from malloc, which keeps memory of that size itself.
 * Both kinds are safe to release on any thread, without any lock that could be held
 * elsewhere, and after fork. */
#ifndef PA_SYS_POOL_H
#define PA_SYS_POOL_H

#include <stdbool.h>
#include <stddef.h>

enum {
    PA_POOL_LARGE = 128 << 10, /* bytes from which blocks are mapped and recycled */
    PA_POOL_HUGE = 1 << 20,    /* bytes from which they have huge pages */
};

typedef struct pa_pool pa_pool;

/* One piece of memory; it keeps its pool alive. Read-only for the caller. */
typedef struct pa_block {
    char *data;            /* aligned to 64 bytes, huge ones to 2 MiB */
    size_t capacity;       /* bytes at `data` */
    void *prefix;          /* the bytes asked for beside the data, aligned to 16 */
    struct pa_block *next; /* the pool's */
    pa_pool *pool;
    bool mapped; /* a large block: not malloc's */
} pa_block;

typedef struct pa_pool_stats {
    size_t live_blocks; /* handed out and not released */
    size_t kept_blocks; /* waiting to be handed out again */
    size_t kept_bytes;
} pa_pool_stats;

/* A pool that keeps at most `keep_bytes` bytes of released blocks; NULL when memory is
 * short. Goes to pa_pool_destroy. */
pa_pool *
pa_pool_create(size_t keep_bytes);

/* Gives up the creator's handle: what is kept is freed now, the pool itself when the
 * last of its blocks is released. NULL is fine. */
void
pa_pool_destroy(pa_pool *pool);

/* A block of at least `nbytes` bytes with `prefix` bytes beside them, neither zeroed;
 * NULL when memory is short. The caller owns it until pa_block_release. */
pa_block *
pa_pool_take(pa_pool *pool, size_t nbytes, size_t prefix);

/* Gives a block back, on any thread; NULL is fine. */
void
pa_block_release(pa_block *block);

/* A snapshot of the pool's counts. */
pa_pool_stats
pa_pool_get_stats(pa_pool *pool);

#endif
