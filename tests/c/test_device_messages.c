/* csrc/comm/channel with leaves on devices: every rank is a process with a fake GPU. */
#include "device_ranks.h"

#include "comm/channel.h"
#include "comm/device/carry.h"

#include <signal.h>

enum { LEAVES = 3 };

static const pa_dtype bytes_dtype = {.code = PA_DTYPE_UINT, .bits = 8, .lanes = 1};

/* Bytes of the leaves of messages: around the borders of letters, small payloads and
 * chunks; the one in the middle stands on the host. */
static const size_t lengths[][LEAVES] = {
    {0, 0, 0},
    {1, 0, 7},
    {300, 20, 0},
    {0, 100, 0},
    {PA_CARRY_SMALL - 20, 10, 10},
    {PA_CARRY_SMALL, 0, 1},
    {PA_CARRY_CHUNK, 0, 0},
    {PA_CARRY_CHUNK - 5, 11, PA_CARRY_CHUNK},
    {(size_t)3 * PA_CARRY_CHUNK + 17, (size_t)2 * PA_CARRY_CHUNK, 1},
    {5, 5, 5},
};

enum { KINDS = sizeof lengths / sizeof lengths[0] };

static char
byte_of(int from, int number, size_t leaf, size_t i)
{
    return (char)(i * 7 + (i >> 10) + leaf * 31 + (size_t)number * 3 + (size_t)from);
}

/* A message's leaves, at one end. */
typedef struct memory {
    const pa_cuda *cuda;
    pa_place place;
    char *data[LEAVES];
    int64_t shapes[LEAVES];
    pa_leaf leaves[LEAVES];
    pa_part parts[LEAVES];
} memory;

static void
memory_make(memory *made, const device_rank *rank, int number, pa_cuda_stream stream,
            bool on_device)
{
    *made = (memory){.place = {rank->rank, stream}};
    for (size_t i = 0; i < LEAVES; i++) {
        size_t nbytes = lengths[number % KINDS][i];
        const pa_place *place = i != 1 && on_device ? &made->place : NULL;
        void *memory = NULL;
        if (place != NULL) {
            memory = fakes.alloc(rank->rank, nbytes + 1, stream);
        } else {
            CHECK_EQUAL(rank->cuda->HostAlloc(&memory, nbytes + 1, 0), PA_CUDA_SUCCESS);
        }
        made->cuda = rank->cuda;
        made->data[i] = memory;
        made->shapes[i] = (int64_t)nbytes;
        made->parts[i] = (pa_part){made->data[i], nbytes, place};
        made->leaves[i] = (pa_leaf){
            .data = made->data[i],
            .nbytes = nbytes,
            .itemsize = 1,
            .shape = &made->shapes[i],
            .ndim = 1,
            .dtype = bytes_dtype,
            .place = place,
        };
    }
}

static void
memory_free(memory *made)
{
    for (size_t i = 0; i < LEAVES; i++) {
        if (made->parts[i].place != NULL) {
            fakes.free(made->data[i]);
        } else {
            CHECK_EQUAL(made->cuda->FreeHost(made->data[i]), PA_CUDA_SUCCESS);
        }
    }
}

static pa_status
try_send(device_rank *rank, int to, memory *made, int64_t tag, pa_error *error)
{
    pa_message message = {
        .op = PA_OP_SEND, .tag = tag, .leaves = {made->leaves, LEAVES, 0}};
    return pa_channel_send(rank->comm, to, &message, NULL, error);
}

/* Sends a message; its memory is overwritten at once, in order on the stream. */
static void
send_one(device_rank *rank, int to, int number, pa_cuda_stream stream, bool on_device)
{
    pa_error error = PA_ERROR_INIT;
    memory made;
    memory_make(&made, rank, number, stream, on_device);
    for (size_t i = 0; i < LEAVES; i++) {
        for (size_t at = 0; at < made.parts[i].nbytes; at++) {
            made.data[i][at] = byte_of(rank->rank, number, i, at);
        }
    }
    pa_status status = try_send(rank, to, &made, number, &error);
    CHECK_TEXT(error.message, "");
    CHECK_EQUAL(status, PA_OK);
    memory_free(&made);
}

static void
receive_one(device_rank *rank, int from, int number, pa_cuda_stream stream,
            bool on_device)
{
    pa_error error = PA_ERROR_INIT;
    pa_incoming in;
    memory made;
    memory_make(&made, rank, number, stream, on_device);
    CHECK_EQUAL(
        pa_channel_receive(rank->comm, PA_OP_RECV, from, number, 0, &in, NULL, &error),
        PA_OK);
    pa_status status = pa_channel_take(&in, made.parts, LEAVES, NULL, &error);
    CHECK_TEXT(error.message, "");
    CHECK_EQUAL(status, PA_OK);
    pa_incoming_fini(&in);
    CHECK_EQUAL(rank->cuda->StreamSynchronize(stream), PA_CUDA_SUCCESS);
    for (size_t i = 0; i < LEAVES; i++) {
        size_t wrong = 0;
        for (size_t at = 0; at < made.parts[i].nbytes; at++) {
            wrong += made.data[i][at] != byte_of(from, number, i, at);
        }
        CHECK_EQUAL(wrong, 0);
    }
    memory_free(&made);
}

static void
meet(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    pa_card cards[MOST_RANKS];
    pa_card card = {.op = PA_OP_BARRIER, .root = PA_NO_ROOT};
    CHECK_EQUAL(pa_comm_meet(rank->comm, &card, cards, NULL, &error), PA_OK);
}

/* ---- Messages ---- */

/* All send everything, to themselves too, before they receive anything. */
static void
exchange_all(device_rank *rank)
{
    for (int number = 0; number < KINDS; number++) {
        for (int to = 0; to < rank->size; to++) {
            send_one(rank, to, number, NULL, true);
        }
    }
    for (int from = 0; from < rank->size; from++) {
        for (int number = 0; number < KINDS; number++) {
            receive_one(rank, from, number, NULL, true);
        }
    }
}

static void
messages_come_in_order_from_every_rank(void)
{
    for (int size = 1; size <= 3; size++) {
        on_devices(size, 60 * SECOND_NS, NULL, 0, exchange_all);
    }
}

/* Each side on the host and on a device. */
static void
mix_sides(device_rank *rank)
{
    for (int number = 0; number < 4 * KINDS; number++) {
        bool sender = (number / KINDS & 1) != 0;
        bool receiver = (number / KINDS & 2) != 0;
        if (rank->rank == 0) {
            send_one(rank, 1, number, NULL, sender);
        } else {
            receive_one(rank, 0, number, NULL, receiver);
        }
    }
}

static void
either_side_may_be_the_host(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, mix_sides);
}

static void
on_streams(device_rank *rank)
{
    enum { STREAMS = 3 };
    pa_cuda_stream streams[STREAMS];
    for (size_t i = 0; i < STREAMS; i++) {
        stream_make(rank, &streams[i]);
    }
    int peer = 1 - rank->rank;
    for (int number = 0; number < 3 * KINDS; number++) {
        send_one(rank, peer, number, streams[number % STREAMS], true);
        receive_one(rank, peer, number, streams[(number + 1) % STREAMS], true);
    }
    for (size_t i = 0; i < STREAMS; i++) {
        stream_end(rank, streams[i]);
    }
}

static void
streams_may_change_from_message_to_message(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, on_streams);
}

/* ---- What is wrong ---- */

enum { LARGE = 8 }; /* the message in several chunks */

static void
refuse_one(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    pa_incoming in;
    if (rank->rank == 0) {
        send_one(rank, 1, LARGE, NULL, true);
        send_one(rank, 1, 1, NULL, true);
        meet(rank);
        return;
    }
    meet(rank);
    CHECK_EQUAL(pa_channel_receive(rank->comm, PA_OP_RECV, 0, 99, 0, &in, NULL, &error),
                PA_EMISMATCH);
    pa_incoming_fini(&in);
    receive_one(rank, 0, 1, NULL, true);
}

static void
a_refused_message_is_passed_by(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, refuse_one);
}

static void
cannot_take(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    memory made;
    pa_incoming in;
    memory_make(&made, rank, LARGE, NULL, true);
    if (rank->rank == 0) {
        CHECK(fakes.fail("cudaHostAlloc:1:2"));
        CHECK_EQUAL(try_send(rank, 1, &made, 0, &error), PA_EMEMORY);
        CHECK(fakes.fail(""));
        send_one(rank, 1, LARGE, NULL, true);
        send_one(rank, 1, 1, NULL, true);
        meet(rank);
    } else {
        meet(rank);
        CHECK_EQUAL(
            pa_channel_receive(rank->comm, PA_OP_RECV, 0, LARGE, 0, &in, NULL, &error),
            PA_OK);
        CHECK(fakes.fail("cudaHostAlloc:1:2"));
        CHECK_EQUAL(pa_channel_take(&in, made.parts, LEAVES, NULL, &error), PA_EMEMORY);
        CHECK(fakes.fail(""));
        CHECK_EQUAL(pa_channel_drop(&in, "no memory", NULL, &error), PA_OK);
        pa_incoming_fini(&in);
        receive_one(rank, 0, 1, NULL, true);
    }
    memory_free(&made);
    CHECK(!pa_comm_broken(rank->comm, error.message, sizeof error.message));
}

static void
want_of_pinned_memory_costs_one_message(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, cannot_take);
}

static void
capture_one(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    pa_cuda_stream stream = NULL;
    fake_graph *graph = NULL;
    memory made;
    stream_make(rank, &stream);
    memory_make(&made, rank, 1, stream, true);
    CHECK_EQUAL(fakes.capture_begin(stream, 0), PA_CUDA_SUCCESS);
    CHECK_EQUAL(try_send(rank, 0, &made, 0, &error), PA_EARGUMENT);
    CHECK(strstr(error.message, "cannot be captured") != NULL);
    CHECK_EQUAL(fakes.capture_end(stream, &graph), PA_CUDA_SUCCESS);
    fakes.graph_destroy(graph);
    memory_free(&made);
    stream_end(rank, stream);
}

static void
messages_are_not_captured(void)
{
    on_devices(1, 60 * SECOND_NS, NULL, 0, capture_one);
}

static void
lose_device(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    pa_incoming in;
    memory made;
    memory_make(&made, rank, LARGE, NULL, true);
    if (rank->rank == 0) {
        /* The copy of the fourth chunk, when three have left. */
        CHECK(fakes.fail("cudaMemcpyAsync:4:700"));
        CHECK(try_send(rank, 1, &made, 0, &error) != PA_OK);
        CHECK(strstr(error.message, "rank 0 failed on GPU 0") != NULL);
        CHECK(fakes.fail(""));
    } else {
        /* The group may be broken before the letter is read, or after. */
        pa_status status =
            pa_channel_receive(rank->comm, PA_OP_RECV, 0, 0, 0, &in, NULL, &error);
        if (status == PA_OK) {
            status = pa_channel_take(&in, made.parts, LEAVES, NULL, &error);
        }
        CHECK(status == PA_EBROKEN || status == PA_EPEER);
        CHECK(strstr(error.message, "rank 0 failed on GPU 0") != NULL);
        pa_incoming_fini(&in);
    }
    memory_free(&made);
}

static void
an_error_amid_a_message_reaches_both_sides(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, lose_device);
}

static void
be_killed(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    pa_incoming in;
    memory made;
    if (rank->rank == 0) {
        send_one(rank, 1, LARGE, NULL, true);
        /* The pinned memory of the dead is nobody's to count. */
        (void)kill(getpid(), SIGKILL);
    }
    receive_one(rank, 0, LARGE, NULL, true);
    memory_make(&made, rank, LARGE, NULL, true);
    CHECK_EQUAL(pa_channel_receive(rank->comm, PA_OP_RECV, 0, 0, 0, &in, NULL, &error),
                PA_EPEER);
    CHECK(strstr(error.message, "rank 0") != NULL);
    memory_free(&made);
}

static void
what_a_killed_rank_has_sent_is_received(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 1, be_killed);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(messages_come_in_order_from_every_rank),
        TESTING(either_side_may_be_the_host),
        TESTING(streams_may_change_from_message_to_message),
        TESTING(a_refused_message_is_passed_by),
        TESTING(want_of_pinned_memory_costs_one_message),
        TESTING(messages_are_not_captured),
        TESTING(an_error_amid_a_message_reaches_both_sides),
        TESTING(what_a_killed_rank_has_sent_is_received),
    };
    return TESTING_RUN(cases);
}
