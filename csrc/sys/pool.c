/* Recycled memory for results: see the header. */
#include "sys/pool.h"

#include "base/size.h"
#include "sys/futex.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    HUGE_PAGE = 2 << 20,
    LARGE_UNIT = 64 << 10, /* capacities below huge ones: so that blocks fit again */
    ALIGNMENT = 64,
    LOCK_TRIES = 4096,
};

struct pa_pool {
    atomic_flag lock; /* guards what follows; tried, never waited for */
    pa_block *kept;
    size_t kept_blocks;
    size_t kept_bytes;
    size_t keep_bytes;
    _Atomic size_t live; /* blocks handed out, plus one for the creator */
    bool closed;         /* nothing is kept any more */
};

/* Tries for a moment. A thread of the parent may have held the lock at the moment of
 * a fork, and then it is never free again in the child: so nobody waits for it. */
static bool
pool_lock(pa_pool *pool)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (!atomic_flag_test_and_set_explicit(&pool->lock, memory_order_acquire)) {
            return true;
        }
        pa_cpu_relax();
    }
    return false;
}

static void
pool_unlock(pa_pool *pool)
{
    atomic_flag_clear_explicit(&pool->lock, memory_order_release);
}

static void
pool_unref(pa_pool *pool)
{
    if (atomic_fetch_sub(&pool->live, 1) == 1) {
        free(pool);
    }
}

pa_pool *
pa_pool_create(size_t keep_bytes)
{
    pa_pool *pool = calloc(1, sizeof *pool);
    if (pool != NULL) {
        atomic_flag_clear(&pool->lock);
        pool->keep_bytes = keep_bytes;
        atomic_store(&pool->live, 1);
    }
    return pool;
}

static void
large_free(pa_block *block)
{
    (void)munmap(block->data, block->capacity);
    free(block);
}

void
pa_pool_destroy(pa_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    if (pool_lock(pool)) {
        pool->closed = true;
        pa_block *block = pool->kept;
        pool->kept = NULL;
        pool->kept_blocks = 0;
        pool->kept_bytes = 0;
        pool_unlock(pool);
        while (block != NULL) {
            pa_block *next = block->next;
            large_free(block);
            block = next;
        }
    }
    pool_unref(pool);
}

/* Memory for a block; NULL on none. From a huge page on it is aligned to one, so that
 * the kernel can use them. */
static char *
map_memory(size_t capacity)
{
    size_t lead_room = capacity >= HUGE_PAGE ? HUGE_PAGE : 0;
    size_t reserved = 0;
    if (!pa_size_add(capacity, lead_room, &reserved)) {
        return NULL;
    }
    char *start = mmap(NULL, reserved, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) {
        return NULL;
    }
    if (lead_room == 0) {
        return start;
    }
    size_t lead = pa_size_round_up((uintptr_t)start, HUGE_PAGE) - (uintptr_t)start;
    if (lead > 0) {
        (void)munmap(start, lead);
    }
    char *data = start + lead;
    if (reserved - lead > capacity) {
        (void)munmap(data + capacity, reserved - lead - capacity);
    }
    (void)madvise(data, capacity, MADV_HUGEPAGE);
    return data;
}

/* Large blocks keep room for any prefix that a tensor of a usual rank needs, so that
 * one block serves every asker; a longer one gets a block of its own. */
enum { LARGE_PREFIX = 512 };

static pa_block *
large_take(pa_pool *pool, size_t nbytes, size_t prefix)
{
    if (nbytes > SIZE_MAX - HUGE_PAGE) {
        return NULL;
    }
    size_t unit = nbytes < PA_POOL_HUGE ? LARGE_UNIT : HUGE_PAGE;
    size_t capacity = pa_size_round_up(nbytes, unit);
    if (prefix <= LARGE_PREFIX && pool_lock(pool)) {
        pa_block **best = NULL;
        for (pa_block **at = &pool->kept; *at != NULL; at = &(*at)->next) {
            size_t has = (*at)->capacity;
            if (has >= capacity && has / 2 <= capacity &&
                (best == NULL || has < (*best)->capacity)) {
                best = at;
            }
        }
        if (best != NULL) {
            pa_block *block = *best;
            *best = block->next;
            pool->kept_blocks--;
            pool->kept_bytes -= block->capacity;
            pool_unlock(pool);
            return block;
        }
        pool_unlock(pool);
    }
    size_t room = prefix > LARGE_PREFIX ? prefix : LARGE_PREFIX;
    pa_block *block = malloc(pa_size_round_up(sizeof *block, 16) + room);
    if (block == NULL) {
        return NULL;
    }
    block->prefix = (char *)block + pa_size_round_up(sizeof *block, 16);
    block->capacity = capacity;
    block->mapped = true;
    block->data = map_memory(capacity);
    if (block->data == NULL) {
        free(block);
        return NULL;
    }
    return block;
}

static pa_block *
small_take(size_t nbytes, size_t prefix)
{
    size_t start = pa_size_round_up(sizeof(pa_block), 16);
    size_t before = 0;
    if (!pa_size_add(start, prefix, &before) || before > SIZE_MAX / 2) {
        return NULL;
    }
    before = pa_size_round_up(before, ALIGNMENT);
    size_t capacity = pa_size_round_up(nbytes > 0 ? nbytes : 1, ALIGNMENT);
    pa_block *block = aligned_alloc(ALIGNMENT, before + capacity);
    if (block == NULL) {
        return NULL;
    }
    block->prefix = (char *)block + start;
    block->capacity = capacity;
    block->mapped = false;
    block->data = (char *)block + before;
    return block;
}

pa_block *
pa_pool_take(pa_pool *pool, size_t nbytes, size_t prefix)
{
    pa_block *block = nbytes < PA_POOL_LARGE ? small_take(nbytes, prefix)
                                             : large_take(pool, nbytes, prefix);
    if (block != NULL) {
        block->next = NULL;
        block->pool = pool;
        (void)atomic_fetch_add(&pool->live, 1);
    }
    return block;
}

void
pa_block_release(pa_block *block)
{
    if (block == NULL) {
        return;
    }
    pa_pool *pool = block->pool;
    if (!block->mapped) {
        free(block);
    } else if (pool_lock(pool)) {
        bool keep =
            !pool->closed && pool->kept_bytes + block->capacity <= pool->keep_bytes;
        if (keep) {
            block->next = pool->kept;
            pool->kept = block;
            pool->kept_blocks++;
            pool->kept_bytes += block->capacity;
        }
        pool_unlock(pool);
        if (!keep) {
            large_free(block);
        }
    } else {
        large_free(block);
    }
    pool_unref(pool);
}

pa_pool_stats
pa_pool_get_stats(pa_pool *pool)
{
    pa_pool_stats stats = {.live_blocks = atomic_load(&pool->live) - 1};
    if (pool_lock(pool)) {
        stats.kept_blocks = pool->kept_blocks;
        stats.kept_bytes = pool->kept_bytes;
        pool_unlock(pool);
    }
    return stats;
}
