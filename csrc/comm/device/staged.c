/* The way by pinned host memory and the host's backend: always right, for any mixture
 * of places.
 *
 *     chunk k+1   device -> send slot          while the host moves chunk k
 *     chunk k     send slot -> all hosts -> receive slot
 *     chunk k-1   receive slot -> device       while the host moves chunk k
 *
 * All ranks know how many bytes each sends, so all cut them into the same chunks. */
#include "comm/device/copy.h"
#include "comm/device/staging.h"

#include <stdlib.h>

/* One operation. */
typedef struct staged {
    pa_devices *devices;
    const pa_device_work *work;
    size_t chunk;
    pa_cursor from;  /* what has yet to leave this rank's devices */
    pa_cursor *into; /* [size]: what has yet to come */
    pa_flow *flows;  /* [size]: of the host's stream */
    pa_part *parts;  /* [size] */
    pa_stage_places places;
    const pa_hooks *hooks;
    pa_error *error;
} staged;

/* Bytes of chunk `k` of a flow. */
static size_t
chunk_of(const staged *s, const pa_flow *flow, size_t k)
{
    size_t begin = k * s->chunk;
    if (begin >= flow->nbytes) {
        return 0;
    }
    size_t left = flow->nbytes - begin;
    return left < s->chunk ? left : s->chunk;
}

/* Enqueues the copies of the own chunk `k` into its slot. */
static pa_status
leave(staged *s, size_t k)
{
    size_t slot = k % PA_STAGE_SLOTS;
    size_t nbytes = chunk_of(s, s->work->send, k);
    if (nbytes == 0) {
        return PA_OK;
    }
    PA_TRY(pa_device_copy_from(s->devices, &s->from, s->devices->staging->send[slot],
                               nbytes, s->error));
    return pa_stage_mark(s->devices, &s->places, slot, true, s->error);
}

/* Moves chunk `k` between the hosts. */
static pa_status
travel(staged *s, size_t k)
{
    size_t slot = k % PA_STAGE_SLOTS;
    pa_staging *staging = s->devices->staging;
    pa_comm *comm = s->devices->comm;
    size_t size = (size_t)pa_comm_size(comm);
    size_t own = (size_t)pa_comm_rank(comm);
    bool lands = false;
    for (size_t rank = 0; rank < size; rank++) {
        size_t nbytes = chunk_of(s, &s->work->recv[rank], k);
        bool wanted = rank != own && nbytes > 0 && pa_flow_wanted(&s->work->recv[rank]);
        lands = lands || wanted;
        s->parts[rank] = (pa_part){staging->recv[slot] + rank * s->chunk, nbytes, NULL};
        s->flows[rank] = (pa_flow){wanted ? &s->parts[rank] : NULL, 1, nbytes};
    }
    /* Only for what this chunk needs: the stream may be far behind. */
    if (chunk_of(s, s->work->send, k) > 0) {
        PA_TRY(pa_stage_await(s->devices, s->work->op, slot, true, s->hooks, s->error));
    }
    if (lands) {
        PA_TRY(
            pa_stage_await(s->devices, s->work->op, slot, false, s->hooks, s->error));
    }
    pa_part part = {staging->send[slot], chunk_of(s, s->work->send, k), NULL};
    pa_flow send = {&part, 1, part.nbytes};
    return pa_comm_stream(comm, s->work->op, &send, s->flows, s->hooks, s->error);
}

/* Enqueues the copies of what came in chunk `k`. */
static pa_status
land(staged *s, size_t k)
{
    bool lands = false;
    for (int rank = 0; rank < pa_comm_size(s->devices->comm); rank++) {
        if (s->flows[rank].parts != NULL) {
            lands = true;
            PA_TRY(pa_device_copy_into(s->devices, &s->into[rank], s->parts[rank].data,
                                       s->parts[rank].nbytes, s->error));
        }
    }
    return lands ? pa_stage_mark(s->devices, &s->places, k % PA_STAGE_SLOTS, false,
                                 s->error)
                 : PA_OK;
}

static void
note_places(staged *s, const pa_flow *flow)
{
    for (size_t i = 0; flow->parts != NULL && i < flow->nparts; i++) {
        pa_stage_note(&s->places, flow->parts[i].place);
    }
}

static pa_status
run(staged *s)
{
    const pa_device_work *work = s->work;
    int size = pa_comm_size(s->devices->comm);
    size_t most = 0;
    note_places(s, work->send);
    for (int rank = 0; rank < size; rank++) {
        const pa_flow *flow = &work->recv[rank];
        most = flow->nbytes > most ? flow->nbytes : most;
        s->into[rank] = (pa_cursor){.parts = flow->parts};
        note_places(s, flow);
    }
    s->from = (pa_cursor){.parts = work->send->parts};
    s->chunk = most < PA_STAGE_CHUNK ? most : PA_STAGE_CHUNK;
    PA_TRY(pa_stage_reserve(s->devices, work->op, s->chunk, s->hooks, s->error));
    PA_TRY(pa_device_copy_own(s->devices, work->send,
                              &work->recv[pa_comm_rank(s->devices->comm)], s->error));
    size_t chunks = s->chunk > 0 ? (most + s->chunk - 1) / s->chunk : 0;
    if (chunks > 0) {
        PA_TRY(leave(s, 0));
    }
    for (size_t k = 0; k < chunks; k++) {
        if (k + 1 < chunks) {
            PA_TRY(leave(s, k + 1));
        }
        PA_TRY(travel(s, k));
        PA_TRY(land(s, k));
    }
    return PA_OK;
}

static pa_status
staged_stream(pa_devices *devices, const pa_device_work *work, const pa_hooks *hooks,
              pa_error *error)
{
    size_t size = (size_t)pa_comm_size(devices->comm);
    size_t ndevices = (size_t)devices->staging->ndevices;
    size_t each = sizeof(pa_cursor) + sizeof(pa_flow) + sizeof(pa_part);
    staged s = {.devices = devices, .work = work, .hooks = hooks, .error = error};
    char *memory = malloc(size * each + (ndevices + 1) * sizeof(pa_place *));
    if (memory == NULL) {
        return pa_error_set(error, PA_EMEMORY, "%s: no memory for %zu ranks",
                            pa_op_text(work->op), size);
    }
    s.into = (pa_cursor *)(void *)memory;
    s.flows = (pa_flow *)(void *)(s.into + size);
    s.parts = (pa_part *)(void *)(s.flows + size);
    s.places.at = (const pa_place **)(void *)(s.parts + size);
    pa_status status = run(&s);
    free(memory);
    return status;
}

const pa_device_backend pa_device_staged = {
    .name = "staged",
    .open = pa_staged_open,
    .stream = staged_stream,
    .reduces = pa_staged_reduces,
    .reduce = pa_staged_reduce,
    .close = pa_staged_close,
};
