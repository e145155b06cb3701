/* The layout of a group's shared segment: see the header. */
#include "comm/shm/layout.h"

#include "base/size.h"
#include "sys/futex.h"
#include "sys/segment.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Offsets of the parts in the segment. */
typedef struct offsets {
    size_t members;
    size_t bells;
    size_t published;
    size_t consumed;
    size_t lines;
    size_t places;
    size_t rings;
    size_t lanes;
    size_t end;
} offsets;

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
        !place(&at, n, sizeof(pa_shm_place), &found->places) ||
        at > SIZE_MAX - PA_SHM_PAGE) {
        return false;
    }
    at = pa_size_round_up(at, PA_SHM_PAGE);
    size_t ring = (size_t)PA_SHM_CHUNK_BYTES * PA_SHM_RING_CHUNKS;
    if (!place(&at, n, ring, &found->rings) ||
        !place(&at, pairs, sizeof(pa_shm_lane), &found->lanes)) {
        return false;
    }
    found->end = at;
    return true;
}

pa_status
pa_shm_layout_size(int size, size_t most, size_t *nbytes, size_t *reserved,
                   size_t *yard_bytes, pa_error *error)
{
    offsets found;
    if (!offsets_find(size, &found)) {
        return pa_error_set(error, PA_EARGUMENT, "a group cannot have %d ranks", size);
    }
    size_t pairs = (size_t)size * (size_t)size;
    size_t room = most > found.end ? (most - found.end) / pairs : 0;
    size_t yard = PA_SHM_YARD;
    while (yard > room && yard > 0) {
        yard = yard > PA_SHM_LEAST_YARD ? yard / 2 : 0;
    }
    *reserved = found.end;
    *yard_bytes = yard;
    *nbytes = found.end + pairs * yard;
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
    map->lanes = (pa_shm_lane *)(void *)(base + at->lanes);
    map->yards_at = at->end;
}

/* Copies the part of the header that never changes; what was checked is what is used.
 */
static pa_status
read_header(int fd, pa_shm_header *header, pa_error *error)
{
    void *base = NULL;
    size_t nbytes = sizeof *header;
    pa_status status = pa_segment_map_part(fd, 0, nbytes, &base, error);
    if (status == PA_OK) {
        memcpy(header, base, offsetof(pa_shm_header, broken));
        pa_segment_unmap(base, nbytes);
    }
    return status;
}

/* Whether a header is one of this version's, and where things then are. */
static bool
check_header(const pa_shm_header *header, offsets *at)
{
    uint64_t yard = header->yard_bytes;
    bool yards = yard == 0 || (yard >= PA_SHM_LEAST_YARD && yard <= PA_SHM_YARD &&
                               (yard & (yard - 1)) == 0);
    return header->magic == PA_SHM_MAGIC && header->version == PA_SHM_VERSION &&
           header->size <= INT32_MAX && offsets_find((int)header->size, at) && yards &&
           header->nbytes == at->end && header->chunk_bytes == PA_SHM_CHUNK_BYTES &&
           header->ring_chunks == PA_SHM_RING_CHUNKS;
}

pa_status
pa_shm_layout_map(int fd, int size, pa_shm_map *map, pa_error *error)
{
    *map = (pa_shm_map){.fd = -1};
    pa_shm_header header = {0};
    offsets at;
    PA_TRY(read_header(fd, &header, error));
    if (!check_header(&header, &at)) {
        return pa_error_set(error, PA_EARGUMENT,
                            "descriptor %d is not the segment of a group made by this "
                            "version of pyaccel; every process must use the same one",
                            fd);
    }
    PA_TRY(pa_segment_map_part(fd, 0, at.end, &map->base, error));
    map->nbytes = at.end;
    if (size != 0 && header.size != (uint32_t)size) {
        pa_shm_layout_unmap(map);
        return pa_error_set(error, PA_EARGUMENT,
                            "the group's segment was made for %u ranks, but this "
                            "process was told that there are %d",
                            header.size, size);
    }
    map->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (map->fd < 0) {
        pa_status status = pa_error_set_errno(error, "descriptor %d of the group", fd);
        pa_shm_layout_unmap(map);
        return status;
    }
    map->size = (int)header.size;
    map->yard_bytes = (size_t)header.yard_bytes;
    map_point(map, &at);
    return PA_OK;
}

void
pa_shm_layout_unmap(pa_shm_map *map)
{
    pa_segment_unmap(map->base, map->nbytes);
    if (map->base != NULL && map->fd >= 0) {
        (void)close(map->fd);
    }
    *map = (pa_shm_map){.fd = -1};
}

void
pa_shm_ring_bell(pa_shm_bell *bell)
{
    if (atomic_load(&bell->waiting) != 0) {
        (void)atomic_fetch_add(&bell->rings, 1);
        pa_futex_wake(&bell->rings);
    }
}

void
pa_shm_ring(pa_shm_map *map, int rank)
{
    pa_shm_ring_bell(&map->bells[rank]);
}

void
pa_shm_ring_all(pa_shm_map *map)
{
    for (int rank = 0; rank < map->size; rank++) {
        pa_shm_ring_bell(&map->bells[rank]);
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
