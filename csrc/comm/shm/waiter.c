/* Waiting, in three phases: look again at once (the peer is about to come), give way
 * (the peer needs this processor), sleep on the own bell (the peer is far away).
 *
 * A rank sleeps on its own bell only, never on a word of a peer: what it waits for may
 * come from several of them. (Each end of a lane has a bell of its own, since several
 * threads of a rank may wait for different peers.) Before it sleeps it says so and
 * looks once more, and who publishes anything looks at the bells afterwards, so no wake
 * is lost. While asleep it looks up every 25 ms for a peer that ended, its deadline,
 * and its caller.
 *
 * Two ranks can share a processor although others are free: then each spin only delays
 * the peer, and giving way never parts them, because a process that gives way is not
 * moved. So a rank counts the waits in a row that giving way ended. After a few it
 * spins no more, but for a try now and then; after many it sleeps at once, since the
 * kernel places a process that wakes on a processor that is free. */
#include "comm/shm/rank.h"

#include "base/clock.h"
#include "comm/shm/report.h"
#include "sys/futex.h"

#include <sched.h>
#include <stdio.h>

enum {
    TICK_NS = 25000000,
    LOOKS_A_CLOCK = 64, /* looks between two readings of the clock while spinning */
    CROWDED = 4,        /* waits ended by giving way, after which spinning stops */
    TRY_AGAIN = 32,     /* waits between two tries to spin */
    PART = 256,         /* waits after which one sleeps at once */
};

/* What a peer that is about to end has to do so: an interpreter takes its time. */
static const uint64_t ending_ns = UINT64_C(5000000000);

void
pa_shm_waiter_init(pa_shm_waiter *waiter, pa_shm *shm, uint32_t op,
                   const pa_hooks *hooks, bool (*awaits)(const void *, int),
                   const void *job)
{
    *waiter = (pa_shm_waiter){
        .shm = shm,
        .op = op,
        .hooks = hooks,
        .awaits = awaits,
        .job = job,
        .bell = &shm->map.bells[shm->base.rank],
        .crowded = &shm->crowded,
        .words = &pa_shm_meeting_words,
        .gone = -1,
    };
}

void
pa_shm_waiter_release(pa_shm_waiter *waiter)
{
    if (!waiter->released) {
        waiter->released = true;
        if (waiter->hooks != NULL && waiter->hooks->release != NULL) {
            waiter->hooks->release(waiter->hooks->context);
        }
    }
}

static void
disarm(pa_shm_waiter *waiter)
{
    if (waiter->armed) {
        waiter->armed = false;
        atomic_store(&waiter->bell->waiting, 0);
    }
}

/* Learns from a wait that is over how the next one should begin. */
static void
learn(const pa_shm_waiter *waiter)
{
    if (waiter->looks == 0) {
        return;
    }
    if (!waiter->yielding) {
        *waiter->crowded = 0;
    } else if (!waiter->slept) {
        ++*waiter->crowded;
    }
}

/* Nobody is told any more that this rank waits. */
static void
leave_place(pa_shm_waiter *waiter)
{
    if (waiter->words->leave != NULL) {
        waiter->words->leave(waiter);
    }
}

void
pa_shm_waiter_progress(pa_shm_waiter *waiter)
{
    learn(waiter);
    disarm(waiter);
    waiter->looks = 0;
    waiter->started_ns = 0;
    waiter->yielding = false;
    waiter->slept = false;
    waiter->ending_ns = 0;
    waiter->gone = -1;
    leave_place(waiter);
}

void
pa_shm_waiter_end(pa_shm_waiter *waiter)
{
    learn(waiter);
    disarm(waiter);
    leave_place(waiter);
}

pa_status
pa_shm_whole(pa_shm *shm, uint32_t op, pa_error *error)
{
    pa_shm_header *header = shm->map.header;
    uint32_t broken = atomic_load(&header->broken);
    if (broken == PA_SHM_WHOLE) {
        return PA_OK;
    }
    /* Whoever breaks the group writes its text in well under a millisecond, unless it
     * is killed just then. */
    for (int i = 0; broken == PA_SHM_BREAKING && i < 100; i++) {
        pa_futex_wait(&header->broken, PA_SHM_BREAKING, 1000000);
        broken = atomic_load(&header->broken);
    }
    if (broken == PA_SHM_BREAKING) {
        return pa_error_set(
            error, PA_EBROKEN,
            "%s: the group is broken; the rank that could say why ended",
            pa_op_text(op));
    }
    char text[PA_SHM_TEXT];
    pa_status status = pa_shm_broken_by(&shm->map, text, sizeof text);
    /* Somebody who asked without an error buffer has heard nothing. */
    if (error != NULL && !atomic_exchange(&shm->told, true)) {
        return pa_error_set(error, status, "%s", text);
    }
    return pa_error_set(error, PA_EBROKEN,
                        "%s: the group cannot be used any more after this failure: %s",
                        pa_op_text(op), text);
}

/* Breaks the group, unless another rank was faster, and gives the error that did. */
static pa_status
break_group(pa_shm_waiter *waiter, pa_status status, const char *text, pa_error *error)
{
    (void)pa_shm_break(&waiter->shm->map, status, text);
    return pa_shm_whole(waiter->shm, waiter->op, error);
}

static int
first_missing(const pa_shm_waiter *waiter)
{
    for (int rank = 0; rank < waiter->shm->base.size; rank++) {
        if (waiter->awaits(waiter->job, rank)) {
            return rank;
        }
    }
    return -1;
}

static pa_status
fail_timeout(pa_shm_waiter *waiter, pa_error *error)
{
    char text[PA_SHM_TEXT];
    waiter->words->late(waiter, text, sizeof text);
    return break_group(waiter, PA_ETIMEOUT, text, error);
}

/* Whether a peer has ended or left, so that nothing more will come from it. */
static bool
peer_gone(pa_shm_waiter *waiter, int rank, uint64_t now)
{
    pa_shm *shm = waiter->shm;
    uint32_t state = atomic_load(&shm->map.members[rank].state);
    if (state == PA_SHM_ENDING) {
        /* Its launcher is about to say how it ended. */
        waiter->ending_ns = waiter->ending_ns != 0 ? waiter->ending_ns : now;
        uint64_t patience = shm->base.timeout_ns / 2;
        patience = patience < ending_ns ? patience : ending_ns;
        return now - waiter->ending_ns >= patience ||
               pa_process_ended(shm->pidfds[rank]);
    }
    return state == PA_SHM_LEFT || state == PA_SHM_ENDED ||
           pa_process_ended(shm->pidfds[rank]);
}

static pa_status
fail_gone(pa_shm_waiter *waiter, pa_error *error)
{
    char text[PA_SHM_TEXT];
    waiter->words->gone(waiter, waiter->gone, text, sizeof text);
    return break_group(waiter, PA_EPEER, text, error);
}

pa_status
pa_shm_waiter_gone(pa_shm_waiter *waiter, int rank, pa_error *error)
{
    uint32_t state = atomic_load(&waiter->shm->map.members[rank].state);
    if (state != PA_SHM_LEFT && state != PA_SHM_ENDED) {
        return PA_OK;
    }
    waiter->gone = rank;
    return fail_gone(waiter, error);
}

/* Asks the caller, unless that was just now, whether to go on. */
static pa_status
ask_caller(pa_shm_waiter *waiter, uint64_t now, pa_error *error)
{
    const pa_shm *shm = waiter->shm;
    if (now - waiter->ticked_ns < TICK_NS) {
        return PA_OK;
    }
    waiter->ticked_ns = now;
    uint64_t waited = waiter->started_ns != 0 ? now - waiter->started_ns : 0;
    if (waiter->hooks != NULL && waiter->hooks->tick != NULL &&
        !waiter->hooks->tick(waiter->hooks->context, waited, first_missing(waiter))) {
        char text[PA_SHM_TEXT];
        (void)snprintf(text, sizeof text, "%s on shm: rank %d was interrupted",
                       pa_op_text(waiter->op), shm->base.rank);
        (void)pa_shm_break(&waiter->shm->map, PA_EPEER, text);
        atomic_store(&waiter->shm->told, true);
        return pa_error_set(error, PA_EINTERRUPTED, "%s", text);
    }
    return PA_OK;
}

/* Tells the others where this rank waits, and the caller that it lasts. */
static void
tell_of_wait(pa_shm_waiter *waiter, uint64_t waited_ns)
{
    const pa_hooks *hooks = waiter->hooks;
    if (waited_ns >= TICK_NS && waiter->words->place != NULL) {
        waiter->words->place(waiter);
    }
    if (waited_ns >= waiter->shm->base.patience_ns && !waiter->said_long) {
        waiter->said_long = true;
        if (hooks != NULL && hooks->lasts != NULL) {
            char text[PA_SHM_TEXT];
            waiter->words->lasts(waiter, waited_ns, text, sizeof text);
            hooks->lasts(hooks->context, text);
        }
    }
}

/* Looks for what ends a wait: a peer that is gone, the deadline, the caller. */
static pa_status
look_up(pa_shm_waiter *waiter, uint64_t now, pa_error *error)
{
    const pa_shm *shm = waiter->shm;
    if (waiter->gone >= 0 && waiter->awaits(waiter->job, waiter->gone)) {
        /* It was gone before our last look, and that look found nothing of it. */
        return fail_gone(waiter, error);
    }
    waiter->gone = -1;
    for (int rank = 0; rank < shm->base.size; rank++) {
        if (waiter->awaits(waiter->job, rank) && peer_gone(waiter, rank, now)) {
            /* What it published before it ended still counts: look once more. */
            waiter->gone = rank;
            return PA_OK;
        }
    }
    if (now - waiter->started_ns >= shm->base.timeout_ns) {
        return fail_timeout(waiter, error);
    }
    tell_of_wait(waiter, now - waiter->started_ns);
    return ask_caller(waiter, now, error);
}

/* Says that this rank waits, or sleeps if it said so before. */
static void
sleep_on_bell(pa_shm_waiter *waiter, uint64_t now)
{
    pa_shm_bell *bell = waiter->bell;
    if (!waiter->armed) {
        waiter->armed = true;
        waiter->rings = atomic_load(&bell->rings);
        atomic_store(&bell->waiting, 1);
    } else if (waiter->gone < 0) {
        uint64_t spent = now - waiter->started_ns;
        uint64_t timeout = waiter->shm->base.timeout_ns;
        uint64_t left = timeout > spent ? timeout - spent : 0;
        pa_futex_wait(&bell->rings, waiter->rings, left < TICK_NS ? left : TICK_NS);
        waiter->rings = atomic_load(&bell->rings);
    }
}

pa_status
pa_shm_waiter_busy(pa_shm_waiter *waiter, pa_error *error)
{
    pa_shm *shm = waiter->shm;
    if (atomic_load_explicit(&shm->map.header->broken, memory_order_relaxed) != 0) {
        return pa_shm_whole(shm, waiter->op, error);
    }
    uint64_t now = pa_clock_now();
    waiter->ticked_ns = waiter->ticked_ns != 0 ? waiter->ticked_ns : now;
    return ask_caller(waiter, now, error);
}

pa_status
pa_shm_waiter_pause(pa_shm_waiter *waiter, pa_error *error)
{
    pa_shm *shm = waiter->shm;
    const pa_shm_policy *policy = &shm->policy;
    if (atomic_load_explicit(&shm->map.header->broken, memory_order_relaxed) != 0) {
        return pa_shm_whole(shm, waiter->op, error);
    }
    uint32_t look = ++waiter->looks;
    bool spins = policy->spin_ns > 0 &&
                 (*waiter->crowded < CROWDED || *waiter->crowded % TRY_AGAIN == 0);
    if (spins && !waiter->yielding && look % LOOKS_A_CLOCK != 0) {
        pa_cpu_relax();
        return PA_OK;
    }
    pa_shm_waiter_release(waiter);
    uint64_t now = pa_clock_now();
    if (waiter->started_ns == 0) {
        waiter->started_ns = now;
        /* Pauses may be short and many: they do not put the next tick off. */
        waiter->ticked_ns = waiter->ticked_ns != 0 ? waiter->ticked_ns : now;
    }
    uint64_t idle = now - waiter->started_ns;
    if (spins && !waiter->yielding && idle < policy->spin_ns) {
        pa_cpu_relax();
        return PA_OK;
    }
    waiter->yielding = true;
    bool part = policy->spin_ns > 0 && *waiter->crowded >= PART;
    if (!part && !waiter->slept && idle < policy->spin_ns + policy->yield_ns) {
        (void)sched_yield();
        return PA_OK;
    }
    if (part) {
        *waiter->crowded = CROWDED;
    }
    waiter->slept = true;
    sleep_on_bell(waiter, now);
    return look_up(waiter, pa_clock_now(), error);
}
