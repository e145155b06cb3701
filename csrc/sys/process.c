/* Processes: see the header. */
#include "sys/process.h"

#include <poll.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

struct pa_fork_mark {
    pid_t owner; /* reads 0 in a child where the kernel wipes the page */
    bool wiped;  /* whether the kernel does */
};

bool
pa_process_ended(int pidfd)
{
    if (pidfd < 0) {
        return false;
    }
    struct pollfd watched = {.fd = pidfd, .events = POLLIN};
    return poll(&watched, 1, 0) > 0 && (watched.revents & (POLLIN | POLLHUP)) != 0;
}

pa_status
pa_process_die_with_parent(int signal, pa_error *error)
{
    if (prctl(PR_SET_PDEATHSIG, (unsigned long)signal, 0UL, 0UL, 0UL) != 0) {
        return pa_error_set_errno(error, "parent-death signal %d", signal);
    }
    return PA_OK;
}

pa_fork_mark *
pa_fork_mark_create(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    pa_fork_mark *mark =
        mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mark == MAP_FAILED) {
        return NULL;
    }
    mark->wiped = madvise(mark, page, MADV_WIPEONFORK) == 0;
    mark->owner = getpid();
    return mark;
}

void
pa_fork_mark_destroy(pa_fork_mark *mark)
{
    if (mark != NULL) {
        (void)munmap(mark, (size_t)sysconf(_SC_PAGESIZE));
    }
}

bool
pa_fork_mark_forked(const pa_fork_mark *mark)
{
    /* Where the page is not wiped `wiped` stays false and the pid decides. */
    return mark->owner == 0 || (!mark->wiped && mark->owner != getpid());
}
