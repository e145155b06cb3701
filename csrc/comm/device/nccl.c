/* The way over NCCL: a communicator of all ranks, made at the first operation.
 *
 * Making one waits for all ranks, so no rank may begin whose peers will not come, and
 * none may go on alone once a peer has failed. The ranks therefore go in rounds, each a
 * meeting on the host in which all say how far they are:
 *
 *     rank 0    id made   | waiting | waiting | done | done
 *     rank 1    ready     | waiting | waiting | done | done       all done: on
 *     rank 2    ready     | waiting | failed                      one failed: all stop
 */
#include "comm/device/nccl.h"

#include "base/clock.h"
#include "comm/bytes.h"
#include "comm/device/leave.h"
#include "comm/device/patience.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Time for NCCL to connect the ranks, if that of each wait is not shorter. What takes
 * longer will not come: the ranks then use another way, and the group goes on. */
#define PA_NCCL_CONNECT_NS UINT64_C(300000000000)

/* How far this rank is, and what it tells the others in each round: a letter, then why
 * it failed, or the id of the communicator, which is rank 0's to make. */
typedef struct attempt {
    pa_status own; /* how this rank's side went so far */
    pa_error said;
    bool done;
    pa_nccl_id id;
} attempt;

static const char failed_letter = 'f';
static const char waiting_letter = 'w';
static const char done_letter = 'd';

/* ---- Rounds ---- */

static char
letter_of(const attempt *mine)
{
    if (mine->own != PA_OK) {
        return failed_letter;
    }
    return mine->done ? done_letter : waiting_letter;
}

/* What the others have said; the own failure is the caller's to report. */
static pa_status
judge(attempt *mine, const pa_bytes *all, int size, bool *all_done, pa_error *error)
{
    *all_done = true;
    for (int rank = 0; rank < size; rank++) {
        char letter = all[rank].nbytes > 0 ? all[rank].data[0] : failed_letter;
        if (letter == failed_letter) {
            int length = all[rank].nbytes > 0 ? (int)all[rank].nbytes - 1 : 0;
            return pa_error_set(error, PA_EREMOTE, "rank %d: %.*s", rank, length,
                                all[rank].data + 1);
        }
        *all_done = *all_done && letter == done_letter;
    }
    if (all[0].nbytes == 1 + sizeof mine->id.bytes) {
        memcpy(mine->id.bytes, all[0].data + 1, sizeof mine->id.bytes);
    }
    return PA_OK;
}

/* One round: PA_OK unless some rank failed. `*all_done`: everybody is connected. */
static pa_status
meet(pa_devices *devices, attempt *mine, bool *all_done, const pa_hooks *hooks,
     pa_error *error)
{
    char text[1 + PA_ERROR_CAPACITY];
    const char *from = mine->own == PA_OK ? mine->id.bytes : mine->said.message;
    size_t nbytes =
        mine->own == PA_OK ? sizeof mine->id.bytes : strlen(mine->said.message);
    text[0] = letter_of(mine);
    memcpy(text + 1, from, nbytes);
    pa_part part = {text, 1 + nbytes, NULL};
    pa_bytes *all = NULL;
    PA_TRY(pa_bytes_gather(devices->comm, PA_OP_DEVICES, &part, &all, hooks, error));
    pa_status status = judge(mine, all, pa_comm_size(devices->comm), all_done, error);
    pa_bytes_free(all);
    return mine->own == PA_OK
               ? status
               : pa_error_set(error, mine->own, "%s", mine->said.message);
}

/* ---- Opening ---- */

/* What a rank needs before it can meet the others in NCCL. */
static pa_status
prepare(pa_devices *devices, pa_nccl_id *id, pa_error *error)
{
    const pa_nccl *nccl = pa_nccl_get();
    if (nccl == NULL) {
        return pa_error_set(error, PA_ESYSTEM, "%s", pa_gpu_find(PA_GPU_NCCL)->reason);
    }
    struct pa_nccl_group *group = calloc(1, sizeof *group);
    if (group == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory to set up NCCL");
    }
    pa_nccl_link_init(&group->link, nccl);
    devices->nccl = group;
    return pa_comm_rank(devices->comm) == 0
               ? pa_nccl_link_identify(&group->link, id, error)
               : PA_OK;
}

/* Whether NCCL has noticed by itself that the work has failed; for the watch. */
static pa_status
ask(pa_devices *devices, pa_error *error)
{
    bool done = false;
    pa_status status = pa_nccl_link_ask(&devices->nccl->link, false, &done, error);
    /* Who has ended it says why. */
    return status == PA_EBROKEN ? PA_OK : status;
}

/* Begins to make this rank's side of the communicator, and its watch. */
static pa_status
begin(pa_devices *devices, pa_nccl_id id, pa_error *error)
{
    struct pa_nccl_group *group = devices->nccl;
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    PA_TRY(pa_watch_create(devices, ask, true, &group->watch, error));
    pa_watch_replays(group->watch, &group->replays);
    PA_TRY(pa_cuda_enter(devices->cuda, devices->device, &before, error));
    pa_status status = pa_nccl_link_connect(&group->link, pa_comm_size(devices->comm),
                                            id, pa_comm_rank(devices->comm), error);
    pa_cuda_leave(devices->cuda, before);
    return status;
}

/* How far this rank is with connecting. Rank 0 gives up for all: each knows it from the
 * same round. */
static void
go_on(pa_devices *devices, attempt *mine, uint64_t began_ns)
{
    uint64_t own = pa_comm_timeout(devices->comm);
    uint64_t limit = own < PA_NCCL_CONNECT_NS ? own : PA_NCCL_CONNECT_NS;
    if (mine->own == PA_OK && !mine->done) {
        mine->own =
            pa_nccl_link_ask(&devices->nccl->link, true, &mine->done, &mine->said);
    }
    if (mine->own == PA_OK && !mine->done && pa_comm_rank(devices->comm) == 0 &&
        pa_clock_now() - began_ns >= limit) {
        mine->own = pa_error_set(
            &mine->said, PA_ETIMEOUT,
            "NCCL did not connect the ranks within %.0f s; with NCCL_DEBUG=INFO in the "
            "environment it says what it tries, and NCCL_SOCKET_IFNAME names the "
            "network "
            "that it is to use",
            (double)limit / 1e9);
    }
}

static pa_status
open_nccl(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    attempt mine = {.own = PA_OK, .said = PA_ERROR_INIT};
    bool all_done = false;
    mine.own = prepare(devices, &mine.id, &mine.said);
    PA_TRY(meet(devices, &mine, &all_done, hooks, error));
    mine.own = begin(devices, mine.id, &mine.said);
    uint64_t began_ns = pa_clock_now();
    pa_patience wait = pa_patience_begin(devices->comm, PA_OP_DEVICES,
                                         "NCCL to connect the ranks", hooks);
    wait.endless = true; /* rank 0 sees to the time, and meetings to the ranks */
    for (;;) {
        go_on(devices, &mine, began_ns);
        PA_TRY(meet(devices, &mine, &all_done, hooks, error));
        if (all_done) {
            return PA_OK;
        }
        PA_TRY(pa_patience_pause(&wait, error));
    }
}

/* ---- Ending ---- */

static void
abort_nccl(pa_devices *devices)
{
    if (devices->nccl != NULL) {
        pa_nccl_link_abort(&devices->nccl->link);
    }
}

static bool
works_no_more(const pa_devices *devices)
{
    return pa_watch_ask(devices->nccl->watch) != PA_WATCH_WORKS;
}

/* Waits until nobody needs this rank's side any more; whether that is so. Else the
 * group cannot go on: those whose work waits for this rank's are told. */
static bool
drain(pa_devices *devices)
{
    pa_comm *comm = devices->comm;
    char text[PA_COMM_REASON];
    if (pa_comm_broken(comm, text, sizeof text) || devices->nccl->watch == NULL) {
        return false;
    }
    (void)pa_device_await(devices, works_no_more, pa_comm_timeout(comm));
    pa_watch_state state = pa_watch_ask(devices->nccl->watch);
    if (state == PA_WATCH_WORKS) {
        (void)snprintf(text, sizeof text,
                       "rank %d left the group while work on GPUs had not ended",
                       pa_comm_rank(comm));
        pa_comm_abort(comm, text);
    }
    return state == PA_WATCH_DONE;
}

static void
close_nccl(pa_devices *devices, bool forked)
{
    struct pa_nccl_group *group = devices->nccl;
    if (group == NULL) {
        return;
    }
    bool healthy = !forked && drain(devices);
    if (!healthy && !forked) {
        pa_nccl_link_abort(&group->link);
    }
    pa_watch_destroy(group->watch, forked);
    pa_nccl_link_close(&group->link, healthy, forked);
    pa_replays_close(&group->replays);
    free(group);
    devices->nccl = NULL;
}

const pa_device_backend pa_device_nccl = {
    .name = "nccl",
    .captures = true,
    .open = open_nccl,
    .stream = pa_nccl_stream,
    .reduces = pa_nccl_reduces,
    .reduce = pa_nccl_reduce,
    .abort = abort_nccl,
    .close = close_nccl,
};
