/* Memory that one process writes and others read where it stands.
 *
 * An arena is a sealed memory file of the writer's. A reader opens it through the
 * writer's descriptor in /proc, for reading only, takes a shared lock on what it
 * opened, maps that and closes it: from then on the mapping is the lease. The kernel
 * keeps the lock for as long as anything maps the file through that opening, in the
 * reader or in a child that it forked, and drops it when the last mapping goes, whether
 * it was unmapped or its process was killed. So the writer asks the kernel whether an
 * arena is leased; nobody counts, and a reader's end costs nothing. The memory itself
 * lives as long as anybody maps it, also after the writer's end. */
#ifndef PA_SYS_ARENA_H
#define PA_SYS_ARENA_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pa_arena pa_arena;

/* Where an arena is found by another process of this host, and how it is recognised. */
typedef struct pa_arena_address {
    int32_t pid;
    int32_t fd;
    uint64_t device; /* these two are of the file: nothing else is ever opened */
    uint64_t inode;
} pa_arena_address;

/* Creates an arena of `nbytes` bytes (more than 0) for this process to write to. It
 * goes to pa_arena_destroy. As pa_segment_create. */
pa_status
pa_arena_create(size_t nbytes, pa_arena **arena, pa_error *error);

/* Gives the writer's side up: the memory itself goes when the last lease does. NULL is
 * fine. */
void
pa_arena_destroy(pa_arena *arena);

/* The writer's memory, and its bytes. */
char *
pa_arena_data(const pa_arena *arena);
size_t
pa_arena_nbytes(const pa_arena *arena);

/* Whether anybody may still read it: leases are out, or the kernel does not say. */
bool
pa_arena_leased(const pa_arena *arena);

/* Where others find the arena while it is there. Waits for nothing. */
pa_arena_address
pa_arena_locate(const pa_arena *arena);

/* A piece of memory, and where in an arena it belongs. */
typedef struct pa_arena_piece {
    const char *data;
    size_t nbytes;
    size_t start;
} pa_arena_piece;

/* Writes pieces to the first `nbytes` bytes of the arena at `address`, as the writer
 * has asked this process to. PA_ESYSTEM, PA_EARGUMENT as pa_lease_open. */
pa_status
pa_arena_write(const pa_arena_address *address, size_t nbytes,
               const pa_arena_piece *pieces, size_t count, pa_error *error);

/* A reader's mapping of an arena, shared by those who hold it. */
typedef struct pa_lease pa_lease;

/* Maps the first `nbytes` bytes (more than 0) of the arena at `address` for reading.
 * The writer keeps the arena and does not write to it until this returned. The caller
 * holds `*lease` until pa_lease_release. PA_ESYSTEM: it cannot be opened, mapped or
 * locked from here. PA_EARGUMENT: what stands there is another file, or too short. */
pa_status
pa_lease_open(const pa_arena_address *address, size_t nbytes, pa_lease **lease,
              pa_error *error);

/* One more holder. */
pa_lease *
pa_lease_hold(pa_lease *lease);

/* One holder less, on any thread; the last one gives the arena back. NULL is fine. */
void
pa_lease_release(pa_lease *lease);

/* The memory, which cannot be written to. */
const char *
pa_lease_data(const pa_lease *lease);

#endif
