/* Tests of csrc/part: every item goes to one rank, in order, whatever the numbers. */
#include "testing.h"

#include "part/share.h"

enum { MOST_RANKS = 9, MOST_ITEMS = 40 };

static void
every_item_has_one_rank(void)
{
    for (int size = 1; size <= MOST_RANKS; size++) {
        for (size_t count = 0; count <= MOST_ITEMS; count++) {
            for (int padded = 0; padded <= 1; padded++) {
                size_t next = 0;
                for (int rank = 0; rank < size; rank++) {
                    pa_share share;
                    CHECK_EQUAL(
                        pa_share_compute(rank, size, count, padded, &share, NULL),
                        PA_OK);
                    CHECK_EQUAL(share.start, next);
                    CHECK(share.stop >= share.start);
                    next = share.stop;
                }
                CHECK_EQUAL(next, count);
            }
        }
    }
}

static void
first_ranks_take_the_extra_items(void)
{
    for (int size = 1; size <= MOST_RANKS; size++) {
        for (size_t count = 0; count <= MOST_ITEMS; count++) {
            for (int rank = 0; rank < size; rank++) {
                pa_share share;
                CHECK_EQUAL(pa_share_compute(rank, size, count, false, &share, NULL),
                            PA_OK);
                size_t extra = count % (size_t)size;
                size_t wanted = count / (size_t)size + ((size_t)rank < extra ? 1 : 0);
                CHECK_EQUAL(share.stop - share.start, wanted);
                CHECK_EQUAL(share.pad, 0);
            }
        }
    }
}

static void
padded_shares_are_equal_and_pad_the_end(void)
{
    for (int size = 1; size <= MOST_RANKS; size++) {
        for (size_t count = 0; count <= MOST_ITEMS; count++) {
            size_t block = (count + (size_t)size - 1) / (size_t)size;
            size_t pads = 0;
            for (int rank = 0; rank < size; rank++) {
                pa_share share;
                CHECK_EQUAL(pa_share_compute(rank, size, count, true, &share, NULL),
                            PA_OK);
                CHECK_EQUAL(share.stop - share.start + share.pad, block);
                /* Once there was a copy, no item may follow. */
                CHECK(pads == 0 || share.start == share.stop);
                pads += share.pad;
            }
            CHECK_EQUAL(pads, block * (size_t)size - count);
            CHECK(pads < (size_t)size);
        }
    }
}

static void
drawing_of_the_header(void)
{
    static const pa_share plain[] = {{0, 2, 0}, {2, 3, 0}, {3, 4, 0}, {4, 5, 0}};
    static const pa_share padded[] = {{0, 2, 0}, {2, 4, 0}, {4, 5, 1}, {5, 5, 2}};
    for (int rank = 0; rank < 4; rank++) {
        pa_share share;
        CHECK_EQUAL(pa_share_compute(rank, 4, 5, false, &share, NULL), PA_OK);
        CHECK_EQUAL(share.start, plain[rank].start);
        CHECK_EQUAL(share.stop, plain[rank].stop);
        CHECK_EQUAL(share.pad, plain[rank].pad);
        CHECK_EQUAL(pa_share_compute(rank, 4, 5, true, &share, NULL), PA_OK);
        CHECK_EQUAL(share.start, padded[rank].start);
        CHECK_EQUAL(share.stop, padded[rank].stop);
        CHECK_EQUAL(share.pad, padded[rank].pad);
    }
}

static void
largest_numbers_do_not_overflow(void)
{
    static const size_t counts[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX / 2, 1, 0};
    static const int64_t sizes[] = {1, 2, 3, INT64_MAX - 1, INT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            for (int padded = 0; padded <= 1; padded++) {
                pa_share first;
                pa_share last;
                CHECK_EQUAL(
                    pa_share_compute(0, sizes[j], counts[i], padded, &first, NULL),
                    PA_OK);
                CHECK_EQUAL(pa_share_compute(sizes[j] - 1, sizes[j], counts[i], padded,
                                             &last, NULL),
                            PA_OK);
                CHECK(first.start == 0);
                CHECK(last.start <= last.stop);
                CHECK(last.stop == counts[i]);
                CHECK(!padded || first.stop == last.stop - last.start + last.pad);
            }
        }
    }
}

static void
ranks_out_of_range_are_refused(void)
{
    pa_share share;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_share_compute(4, 4, 10, false, &share, &error), PA_EARGUMENT);
    CHECK_TEXT(error.message,
               "rank 4 is none of the 4 processes: give one from 0 to 3");
    CHECK_EQUAL(pa_share_compute(-1, 4, 10, true, &share, &error), PA_EARGUMENT);
    CHECK_TEXT(error.message,
               "rank -1 is none of the 4 processes: give one from 0 to 3");
    CHECK_EQUAL(pa_share_compute(0, 0, 10, false, &share, &error), PA_EARGUMENT);
    CHECK_TEXT(error.message,
               "a split needs at least one process: their number is given as 0");
    CHECK_EQUAL(pa_share_compute(0, INT64_MIN, 10, false, &share, NULL), PA_EARGUMENT);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(every_item_has_one_rank),
        TESTING(first_ranks_take_the_extra_items),
        TESTING(padded_shares_are_equal_and_pad_the_end),
        TESTING(drawing_of_the_header),
        TESTING(largest_numbers_do_not_overflow),
        TESTING(ranks_out_of_range_are_refused),
    };
    return TESTING_RUN(cases);
}
