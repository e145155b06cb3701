/* Operations on leaves of GPUs, over each way between them: the same values whatever
 * the way, the place and the mixture. Every rank is a process with a fake GPU, whose
 * streams run late. */
#include "device_trees.h"

#include "comm/device/choice.h"
#include "comm/reduce.h"

static const pa_dtype float32 = {PA_DTYPE_FLOAT, 32, 1, 0};

/* ---- Each way ---- */

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
    stream_make(rank, &stream);
    ask(rank, way);
    for (unsigned int hosts = 0; hosts < 8; hosts += 3) { /* none, two, two others */
        check_all(rank, 50, hosts, rank->rank, NULL);
        check_all(rank, 4000, hosts, rank->rank, stream);
    }
    check_way(rank, way);
    stream_end(rank, stream);
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

enum { MANY_NUMBERS = 1400000 };

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
    check_reduce(rank, MANY_NUMBERS, PA_REDUCTION_SUM, 1.0, false);
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
    };
    return TESTING_RUN(cases);
}
