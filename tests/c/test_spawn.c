/* csrc/sys/spawn: what a started program is given, and what is left of one that is not.
 */
#include "testing.h"

#include "sys/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAID = 256, PATIENCE_MS = 30000 };

static char *const nothing[] = {NULL};

/* Starts a shell that does what `text` says, with `spawn`'s other wishes, and waits for
 * its end; what it wrote to its descriptor 1 is in `said`.
 * `*status` is as waitpid has it. */
static void
run_shell(pa_spawn spawn, char *text, char said[SAID], int *status)
{
    char *const arguments[] = {"/bin/sh", "-c", text, NULL};
    int ends[2];
    CHECK_EQUAL(pipe2(ends, O_CLOEXEC), 0);
    spawn.arguments = arguments;
    spawn.environment = spawn.environment != NULL ? spawn.environment : nothing;
    spawn.stdio[1] = ends[1];
    spawn.stdio[2] = 2;
    pa_error error = PA_ERROR_INIT;
    pid_t pid = -1;
    CHECK_EQUAL(pa_spawn_start(&spawn, &pid, &error), PA_OK);
    (void)close(ends[1]);
    size_t length = 0;
    ssize_t count;
    while ((count = read(ends[0], said + length, SAID - 1 - length)) > 0) {
        length += (size_t)count;
    }
    said[length] = '\0';
    (void)close(ends[0]);
    CHECK_EQUAL(waitpid(pid, status, 0), pid);
}

static void
program_knows_its_own_id_and_leads_a_group(void)
{
    char *const environment[] = {"A=1", NULL};
    pa_spawn spawn = {.environment = environment,
                      .pid_entry = "WHO=<%:%>",
                      .keep = -1,
                      .lifeline = -1};
    char said[SAID];
    char expected[SAID];
    int status = -1;
    run_shell(spawn, "echo $A $WHO; read -r id rest </proc/$$/stat; echo $id", said,
              &status);
    CHECK_EQUAL(status, 0);
    int id = 0;
    CHECK_EQUAL(sscanf(said, "1 <%d:", &id), 1);
    (void)snprintf(expected, sizeof expected, "1 <%d:%%>\n%d\n", id, id);
    CHECK_TEXT(said, expected);
}

static void
ignored(int number)
{
    (void)number;
}

static void
signals_are_as_a_program_expects_them(void)
{
    struct sigaction handled = {.sa_handler = ignored};
    struct sigaction before;
    CHECK_EQUAL(sigaction(SIGTERM, &handled, &before), 0);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    pa_spawn spawn = {.keep = -1, .lifeline = -1};
    char said[SAID];
    /* Ignored ones stay so, as HUP is under nohup, but for those of interpreters. */
    int status = -1;
    run_shell(spawn, "kill -HUP $$; kill -PIPE $$; echo here", said, &status);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
    run_shell(spawn, "kill -HUP $$; kill -TERM $$; echo here", said, &status);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGHUP, SIG_DFL);
    CHECK_EQUAL(sigaction(SIGTERM, &before, NULL), 0);
}

static void
only_what_is_kept_is_inherited(void)
{
    int kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pa_spawn spawn = {.keep = kept, .lifeline = -1};
    char text[SAID];
    char said[SAID];
    (void)snprintf(
        text, sizeof text,
        "[ -e /proc/$$/fd/%d ] && echo kept; [ -e /proc/$$/fd/%d ] || echo no", kept,
        other);
    int status = -1;
    run_shell(spawn, text, said, &status);
    CHECK_EQUAL(status, 0);
    CHECK_TEXT(said, "kept\nno\n");
    (void)close(kept);
    (void)close(other);
}

static void
closing_the_lifeline_kills_the_children_too(void)
{
    int lifeline[2];
    int out[2];
    CHECK_EQUAL(pipe2(lifeline, O_CLOEXEC), 0);
    CHECK_EQUAL(pipe2(out, O_CLOEXEC), 0);
    char *const arguments[] = {"/bin/sh", "-c",
                               "(echo child; read -r never) ; :", NULL};
    int quiet[2];
    CHECK_EQUAL(pipe2(quiet, O_CLOEXEC), 0);
    pa_spawn spawn = {.arguments = arguments,
                      .environment = nothing,
                      .stdio = {quiet[0], out[1], 2},
                      .keep = -1,
                      .lifeline = lifeline[0]};
    pid_t pid = -1;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_spawn_start(&spawn, &pid, &error), PA_OK);
    (void)close(out[1]);
    char said[SAID];
    CHECK(read(out[0], said, sizeof said) > 0);
    (void)close(lifeline[1]);
    /* Nobody holds the other end any more: the child is gone as well. */
    struct pollfd watched = {.fd = out[0], .events = POLLIN};
    CHECK_EQUAL(poll(&watched, 1, PATIENCE_MS), 1);
    CHECK_EQUAL(read(out[0], said, sizeof said), 0);
    int status = 0;
    CHECK_EQUAL(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    (void)close(lifeline[0]);
    (void)close(out[0]);
    (void)close(quiet[0]);
    (void)close(quiet[1]);
}

static void
what_cannot_be_executed_leaves_nothing(void)
{
    char *const arguments[] = {"/nowhere/program", NULL};
    pa_spawn spawn = {.arguments = arguments,
                      .environment = nothing,
                      .stdio = {0, 1, 2},
                      .keep = -1,
                      .lifeline = -1};
    pid_t pid = -1;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_spawn_start(&spawn, &pid, &error), PA_ESYSTEM);
    CHECK_EQUAL(error.sys_errno, ENOENT);
    CHECK(strstr(error.message, "/nowhere/program") != NULL);
    CHECK_EQUAL(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQUAL(errno, ECHILD);

    char entry[SAID];
    memset(entry, 'x', sizeof entry - 1);
    entry[sizeof entry - 1] = '\0';
    spawn.pid_entry = entry;
    CHECK_EQUAL(pa_spawn_start(&spawn, &pid, &error), PA_EARGUMENT);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(program_knows_its_own_id_and_leads_a_group),
        TESTING(signals_are_as_a_program_expects_them),
        TESTING(only_what_is_kept_is_inherited),
        TESTING(closing_the_lifeline_kills_the_children_too),
        TESTING(what_cannot_be_executed_leaves_nothing),
    };
    return TESTING_RUN(cases);
}
