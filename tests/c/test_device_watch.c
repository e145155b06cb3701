/* The watch over work on GPUs: what graphs replay, what the caller's own work has to do
 * with it, and leaving. Every rank is a process with a fake GPU. */
#include "device_gather.h"

#include "base/clock.h"
#include "comm/broadcast.h"
#include "comm/device/leave.h"
#include "comm/device/note.h"

#include <signal.h>

/* ---- Notes ---- */

static void
notes_are_asked_for_by_their_streams(void)
{
    static const uintptr_t streams[] = {16, 32, 16, 16, 32};
    pa_note notes[5] = {{0}};
    pa_note *firsts = NULL;
    CHECK_EQUAL(pa_notes_ended(firsts, 5), 5);
    for (size_t i = 0; i < 5; i++) {
        notes[i].stream = (pa_cuda_stream)streams[i];
        notes[i].number = i + 1;
        pa_notes_add(&firsts, &notes[i]);
    }
    /* One of each stream, the others behind these. */
    CHECK(firsts == &notes[1] && firsts->next == &notes[0] && notes[0].next == NULL);
    CHECK_EQUAL(pa_notes_ended(firsts, 5), 0);
    CHECK_EQUAL(pa_notes_begun(firsts, 5), 0);
    notes[0].running_ns = 1;
    CHECK_EQUAL(pa_notes_begun(firsts, 5), 1);
    notes[1].running_ns = 1;
    CHECK_EQUAL(pa_notes_begun(firsts, 5), 2);
    CHECK(pa_notes_take(&firsts->next) == &notes[0]);
    CHECK(firsts->next == &notes[2]);
    CHECK_EQUAL(pa_notes_ended(firsts, 5), 1);
    CHECK(pa_notes_take(&firsts) == &notes[1] && pa_notes_take(&firsts) == &notes[4]);
    CHECK(firsts == &notes[2]);
    CHECK_EQUAL(pa_notes_ended(firsts, 5), 2);
    CHECK(pa_notes_take(&firsts) == &notes[2] && pa_notes_take(&firsts) == &notes[3]);
    CHECK(firsts == NULL);
}

/* ---- Graphs ---- */

/* A graph of one gather, which was launched once. */
static void
capture(device_rank *rank, gathering *made, pa_cuda_stream stream, fake_graph **graph)
{
    pa_error error = PA_ERROR_INIT;
    gather_make(rank, made, stream);
    CHECK_EQUAL(fakes.capture_begin(stream, 0), PA_CUDA_SUCCESS);
    CHECK_EQUAL(gather_enqueue(rank, made, true, &error), PA_OK);
    CHECK_TEXT(error.message, "");
    CHECK_EQUAL(fakes.capture_end(stream, graph), PA_CUDA_SUCCESS);
    rank->leaves = 2; /* to which a graph may still write */
    CHECK_EQUAL(fakes.graph_launch(*graph, stream), PA_CUDA_SUCCESS);
    CHECK_EQUAL(rank->cuda->StreamSynchronize(stream), PA_CUDA_SUCCESS);
    for (int i = 0; i < BYTES * rank->size; i++) {
        CHECK_EQUAL(made->all[i], i / BYTES + 1);
    }
}

static void
replay_with_one_that_dies(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    open_nccl(rank);
    pa_cuda_stream stream = NULL;
    new_stream(rank, &stream);
    fake_graph *graph = NULL;
    capture(rank, &made, stream, &graph);
    CHECK_EQUAL(pa_barrier(rank->comm, NULL, &error), PA_OK);
    if (rank->rank == 1) {
        (void)raise(SIGKILL);
    }
    CHECK_EQUAL(fakes.graph_launch(graph, stream), PA_CUDA_SUCCESS);
    await_failure(rank);
    CHECK(rank->status == PA_EPEER || rank->status == PA_EBROKEN);
    CHECK(strstr(rank->text, "gather: rank 1 ended while") != NULL);
    gather_end(rank, &made, stream);
    fakes.graph_destroy(graph);
    stream_end(rank, stream);
}

static void
a_dead_peer_ends_what_is_replayed(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 1 << 1, replay_with_one_that_dies);
    on_devices(3, 60 * SECOND_NS, NULL, 1 << 1, replay_with_one_that_dies);
}

static bool
has_failed(const pa_devices *devices)
{
    device_rank *rank = devices->failed_context;
    (void)pthread_mutex_lock(&rank->lock);
    bool failed = rank->failures > 0;
    (void)pthread_mutex_unlock(&rank->lock);
    return failed;
}

static bool
is_alone(const pa_devices *devices)
{
    return pa_comm_gone(devices->comm) >= 0;
}

/* Rank 1 leaves after its replays, and rank 0 goes on without it. */
static void
replay_and_leave(device_rank *rank)
{
    gathering made;
    open_nccl(rank);
    pa_cuda_stream stream = NULL;
    new_stream(rank, &stream);
    fake_graph *graph = NULL;
    capture(rank, &made, stream, &graph);
    gather_end(rank, &made, stream);
    fakes.graph_destroy(graph);
    if (rank->rank == 0) {
        CHECK(pa_device_await(rank->devices, is_alone, 60 * SECOND_NS));
        /* The watch looks several times meanwhile. */
        CHECK(!pa_device_await(rank->devices, has_failed, SECOND_NS / 5));
    }
    stream_end(rank, stream);
}

static void
a_peer_may_leave_when_no_replay_runs(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, replay_and_leave);
}

enum { GRAPHS = 600 };

/* More work than one block of marks has words for. */
static void
capture_many(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    fake_graph *graph = NULL;
    open_nccl(rank);
    pa_cuda_stream stream = NULL;
    new_stream(rank, &stream);
    gather_make(rank, &made, stream);
    CHECK_EQUAL(fakes.capture_begin(stream, 0), PA_CUDA_SUCCESS);
    for (int i = 0; i < GRAPHS; i++) {
        CHECK_EQUAL(gather_enqueue(rank, &made, true, &error), PA_OK);
    }
    CHECK_EQUAL(fakes.capture_end(stream, &graph), PA_CUDA_SUCCESS);
    rank->leaves = 3;
    CHECK_EQUAL(fakes.graph_launch(graph, stream), PA_CUDA_SUCCESS);
    gather_end(rank, &made, stream);
    CHECK(!has_failed(rank->devices));
    fakes.graph_destroy(graph);
    stream_end(rank, stream);
}

static void
any_number_of_pieces_can_be_captured(void)
{
    static const char *const quick[] = {"FAKES_DELAY_US=0", NULL};
    on_devices(2, 60 * SECOND_NS, quick, 0, capture_many);
}

/* ---- What else is on the device ---- */

/* An abort of NCCL frees memory, and that waits for the caller's own work. */
static void
fail_while_busy(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    open_nccl(rank);
    CHECK_EQUAL(gather_on(rank, &made, NULL, &error), PA_OK);
    gather_end(rank, &made, NULL);
    CHECK_EQUAL(pa_barrier(rank->comm, NULL, &error), PA_OK);
    if (rank->rank == 1) {
        (void)raise(SIGKILL);
    }
    pa_cuda_stream busy = NULL;
    new_stream(rank, &busy);
    pa_cuda_event event = NULL;
    CHECK_EQUAL(rank->cuda->EventCreateWithFlags(&event, PA_CUDA_EVENT_DISABLE_TIMING),
                PA_CUDA_SUCCESS);
    fakes.hold(busy);
    CHECK_EQUAL(rank->cuda->EventRecord(event, busy), PA_CUDA_SUCCESS);
    CHECK_EQUAL(gather_on(rank, &made, NULL, &error), PA_OK);
    await_failure(rank);
    gather_end(rank, &made, NULL);
    CHECK_EQUAL(gather_on(rank, &made, NULL, &error), PA_EBROKEN);
    gather_end(rank, &made, NULL);
    pa_device_nccl.close(rank->devices, false);
    fakes.release(busy);
    CHECK_EQUAL(rank->cuda->StreamSynchronize(busy), PA_CUDA_SUCCESS);
    CHECK_EQUAL(rank->cuda->EventDestroy(event), PA_CUDA_SUCCESS);
    stream_end(rank, busy);
}

static void
errors_do_not_wait_for_other_work(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 1 << 1, fail_while_busy);
}

/* The caller is inside NCCL, which waits for room behind a kernel that never ends. */
static void
fill_the_queue(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made[2];
    open_nccl(rank);
    CHECK_EQUAL(pa_barrier(rank->comm, NULL, &error), PA_OK);
    if (rank->rank == 1) {
        (void)raise(SIGKILL);
    }
    CHECK_EQUAL(gather_on(rank, &made[0], NULL, &error), PA_OK);
    CHECK_EQUAL(gather_on(rank, &made[1], NULL, &error), PA_EBROKEN);
    CHECK(strstr(error.message, "rank 1 ended while") != NULL);
    await_failure(rank);
    CHECK(strstr(rank->text, "rank 1 ended while") != NULL);
    gather_end(rank, &made[0], NULL);
    gather_end(rank, &made[1], NULL);
}

static void
who_waits_for_room_is_let_go(void)
{
    static const char *const full[] = {"FAKES_NCCL_QUEUE=1", NULL};
    on_devices(2, 60 * SECOND_NS, full, 1 << 1, fill_the_queue);
}

/* CUDA says so once the process ends and it has ended before us. */
static void
ask_after_the_end(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    open_nccl(rank);
    if (rank->rank == 1) {
        CHECK(fakes.fail("cudaEventQuery:1+:4"));
    }
    CHECK_EQUAL(gather_on(rank, &made, NULL, &error), PA_OK);
    CHECK(!pa_device_await(rank->devices, has_failed, SECOND_NS / 5));
    gather_end(rank, &made, NULL);
    CHECK_EQUAL(pa_barrier(rank->comm, NULL, &error), PA_OK);
}

static void
the_end_of_cuda_is_no_failure(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, ask_after_the_end);
}

/* ---- Leaving ---- */

static bool
stop_at_once(void *context, uint64_t waited_ns, int missing)
{
    (void)waited_ns;
    (void)missing;
    ++*(int *)context;
    return false;
}

/* Rank 0 leaves while its stream is held, and so do the others, who wait for it. */
static void
leave_while_held(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    bool stops = getenv("STOPS") != NULL;
    int ticks = 0;
    pa_hooks hooks = {.context = &ticks, .tick = stop_at_once};
    open_nccl(rank);
    pa_cuda_stream stream = NULL;
    new_stream(rank, &stream);
    if (rank->rank == 0) {
        fakes.hold(stream);
    }
    CHECK_EQUAL(gather_on(rank, &made, stream, &error), PA_OK);
    CHECK_EQUAL(pa_barrier(rank->comm, NULL, &error), PA_OK);
    if (rank->rank == 0) {
        pa_comm_set_timeout(rank->comm, stops ? 60 * SECOND_NS : SECOND_NS / 2);
        pa_comm_leave(rank->comm, false, stops ? &hooks : NULL);
        CHECK_EQUAL(ticks, stops ? 1 : 0);
        fakes.release(stream);
    } else {
        await_failure(rank);
        CHECK(strstr(rank->text, "rank 0 left the group while work on GPUs had not "
                                 "ended") != NULL ||
              strstr(rank->text, "rank 0 ended while") != NULL);
    }
    gather_end(rank, &made, stream);
    stream_end(rank, stream);
}

static void
leaving_has_a_deadline_and_can_be_stopped(void)
{
    static const char *const stops[] = {"STOPS=1", NULL};
    on_devices(2, 60 * SECOND_NS, NULL, 0, leave_while_held);
    on_devices(2, 60 * SECOND_NS, stops, 0, leave_while_held);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(notes_are_asked_for_by_their_streams),
        TESTING(a_dead_peer_ends_what_is_replayed),
        TESTING(a_peer_may_leave_when_no_replay_runs),
        TESTING(any_number_of_pieces_can_be_captured),
        TESTING(errors_do_not_wait_for_other_work),
        TESTING(who_waits_for_room_is_let_go),
        TESTING(the_end_of_cuda_is_no_failure),
        TESTING(leaving_has_a_deadline_and_can_be_stopped),
    };
    return TESTING_RUN(cases);
}
