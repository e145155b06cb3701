/* csrc/sys/arena: memory that one process writes and others lease. */
#include "testing.h"

#include "sys/arena.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NBYTES = 200000 };

static pa_arena *
filled(char mark)
{
    pa_arena *arena = NULL;
    if (pa_arena_create(NBYTES, &arena, NULL) != PA_OK) {
        abort();
    }
    memset(pa_arena_data(arena), mark, NBYTES);
    return arena;
}

static pa_lease *
leased(const pa_arena *arena)
{
    pa_lease *lease = NULL;
    pa_arena_address address = pa_arena_locate(arena);
    if (pa_lease_open(&address, NBYTES, &lease, NULL) != PA_OK) {
        abort();
    }
    return lease;
}

static void
the_last_holder_gives_it_back(void)
{
    pa_arena *arena = filled('a');
    CHECK(pa_arena_nbytes(arena) >= NBYTES);
    CHECK(!pa_arena_leased(arena));
    pa_lease *first = leased(arena);
    pa_lease *second = leased(arena);
    CHECK_EQUAL(pa_lease_data(second)[NBYTES - 1], 'a');
    CHECK(pa_lease_hold(first) == first);
    pa_lease_release(first);
    pa_lease_release(second);
    CHECK(pa_arena_leased(arena));
    CHECK_EQUAL(pa_lease_data(first)[0], 'a');
    pa_lease_release(first);
    CHECK(!pa_arena_leased(arena));
    pa_lease_release(NULL);
    pa_arena_destroy(arena);
    pa_arena_destroy(NULL);
}

static void
a_lease_outlives_its_arena_and_cannot_be_written(void)
{
    pa_arena *arena = filled('b');
    pa_lease *lease = leased(arena);
    pa_arena_destroy(arena);
    const char *data = pa_lease_data(lease);
    CHECK_EQUAL(data[NBYTES / 2], 'b');
    void *page = (void *)(uintptr_t)data;
    CHECK_EQUAL(mprotect(page, NBYTES, PROT_READ | PROT_WRITE), -1);
    CHECK_EQUAL(errno, EACCES);
    pa_lease_release(lease);
}

static void
others_write_what_the_writer_asks_for(void)
{
    pa_error error = PA_ERROR_INIT;
    pa_arena *arena = filled('w');
    pa_arena_address address = pa_arena_locate(arena);
    const pa_arena_piece pieces[] = {
        {"abc", 3, 0}, {NULL, 0, 7}, {"de", 2, NBYTES - 2}};
    CHECK_EQUAL(pa_arena_write(&address, NBYTES, pieces, 3, &error), PA_OK);
    const char *data = pa_arena_data(arena);
    CHECK(memcmp(data, "abcw", 4) == 0);
    CHECK(memcmp(data + NBYTES - 3, "wde", 3) == 0);
    CHECK(!pa_arena_leased(arena));
    /* Its size is sealed: nothing is written beyond it. */
    const pa_arena_piece beyond = {"x", 1, pa_arena_nbytes(arena)};
    CHECK_EQUAL(pa_arena_write(&address, NBYTES, &beyond, 1, &error), PA_ESYSTEM);
    address.inode++;
    CHECK_EQUAL(pa_arena_write(&address, NBYTES, pieces, 3, &error), PA_EARGUMENT);
    pa_arena_destroy(arena);
}

/* A child that holds what it was forked with until it is killed. */
static pid_t
fork_holder(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            (void)pause();
        }
    }
    return child;
}

static void
a_forked_child_holds_the_lease_too(void)
{
    pa_arena *arena = filled('c');
    pa_lease *lease = leased(arena);
    pid_t child = fork_holder();
    CHECK(child > 0);
    pa_lease_release(lease);
    CHECK(pa_arena_leased(arena));
    CHECK_EQUAL(kill(child, SIGKILL), 0);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
    CHECK(!pa_arena_leased(arena));
    pa_arena_destroy(arena);
}

static int
open_files(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder != NULL && readdir(folder) != NULL) {
        count++;
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return count;
}

static void
nothing_else_is_opened(void)
{
    pa_error error = PA_ERROR_INIT;
    pa_arena *arena = filled('d');
    pa_arena_address right = pa_arena_locate(arena);
    pa_lease *lease = NULL;
    int before = open_files();
    pa_arena_address wrong = right;
    wrong.inode++;
    CHECK_EQUAL(pa_lease_open(&wrong, NBYTES, &lease, &error), PA_EARGUMENT);
    wrong = right;
    wrong.fd = 0;
    CHECK_EQUAL(pa_lease_open(&wrong, NBYTES, &lease, &error), PA_EARGUMENT);
    wrong.fd = 1 << 20;
    CHECK_EQUAL(pa_lease_open(&wrong, NBYTES, &lease, &error), PA_ESYSTEM);
    wrong = right;
    wrong.pid = -1;
    CHECK_EQUAL(pa_lease_open(&wrong, NBYTES, &lease, &error), PA_ESYSTEM);
    CHECK_EQUAL(pa_lease_open(&right, (size_t)NBYTES * 1000, &lease, &error),
                PA_EARGUMENT);
    CHECK(lease == NULL);
    CHECK(!pa_arena_leased(arena));
    CHECK_EQUAL(open_files(), before);
    pa_arena_destroy(arena);
    CHECK_EQUAL(pa_arena_create(0, &arena, &error), PA_EARGUMENT);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(the_last_holder_gives_it_back),
        TESTING(a_lease_outlives_its_arena_and_cannot_be_written),
        TESTING(others_write_what_the_writer_asks_for),
        TESTING(a_forked_child_holds_the_lease_too),
        TESTING(nothing_else_is_opened),
    };
    return TESTING_RUN(cases);
}
