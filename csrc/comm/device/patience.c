/* Waiting for what can only be asked: see the header. */
#include "comm/device/patience.h"

#include "base/clock.h"
#include "sys/futex.h"

#include <sched.h>
#include <time.h>

enum {
    SPIN_NS = 20000,   /* ask again at once */
    YIELD_NS = 200000, /* then give way between questions; then sleep */
    SHORTEST_NS = 20000,
    LONGEST_NS = 1000000,
    LOOK_NS = 25000000,
};

pa_patience
pa_patience_begin(pa_comm *comm, uint32_t op, const char *what, const pa_hooks *hooks)
{
    return (pa_patience){.comm = comm, .op = op, .what = what, .hooks = hooks};
}

/* Breaks the group with the sentence in `error`, or takes that of who was faster. */
static pa_status
fail(const pa_patience *patience, pa_status status, pa_error *error)
{
    pa_comm_abort(patience->comm, error->message);
    return status;
}

/* Looks for what ends a wait: a broken group, a peer that is gone, the deadline, the
 * caller. */
static pa_status
look_up(pa_patience *patience, uint64_t now, pa_error *error)
{
    pa_comm *comm = patience->comm;
    const char *op = pa_op_text(patience->op);
    pa_error own = PA_ERROR_INIT;
    pa_error *said = error != NULL ? error : &own;
    char text[PA_COMM_REASON];
    if (pa_comm_broken(comm, text, sizeof text)) {
        return pa_error_set(said, PA_EBROKEN, "%s: %s", op, text);
    }
    int gone = patience->alone ? -1 : pa_comm_gone(comm);
    if (gone >= 0) {
        (void)pa_error_set(said, PA_EPEER,
                           "%s: rank %d ended while rank %d waited for %s", op, gone,
                           pa_comm_rank(comm), patience->what);
        return fail(patience, PA_EPEER, said);
    }
    uint64_t waited = now - patience->began_ns;
    if (!patience->endless && waited >= pa_comm_timeout(comm)) {
        (void)pa_error_set(said, PA_ETIMEOUT, "%s: rank %d waited %.1f s for %s", op,
                           pa_comm_rank(comm), (double)waited / 1e9, patience->what);
        return fail(patience, PA_ETIMEOUT, said);
    }
    const pa_hooks *hooks = patience->hooks;
    if (hooks != NULL && hooks->tick != NULL &&
        !hooks->tick(hooks->context, waited, gone)) {
        (void)pa_error_set(said, PA_EINTERRUPTED, "%s: rank %d was interrupted", op,
                           pa_comm_rank(comm));
        return fail(patience, PA_EINTERRUPTED, said);
    }
    return PA_OK;
}

static void
sleep_for(uint64_t ns)
{
    struct timespec pause = {.tv_nsec = (long)ns};
    (void)nanosleep(&pause, NULL);
}

pa_status
pa_patience_pause(pa_patience *patience, pa_error *error)
{
    uint64_t now = pa_clock_now();
    if (patience->asked++ == 0) {
        patience->began_ns = now;
        patience->looked_ns = now;
        if (patience->hooks != NULL && patience->hooks->release != NULL) {
            patience->hooks->release(patience->hooks->context);
        }
    }
    uint64_t waited = now - patience->began_ns;
    if (waited < SPIN_NS) {
        pa_cpu_relax();
        return PA_OK;
    }
    if (waited < YIELD_NS) {
        (void)sched_yield();
        return PA_OK;
    }
    /* Pauses grow with the wait: what took long already is not late by much. */
    uint64_t pause = waited / 16;
    pause = pause > SHORTEST_NS ? pause : SHORTEST_NS;
    sleep_for(pause < LONGEST_NS ? pause : LONGEST_NS);
    now = pa_clock_now();
    if (now - patience->looked_ns < LOOK_NS) {
        return PA_OK;
    }
    patience->looked_ns = now;
    return look_up(patience, now, error);
}

pa_status
pa_patience_event(pa_patience *patience, const pa_cuda *cuda, pa_cuda_event event,
                  pa_error *error)
{
    for (;;) {
        bool reached = false;
        PA_TRY(pa_cuda_reached(cuda, event, &reached, error));
        if (reached) {
            return PA_OK;
        }
        PA_TRY(pa_patience_pause(patience, error));
    }
}
