/* csrc/comm: both backends, every rank a thread of this process over one segment. */
#include "comm_ranks.h"
#include "testing.h"

#include "comm/broadcast.h"
#include "comm/bytes.h"
#include "comm/comm.h"
#include "comm/gather.h"
#include "comm/parcel.h"
#include "comm/shm/layout.h"
#include "comm/shm/shm.h"

#include <stdlib.h>

/* ---- Gather, broadcast, barrier ---- */

/* The value at `index` of what `rank` contributes. */
static char
value_of(int rank, size_t index)
{
    return (char)(index * 7 + (size_t)rank * 13 + index / 251);
}

static void
fill(char *data, size_t nbytes, int rank)
{
    for (size_t i = 0; i < nbytes; i++) {
        data[i] = value_of(rank, i);
    }
}

static bool
holds(const char *data, size_t nbytes, int rank)
{
    for (size_t i = 0; i < nbytes; i++) {
        if (data[i] != value_of(rank, i)) {
            return false;
        }
    }
    return true;
}

/* Lengths around every threshold of the backend. */
static const size_t lengths[] = {
    0,
    1,
    PA_CARD_INLINE / 2,
    PA_CARD_INLINE - 1,
    PA_CARD_INLINE,
    PA_CARD_INLINE + 1,
    5000,
    PA_SHM_CHUNK_BYTES - 1,
    PA_SHM_CHUNK_BYTES,
    PA_SHM_CHUNK_BYTES + 1,
    (size_t)PA_SHM_CHUNK_BYTES * PA_SHM_RING_CHUNKS,
    (size_t)PA_SHM_CHUNK_BYTES * PA_SHM_RING_CHUNKS + 1,
    ((size_t)2 << 20) + 3,
};

static void
gather_one(pa_comm *comm, size_t base, size_t extra)
{
    int rank = pa_comm_rank(comm);
    int size = pa_comm_size(comm);
    int64_t rows = (int64_t)(base + extra * (size_t)rank);
    char *data = malloc((size_t)rows + 1);
    fill(data, (size_t)rows, rank);
    pa_leaf leaf = {data, (size_t)rows, 1, &rows, 1, {PA_DTYPE_INT, 8, 1, 0}, NULL};
    pa_leaves leaves = {&leaf, 1, 1};
    pa_gather gather;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(
        pa_gather_begin(&gather, comm, &leaves, PA_NO_ROOT, false, false, NULL, &error),
        PA_OK);
    size_t total = (size_t)pa_gather_rows(&gather, 0);
    CHECK_EQUAL(total, base * (size_t)size + extra * (size_t)(size * (size - 1) / 2));
    char *result = malloc(total + 1);
    CHECK_EQUAL(pa_gather_finish(&gather, &result, NULL, &error), PA_OK);
    pa_gather_fini(&gather);
    const char *at = result;
    for (int from = 0; from < size; from++) {
        size_t nbytes = base + extra * (size_t)from;
        CHECK(holds(at, nbytes, from));
        at += nbytes;
    }
    free(result);
    free(data);
}

static void
gather_all(pa_comm *comm)
{
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        gather_one(comm, lengths[i], 0);
        gather_one(comm, lengths[i], 70001);
    }
}

static void
gather_few(pa_comm *comm)
{
    gather_one(comm, 3, 1);
    gather_one(comm, PA_SHM_CHUNK_BYTES, 1);
}

static void
gather_is_right(void)
{
    for (int size = 1; size <= 4; size++) {
        on_ranks(size, 60 * SECOND_NS, gather_all);
    }
    on_ranks(MOST_RANKS, 60 * SECOND_NS, gather_few);
    pa_comm *self = pa_comm_create_self();
    gather_all(self);
    pa_comm_destroy(self);
}

static void
broadcast_all(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    for (int root = 0; root < pa_comm_size(comm); root++) {
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            int64_t rows = (int64_t)lengths[i];
            char *data = malloc(lengths[i] + 1);
            fill(data, lengths[i], pa_comm_rank(comm));
            pa_leaf leaf = {data, lengths[i], 1, &rows, 1, {PA_DTYPE_INT, 8, 1, 0},
                            NULL};
            pa_leaf both[] = {leaf,
                              {NULL, 0, 1, &rows, 0, {PA_DTYPE_INT, 8, 1, 0}, NULL}};
            pa_leaves leaves = {both, 2, 1};
            CHECK_EQUAL(pa_broadcast(comm, &leaves, root, NULL, &error), PA_OK);
            CHECK(holds(data, lengths[i], root));
            free(data);
        }
    }
    CHECK_EQUAL(pa_broadcast(comm, &(pa_leaves){0}, -1, NULL, &error), PA_EARGUMENT);
    CHECK_EQUAL(pa_broadcast(comm, &(pa_leaves){0}, pa_comm_size(comm), NULL, &error),
                PA_EARGUMENT);
    CHECK(strstr(error.message, "from_process is") != NULL);
}

static void
broadcast_is_right(void)
{
    for (int size = 1; size <= 4; size++) {
        on_ranks(size, 60 * SECOND_NS, broadcast_all);
    }
}

static atomic_int arrived;

static void
count_arrivals(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    for (int round = 1; round <= 500; round++) {
        atomic_fetch_add(&arrived, 1);
        CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_OK);
        CHECK(atomic_load(&arrived) >= round * pa_comm_size(comm));
        CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_OK);
    }
}

static void
nobody_passes_a_barrier_alone(void)
{
    for (int size = 1; size <= 4; size++) {
        atomic_store(&arrived, 0);
        on_ranks(size, 60 * SECOND_NS, count_arrivals);
    }
}

/* ---- Parcels ---- */

static void
parcels_all(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    pa_pool *pool = pa_pool_create((size_t)64 << 20);
    int rank = pa_comm_rank(comm);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        /* The ranks send different texts and different numbers of buffers. */
        size_t ntext = lengths[i] / (size_t)(rank + 1) + 1;
        char *text = malloc(ntext);
        char *buffer = malloc(lengths[i] + 1);
        fill(text, ntext, rank);
        fill(buffer, lengths[i], rank + 100);
        pa_part parts[] = {
            {text, ntext, NULL}, {buffer, lengths[i], NULL}, {buffer, 1, NULL}};
        pa_parcels got;
        CHECK_EQUAL(pa_parcels_exchange(comm, PA_OP_GATHER_OBJECT, PA_NO_ROOT,
                                        PA_NO_ROOT, false, NULL, parts,
                                        1 + (size_t)rank % 3, pool, &got, NULL, &error),
                    PA_OK);
        for (int from = 0; from < pa_comm_size(comm); from++) {
            const pa_parcel *parcel = &got.at[from];
            CHECK_EQUAL(parcel->ntext, lengths[i] / (size_t)(from + 1) + 1);
            CHECK(holds(parcel->text, parcel->ntext, from));
            CHECK_EQUAL(parcel->nbuffers, from % 3);
            if (parcel->nbuffers > 0) {
                CHECK_EQUAL(parcel->lengths[0], lengths[i]);
                CHECK(holds(parcel->buffers[0]->data, lengths[i], from + 100));
            }
        }
        pa_parcels_fini(&got);
        int root = (int)i % pa_comm_size(comm);
        CHECK_EQUAL(pa_parcels_exchange(comm, PA_OP_BROADCAST_OBJECT, root, PA_NO_ROOT,
                                        false, NULL, parts, 2, pool, &got, NULL,
                                        &error),
                    PA_OK);
        if (rank != root) {
            CHECK(holds(got.at[root].text, got.at[root].ntext, root));
            CHECK(holds(got.at[root].buffers[0]->data, lengths[i], root + 100));
        }
        pa_parcels_fini(&got);
        free(text);
        free(buffer);
    }
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 0);
    pa_pool_destroy(pool);
}

static void
parcels_arrive_whole(void)
{
    for (int size = 1; size <= 4; size++) {
        on_ranks(size, 60 * SECOND_NS, parcels_all);
    }
}

/* ---- Calls that differ ---- */

static void
call_differently(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    pa_gather gather;
    int rank = pa_comm_rank(comm);
    char data[64] = {0};
    int64_t shape[] = {2, 4};
    pa_leaf leaf = {data, 8, 1, shape, 2, {PA_DTYPE_INT, 8, 1, 0}, NULL};
    pa_leaves leaves = {&leaf, 1, 1};
    pa_status status = rank == 0 ? pa_barrier(comm, NULL, &error)
                                 : pa_gather_begin(&gather, comm, &leaves, PA_NO_ROOT,
                                                   false, false, NULL, &error);
    CHECK_EQUAL(status, PA_EMISMATCH);
    CHECK(strstr(error.message, "rank 0: wait_for_everyone") != NULL);
    CHECK(strstr(error.message, "rank 1: gather of int8 [2, 4]") != NULL);
    shape[1] = rank == 0 ? 4 : 2;
    leaf.nbytes = rank == 0 ? 8 : 4;
    CHECK_EQUAL(
        pa_gather_begin(&gather, comm, &leaves, PA_NO_ROOT, false, false, NULL, &error),
        PA_EMISMATCH);
    CHECK(strstr(error.message, "shapes") != NULL);
    shape[0] = 2 + rank;
    shape[1] = 2;
    leaf.nbytes = (size_t)shape[0] * 2;
    CHECK_EQUAL(
        pa_gather_begin(&gather, comm, &leaves, PA_NO_ROOT, true, false, NULL, &error),
        PA_EMISMATCH);
    leaves.structure = (uint64_t)rank;
    CHECK_EQUAL(
        pa_gather_begin(&gather, comm, &leaves, PA_NO_ROOT, false, false, NULL, &error),
        PA_EMISMATCH);
    CHECK(strstr(error.message, "structures") != NULL);
    CHECK_EQUAL(pa_broadcast(comm, &(pa_leaves){0}, rank % 2, NULL, &error),
                PA_EMISMATCH);
    CHECK(strstr(error.message, "roots") != NULL);
    /* The group stays in step. */
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_OK);
    gather_one(comm, 1000, 3);
}

static void
different_calls_are_an_error_everywhere(void)
{
    for (int size = 2; size <= 4; size++) {
        on_ranks(size, 60 * SECOND_NS, call_differently);
    }
}

static void
excuse_often(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    for (int round = 0; round < 50; round++) {
        if (pa_comm_rank(comm) == round % pa_comm_size(comm)) {
            CHECK_EQUAL(pa_comm_excuse(comm, PA_OP_GATHER, "it has a bad leaf", NULL),
                        PA_OK);
        } else {
            CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_EREMOTE);
            CHECK(strstr(error.message, "it has a bad leaf") != NULL);
        }
    }
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_OK);
    CHECK_EQUAL(pa_comm_excuse(comm, PA_OP_GATHER, "all of them", NULL), PA_OK);
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_OK);
}

static void
an_excuse_keeps_the_group_in_step(void)
{
    for (int size = 2; size <= 4; size++) {
        on_ranks(size, 60 * SECOND_NS, excuse_often);
    }
}

/* ---- Failures of the group ---- */

static void
say_site(void *context, char *text, size_t capacity)
{
    (void)context;
    (void)snprintf(text, capacity, "run.py:12");
}

static void
note_long(void *context, const char *text)
{
    (void)snprintf(context, 256, "%s", text);
}

static void
come_late(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    char said[256] = "";
    pa_hooks hooks = {.context = said, .site = say_site, .lasts = note_long};
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_OK);
    if (pa_comm_rank(comm) == pa_comm_size(comm) - 1) {
        return;
    }
    pa_comm_set_patience(comm, SECOND_NS / 100);
    CHECK_EQUAL(pa_barrier(comm, &hooks, &error), PA_ETIMEOUT);
    CHECK(strstr(error.message, "has not come; it was last in wait_for_everyone "
                                "(operation 1)") != NULL);
    CHECK(strstr(error.message, "rank 0: waits in wait_for_everyone (operation 2) at "
                                "run.py:12") != NULL);
    CHECK(strstr(said, "s in wait_for_everyone for rank") != NULL);
    CHECK(strstr(said, "it was last in wait_for_everyone (operation 1)") != NULL);
    CHECK(strstr(error.message, "did not arrive within 0.1 s") != NULL);
    CHECK(strstr(error.message, "wait_for_everyone on shm: rank") != NULL);
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_EBROKEN);
    char text[256];
    CHECK(pa_comm_broken(comm, text, sizeof text));
}

static void
who_does_not_come_is_named(void)
{
    on_ranks(2, SECOND_NS / 10, come_late);
    on_ranks(3, SECOND_NS / 10, come_late);
}

static void
leave_early(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_OK);
    if (pa_comm_rank(comm) == 1) {
        pa_comm_close(comm);
        pa_comm_close(comm);
        CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_ECLOSED);
        return;
    }
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_EPEER);
    CHECK(strstr(error.message, "rank 1") != NULL);
    CHECK(strstr(error.message, "has left the group") != NULL);
}

static void
who_leaves_is_not_waited_for(void)
{
    on_ranks(2, 60 * SECOND_NS, leave_early);
    on_ranks(4, 60 * SECOND_NS, leave_early);
}

static void
wait_for_abort(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    if (pa_comm_rank(comm) == 0) {
        pa_comm_abort(comm, "no more of this");
        pa_comm_abort(comm, "the second text is not heard");
    }
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_EBROKEN);
    CHECK_TEXT(error.message, "no more of this");
}

static void
abort_wakes_everybody(void)
{
    on_ranks(3, 60 * SECOND_NS, wait_for_abort);
}

static bool
stop_at_once(void *context, uint64_t waited_ns, int missing)
{
    (void)waited_ns;
    *(int *)context = missing;
    return false;
}

static void
be_interrupted(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    int missing = -1;
    pa_hooks hooks = {.context = &missing, .tick = stop_at_once};
    if (pa_comm_rank(comm) == 1) {
        return;
    }
    CHECK_EQUAL(pa_barrier(comm, &hooks, &error), PA_EINTERRUPTED);
    CHECK_EQUAL(missing, 1);
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_EBROKEN);
}

static void
a_caller_can_stop_waiting(void)
{
    on_ranks(2, 60 * SECOND_NS, be_interrupted);
}

/* Rank 0 sends one piece of memory so often that the stream lasts, and is stopped; the
 * others read all the time and so have to notice by themselves. */
static void
be_interrupted_in_a_stream(pa_comm *comm)
{
    enum { PIECES = 4096, PIECE_BYTES = 1 << 20 };
    int missing = -1;
    bool sends = pa_comm_rank(comm) == 0;
    pa_hooks hooks = {.context = &missing, .tick = stop_at_once};
    pa_error error = PA_ERROR_INIT;
    /* The piece stands behind the parts. */
    pa_part *parts = calloc(1, PIECES * sizeof *parts + PIECE_BYTES);
    CHECK(parts != NULL);
    for (size_t i = 0; i < PIECES; i++) {
        parts[i] = (pa_part){(char *)(parts + PIECES), PIECE_BYTES, NULL};
    }
    size_t all = (size_t)PIECES * PIECE_BYTES;
    pa_flow flows[MOST_RANKS] = {{.nparts = PIECES, .nbytes = all}};
    pa_flow send = {.parts = parts, .nparts = PIECES, .nbytes = sends ? all : 0};
    pa_status status = pa_comm_stream(comm, PA_OP_BROADCAST, &send, flows,
                                      sends ? &hooks : NULL, &error);
    CHECK_EQUAL(status, sends ? PA_EINTERRUPTED : PA_EPEER);
    CHECK(strstr(error.message, "rank 0 was interrupted") != NULL);
    free(parts);
}

static void
a_caller_can_stop_a_stream_that_never_waits(void)
{
    on_ranks(2, 60 * SECOND_NS, be_interrupted_in_a_stream);
    on_ranks(3, 60 * SECOND_NS, be_interrupted_in_a_stream);
}

/* ---- Joining ---- */

static void
the_owner_tells_how_a_rank_ended(void)
{
    pa_error error = PA_ERROR_INIT;
    int fd = -1;
    pa_comm *comm = NULL;
    pa_shm_owner *owner = NULL;
    CHECK_EQUAL(pa_shm_create(2, &fd, &error), PA_OK);
    CHECK_EQUAL(pa_shm_owner_open(fd, &owner, &error), PA_OK);
    CHECK_EQUAL(pa_shm_attach(fd, 0, 2, NULL, &comm, &error), PA_OK);
    CHECK_EQUAL(pa_shm_owner_mark_ended(owner, 2, "?", &error), PA_EARGUMENT);
    CHECK_EQUAL(pa_shm_owner_mark_ended(owner, 1, "rank 1 was killed", &error), PA_OK);
    CHECK_EQUAL(pa_barrier(comm, NULL, &error), PA_EPEER);
    CHECK_TEXT(error.message,
               "wait_for_everyone on shm: rank 1 was killed without entering "
               "wait_for_everyone (operation 1); it has not called an operation yet");
    pa_shm_owner_close(owner);
    pa_shm_owner_close(NULL);
    pa_comm_destroy(comm);
    pa_comm_destroy(NULL);
    (void)close(fd);
}

static void
bad_joins_are_refused(void)
{
    pa_error error = PA_ERROR_INIT;
    int fd = -1;
    pa_comm *comm = NULL;
    pa_comm *twin = NULL;
    CHECK_EQUAL(pa_shm_create(0, &fd, &error), PA_EARGUMENT);
    CHECK_EQUAL(pa_shm_create(2, &fd, &error), PA_OK);
    CHECK_EQUAL(pa_shm_attach(fd, 2, 2, NULL, &comm, &error), PA_EARGUMENT);
    CHECK_EQUAL(pa_shm_attach(fd, 0, 3, NULL, &comm, &error), PA_EARGUMENT);
    CHECK(strstr(error.message, "made for 2 ranks") != NULL);
    CHECK_EQUAL(pa_shm_attach(-1, 0, 2, NULL, &comm, &error), PA_ESYSTEM);
    CHECK_EQUAL(pa_shm_attach(fd, 0, 2, NULL, &comm, &error), PA_OK);
    CHECK_EQUAL(pa_shm_attach(fd, 0, 2, NULL, &twin, &error), PA_EARGUMENT);
    CHECK(strstr(error.message, "is taken by process") != NULL);
    pa_shm_map map;
    CHECK_EQUAL(pa_shm_layout_map(fd, 2, &map, &error), PA_OK);
    map.header->ring_chunks++;
    CHECK_EQUAL(pa_shm_attach(fd, 1, 2, NULL, &twin, &error), PA_EARGUMENT);
    pa_shm_layout_unmap(&map);
    pa_comm_destroy(comm);
    (void)close(fd);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(gather_is_right),
        TESTING(broadcast_is_right),
        TESTING(nobody_passes_a_barrier_alone),
        TESTING(parcels_arrive_whole),
        TESTING(different_calls_are_an_error_everywhere),
        TESTING(an_excuse_keeps_the_group_in_step),
        TESTING(who_does_not_come_is_named),
        TESTING(who_leaves_is_not_waited_for),
        TESTING(abort_wakes_everybody),
        TESTING(a_caller_can_stop_waiting),
        TESTING(a_caller_can_stop_a_stream_that_never_waits),
        TESTING(the_owner_tells_how_a_rank_ended),
        TESTING(bad_joins_are_refused),
    };
    return TESTING_RUN(cases);
}
