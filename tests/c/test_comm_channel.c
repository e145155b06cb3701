/* csrc/comm/channel: messages between two ranks, over shared memory and to oneself. */
#include "comm_ranks.h"

#include "comm/channel.h"
#include "comm/shm/rank.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const pa_dtype bytes_dtype = {.code = PA_DTYPE_UINT, .bits = 8, .lanes = 1};

/* Byte `i` of message `number`. */
static char
byte_of(int number, size_t i)
{
    return (char)((size_t)number * 31 + i * 7 + (i >> 9));
}

static pa_status
send_bytes(pa_comm *comm, int to, int number, size_t nbytes, int64_t tag,
           pa_error *error)
{
    char *data = malloc(nbytes + 1);
    for (size_t i = 0; i < nbytes; i++) {
        data[i] = byte_of(number, i);
    }
    int64_t shape = (int64_t)nbytes;
    char extra[] = "extra";
    pa_leaf leaf = {.data = data,
                    .nbytes = nbytes,
                    .itemsize = 1,
                    .shape = &shape,
                    .ndim = 1,
                    .dtype = bytes_dtype};
    pa_message message = {
        .op = PA_OP_SEND,
        .tag = tag,
        .digest = 99,
        .leaves = {&leaf, 1, 0},
        .extra = {extra, sizeof extra, NULL},
    };
    pa_status status = pa_channel_send(comm, to, &message, NULL, error);
    free(data);
    return status;
}

/* Receives a message and looks whether it is that one. */
static void
receive_bytes(pa_comm *comm, int from, int number, size_t nbytes, int64_t tag)
{
    pa_error error = PA_ERROR_INIT;
    pa_incoming in;
    CHECK_EQUAL(pa_channel_receive(comm, PA_OP_RECV, from, tag, 99, &in, NULL, &error),
                PA_OK);
    pa_described_leaf leaf;
    pa_describe_reader reader = in.leaves;
    CHECK_EQUAL(in.letter.count, 1);
    CHECK(pa_describe_read_leaf(&reader, &leaf));
    CHECK(pa_dtype_equal(leaf.dtype, bytes_dtype));
    CHECK_EQUAL(leaf.ndim, 1);
    CHECK_EQUAL(pa_described_dimension(&leaf, 0), nbytes);
    CHECK_EQUAL(in.letter.nbytes, nbytes);
    CHECK_TEXT(in.extra, "extra");
    char *data = malloc(nbytes + 1);
    pa_part part = {data, nbytes, NULL};
    CHECK_EQUAL(pa_channel_take(&in, &part, 1, NULL, &error), PA_OK);
    size_t wrong = 0;
    for (size_t i = 0; i < nbytes; i++) {
        wrong += data[i] != byte_of(number, i);
    }
    CHECK_EQUAL(wrong, 0);
    free(data);
    pa_incoming_fini(&in);
}

/* Sizes around every border: of the letter, of the page's ring, of larger rings. */
static const size_t sizes[] = {0,    1,     300,   400,    500,     3000,    3600,
                               8192, 65000, 65536, 200000, 1 << 20, 5000001, 17};

enum { NSIZES = sizeof sizes / sizeof sizes[0] };

/* A head that does not fit the letter, with and without leaves. */
static void
large_heads(pa_comm *comm)
{
    enum { NHEAD = 100000 };
    pa_error error = PA_ERROR_INIT;
    int size = pa_comm_size(comm);
    int64_t shape = 0;
    pa_leaf leaf = {.itemsize = 1, .shape = &shape, .ndim = 1, .dtype = bytes_dtype};
    char *extra = malloc(NHEAD);
    memset(extra, 7, NHEAD);
    for (uint32_t count = 0; count < 2; count++) {
        pa_message message = {
            .op = PA_OP_SEND_OBJECT,
            .leaves = {&leaf, count, 0},
            .extra = {extra, NHEAD, NULL},
        };
        for (int to = 0; to < size; to++) {
            CHECK_EQUAL(pa_channel_send(comm, to, &message, NULL, &error), PA_OK);
        }
        for (int from = 0; from < size; from++) {
            pa_incoming in;
            CHECK_EQUAL(pa_channel_receive(comm, PA_OP_RECV_OBJECT, from, 0, 0, &in,
                                           NULL, &error),
                        PA_OK);
            CHECK_EQUAL(in.letter.nextra, NHEAD);
            CHECK(memcmp(in.extra, extra, NHEAD) == 0);
            pa_part none = {NULL, 0, NULL};
            CHECK_EQUAL(pa_channel_take(&in, &none, count, NULL, &error), PA_OK);
            pa_incoming_fini(&in);
        }
    }
    free(extra);
}

static void
heads_may_be_large(void)
{
    on_ranks(3, 60 * SECOND_NS, large_heads);
}

/* All send everything before they receive anything, so that the lanes have to grow. */
static void
exchange_all(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    int size = pa_comm_size(comm);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < NSIZES; i++) {
            for (int to = 0; to < size; to++) {
                CHECK_EQUAL(send_bytes(comm, to, i, sizes[i], i, &error), PA_OK);
            }
        }
        for (int from = 0; from < size; from++) {
            for (int i = 0; i < NSIZES; i++) {
                receive_bytes(comm, from, i, sizes[i], i);
            }
        }
    }
}

static void
messages_come_in_order_from_every_rank(void)
{
    for (int size = 1; size <= 4; size++) {
        on_ranks(size, 60 * SECOND_NS, exchange_all);
    }
}

/* Larger than any ring of a group that may only make files of 64 MiB: it flows. */
static void
one_large_way(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    size_t nbytes = (size_t)70 << 20;
    if (pa_comm_rank(comm) == 0) {
        CHECK_EQUAL(send_bytes(comm, 1, 3, nbytes, 0, &error), PA_OK);
        CHECK_EQUAL(send_bytes(comm, 1, 4, nbytes, 0, &error), PA_OK);
    } else {
        receive_bytes(comm, 0, 3, nbytes, 0);
        receive_bytes(comm, 0, 4, nbytes, 0);
    }
}

static void
small_way(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    if (pa_comm_rank(comm) == 0) {
        CHECK_EQUAL(send_bytes(comm, 1, 3, 1 << 20, 0, &error), PA_OK);
    } else {
        receive_bytes(comm, 0, 3, 1 << 20, 0);
    }
}

/* Runs with files limited to `limit` bytes, in a child that keeps the limit. */
static int
run_limited(rlim_t limit, void (*run)(pa_comm *comm))
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit files = {.rlim_cur = limit, .rlim_max = limit};
        if (setrlimit(RLIMIT_FSIZE, &files) != 0) {
            _exit(1);
        }
        on_ranks(2, 60 * SECOND_NS, run);
        _exit(atomic_load(&testing_failures) == 0 ? 0 : 1);
    }
    int status = -1;
    (void)waitpid(child, &status, 0);
    return status;
}

static void
what_no_ring_can_hold_flows_through(void)
{
    CHECK_EQUAL(run_limited((rlim_t)64 << 20, one_large_way), 0);
}

/* Then there is only the ring of a lane's page. */
static void
lanes_work_without_yards(void)
{
    CHECK_EQUAL(run_limited((rlim_t)3 << 20, small_way), 0);
}

static void
refuse_some(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    if (pa_comm_rank(comm) == 0) {
        CHECK_EQUAL(send_bytes(comm, 1, 0, 1000, 5, &error), PA_OK);
        CHECK_EQUAL(send_bytes(comm, 1, 1, 10, 6, &error), PA_OK);
        receive_bytes(comm, 1, 0, 1, 0);
        CHECK_EQUAL(send_bytes(comm, 1, 2, 10, 7, &error), PA_EMISMATCH);
        CHECK(strstr(error.message, "rank 1 refused") != NULL);
        CHECK(strstr(error.message, "tag 5") != NULL);
        CHECK_EQUAL(send_bytes(comm, 1, 2, 10, 7, &error), PA_OK);
        return;
    }
    pa_incoming in;
    CHECK_EQUAL(pa_channel_receive(comm, PA_OP_RECV, 0, 6, 99, &in, NULL, &error),
                PA_EMISMATCH);
    CHECK(strstr(error.message, "uint8 [1000]") != NULL);
    CHECK(strstr(error.message, "expects tag 6") != NULL);
    CHECK_TEXT(in.extra, "extra");
    pa_incoming_fini(&in);
    CHECK_EQUAL(pa_channel_receive(comm, PA_OP_RECV, 0, 6, 98, &in, NULL, &error),
                PA_EMISMATCH);
    CHECK(strstr(error.message, "digest") != NULL);
    pa_incoming_fini(&in);
    CHECK_EQUAL(send_bytes(comm, 0, 0, 1, 0, &error), PA_OK);
    receive_bytes(comm, 0, 2, 10, 7);
}

static void
what_is_not_expected_is_refused_on_both_sides(void)
{
    on_ranks(2, 60 * SECOND_NS, refuse_some);
}

static void
ask_for_nobody(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    pa_incoming in;
    CHECK_EQUAL(send_bytes(comm, 2, 0, 1, 0, &error), PA_EARGUMENT);
    CHECK_EQUAL(pa_channel_receive(comm, PA_OP_RECV, -1, 0, 0, &in, NULL, &error),
                PA_EARGUMENT);
    CHECK(strstr(error.message, "no rank -1") != NULL);
    CHECK(!pa_comm_broken(comm, error.message, sizeof error.message));
}

static void
a_rank_that_is_not_there_is_an_error(void)
{
    on_ranks(2, 60 * SECOND_NS, ask_for_nobody);
}

static void
wait_in_vain(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    pa_incoming in;
    if (pa_comm_rank(comm) == 1) {
        pa_comm_set_timeout(comm, SECOND_NS / 20);
        CHECK_EQUAL(pa_channel_receive(comm, PA_OP_RECV, 0, 0, 0, &in, NULL, &error),
                    PA_ETIMEOUT);
    } else {
        /* Nothing comes from that rank either, but rank 1 breaks the group first. */
        int from = 2 % pa_comm_size(comm);
        CHECK_EQUAL(pa_channel_receive(comm, PA_OP_RECV, from, 0, 0, &in, NULL, &error),
                    from == pa_comm_rank(comm) ? PA_EBROKEN : PA_ETIMEOUT);
    }
    CHECK(strstr(error.message, "rank 0 sends did not arrive within 0.1 s") != NULL);
    CHECK(send_bytes(comm, 0, 0, 1, 0, &error) != PA_OK);
}

static void
a_deadline_breaks_the_group_for_all(void)
{
    on_ranks(2, 60 * SECOND_NS, wait_in_vain); /* rank 0 waits for itself */
    on_ranks(3, 60 * SECOND_NS, wait_in_vain);
}

static void
leave_at_once(pa_comm *comm)
{
    pa_error error = PA_ERROR_INIT;
    pa_incoming in;
    if (pa_comm_rank(comm) == 0) {
        CHECK_EQUAL(send_bytes(comm, 1, 1, 100000, 0, &error), PA_OK);
        pa_comm_close(comm);
        CHECK_EQUAL(send_bytes(comm, 1, 1, 1, 0, &error), PA_ECLOSED);
        return;
    }
    receive_bytes(comm, 0, 1, 100000, 0);
    CHECK_EQUAL(pa_channel_receive(comm, PA_OP_RECV, 0, 0, 0, &in, NULL, &error),
                PA_EPEER);
    CHECK(strstr(error.message, "has left the group") != NULL);
}

static void
what_a_rank_sent_before_it_left_is_received(void)
{
    on_ranks(2, 60 * SECOND_NS, leave_at_once);
}

/* ---- Several threads of one rank ---- */

enum { ROUNDS = 200 };

static void *
echo(void *argument)
{
    pa_comm *comm = argument;
    pa_error error = PA_ERROR_INIT;
    for (int i = 0; i < ROUNDS; i++) {
        if (send_bytes(comm, 1 - pa_comm_rank(comm), i, (size_t)i * 100, i, &error) !=
            PA_OK) {
            testing_fail(__FILE__, __LINE__, error.message);
        }
    }
    return NULL;
}

/* One thread sends, the other receives and is in collectives between. */
static void
both_at_once(pa_comm *comm)
{
    pthread_t sender;
    pa_error error = PA_ERROR_INIT;
    pa_card cards[2];
    CHECK(pthread_create(&sender, NULL, echo, comm) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        receive_bytes(comm, 1 - pa_comm_rank(comm), i, (size_t)i * 100, i);
        pa_card card = {.op = PA_OP_BARRIER, .root = PA_NO_ROOT};
        CHECK_EQUAL(pa_comm_meet(comm, &card, cards, NULL, &error), PA_OK);
    }
    (void)pthread_join(sender, NULL);
}

static void
threads_send_and_receive_beside_collectives(void)
{
    on_ranks(2, 60 * SECOND_NS, both_at_once);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(messages_come_in_order_from_every_rank),
        TESTING(heads_may_be_large),
        TESTING(what_no_ring_can_hold_flows_through),
        TESTING(lanes_work_without_yards),
        TESTING(what_is_not_expected_is_refused_on_both_sides),
        TESTING(a_rank_that_is_not_there_is_an_error),
        TESTING(a_deadline_breaks_the_group_for_all),
        TESTING(what_a_rank_sent_before_it_left_is_received),
        TESTING(threads_send_and_receive_beside_collectives),
    };
    return TESTING_RUN(cases);
}
