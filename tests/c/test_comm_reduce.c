/* Reduce over both backends: all lengths around its thresholds, the same bits on every
 * rank, and calls that differ. */
#include "comm_ranks.h"
#include "testing.h"

#include "comm/reduce.h"

#include <stdlib.h>

static const pa_dtype float32 = {PA_DTYPE_FLOAT, 32, 1, 0};
static const pa_dtype int16 = {PA_DTYPE_INT, 16, 1, 0};
static const pa_dtype int8 = {PA_DTYPE_INT, 8, 1, 0};

/* Elements around every threshold: the card, what is gathered, a block. */
static const int64_t counts[] = {0, 1, 40, 60, 5000, 16 << 10, 20001, 300007, 600001};

static float
value_of(int rank, int64_t index)
{
    return (float)((index % 1000) * (rank + 1)) / 7.0f;
}

/* Three leaves of sizes that do not fit each other's elements, summed in one call. */
static void
sum_of_three(pa_comm *comm, int64_t count)
{
    int rank = pa_comm_rank(comm);
    int size = pa_comm_size(comm);
    int64_t odd = count % 2 + 1;
    float *numbers = malloc((size_t)count * sizeof *numbers + 1);
    float *sums = malloc((size_t)count * sizeof *sums + 1);
    int16_t *small = malloc((size_t)count * sizeof *small + 1);
    int16_t *most = malloc((size_t)count * sizeof *most + 1);
    int8_t bytes[2] = {(int8_t)rank, 1};
    int8_t total[2] = {0};
    for (int64_t i = 0; i < count; i++) {
        numbers[i] = value_of(rank, i);
        small[i] = (int16_t)(i % 100 + rank);
    }
    pa_leaf at[] = {
        {(char *)bytes, (size_t)odd, 1, &odd, 1, int8, NULL},
        {(char *)numbers, (size_t)count * 4, 4, &count, 1, float32, NULL},
        {(char *)small, (size_t)count * 2, 2, &count, 1, int16, NULL},
    };
    pa_leaves leaves = {at, 3, 1};
    char *outputs[] = {(char *)total, (char *)sums, (char *)most};
    pa_error error = PA_ERROR_INIT;
    pa_status status =
        pa_reduce(comm, &leaves, PA_REDUCTION_SUM, 1, outputs, NULL, &error);
    CHECK_EQUAL(status, PA_OK);
    CHECK_EQUAL(total[0], size * (size - 1) / 2);
    bool right = true;
    for (int64_t i = 0; i < count; i++) {
        float sum = value_of(0, i);
        int16_t wanted = 0;
        for (int from = 1; from < size; from++) {
            sum += value_of(from, i);
        }
        for (int from = 0; from < size; from++) {
            wanted = (int16_t)(wanted + i % 100 + from);
        }
        right = right && sums[i] == sum && most[i] == wanted;
    }
    CHECK(right);
    free(numbers);
    free(sums);
    free(small);
    free(most);
}

static void
sums_of_all_lengths(pa_comm *comm)
{
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        sum_of_three(comm, counts[i]);
    }
}

static void
reduce_at_every_size(void)
{
    for (int size = 1; size <= 5; size++) {
        on_ranks(size, 60 * SECOND_NS, sums_of_all_lengths);
    }
}

static void
reduce_in_a_world_of_one(void)
{
    pa_comm *comm = pa_comm_create_self();
    CHECK(comm != NULL);
    sums_of_all_lengths(comm);
    pa_comm_destroy(comm);
}

static void
differ_in_the_reduction(pa_comm *comm)
{
    float number = 1;
    float result = 0;
    int64_t count = 1;
    pa_leaf leaf = {(char *)&number, 4, 4, &count, 1, float32, NULL};
    pa_leaves leaves = {&leaf, 1, 1};
    char *output = (char *)&result;
    pa_error error = PA_ERROR_INIT;
    pa_reduction mine = pa_comm_rank(comm) == 1 ? PA_REDUCTION_MAX : PA_REDUCTION_SUM;
    CHECK_EQUAL(pa_reduce(comm, &leaves, mine, 1, &output, NULL, &error), PA_EMISMATCH);
    CHECK(strstr(error.message, "rank 0: reduce(sum") != NULL);
    CHECK(strstr(error.message, "rank 1: reduce(max") != NULL);
    /* The group is in step and can be used. */
    CHECK_EQUAL(pa_reduce(comm, &leaves, PA_REDUCTION_MEAN, 0.5, &output, NULL, &error),
                PA_OK);
    CHECK(result == 0.5f);
}

static void
different_reductions_are_told(void)
{
    on_ranks(3, 20 * SECOND_NS, differ_in_the_reduction);
}

static void
one_means_integers(pa_comm *comm)
{
    int16_t number = 1;
    int16_t result = 0;
    int64_t count = 1;
    pa_leaf leaf = {(char *)&number, 2, 2, &count, 1, int16, NULL};
    pa_leaves leaves = {&leaf, 1, 1};
    char *output = (char *)&result;
    pa_error error = PA_ERROR_INIT;
    bool wrong = pa_comm_rank(comm) == 0;
    pa_status status =
        pa_reduce(comm, &leaves, wrong ? PA_REDUCTION_MEAN : PA_REDUCTION_SUM, 1,
                  &output, NULL, &error);
    CHECK_EQUAL(status, wrong ? PA_EARGUMENT : PA_EREMOTE);
    CHECK(strstr(error.message, "mean of int16") != NULL);
}

static void
a_refused_mean_is_told_to_all(void)
{
    on_ranks(2, 20 * SECOND_NS, one_means_integers);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(reduce_at_every_size),
        TESTING(reduce_in_a_world_of_one),
        TESTING(different_reductions_are_told),
        TESTING(a_refused_mean_is_told_to_all),
    };
    return TESTING_RUN(cases);
}
