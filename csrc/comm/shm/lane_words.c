/* What is said of a wait in a lane. */
#include "base/text.h"
#include "comm/shm/lane.h"
#include "comm/shm/report.h"

static void
begin_text(const pa_shm_lane_call *call, char *text, size_t capacity)
{
    text[0] = '\0';
    pa_text_append(text, capacity,
                   "%s %s rank %d on shm: ", pa_op_text(call->waiter.op),
                   call->sends ? "to" : "from", call->peer);
}

static void
append_site(const pa_shm_lane_call *call, char *text, size_t capacity)
{
    const pa_hooks *hooks = call->waiter.hooks;
    char site[PA_SHM_SITE] = "";
    if (hooks != NULL && hooks->site != NULL) {
        hooks->site(hooks->context, site, sizeof site);
    }
    if (site[0] != '\0') {
        pa_text_append(text, capacity, " at %s", site);
    }
}

static const pa_shm_lane_call *
call_of(const pa_shm_waiter *waiter)
{
    return waiter->job;
}

static void
lane_late(pa_shm_waiter *waiter, char *text, size_t capacity)
{
    const pa_shm_lane_call *call = call_of(waiter);
    double seconds = (double)waiter->shm->base.timeout_ns / 1e9;
    begin_text(call, text, capacity);
    if (call->sends) {
        pa_text_append(text, capacity,
                       "rank %d did not arrive within %.1f s to receive what it was "
                       "sent",
                       call->peer, seconds);
    } else {
        pa_text_append(text, capacity,
                       "what rank %d sends did not arrive within %.1f s", call->peer,
                       seconds);
    }
    append_site(call, text, capacity);
}

static void
lane_gone(pa_shm_waiter *waiter, int rank, char *text, size_t capacity)
{
    const pa_shm_lane_call *call = call_of(waiter);
    begin_text(call, text, capacity);
    pa_shm_report_end(waiter->shm, rank, text, capacity);
    append_site(call, text, capacity);
}

static void
lane_lasts(pa_shm_waiter *waiter, uint64_t waited_ns, char *text, size_t capacity)
{
    const pa_shm_lane_call *call = call_of(waiter);
    text[0] = '\0';
    pa_text_append(text, capacity, "rank %d has waited %llu s in %s for rank %d",
                   waiter->shm->base.rank,
                   (unsigned long long)(waited_ns / 1000000000u),
                   pa_op_text(waiter->op), call->peer);
    append_site(call, text, capacity);
}

const pa_shm_words pa_shm_lane_words = {
    .late = lane_late,
    .gone = lane_gone,
    .lasts = lane_lasts,
};
