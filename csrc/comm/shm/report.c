/* Words for a wait that fails or lasts: see the header. */
#include "comm/shm/report.h"

#include "base/text.h"

#include <string.h>
#include <unistd.h>

/* Ranks that a text spells out or has a line for. */
enum { RANKS_IN_WORDS = 8 };

/* ---- Where a call stands ---- */

static void
report_place(pa_shm_waiter *waiter)
{
    const pa_hooks *hooks = waiter->hooks;
    if (waiter->placed) {
        return;
    }
    waiter->placed = true;
    union {
        char text[PA_SHM_SITE];
        uint64_t words[PA_SHM_SITE / sizeof(uint64_t)];
    } site = {.text = ""};
    if (hooks != NULL && hooks->site != NULL) {
        hooks->site(hooks->context, site.text, sizeof site.text);
    }
    pa_shm *shm = waiter->shm;
    pa_shm_place *place = &shm->map.places[shm->base.rank];
    /* No meeting has this number while the text is being written. */
    atomic_store(&place->meeting, 0);
    for (size_t i = 0; i < PA_SHM_SITE / sizeof(uint64_t); i++) {
        atomic_store(&place->site[i], site.words[i]);
    }
    atomic_store(&place->waits, 1);
    atomic_store(&place->meeting, shm->meeting);
}

static void
report_leave(pa_shm_waiter *waiter)
{
    if (waiter->placed) {
        pa_shm *shm = waiter->shm;
        waiter->placed = false;
        atomic_store(&shm->map.places[shm->base.rank].waits, 0);
    }
}

/* Copies where a rank's call of a meeting stands; false if it has not said so. */
static bool
read_site(const pa_shm *shm, int rank, uint32_t meeting, char *text)
{
    const pa_shm_place *place = &shm->map.places[rank];
    text[0] = '\0';
    if (atomic_load(&place->meeting) != meeting) {
        return false;
    }
    for (size_t i = 0; i < PA_SHM_SITE / sizeof(uint64_t); i++) {
        uint64_t word = atomic_load(&place->site[i]);
        memcpy(text + i * sizeof word, &word, sizeof word);
    }
    text[PA_SHM_SITE - 1] = '\0';
    if (atomic_load(&place->meeting) != meeting) {
        text[0] = '\0';
    }
    return text[0] != '\0';
}

/* Appends " at run.py:12", if that is known. */
static void
append_site(const pa_shm *shm, int rank, uint32_t meeting, char *text, size_t capacity)
{
    char site[PA_SHM_SITE];
    if (read_site(shm, rank, meeting, site)) {
        pa_text_append(text, capacity, " at %s", site);
    }
}

/* ---- How far a rank is ---- */

static const pa_shm_line *
line_of(const pa_shm *shm, uint32_t meeting, int rank)
{
    return &shm->map
                .lines[(size_t)(meeting & 1u) * (size_t)shm->base.size + (size_t)rank];
}

/* Whether a rank has come to the meeting that this rank is in. */
static bool
has_come(const pa_shm_waiter *waiter, int rank)
{
    const pa_shm *shm = waiter->shm;
    return atomic_load(&line_of(shm, shm->meeting, rank)->round) == shm->meeting;
}

static bool
is_awaited(const pa_shm_waiter *waiter, int rank)
{
    return waiter->awaits(waiter->job, rank);
}

/* Appends "rank 1" or "ranks 1, 2 and 5" for those of which `chosen` is true. */
static void
append_ranks(const pa_shm_waiter *waiter,
             bool (*chosen)(const pa_shm_waiter *waiter, int rank), char *text,
             size_t capacity)
{
    int size = waiter->shm->base.size;
    int found[RANKS_IN_WORDS];
    int count = 0;
    for (int rank = 0; rank < size; rank++) {
        if (chosen(waiter, rank)) {
            if (count < RANKS_IN_WORDS) {
                found[count] = rank;
            }
            count++;
        }
    }
    int said = count < RANKS_IN_WORDS ? count : RANKS_IN_WORDS;
    pa_text_append(text, capacity, "rank%s", count == 1 ? "" : "s");
    for (int i = 0; i < said; i++) {
        const char *joint = i == 0 ? " " : i + 1 < count ? ", " : " and ";
        pa_text_append(text, capacity, "%s%d", joint, found[i]);
    }
    if (count > said) {
        pa_text_append(text, capacity, " and %d more", count - said);
    }
}

/* Appends what a rank that has come is doing. */
static void
append_inside(const pa_shm_waiter *waiter, int rank, char *text, size_t capacity)
{
    const pa_shm *shm = waiter->shm;
    const pa_shm_place *place = &shm->map.places[rank];
    bool waits =
        rank == shm->base.rank || (atomic_load(&place->meeting) == shm->meeting &&
                                   atomic_load(&place->waits) != 0);
    const pa_shm_line *line = line_of(shm, shm->meeting, rank);
    pa_text_append(text, capacity, "%s %s (operation %u)", waits ? "waits in" : "is in",
                   pa_op_text(atomic_load(&line->op)), shm->operation);
    append_site(shm, rank, shm->meeting, text, capacity);
    if (!waits && is_awaited(waiter, rank)) {
        pa_text_append(text, capacity, " and does not go on");
    }
}

/* Appends the last operation of a rank that has not come. All ranks' meetings are of
 * the same operations, so it follows from this rank's own count. */
static void
append_last(const pa_shm_waiter *waiter, int rank, char *text, size_t capacity)
{
    const pa_shm *shm = waiter->shm;
    uint32_t before = shm->meeting - 1;
    const pa_shm_line *own = line_of(shm, shm->meeting, shm->base.rank);
    const pa_shm_line *line = line_of(shm, before, rank);
    bool describes = atomic_load(&own->op) == PA_OP_DESCRIBE;
    if (before == 0 || atomic_load(&line->round) != before) {
        pa_text_append(text, capacity, "it has not called an operation yet");
        return;
    }
    const pa_shm_place *place = &shm->map.places[rank];
    bool waits =
        atomic_load(&place->meeting) == before && atomic_load(&place->waits) != 0;
    pa_text_append(text, capacity, "%s %s (operation %u)",
                   waits ? "it still waits in" : "it was last in",
                   pa_op_text(atomic_load(&line->op)),
                   describes ? shm->operation : shm->operation - 1);
    append_site(shm, rank, before, text, capacity);
}

static void
append_line(const pa_shm_waiter *waiter, int rank, char *text, size_t capacity)
{
    pa_text_append(text, capacity, "\n  - rank %d: ", rank);
    if (has_come(waiter, rank)) {
        append_inside(waiter, rank, text, capacity);
    } else if (atomic_load(&waiter->shm->map.members[rank].state) == PA_SHM_ABSENT) {
        pa_text_append(text, capacity, "has not joined the group");
    } else {
        pa_text_append(text, capacity, "has not come; ");
        append_last(waiter, rank, text, capacity);
    }
}

/* Appends a line a rank, those first that are waited for: they say more. */
static void
append_lines(const pa_shm_waiter *waiter, char *text, size_t capacity)
{
    int size = waiter->shm->base.size;
    int said = 0;
    for (int awaited = 1; awaited >= 0; awaited--) {
        for (int rank = 0; rank < size && said < RANKS_IN_WORDS; rank++) {
            if (is_awaited(waiter, rank) == (awaited == 1)) {
                append_line(waiter, rank, text, capacity);
                said++;
            }
        }
    }
    if (size > said) {
        pa_text_append(text, capacity, "\n  - and %d more ranks", size - said);
    }
}

/* ---- Whole texts ---- */

static void
report_late(pa_shm_waiter *waiter, char *text, size_t capacity)
{
    const pa_shm *shm = waiter->shm;
    report_place(waiter);
    text[0] = '\0';
    pa_text_append(text, capacity, "%s on shm: ", pa_op_text(waiter->op));
    append_ranks(waiter, is_awaited, text, capacity);
    pa_text_append(text, capacity, " did not arrive within %.1f s",
                   (double)shm->base.timeout_ns / 1e9);
    bool all_came = true;
    for (int rank = 0; rank < shm->base.size; rank++) {
        all_came = all_came && has_come(waiter, rank);
    }
    if (!all_came) {
        pa_text_append(text, capacity, "; only ");
        append_ranks(waiter, has_come, text, capacity);
        pa_text_append(text, capacity, " entered it");
    }
    pa_text_append(text, capacity, ":");
    append_lines(waiter, text, capacity);
}

void
pa_shm_report_end(const pa_shm *shm, int rank, char *text, size_t capacity)
{
    const pa_shm_member *peer = &shm->map.members[rank];
    uint32_t state = atomic_load(&peer->state);
    unsigned pid = atomic_load(&peer->pid);
    if (state == PA_SHM_ENDED) {
        pa_text_append(text, capacity, "%.*s", (int)sizeof peer->text, peer->text);
    } else if (state == PA_SHM_PRESENT) {
        char host[256] = "?";
        (void)gethostname(host, sizeof host - 1);
        pa_text_append(text, capacity,
                       "rank %d (pid %u on host %s) ended without leaving the group,",
                       rank, pid, host);
    } else {
        pa_text_append(text, capacity, "rank %d (pid %u) %s", rank, pid,
                       state == PA_SHM_ENDING ? "ended" : "has left the group");
    }
}

static void
report_gone(pa_shm_waiter *waiter, int rank, char *text, size_t capacity)
{
    const pa_shm *shm = waiter->shm;
    report_place(waiter);
    text[0] = '\0';
    pa_text_append(text, capacity, "%s on shm: ", pa_op_text(waiter->op));
    pa_shm_report_end(shm, rank, text, capacity);
    pa_text_append(text, capacity, " %s %s (operation %u)",
                   has_come(waiter, rank) ? "in the middle of" : "without entering",
                   pa_op_text(waiter->op), shm->operation);
    append_site(shm, shm->base.rank, shm->meeting, text, capacity);
    if (!has_come(waiter, rank)) {
        pa_text_append(text, capacity, "; ");
        append_last(waiter, rank, text, capacity);
    }
}

static void
report_long(pa_shm_waiter *waiter, uint64_t waited_ns, char *text, size_t capacity)
{
    const pa_shm *shm = waiter->shm;
    report_place(waiter);
    text[0] = '\0';
    pa_text_append(text, capacity, "rank %d has waited %llu s in %s for ",
                   shm->base.rank, (unsigned long long)(waited_ns / 1000000000u),
                   pa_op_text(waiter->op));
    append_ranks(waiter, is_awaited, text, capacity);
    pa_text_append(text, capacity, ":");
    append_lines(waiter, text, capacity);
}

const pa_shm_words pa_shm_meeting_words = {
    .place = report_place,
    .leave = report_leave,
    .late = report_late,
    .gone = report_gone,
    .lasts = report_long,
};
