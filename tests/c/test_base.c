/* csrc/base: status and message, sizes, hash, clock. */
#include "base/clock.h"
#include "base/dtype.h"
#include "base/hash.h"
#include "base/leaf.h"
#include "base/size.h"
#include "base/status.h"
#include "base/strides.h"

#include "testing.h"

#include <errno.h>
#include <stdlib.h>

static void
error_keeps_status_and_message(void)
{
    pa_error error = PA_ERROR_INIT;
    error.sys_errno = ENOENT;
    pa_status status =
        pa_error_set(&error, PA_ETIMEOUT, "rank %d did not arrive in %.1f s", 3, 30.0);
    CHECK_EQUAL(status, PA_ETIMEOUT);
    CHECK_TEXT(error.message, "rank 3 did not arrive in 30.0 s");
    CHECK_EQUAL(error.sys_errno, 0);
}

static void
error_may_be_null(void)
{
    CHECK_EQUAL(pa_error_set(NULL, PA_EPEER, "nobody reads %s", "this"), PA_EPEER);
    errno = EACCES;
    CHECK_EQUAL(pa_error_set_errno(NULL, "nor this"), PA_ESYSTEM);
}

static void
error_of_a_system_call_says_why(void)
{
    pa_error error = PA_ERROR_INIT;
    errno = ENOENT;
    CHECK_EQUAL(pa_error_set_errno(&error, "cannot open %s", "/nowhere"), PA_ESYSTEM);
    CHECK_EQUAL(error.sys_errno, ENOENT);
    CHECK_TEXT(error.message, "cannot open /nowhere: No such file or directory");
}

static void
long_message_is_cut_at_the_capacity(void)
{
    pa_error error = PA_ERROR_INIT;
    size_t length = (size_t)2 * PA_ERROR_CAPACITY;
    char *text = malloc(length + 1);
    CHECK(text != NULL);
    memset(text, 'x', length);
    text[length] = '\0';
    (void)pa_error_set(&error, PA_EARGUMENT, "%s", text);
    size_t plain = strlen(error.message);
    errno = ENOENT;
    (void)pa_error_set_errno(&error, "%s", text);
    size_t with_errno = strlen(error.message);
    free(text);
    CHECK_EQUAL(plain, PA_ERROR_CAPACITY - 1);
    CHECK_EQUAL(with_errno, PA_ERROR_CAPACITY - 1);
}

static void
every_status_has_words(void)
{
#define WORDS(name, text) CHECK_TEXT(pa_status_text(name), text);
    PA_STATUS_MAP(WORDS)
#undef WORDS
    CHECK_TEXT(pa_status_text((pa_status)1000), "unknown status");
}

static pa_status
try_twice(pa_status first, int *reached)
{
    PA_TRY(first);
    *reached += 1;
    return PA_OK;
}

static void
try_returns_what_failed(void)
{
    int reached = 0;
    CHECK_EQUAL(try_twice(PA_EMEMORY, &reached), PA_EMEMORY);
    CHECK_EQUAL(reached, 0);
    CHECK_EQUAL(try_twice(PA_OK, &reached), PA_OK);
    CHECK_EQUAL(reached, 1);
}

static void
sizes_say_when_they_overflow(void)
{
    size_t result = 0;
    CHECK(pa_size_add(SIZE_MAX - 1, 1, &result));
    CHECK(result == SIZE_MAX);
    CHECK(!pa_size_add(SIZE_MAX, 1, &result));
    CHECK(pa_size_mul(SIZE_MAX / 2, 2, &result));
    CHECK(result == SIZE_MAX - 1);
    CHECK(!pa_size_mul(SIZE_MAX / 2 + 1, 2, &result));
    CHECK(pa_size_mul(0, SIZE_MAX, &result));
    CHECK_EQUAL(result, 0);
}

static void
sizes_round_up_to_units(void)
{
    CHECK_EQUAL(pa_size_round_up(0, 64), 0);
    CHECK_EQUAL(pa_size_round_up(1, 64), 64);
    CHECK_EQUAL(pa_size_round_up(64, 64), 64);
    CHECK_EQUAL(pa_size_round_up(65, 64), 128);
    CHECK_EQUAL(pa_size_round_up(5, 1), 5);
}

/* Every length and every alignment: the bytes beside must neither count nor be read. */
static void
hash_sees_each_byte_and_the_length(void)
{
    char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(i * 37);
    }
    for (size_t start = 0; start < 8; start++) {
        for (size_t nbytes = 1; nbytes <= 40; nbytes++) {
            char *copy = malloc(nbytes);
            CHECK(copy != NULL);
            memcpy(copy, bytes + start, nbytes);
            uint64_t hash = pa_hash_bytes(PA_HASH_SEED, copy, nbytes);
            uint64_t same = pa_hash_bytes(PA_HASH_SEED, bytes + start, nbytes);
            uint64_t shorter = pa_hash_bytes(PA_HASH_SEED, copy, nbytes - 1);
            copy[nbytes - 1] ^= 1;
            uint64_t changed = pa_hash_bytes(PA_HASH_SEED, copy, nbytes);
            free(copy);
            CHECK(hash == same);
            CHECK(hash != shorter);
            CHECK(hash != changed);
        }
    }
}

static void
hash_depends_on_order_and_seed(void)
{
    uint64_t one_two = pa_hash_mix(pa_hash_mix(PA_HASH_SEED, 1), 2);
    uint64_t two_one = pa_hash_mix(pa_hash_mix(PA_HASH_SEED, 2), 1);
    CHECK(one_two != two_one);
    CHECK(pa_hash_bytes(1, "ab", 2) != pa_hash_bytes(2, "ab", 2));
    /* Zero bytes change the words too, by their number. */
    CHECK(pa_hash_bytes(1, "\0", 1) != pa_hash_bytes(1, "\0\0", 2));
}

static void
clock_goes_on_and_deadlines_lie_ahead(void)
{
    uint64_t first = pa_clock_now();
    uint64_t second = pa_clock_now();
    CHECK(second >= first);
    uint64_t deadline = pa_clock_deadline(UINT64_C(1000000000));
    CHECK(deadline >= second + UINT64_C(1000000000));
    CHECK(deadline <= pa_clock_now() + UINT64_C(1000000000));
    CHECK(pa_clock_deadline(PA_DEADLINE_NEVER) == PA_DEADLINE_NEVER);
    CHECK(pa_clock_deadline(PA_DEADLINE_NEVER - 1) == PA_DEADLINE_NEVER);
}

static void
dtypes_have_names(void)
{
    char text[48];
    pa_dtype_format((pa_dtype){PA_DTYPE_BFLOAT, 16, 1, 0}, text, sizeof text);
    CHECK_TEXT(text, "bfloat16");
    pa_dtype_format((pa_dtype){99, 16, 1, 0}, text, sizeof text);
    CHECK_TEXT(text, "type (99, 16, 1)");
}

static void
fingerprints_tell_leaves_apart(void)
{
    int64_t shape[] = {2, 3};
    int64_t other[] = {3, 2};
    pa_leaf leaf = {.shape = shape, .ndim = 2, .nbytes = 24, .itemsize = 4};
    leaf.dtype = (pa_dtype){PA_DTYPE_FLOAT, 32, 1, 0};
    pa_leaves one = {&leaf, 1, 7};
    uint64_t print = pa_leaves_fingerprint(&one);
    leaf.shape = other;
    CHECK(pa_leaves_fingerprint(&one) != print);
    leaf.shape = shape;
    CHECK(pa_leaves_fingerprint(&one) == print);
    leaf.dtype.code = PA_DTYPE_INT;
    CHECK(pa_leaves_fingerprint(&one) != print);
    leaf.dtype.code = PA_DTYPE_FLOAT;
    one.structure = 8;
    CHECK(pa_leaves_fingerprint(&one) != print);
    CHECK_EQUAL(pa_leaves_nbytes(&one), 24);
}

static bool
overlap(int32_t ndim, int64_t unit, const int64_t *dims, const int64_t *strides)
{
    return pa_strides_overlap(ndim, dims, strides, unit);
}

static void
strides_tell_whether_elements_share_memory(void)
{
    CHECK(!overlap(0, 1, NULL, NULL));
    CHECK(!overlap(2, 1, (int64_t[]){2, 3}, (int64_t[]){3, 1}));
    CHECK(!overlap(2, 1, (int64_t[]){3, 2}, (int64_t[]){1, 3}));
    CHECK(!overlap(2, 4, (int64_t[]){3, 2}, (int64_t[]){-8, 24}));
    CHECK(!overlap(3, 1, (int64_t[]){1, 2, 1}, (int64_t[]){0, 5, 5}));
    CHECK(!overlap(2, 1, (int64_t[]){4, 0}, (int64_t[]){0, 1}));
    CHECK(overlap(2, 1, (int64_t[]){4, 3}, (int64_t[]){0, 1}));
    CHECK(overlap(2, 1, (int64_t[]){3, 2}, (int64_t[]){1, 1}));
    CHECK(overlap(2, 1, (int64_t[]){2, 3}, (int64_t[]){2, 1}));
    CHECK(overlap(1, 8, (int64_t[]){2}, (int64_t[]){4}));
    CHECK(overlap(2, 1, (int64_t[]){2, 3}, (int64_t[]){INT64_MAX, INT64_MAX}));
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(error_keeps_status_and_message),
        TESTING(error_may_be_null),
        TESTING(error_of_a_system_call_says_why),
        TESTING(long_message_is_cut_at_the_capacity),
        TESTING(every_status_has_words),
        TESTING(try_returns_what_failed),
        TESTING(sizes_say_when_they_overflow),
        TESTING(sizes_round_up_to_units),
        TESTING(hash_sees_each_byte_and_the_length),
        TESTING(hash_depends_on_order_and_seed),
        TESTING(clock_goes_on_and_deadlines_lie_ahead),
        TESTING(dtypes_have_names),
        TESTING(fingerprints_tell_leaves_apart),
        TESTING(strides_tell_whether_elements_share_memory),
    };
    return TESTING_RUN(cases);
}
