/* Operations on leaves of GPUs, over each way between them: the same values whatever
 * the way, the place and the mixture. Every rank is a process with a fake GPU, whose
 * streams run late. */
#include "device_ranks.h"

#include "comm/broadcast.h"
#include "comm/device/choice.h"
#include "comm/gather.h"
#include "comm/reduce.h"

#include <sched.h>
#include <signal.h>

/* ---- One structure of leaves ---- */

enum { LEAVES = 3, MOST_COLUMNS = 1 << 21 };

static const pa_dtype bytes8 = {PA_DTYPE_UINT, 8, 1, 0};
static const pa_dtype float32 = {PA_DTYPE_FLOAT, 32, 1, 0};

/* Leaves of `rows` x `columns`, each on the host or on a device. */
typedef struct tree {
    device_rank *rank;
    pa_place places[LEAVES];
    bool on_host[LEAVES];
    int64_t shapes[LEAVES][2];
    pa_leaf at[LEAVES];
    pa_leaves leaves;
} tree;

static char *
make_memory(const tree *made, size_t leaf, size_t nbytes)
{
    return made->on_host[leaf] ? malloc(nbytes + 1)
                               : fakes.alloc(made->places[leaf].device, nbytes + 1,
                                             made->places[leaf].stream);
}

static void
free_memory(const tree *made, size_t leaf, char *memory)
{
    if (made->on_host[leaf]) {
        free(memory);
    } else {
        fakes.free(memory);
    }
}

static char
value_of(int rank, size_t leaf, size_t index)
{
    return (char)(index * 5 + index / 253 + (size_t)rank * 17 + leaf * 29);
}

/* `hosts`: a bit for each leaf that stands on the host. */
static void
tree_make(tree *made, device_rank *rank, int64_t rows, int64_t columns,
          unsigned int hosts, int device, pa_cuda_stream stream)
{
    *made = (tree){.rank = rank};
    for (size_t leaf = 0; leaf < LEAVES; leaf++) {
        int64_t own_columns = leaf == 1 ? 3 : columns;
        size_t nbytes = (size_t)rows * (size_t)own_columns;
        made->places[leaf] = (pa_place){device, stream};
        made->on_host[leaf] = (hosts >> leaf & 1) != 0;
        made->shapes[leaf][0] = rows;
        made->shapes[leaf][1] = own_columns;
        made->at[leaf] = (pa_leaf){
            .data = make_memory(made, leaf, nbytes),
            .nbytes = nbytes,
            .itemsize = 1,
            .shape = made->shapes[leaf],
            .ndim = 2,
            .dtype = bytes8,
            .place = made->on_host[leaf] ? NULL : &made->places[leaf],
        };
        for (size_t i = 0; i < nbytes; i++) {
            made->at[leaf].data[i] = value_of(rank->rank, leaf, i);
        }
    }
    made->leaves = (pa_leaves){made->at, LEAVES, 1};
}

static void
tree_free(tree *made)
{
    for (size_t leaf = 0; leaf < LEAVES; leaf++) {
        free_memory(made, leaf, made->at[leaf].data);
    }
}

static void
synchronize(device_rank *rank, pa_place place)
{
    CHECK_EQUAL(rank->cuda->SetDevice(place.device), PA_CUDA_SUCCESS);
    CHECK_EQUAL(rank->cuda->StreamSynchronize(place.stream), PA_CUDA_SUCCESS);
    CHECK_EQUAL(rank->cuda->SetDevice(rank->rank), PA_CUDA_SUCCESS);
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

/* ---- Operations ---- */

/* Rows of a rank, where they are to differ. */
static int64_t
rows_of(int rank, bool uneven)
{
    return uneven ? rank % 3 : 2;
}

static void
check_gather(tree *made, int root, bool uneven)
{
    device_rank *rank = made->rank;
    pa_error error = PA_ERROR_INIT;
    pa_gather gather;
    char *outputs[LEAVES] = {NULL};
    pa_status status = pa_gather_begin(&gather, rank->comm, &made->leaves, root, false,
                                       false, NULL, &error);
    CHECK_TEXT(error.message, "");
    CHECK_EQUAL(status, PA_OK);
    bool receives = pa_gather_receives(&gather);
    for (size_t leaf = 0; leaf < LEAVES && receives; leaf++) {
        outputs[leaf] = make_memory(
            made, leaf,
            (size_t)(pa_gather_rows(&gather, leaf) * made->shapes[leaf][1]));
    }
    status = pa_gather_finish(&gather, outputs, NULL, &error);
    CHECK_TEXT(error.message, "");
    CHECK_EQUAL(status, PA_OK);
    pa_gather_fini(&gather);
    synchronize(rank, made->places[0]);
    for (size_t leaf = 0; leaf < LEAVES && receives; leaf++) {
        const char *at = outputs[leaf];
        for (int peer = 0; peer < rank->size; peer++) {
            size_t nbytes = (size_t)(rows_of(peer, uneven) * made->shapes[leaf][1]);
            CHECK(holds(at, nbytes, peer, leaf));
            at += nbytes;
        }
        free_memory(made, leaf, outputs[leaf]);
    }
}

static void
check_broadcast(tree *made, int root)
{
    pa_error error = PA_ERROR_INIT;
    pa_status status =
        pa_broadcast(made->rank->comm, &made->leaves, root, NULL, &error);
    CHECK_TEXT(error.message, "");
    CHECK_EQUAL(status, PA_OK);
    synchronize(made->rank, made->places[0]);
    for (size_t leaf = 0; leaf < LEAVES; leaf++) {
        CHECK(holds(made->at[leaf].data, made->at[leaf].nbytes, root, leaf));
    }
}

/* Every operation once, on leaves of that size. */
static void
check_all(device_rank *rank, int64_t columns, unsigned int hosts, int device,
          pa_cuda_stream stream)
{
    tree made;
    for (int uneven = 0; uneven < 2; uneven++) {
        tree_make(&made, rank, rows_of(rank->rank, uneven != 0), columns, hosts, device,
                  stream);
        check_gather(&made, PA_NO_ROOT, uneven != 0);
        check_gather(&made, rank->size - 1, uneven != 0);
        tree_free(&made);
    }
    for (int root = 0; root < rank->size; root++) {
        tree_make(&made, rank, 2, columns, hosts, device, stream);
        check_broadcast(&made, root);
        tree_free(&made);
    }
}

/* ---- Each way ---- */

static void
ask(device_rank *rank, const char *rows)
{
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_devices_ask(rank->comm, rows, &error), PA_OK);
}

/* The way that was taken, as the first row of the choice. */
static void
check_way(const device_rank *rank, const char *name)
{
    CHECK(rank->devices->choice.count > 0);
    CHECK_TEXT(rank->devices->choice.rows[0].way->name, name);
}

static void
work_by(device_rank *rank, const char *way)
{
    pa_cuda_stream stream = NULL;
    CHECK_EQUAL(rank->cuda->StreamCreateWithFlags(&stream, PA_CUDA_STREAM_NON_BLOCKING),
                PA_CUDA_SUCCESS);
    ask(rank, way);
    for (unsigned int hosts = 0; hosts < 8; hosts += 3) { /* none, two, two others */
        check_all(rank, 50, hosts, rank->rank, NULL);
        check_all(rank, 4000, hosts, rank->rank, stream);
    }
    check_way(rank, way);
    CHECK_EQUAL(rank->cuda->StreamDestroy(stream), PA_CUDA_SUCCESS);
}

static void
work_staged(device_rank *rank)
{
    work_by(rank, "staged");
}

static void
work_by_ipc(device_rank *rank)
{
    work_by(rank, "ipc");
}

static void
work_by_nccl(device_rank *rank)
{
    work_by(rank, "nccl");
}

static void
values_are_the_same_by_every_way(void)
{
    for (int size = 2; size <= MOST_RANKS; size++) {
        on_devices(size, 60 * SECOND_NS, NULL, 0, work_staged);
        on_devices(size, 60 * SECOND_NS, NULL, 0, work_by_ipc);
        on_devices(size, 60 * SECOND_NS, NULL, 0, work_by_nccl);
    }
}

/* More than two chunks of the staged way, and than two slots of ipc. */
static void
work_on_much(device_rank *rank)
{
    check_all(rank, 5 * MOST_COLUMNS + 77, 0, rank->rank, NULL);
}

static void
much_by_ipc(device_rank *rank)
{
    ask(rank, "ipc");
    work_on_much(rank);
}

static void
much_staged(device_rank *rank)
{
    ask(rank, "staged");
    work_on_much(rank);
}

static void
large_payloads_go_in_chunks(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, much_by_ipc);
    on_devices(2, 60 * SECOND_NS, NULL, 0, much_staged);
}

/* ---- Mixtures ---- */

/* Rank 0 has its leaves on the host, the others on their devices. */
static void
work_apart(device_rank *rank)
{
    check_all(rank, 300, rank->rank == 0 ? 7 : 0, rank->rank, NULL);
    check_all(rank, 5, rank->rank == 0 ? 7 : 2, rank->rank, NULL);
    check_way(rank, "nccl");
    check_all(rank, 300, 0, rank->rank, NULL);
}

/* Rank 1's leaves are on rank 0's device. */
static void
work_elsewhere(device_rank *rank)
{
    check_all(rank, 300, 0, rank->rank == 1 ? 0 : rank->rank, NULL);
    check_all(rank, 300, 0, rank->rank, NULL);
}

static void
any_mixture_of_places_is_served(void)
{
    on_devices(2, 60 * SECOND_NS, NULL, 0, work_apart);
    on_devices(3, 60 * SECOND_NS, NULL, 0, work_apart);
    on_devices(3, 60 * SECOND_NS, NULL, 0, work_elsewhere);
}

/* ---- Reducing ---- */

enum { NUMBERS = 700000 };

static void
check_reduce(device_rank *rank, int64_t count, pa_reduction reduction, double scale,
             bool on_host)
{
    pa_error error = PA_ERROR_INIT;
    size_t nbytes = (size_t)count * sizeof(float);
    pa_place place = {rank->rank, NULL};
    float *own = on_host ? malloc(nbytes) : fakes.alloc(rank->rank, nbytes, NULL);
    float *sum = on_host ? malloc(nbytes) : fakes.alloc(rank->rank, nbytes, NULL);
    for (int64_t i = 0; i < count; i++) {
        own[i] = (float)(i % 100 + rank->rank);
    }
    pa_leaf at = {(char *)own, nbytes, 4, &count, 1, float32, on_host ? NULL : &place};
    pa_leaves leaves = {&at, 1, 1};
    char *outputs[] = {(char *)sum};
    pa_status status =
        pa_reduce(rank->comm, &leaves, reduction, scale, outputs, NULL, &error);
    CHECK_TEXT(error.message, "");
    CHECK_EQUAL(status, PA_OK);
    synchronize(rank, place);
    int size = rank->size;
    for (int64_t i = 0; i < count; i++) {
        double base = (double)(i % 100);
        double total = base * size + size * (size - 1) / 2.0;
        double wanted = reduction == PA_REDUCTION_SUM    ? total
                        : reduction == PA_REDUCTION_MEAN ? total / size
                        : reduction == PA_REDUCTION_MAX  ? base + size - 1
                        : reduction == PA_REDUCTION_MIN  ? base
                                                         : base + rank->rank;
        double off = (double)sum[i] - wanted * scale;
        CHECK(off < 1e-4 && off > -1e-4);
    }
    if (on_host) {
        free(own);
        free(sum);
    } else {
        fakes.free(own);
        fakes.free(sum);
    }
}

static void
reduce_all(device_rank *rank)
{
    static const pa_reduction all[] = {PA_REDUCTION_SUM, PA_REDUCTION_MEAN,
                                       PA_REDUCTION_MAX, PA_REDUCTION_MIN,
                                       PA_REDUCTION_NONE};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        check_reduce(rank, 11, all[i], 1.0, false);
        check_reduce(rank, 11, all[i], 0.5, false);
        check_reduce(rank, 11, all[i], 0.5, rank->rank == 0);
    }
    check_reduce(rank, 2 * NUMBERS, PA_REDUCTION_SUM, 1.0, false);
}

static void
reduce_staged(device_rank *rank)
{
    ask(rank, "staged");
    reduce_all(rank);
}

static void
reduce_by_ipc(device_rank *rank)
{
    ask(rank, "ipc");
    reduce_all(rank);
}

static void
sums_are_the_same_by_every_way(void)
{
    for (int size = 2; size <= 3; size++) {
        on_devices(size, 60 * SECOND_NS, NULL, 0, reduce_staged);
        on_devices(size, 60 * SECOND_NS, NULL, 0, reduce_by_ipc);
        on_devices(size, 60 * SECOND_NS, NULL, 0, reduce_all);
    }
}

/* ---- The choice ---- */

static void
rows_are_read_and_written(void)
{
    static const char *const wrong[] = {"",
                                        "mpi",
                                        "nccl,",
                                        "nccl<=4K",
                                        "staged<=,nccl",
                                        "nccl,ipc",
                                        "nccl,nccl",
                                        "staged<=4K<=5,nccl",
                                        "ipc<=2M,staged<=1M,nccl",
                                        "staged<=99999999999999999999,nccl",
                                        "staged<=4K,ipc<=2M,nccl,",
                                        "nccl,"};
    pa_device_choice choice = {0};
    pa_error error = PA_ERROR_INIT;
    char text[128] = "";
    CHECK_EQUAL(pa_device_choice_read(&choice, "staged<=4K,ipc<=2M,nccl", &error),
                PA_OK);
    pa_device_choice_format(&choice, text, sizeof text);
    CHECK_TEXT(text, "staged<=4096,ipc<=2097152,nccl");
    CHECK(pa_device_choice_way(&choice, 4096) == &pa_device_staged);
    CHECK(pa_device_choice_way(&choice, 4097) == &pa_device_ipc);
    CHECK(pa_device_choice_way(&choice, SIZE_MAX) == &pa_device_nccl);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_EQUAL(pa_device_choice_read(&choice, wrong[i], &error), PA_EARGUMENT);
        CHECK(pa_device_choice_names(&choice, &pa_device_ipc));
    }
}

/* ---- What cannot be had ---- */

static void
find_staged(device_rank *rank)
{
    check_all(rank, 60, 0, rank->rank, NULL);
    check_way(rank, "staged");
    CHECK(strstr(rank->devices->off[0], "NCCL") != NULL);
    CHECK(rank->devices->off[1][0] != '\0');
}

static void
find_ipc(device_rank *rank)
{
    check_all(rank, 60, 0, rank->rank, NULL);
    check_way(rank, "ipc");
}

static void
refuse_ipc(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    tree made;
    ask(rank, "ipc");
    tree_make(&made, rank, 2, 60, 0, rank->rank, NULL);
    for (int again = 0; again < 2; again++) {
        CHECK_EQUAL(pa_broadcast(rank->comm, &made.leaves, 0, NULL, &error),
                    PA_EARGUMENT);
        CHECK(strstr(error.message, "ipc") != NULL);
    }
    ask(rank, "staged");
    check_broadcast(&made, 0);
    tree_free(&made);
}

static void
the_best_way_that_can_be_had_is_taken(void)
{
    static const char *const old[] = {"FAKES_NCCL_VERSION=21300", NULL};
    static const char *const neither[] = {"FAKES_NCCL_VERSION=21300",
                                          "FAKES_IPC_ERROR=801", NULL};
    static const char *const forbidden[] = {"FAKES_IPC_ERROR=801", NULL};

    on_devices(2, 60 * SECOND_NS, old, 0, find_ipc);

    on_devices(3, 60 * SECOND_NS, neither, 0, find_staged);

    on_devices(2, 60 * SECOND_NS, forbidden, 0, refuse_ipc);
}

static void
ask_differently(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    tree made;
    ask(rank, rank->rank == 1 ? "staged" : "nccl");
    tree_make(&made, rank, 2, 60, 0, rank->rank, NULL);
    CHECK_EQUAL(pa_broadcast(rank->comm, &made.leaves, 0, NULL, &error), PA_EMISMATCH);
    CHECK(strstr(error.message, "ranks 0 and 1") != NULL);
    tree_free(&made);
}

static void
all_ranks_ask_for_the_same(void)
{
    on_devices(3, 60 * SECOND_NS, NULL, 0, ask_differently);
}

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
    CHECK_EQUAL(rank->cuda->StreamCreateWithFlags(&stream, PA_CUDA_STREAM_NON_BLOCKING),
                PA_CUDA_SUCCESS);
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
    CHECK_EQUAL(rank->cuda->StreamDestroy(stream), PA_CUDA_SUCCESS);
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
    CHECK_EQUAL(rank->cuda->StreamCreateWithFlags(&stream, PA_CUDA_STREAM_NON_BLOCKING),
                PA_CUDA_SUCCESS);
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
    CHECK_EQUAL(rank->cuda->StreamDestroy(stream), PA_CUDA_SUCCESS);
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
        TESTING(values_are_the_same_by_every_way),
        TESTING(large_payloads_go_in_chunks),
        TESTING(any_mixture_of_places_is_served),
        TESTING(sums_are_the_same_by_every_way),
        TESTING(rows_are_read_and_written),
        TESTING(the_best_way_that_can_be_had_is_taken),
        TESTING(all_ranks_ask_for_the_same),
        TESTING(who_only_receives_does_not_wait_for_its_own_work),
        TESTING(who_leaves_takes_nothing_from_the_others),
        TESTING(a_killed_rank_blocks_no_stream),
        TESTING(all_ranks_capture_or_none),
        TESTING(what_cannot_be_captured_is_refused),
        TESTING(no_group_is_without_the_staged_way),
    };
    return TESTING_RUN(cases);
}
