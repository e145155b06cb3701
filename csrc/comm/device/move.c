/* Moving bytes between GPUs: see devices.h and move.h. */
#include "comm/device/move.h"

#include "base/text.h"
#include "comm/device/choice.h"
#include "comm/device/join.h"

#include <stdlib.h>
#include <string.h>

/* ---- The way ---- */

static pa_status
refuse_capture(uint32_t op, const char *what, pa_error *error)
{
    return pa_error_set(error, PA_EARGUMENT,
                        "%s: a CUDA graph is being captured on some rank, and %s",
                        pa_op_text(op), what);
}

pa_status
pa_devices_way(pa_comm *comm, uint32_t op, uint32_t placed, bool apart, size_t nbytes,
               const pa_device_backend **way, const pa_hooks *hooks, pa_error *error)
{
    pa_devices *devices = pa_devices_of(comm);
    if (devices == NULL) {
        pa_comm_abort_memory(comm, op);
        return pa_error_set(error, PA_EMEMORY, "%s: no memory for the GPUs",
                            pa_op_text(op));
    }
    bool captured = (placed & PA_PLACED_CAPTURED) != 0;
    if ((placed & PA_PLACED_SPLIT) != 0) {
        return refuse_capture(op, "on others none is: all must capture it, or none",
                              error);
    }
    if (captured && !devices->joined) {
        return refuse_capture(op,
                              "the first operation on GPUs sets them up: run one "
                              "before the capture",
                              error);
    }
    PA_TRY(pa_devices_join(devices, hooks, error));
    bool mixed = apart || (placed & PA_PLACED_APART) != 0;
    *way = mixed ? &pa_device_staged : pa_device_choice_way(&devices->choice, nbytes);
    if (captured && !(*way)->captures) {
        char what[PA_DEVICE_TEXT] = "";
        pa_text_append(what, sizeof what,
                       "this operation goes by the way %s, where the "
                       "host has a part in it",
                       (*way)->name);
        pa_text_append(what, sizeof what, ": run it outside of the graph");
        return refuse_capture(op, what, error);
    }
    return PA_OK;
}

pa_status
pa_devices_break(pa_comm *comm, uint32_t op, pa_status status, pa_error *error)
{
    char text[PA_COMM_REASON];
    if (pa_comm_broken(comm, text, sizeof text)) {
        return status;
    }
    pa_error said = PA_ERROR_INIT;
    const pa_devices *devices = comm->devices;
    (void)pa_error_set(&said, status, "%s: rank %d failed on GPU %d: %.*s",
                       pa_op_text(op), pa_comm_rank(comm), devices->device, 1024,
                       error->message);
    pa_comm_abort(comm, said.message);
    *error = said;
    return status;
}

/* ---- Host and device apart ---- */

/* The parts of one side of an operation, of every flow. */
typedef struct side {
    pa_flow send;
    pa_flow *recv; /* [size] */
    pa_part *next; /* room for the next flow's parts */
} side;

/* The parts of a flow that stand on devices, or the others. */
static pa_flow
filter(side *into, const pa_flow *flow, bool on_device)
{
    pa_flow made = {.parts = into->next};
    for (size_t i = 0; flow->parts != NULL && i < flow->nparts; i++) {
        if ((flow->parts[i].place != NULL) == on_device) {
            *into->next++ = flow->parts[i];
            made.nparts++;
            made.nbytes += flow->parts[i].nbytes;
        }
    }
    return made;
}

static void
take_side(side *made, const pa_move *move, int size, bool on_device)
{
    made->send = filter(made, move->send, on_device);
    for (int rank = 0; rank < size; rank++) {
        made->recv[rank] = filter(made, &move->recv[rank], on_device);
    }
}

/* The stream of the rank's own device in a flow; false if it has none. */
static bool
find_stream(const pa_flow *flow, pa_cuda_stream *stream)
{
    for (size_t i = 0; i < flow->nparts; i++) {
        if (flow->parts != NULL && flow->parts[i].place != NULL) {
            *stream = flow->parts[i].place->stream;
            return true;
        }
    }
    return false;
}

static pa_status
run_way(pa_comm *comm, const pa_device_backend *way, const pa_move *move,
        const pa_flow *send, const pa_flow *recv, const pa_hooks *hooks,
        pa_error *error)
{
    pa_devices *devices = comm->devices;
    pa_device_work work = {
        .op = move->op,
        .send = send,
        .recv = recv,
        .receiver = move->receiver,
        .sender = move->sender,
        .captured = (move->placed & PA_PLACED_CAPTURED) != 0,
    };
    for (int rank = 0;
         rank < pa_comm_size(comm) && !find_stream(&recv[rank], &work.stream); rank++) {
    }
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    pa_status status = PA_OK;
    if (devices->cuda != NULL && devices->device >= 0) {
        status = pa_cuda_enter(devices->cuda, devices->device, &before, error);
    }
    if (status == PA_OK) {
        status = way->stream(devices, &work, hooks, error);
    }
    pa_cuda_leave(devices->cuda, before);
    return status == PA_OK ? PA_OK : pa_devices_break(comm, move->op, status, error);
}

/* Whether a flow has parts on the host. */
static bool
has_host_part(const pa_flow *flow)
{
    bool found = false;
    for (size_t i = 0; flow->parts != NULL && i < flow->nparts; i++) {
        found = found || flow->parts[i].place == NULL;
    }
    return found;
}

/* What stands on devices by `way`, and what stands on the host by the host's. */
static pa_status
move_sides(pa_comm *comm, const pa_device_backend *way, const pa_move *move,
           const pa_hooks *hooks, pa_error *error)
{
    size_t size = (size_t)pa_comm_size(comm);
    size_t nparts = move->send->nparts;
    for (size_t rank = 0; rank < size; rank++) {
        nparts += move->recv[rank].nparts;
    }
    pa_part *parts = malloc((nparts + 1) * sizeof *parts + 2 * size * sizeof(pa_flow));
    if (parts == NULL) {
        pa_comm_abort_memory(comm, move->op);
        return pa_error_set(error, PA_EMEMORY, "%s: no memory for %zu parts",
                            pa_op_text(move->op), nparts);
    }
    side gpu = {.recv = (pa_flow *)(void *)(parts + nparts + 1), .next = parts};
    take_side(&gpu, move, (int)size, true);
    side host = {.recv = gpu.recv + size, .next = gpu.next};
    take_side(&host, move, (int)size, false);
    pa_status status = run_way(comm, way, move, &gpu.send, gpu.recv, hooks, error);
    if (status == PA_OK) {
        status = pa_comm_stream(comm, move->op, &host.send, host.recv, hooks, error);
    }
    free(parts);
    return status;
}

pa_status
pa_devices_move(pa_comm *comm, const pa_move *move, const pa_hooks *hooks,
                pa_error *error)
{
    pa_error own = PA_ERROR_INIT;
    pa_error *said = error != NULL ? error : &own;
    if (move->placed == 0) {
        return pa_comm_stream(comm, move->op, move->send, move->recv, hooks, said);
    }
    size_t nbytes = 0;
    bool mixed = has_host_part(move->send);
    for (int rank = 0; rank < pa_comm_size(comm); rank++) {
        nbytes += move->recv[rank].nbytes;
        mixed = mixed || has_host_part(&move->recv[rank]);
    }
    const pa_device_backend *way = NULL;
    PA_TRY(pa_devices_way(comm, move->op, move->placed, move->apart, nbytes, &way,
                          hooks, said));
    /* The staged way takes host parts as well: one stream of the host for both. */
    return mixed && way != &pa_device_staged
               ? move_sides(comm, way, move, hooks, said)
               : run_way(comm, way, move, move->send, move->recv, hooks, said);
}
