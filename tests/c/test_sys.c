/* csrc/sys: segments, the pool, copies, usable CPUs, marks that a fork wipes. */
#include "testing.h"

#include "base/clock.h"
#include "sys/copy.h"
#include "sys/cpus.h"
#include "sys/futex.h"
#include "sys/library.h"
#include "sys/memory.h"
#include "sys/pool.h"
#include "sys/process.h"
#include "sys/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void
segments_are_sealed_and_shared(void)
{
    int fd = -1;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_segment_create(100000, &fd, &error), PA_OK);
    CHECK(ftruncate(fd, 10) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    void *one = NULL;
    void *two = NULL;
    size_t nbytes = 0;
    CHECK_EQUAL(pa_segment_map(fd, &one, &nbytes, &error), PA_OK);
    CHECK_EQUAL(pa_segment_map(fd, &two, &nbytes, &error), PA_OK);
    CHECK_EQUAL(nbytes, 100000);
    ((char *)one)[99999] = 7;
    CHECK_EQUAL(((char *)two)[99999], 7);
    pa_segment_unmap(one, nbytes);
    pa_segment_unmap(two, nbytes);
    pa_segment_unmap(NULL, 0);
    (void)close(fd);
}

static void
what_is_no_segment_is_refused(void)
{
    void *base = NULL;
    size_t nbytes = 0;
    int fd = -1;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_segment_create(0, &fd, &error), PA_EARGUMENT);
    CHECK_EQUAL(pa_segment_map(-1, &base, &nbytes, &error), PA_ESYSTEM);
    int plain = memfd_create("plain", MFD_CLOEXEC);
    CHECK(ftruncate(plain, 4096) == 0);
    CHECK_EQUAL(pa_segment_map(plain, &base, &nbytes, &error), PA_EARGUMENT);
    (void)close(plain);
}

/* The limit on file sizes stands for a shortage. A real one must never be asked for:
 * the kernel reserves page by page, and ends other processes before it gives up. */
static void
a_segment_that_the_system_refuses_is_an_error(void)
{
    pid_t child = fork();
    if (child == 0) {
        pa_error error = PA_ERROR_INIT;
        int fd = -1;
        struct rlimit limit = {.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
        bool ready =
            signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &limit) == 0;
        pa_status status =
            ready ? pa_segment_create((size_t)2 << 20, &fd, &error) : PA_OK;
        bool right = status == PA_ESYSTEM && error.sys_errno == EFBIG && fd == -1 &&
                     strstr(error.message, "2097152 bytes") != NULL;
        _exit(right ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
}

static void
the_pool_recycles_large_blocks(void)
{
    pa_pool *pool = pa_pool_create((size_t)8 << 20);
    pa_block *large = pa_pool_take(pool, PA_POOL_HUGE, 100);
    pa_block *small = pa_pool_take(pool, 10, 100);
    CHECK(large != NULL && small != NULL);
    CHECK_EQUAL((uintptr_t)large->data % (2u << 20), 0);
    CHECK_EQUAL((uintptr_t)small->data % 64, 0);
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 2);
    memset(small->prefix, 1, 100);
    memset(small->data, 2, 10);
    memset(large->data, 3, PA_POOL_HUGE);
    char *before = large->data;
    pa_block_release(small);
    pa_block_release(large);
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 0);
    CHECK_EQUAL(pa_pool_get_stats(pool).kept_blocks, 1);
    pa_block *again = pa_pool_take(pool, PA_POOL_HUGE + 5, 0);
    CHECK(again->data == before);
    pa_block *huge = pa_pool_take(pool, (size_t)16 << 20, 4096);
    pa_block_release(huge); /* more than the pool keeps */
    CHECK_EQUAL(pa_pool_get_stats(pool).kept_blocks, 0);
    pa_pool_destroy(pool); /* a block outlives its pool's handle */
    again->data[0] = 1;
    pa_block_release(again);
    pa_block_release(NULL);
    pa_pool_destroy(NULL);
}

static void
the_pool_recycles_blocks_without_huge_pages(void)
{
    pa_pool *pool = pa_pool_create((size_t)8 << 20);
    pa_block *block = pa_pool_take(pool, PA_POOL_LARGE, 0);
    CHECK_EQUAL(block->capacity, PA_POOL_LARGE);
    memset(block->data, 1, PA_POOL_LARGE);
    char *before = block->data;
    pa_block_release(block);
    CHECK_EQUAL(pa_pool_get_stats(pool).kept_bytes, PA_POOL_LARGE);
    block = pa_pool_take(pool, PA_POOL_LARGE - 1, 0); /* malloc's */
    CHECK_EQUAL(pa_pool_get_stats(pool).kept_blocks, 1);
    pa_block_release(block);
    block = pa_pool_take(pool, PA_POOL_LARGE, 0);
    CHECK(block->data == before);
    pa_block_release(block);
    pa_pool_destroy(pool);
}

static void
the_pool_says_when_memory_is_short(void)
{
    pa_pool *pool = pa_pool_create(0);
    CHECK(pa_pool_take(pool, SIZE_MAX, 0) == NULL);
    CHECK(pa_pool_take(pool, SIZE_MAX - 100, 0) == NULL);
    CHECK(pa_pool_take(pool, 10, SIZE_MAX) == NULL);
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 0);
    pa_pool_destroy(pool);
}

static void
copies_are_right_at_any_alignment(void)
{
    size_t room = (size_t)1 << 18;
    char *from = malloc(room);
    char *to = malloc(room);
    for (size_t i = 0; i < room; i++) {
        from[i] = (char)(i * 31 + 7);
    }
    pa_copier copier = {0};
    for (size_t round = 0; round < (size_t)6 * PA_COPY_TRIALS; round++) {
        size_t shift = round % 67;
        size_t nbytes = room - 200 - round;
        memset(to, 0, room);
        pa_copier_copy(&copier, to + shift, from + 1, nbytes, true);
        CHECK_EQUAL(memcmp(to + shift, from + 1, nbytes), 0);
        CHECK_EQUAL(to[shift + nbytes], 0);
    }
    CHECK(!pa_copier_can_stream() || copier.trials == 2 * PA_COPY_TRIALS);
    free(from);
    free(to);
}

static void
there_is_a_cpu_to_use(void)
{
    double cpus = pa_cpus_usable();
    CHECK(cpus > 0.0);
    CHECK(cpus <= (double)sysconf(_SC_NPROCESSORS_CONF));
}

static void
a_fork_wipes_the_mark(void)
{
    pa_fork_mark *mark = pa_fork_mark_create();
    CHECK(!pa_fork_mark_forked(mark));
    pid_t child = fork();
    if (child == 0) {
        _exit(pa_fork_mark_forked(mark) ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
    CHECK(!pa_fork_mark_forked(mark));
    pa_fork_mark_destroy(mark);
    pa_fork_mark_destroy(NULL);
}

static void
an_ended_process_is_seen(void)
{
    int gate[2];
    CHECK(pipe(gate) == 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        (void)close(gate[1]);
        _exit(read(gate[0], &byte, 1) == 0 ? 0 : 1);
    }
    (void)close(gate[0]);
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    /* Old kernels and valgrind have none: nobody can be watched then. */
    bool watched = pidfd >= 0 || errno != ENOSYS;
    CHECK(pidfd >= 0 || !watched);
    CHECK(!pa_process_ended(pidfd));
    CHECK(!pa_process_ended(-1));
    (void)close(gate[1]);
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(pa_process_ended(pidfd) == watched);
    if (watched) {
        (void)close(pidfd);
    }
}

static void
a_futex_wait_ends_at_its_timeout(void)
{
    _Atomic uint32_t word = 5;
    uint64_t before = pa_clock_now();
    pa_futex_wait(&word, 4, UINT64_C(10000000000)); /* another value: at once */
    CHECK(pa_clock_now() - before < UINT64_C(5000000000));
    pa_futex_wait(&word, 5, 1000000);
    CHECK(pa_clock_now() - before >= 1000000);
    pa_futex_wake(&word);
}

static void
only_mapped_libraries_are_found(void)
{
    CHECK(pa_library_find("libnobody-has-this", 0) == NULL);
    CHECK(pa_library_find("libc.so", 1) == NULL);
    void *libc = pa_library_find("libc.so", 0);
    CHECK(libc != NULL);
    CHECK(pa_library_symbol(libc, "getpid") != NULL);
    CHECK(pa_library_symbol(libc, "no_such_function") == NULL);
    pa_library_close(libc);
    pa_library_close(NULL);
}

static void
more_memory_than_there_is_is_refused(void)
{
    int fd = -1;
    pa_error error = PA_ERROR_INIT;
    double available = pa_memory_available();
    CHECK(available > 0.0);
    CHECK_EQUAL(pa_segment_create((size_t)1 << 60, &fd, &error), PA_ESYSTEM);
    CHECK_EQUAL(error.sys_errno, ENOMEM);
    CHECK(strstr(error.message, "1152921504606846976 bytes, where") != NULL);
    CHECK_EQUAL(fd, -1);
}

/* Files that stand for a control group's; `limit`, `used`, `stat` are whole files. */
typedef struct planted {
    char folder[64];
    const char *names[3];
} planted;

static bool
planted_make(planted *group, const char *const names[3], const char *limit,
             const char *used, const char *stat)
{
    const char *texts[3] = {limit, used, stat};
    (void)snprintf(group->folder, sizeof group->folder, "/tmp/pyaccel-test-XXXXXX");
    bool made = mkdtemp(group->folder) != NULL;
    for (int i = 0; i < 3 && made; i++) {
        char path[128];
        group->names[i] = names[i];
        (void)snprintf(path, sizeof path, "%s/%s", group->folder, names[i]);
        FILE *file = fopen(path, "we");
        made = file != NULL && fputs(texts[i], file) >= 0;
        made = file != NULL && fclose(file) == 0 && made;
    }
    return made;
}

static void
planted_remove(const planted *group)
{
    for (int i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", group->folder, group->names[i]);
        (void)unlink(path);
    }
    (void)rmdir(group->folder);
}

static double
left_v2(const char *limit, const char *used, const char *stat)
{
    static const char *const names[3] = {"memory.max", "memory.current", "memory.stat"};
    planted group = {0};
    bool made = planted_make(&group, names, limit, used, stat);
    double left = made ? pa_memory_left_v2(group.folder) : -1.0;
    planted_remove(&group);
    return left;
}

static double
left_v1(const char *limit, const char *used, const char *stat)
{
    static const char *const names[3] = {"memory.limit_in_bytes",
                                         "memory.usage_in_bytes", "memory.stat"};
    planted group = {0};
    bool made = planted_make(&group, names, limit, used, stat);
    double left = made ? pa_memory_left_v1(group.folder) : -1.0;
    planted_remove(&group);
    return left;
}

static void
cached_files_do_not_fill_a_group(void)
{
    const char *cache = "anon 50\nfile 950\ninactive_file 600\nactive_file 350\n";
    CHECK_EQUAL(left_v2("1000\n", "1000\n", cache), 950);
    CHECK_EQUAL(left_v2("1000\n", "900\n", cache), 1000); /* read a moment later */
    /* Version 1 names the group's own pages first, then those of all below it. */
    cache = "inactive_file 1\nactive_file 2\n"
            "total_inactive_file 600\ntotal_active_file 350\n";
    CHECK_EQUAL(left_v1("1000\n", "1000\n", cache), 950);
}

static void
other_memory_fills_a_group(void)
{
    CHECK_EQUAL(left_v2("1000\n", "1000\n", "anon 1000\ninactive_file 0\n"), 1);
    CHECK_EQUAL(left_v2("1000\n", "400\n", "anon 400\n"), 600);
    CHECK_EQUAL(left_v1("1000\n", "1000\n", "total_rss 1000\n"), 1);
    CHECK_EQUAL(left_v1("1000\n", "400\n", ""), 600);
}

static void
a_group_without_a_limit_has_none(void)
{
    CHECK_EQUAL(left_v2("max\n", "1000\n", "active_file 5\n"), 0);
    CHECK_EQUAL(pa_memory_left_v2("/nowhere"), 0);
    CHECK_EQUAL(pa_memory_left_v1("/nowhere"), 0);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(segments_are_sealed_and_shared),
        TESTING(what_is_no_segment_is_refused),
        TESTING(a_segment_that_the_system_refuses_is_an_error),
        TESTING(the_pool_recycles_large_blocks),
        TESTING(the_pool_recycles_blocks_without_huge_pages),
        TESTING(the_pool_says_when_memory_is_short),
        TESTING(copies_are_right_at_any_alignment),
        TESTING(there_is_a_cpu_to_use),
        TESTING(a_fork_wipes_the_mark),
        TESTING(an_ended_process_is_seen),
        TESTING(a_futex_wait_ends_at_its_timeout),
        TESTING(only_mapped_libraries_are_found),
        TESTING(more_memory_than_there_is_is_refused),
        TESTING(cached_files_do_not_fill_a_group),
        TESTING(other_memory_fills_a_group),
        TESTING(a_group_without_a_limit_has_none),
    };
    return TESTING_RUN(cases);
}
