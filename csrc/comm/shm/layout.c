/* The layout of a group's shared segment: see the header. */
#include "comm/shm/layout.h"

#include "base/size.h"
#include "sys/futex.h"
#include "sys/segment.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Offsets of the parts in the segment. */
typedef struct offsets {
    size_t members;
    size_t bells;
    size_t published;
    size_t consumed;
    size_t lines;
    size_t places;
    size_t rings;
    size_t end;
} offsets;

enum { PAGE = 4096 };

/* `*at` moves past `count * nbytes` bytes; `*start` is where they stand. */
static bool
place(size_t *at, size_t count, size_t nbytes, size_t *start)
{
    size_t all = 0;
    *start = *at;
    return pa_size_mul(count, nbytes, &all) && pa_size_add(*at, all, at);
}

static bool
offsets_find(int size, offsets *found)
{
    size_t n = (size_t)size;
    size_t pairs = 0;
    size_t at = pa_size_round_up(sizeof(pa_shm_header), PA_SHM_LINE);
    if (size < 1 || !pa_size_mul(n, n, &pairs) ||
        !place(&at, n, sizeof(pa_shm_member), &found->members) ||
        !place(&at, n, sizeof(pa_shm_bell), &found->bells) ||
        !place(&at, n, sizeof(pa_shm_word), &found->published) ||
        !place(&at, pairs, sizeof(pa_shm_word), &found->consumed) ||
        !place(&at, 2 * n, sizeof(pa_shm_line), &found->lines) ||
        !place(&at, n, sizeof(pa_shm_place), &found->places) || at > SIZE_MAX - PAGE) {
        return false;
    }
    at = pa_size_round_up(at, PAGE);
    size_t ring = (size_t)PA_SHM_CHUNK_BYTES * PA_SHM_RING_CHUNKS;
    if (!place(&at, n, ring, &found->rings)) {
        return false;
    }
    found->end = at;
    return true;
}

pa_status
pa_shm_layout_size(int size, size_t *nbytes, pa_error *error)
{
    offsets found;
    if (!offsets_find(size, &found)) {
        return pa_error_set(error, PA_EARGUMENT, "a group cannot have %d ranks", size);
    }
    *nbytes = found.end;
    return PA_OK;
}

/* Points `map` into its segment. */
static void
map_point(pa_shm_map *map, const offsets *at)
{
    char *base = map->base;
    map->header = map->base;
    map->members = (pa_shm_member *)(void *)(base + at->members);
    map->bells = (pa_shm_bell *)(void *)(base + at->bells);
    map->published = (pa_shm_word *)(void *)(base + at->published);
    map->consumed = (pa_shm_word *)(void *)(base + at->consumed);
    map->lines = (pa_shm_line *)(void *)(base + at->lines);
    map->places = (pa_shm_place *)(void *)(base + at->places);
    map->rings = base + at->rings;
}

pa_status
pa_shm_layout_map(int fd, int size, pa_shm_map *map, pa_error *error)
{
    *map = (pa_shm_map){0};
    PA_TRY(pa_segment_map(fd, &map->base, &map->nbytes, error));
    pa_shm_header header = {0};
    if (map->nbytes >= sizeof header) {
        /* A copy, so that what was checked is what is used. */
        memcpy(&header, map->base, offsetof(pa_shm_header, broken));
    }
    offsets at;
    if (header.magic != PA_SHM_MAGIC || header.version != PA_SHM_VERSION ||
        header.size > INT32_MAX || !offsets_find((int)header.size, &at) ||
        header.nbytes != at.end || map->nbytes != at.end ||
        header.chunk_bytes != PA_SHM_CHUNK_BYTES ||
        header.ring_chunks != PA_SHM_RING_CHUNKS) {
        pa_shm_layout_unmap(map);
        return pa_error_set(error, PA_EARGUMENT,
                            "descriptor %d is not the segment of a group made by this "
                            "version of pyaccel; every process must use the same one",
                            fd);
    }
    if (size != 0 && header.size != (uint32_t)size) {
        pa_shm_layout_unmap(map);
        return pa_error_set(error, PA_EARGUMENT,
                            "the group's segment was made for %u ranks, but this "
                            "process was told that there are %d",
                            header.size, size);
    }
    map->size = (int)header.size;
    map_point(map, &at);
    return PA_OK;
}

void
pa_shm_layout_unmap(pa_shm_map *map)
{
    pa_segment_unmap(map->base, map->nbytes);
    *map = (pa_shm_map){0};
}

static void
ring_if_waiting(pa_shm_bell *bell)
{
    if (atomic_load(&bell->waiting) != 0) {
        (void)atomic_fetch_add(&bell->rings, 1);
        pa_futex_wake(&bell->rings);
    }
}

void
pa_shm_ring(pa_shm_map *map, int rank)
{
    ring_if_waiting(&map->bells[rank]);
}

void
pa_shm_ring_all(pa_shm_map *map)
{
    for (int rank = 0; rank < map->size; rank++) {
        ring_if_waiting(&map->bells[rank]);
    }
}

bool
pa_shm_break(pa_shm_map *map, pa_status status, const char *text)
{
    uint32_t whole = PA_SHM_WHOLE;
    pa_shm_header *header = map->header;
    if (!atomic_compare_exchange_strong(&header->broken, &whole, PA_SHM_BREAKING)) {
        return false;
    }
    header->broken_status = (uint32_t)status;
    (void)snprintf(header->broken_text, sizeof header->broken_text, "%s", text);
    atomic_store(&header->broken, PA_SHM_BROKEN);
    pa_shm_ring_all(map);
    return true;
}

pa_status
pa_shm_broken_by(const pa_shm_map *map, char *text, size_t capacity)
{
    const pa_shm_header *header = map->header;
    (void)snprintf(text, capacity, "%.*s", PA_SHM_TEXT, header->broken_text);
    switch (header->broken_status) {
    case PA_ETIMEOUT:
        return PA_ETIMEOUT;
    case PA_EPEER:
        return PA_EPEER;
    default:
        return PA_EBROKEN;
    }
}
