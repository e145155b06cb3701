/* What a launch does when its stream comes to it.
 *
 * A collective: show one's card, wait for all, look whether the cards agree, take what
 * is needed from the others' memory, and wait until nobody needs this rank's. A send
 * waits until the receiver has taken it; all sends and receives of a launch go on at
 * the same time. Whoever waits for a rank that never comes waits until the abort. */
#include "network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t
fake_element(int dtype)
{
    static const size_t SIZES[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    return SIZES[dtype];
}

static bool
ended(const fake_comm *comm)
{
    return atomic_load(&comm->aborted) || fake_lost() != 0 ||
           atomic_load(&comm->segment->broken) != 0;
}

/* Reports calls that do not match, to all ranks: each sees its work end, and the error
 * when it asks. */
static void
mismatch(fake_comm *comm, const char *text)
{
    fake_refuse(0, "%s", text);
    pthread_mutex_lock(&fake_lock);
    fake_comm_break(comm, PA_NCCL_INVALID_USAGE, text);
    pthread_mutex_unlock(&fake_lock);
    atomic_store(&comm->segment->broken, 1);
    fake_word_ring(&comm->segment->bell);
}

/* A rank that this one waits for has finalized the communicator: it never comes. */
static bool
is_over(fake_comm *comm, int rank)
{
    if (atomic_load(&comm->segment->members[rank].finalized) == 0) {
        return false;
    }
    char text[160];
    snprintf(text, sizeof(text),
             "rank %d waits for rank %d, which has finalized the communicator after "
             "%llu collectives",
             comm->rank, rank,
             (unsigned long long)atomic_load(&comm->segment->members[rank].arrived));
    mismatch(comm, text);
    return true;
}

/* Waits until a counter of every rank has come to a number. */
static bool
await_all(fake_comm *comm, bool arrived, uint64_t number)
{
    for (int rank = 0; rank < comm->size;) {
        fake_member *each = &comm->segment->members[rank];
        uint32_t bell = atomic_load(&comm->segment->bell);
        if (atomic_load(arrived ? &each->arrived : &each->passed) >= number) {
            rank++;
        } else if (ended(comm) || is_over(comm, rank)) {
            return false;
        } else {
            fake_word_wait(&comm->segment->bell, bell);
        }
    }
    return true;
}

static void
format_card(const fake_card *card, char text[80])
{
    static const char *const KINDS[] = {"all-gather", "broadcast", "all-reduce"};
    snprintf(text, 80, "%s of %llu elements of type %d, root %d, operation %d",
             KINDS[card->kind], (unsigned long long)card->count, card->dtype,
             card->root, card->op);
}

/* Whether all ranks do the same. */
static bool
cards_agree(fake_comm *comm, uint64_t number)
{
    const fake_card *own = &comm->segment->members[comm->rank].card;
    for (int rank = 0; rank < comm->size; rank++) {
        const fake_card *other = &comm->segment->members[rank].card;
        if (own->kind != other->kind || own->count != other->count ||
            own->dtype != other->dtype || own->op != other->op ||
            own->root != other->root) {
            char mine[80];
            char theirs[80];
            char text[250];
            format_card(own, mine);
            format_card(other, theirs);
            snprintf(text, sizeof(text),
                     "collective %llu of a communicator: rank %d calls %s, rank %d %s",
                     (unsigned long long)number, comm->rank, mine, rank, theirs);
            mismatch(comm, text);
            return false;
        }
    }
    return true;
}

/* A rank's input of the collective that all are in. */
static const char *
input_of(const fake_comm *comm, int rank)
{
    return comm->memory[rank] + comm->segment->members[rank].card.offset;
}

/* Sums and the like into memory aside: the output may be the input that others read. */
static char *
reduced(const fake_comm *comm, const fake_piece *piece, size_t nbytes)
{
    char *result = malloc(nbytes + 1);
    if (result == NULL) {
        abort();
    }
    memcpy(result, input_of(comm, 0), nbytes);
    for (int rank = 1; rank < comm->size; rank++) {
        fake_reduce(result, input_of(comm, rank), piece->count, piece->dtype,
                    piece->op);
    }
    if (piece->op == PA_NCCL_AVERAGE) {
        fake_divide(result, piece->count, piece->dtype, comm->size);
    }
    return result;
}

/* Takes what this rank needs. Returns what is to be written to the output once nobody
 * reads there any more; NULL: nothing. */
static char *
take(const fake_comm *comm, const fake_piece *piece)
{
    size_t nbytes = piece->count * fake_element(piece->dtype);
    if (piece->kind == FAKE_ALL_REDUCE) {
        return reduced(comm, piece, nbytes);
    }
    for (int rank = 0; rank < comm->size && nbytes > 0; rank++) {
        char *place = piece->recv;
        if (piece->kind == FAKE_ALL_GATHER) {
            place += (size_t)rank * nbytes;
        } else if (rank != piece->root) {
            continue;
        }
        if (rank != comm->rank) {
            memcpy(place, input_of(comm, rank), nbytes);
        } else if (place != piece->send) {
            memcpy(place, piece->send, nbytes);
        }
    }
    return NULL;
}

/* Where the other ranks find what a piece sends. */
static uint64_t
offset_of(const fake_comm *comm, const fake_piece *piece)
{
    size_t nbytes = piece->count * fake_element(piece->dtype);
    return (uint64_t)(fake_shown(piece->send, nbytes) - comm->base);
}

static bool
run_collective(fake_comm *comm, const fake_piece *piece)
{
    fake_member *own = &comm->segment->members[comm->rank];
    uint64_t number = ++comm->collectives;
    own->card = (fake_card){.kind = (int)piece->kind,
                            .dtype = piece->dtype,
                            .op = piece->op,
                            .root = piece->root,
                            .count = piece->count};
    bool reads = piece->kind != FAKE_BROADCAST || piece->root == comm->rank;
    if (reads && piece->count > 0) {
        own->card.offset = offset_of(comm, piece);
    }
    atomic_store(&own->arrived, number);
    fake_word_ring(&comm->segment->bell);
    if (!await_all(comm, true, number) || !cards_agree(comm, number)) {
        return false;
    }
    char *aside = take(comm, piece);
    atomic_store(&own->passed, number);
    fake_word_ring(&comm->segment->bell);
    bool passed = await_all(comm, false, number);
    if (passed && aside != NULL) {
        memcpy(piece->recv, aside, piece->count * fake_element(piece->dtype));
    }
    free(aside);
    return passed;
}

/* Whether an earlier message of the launch in the same direction is not through. */
static bool
is_behind(const fake_launch *launch, size_t index)
{
    const fake_piece *piece = &launch->pieces[index];
    for (size_t i = 0; i < index; i++) {
        const fake_piece *each = &launch->pieces[i];
        if (!each->done && each->kind == piece->kind && each->root == piece->root) {
            return true;
        }
    }
    return false;
}

/* Goes on with a send; whether anything changed. */
static bool
go_on_sending(fake_comm *comm, fake_piece *piece)
{
    fake_channel *channel = fake_channel_of(comm, comm->rank, piece->root);
    uint64_t posted = atomic_load(&channel->posted);
    if (piece->number == 0) {
        if (atomic_load(&channel->taken) != posted) {
            return false;
        }
        channel->nbytes = piece->count * fake_element(piece->dtype);
        channel->offset = piece->count == 0 ? 0 : offset_of(comm, piece);
        piece->number = posted + 1;
        atomic_store(&channel->posted, piece->number);
        return true;
    }
    piece->done = atomic_load(&channel->taken) >= piece->number;
    return piece->done;
}

/* Goes on with a receive; whether anything changed. */
static bool
go_on_receiving(fake_comm *comm, fake_piece *piece)
{
    fake_channel *channel = fake_channel_of(comm, piece->root, comm->rank);
    uint64_t taken = atomic_load(&channel->taken);
    if (atomic_load(&channel->posted) == taken) {
        return false;
    }
    size_t nbytes = piece->count * fake_element(piece->dtype);
    if (channel->nbytes != nbytes) {
        char text[160];
        snprintf(text, sizeof(text),
                 "rank %d receives %zu bytes from rank %d, which sends %llu",
                 comm->rank, nbytes, piece->root, (unsigned long long)channel->nbytes);
        mismatch(comm, text);
        return false;
    }
    memcpy(piece->recv, comm->memory[piece->root] + channel->offset, nbytes);
    piece->done = true;
    atomic_store(&channel->taken, taken + 1);
    return true;
}

/* A rank that this one waits for is in a collective, which needs this one: neither can
 * ever go on. */
static bool
is_stuck(fake_comm *comm, const fake_piece *piece)
{
    if (piece->root == comm->rank ||
        atomic_load(&comm->segment->members[piece->root].arrived) <=
            comm->collectives) {
        return false;
    }
    char text[160];
    snprintf(text, sizeof(text),
             "rank %d is in a %s with rank %d, which is in collective %llu before it",
             comm->rank, piece->kind == FAKE_SEND ? "send" : "receive", piece->root,
             (unsigned long long)comm->collectives + 1);
    mismatch(comm, text);
    return true;
}

static void
run_messages(fake_launch *launch)
{
    fake_comm *comm = launch->comm;
    for (bool open = true; open;) {
        uint32_t bell = atomic_load(&comm->segment->bell);
        const fake_piece *late = NULL;
        bool moved = false;
        open = false;
        for (size_t i = 0; i < launch->npieces; i++) {
            fake_piece *piece = &launch->pieces[i];
            if (piece->done || piece->kind < FAKE_SEND) {
                continue;
            }
            open = true;
            if (!is_behind(launch, i)) {
                moved |= piece->kind == FAKE_SEND ? go_on_sending(comm, piece)
                                                  : go_on_receiving(comm, piece);
                late = piece->done ? late : piece;
            }
        }
        if (ended(comm)) {
            return;
        }
        if (moved) {
            fake_word_ring(&comm->segment->bell);
        } else if (late != NULL && !is_stuck(comm, late) &&
                   !is_over(comm, late->root)) {
            fake_word_wait(&comm->segment->bell, bell);
        }
    }
}

void
fake_launch_run(fake_op *op)
{
    fake_launch *launch = (fake_launch *)op;
    fake_comm *comm = launch->comm;
    pthread_mutex_lock(&fake_lock);
    comm->running++;
    pthread_mutex_unlock(&fake_lock);
    bool good = !ended(comm);
    for (size_t i = 0; i < launch->npieces; i++) {
        fake_piece *piece = &launch->pieces[i];
        piece->done = false;
        piece->number = 0;
        if (good && piece->kind < FAKE_SEND) {
            good = run_collective(comm, piece);
        }
    }
    if (good) {
        run_messages(launch);
    }
    pthread_mutex_lock(&fake_lock);
    comm->running--;
    if (atomic_load(&comm->segment->broken) != 0) {
        fake_comm_break(comm, PA_NCCL_REMOTE_ERROR, "another rank has failed");
    }
    fake_comm_settle(comm);
    pthread_cond_broadcast(&fake_changed);
    pthread_mutex_unlock(&fake_lock);
}

void
fake_launch_drop(fake_launch *launch)
{
    fake_comm *comm = launch->comm;
    comm->users--;
    fake_comm_settle(comm);
    pthread_cond_broadcast(&fake_changed);
    free(launch->pieces);
    free(launch->uses);
    free(launch);
}

void
fake_launch_destroy(fake_op *op)
{
    pthread_mutex_lock(&fake_lock);
    fake_launch_drop((fake_launch *)op);
    pthread_mutex_unlock(&fake_lock);
}
