/* csrc/comm/device over NCCL where something fails: no rank waits for ever, every rank
 * learns why, and the host's work goes on. Every rank is a process with a fake GPU. */
#include "device_gather.h"

#include "comm/broadcast.h"

#include <sched.h>
#include <signal.h>

/* ---- Peers ---- */

static void
work_with_one_that_dies(device_rank *rank)
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
    /* It would wait for rank 1 on the GPU. */
    CHECK_EQUAL(gather_on(rank, &made, NULL, &error), PA_OK);
    await_failure(rank);
    CHECK(rank->status == PA_EPEER || rank->status == PA_EBROKEN);
    CHECK(strstr(rank->text, "gather: rank 1 ended while") != NULL);
    CHECK_EQUAL(rank->failures, 1);
    gather_end(rank, &made, NULL);
    CHECK_EQUAL(pa_barrier(rank->comm, NULL, &error), PA_EBROKEN);
    CHECK_EQUAL(gather_on(rank, &made, NULL, &error), PA_EBROKEN);
    CHECK(strstr(error.message, "rank 1 ended while") != NULL);
    gather_end(rank, &made, NULL);
}

static void
a_dead_peer_ends_the_work_of_all(void)
{
    for (int size = 2; size <= MOST_RANKS; size++) {
        on_devices(size, 60 * SECOND_NS, NULL, 1 << 1, work_with_one_that_dies);
    }
}

static void
leave_after_the_last_work(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    open_nccl(rank);
    CHECK_EQUAL(gather_on(rank, &made, NULL, &error), PA_OK);
    if (rank->rank == 0) {
        /* The others leave meanwhile, or try to: this rank's part is late. */
        CHECK_EQUAL(rank->cuda->StreamSynchronize(NULL), PA_CUDA_SUCCESS);
        for (int i = 0; i < BYTES * rank->size; i++) {
            CHECK_EQUAL(made.all[i], i / BYTES + 1);
        }
    }
    pa_device_nccl.close(rank->devices, false);
    CHECK_EQUAL(rank->failures, 0);
    gather_end(rank, &made, NULL);
}

static void
who_leaves_lets_its_work_end(void)
{
    static const char *const late[] = {"FAKES_DELAY_US=100000", NULL};
    on_devices(3, 60 * SECOND_NS, late, 0, leave_after_the_last_work);
}

/* ---- The deadline ---- */

static void
hold_one_back(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    pa_cuda_stream stream = NULL;
    open_nccl(rank);
    stream_make(rank, &stream);
    if (rank->rank == 1) {
        fakes.hold(stream);
    }
    CHECK_EQUAL(gather_on(rank, &made, stream, &error), PA_OK);
    (void)pa_barrier(rank->comm, NULL, &error); /* all have begun */
    pa_comm_set_timeout(rank->comm, SECOND_NS / 2);
    await_failure(rank);
    /* The work of rank 1 has not begun, so it is not late. */
    CHECK_EQUAL(rank->status, rank->rank == 1 ? PA_EBROKEN : PA_ETIMEOUT);
    CHECK(strstr(rank->text, "gather: the work of rank 0 on device 0 did not end "
                             "within 0.5 s of its beginning there: the GPU of rank 1 "
                             "has not come to it") != NULL);
    if (rank->rank == 1) {
        fakes.release(stream);
    }
    gather_end(rank, &made, stream);
    stream_end(rank, stream);
}

static void
work_has_a_deadline(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, hold_one_back);
}

/* NCCL that cannot connect is a way that is off; the group goes on. */
static void
open_and_wait(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    rank->devices->cuda = rank->cuda;
    pa_status status = pa_device_nccl.open(rank->devices, NULL, &error);
    CHECK_EQUAL(status, rank->rank == 0 ? PA_ETIMEOUT : PA_EREMOTE);
    CHECK(strstr(error.message, "NCCL did not connect the ranks within 2 s") != NULL);
    pa_device_nccl.close(rank->devices, false);
    pa_comm_set_timeout(rank->comm, 60 * SECOND_NS);
    CHECK_EQUAL(pa_barrier(rank->comm, NULL, &error), PA_OK);
}

static void
connecting_has_a_deadline(void)
{
    static const char *const never[] = {"FAKES_NCCL_POLLS=1000000000", NULL};
    on_devices(3, 2 * SECOND_NS, never, 0, open_and_wait);
}

/* ---- Calls ---- */

static void
open_where_one_fails(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    bool faulty = getenv("FAKES_FAIL")[0] == '0' + rank->rank;
    rank->devices->cuda = rank->cuda;
    pa_status status = pa_device_nccl.open(rank->devices, NULL, &error);
    CHECK(faulty ? status == PA_ESYSTEM : status == PA_EREMOTE);
    CHECK(strstr(error.message, "NCCL 2.28.9 failed") != NULL);
    CHECK(strstr(error.message, "NCCL_DEBUG=INFO") != NULL);
    CHECK(faulty || strncmp(error.message, "rank ", 5) == 0);
    /* NCCL cannot take back an id that nobody has connected with. */
    bool unused = strstr(error.message, "ncclCommInitRankConfig") != NULL;
    rank->leaves = unused && faulty && rank->rank == 0 ? 1 : 0;
    pa_device_nccl.close(rank->devices, false);
    /* There are other ways between the ranks. */
    CHECK_EQUAL(pa_barrier(rank->comm, NULL, &error), PA_OK);
}

static void
no_rank_waits_for_one_that_cannot_connect(void)
{
    static const char *const each[][2] = {
        {"FAKES_FAIL=0@ncclGetUniqueId:1:3", NULL},
        {"FAKES_FAIL=0@ncclCommInitRankConfig:1:2", NULL},
        {"FAKES_FAIL=1@ncclCommInitRankConfig:1:5", NULL},
        {"FAKES_FAIL=2@ncclCommGetAsyncError:1:1", NULL},
        {"FAKES_FAIL=1@ncclCommGetAsyncError:2:3", NULL},
    };
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        on_devices(3, 60 * SECOND_NS, each[i], 0, open_where_one_fails);
    }
}

static void
gather_where_one_fails(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    bool faulty = getenv("FAKES_FAIL")[0] == '0' + rank->rank;
    rank->devices->cuda = rank->cuda;
    if (pa_device_nccl.open(rank->devices, NULL, &error) != PA_OK) {
        /* Others were done before and have failed already. */
        CHECK(!faulty && strstr(error.message, " failed") != NULL);
        return;
    }
    pa_status status = gather_on(rank, &made, NULL, &error);
    if (faulty) {
        CHECK(status == PA_ESYSTEM || status == PA_EMEMORY);
        pa_comm_abort(rank->comm, error.message); /* as the caller does */
    } else if (status == PA_OK) {
        await_failure(rank);
        CHECK_EQUAL(rank->status, PA_EBROKEN);
    } else {
        CHECK_EQUAL(status, PA_EBROKEN);
    }
    gather_end(rank, &made, NULL);
    char text[PA_COMM_REASON];
    CHECK(pa_comm_broken(rank->comm, text, sizeof text));
    CHECK(strstr(text, " failed") != NULL);
}

static void
no_rank_waits_for_one_that_cannot_enqueue(void)
{
    static const char *const each[][2] = {
        {"FAKES_FAIL=1@ncclGroupStart:1:3", NULL},
        {"FAKES_FAIL=0@ncclAllGather:1:4", NULL},
        {"FAKES_FAIL=1@ncclGroupEnd:1:1", NULL},
        {"FAKES_FAIL=1@cudaEventCreateWithFlags:2:2", NULL},
        {"FAKES_FAIL=0@cudaEventRecord:1:719", NULL},
    };
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        on_devices(3, 60 * SECOND_NS, each[i], 0, gather_where_one_fails);
    }
}

/* ---- What NCCL sees ---- */

static void
fail_behind_the_call(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    pa_cuda_stream stream = NULL;
    open_nccl(rank);
    stream_make(rank, &stream);
    if (rank->rank == 1) {
        fakes.hold(stream);
    }
    CHECK_EQUAL(gather_on(rank, &made, stream, &error), PA_OK);
    /* All have begun then; the group may break while some still leave the barrier. */
    (void)pa_barrier(rank->comm, NULL, &error);
    if (rank->rank == 1) {
        CHECK(fakes.fail("ncclAsyncError:1:6"));
    }
    await_failure(rank);
    CHECK_EQUAL(rank->status, rank->rank == 1 ? PA_EPEER : PA_EBROKEN);
    CHECK(strstr(rank->text, "gather: the work of rank 1 on device 1 failed: ") !=
          NULL);
    CHECK(strstr(rank->text, "NCCL 2.28.9") != NULL);
    if (rank->rank == 1) {
        /* Its end would let the others' work end, before their watches have looked. */
        while (!pa_comm_rank_gone(rank->comm, 0) || !pa_comm_rank_gone(rank->comm, 2)) {
            (void)sched_yield();
        }
        fakes.release(stream);
    }
    gather_end(rank, &made, stream);
    stream_end(rank, stream);
}

static void
what_nccl_sees_later_ends_the_work(void)
{
    on_devices(3, 60 * SECOND_NS, NULL, 0, fail_behind_the_call);
}

/* ---- Fork ---- */

static void
fork_and_destroy(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    gathering made;
    open_nccl(rank);
    CHECK_EQUAL(gather_on(rank, &made, NULL, &error), PA_OK);
    pid_t child = fork();
    if (child == 0) {
        pa_comm_destroy(rank->comm); /* calls of CUDA end a forked child of the fakes */
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
    gather_end(rank, &made, NULL);
}

static void
a_forked_child_leaves_all_alone(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, fork_and_destroy);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(a_dead_peer_ends_the_work_of_all),
        TESTING(who_leaves_lets_its_work_end),
        TESTING(work_has_a_deadline),
        TESTING(connecting_has_a_deadline),
        TESTING(no_rank_waits_for_one_that_cannot_connect),
        TESTING(no_rank_waits_for_one_that_cannot_enqueue),
        TESTING(what_nccl_sees_later_ends_the_work),
        TESTING(a_forked_child_leaves_all_alone),
    };
    return TESTING_RUN(cases);
}
