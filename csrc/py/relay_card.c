/* Cards as bytes, and the room beside them: see the header. */
#include "py/relay_card.h"

#include <string.h>

/* Bytes ahead in all blocks that one rank sends, and in all that it gets: the copies
 * to and from the blocks would cost more than the exchange that they save. */
static const size_t room_of_all = (size_t)4 << 20;

/* Meetings that leave a room mostly empty before it is given up. Calls of several kinds
 * alternate in programs, and the barrier between two gathers shall not end it. */
enum { UNUSED_MOST = 4 };

void
pyaccel_wire_write(pyaccel_wire_card *wire, const pa_card *card)
{
    *wire = (pyaccel_wire_card){
        .op = card->op,
        .root = card->root,
        .fingerprint = card->fingerprint,
        .nbytes = card->nbytes,
        .head = card->head,
        .count = card->count,
        .ninline = card->ninline,
        .failed = card->failed,
        .placed = card->placed,
        .follows = card->follows != NULL ? card->follows->nbytes : 0,
    };
    if (card->ninline > 0) {
        memcpy(wire->inlined, card->inlined, card->ninline);
    }
}

pa_card
pyaccel_wire_read(const pyaccel_wire_card *wire)
{
    return (pa_card){
        .op = wire->op,
        .root = wire->root,
        .fingerprint = wire->fingerprint,
        .nbytes = wire->nbytes,
        .head = wire->head,
        .count = wire->count,
        .ninline = wire->ninline < PA_CARD_INLINE ? wire->ninline : PA_CARD_INLINE,
        .placed = wire->placed,
        .failed = wire->failed != 0,
        .inlined = wire->inlined,
    };
}

void
pyaccel_room_learn(pyaccel_room *room, uint64_t follows, int size)
{
    room->came = follows <= room->nbytes ? (size_t)follows : 0;
    if (follows > room_of_all / (size_t)size) {
        follows = 0; /* too much to go ahead, and so no reason to make room */
    }
    if (follows > room->nbytes / 2) {
        room->nbytes = follows > room->nbytes ? (size_t)follows : room->nbytes;
        room->unused = 0;
    } else if (room->nbytes > 0 && ++room->unused == UNUSED_MOST) {
        room->nbytes = (size_t)follows;
        room->unused = 0;
    }
}
