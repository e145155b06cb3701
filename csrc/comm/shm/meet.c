/* Meeting: every rank writes its card into its line of this meeting's bank and reads
 * the lines of all. No barrier follows: see layout.h on why two banks suffice. */
#include "comm/shm/rank.h"

#include <string.h>

/* The meeting that a rank waits in. */
typedef struct meeting {
    const pa_shm_line *bank;
    uint32_t number;
} meeting;

static pa_shm_line *
bank_of(const pa_shm *shm, uint32_t number)
{
    return shm->map.lines + (size_t)(number & 1u) * (size_t)shm->base.size;
}

static bool
line_missing(const void *job, int rank)
{
    const meeting *here = job;
    return atomic_load(&here->bank[rank].round) != here->number;
}

/* Shows a card in the next meeting. */
static void
show(pa_shm *shm, const pa_card *card)
{
    uint32_t number = ++shm->meeting;
    pa_shm_line *line = &bank_of(shm, number)[shm->base.rank];
    line->op = card->op;
    line->root = card->root;
    line->failed = card->failed;
    line->fingerprint = card->fingerprint;
    line->nbytes = card->nbytes;
    line->head = card->head;
    line->count = card->count;
    line->ninline = card->ninline;
    if (card->ninline > 0) {
        memcpy(line->inlined, card->inlined, card->ninline);
    }
    atomic_store(&line->round, number);
    for (int rank = 0; rank < shm->base.size; rank++) {
        if (rank != shm->base.rank) {
            pa_shm_ring(&shm->map, rank);
        }
    }
}

/* Waits until every rank has shown its card in the present meeting. */
static pa_status
wait_for_all(pa_shm *shm, uint32_t op, const pa_hooks *hooks, pa_error *error)
{
    meeting here = {.bank = bank_of(shm, shm->meeting), .number = shm->meeting};
    pa_shm_waiter waiter;
    pa_shm_waiter_init(&waiter, shm, op, hooks, line_missing, &here);
    pa_status status = PA_OK;
    for (int rank = 0; rank < shm->base.size && status == PA_OK;) {
        if (line_missing(&here, rank)) {
            status = pa_shm_waiter_pause(&waiter, error);
        } else {
            rank++;
        }
    }
    pa_shm_waiter_end(&waiter);
    return status;
}

/* The next meeting may begin only when the last one is complete; a rank that excused
 * itself there has yet to see to that. */
static pa_status
settle(pa_shm *shm, uint32_t op, const pa_hooks *hooks, pa_error *error)
{
    PA_TRY(pa_shm_whole(shm, op, error));
    if (shm->owes) {
        PA_TRY(wait_for_all(shm, op, hooks, error));
        shm->owes = false;
    }
    return PA_OK;
}

pa_status
pa_shm_meet(pa_comm *comm, const pa_card *mine, pa_card *all, const pa_hooks *hooks,
            pa_error *error)
{
    pa_shm *shm = (pa_shm *)comm;
    PA_TRY(settle(shm, mine->op, hooks, error));
    show(shm, mine);
    PA_TRY(wait_for_all(shm, mine->op, hooks, error));
    const pa_shm_line *bank = bank_of(shm, shm->meeting);
    for (int rank = 0; rank < comm->size; rank++) {
        const pa_shm_line *line = &bank[rank];
        /* The line is another process's: never trust its length. */
        uint32_t ninline =
            line->ninline < PA_CARD_INLINE ? line->ninline : PA_CARD_INLINE;
        all[rank] = (pa_card){
            .op = line->op,
            .root = line->root,
            .fingerprint = line->fingerprint,
            .nbytes = line->nbytes,
            .head = line->head,
            .count = line->count,
            .ninline = ninline,
            .failed = line->failed != 0,
            .inlined = line->inlined,
        };
    }
    return PA_OK;
}

pa_status
pa_shm_excuse(pa_comm *comm, const pa_card *failed, const pa_hooks *hooks)
{
    pa_shm *shm = (pa_shm *)comm;
    PA_TRY(settle(shm, failed->op, hooks, NULL));
    show(shm, failed);
    shm->owes = true;
    return PA_OK;
}
