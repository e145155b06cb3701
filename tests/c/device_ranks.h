/* Groups for the C tests of GPUs: every rank a process with a fake GPU of its own (see
 * tests/fakes), forked before any of it was touched. */
#ifndef TESTS_C_DEVICE_RANKS_H
#define TESTS_C_DEVICE_RANKS_H

#include "testing.h"

#include "../fakes/fakes.h"
#include "comm/backend.h"
#include "comm/device/devices.h"
#include "comm/shm/shm.h"
#include "gpu/nccl.h"
#include "sys/library.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_RANKS = 4 };

#define SECOND_NS UINT64_C(1000000000)

/* What the fake runtime offers beside the real functions; of a rank. */
static struct {
    void *(*alloc)(int device, size_t nbytes, pa_cuda_stream stream);
    void (*free)(void *address);
    void (*hold)(pa_cuda_stream stream);
    void (*release)(pa_cuda_stream stream);
    bool (*fail)(const char *rules);
    size_t (*report_live)(char *text, size_t capacity);
    int (*capture_begin)(pa_cuda_stream stream, int mode);
    int (*capture_end)(pa_cuda_stream stream, fake_graph **graph);
    int (*graph_launch)(fake_graph *graph, pa_cuda_stream stream);
    void (*graph_destroy)(fake_graph *graph);
} fakes;

/* One rank, in its own process. */
typedef struct device_rank {
    pa_comm *comm;
    pa_devices *devices;
    const pa_cuda *cuda;
    int rank;
    int size;
    size_t leaves; /* what the rank may leave behind: nothing, usually */
    /* What the watch has told: see await_failure. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int failures;
    pa_status status;
    char text[PA_ERROR_CAPACITY];
} device_rank;

static inline void
note_failure(void *context, pa_status status, const char *text)
{
    device_rank *rank = context;
    (void)pthread_mutex_lock(&rank->lock);
    rank->failures++;
    rank->status = status;
    (void)snprintf(rank->text, sizeof rank->text, "%s", text);
    (void)pthread_cond_broadcast(&rank->changed);
    (void)pthread_mutex_unlock(&rank->lock);
}

/* Waits until the rank's enqueued work has failed. */
static inline void
await_failure(device_rank *rank)
{
    (void)pthread_mutex_lock(&rank->lock);
    while (rank->failures == 0) {
        (void)pthread_cond_wait(&rank->changed, &rank->lock);
    }
    (void)pthread_mutex_unlock(&rank->lock);
}

static inline void
fill_fakes(void)
{
    static const struct {
        const char *name;
        void *into;
    } wanted[] = {
        {"fake_alloc", &fakes.alloc},
        {"fake_free", &fakes.free},
        {"fake_hold", &fakes.hold},
        {"fake_release", &fakes.release},
        {"fake_fail", &fakes.fail},
        {"fake_report_live", &fakes.report_live},
        {"fake_capture_begin", &fakes.capture_begin},
        {"fake_capture_end", &fakes.capture_end},
        {"fake_graph_launch", &fakes.graph_launch},
        {"fake_graph_destroy", &fakes.graph_destroy},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        void *symbol =
            pa_library_symbol(pa_gpu_find(PA_GPU_CUDART)->handle, wanted[i].name);
        CHECK(symbol != NULL);
        memcpy(wanted[i].into, &symbol, sizeof symbol);
    }
}

/* A stream of a rank's own, which the default stream does not wait for. */
static inline void
stream_make(const device_rank *rank, pa_cuda_stream *stream)
{
    CHECK_EQUAL(rank->cuda->StreamCreateWithFlags(stream, PA_CUDA_STREAM_NON_BLOCKING),
                PA_CUDA_SUCCESS);
}

static inline void
stream_end(const device_rank *rank, pa_cuda_stream stream)
{
    CHECK_EQUAL(rank->cuda->StreamDestroy(stream), PA_CUDA_SUCCESS);
}

/* The runner builds the fakes and names their paths. */
static inline void
find_fakes(void)
{
    static const char *const variables[PA_GPU_KINDS] = {
        [PA_GPU_CUDART] = "PYACCEL_CUDART_SO",
        [PA_GPU_DRIVER] = "PYACCEL_CUDA_SO",
        [PA_GPU_NCCL] = "PYACCEL_NCCL_SO",
        [PA_GPU_NVML] = "PYACCEL_NVML_SO",
    };
    for (int kind = 0; kind < PA_GPU_KINDS; kind++) {
        const char *const paths[] = {getenv(variables[kind])};
        CHECK(paths[0] != NULL);
        CHECK(pa_gpu_search((pa_gpu_kind)kind, paths, 1));
    }
    CHECK_TEXT(pa_cuda_reason(), "");
    fill_fakes();
}

static inline void
rank_run(int fd, int rank, int size, uint64_t timeout_ns,
         void (*run)(device_rank *rank))
{
    device_rank self = {.rank = rank, .size = size};
    pa_error error = PA_ERROR_INIT;
    char number[16];
    (void)snprintf(number, sizeof number, "%d", rank);
    (void)setenv("RANK", number, 1);
    (void)setenv("LOCAL_RANK", number, 1);
    (void)pthread_mutex_init(&self.lock, NULL);
    (void)pthread_cond_init(&self.changed, NULL);
    find_fakes();
    CHECK_EQUAL(pa_shm_attach(fd, rank, size, NULL, &self.comm, &error), PA_OK);
    pa_comm_set_timeout(self.comm, timeout_ns);
    CHECK_EQUAL(pa_devices_set(self.comm, rank, &error), PA_OK);
    self.devices = pa_devices_of(self.comm);
    self.cuda = pa_cuda_get();
    CHECK(self.devices != NULL && self.cuda != NULL);
    CHECK_EQUAL(self.cuda->SetDevice(rank), PA_CUDA_SUCCESS);
    self.devices->failed = note_failure;
    self.devices->failed_context = &self;
    run(&self);
    pa_comm_destroy(self.comm);
    /* Whatever asks CUDA for errors next, torch for one, must not find any of ours. */
    CHECK_EQUAL(self.cuda->GetLastError(), PA_CUDA_SUCCESS);
    char live[1024] = "";
    size_t left = fakes.report_live(live, sizeof live);
    if (left > self.leaves) {
        printf("rank %d leaves behind:\n%s\n", rank, live);
    }
    CHECK_EQUAL(left, self.leaves);
}

/* Takes the ends of all ranks; whoever is killed is told to the others, as a launcher
 * does. Ranks of `killed` (a bit each) are expected to be. */
static inline void
await_ranks(const pid_t *ranks, int size, int fd, unsigned int killed)
{
    pa_error error = PA_ERROR_INIT;
    pa_shm_owner *owner = NULL;
    CHECK_EQUAL(pa_shm_owner_open(fd, &owner, &error), PA_OK);
    for (int left = size; left > 0; left--) {
        int status = 0;
        pid_t ended = waitpid(-1, &status, 0);
        int rank = 0;
        while (rank < size && ranks[rank] != ended) {
            rank++;
        }
        bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        if (was_killed != ((killed >> rank & 1) != 0) || (!was_killed && status != 0)) {
            printf("rank %d ended with status %d\n", rank, status);
            testing_fail(__FILE__, __LINE__, "the rank ended as it should");
        }
        if (status != 0) {
            (void)pa_shm_owner_mark_ended(owner, rank, "was killed by the test",
                                          &error);
        }
    }
    pa_shm_owner_close(owner);
}

/* Runs a function on every rank of a fresh group of processes, each with its GPU, and
 * leaves it. `variables` ("NAME=value", up to NULL) go to the ranks' environment. */
static inline void
on_devices(int size, uint64_t timeout_ns, const char *const *variables,
           unsigned int killed, void (*run)(device_rank *rank))
{
    pid_t ranks[MOST_RANKS];
    pa_error error = PA_ERROR_INIT;
    int fd = -1;
    CHECK_EQUAL(pa_shm_create(size, &fd, &error), PA_OK);
    for (int rank = 0; rank < size; rank++) {
        ranks[rank] = fork();
        if (ranks[rank] == 0) {
            for (int i = 0; variables != NULL && variables[i] != NULL; i++) {
                (void)putenv((char *)(uintptr_t)variables[i]);
            }
            int before = atomic_load(&testing_failures);
            rank_run(fd, rank, size, timeout_ns, run);
            exit(atomic_load(&testing_failures) == before ? 0 : 1);
        }
    }
    await_ranks(ranks, size, fd, killed);
    (void)close(fd);
}

#endif
