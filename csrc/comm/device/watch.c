/* The eye on enqueued work: see the header.
 *
 *   free     notes whose events wait to be used again
 *   open     the note, or the mark, of the work that is being enqueued: the caller's
 *   pending  notes behind whose work an event stands, by their streams: the thread's
 * too
 *
 * The caller takes back the oldest note of its stream when it needs one and the work
 * has ended, so that a rank that enqueues fast needs no more events than it has work in
 * flight. */
#include "comm/device/watch.h"

#include "base/clock.h"
#include "comm/device/note.h"
#include "comm/device/replay.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Time between two looks, as of the host's waiters. */
enum { LOOK_NS = 25000000, SECOND_NS = 1000000000 };

struct pa_watch {
    pa_devices *devices;
    pa_status (*ask)(pa_devices *devices, pa_error *error);
    bool together;
    pa_note *open;
    pa_replay *marked; /* in place of `open` where the work is captured */
    /* Below: under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* more work, failed, or stop */
    pa_note *pending;
    pa_note *free;
    pa_replays *replays;
    uint64_t entered; /* pieces of work so far */
    bool idle;        /* the thread waits for work */
    bool stop;
    bool failed;
    /* Of the caller. */
    bool started;
    pthread_t thread;
    /* Of the thread. */
    bool missed; /* a peer was gone at the look before */
};

pa_status
pa_watch_create(pa_devices *devices, pa_status (*ask)(pa_devices *, pa_error *),
                bool together, pa_watch **watch, pa_error *error)
{
    pa_watch *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory to watch over work on GPUs");
    }
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&made->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&made->lock, NULL);
    made->devices = devices;
    made->ask = ask;
    made->together = together;
    *watch = made;
    return PA_OK;
}

/* ---- Notes ---- */

/* Shows the other ranks how many pieces of work have begun and ended here. Under the
 * lock. */
static void
show(pa_watch *watch)
{
    if (watch->together) {
        pa_comm *comm = watch->devices->comm;
        pa_comm_show(comm, PA_SHOWN_BEGUN,
                     pa_notes_begun(watch->pending, watch->entered));
        pa_comm_show(comm, PA_SHOWN_WORK,
                     pa_notes_ended(watch->pending, watch->entered));
    }
}

/* A note that is used no more, or NULL. */
static pa_note *
take_used(pa_watch *watch, pa_cuda_stream stream)
{
    const pa_cuda *cuda = watch->devices->cuda;
    bool ended = false;
    (void)pthread_mutex_lock(&watch->lock);
    pa_note *taken = watch->free;
    pa_note **place = &watch->pending;
    while (*place != NULL && (*place)->stream != stream) {
        place = &(*place)->next;
    }
    if (taken != NULL) {
        watch->free = taken->next;
    } else if (*place != NULL &&
               pa_cuda_reached(cuda, (*place)->end, &ended, NULL) == PA_OK && ended) {
        taken = pa_notes_take(place);
        show(watch);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return taken;
}

/* ---- Looking ---- */

/* What one look has found. */
typedef struct finding {
    pa_status status; /* PA_OK: all is well */
    bool told;        /* the group is broken already, and the others know */
    bool over;        /* the process ends, and CUDA has ended before us */
    pa_error error;
} finding;

/* Says which work has failed, and how. */
static void
describe(const pa_watch *watch, finding *found, uint32_t op, const char *text)
{
    (void)pa_error_set(&found->error, found->status,
                       "%s: the work of rank %d on device %d failed: %s",
                       pa_op_text(op), pa_comm_rank(watch->devices->comm),
                       watch->devices->device, text);
}

/* Says that work did not end in time, and whose GPU is behind if that is seen. */
static void
describe_late(const pa_watch *watch, finding *found, const pa_note *late)
{
    pa_comm *comm = watch->devices->comm;
    char who[64] = "a rank's GPU is behind or waits for something else";
    for (int rank = pa_comm_size(comm) - 1; rank >= 0 && watch->together; rank--) {
        if (pa_comm_shown(comm, PA_SHOWN_BEGUN, rank) < late->number) {
            (void)snprintf(who, sizeof who, "the GPU of rank %d has not come to it",
                           rank);
        }
    }
    found->status = pa_error_set(
        &found->error, PA_ETIMEOUT,
        "%s: the work of rank %d on device %d did not end within %.1f s of its "
        "beginning there: %s",
        pa_op_text(late->op), pa_comm_rank(comm), watch->devices->device,
        (double)pa_comm_timeout(comm) / SECOND_NS, who);
}

/* Asks for an event of a note that is pending. */
static bool
ask_event(const pa_watch *watch, finding *found, const pa_note *note,
          pa_cuda_event event)
{
    const pa_cuda *cuda = watch->devices->cuda;
    bool reached = false;
    pa_error said = PA_ERROR_INIT;
    found->status = pa_cuda_reached(cuda, event, &reached, &said);
    if (found->status != PA_OK) {
        found->over = cuda->EventQuery(event) == PA_CUDA_UNLOADING;
        describe(watch, found, note->op, said.message);
    }
    return reached;
}

/* Sorts out what has ended, and finds work that has been running for longer than the
 * deadline. */
static void
look_at_work(pa_watch *watch, finding *found)
{
    uint64_t timeout = pa_comm_timeout(watch->devices->comm);
    const pa_note *late = NULL;
    pa_note **place = &watch->pending;
    while (*place != NULL && found->status == PA_OK) {
        pa_note *at = *place;
        if (ask_event(watch, found, at, at->end)) {
            at = pa_notes_take(place);
            at->next = watch->free;
            watch->free = at;
            continue;
        }
        uint64_t now = pa_clock_now();
        if (found->status == PA_OK && at->running_ns == 0) {
            at->running_ns = ask_event(watch, found, at, at->begin) ? now : 0;
        }
        if (at->running_ns != 0 && now - at->running_ns > timeout) {
            late = at;
        }
        place = &at->next;
    }
    show(watch);
    if (found->status == PA_OK && late != NULL) {
        describe_late(watch, found, late);
    }
}

/* Sees what ends work that is unfinished. Without the lock: the comm's backend may need
 * another, which the caller holds. */
static void
look_at_group(pa_watch *watch, uint32_t op, finding *found)
{
    pa_comm *comm = watch->devices->comm;
    char broken[PA_COMM_REASON];
    if (pa_comm_broken(comm, broken, sizeof broken)) {
        /* Who has seen a peer's end as well says so, though another was faster. */
        found->told = true;
        found->status = pa_error_set(
            &found->error, watch->missed ? PA_EPEER : PA_EBROKEN, "%s", broken);
        return;
    }
    int gone = pa_comm_gone(comm);
    /* Work to which the peer has done its part may be about to end: the next look will
     * tell. */
    bool gone_for_long = gone >= 0 && watch->missed;
    watch->missed = gone >= 0;
    if (gone_for_long) {
        found->status = pa_error_set(
            &found->error, PA_EPEER,
            "%s: rank %d ended while the work of rank %d on device %d waited for it",
            pa_op_text(op), gone, pa_comm_rank(comm), watch->devices->device);
    } else if (watch->ask != NULL) {
        pa_error said = PA_ERROR_INIT;
        found->status = watch->ask(watch->devices, &said);
        if (found->status != PA_OK) {
            describe(watch, found, op, said.message);
        }
    }
}

/* Ends what cannot end by itself, and tells everybody: this rank first, since to break
 * the group may take a network, or the lock of the interpreter. Without the lock. */
static void
report(pa_watch *watch, const finding *found)
{
    pa_devices *devices = watch->devices;
    pa_devices_abort(devices);
    if (devices->failed != NULL) {
        devices->failed(devices->failed_context, found->status, found->error.message);
    }
    if (!found->told) {
        pa_comm_abort(devices->comm, found->error.message);
    }
}

/* An operation of which work is under way; PA_OP_NONE: there is none. Under the lock.
 */
static uint32_t
under_way(const pa_watch *watch)
{
    if (watch->pending != NULL) {
        return watch->pending->op;
    }
    const pa_replay *replay =
        watch->replays != NULL ? pa_replays_running(watch->replays) : NULL;
    return replay != NULL ? replay->op : PA_OP_NONE;
}

/* Waits for a change, or until the next look is due. Under the lock. */
static void
pause_look(pa_watch *watch)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_NS;
    if (until.tv_nsec >= SECOND_NS) {
        until.tv_nsec -= SECOND_NS;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
}

static void
look(pa_watch *watch)
{
    finding found = {.status = PA_OK};
    look_at_work(watch, &found);
    uint32_t op = under_way(watch);
    watch->missed = watch->missed && op != PA_OP_NONE;
    (void)pthread_mutex_unlock(&watch->lock);
    if (found.status == PA_OK && op != PA_OP_NONE) {
        look_at_group(watch, op, &found);
    }
    (void)pthread_mutex_lock(&watch->lock);
    if (found.status != PA_OK) {
        watch->failed = true;
        (void)pthread_mutex_unlock(&watch->lock);
        if (!found.over) {
            report(watch, &found);
        }
        (void)pthread_mutex_lock(&watch->lock);
    }
}

/* Whether the thread has anything to look at. */
static bool
is_wanted(const pa_watch *watch)
{
    bool captured = watch->replays != NULL && watch->replays->all != NULL;
    return !watch->failed && (watch->pending != NULL || captured);
}

static void *
run(void *argument)
{
    pa_watch *watch = argument;
    const pa_cuda *cuda = watch->devices->cuda;
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    /* The questions go to the device of the events, so that no context is made on
     * another, and may be asked while some other stream is being captured. A thread of
     * our own never leaves. */
    (void)pa_cuda_enter(cuda, watch->devices->device, &before, NULL);
    (void)pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        if (!is_wanted(watch)) {
            watch->missed = false;
            watch->idle = true;
            (void)pthread_cond_wait(&watch->changed, &watch->lock);
            watch->idle = false;
            continue;
        }
        look(watch);
        if (!watch->stop && is_wanted(watch)) {
            pause_look(watch);
        }
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return NULL;
}

/* Signals are the main thread's: they interrupt its waits. */
static pa_status
start(pa_watch *watch, pa_error *error)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&watch->thread, NULL, run, watch);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number != 0) {
        errno = number;
        return pa_error_set_errno(error, "starting the watch over work on GPUs");
    }
    watch->started = true;
    return PA_OK;
}

/* ---- The caller's side ---- */

/* Wakes the thread if it waits for work. Under the lock. */
static void
wake(pa_watch *watch)
{
    if (watch->idle) {
        (void)pthread_cond_broadcast(&watch->changed);
    }
}

pa_status
pa_watch_begin(pa_watch *watch, uint32_t op, pa_cuda_stream stream, pa_error *error)
{
    const pa_cuda *cuda = watch->devices->cuda;
    if (watch->open == NULL) {
        watch->open = take_used(watch, stream);
    }
    if (watch->open == NULL) {
        PA_TRY(pa_note_make(cuda, &watch->open, error));
    }
    watch->open->op = op;
    watch->open->stream = stream;
    watch->open->running_ns = 0;
    return PA_CUDA(cuda, error, EventRecord(watch->open->begin, stream));
}

pa_status
pa_watch_end(pa_watch *watch, pa_cuda_stream stream, pa_error *error)
{
    PA_TRY(PA_CUDA(watch->devices->cuda, error, EventRecord(watch->open->end, stream)));
    if (!watch->started) {
        PA_TRY(start(watch, error));
    }
    (void)pthread_mutex_lock(&watch->lock);
    watch->open->number = ++watch->entered;
    pa_notes_add(&watch->pending, watch->open);
    watch->open = NULL;
    wake(watch);
    (void)pthread_mutex_unlock(&watch->lock);
    return PA_OK;
}

void
pa_watch_replays(pa_watch *watch, pa_replays *replays)
{
    watch->replays = replays;
}

pa_status
pa_watch_begin_captured(pa_watch *watch, uint32_t op, pa_cuda_stream stream,
                        const pa_hooks *hooks, pa_error *error)
{
    free(watch->marked);
    watch->marked = NULL;
    const pa_devices *devices = watch->devices;
    return pa_replays_begin(watch->replays, devices->comm, devices->cuda, op, stream,
                            hooks, &watch->marked, error);
}

pa_status
pa_watch_end_captured(pa_watch *watch, pa_cuda_stream stream, pa_error *error)
{
    PA_TRY(pa_replays_end(watch->replays, watch->devices->cuda, watch->marked, stream,
                          error));
    if (!watch->started) {
        PA_TRY(start(watch, error));
    }
    (void)pthread_mutex_lock(&watch->lock);
    watch->entered++;
    pa_replays_add(watch->replays, watch->marked);
    watch->marked = NULL;
    show(watch);
    wake(watch);
    (void)pthread_mutex_unlock(&watch->lock);
    return PA_OK;
}

void
pa_watch_pass(pa_watch *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    watch->entered++;
    show(watch);
    (void)pthread_mutex_unlock(&watch->lock);
}

/* How far the other ranks are with the first `entered` pieces of work. */
static pa_watch_state
state_of_others(pa_comm *comm, uint64_t entered)
{
    for (int rank = 0; rank < pa_comm_size(comm); rank++) {
        if (pa_comm_shown(comm, PA_SHOWN_WORK, rank) < entered) {
            return pa_comm_gone(comm) < 0 ? PA_WATCH_WORKS : PA_WATCH_FAILED;
        }
    }
    return PA_WATCH_DONE;
}

pa_watch_state
pa_watch_ask(pa_watch *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    bool works = under_way(watch) != PA_OP_NONE;
    bool failed = watch->failed;
    uint64_t entered = watch->together ? watch->entered : 0;
    (void)pthread_mutex_unlock(&watch->lock);
    if (failed || works) {
        return failed ? PA_WATCH_FAILED : PA_WATCH_WORKS;
    }
    return state_of_others(watch->devices->comm, entered);
}

void
pa_watch_destroy(pa_watch *watch, bool forked)
{
    if (watch == NULL) {
        return;
    }
    if (watch->started && !forked) {
        (void)pthread_mutex_lock(&watch->lock);
        watch->stop = true;
        (void)pthread_cond_broadcast(&watch->changed);
        (void)pthread_mutex_unlock(&watch->lock);
        (void)pthread_join(watch->thread, NULL);
    }
    const pa_cuda *cuda = watch->devices->cuda;
    pa_notes_destroy(cuda, watch->pending, forked);
    pa_notes_destroy(cuda, watch->free, forked);
    pa_notes_destroy(cuda, watch->open, forked);
    free(watch->marked);
    if (!forked) {
        /* In a forked child the thread that may hold the lock does not exist. */
        (void)pthread_cond_destroy(&watch->changed);
        (void)pthread_mutex_destroy(&watch->lock);
    }
    free(watch);
}
