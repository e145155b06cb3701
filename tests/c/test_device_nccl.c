/* csrc/comm/device over NCCL: what is moved and reduced, by which calls, on which
 * streams. Every rank is a process with a fake GPU; errors are in test_device_faults.c.
 */
#include "device_ranks.h"

#include "base/text.h"
#include "comm/device/backend.h"
#include "comm/device/nccl.h"
#include "math/reduction.h"

#include <math.h>

/* ---- Values ---- */

enum { LEAVES = 4 };

/* Bytes of a leaf on a rank: of even leaves the same on all. */
static size_t
length_of(size_t leaf, int rank, bool uneven)
{
    static const size_t lengths[LEAVES] = {8, 0, 4097, 70000};
    size_t own = uneven ? (size_t)(rank % 3) * 13 : 0;
    return uneven && rank == 0 ? 0 : lengths[leaf] + own;
}

static char
value_of(int rank, size_t leaf, size_t index)
{
    return (char)(index * 7 + (size_t)rank * 13 + leaf * 31 + index / 251);
}

static bool
holds(const char *data, size_t nbytes, int rank, size_t leaf)
{
    for (size_t i = 0; i < nbytes; i++) {
        if (data[i] != value_of(rank, leaf, i)) {
            return false;
        }
    }
    return true;
}

/* ---- Work ---- */

/* A rank's leaves and its results: all of one index one behind the other. */
typedef struct memory {
    device_rank *rank;
    pa_cuda_stream stream;
    pa_place place;
    char *own[LEAVES];
    char *all[LEAVES];
    pa_part send[LEAVES];
    pa_part recv[MOST_RANKS][LEAVES];
    pa_flow flows[MOST_RANKS];
    pa_flow sent;
} memory;

static void
memory_make(memory *made, device_rank *rank, pa_cuda_stream stream, bool uneven)
{
    *made = (memory){.rank = rank, .stream = stream};
    made->place = (pa_place){rank->rank, stream};
    made->sent = (pa_flow){made->send, LEAVES, 0};
    for (int peer = 0; peer < rank->size; peer++) {
        made->flows[peer] = (pa_flow){made->recv[peer], LEAVES, 0};
    }
    for (size_t leaf = 0; leaf < LEAVES; leaf++) {
        size_t nbytes = length_of(leaf, rank->rank, uneven);
        size_t total = 0;
        for (int peer = 0; peer < rank->size; peer++) {
            total += length_of(leaf, peer, uneven);
        }
        made->own[leaf] = fakes.alloc(rank->rank, nbytes + 1, stream);
        made->all[leaf] = fakes.alloc(rank->rank, total + 1, stream);
        for (size_t i = 0; i < nbytes; i++) {
            made->own[leaf][i] = value_of(rank->rank, leaf, i);
        }
        made->send[leaf] = (pa_part){made->own[leaf], nbytes, &made->place};
        made->sent.nbytes += nbytes;
        char *at = made->all[leaf];
        for (int peer = 0; peer < rank->size; peer++) {
            size_t theirs = length_of(leaf, peer, uneven);
            made->recv[peer][leaf] = (pa_part){at, theirs, &made->place};
            made->flows[peer].nbytes += theirs;
            at += theirs;
        }
    }
}

static void
memory_free(memory *made)
{
    for (size_t leaf = 0; leaf < LEAVES; leaf++) {
        fakes.free(made->own[leaf]);
        fakes.free(made->all[leaf]);
    }
}

static pa_device_work
work_of(memory *made, int receiver, int sender)
{
    return (pa_device_work){
        .op = PA_OP_GATHER,
        .send = &made->sent,
        .recv = made->flows,
        .receiver = receiver,
        .sender = sender,
        .stream = made->stream,
    };
}

static void
check_gathered(memory *made)
{
    CHECK_EQUAL(made->rank->cuda->StreamSynchronize(made->stream), PA_CUDA_SUCCESS);
    for (int peer = 0; peer < made->rank->size; peer++) {
        for (size_t leaf = 0; leaf < LEAVES; leaf++) {
            const pa_part *part = &made->recv[peer][leaf];
            CHECK(holds(part->data, part->nbytes, peer, leaf));
        }
    }
}

static void
open_nccl(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    rank->devices->cuda = rank->cuda;
    CHECK_EQUAL(pa_device_nccl.open(rank->devices, NULL, &error), PA_OK);
}

static void
stream_work(device_rank *rank, memory *made, int receiver, int sender, bool captured)
{
    pa_error error = PA_ERROR_INIT;
    pa_device_work work = work_of(made, receiver, sender);
    work.captured = captured;
    pa_status status = pa_device_nccl.stream(rank->devices, &work, NULL, &error);
    CHECK_TEXT(error.message, "");
    CHECK_EQUAL(status, PA_OK);
}

static void
stream_all(device_rank *rank, memory *made, int receiver, int sender)
{
    stream_work(rank, made, receiver, sender, false);
}

/* ---- Moving ---- */

static void
gather_on(device_rank *rank)
{
    memory made;
    open_nccl(rank);
    for (int uneven = 0; uneven < 2; uneven++) {
        memory_make(&made, rank, NULL, uneven != 0);
        stream_all(rank, &made, PA_NO_ROOT, PA_NO_ROOT);
        check_gathered(&made);
        memory_free(&made);
    }
}

static void
all_receive_what_all_send(void)
{
    for (int size = 1; size <= MOST_RANKS; size++) {
        on_devices(size, 60 * SECOND_NS, NULL, 0, gather_on);
    }
}

static void
gather_to_each(device_rank *rank)
{
    memory made;
    open_nccl(rank);
    for (int receiver = 0; receiver < rank->size; receiver++) {
        for (int uneven = 0; uneven < 2; uneven++) {
            memory_make(&made, rank, NULL, uneven != 0);
            stream_all(rank, &made, receiver, PA_NO_ROOT);
            if (rank->rank == receiver) {
                check_gathered(&made);
            }
            CHECK_EQUAL(rank->cuda->StreamSynchronize(NULL), PA_CUDA_SUCCESS);
            memory_free(&made);
        }
    }
}

static void
one_receives_what_all_send(void)
{
    for (int size = 1; size <= MOST_RANKS; size++) {
        on_devices(size, 60 * SECOND_NS, NULL, 0, gather_to_each);
    }
}

static void
broadcast_from_each(device_rank *rank)
{
    memory made;
    open_nccl(rank);
    for (int sender = 0; sender < rank->size; sender++) {
        memory_make(&made, rank, NULL, false);
        for (int peer = 0; peer < rank->size; peer++) {
            if (peer != sender || peer == rank->rank) {
                made.flows[peer] = (pa_flow){0};
            }
        }
        stream_all(rank, &made, PA_NO_ROOT, sender);
        CHECK_EQUAL(rank->cuda->StreamSynchronize(NULL), PA_CUDA_SUCCESS);
        for (size_t leaf = 0; leaf < LEAVES && rank->rank != sender; leaf++) {
            const pa_part *part = &made.recv[sender][leaf];
            CHECK(holds(part->data, part->nbytes, sender, leaf));
        }
        memory_free(&made);
    }
}

static void
all_receive_what_one_sends(void)
{
    for (int size = 1; size <= MOST_RANKS; size++) {
        on_devices(size, 60 * SECOND_NS, NULL, 0, broadcast_from_each);
    }
}

/* ---- Reducing ---- */

enum { NUMBERS = 1000, WIDEST_NUMBER = 16 };

static const pa_dtype dtypes[] = {
    {PA_DTYPE_BOOL, 8, 1, 0},  {PA_DTYPE_INT, 8, 1, 0},      {PA_DTYPE_INT, 16, 1, 0},
    {PA_DTYPE_INT, 32, 1, 0},  {PA_DTYPE_INT, 64, 1, 0},     {PA_DTYPE_UINT, 8, 1, 0},
    {PA_DTYPE_UINT, 64, 1, 0}, {PA_DTYPE_FLOAT, 32, 1, 0},   {PA_DTYPE_FLOAT, 64, 1, 0},
    {PA_DTYPE_UINT, 32, 1, 0}, {PA_DTYPE_COMPLEX, 64, 1, 0}, {10, 8, 1, 0},
};

enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

/* A small number of either sign, so that sums of floats are exact in any order. */
static void
put_number(pa_dtype dtype, char *at, int rank, size_t index)
{
    int number = (int)(index % 50) * (rank + 1) - 60;
    float single[2] = {(float)number, (float)-number};
    double wide = number;
    int64_t whole = number;
    if (dtype.code == PA_DTYPE_BOOL) {
        *at = (index + (size_t)rank) % 3 == 0 ? '\1' : '\0';
    } else if (dtype.code == PA_DTYPE_FLOAT && dtype.bits == 64) {
        memcpy(at, &wide, sizeof wide);
    } else if (dtype.code == PA_DTYPE_FLOAT || dtype.code == PA_DTYPE_COMPLEX) {
        memcpy(at, single, dtype.bits / 8);
    } else {
        memcpy(at, &whole, dtype.bits / 8); /* of little endian: the low bytes */
    }
}

/* The same bits as the host's, but for means of a number of ranks that is no power of
 * two: there each element is rounded once more. */
static void
check_numbers(device_rank *rank, pa_dtype dtype, pa_reduction reduction,
              const char *result, const char *wanted)
{
    size_t nbytes = (size_t)NUMBERS * dtype.bits / 8;
    if (reduction != PA_REDUCTION_MEAN || rank->size != 3) {
        CHECK(memcmp(result, wanted, nbytes) == 0);
        return;
    }
    bool wide = dtype.code == PA_DTYPE_FLOAT && dtype.bits == 64;
    for (size_t at = 0; at < nbytes; at += wide ? sizeof(double) : sizeof(float)) {
        double numbers[2];
        for (int i = 0; i < 2; i++) {
            const char *from = (i == 0 ? result : wanted) + at;
            float narrow = 0;
            memcpy(wide ? (void *)&numbers[i] : (void *)&narrow, from,
                   wide ? sizeof(double) : sizeof(float));
            numbers[i] = wide ? numbers[i] : (double)narrow;
        }
        double least = wide ? 0x1p-50 : 0x1p-21;
        CHECK(fabs(numbers[0] - numbers[1]) <= least * (1 + fabs(numbers[1])));
    }
}

static void
reduce_one(device_rank *rank, pa_dtype dtype, pa_reduction reduction)
{
    pa_error error = PA_ERROR_INIT;
    size_t each = dtype.bits / 8;
    int64_t count = NUMBERS;
    char numbers[MOST_RANKS][NUMBERS * WIDEST_NUMBER];
    const char *from[MOST_RANKS];
    char wanted[NUMBERS * WIDEST_NUMBER];
    for (int peer = 0; peer < rank->size; peer++) {
        from[peer] = numbers[peer];
        for (size_t i = 0; i < NUMBERS; i++) {
            put_number(dtype, &numbers[peer][i * each], peer, i);
        }
    }
    pa_reduction_run(reduction, 1.0, dtype, from, rank->size, wanted, NUMBERS * each);
    char *own = fakes.alloc(rank->rank, NUMBERS * each, NULL);
    char *result = fakes.alloc(rank->rank, NUMBERS * each, NULL);
    memcpy(own, numbers[rank->rank], NUMBERS * each);
    pa_place place = {rank->rank, NULL};
    pa_leaf at[] = {
        {own, NUMBERS * each, each, &count, 1, dtype, &place},
        {NULL, 0, each, &count, 1, dtype, &place},
    };
    pa_leaves leaves = {at, 2, 1};
    char *outputs[] = {result, NULL};
    pa_device_reduction work = {&leaves, reduction, 1.0, outputs, NULL, false};
    CHECK_EQUAL(pa_device_nccl.reduce(rank->devices, &work, NULL, &error), PA_OK);
    CHECK_EQUAL(rank->cuda->StreamSynchronize(NULL), PA_CUDA_SUCCESS);
    check_numbers(rank, dtype, reduction, result, wanted);
    fakes.free(own);
    fakes.free(result);
}

static void
reduce_on(device_rank *rank)
{
    static const pa_reduction all[] = {PA_REDUCTION_SUM, PA_REDUCTION_MEAN,
                                       PA_REDUCTION_MAX, PA_REDUCTION_MIN};
    open_nccl(rank);
    for (size_t i = 0; i < DTYPES; i++) {
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) {
            if (pa_reduction_check(all[k], 1.0, dtypes[i], NULL) == PA_OK &&
                pa_device_nccl.reduces(rank->size, all[k], 1.0, dtypes[i])) {
                reduce_one(rank, dtypes[i], all[k]);
            }
        }
    }
}

static void
all_reduce_as_the_host_does(void)
{
    for (int size = 1; size <= MOST_RANKS; size++) {
        on_devices(size, 60 * SECOND_NS, NULL, 0, reduce_on);
    }
}

static void
only_what_is_the_same_is_reduced(void)
{
    static const pa_dtype float32 = {PA_DTYPE_FLOAT, 32, 1, 0};
    static const pa_dtype float8 = {10, 8, 1, 0};
    static const pa_dtype int16 = {PA_DTYPE_INT, 16, 1, 0};
    static const pa_dtype int32 = {PA_DTYPE_INT, 32, 1, 0};
    static const pa_dtype complex64 = {PA_DTYPE_COMPLEX, 64, 1, 0};
    bool (*reduces)(int, pa_reduction, double, pa_dtype) = pa_device_nccl.reduces;
    CHECK(reduces(3, PA_REDUCTION_SUM, 1.0, float32));
    CHECK(reduces(3, PA_REDUCTION_SUM, 1.0, complex64));
    CHECK(reduces(3, PA_REDUCTION_MAX, 1.0, int32));
    CHECK(reduces(4, PA_REDUCTION_MEAN, 1.0, float32));
    CHECK(reduces(3, PA_REDUCTION_MEAN, 1.0, float32));
    CHECK(!reduces(2, PA_REDUCTION_MEAN, 1.0, int32));  /* the host has none */
    CHECK(!reduces(2, PA_REDUCTION_MAX, 1.0, float32)); /* may be no number */
    CHECK(!reduces(2, PA_REDUCTION_SUM, 0.5, float32));
    CHECK(!reduces(2, PA_REDUCTION_NONE, 1.0, float32));
    CHECK(!reduces(2, PA_REDUCTION_SUM, 1.0, int16));
    CHECK(!reduces(2, PA_REDUCTION_SUM, 1.0, float8));
}

/* ---- Streams ---- */

static void
gather_on_streams(device_rank *rank)
{
    enum { STREAMS = 3, ROUNDS = 8 };
    memory made[STREAMS];
    pa_cuda_stream streams[STREAMS] = {NULL};
    open_nccl(rank);
    for (int i = 1; i < STREAMS; i++) {
        stream_make(rank, &streams[i]);
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < STREAMS; i++) {
            memory_make(&made[i], rank, streams[i], i == 1);
            stream_all(rank, &made[i], PA_NO_ROOT, PA_NO_ROOT);
        }
        for (int i = STREAMS - 1; i >= 0; i--) {
            check_gathered(&made[i]);
            memory_free(&made[i]);
        }
    }
    for (int i = 1; i < STREAMS; i++) {
        stream_end(rank, streams[i]);
    }
}

static void
several_streams_are_in_order(void)
{
    on_devices(3, 60 * SECOND_NS, NULL, 0, gather_on_streams);
}

/* ---- Progress ---- */

static void
calls_may_take_long(void)
{
    static const char *const never[] = {"FAKES_NCCL_POLLS=0", NULL};
    static const char *const many[] = {"FAKES_NCCL_POLLS=40", NULL};
    on_devices(2, 60 * SECOND_NS, never, 0, gather_on);
    on_devices(2, 60 * SECOND_NS, many, 0, gather_on);
}

/* ---- Calls ---- */

/* How often each call of NCCL was made by this process, in a text such as "GroupStart
 * AllGather AllGather GroupEnd": between the last two syncs of the record. */
static void
read_calls(char *text, size_t capacity)
{
    char path[256];
    char line[1024];
    (void)snprintf(path, sizeof path, "%s/%ld.calls", getenv("FAKES_RECORD"),
                   (long)getpid());
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    text[0] = '\0';
    while (fgets(line, sizeof line, file) != NULL) {
        static const char *const names[] = {"GroupStart", "AllGather", "Broadcast",
                                            "Send",       "Recv",      "GroupEnd"};
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            char field[32];
            (void)snprintf(field, sizeof field, "\tnccl%s\t", names[i]);
            if (strstr(line, field) != NULL) {
                pa_text_append(text, capacity, "%s ", names[i]);
            }
        }
    }
    (void)fclose(file);
    (void)truncate(path, 0);
}

static void
count_calls(device_rank *rank)
{
    memory made;
    char text[512];
    open_nccl(rank);
    read_calls(text, sizeof text);
    CHECK_TEXT(text, "");
    memory_make(&made, rank, NULL, false);
    stream_all(rank, &made, PA_NO_ROOT, PA_NO_ROOT);
    read_calls(text, sizeof text);
    CHECK_TEXT(text, "GroupStart AllGather AllGather AllGather GroupEnd ");
    stream_all(rank, &made, 1, PA_NO_ROOT);
    read_calls(text, sizeof text);
    CHECK_TEXT(text, rank->rank == 1 ? "GroupStart Recv Recv Recv GroupEnd "
                                     : "GroupStart Send Send Send GroupEnd ");
    check_gathered(&made);
    memory_free(&made);
    memory_make(&made, rank, NULL, true); /* nothing on rank 0 */
    stream_all(rank, &made, PA_NO_ROOT, PA_NO_ROOT);
    read_calls(text, sizeof text);
    CHECK_TEXT(text, "GroupStart Broadcast Broadcast Broadcast Broadcast GroupEnd ");
    check_gathered(&made);
    memory_free(&made);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%ld.calls", getenv("FAKES_RECORD"),
                   (long)getpid());
    (void)unlink(path);
}

static void
one_launch_moves_a_tree(void)
{
    char folder[] = "/tmp/pyaccel-test-XXXXXX";
    char variable[64];
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(variable, sizeof variable, "FAKES_RECORD=%s", folder);
    const char *const variables[] = {variable, NULL};
    on_devices(2, 60 * SECOND_NS, variables, 0, count_calls);
    CHECK(rmdir(folder) == 0);
}

/* ---- Graphs ---- */

static void
capture_and_launch(device_rank *rank)
{
    memory made;
    pa_cuda_stream stream = NULL;
    fake_graph *graph = NULL;
    open_nccl(rank);
    stream_make(rank, &stream);
    memory_make(&made, rank, stream, true);
    CHECK_EQUAL(fakes.capture_begin(stream, 0), PA_CUDA_SUCCESS);
    stream_work(rank, &made, PA_NO_ROOT, PA_NO_ROOT, true);
    rank->leaves = 2; /* what a graph may still write to */
    CHECK_EQUAL(fakes.capture_end(stream, &graph), PA_CUDA_SUCCESS);
    CHECK(!holds(made.recv[1][3].data, made.recv[1][3].nbytes, 1, 3));
    for (int launch = 0; launch < 2; launch++) {
        CHECK_EQUAL(fakes.graph_launch(graph, stream), PA_CUDA_SUCCESS);
        check_gathered(&made);
    }
    fakes.graph_destroy(graph);
    memory_free(&made);
    stream_end(rank, stream);
}

static void
work_can_be_captured(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, capture_and_launch);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(all_receive_what_all_send),
        TESTING(one_receives_what_all_send),
        TESTING(all_receive_what_one_sends),
        TESTING(all_reduce_as_the_host_does),
        TESTING(only_what_is_the_same_is_reduced),
        TESTING(several_streams_are_in_order),
        TESTING(one_launch_moves_a_tree),
        TESTING(calls_may_take_long),
        TESTING(work_can_be_captured),
    };
    return TESTING_RUN(cases);
}
