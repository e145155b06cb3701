/* Structures of leaves on fake GPUs and on the host, and each operation on them once,
 * for the C tests of the ways between GPUs. */
#ifndef TESTS_C_DEVICE_TREES_H
#define TESTS_C_DEVICE_TREES_H

#include "device_ranks.h"

#include "comm/broadcast.h"
#include "comm/gather.h"

/* ---- One structure of leaves ---- */

enum { LEAVES = 3, MOST_COLUMNS = 1 << 21 };

static const pa_dtype bytes8 = {PA_DTYPE_UINT, 8, 1, 0};

/* Leaves of `rows` x `columns`, each on the host or on a device. */
typedef struct tree {
    device_rank *rank;
    pa_place places[LEAVES];
    bool on_host[LEAVES];
    int64_t shapes[LEAVES][2];
    pa_leaf at[LEAVES];
    pa_leaves leaves;
} tree;

static inline char *
make_memory(const tree *made, size_t leaf, size_t nbytes)
{
    return made->on_host[leaf] ? malloc(nbytes + 1)
                               : fakes.alloc(made->places[leaf].device, nbytes + 1,
                                             made->places[leaf].stream);
}

static inline void
free_memory(const tree *made, size_t leaf, char *memory)
{
    if (made->on_host[leaf]) {
        free(memory);
    } else {
        fakes.free(memory);
    }
}

static inline char
value_of(int rank, size_t leaf, size_t index)
{
    return (char)(index * 5 + index / 253 + (size_t)rank * 17 + leaf * 29);
}

/* `hosts`: a bit for each leaf that stands on the host. */
static inline void
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

static inline void
tree_free(tree *made)
{
    for (size_t leaf = 0; leaf < LEAVES; leaf++) {
        free_memory(made, leaf, made->at[leaf].data);
    }
}

static inline void
synchronize(device_rank *rank, pa_place place)
{
    CHECK_EQUAL(rank->cuda->SetDevice(place.device), PA_CUDA_SUCCESS);
    CHECK_EQUAL(rank->cuda->StreamSynchronize(place.stream), PA_CUDA_SUCCESS);
    CHECK_EQUAL(rank->cuda->SetDevice(rank->rank), PA_CUDA_SUCCESS);
}

static inline bool
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
static inline int64_t
rows_of(int rank, bool uneven)
{
    return uneven ? rank % 3 : 2;
}

static inline void
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

static inline void
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
static inline void
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

/* Asks for ways between the GPUs. */
static inline void
ask(device_rank *rank, const char *rows)
{
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_devices_ask(rank->comm, rows, &error), PA_OK);
}

#endif
