/* What this machine's cores and memory can do at best: the floors of the report.
 *
 *     floor barrier  RANKS BATCH SAMPLES     every rank raises a flag, waits for all
 *     floor pingpong RANKS BATCH SAMPLES     one way of a cache line and back
 *     floor memcpy   RANKS BYTES SAMPLES     every rank copies its own warm memory
 *
 * Each prints SAMPLES numbers, one a line: nanoseconds of one operation on the rank
 * where it lasted longest. The ranks are processes, one pinned to each CPU as long as
 * there are enough of them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE = 64,
    RANKS_MAX = 64,
    SAMPLES_MAX = 1000000,
    WARM_UP = 3,
    LIFETIME_S = 120,
    HUGE_PAGE = 2 << 20,
};

/* One flag a cache line, two lines apart: neighbouring lines are fetched in pairs. */
struct flag {
    _Alignas(2 * LINE) atomic_uint_fast64_t round;
};

struct shared {
    struct flag flags[RANKS_MAX];
    double samples[];
};

struct run {
    struct shared *shared;
    double *samples; /* this rank's part of shared->samples */
    int rank;
    int ranks;
    int crowded;   /* more ranks than CPUs: a waiting rank must give its CPU away */
    size_t amount; /* operations a sample, or bytes of a copy */
    long count;
};

static uint64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
fail(const char *what)
{
    (void)fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void
wait_for(const struct run *run, int peer, uint_fast64_t round)
{
    atomic_uint_fast64_t *flag = &run->shared->flags[peer].round;
    while (atomic_load_explicit(flag, memory_order_acquire) < round) {
        if (run->crowded) {
            sched_yield();
        }
    }
}

static void
raise_flag(const struct run *run, uint_fast64_t round)
{
    atomic_uint_fast64_t *flag = &run->shared->flags[run->rank].round;
    atomic_store_explicit(flag, round, memory_order_release);
}

static void
barrier(const struct run *run, uint_fast64_t round)
{
    raise_flag(run, round);
    for (int peer = 0; peer < run->ranks; peer++) {
        wait_for(run, peer, round);
    }
}

static void
barrier_run(const struct run *run)
{
    uint_fast64_t round = 0;
    for (long i = -WARM_UP; i < run->count; i++) {
        uint64_t start = now_ns();
        for (size_t k = 0; k < run->amount; k++) {
            barrier(run, ++round);
        }
        if (i >= 0) {
            run->samples[i] = (double)(now_ns() - start) / (double)run->amount;
        }
    }
}

/* Rank 0 serves, rank 1 returns; a sample is half of the way there and back. */
static void
pingpong_run(const struct run *run)
{
    uint_fast64_t round = 0;
    int peer = !run->rank;
    for (long i = -WARM_UP; i < run->count; i++) {
        uint64_t start = now_ns();
        for (size_t k = 0; k < run->amount; k++) {
            round++;
            if (run->rank == 0) {
                raise_flag(run, round);
                wait_for(run, peer, round);
            } else {
                wait_for(run, peer, round);
                raise_flag(run, round);
            }
        }
        if (i >= 0) {
            run->samples[i] = (double)(now_ns() - start) / (double)run->amount / 2.0;
        }
    }
}

/* Huge pages where the system grants them, as large results get them too. */
static char *
memory_create(size_t bytes, int fill)
{
    size_t rounded = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    char *memory = aligned_alloc(HUGE_PAGE, rounded);
    if (!memory) {
        fail("memory for the copy");
    }
    (void)madvise(memory, rounded, MADV_HUGEPAGE);
    memset(memory, fill, rounded);
    return memory;
}

static void
memcpy_run(const struct run *run)
{
    char *from = memory_create(run->amount, 1);
    char *to = memory_create(run->amount, 2);
    uint_fast64_t round = 0;
    for (long i = -WARM_UP; i < run->count; i++) {
        barrier(run, ++round);
        uint64_t start = now_ns();
        memcpy(to, from, run->amount);
        /* The bytes are looked at, or the compiler may drop the copy. */
        __asm__ volatile("" : : "r"(to) : "memory");
        if (i >= 0) {
            run->samples[i] = (double)(now_ns() - start);
        }
    }
    free(from);
    free(to);
}

static int
cpu_of(const cpu_set_t *usable, int index)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, usable) && index-- == 0) {
            return cpu;
        }
    }
    return -1;
}

static void
rank_start(struct run *run, int rank)
{
    cpu_set_t usable;
    cpu_set_t mine;
    if (sched_getaffinity(0, sizeof usable, &usable)) {
        fail("the CPUs of this process");
    }
    run->rank = rank;
    run->samples = run->shared->samples + (long)rank * run->count;
    run->crowded = run->ranks > CPU_COUNT(&usable);
    if (!run->crowded) {
        CPU_ZERO(&mine);
        CPU_SET(cpu_of(&usable, rank), &mine);
        if (sched_setaffinity(0, sizeof mine, &mine)) {
            fail("a CPU for each rank");
        }
    }
    alarm(LIFETIME_S); /* a rank whose peer died must not spin for ever */
}

static void
print_slowest(const struct run *run)
{
    for (long i = 0; i < run->count; i++) {
        double slowest = 0;
        for (int rank = 0; rank < run->ranks; rank++) {
            double sample = run->shared->samples[(long)rank * run->count + i];
            slowest = sample > slowest ? sample : slowest;
        }
        printf("%.1f\n", slowest);
    }
}

static int
all_ended_well(int children)
{
    int well = 1;
    for (int i = 0; i < children; i++) {
        int status = 0;
        if (wait(&status) < 0 || status != 0) {
            well = 0;
        }
    }
    return well;
}

typedef void (*work_fn)(const struct run *);

static work_fn
work_named(const char *name)
{
    if (!strcmp(name, "barrier")) {
        return barrier_run;
    }
    if (!strcmp(name, "pingpong")) {
        return pingpong_run;
    }
    return strcmp(name, "memcpy") ? NULL : memcpy_run;
}

/* A whole number from 1 to `most`, or 0 where the text is none. */
static long
number(const char *text, long most)
{
    char *end = NULL;
    errno = 0;
    long value = strtol(text, &end, 10);
    return errno || end == text || *end || value < 1 || value > most ? 0 : value;
}

static struct shared *
shared_create(const struct run *run)
{
    size_t numbers = (size_t)run->count * (size_t)run->ranks;
    size_t bytes = sizeof(struct shared) + numbers * sizeof(double);
    void *shared =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        fail("memory for the samples");
    }
    return shared;
}

int
main(int argc, char **argv)
{
    struct run run = {0};
    work_fn work = argc == 5 ? work_named(argv[1]) : NULL;
    if (work) {
        run.ranks = (int)number(argv[2], RANKS_MAX);
        run.amount = (size_t)number(argv[3], LONG_MAX);
        run.count = number(argv[4], SAMPLES_MAX);
    }
    int lonely = work == pingpong_run && run.ranks != 2;
    if (!run.ranks || !run.amount || !run.count || lonely) {
        (void)fprintf(stderr, "usage: floor barrier|pingpong|memcpy RANKS "
                              "BATCH-OR-BYTES SAMPLES (pingpong: 2 ranks)\n");
        return 2;
    }
    run.shared = shared_create(&run);
    for (int rank = 1; rank < run.ranks; rank++) {
        pid_t child = fork();
        if (child < 0) {
            fail("a process for each rank");
        }
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            rank_start(&run, rank);
            work(&run);
            _exit(0);
        }
    }
    rank_start(&run, 0);
    work(&run);
    if (!all_ended_well(run.ranks - 1)) {
        (void)fprintf(stderr, "floor: a rank ended badly\n");
        return 1;
    }
    print_slowest(&run);
    return 0;
}
