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
    (void)pthread_mutex_unlock(&link->lock);
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
    (void)pthread_mutex_unlock(&link->lock);
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
        (void)pthread_mutex_unlock(&link->lock);
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
    (void)pthread_mutex_unlock(&link->lock);
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

/* Takes the communicator out of the link; NULL if somebody else has. */
static pa_nccl_comm
take(pa_nccl_link *link)
{
    bool held = lock_soon(link);
    pa_nccl_comm comm = atomic_exchange(&link->comm, NULL);
    if (held) {
        (void)pthread_mutex_unlock(&link->lock);
    }
    return comm;
}

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

/* Aborts in a thread that nobody waits for: NCCL raises the flag that ends its kernels
 * and then waits for the graphs that hold the communicator, which the caller may keep
 * for as long as it likes. */
static void
part(const pa_nccl *nccl, pa_nccl_comm comm)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;
    parting *last = malloc(sizeof *last);
    if (last == NULL) {
        return;
    }
    *last = (parting){nccl, comm};
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, abort_apart, last) == 0) {
        (void)pthread_detach(thread);
    } else {
        free(last);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void
end(const pa_nccl_link *link, pa_nccl_comm comm)
{
    if (atomic_load(&link->captured)) {
        part(link->nccl, comm);
    } else {
        (void)link->nccl->CommAbort(comm);
    }
}

void
pa_nccl_link_abort(pa_nccl_link *link)
{
    pa_nccl_comm comm = take(link);
    if (comm != NULL) {
        end(link, comm);
    }
}

/* Lets NCCL tell the peers and free what it shares with them; whether that succeeded
 * within its time. */
static bool
finalize(const pa_nccl_link *link, pa_nccl_comm comm, uint64_t timeout_ns)
{
    uint64_t deadline = pa_clock_deadline(timeout_ns);
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    int state = PA_NCCL_IN_PROGRESS;
    if (link->nccl->CommGetAsyncError(comm, &state) != PA_NCCL_SUCCESS ||
        state != PA_NCCL_SUCCESS) {
        return false; /* it is still being made, or has failed */
    }
    state = link->nccl->CommFinalize(comm);
    while (state == PA_NCCL_IN_PROGRESS && pa_clock_now() < deadline) {
        int code = link->nccl->CommGetAsyncError(comm, &state);
        state = code == PA_NCCL_SUCCESS ? state : code;
        if (state == PA_NCCL_IN_PROGRESS) {
            (void)nanosleep(&pause, NULL);
        }
    }
    return state == PA_NCCL_SUCCESS;
}

void
pa_nccl_link_close(pa_nccl_link *link, bool healthy, bool forked)
{
    if (forked) {
        return;
    }
    bool captured = atomic_load(&link->captured);
    pa_nccl_comm comm = take(link);
    uint64_t patience = captured ? PA_NCCL_GRAPHS_NS : PA_NCCL_CLOSE_NS;
    if (comm != NULL && healthy && finalize(link, comm, patience)) {
        (void)link->nccl->CommDestroy(comm);
    } else if (comm != NULL && !(healthy && captured)) {
        end(link, comm);
    }
    (void)pthread_mutex_destroy(&link->lock);
}
