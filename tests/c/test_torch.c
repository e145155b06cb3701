/* csrc/torch: reading and making tensors with an exchange table of our own. */
#include "testing.h"

#include "torch/devices.h"
#include "torch/exchange.h"
#include "torch/shim.h"

#include <stdlib.h>

static int
refuse_object(pa_dl_managed *managed, void **object)
{
    (void)managed;
    (void)object;
    return -1;
}

static int
make_object(pa_dl_managed *managed, void **object)
{
    *object = managed;
    return 0;
}

static int
borrow_object(void *object, pa_dl_tensor *out)
{
    *out = *(pa_dl_tensor *)object;
    return 0;
}

static void
only_a_known_version_is_used(void)
{
    pa_dl_exchange good = {.header = {{PA_DL_MAJOR, 3}, NULL}};
    CHECK(pa_exchange_check(&good) == NULL); /* it lacks functions */
    good.to_object = make_object;
    good.borrow = borrow_object;
    CHECK(pa_exchange_check(&good) == &good);
    pa_dl_exchange newer = {.header = {{PA_DL_MAJOR + 1, 0}, &good.header}};
    CHECK(pa_exchange_check(&newer) == &good);
    newer.header.previous = NULL;
    CHECK(pa_exchange_check(&newer) == NULL);
    CHECK(pa_exchange_check(NULL) == NULL);
}

static void
views_are_checked(void)
{
    float data[12] = {0};
    int64_t shape[] = {2, 3};
    int64_t strides[] = {3, 1};
    pa_dl_tensor view = {
        .data = data,
        .device = {PA_DL_CPU, 0},
        .ndim = 2,
        .dtype = {PA_DTYPE_FLOAT, 32, 1},
        .shape = shape,
        .strides = strides,
        .byte_offset = 4,
    };
    pa_leaf leaf;
    CHECK(pa_exchange_leaf(&view, &leaf));
    CHECK(leaf.data == (char *)data + 4);
    CHECK_EQUAL(leaf.nbytes, 24);
    strides[0] = 4;
    CHECK(!pa_exchange_leaf(&view, &leaf)); /* rows stand apart */
    shape[0] = 1;
    CHECK(pa_exchange_leaf(&view, &leaf)); /* one row has no distance */
    shape[0] = 0;
    CHECK(pa_exchange_leaf(&view, &leaf));
    CHECK_EQUAL(leaf.nbytes, 0);
    view.strides = NULL;
    shape[0] = 2;
    CHECK(pa_exchange_leaf(&view, &leaf));
    view.data = NULL;
    CHECK(!pa_exchange_leaf(&view, &leaf)); /* a tensor without memory */
}

static void
tensors_own_their_block(void)
{
    pa_pool *pool = pa_pool_create(0);
    pa_dl_exchange table = {.to_object = make_object};
    int64_t shape[] = {4, 0, 2};
    char *data = NULL;
    void *object = NULL;
    pa_dtype dtype = {PA_DTYPE_INT, 64, 1, 0};
    CHECK_EQUAL(pa_exchange_make(&table, pool, dtype, 3, shape, 64, &data, &object), 0);
    pa_dl_managed *managed = object;
    CHECK(managed->tensor.data == data);
    CHECK_EQUAL(managed->tensor.strides[0], 2);
    CHECK_EQUAL(managed->tensor.shape[1], 0);
    memset(data, 1, 64);
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 1);
    managed->deleter(managed);
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 0);
    table.to_object = refuse_object;
    CHECK_EQUAL(pa_exchange_make(&table, pool, dtype, 3, shape, 64, &data, &object),
                -1);
    CHECK_EQUAL(pa_pool_get_stats(pool).live_blocks, 0);
    CHECK_EQUAL(
        pa_exchange_make(&table, pool, dtype, 3, shape, SIZE_MAX, &data, &object), 1);
    pa_pool_destroy(pool);
}

static void
without_torch_there_is_no_shim(void)
{
    CHECK(pa_shim_open() == NULL);
    pa_shim_close(NULL);
}

static int
where(const pa_torch_devices *devices, int32_t type, int32_t id)
{
    pa_dl_tensor view = {.device = {type, id}};
    return pa_torch_devices_where(devices, &view);
}

static int
stream_of(int32_t type, int32_t id, void **stream)
{
    static char streams[3];
    *stream = &streams[id];
    return type == PA_DL_CUDA ? 0 : -1;
}

static void
devices_are_where_torch_says(void)
{
    pa_dl_exchange table = {.current_stream = stream_of};
    pa_torch_devices *devices = pa_torch_devices_open(&table);
    CHECK_EQUAL(where(devices, PA_DL_CPU, 0), PA_TORCH_HOST);
    CHECK_EQUAL(where(devices, PA_DL_CUDA, 0), 0);
    CHECK_EQUAL(where(devices, PA_DL_CUDA, 2), 2);
    CHECK_EQUAL(where(devices, 10, 0), PA_TORCH_AWAY); /* ROCm */
    void *first = NULL;
    void *second = NULL;
    void *expected = NULL;
    CHECK_EQUAL(pa_torch_devices_stream(devices, 1, &first), 0);
    CHECK_EQUAL(pa_torch_devices_stream(devices, 2, &second), 0);
    (void)stream_of(PA_DL_CUDA, 1, &expected);
    CHECK(first == expected && second != first);
    pa_torch_devices_close(devices);
}

static void
without_a_table_python_is_asked(void)
{
    pa_dl_exchange table = {.current_stream = NULL};
    void *stream = NULL;
    pa_torch_devices *devices = pa_torch_devices_open(NULL);
    CHECK_EQUAL(pa_torch_devices_stream(devices, 0, &stream), 1);
    pa_torch_devices_close(devices);
    devices = pa_torch_devices_open(&table);
    CHECK_EQUAL(pa_torch_devices_stream(devices, 0, &stream), 1);
    pa_torch_devices_close(devices);
    pa_torch_devices_close(NULL);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(only_a_known_version_is_used), TESTING(views_are_checked),
        TESTING(tensors_own_their_block),      TESTING(without_torch_there_is_no_shim),
        TESTING(devices_are_where_torch_says), TESTING(without_a_table_python_is_asked),
    };
    return TESTING_RUN(cases);
}
