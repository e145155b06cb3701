/* Processes: who has ended, who forked, who dies with whom. */
#ifndef PA_SYS_PROCESS_H
#define PA_SYS_PROCESS_H

#include "base/status.h"

#include <stdbool.h>

/* Whether the process behind a pidfd has ended. A negative descriptor stands for a
 * process that cannot be watched: false. Does not wait. */
bool
pa_process_ended(int pidfd);

/* Asks the kernel to send `signal` (0: none) to the calling process when the thread
 * that made it ends. The caller checks afterwards that its parent is still there. */
pa_status
pa_process_die_with_parent(int signal, pa_error *error);

/* A mark that only the process which made it can read as set: the kernel wipes it in
 * a child of fork. Testing it costs a load, where getpid costs a system call. */
typedef struct pa_fork_mark pa_fork_mark;

/* Makes a mark; NULL when memory is short. Goes to pa_fork_mark_destroy. */
pa_fork_mark *
pa_fork_mark_create(void);

/* Frees the mark, in any process; NULL is fine. */
void
pa_fork_mark_destroy(pa_fork_mark *mark);

/* Whether the calling process is a child that was forked after the mark was made. */
bool
pa_fork_mark_forked(const pa_fork_mark *mark);

#endif
