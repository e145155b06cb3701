/* Meeting: every rank writes its card into its line of this meeting's bank and reads
 * the lines of all. No barrier follows: see layout.h on why two banks suffice. */
#include "comm/shm/rank.h"

#include <stddef.h>
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
    shm->operation += card->op != PA_OP_DESCRIBE ? 1 : 0;
    atomic_store_explicit(&line->op, card->op, memory_order_relaxed);
    line->root = card->root;
    line->failed = card->failed;
    line->placed = (uint16_t)card->placed;
    line->fingerprint = card->fingerprint;
    line->nbytes = card->nbytes;
    line->head = card->head;
    line->count = card->count;
    line->ninline = card->ninline;
    if (card->ninline > 0) {
        memcpy(line->inlined, card->inlined, card->ninline);
        memcpy(shm->inlined, card->inlined, card->ninline);
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

/* The card in a line, which another process may write to at any time: its length is
 * never trusted, and read once. */
static pa_card
read_line(const pa_shm_line *line)
{
    pa_shm_line head;
    memcpy(&head, line, offsetof(pa_shm_line, inlined));
    return (pa_card){
        .op = head.op,
        .root = head.root,
        .fingerprint = head.fingerprint,
        .nbytes = head.nbytes,
        .head = head.head,
        .count = head.count,
        .ninline = head.ninline < PA_CARD_INLINE ? head.ninline : PA_CARD_INLINE,
        .placed = head.placed,
        .failed = head.failed != 0,
        .inlined = line->inlined,
    };
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
        all[rank] = read_line(&bank[rank]);
    }
    /* Lengths of what this rank itself sends are never taken from where others write.
     */
    all[comm->rank] = *mine;
    all[comm->rank].inlined = shm->inlined;
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
