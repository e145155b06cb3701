/* One NCCL communicator: see the header. */
#include "comm/device/nccl_link.h"

#include "base/clock.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECOND_NS = 1000000000, PAUSE_NS = 1000000, VERSION_CAPACITY = 32 };

void
pa_nccl_link_init(pa_nccl_link *link, const pa_nccl *nccl)
{
    *link = (pa_nccl_link){.nccl = nccl};
    (void)pthread_mutex_init(&link->lock, NULL);
}

/* ---- Aborting apart ---- */

typedef struct parting {
    const pa_nccl *nccl;
    pa_nccl_comm comm;
} parting;

static void *
abort_apart(void *argument)
{
    parting *last = argument;
    (void)last->nccl->CommAbort(last->comm);
    free(last);
    return NULL;
}

/* Aborts a communicator that was taken out of the link: see the header. Where no thread
 * can be had, here. */
static void
part(pa_nccl_link *link, pa_nccl_comm comm)
{
    sigset_t all;
    sigset_t before;
    parting *last = malloc(sizeof *last);
    if (last == NULL) {
        (void)link->nccl->CommAbort(comm);
        return;
    }
    *last = (parting){link->nccl, comm};
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool apart = pthread_create(&link->aborting, NULL, abort_apart, last) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (apart) {
        atomic_store(&link->aborted, true);
    } else {
        (void)abort_apart(last);
    }
}

/* Lets go of the lock, and aborts what was left to who held it. */
static void
unlock(pa_nccl_link *link)
{
    (void)pthread_mutex_unlock(&link->lock);
    pa_nccl_comm left = atomic_exchange(&link->left, NULL);
    if (left != NULL) {
        part(link, left);
    }
}

/* ---- Errors ---- */

/* PA_OK where NCCL had nothing against a call, or goes on with it by itself. */
static pa_status
check(const pa_nccl_link *link, int code, const char *call, pa_nccl_comm comm,
      pa_error *error)
{
    if (code == PA_NCCL_SUCCESS || code == PA_NCCL_IN_PROGRESS) {
        return PA_OK;
    }
    int number = 0;
    char version[VERSION_CAPACITY];
    (void)link->nccl->GetVersion(&number);
    pa_nccl_version_format(number, version, sizeof version);
    const char *last =
        link->nccl->GetLastError != NULL ? link->nccl->GetLastError(comm) : NULL;
    bool more = last != NULL && last[0] != '\0';
    return pa_error_set(error, code == PA_NCCL_REMOTE_ERROR ? PA_EPEER : PA_ESYSTEM,
                        "%.*s of NCCL %s failed: %s%s%s; with NCCL_DEBUG=INFO in the "
                        "environment NCCL says more",
                        (int)strcspn(call, "("), call, version,
                        link->nccl->GetErrorString(code), more ? ": " : "",
                        more ? last : "");
}

static pa_status
ended(pa_error *error)
{
    return pa_error_set(error, PA_EBROKEN,
                        "the connection between the GPUs was ended because the group "
                        "is broken");
}

/* ---- Making ---- */

pa_status
pa_nccl_link_identify(const pa_nccl_link *link, pa_nccl_id *id, pa_error *error)
{
    return check(link, link->nccl->GetUniqueId(id), "ncclGetUniqueId", NULL, error);
}

pa_status
pa_nccl_link_connect(pa_nccl_link *link, int size, pa_nccl_id id, int rank,
                     pa_error *error)
{
    pa_nccl_config config = PA_NCCL_CONFIG_NON_BLOCKING;
    pa_nccl_comm made = NULL;
    (void)pthread_mutex_lock(&link->lock);
    int code = link->nccl->CommInitRankConfig(&made, size, id, rank, &config);
    atomic_store(&link->comm, made);
    pa_status status = check(link, code, "ncclCommInitRankConfig", made, error);
    unlock(link);
    return status;
}

pa_status
pa_nccl_link_ask(pa_nccl_link *link, bool wait, bool *done, pa_error *error)
{
    *done = false;
    if (wait) {
        (void)pthread_mutex_lock(&link->lock);
    } else if (pthread_mutex_trylock(&link->lock) != 0) {
        return PA_OK;
    }
    pa_nccl_comm comm = atomic_load(&link->comm);
    int state = PA_NCCL_SUCCESS;
    pa_status status = PA_OK;
    if (comm == NULL) {
        status = ended(error);
    } else {
        int code = link->nccl->CommGetAsyncError(comm, &state);
        status = check(link, code, "ncclCommGetAsyncError", comm, error);
    }
    if (status == PA_OK) {
        *done = state != PA_NCCL_IN_PROGRESS;
        status = check(link, state, "work", comm, error);
    }
    unlock(link);
    return status;
}

/* ---- Groups of calls ---- */

pa_status
pa_nccl_link_start(pa_nccl_link *link, pa_error *error)
{
    (void)pthread_mutex_lock(&link->lock);
    pa_nccl_comm comm = atomic_load(&link->comm);
    pa_status status = PA_OK;
    if (comm == NULL) {
        status = ended(error);
    } else {
        link->calling = comm;
        link->code = PA_NCCL_SUCCESS;
        int code = link->nccl->GroupStart();
        status = check(link, code, "ncclGroupStart", comm, error);
    }
    if (status != PA_OK) {
        unlock(link);
    }
    return status;
}

void
pa_nccl_link_note(pa_nccl_link *link, int code, const char *call)
{
    if (link->code == PA_NCCL_SUCCESS && code != PA_NCCL_IN_PROGRESS) {
        link->code = code;
        link->refused = call;
    }
}

pa_status
pa_nccl_link_commit(pa_nccl_link *link, bool *done, pa_error *error)
{
    /* What was refused is the cause of whatever the group's end says. */
    int code = link->nccl->GroupEnd();
    const char *call = "ncclGroupEnd";
    if (link->code != PA_NCCL_SUCCESS) {
        code = link->code;
        call = link->refused;
    }
    *done = code == PA_NCCL_SUCCESS;
    pa_status status = check(link, code, call, link->calling, error);
    unlock(link);
    return status;
}

/* ---- Ending ---- */

/* Locks unless that takes too long; whether the lock is held. */
static bool
lock_soon(pa_nccl_link *link)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(PA_NCCL_LOCK_NS / SECOND_NS);
    return pthread_mutex_timedlock(&link->lock, &until) == 0;
}

void
pa_nccl_link_abort(pa_nccl_link *link)
{
    bool held = lock_soon(link);
    pa_nccl_comm comm = atomic_exchange(&link->comm, NULL);
    if (held) {
        unlock(link);
    }
    if (comm == NULL) {
        return;
    }
    if (held || link->nccl->CommRevoke == NULL) {
        part(link, comm);
        return;
    }
    (void)link->nccl->CommRevoke(comm, 0);
    atomic_store(&link->left, comm);
    /* Who was inside may have come out before it could see that. */
    if (pthread_mutex_trylock(&link->lock) == 0) {
        unlock(link);
    }
}

/* Whether the communicator is made and has not failed. */
static bool
is_whole(const pa_nccl_link *link)
{
    pa_nccl_comm comm = atomic_load(&link->comm);
    int state = PA_NCCL_IN_PROGRESS;
    return comm != NULL &&
           link->nccl->CommGetAsyncError(comm, &state) == PA_NCCL_SUCCESS &&
           state == PA_NCCL_SUCCESS;
}

/* Lets NCCL tell the peers and free what it shares with them; whether that succeeded
 * within its time. */
static bool
finalize(const pa_nccl_link *link, pa_nccl_comm comm, uint64_t timeout_ns)
{
    uint64_t deadline = pa_clock_deadline(timeout_ns);
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    int state = link->nccl->CommFinalize(comm);
    while (state == PA_NCCL_IN_PROGRESS && pa_clock_now() < deadline) {
        int code = link->nccl->CommGetAsyncError(comm, &state);
        state = code == PA_NCCL_SUCCESS ? state : code;
        if (state == PA_NCCL_IN_PROGRESS) {
            (void)nanosleep(&pause, NULL);
        }
    }
    return state == PA_NCCL_SUCCESS;
}

/* Waits for who aborts, for some time; what takes longer goes on alone. */
static void
await_abort(pa_nccl_link *link, uint64_t timeout_ns)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + timeout_ns;
    until.tv_sec += (time_t)(ns / SECOND_NS);
    until.tv_nsec = (long)(ns % SECOND_NS);
    if (pthread_timedjoin_np(link->aborting, NULL, &until) != 0) {
        (void)pthread_detach(link->aborting);
    }
}

void
pa_nccl_link_close(pa_nccl_link *link, bool healthy, bool forked)
{
    if (forked) {
        return;
    }
    bool captured = atomic_load(&link->captured);
    if (!healthy || !is_whole(link)) {
        pa_nccl_link_abort(link);
    }
    pa_nccl_comm comm = atomic_exchange(&link->comm, NULL);
    if (comm != NULL &&
        finalize(link, comm, captured ? PA_NCCL_GRAPHS_NS : PA_NCCL_CLOSE_NS)) {
        (void)link->nccl->CommDestroy(comm);
    }
    if (atomic_load(&link->aborted)) {
        await_abort(link, captured ? PA_NCCL_GRAPHS_NS : PA_NCCL_ABORT_NS);
    }
    (void)pthread_mutex_destroy(&link->lock);
}
