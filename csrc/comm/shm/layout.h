/* The layout of a group's shared segment, and where each thing stands in it.
 *
 *   header       what this is, why the group is broken (if it is)
 *   members      a slot a rank: who it is, whether it left or ended, and how
 *   bells        a word a rank: the only thing that this rank ever sleeps on
 *   published    a word a rank: chunks that it has put into its ring, ever
 *   consumed     a word a (sender, reader): chunks that the reader has taken, ever
 *   lines        two banks of one line a rank: its card in even and in odd meetings
 *   places       a rank: where its call stands, once it has waited there for a while
 *   rings        a rank: ring_chunks chunks of chunk_bytes bytes
 *   lanes        a (sender, receiver): a page for what the one sends to the other
 *   -- so far the segment has memory and is mapped; what follows is a hole in it --
 *   yards        a (sender, receiver): yard_bytes bytes for larger rings of that lane
 *
 * Two banks suffice: a rank shows card k+1 only after it has seen all cards k, so when
 * anybody overwrites bank k with k+2, everybody has shown k+1 and is done with k. */
#ifndef PA_COMM_SHM_LAYOUT_H
#define PA_COMM_SHM_LAYOUT_H

#include "comm/comm.h"

#include <stdatomic.h>
#include <stdint.h>

#define PA_SHM_MAGIC UINT64_C(0x3130434C45434341)

enum {
    PA_SHM_VERSION = 4,
    PA_SHM_LINE = 64, /* a cache line: words of different writers stand apart */
    PA_SHM_CHUNK_BYTES = 128 << 10,
    PA_SHM_RING_CHUNKS = 8,
    PA_SHM_TEXT = PA_COMM_REASON,
    PA_SHM_SITE = 192,
    PA_SHM_PAGE = 4096,
};

/* A lane's larger rings: one of `c` bytes stands in the lane's yard from `c` to `2 *
 * c`, so that all powers of two find room beside each other. */
enum { PA_SHM_LEAST_YARD = 128 << 10, PA_SHM_YARD = 512 << 20 };

/* The state of pa_shm_header.broken. */
enum { PA_SHM_WHOLE, PA_SHM_BREAKING, PA_SHM_BROKEN };

typedef struct pa_shm_header {
    uint64_t magic;
    uint32_t version;
    uint32_t size;
    uint64_t nbytes;
    uint32_t chunk_bytes;
    uint32_t ring_chunks;
    uint64_t yard_bytes; /* a power of two; 0 where files cannot be that large */
    _Alignas(PA_SHM_LINE) _Atomic uint32_t broken;
    uint32_t broken_status; /* a pa_status; written before broken is PA_SHM_BROKEN */
    char broken_text[PA_SHM_TEXT];
} pa_shm_header;

/* The state of a member. One that is about to end has left; how it ended may follow. */
enum { PA_SHM_ABSENT, PA_SHM_PRESENT, PA_SHM_LEFT, PA_SHM_ENDING, PA_SHM_ENDED };

typedef struct pa_shm_member {
    _Alignas(PA_SHM_LINE) _Atomic uint32_t state;
    _Atomic uint32_t pid;
    _Atomic uint64_t shown[PA_SHOWN_COUNT]; /* see pa_comm_show */
    char text[216]; /* how it ended; written before state is PA_SHM_ENDED */
} pa_shm_member;

typedef struct pa_shm_bell {
    _Alignas(PA_SHM_LINE) _Atomic uint32_t rings;
    _Atomic uint32_t waiting; /* its rank sleeps, or is about to */
} pa_shm_bell;

typedef struct pa_shm_word {
    _Alignas(PA_SHM_LINE) _Atomic uint32_t value;
} pa_shm_word;

/* A card in shared memory. `round` is written last and makes the rest readable. */
typedef struct pa_shm_line {
    _Alignas(PA_SHM_LINE) _Atomic uint32_t round;
    _Atomic uint32_t op; /* read by others out of turn, when a wait fails */
    int32_t root;
    uint16_t failed;
    uint16_t placed;
    uint64_t fingerprint;
    uint64_t nbytes;
    uint64_t head;
    uint32_t count;
    uint32_t ninline;
    char inlined[PA_CARD_INLINE];
} pa_shm_line;

_Static_assert(sizeof(pa_shm_line) == 256, "a card is four cache lines");

/* Where a rank's call stands, such as "run.py:12". In atomic words, as others read it
 * when they like; what they read counts if `meeting` was the same before and after. */
typedef struct pa_shm_place {
    _Alignas(PA_SHM_LINE) _Atomic uint32_t meeting; /* the call's; 0: in writing */
    _Atomic uint32_t waits;                         /* it still waits there */
    _Atomic uint64_t site[PA_SHM_SITE / sizeof(uint64_t)];
} pa_shm_place;

/* What one rank sends to another (comm/channel.h): a ring of bytes in frames, and the
 * words of its two ends; see lane.c. */
typedef struct pa_shm_lane {
    _Alignas(PA_SHM_LINE) _Atomic uint64_t written; /* bytes put in, ever */
    _Alignas(PA_SHM_LINE) _Atomic uint64_t taken;   /* bytes taken out, ever */
    _Atomic uint32_t attending;                     /* the receiver takes what comes */
    pa_shm_bell receiver;
    pa_shm_bell sender;
    _Alignas(PA_SHM_LINE) _Atomic uint32_t refused; /* messages refused, ever */
    _Atomic uint32_t refusals_seen;                 /* by the sender */
    char refusal[312]; /* why; the receiver's while these two are equal */
    char ring[PA_SHM_PAGE - 9 * PA_SHM_LINE];
} pa_shm_lane;

_Static_assert(sizeof(pa_shm_lane) == PA_SHM_PAGE, "a lane is a page");

/* A mapped segment as pointers. */
typedef struct pa_shm_map {
    void *base;
    size_t nbytes;
    int fd; /* the segment's, a copy of its own */
    size_t yard_bytes;
    int size; /* ranks; that of the header is in the hands of every rank */
    pa_shm_header *header;
    pa_shm_member *members; /* [size] */
    pa_shm_bell *bells;     /* [size] */
    pa_shm_word *published; /* [size] */
    pa_shm_word *consumed;  /* [size][size], sender first */
    pa_shm_line *lines;     /* [2][size] */
    pa_shm_place *places;   /* [size] */
    char *rings;            /* [size][ring_chunks][chunk_bytes] */
    pa_shm_lane *lanes;     /* [size][size], sender first */
    size_t yards_at;        /* in the segment */
} pa_shm_map;

/* Bytes of a segment for `size` ranks: of all, of its part with memory, and of a yard,
 * which is cut so that all does not exceed `most`. PA_EARGUMENT if the size is not at
 * least 1 or the bytes do not fit one. */
pa_status
pa_shm_layout_size(int size, size_t most, size_t *nbytes, size_t *reserved,
                   size_t *yard_bytes, pa_error *error);

/* Maps the segment behind `fd` and checks that it is a group's segment for `size`
 * ranks (0: for any number). The result goes to pa_shm_layout_unmap. */
pa_status
pa_shm_layout_map(int fd, int size, pa_shm_map *map, pa_error *error);

/* Undoes pa_shm_layout_map; a zeroed map is fine. */
void
pa_shm_layout_unmap(pa_shm_map *map);

/* Lets `rank` look again if it sleeps. What it is to see was stored before, in
 * sequentially consistent order, and it says that it waits before it looks for the last
 * time: so one of the two sees the other. */
void
pa_shm_ring(pa_shm_map *map, int rank);

/* The same for who sleeps on this bell. */
void
pa_shm_ring_bell(pa_shm_bell *bell);

/* The same for every rank; who sleeps at the end of a lane looks up by itself. */
void
pa_shm_ring_all(pa_shm_map *map);

/* Breaks the group with a status and a text; false if it was broken already. */
bool
pa_shm_break(pa_shm_map *map, pa_status status, const char *text);

/* Copies the text that broke the group, and gives its status. Another process wrote
 * both: what cannot be is cut, or PA_EBROKEN. */
pa_status
pa_shm_broken_by(const pa_shm_map *map, char *text, size_t capacity);

#endif
