/* Shared memory without a name: a sealed memfd. Nothing is left behind when every
 * process that holds the descriptor has ended, however it ended. */
#ifndef PA_SYS_SEGMENT_H
#define PA_SYS_SEGMENT_H

#include "base/status.h"

#include <stddef.h>

/* Creates a segment of `nbytes` zero bytes (more than 0) and reserves its memory, so
 * that a shortage is an error here and not a bus error later; then seals its size.
 * `*fd` is close-on-exec and the caller's to close.
 * PA_ESYSTEM: no memory, no descriptor, or memfd_create is refused. */
pa_status
pa_segment_create(size_t nbytes, int *fd, pa_error *error);

/* As pa_segment_create, with the memory of the first `reserved` bytes (more than 0)
 * reserved and the others a hole, which costs nothing until pa_segment_reserve. */
pa_status
pa_segment_create_sparse(size_t reserved, size_t nbytes, int *fd, pa_error *error);

/* Reserves the memory of a part of a hole, as pa_segment_create does; PA_ESYSTEM: there
 * is none. Whoever has the descriptor may do so. */
pa_status
pa_segment_reserve(int fd, size_t start, size_t nbytes, pa_error *error);

/* Makes whole pages a hole again; what was in them is lost. */
void
pa_segment_drop(int fd, size_t start, size_t nbytes);

/* Maps `nbytes` bytes (more than 0) from `start` on, which is a multiple of a page.
 * `*base` goes to pa_segment_unmap. PA_EARGUMENT: `fd` is not a sealed segment, or a
 * shorter one. */
pa_status
pa_segment_map_part(int fd, size_t start, size_t nbytes, void **base, pa_error *error);

/* Maps the whole segment behind `fd`, which stays the caller's. `*base` and `*nbytes`
 * go to pa_segment_unmap. PA_EARGUMENT: `fd` is not a sealed segment. */
pa_status
pa_segment_map(int fd, void **base, size_t *nbytes, pa_error *error);

/* Undoes pa_segment_map; NULL is fine. */
void
pa_segment_unmap(void *base, size_t nbytes);

#endif
