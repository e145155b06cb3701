/* What a rank sends in a meeting over a relay: one block, whose length all know before.
 *
 *     wire card | bytes of the stream that follows, if they fit | nothing that counts
 *     <------- sizeof(pyaccel_wire_card) + room of this rank ------------------------>
 *
 * An exchange costs its latency rather than its bytes, so what a rank would stream
 * after the meeting goes with its card where there is room. The room is learned: all
 * ranks have seen the same cards, so all know how much each rank wanted to send lately.
 */
#ifndef PYACCEL_PY_RELAY_CARD_H
#define PYACCEL_PY_RELAY_CARD_H

#include "comm/comm.h"

/* A card as bytes. */
typedef struct pyaccel_wire_card {
    uint32_t op;
    int32_t root;
    uint64_t fingerprint;
    uint64_t nbytes;
    uint64_t head;
    uint32_t count;
    uint32_t ninline;
    uint32_t failed;
    uint32_t placed;
    uint64_t follows; /* bytes that this rank streams next, if all agree */
    char inlined[PA_CARD_INLINE];
} pyaccel_wire_card;

/* What is known of one rank from its cards; zeros at first. */
typedef struct pyaccel_room {
    size_t nbytes; /* room for bytes ahead in its next block */
    size_t came;   /* bytes ahead that came with its last card, for the next stream */
    int unused;    /* meetings in a row that left most of the room empty */
} pyaccel_room;

/* Fills `wire` from a card. */
void
pyaccel_wire_write(pyaccel_wire_card *wire, const pa_card *card);

/* The card in `wire`, into which its `inlined` points. */
pa_card
pyaccel_wire_read(const pyaccel_wire_card *wire);

/* Notes the card that a rank of a group of `size` showed: what came ahead with it, and
 * the room in its next block. The same on every rank. */
void
pyaccel_room_learn(pyaccel_room *room, uint64_t follows, int size);

#endif
