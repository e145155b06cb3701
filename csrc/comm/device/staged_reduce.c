/* Reductions by pinned host memory: the payload is cut into chunks of whole elements;
 * while the host reduces one, the next leaves the devices. Host leaves may be among
 * them. */
#include "comm/device/copy.h"
#include "comm/device/staging.h"
#include "comm/reduce.h"

#include <stdlib.h>

/* A chunk: pieces of leaves, as leaves of the host. */
typedef struct batch {
    pa_leaf *at;     /* [leaves] */
    int64_t *counts; /* [leaves]: their shapes */
    char **outputs;  /* [leaves]: in the receive slot */
    size_t *sources; /* [leaves]: of which leaf */
    size_t *offsets; /* [leaves]: where in that leaf */
    size_t count;
} batch;

typedef struct staged_reduction {
    pa_devices *devices;
    const pa_device_reduction *work;
    batch batches[PA_STAGE_SLOTS];
    size_t leaf; /* the next chunk begins in this leaf, here */
    size_t offset;
    pa_stage_places places;
    const pa_hooks *hooks;
    pa_error *error;
} staged_reduction;

bool
pa_staged_reduces(int size, pa_reduction reduction, double scale, pa_dtype dtype)
{
    (void)size;
    return pa_reduction_check(reduction, scale, dtype, NULL) == PA_OK;
}

/* Cuts the next chunk off the payload and enqueues its copies to the slot; an empty one
 * at the end. */
static pa_status
leave(staged_reduction *r, size_t slot)
{
    batch *made = &r->batches[slot];
    char *in = r->devices->staging->send[slot];
    char *out = r->devices->staging->recv[slot];
    size_t room = PA_STAGE_CHUNK;
    made->count = 0;
    while (r->leaf < r->work->leaves->count) {
        const pa_leaf *leaf = &r->work->leaves->at[r->leaf];
        size_t left = leaf->nbytes - r->offset;
        size_t whole = room - room % leaf->itemsize;
        size_t nbytes = left < whole ? left : whole;
        if (left > 0 && nbytes == 0) {
            break;
        }
        if (nbytes > 0) {
            size_t i = made->count++;
            made->counts[i] = (int64_t)(nbytes / leaf->itemsize);
            made->at[i] = (pa_leaf){
                .data = in,
                .nbytes = nbytes,
                .itemsize = leaf->itemsize,
                .shape = &made->counts[i],
                .ndim = 1,
                .dtype = leaf->dtype,
            };
            made->outputs[i] = out;
            made->sources[i] = r->leaf;
            made->offsets[i] = r->offset;
            PA_TRY(pa_device_copy(r->devices, leaf->place, in, leaf->data + r->offset,
                                  nbytes, r->error));
            in += nbytes;
            out += nbytes;
            room -= nbytes;
        }
        r->offset = nbytes < left ? r->offset + nbytes : 0;
        r->leaf += nbytes < left ? 0 : 1;
    }
    return pa_stage_mark(r->devices, &r->places, slot, true, r->error);
}

/* Reduces a chunk on the host and enqueues the copies of its results. */
static pa_status
land(staged_reduction *r, size_t slot)
{
    const batch *ready = &r->batches[slot];
    pa_leaves leaves = {ready->at, ready->count, 0};
    PA_TRY(pa_stage_await(r->devices, PA_OP_REDUCE, slot, true, r->hooks, r->error));
    PA_TRY(pa_stage_await(r->devices, PA_OP_REDUCE, slot, false, r->hooks, r->error));
    PA_TRY(pa_reduce_agreed(r->devices->comm, &leaves, r->work->reduction,
                            r->work->scale, ready->outputs, r->hooks, r->error));
    for (size_t i = 0; i < ready->count; i++) {
        size_t source = ready->sources[i];
        PA_TRY(pa_device_copy(r->devices, r->work->leaves->at[source].place,
                              r->work->outputs[source] + ready->offsets[i],
                              ready->outputs[i], ready->at[i].nbytes, r->error));
    }
    return pa_stage_mark(r->devices, &r->places, slot, false, r->error);
}

static pa_status
run(staged_reduction *r)
{
    for (size_t i = 0; i < r->work->leaves->count; i++) {
        pa_stage_note(&r->places, r->work->leaves->at[i].place);
    }
    PA_TRY(
        pa_stage_reserve(r->devices, PA_OP_REDUCE, PA_STAGE_CHUNK, r->hooks, r->error));
    PA_TRY(leave(r, 0));
    for (size_t slot = 0; r->batches[slot].count > 0;
         slot = (slot + 1) % PA_STAGE_SLOTS) {
        PA_TRY(leave(r, (slot + 1) % PA_STAGE_SLOTS));
        PA_TRY(land(r, slot));
    }
    return PA_OK;
}

pa_status
pa_staged_reduce(pa_devices *devices, const pa_device_reduction *work,
                 const pa_hooks *hooks, pa_error *error)
{
    size_t count = work->leaves->count + 1;
    size_t each =
        sizeof(pa_leaf) + sizeof(int64_t) + sizeof(char *) + 2 * sizeof(size_t);
    size_t nplaces = (size_t)devices->staging->ndevices + 1;
    char *memory = malloc(PA_STAGE_SLOTS * count * each + nplaces * sizeof(pa_place *));
    if (memory == NULL) {
        return pa_error_set(error, PA_EMEMORY, "reduce: no memory for %zu leaves",
                            work->leaves->count);
    }
    staged_reduction r = {
        .devices = devices, .work = work, .hooks = hooks, .error = error};
    r.places.at = (const pa_place **)(void *)memory;
    char *at = memory + nplaces * sizeof(pa_place *);
    for (size_t slot = 0; slot < PA_STAGE_SLOTS; slot++) {
        batch *made = &r.batches[slot];
        made->at = (pa_leaf *)(void *)at;
        made->counts = (int64_t *)(void *)(made->at + count);
        made->outputs = (char **)(void *)(made->counts + count);
        made->sources = (size_t *)(void *)(made->outputs + count);
        made->offsets = made->sources + count;
        at = (char *)(made->offsets + count);
    }
    pa_status status = run(&r);
    free(memory);
    return status;
}
