/* csrc/comm/lend: payloads that are read where their rank put them. */
#include "comm_ranks.h"

#include "comm/lend.h"
#include "comm/parcel.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST = 5000, SECOND = 100001, ROUNDS = 5 };

/* Exchanges two buffers a rank, marked by rank and round; rank 2 has none. */
static void
exchange(pa_comm *comm, int to, int round, pa_pool *pool, pa_parcels *got)
{
    pa_error error = PA_ERROR_INIT;
    int rank = pa_comm_rank(comm);
    char text[] = "text";
    char *bytes = malloc(FIRST + SECOND);
    memset(bytes, rank * 16 + round, FIRST + SECOND);
    pa_part parts[] = {
        {text, sizeof text, NULL}, {bytes, FIRST, NULL}, {bytes + FIRST, SECOND, NULL}};
    CHECK_EQUAL(pa_parcels_exchange(comm, PA_OP_GATHER_OBJECT, PA_NO_ROOT, to, true,
                                    "copy=False", parts, rank == 2 ? 1 : 3, pool, got,
                                    NULL, &error),
                PA_OK);
    free(bytes);
}

static void
check_parcel(const pa_parcel *parcel, int rank, int round)
{
    CHECK_EQUAL(parcel->nbuffers, rank == 2 ? 0 : 2);
    CHECK_EQUAL(parcel->lease != NULL, rank != 2);
    size_t at = 0;
    for (uint32_t i = 0; i < parcel->nbuffers; i++) {
        size_t start = 0;
        CHECK(pa_lend_place(&at, (size_t)parcel->lengths[i], &start));
        const char *data = pa_lease_data(parcel->lease) + start;
        CHECK_EQUAL(data[0], rank * 16 + round);
        CHECK_EQUAL(data[parcel->lengths[i] - 1], rank * 16 + round);
    }
}

/* Each result is kept for a round, so that the ranks go on while leases are out. */
static void
lend_to_all(pa_comm *comm)
{
    pa_pool *pool = pa_pool_create(0);
    pa_parcels kept = {0};
    for (int round = 0; round < ROUNDS; round++) {
        pa_parcels got;
        exchange(comm, PA_NO_ROOT, round, pool, &got);
        for (int rank = 0; rank < kept.size; rank++) {
            check_parcel(&kept.at[rank], rank, round - 1);
        }
        pa_parcels_fini(&kept);
        kept = got;
    }
    pa_comm_close(comm);
    for (int rank = 0; rank < kept.size; rank++) {
        check_parcel(&kept.at[rank], rank, ROUNDS - 1);
    }
    pa_parcels_fini(&kept);
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 0);
    pa_pool_destroy(pool);
}

static void
every_rank_reads_what_all_put(void)
{
    for (int size = 2; size <= 4; size++) {
        on_ranks(size, 60 * SECOND_NS, lend_to_all);
    }
}

static void
lend_to_one(pa_comm *comm)
{
    pa_pool *pool = pa_pool_create(0);
    int to = pa_comm_size(comm) - 1;
    pa_parcels got;
    exchange(comm, to, 3, pool, &got);
    for (int rank = 0; rank < got.size; rank++) {
        if (pa_comm_rank(comm) == to) {
            check_parcel(&got.at[rank], rank, 3);
        } else {
            CHECK(got.at[rank].lease == NULL);
            CHECK_EQUAL(got.at[rank].nbuffers, 0);
        }
    }
    pa_parcels_fini(&got);
    pa_pool_destroy(pool);
}

static void
one_receiver_leases_alone(void)
{
    for (int size = 2; size <= 4; size++) {
        on_ranks(size, 60 * SECOND_NS, lend_to_one);
    }
}

static void
places_that_fit_no_size_are_refused(void)
{
    size_t at = SIZE_MAX - 10;
    size_t start = 0;
    CHECK(!pa_lend_place(&at, 1, &start));
    at = 1;
    CHECK(!pa_lend_place(&at, SIZE_MAX - 10, &start));
    at = 1;
    CHECK(pa_lend_place(&at, 7, &start));
    CHECK_EQUAL(start, 64);
    CHECK_EQUAL(at, 71);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(every_rank_reads_what_all_put),
        TESTING(one_receiver_leases_alone),
        TESTING(places_that_fit_no_size_are_refused),
    };
    return TESTING_RUN(cases);
}
