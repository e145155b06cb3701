/* The eye on enqueued work: see the header.
 *
 *   free     notes whose events wait to be used again
 *   open     the note, or the mark, of the work that is being enqueued: the caller's
 *   pending  notes of work that was enqueued, by their streams: the thread's too
 *
 * The caller takes back the oldest note of its stream when it needs one and the work
 * has ended, so that a rank that enqueues fast needs no more events than it has work in
 * flight. */
#include "comm/device/watch.h"

#include "comm/device/look.h"
#include "comm/device/note.h"
#include "comm/device/replay.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* Time between two looks, as of the host's waiters. */
enum { LOOK_NS = 25000000, SECOND_NS = 1000000000 };

struct pa_watch {
    pa_look look; /* `missed` is the thread's */
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
    pa_error failure; /* once it has failed */
    /* Of the caller. */
    bool started;
    pthread_t thread;
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
    made->look = (pa_look){.devices = devices, .ask = ask, .together = together};
    *watch = made;
    return PA_OK;
}

/* ---- Notes ---- */

/* Shows the other ranks how many pieces of work have begun and ended here. Under the
 * lock. */
static void
show(pa_watch *watch)
{
    if (watch->look.together) {
        pa_comm *comm = watch->look.devices->comm;
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
    const pa_cuda *cuda = watch->look.devices->cuda;
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

/* ---- The thread ---- */

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
    pa_finding found = {.status = PA_OK};
    pa_look_at_work(&watch->look, &watch->pending, &watch->free, &found);
    show(watch);
    uint32_t op = under_way(watch);
    watch->look.missed = watch->look.missed && op != PA_OP_NONE;
    (void)pthread_mutex_unlock(&watch->lock);
    if (found.status == PA_OK && op != PA_OP_NONE) {
        pa_look_at_group(&watch->look, op, &found);
    }
    (void)pthread_mutex_lock(&watch->lock);
    if (found.status != PA_OK) {
        watch->failed = true;
        watch->failure = found.error;
        (void)pthread_mutex_unlock(&watch->lock);
        if (!found.over) {
            pa_look_report(&watch->look, &found);
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
    const pa_cuda *cuda = watch->look.devices->cuda;
    pa_cuda_before before = PA_CUDA_BEFORE_INIT;
    /* The questions go to the device of the events, so that no context is made on
     * another, and may be asked while some other stream is being captured. A thread of
     * our own never leaves. */
    (void)pa_cuda_enter(cuda, watch->look.devices->device, &before, NULL);
    (void)pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        if (!is_wanted(watch)) {
            watch->look.missed = false;
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
    const pa_cuda *cuda = watch->look.devices->cuda;
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
    PA_TRY(PA_CUDA(watch->look.devices->cuda, error,
                   EventRecord(watch->open->end, stream)));
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
    const pa_devices *devices = watch->look.devices;
    return pa_replays_begin(watch->replays, devices->comm, devices->cuda, op, stream,
                            hooks, &watch->marked, error);
}

pa_status
pa_watch_end_captured(pa_watch *watch, pa_cuda_stream stream, pa_error *error)
{
    PA_TRY(pa_replays_end(watch->replays, watch->look.devices->cuda, watch->marked,
                          stream, error));
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

bool
pa_watch_failed(pa_watch *watch, pa_error *error)
{
    (void)pthread_mutex_lock(&watch->lock);
    bool failed = watch->failed;
    if (failed && error != NULL) {
        *error = watch->failure;
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return failed;
}

pa_watch_state
pa_watch_ask(pa_watch *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    bool works = under_way(watch) != PA_OP_NONE;
    bool failed = watch->failed;
    uint64_t entered = watch->look.together ? watch->entered : 0;
    (void)pthread_mutex_unlock(&watch->lock);
    if (failed || works) {
        return failed ? PA_WATCH_FAILED : PA_WATCH_WORKS;
    }
    return state_of_others(watch->look.devices->comm, entered);
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
    const pa_cuda *cuda = watch->look.devices->cuda;
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
