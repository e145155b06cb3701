/* The backend for ranks of one host: shared memory, no system call unless a rank has
 * to sleep. */
#ifndef PA_COMM_SHM_SHM_H
#define PA_COMM_SHM_SHM_H

#include "comm/comm.h"

struct pa_shm_map;

/* Creates the segment of a group of `size` ranks. `*fd` is close-on-exec and the
 * caller's; ranks attach to it or to a copy of it. */
pa_status
pa_shm_create(int size, int *fd, pa_error *error);

/* Makes this process rank `rank` of the group behind `fd`, which stays the caller's.
 * Waits for nobody. `pidfds[size]` (NULL: none) has a pidfd of each peer, or -1; they
 * are duplicated. `*comm` goes to pa_comm_destroy.
 * PA_EARGUMENT: not a segment, another size, a rank out of range or taken. */
pa_status
pa_shm_attach(int fd, int rank, int size, const int *pidfds, pa_comm **comm,
              pa_error *error);

/* As pa_shm_attach, over a mapping of the caller's that outlives the communicator: for
 * ranks that are threads of one process, as in tests under the thread sanitizer, which
 * sees a race only where both sides use one address. */
pa_status
pa_shm_attach_mapped(const struct pa_shm_map *map, int rank, const int *pidfds,
                     pa_comm **comm, pa_error *error);

/* The owner's view of a group that it started but is no rank of. */
typedef struct pa_shm_owner pa_shm_owner;

/* Opens the owner's view of the segment behind `fd`, which stays the caller's. */
pa_status
pa_shm_owner_open(int fd, pa_shm_owner **owner, pa_error *error);

/* Closes the view; NULL is fine. */
void
pa_shm_owner_close(pa_shm_owner *owner);

/* Says that rank `rank` has ended, with a text that names how. Whoever waits for it
 * fails with that text at once; a rank that left the group before is not missed. */
pa_status
pa_shm_owner_mark_ended(pa_shm_owner *owner, int rank, const char *text,
                        pa_error *error);

#endif
