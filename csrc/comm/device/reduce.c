/* Reductions of leaves on devices: see the header. */
#include "comm/device/reduce.h"

#include "comm/device/copy.h"
#include "comm/device/move.h"
#include "comm/reduce.h"

#include <stdlib.h>

/* Who reduces a leaf. */
typedef enum reduced_by { BY_HOST, BY_WAY, BY_STAGING } reduced_by;

/* Some of the leaves and their outputs. */
typedef struct subset {
    pa_leaf *at;
    char **outputs;
    size_t count;
} subset;

static reduced_by
who_reduces(const pa_comm *comm, const pa_device_backend *way,
            const pa_device_reduction *work, const pa_leaf *leaf)
{
    if (leaf->place == NULL) {
        return BY_HOST;
    }
    return way->reduces != NULL && way->reduces(pa_comm_size(comm), work->reduction,
                                                work->scale, leaf->dtype)
               ? BY_WAY
               : BY_STAGING;
}

/* The leaves that `who` reduces. */
static pa_device_reduction
take(const pa_comm *comm, const pa_device_backend *way, const pa_device_reduction *work,
     reduced_by who, subset *some, pa_leaves *leaves)
{
    pa_device_reduction made = *work;
    some->count = 0;
    for (size_t i = 0; i < work->leaves->count; i++) {
        const pa_leaf *leaf = &work->leaves->at[i];
        if (who_reduces(comm, way, work, leaf) == who) {
            some->at[some->count] = *leaf;
            some->outputs[some->count++] = work->outputs[i];
            made.stream = leaf->place != NULL ? leaf->place->stream : NULL;
        }
    }
    *leaves = (pa_leaves){some->at, some->count, work->leaves->structure};
    made.leaves = leaves;
    made.outputs = some->outputs;
    return made;
}

static pa_status
reduce_by(pa_comm *comm, reduced_by who, const pa_device_backend *way,
          const pa_device_reduction *work, const pa_hooks *hooks, pa_error *error)
{
    if (work->leaves->count == 0) {
        return PA_OK;
    }
    if (who == BY_HOST) {
        return pa_reduce_agreed(comm, work->leaves, work->reduction, work->scale,
                                work->outputs, hooks, error);
    }
    const pa_device_backend *by = who == BY_WAY ? way : &pa_device_staged;
    pa_status status = by->reduce(comm->devices, work, hooks, error);
    return status == PA_OK ? PA_OK
                           : pa_devices_break(comm, PA_OP_REDUCE, status, error);
}

/* Each leaf by whom it can be reduced; all ranks come to the same. */
static pa_status
reduce_subsets(pa_comm *comm, const pa_device_backend *way,
               const pa_device_reduction *work, const pa_hooks *hooks, pa_error *error)
{
    size_t count = work->leaves->count;
    subset some = {.at = malloc(count * (sizeof(pa_leaf) + sizeof(char *)))};
    if (some.at == NULL) {
        pa_comm_abort_memory(comm, PA_OP_REDUCE);
        return pa_error_set(error, PA_EMEMORY, "reduce: no memory for %zu leaves",
                            count);
    }
    some.outputs = (char **)(void *)(some.at + count);
    static const reduced_by order[] = {BY_WAY, BY_STAGING, BY_HOST};
    pa_status status = PA_OK;
    for (size_t i = 0; i < sizeof order / sizeof order[0] && status == PA_OK; i++) {
        pa_leaves leaves;
        pa_device_reduction part = take(comm, way, work, order[i], &some, &leaves);
        status = reduce_by(comm, order[i], way, &part, hooks, error);
    }
    free(some.at);
    return status;
}

/* Copies the own leaves, where nothing is to be computed. */
static pa_status
keep_own(pa_comm *comm, const pa_device_reduction *work, pa_error *error)
{
    for (size_t i = 0; i < work->leaves->count; i++) {
        const pa_leaf *leaf = &work->leaves->at[i];
        if (leaf->nbytes > 0) {
            PA_TRY(pa_device_copy(comm->devices, leaf->place, work->outputs[i],
                                  leaf->data, leaf->nbytes, error));
        }
    }
    return PA_OK;
}

pa_status
pa_devices_reduce(pa_comm *comm, const pa_device_reduction *work, uint32_t placed,
                  bool apart, const pa_hooks *hooks, pa_error *error)
{
    pa_error own = PA_ERROR_INIT;
    pa_error *said = error != NULL ? error : &own;
    const pa_device_backend *way = NULL;
    PA_TRY(pa_devices_way(comm, PA_OP_REDUCE, placed, apart,
                          pa_leaves_nbytes(work->leaves), &way, hooks, said));
    pa_devices *devices = comm->devices;
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    pa_status status = PA_OK;
    if (devices->cuda != NULL && devices->device >= 0) {
        status = pa_cuda_enter(devices->cuda, devices->device, &before, said);
    }
    if (status != PA_OK) {
        return pa_devices_break(comm, PA_OP_REDUCE, status, said);
    }
    if (work->reduction == PA_REDUCTION_NONE && work->scale == 1.0) {
        status = keep_own(comm, work, said);
    } else if (way == &pa_device_staged) {
        status = reduce_by(comm, BY_STAGING, way, work, hooks, said);
    } else {
        status = reduce_subsets(comm, way, work, hooks, said);
    }
    pa_cuda_leave(devices->cuda, before);
    return status;
}
