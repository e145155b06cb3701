/* One look at work on a GPU: see the header. */
#include "comm/device/look.h"

#include "base/clock.h"
#include "comm/backend.h"

#include <stdio.h>

enum { SECOND_NS = 1000000000 };

/* Says which work has failed, and how. */
static void
describe(const pa_look *look, pa_finding *found, uint32_t op, const char *text)
{
    (void)pa_error_set(
        &found->error, found->status, "%s: the work of rank %d on device %d failed: %s",
        pa_op_text(op), pa_comm_rank(look->devices->comm), look->devices->device, text);
}

/* Says that work did not end in time, and whose GPU is behind if that is seen. */
static void
describe_late(const pa_look *look, pa_finding *found, const pa_note *late)
{
    pa_comm *comm = look->devices->comm;
    char who[64] = "a rank's GPU is behind or waits for something else";
    for (int rank = pa_comm_size(comm) - 1; rank >= 0 && look->together; rank--) {
        if (pa_comm_shown(comm, PA_SHOWN_BEGUN, rank) < late->number) {
            (void)snprintf(who, sizeof who, "the GPU of rank %d has not come to it",
                           rank);
        }
    }
    found->status = pa_error_set(
        &found->error, PA_ETIMEOUT,
        "%s: the work of rank %d on device %d did not end within %.1f s of its "
        "beginning there: %s",
        pa_op_text(late->op), pa_comm_rank(comm), look->devices->device,
        (double)pa_comm_timeout(comm) / SECOND_NS, who);
}

/* Asks for an event of a note that is pending. */
static bool
ask_event(const pa_look *look, pa_finding *found, const pa_note *note,
          pa_cuda_event event)
{
    const pa_cuda *cuda = look->devices->cuda;
    bool reached = false;
    pa_error said = PA_ERROR_INIT;
    found->status = pa_cuda_reached(cuda, event, &reached, &said);
    if (found->status != PA_OK) {
        found->over = cuda->EventQuery(event) == PA_CUDA_UNLOADING;
        describe(look, found, note->op, said.message);
    }
    return reached;
}

void
pa_look_at_work(const pa_look *look, pa_note **pending, pa_note **free,
                pa_finding *found)
{
    uint64_t timeout = pa_comm_timeout(look->devices->comm);
    const pa_note *late = NULL;
    pa_note **place = pending;
    while (*place != NULL && found->status == PA_OK) {
        pa_note *at = *place;
        if (ask_event(look, found, at, at->end)) {
            at = pa_notes_take(place);
            at->next = *free;
            *free = at;
            continue;
        }
        uint64_t now = pa_clock_now();
        if (found->status == PA_OK && at->running_ns == 0) {
            at->running_ns = ask_event(look, found, at, at->begin) ? now : 0;
        }
        if (at->running_ns != 0 && now - at->running_ns > timeout) {
            late = at;
        }
        place = &at->next;
    }
    if (found->status == PA_OK && late != NULL) {
        describe_late(look, found, late);
    }
}

void
pa_look_at_group(pa_look *look, uint32_t op, pa_finding *found)
{
    pa_comm *comm = look->devices->comm;
    char broken[PA_COMM_REASON];
    if (pa_comm_broken(comm, broken, sizeof broken)) {
        /* Who has seen a peer's end as well says so, though another was faster. */
        found->told = true;
        found->status = pa_error_set(
            &found->error, look->missed ? PA_EPEER : PA_EBROKEN, "%s", broken);
        return;
    }
    int gone = pa_comm_gone(comm);
    /* Work to which the peer has done its part may be about to end: the next look will
     * tell. */
    bool gone_for_long = gone >= 0 && look->missed;
    look->missed = gone >= 0;
    if (gone_for_long) {
        found->status = pa_error_set(
            &found->error, PA_EPEER,
            "%s: rank %d ended while the work of rank %d on device %d waited for it",
            pa_op_text(op), gone, pa_comm_rank(comm), look->devices->device);
    } else if (look->ask != NULL) {
        pa_error said = PA_ERROR_INIT;
        found->status = look->ask(look->devices, &said);
        if (found->status != PA_OK) {
            describe(look, found, op, said.message);
        }
    }
}

void
pa_look_report(const pa_look *look, const pa_finding *found)
{
    pa_devices *devices = look->devices;
    bool at_once = devices->comm->backend->one_host;
    if (!found->told && at_once) {
        pa_comm_abort(devices->comm, found->error.message);
    }
    pa_devices_abort(devices);
    if (devices->failed != NULL) {
        devices->failed(devices->failed_context, found->status, found->error.message);
    }
    if (!found->told && !at_once) {
        pa_comm_abort(devices->comm, found->error.message);
    }
}
