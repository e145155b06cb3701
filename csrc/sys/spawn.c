/* Starting programs: see the header.
 *
 * The new process shares the caller's memory until it executes the program, on a stack
 * of its own, while the calling thread is suspended (as in posix_spawn, which has no
 * place for the steps that are taken here). So it must not touch what the caller would
 * miss, and reports by writing to the plan. */
#include "sys/spawn.h"

#include "sys/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STACK_BYTES = 64 << 10,
    ENTRY_BYTES = 128,
    DIGITS = 20,      /* of any process id */
    NOT_STARTED = 127 /* nobody sees it: the end is waited for here */
};

/* What the caller and the new process share. */
typedef struct plan {
    const pa_spawn *spawn;
    char **environment;      /* with room for the entry at its end */
    size_t entries;          /* in it */
    char entry[ENTRY_BYTES]; /* composed by the new process, which knows its id */
    sigset_t mask;           /* the caller's */
    pid_t starter;
    int failed; /* errno of the step that failed; 0 if the program is executing */
} plan;

/* Writes `entry` with the id in the place of its '%'; it is known to fit. */
static void
compose(char *into, const char *entry, pid_t pid)
{
    char digits[DIGITS];
    size_t count = 0;
    for (; pid > 0 && count < DIGITS; pid /= 10) {
        digits[count++] = (char)('0' + pid % 10);
    }
    for (; *entry != '\0' && *entry != '%'; entry++) {
        *into++ = *entry;
    }
    while (count > 0) {
        *into++ = digits[--count];
    }
    if (*entry == '%') {
        entry++;
    }
    while (*entry != '\0') {
        *into++ = *entry++;
    }
    *into = '\0';
}

static bool
be_inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    return flags >= 0 && fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) == 0;
}

/* Has the closing of the pipe's other end kill the process group: that is an event on
 * this end, and events on it are sent, as SIGKILL, to the group. So it reaches children
 * too, which the parent-death signal does not. */
static void
hold_lifeline(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0 && fcntl(fd, F_SETOWN, -getpid()) == 0 &&
        fcntl(fd, F_SETSIG, SIGKILL) == 0 && fcntl(fd, F_SETFL, flags | O_ASYNC) == 0) {
        (void)be_inherited(fd);
    }
}

/* A group of its own; with a terminal a session, as only its leader can have one. */
static bool
lead(const pa_spawn *spawn)
{
    if (!spawn->terminal) {
        return setpgid(0, 0) == 0;
    }
    if (setsid() < 0) {
        return false;
    }
    for (int i = 0; i < 3; i++) {
        if (isatty(spawn->stdio[i])) {
            return ioctl(spawn->stdio[i], TIOCSCTTY, 0) == 0;
        }
    }
    return true;
}

/* Gives the signals back their default action, but for those that are ignored on the
 * caller's own starter's wish (nohup). */
static void
reset_signals(void)
{
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0) {
            continue;
        }
        /* Interpreters ignore the first two for themselves, job control the others. */
        bool for_itself = number == SIGPIPE || number == SIGXFSZ || number == SIGTTIN ||
                          number == SIGTTOU;
        if (action.sa_handler == SIG_DFL ||
            (action.sa_handler == SIG_IGN && !for_itself)) {
            continue;
        }
        memset(&action, 0, sizeof action);
        action.sa_handler = SIG_DFL;
        (void)sigaction(number, &action, NULL);
    }
}

static bool
become(plan *plan)
{
    const pa_spawn *spawn = plan->spawn;
    if (!lead(spawn)) {
        return false;
    }
    /* Some sandboxes refuse this, or the lifeline; either is enough for the process. */
    (void)pa_process_die_with_parent(SIGKILL, NULL);
    if (spawn->lifeline >= 0) {
        hold_lifeline(spawn->lifeline);
    }
    if (getppid() != plan->starter) { /* gone before the kernel was asked */
        return false;
    }
    for (int target = 0; target < 3; target++) {
        int fd = spawn->stdio[target];
        if (fd == target ? !be_inherited(fd) : dup2(fd, target) < 0) {
            return false;
        }
    }
    if (spawn->keep >= 0 && !be_inherited(spawn->keep)) {
        return false;
    }
    if (spawn->pid_entry != NULL) {
        compose(plan->entry, spawn->pid_entry, getpid());
        plan->environment[plan->entries] = plan->entry;
    }
    reset_signals();
    (void)sigprocmask(SIG_SETMASK, &plan->mask, NULL);
    (void)execve(spawn->arguments[0], spawn->arguments, plan->environment);
    return false;
}

static int
run(void *argument)
{
    plan *plan = argument;
    errno = 0;
    if (!become(plan)) {
        plan->failed = errno != 0 ? errno : ECANCELED;
    }
    _exit(NOT_STARTED);
}

/* Makes the process on a stack of its own, which it leaves by executing or ending. */
static pa_status
make(plan *plan, pid_t *pid, pa_error *error)
{
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        return pa_error_set(error, PA_EMEMORY, "no memory for a new process");
    }
    /* A handler of the caller's must not run in the new process. */
    sigset_t all;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &plan->mask);
    pid_t made =
        clone(run, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, plan);
    int reason = errno;
    (void)pthread_sigmask(SIG_SETMASK, &plan->mask, NULL);
    (void)munmap(stack, STACK_BYTES);
    if (made < 0) {
        errno = reason;
        return pa_error_set_errno(error, "making a process");
    }
    if (plan->failed != 0) {
        while (waitpid(made, NULL, 0) < 0 && errno == EINTR) {
        }
        errno = plan->failed;
        return pa_error_set_errno(error, "executing %s", plan->spawn->arguments[0]);
    }
    *pid = made;
    return PA_OK;
}

pa_status
pa_spawn_start(const pa_spawn *spawn, pid_t *pid, pa_error *error)
{
    plan plan = {.spawn = spawn, .starter = getpid()};
    if (spawn->pid_entry != NULL &&
        strlen(spawn->pid_entry) + DIGITS >= sizeof plan.entry) {
        return pa_error_set(error, PA_EARGUMENT, "the entry %s is too long",
                            spawn->pid_entry);
    }
    while (spawn->environment[plan.entries] != NULL) {
        plan.entries++;
    }
    size_t nbytes = (plan.entries + 2) * sizeof *plan.environment;
    plan.environment = malloc(nbytes);
    if (plan.environment == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for a process's variables");
    }
    memset(plan.environment, 0, nbytes);
    memcpy(plan.environment, spawn->environment,
           plan.entries * sizeof *plan.environment);
    pa_status status = make(&plan, pid, error);
    free(plan.environment);
    return status;
}
