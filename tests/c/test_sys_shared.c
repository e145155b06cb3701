/* csrc/sys where several threads or processes take part. */
#include "testing.h"

#include "base/clock.h"
#include "sys/cpus.h"
#include "sys/futex.h"
#include "sys/pool.h"
#include "sys/process.h"
#include "sys/segment.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECOND = 1000000000, MEGABYTE = 1 << 20 };

static void
usable_cpus_follow_the_affinity_mask(void)
{
    cpu_set_t mask;
    cpu_set_t one;
    CHECK_EQUAL(sched_getaffinity(0, sizeof mask, &mask), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &mask)) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK_EQUAL(sched_setaffinity(0, sizeof one, &one), 0);
    double usable = pa_cpus_usable();
    CHECK_EQUAL(sched_setaffinity(0, sizeof mask, &mask), 0);
    CHECK(usable <= 1.0);
}

typedef struct mailbox {
    _Atomic uint32_t word;
    _Atomic uint32_t seen;
} mailbox;

static void *
wait_for_letter(void *argument)
{
    mailbox *box = argument;
    uint64_t deadline = pa_clock_deadline((uint64_t)30 * SECOND);
    while (atomic_load(&box->word) == 0 && pa_clock_now() < deadline) {
        pa_futex_wait(&box->word, 0, SECOND);
    }
    (void)atomic_fetch_add(&box->seen, atomic_load(&box->word));
    return NULL;
}

static void
futex_wake_reaches_every_sleeper(void)
{
    mailbox box = {0};
    pthread_t sleepers[3];
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(pthread_create(&sleepers[i], NULL, wait_for_letter, &box), 0);
    }
    atomic_store(&box.word, 5);
    pa_futex_wake(&box.word);
    for (int i = 0; i < 3; i++) {
        (void)pthread_join(sleepers[i], NULL);
    }
    CHECK_EQUAL(atomic_load(&box.seen), 15);
}

static void
segment_is_the_same_memory_in_a_child(void)
{
    pa_error error = PA_ERROR_INIT;
    int fd = -1;
    void *base = NULL;
    size_t nbytes = 0;
    CHECK_EQUAL(pa_segment_create(4096, &fd, &error), PA_OK);
    CHECK_EQUAL(pa_segment_map(fd, &base, &nbytes, &error), PA_OK);
    pid_t child = fork();
    if (child == 0) {
        *(volatile int *)base = 42;
        _exit(0);
    }
    int status = -1;
    (void)waitpid(child, &status, 0);
    int value = *(volatile int *)base;
    pa_segment_unmap(base, nbytes);
    (void)close(fd);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(value, 42);
}

typedef struct pool_user {
    pa_pool *pool;
    char mark;
    atomic_int *wrong;
} pool_user;

/* Writes a whole block and looks whether anybody else wrote into it. */
static void *
use_pool(void *argument)
{
    const pool_user *user = argument;
    for (size_t round = 0; round < 50; round++) {
        size_t nbytes = (size_t)MEGABYTE + round * 4096;
        pa_block *block = pa_pool_take(user->pool, nbytes, 64);
        if (block == NULL) {
            (void)atomic_fetch_add(user->wrong, 1);
            return NULL;
        }
        memset(block->data, user->mark, 4096);
        if (block->data[0] != user->mark || block->data[4095] != user->mark) {
            (void)atomic_fetch_add(user->wrong, 1);
        }
        pa_block_release(block);
    }
    return NULL;
}

static void
pool_serves_several_threads(void)
{
    atomic_int wrong = 0;
    pa_pool *pool = pa_pool_create((size_t)8 * MEGABYTE);
    CHECK(pool != NULL);
    pthread_t threads[3];
    pool_user users[3];
    for (int i = 0; i < 3; i++) {
        users[i] = (pool_user){.pool = pool, .mark = (char)(i + 1), .wrong = &wrong};
        CHECK_EQUAL(pthread_create(&threads[i], NULL, use_pool, &users[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    CHECK_EQUAL(atomic_load(&wrong), 0);
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 0);
    pa_pool_destroy(pool);
}

static void
parent_death_signal_is_set_and_taken_back(void)
{
    pa_error error = PA_ERROR_INIT;
    int signal = 0;
    CHECK_EQUAL(pa_process_die_with_parent(SIGTERM, &error), PA_OK);
    CHECK_EQUAL(prctl(PR_GET_PDEATHSIG, &signal), 0);
    CHECK_EQUAL(signal, SIGTERM);
    CHECK_EQUAL(pa_process_die_with_parent(0, &error), PA_OK);
    CHECK_EQUAL(prctl(PR_GET_PDEATHSIG, &signal), 0);
    CHECK_EQUAL(signal, 0);
    CHECK_EQUAL(pa_process_die_with_parent(9999, &error), PA_ESYSTEM);
    CHECK_EQUAL(error.sys_errno, EINVAL);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(usable_cpus_follow_the_affinity_mask),
        TESTING(futex_wake_reaches_every_sleeper),
        TESTING(segment_is_the_same_memory_in_a_child),
        TESTING(pool_serves_several_threads),
        TESTING(parent_death_signal_is_set_and_taken_back),
    };
    return TESTING_RUN(cases);
}
