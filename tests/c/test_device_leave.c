/* GPUs that are busy, ranks that leave or are killed, and streams that are captured on
 * some ranks only. Every rank is a process with a fake GPU. */
#include "device_trees.h"

#include <sched.h>
#include <signal.h>

/* ---- Devices that are busy, and ranks that leave ---- */

/* Rank 1's device is busy until rank 0 has left. */
static void
receive_behind(device_rank *rank)
{
    tree made;
    ask(rank, "staged");
    tree_make(&made, rank, 2, 60, 0, rank->rank, NULL);
    check_broadcast(&made, 0);
    if (rank->rank == 1) {
        /* Longer than a look at the peers; the root has left by the time it ends. */
        fakes.hold(NULL);
        pa_error error = PA_ERROR_INIT;
        CHECK_EQUAL(pa_broadcast(rank->comm, &made.leaves, 0, NULL, &error), PA_OK);
        while (pa_comm_gone(rank->comm) < 0) {
            (void)sched_yield();
        }
        fakes.release(NULL);
        synchronize(rank, made.places[0]);
        CHECK(holds(made.at[0].data, made.at[0].nbytes, 0, 0));
    } else {
        pa_error error = PA_ERROR_INIT;
        CHECK_EQUAL(pa_broadcast(rank->comm, &made.leaves, 0, NULL, &error), PA_OK);
        synchronize(rank, made.places[0]);
    }
    tree_free(&made);
}

static void
who_only_receives_does_not_wait_for_its_own_work(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, receive_behind);
}

/* Rank 1 leaves right after an operation of which rank 0's device has done nothing. */
static void
leave_early(device_rank *rank, const char *way)
{
    tree made;
    pa_error error = PA_ERROR_INIT;
    ask(rank, way);
    for (int round = 0; round < 3; round++) {
        tree_make(&made, rank, 2, 60, 0, rank->rank, NULL);
        CHECK_EQUAL(pa_broadcast(rank->comm, &made.leaves, 1, NULL, &error), PA_OK);
        if (round < 2) {
            synchronize(rank, made.places[0]);
            tree_free(&made);
        }
    }
    if (rank->rank == 1) {
        pa_comm_leave(rank->comm, true, NULL);
    }
    synchronize(rank, made.places[0]);
    CHECK(holds(made.at[0].data, made.at[0].nbytes, 1, 0));
    tree_free(&made);
}

static void
leave_early_staged(device_rank *rank)
{
    leave_early(rank, "staged");
}

static void
leave_early_by_ipc(device_rank *rank)
{
    leave_early(rank, "ipc");
}

static void
who_leaves_takes_nothing_from_the_others(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, leave_early_staged);
    for (int i = 0; i < 8; i++) { /* the last chunk, at different moments */
        on_devices(2, 60 * SECOND_NS, NULL, 0, leave_early_by_ipc);
    }
}

static void
broadcast_killed(device_rank *rank)
{
    tree made;
    pa_error error = PA_ERROR_INIT;
    ask(rank, "ipc");
    tree_make(&made, rank, 2, 60, 0, rank->rank, NULL);
    check_broadcast(&made, 0);
    if (rank->rank == 0) {
        /* Its bytes will never be in the slot. */
        fakes.hold(NULL);
    }
    pa_status status = pa_broadcast(rank->comm, &made.leaves, 0, NULL, &error);
    if (rank->rank == 0) {
        (void)raise(SIGKILL);
    }
    CHECK_EQUAL(status, PA_EPEER);
    CHECK(strstr(error.message, "rank 0") != NULL);
    synchronize(rank, made.places[0]);
    tree_free(&made);
}

static void
a_killed_rank_blocks_no_stream(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 1, broadcast_killed);
}

/* ---- What only some ranks do ---- */

static void
capture_on_one(device_rank *rank)
{
    tree made;
    pa_error error = PA_ERROR_INIT;
    fake_graph *graph = NULL;
    pa_cuda_stream stream = NULL;
    stream_make(rank, &stream);
    tree_make(&made, rank, 2, 60, 0, rank->rank, stream);
    check_broadcast(&made, 0);
    if (rank->rank == 1) {
        CHECK_EQUAL(fakes.capture_begin(stream, 0), PA_CUDA_SUCCESS);
    }
    CHECK_EQUAL(pa_broadcast(rank->comm, &made.leaves, 0, NULL, &error), PA_EARGUMENT);
    CHECK(strstr(error.message, "all must capture it") != NULL);
    if (rank->rank == 1) {
        CHECK_EQUAL(fakes.capture_end(stream, &graph), PA_CUDA_SUCCESS);
        fakes.graph_destroy(graph);
    }
    check_broadcast(&made, 0);
    tree_free(&made);
    stream_end(rank, stream);
}

static void
all_ranks_capture_or_none(void)
{
    on_devices(3, 60 * SECOND_NS, NULL, 0, capture_on_one);
}

static void
capture_staged(device_rank *rank)
{
    tree made;
    pa_error error = PA_ERROR_INIT;
    fake_graph *graph = NULL;
    pa_cuda_stream stream = NULL;
    stream_make(rank, &stream);
    ask(rank, "staged");
    tree_make(&made, rank, 2, 60, 0, rank->rank, stream);
    for (int joined = 0; joined < 2; joined++) {
        CHECK_EQUAL(fakes.capture_begin(stream, 0), PA_CUDA_SUCCESS);
        CHECK_EQUAL(pa_broadcast(rank->comm, &made.leaves, 0, NULL, &error),
                    PA_EARGUMENT);
        CHECK(strstr(error.message, joined ? "the way staged" : "sets them up") !=
              NULL);
        CHECK_EQUAL(fakes.capture_end(stream, &graph), PA_CUDA_SUCCESS);
        fakes.graph_destroy(graph);
        check_broadcast(&made, 0);
    }
    tree_free(&made);
    stream_end(rank, stream);
}

static void
what_cannot_be_captured_is_refused(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, capture_staged);
}

static void
open_without_staging(device_rank *rank)
{
    tree made;
    pa_error error = PA_ERROR_INIT;
    tree_make(&made, rank, 2, 60, 0, rank->rank, NULL);
    CHECK_EQUAL(pa_broadcast(rank->comm, &made.leaves, 0, NULL, &error), PA_EMEMORY);
    CHECK(strstr(error.message, "rank 1") != NULL);
    check_broadcast(&made, 0); /* the fault is over */
    tree_free(&made);
}

static void
no_group_is_without_the_staged_way(void)
{
    /* The call that only that way makes at its beginning; the first was for all. */
    static const char *const fault[] = {"FAKES_FAIL=1@cudaGetDeviceCount:2:999", NULL};
    on_devices(2, 60 * SECOND_NS, fault, 0, open_without_staging);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(who_only_receives_does_not_wait_for_its_own_work),
        TESTING(who_leaves_takes_nothing_from_the_others),
        TESTING(a_killed_rank_blocks_no_stream),
        TESTING(all_ranks_capture_or_none),
        TESTING(what_cannot_be_captured_is_refused),
        TESTING(no_group_is_without_the_staged_way),
    };
    return TESTING_RUN(cases);
}
