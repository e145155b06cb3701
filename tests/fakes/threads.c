/* The fakes under the sanitizers: ranks that are threads of one process use streams,
 * events, memory and NCCL at once, come to an end in order, and by an abort. */
#include "c/testing.h"
#include "fakes/fakes.h"
#include "gpu/nccl.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS = 3, ROUNDS = 20, BYTES = 256 };

#define DECLARE(name, parameters) int cuda##name parameters;
PA_CUDA_MAP(DECLARE)
#undef DECLARE
#define DECLARE(name, parameters) int nccl##name parameters;
PA_NCCL_MAP(DECLARE)
#undef DECLARE

/* A rank: its place in the group, and what it has made. */
typedef struct rank {
    int rank;
    void (*part)(struct rank *own);
    pa_nccl_id id;
    pa_nccl_comm comm;
    pa_cuda_stream streams[2];
    pa_cuda_event events[2];
    void *memory[2]; /* what is sent, and what all sent */
    void *host[2];
} rank;

/* Asks until a communicator's operation is done; the final state. */
static int
polled(pa_nccl_comm comm, int code)
{
    pa_nccl_code state = code;
    while (state == PA_NCCL_IN_PROGRESS) {
        sched_yield();
        if (ncclCommGetAsyncError(comm, &state) != 0) {
            return -1;
        }
    }
    return (int)state;
}

static void
make(rank *own)
{
    pa_nccl_config config = PA_NCCL_CONFIG_NON_BLOCKING;
    CHECK_EQUAL(cudaSetDevice(own->rank), 0);
    int code = ncclCommInitRankConfig(&own->comm, RANKS, own->id, own->rank, &config);
    CHECK_EQUAL(code, PA_NCCL_IN_PROGRESS);
    CHECK_EQUAL(polled(own->comm, code), 0);
    for (int i = 0; i < 2; i++) {
        size_t nbytes = i == 0 ? BYTES : (size_t)RANKS * BYTES;
        CHECK_EQUAL(cudaStreamCreateWithFlags(&own->streams[i], 1), 0);
        CHECK_EQUAL(cudaEventCreateWithFlags(&own->events[i], 2), 0);
        CHECK_EQUAL(cudaMalloc(&own->memory[i], nbytes), 0);
        CHECK_EQUAL(cudaHostAlloc(&own->host[i], nbytes, 1), 0);
    }
}

static void
unmake(rank *own)
{
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(cudaStreamDestroy(own->streams[i]), 0);
        CHECK_EQUAL(cudaEventDestroy(own->events[i]), 0);
        CHECK_EQUAL(cudaFree(own->memory[i]), 0);
        CHECK_EQUAL(cudaFreeHost(own->host[i]), 0);
    }
}

static int
gather(rank *own)
{
    return ncclAllGather(own->memory[0], own->memory[1], BYTES, PA_NCCL_UINT8,
                         own->comm, own->streams[1]);
}

/* To the device on one stream, gathered and back on the other. */
static void
one_round(rank *own, int round)
{
    memset(own->host[0], 10 * own->rank + round % 10, BYTES);
    CHECK_EQUAL(
        cudaMemcpyAsync(own->memory[0], own->host[0], BYTES, 4, own->streams[0]), 0);
    CHECK_EQUAL(cudaEventRecord(own->events[0], own->streams[0]), 0);
    CHECK_EQUAL(cudaStreamWaitEvent(own->streams[1], own->events[0], 0), 0);
    CHECK_EQUAL(polled(own->comm, gather(own)), 0);
    CHECK_EQUAL(cudaMemcpyAsync(own->host[1], own->memory[1], (size_t)RANKS * BYTES, 4,
                                own->streams[1]),
                0);
    CHECK_EQUAL(cudaEventRecord(own->events[1], own->streams[1]), 0);
    CHECK_EQUAL(cudaStreamSynchronize(own->streams[1]), 0);
    CHECK_EQUAL(cudaEventQuery(own->events[1]), 0);
    for (int i = 0; i < RANKS; i++) {
        CHECK_EQUAL(((char *)own->host[1])[i * BYTES], 10 * i + round % 10);
    }
}

static void
gathers(rank *own)
{
    make(own);
    for (int round = 0; round < ROUNDS; round++) {
        one_round(own, round);
    }
    CHECK_EQUAL(polled(own->comm, ncclCommFinalize(own->comm)), 0);
    CHECK_EQUAL(ncclCommDestroy(own->comm), 0);
    unmake(own);
}

/* The last rank never comes: the others' work spins until they abort. */
static void
aborts(rank *own)
{
    make(own);
    if (own->rank < RANKS - 1) {
        CHECK_EQUAL(polled(own->comm, gather(own)), 0);
        CHECK_EQUAL(cudaEventRecord(own->events[1], own->streams[1]), 0);
        CHECK_EQUAL(cudaEventQuery(own->events[1]), PA_CUDA_NOT_READY);
    }
    CHECK_EQUAL(ncclCommAbort(own->comm), 0);
    CHECK_EQUAL(cudaStreamSynchronize(own->streams[1]), 0);
    unmake(own);
}

static void *
start(void *argument)
{
    rank *own = argument;
    own->part(own);
    return NULL;
}

/* Plays a part by all ranks; nothing is alive afterwards. */
static void
play(void (*part)(rank *own))
{
    static rank ranks[RANKS];
    pthread_t threads[RANKS];
    char text[2048];
    memset(ranks, 0, sizeof(ranks));
    CHECK_EQUAL(ncclGetUniqueId(&ranks[0].id), 0);
    for (int i = 0; i < RANKS; i++) {
        ranks[i].rank = i;
        ranks[i].part = part;
        ranks[i].id = ranks[0].id;
        CHECK_EQUAL(pthread_create(&threads[i], NULL, start, &ranks[i]), 0);
    }
    for (int i = 0; i < RANKS; i++) {
        CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
    }
    if (fake_report_live(text, sizeof(text)) != 0) {
        printf("alive: %s", text);
        CHECK(false);
    }
}

static void
ranks_gather_and_end(void)
{
    play(gathers);
}

static void
ranks_abort(void)
{
    play(aborts);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(ranks_gather_and_end),
        TESTING(ranks_abort),
    };
    return TESTING_RUN(cases);
}
