/* Channels: messages from one rank to another.
 *
 * For each ordered pair of ranks there is a channel, and what is sent through it is
 * received in that order. Nobody else takes part, no collective operation is needed for
 * it to move, and it may be used while this or another thread is in one. The two ends
 * of a channel are used by one thread at a time each; different channels, and the two
 * ends, by different threads at once.
 *
 * A send returns when what it sends is no longer read from the caller's memory: at once
 * for as long as the receiver is not further behind than some 256 MiB, and else when it
 * has taken enough. Leaves that stand on devices travel by way of the host
 * (comm/device/carry.h). A message says what it is (tag, digest, dtypes and shapes), so
 * that a receiver learns what comes, or finds that it expected something else. Then the
 * message is lost, both sides get an error that says what differs, the sender when it
 * sends to that rank again, and the channel goes on with the next message. */
#ifndef PA_COMM_CHANNEL_H
#define PA_COMM_CHANNEL_H

#include "base/leaf.h"
#include "comm/comm.h"
#include "comm/describe.h"

/* What is sent: leaves, on the host or on devices, and bytes that mean something to the
 * caller alone, which the receiver sees before it says where the leaves go. */
typedef struct pa_message {
    uint32_t op;     /* the sender's: PA_OP_SEND or PA_OP_SEND_OBJECT */
    int64_t tag;     /* these two must be what the receiver expects */
    uint64_t digest; /* of whatever else both sides must agree on */
    pa_leaves leaves;
    pa_part extra;
} pa_message;

/* Sends a message to rank `to`, which may be the own one; borrowed for the call.
 * PA_EARGUMENT: there is no such rank. PA_EMISMATCH: `to` refused an earlier message;
 * this one was not sent. Else as pa_comm_stream. */
pa_status
pa_channel_send(pa_comm *comm, int64_t to, const pa_message *message,
                const pa_hooks *hooks, pa_error *error);

enum { PA_LETTER_BYTES = 512, PA_LETTER_INLINE = PA_LETTER_BYTES - 64 };

/* How a message begins on its way; the rest of it follows where it does not fit. */
typedef struct pa_letter {
    uint32_t op;
    uint32_t count; /* of leaves */
    int64_t tag;
    uint64_t digest;
    uint64_t number;  /* of the message in its channel, from 1 on */
    uint64_t nleaves; /* bytes that describe the leaves, as in comm/describe.h */
    uint64_t nextra;  /* bytes of the caller's, which come next */
    uint64_t nbytes;  /* bytes of the leaves, which come last ... */
    uint64_t chunk;   /* ... in flows of so many bytes; 0: in one */
    char inlined[PA_LETTER_INLINE];
} pa_letter;

/* A message that has begun to come. */
typedef struct pa_incoming {
    pa_comm *comm;
    uint32_t op; /* the receiver's */
    int from;
    pa_letter letter;
    char *head; /* owned or NULL */
    const char *extra;
    pa_describe_reader leaves; /* for letter.count calls of pa_describe_read_leaf */
    bool complete;             /* nothing of it is still to be taken */
} pa_incoming;

/* Waits for the next message of rank `from`, of the kind that `op` (PA_OP_RECV or
 * PA_OP_RECV_OBJECT) receives, with that tag and digest. With PA_OK the caller takes or
 * drops it. PA_EMISMATCH: it is something else, and was refused; `incoming` tells what,
 * without its leaves' values. Then pa_incoming_fini is due, after PA_OK too.
 * PA_EARGUMENT: there is no such rank. Else as pa_comm_stream. */
pa_status
pa_channel_receive(pa_comm *comm, uint32_t op, int64_t from, int64_t tag,
                   uint64_t digest, pa_incoming *incoming, const pa_hooks *hooks,
                   pa_error *error);

/* Fills `parts[nparts]`, of letter.nbytes bytes in all, with the leaves' values. Parts
 * may stand on devices, and are then filled in order on their streams. Where no memory
 * can be had for that (PA_EMEMORY), or a stream is being captured (PA_EARGUMENT),
 * nothing was taken. */
pa_status
pa_channel_take(pa_incoming *incoming, const pa_part *parts, size_t nparts,
                const pa_hooks *hooks, pa_error *error);

/* Passes the values by, because the receiver cannot take them; `refusal` is for the
 * sender. */
pa_status
pa_channel_drop(pa_incoming *incoming, const char *refusal, const pa_hooks *hooks,
                pa_error *error);

/* Frees what belongs to a message that was taken, dropped or refused; zeros are fine.
 */
void
pa_incoming_fini(pa_incoming *incoming);

#endif
