/* Starts a program that leads a process group of its own and dies with its starter. */
#ifndef PA_SYS_SPAWN_H
#define PA_SYS_SPAWN_H

#include "base/status.h"

#include <stdbool.h>
#include <sys/types.h>

/* What to start, and with what. All of it is borrowed for the call. */
typedef struct pa_spawn {
    char *const *arguments; /* arguments[0] is the path of the program; ends in NULL */
    char *const *environment; /* NAME=VALUE entries; ends in NULL */
    const char *pid_entry;    /* (optional) one more entry, whose first '%' becomes the
                                 process's own id */
    int stdio[3];  /* its descriptors 0, 1 and 2: each above 2, or in place */
    int keep;      /* a descriptor that it inherits as it is, or -1 */
    int lifeline;  /* the reading end of a pipe: when its other end is closed,
                      the kernel kills the process group; inherited; or -1 */
    bool terminal; /* stdio[0], [1] or [2] is a terminal: the first becomes the
                      controlling one of a session that the process leads */
} pa_spawn;

/* Starts the program and waits until it is executing; `*pid` is also the number of its
 * process group, whose only processes are this one and its descendants. Signals that
 * the caller handles have their default action in it, and so have PIPE, XFSZ, TTIN and
 * TTOU; its signal mask is the caller's. It is killed when the calling thread ends.
 *
 * The memory of the caller is not copied, so the size of the caller does not matter.
 *
 * PA_EARGUMENT: pid_entry is too long. PA_ESYSTEM: no process could be made, or the
 * program could not be executed; then nothing is left of it. PA_EMEMORY. */
pa_status
pa_spawn_start(const pa_spawn *spawn, pid_t *pid, pa_error *error);

#endif
