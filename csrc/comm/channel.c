/* Channels: see the header.
 *
 *     letter   tag, digest, lengths, and what fits of:
 *     head     dtypes and shapes of the leaves, bytes of the caller's
 *     payload  values of the leaves
 *
 * A message is a letter of a fixed size, which the receiver waits for, and then what
 * did not fit: the head alone or the head and the payload. */
#include "comm/channel.h"

#include "base/size.h"
#include "base/text.h"
#include "comm/backend.h"
#include "comm/device/carry.h"
#include "comm/device/move.h"
#include "comm/loop.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(pa_letter) == PA_LETTER_BYTES, "a letter has a fixed size");

enum { REFUSAL_BYTES = 256 };

/* ---- Either side ---- */

static pa_status
check_peer(pa_comm *comm, uint32_t op, int64_t peer, pa_error *error)
{
    PA_TRY(pa_comm_check(comm, op, error));
    if (peer < 0 || peer >= comm->size) {
        return pa_error_set(error, PA_EARGUMENT,
                            "%s: there is no rank %lld in a group of %d; name one from "
                            "0 to %d",
                            pa_op_text(op), (long long)peer, comm->size,
                            comm->size - 1);
    }
    if (peer != comm->rank && comm->backend->put == NULL) {
        return pa_error_set(error, PA_EARGUMENT,
                            "%s: a group over %s has no messages between two ranks",
                            pa_op_text(op), comm->backend->name);
    }
    return PA_OK;
}

/* Whether the head and the payload come with the letter. */
static bool
head_fits(const pa_letter *letter)
{
    return letter->nleaves <= PA_LETTER_INLINE &&
           letter->nextra <= PA_LETTER_INLINE - letter->nleaves;
}

static bool
payload_fits(const pa_letter *letter)
{
    return head_fits(letter) &&
           letter->nbytes <= PA_LETTER_INLINE - letter->nleaves - letter->nextra;
}

static pa_status
put_flows(pa_comm *comm, uint32_t op, int to, const pa_flow *flows, size_t nflows,
          const pa_hooks *hooks, pa_error *error)
{
    return to == comm->rank
               ? pa_loop_put(comm, op, flows, nflows, error)
               : comm->backend->put(comm, op, to, flows, nflows, hooks, error);
}

static pa_status
take_flow(const pa_incoming *in, const pa_part *parts, size_t nparts, size_t nbytes,
          const pa_hooks *hooks, pa_error *error)
{
    pa_flow into = {parts, nparts, nbytes};
    return in->from == in->comm->rank
               ? pa_loop_take(in->comm, in->op, &into, hooks, error)
               : in->comm->backend->take(in->comm, in->op, in->from, &into, hooks,
                                         error);
}

/* ---- Sending ---- */

/* The head, written to where the letter has room for it, else to `*memory` (malloc). */
static pa_status
write_head(const pa_message *message, pa_letter *letter, char **memory, pa_error *error)
{
    char *at = letter->inlined;
    if (!head_fits(letter)) {
        size_t nbytes = (size_t)letter->nleaves + (size_t)letter->nextra;
        *memory = malloc(nbytes);
        if (*memory == NULL) {
            return pa_error_set(error, PA_EMEMORY,
                                "%s: no memory for a head of %zu bytes",
                                pa_op_text(message->op), nbytes);
        }
        at = *memory;
    }
    at = pa_describe_write_leaves(&message->leaves, at);
    if (letter->nextra > 0) {
        memcpy(at, message->extra.data, (size_t)letter->nextra);
    }
    return PA_OK;
}

/* The payload as parts, in `room` if there is enough, else in new memory. */
static pa_part *
payload_parts(const pa_leaves *leaves, pa_part *room, size_t capacity)
{
    pa_part *parts =
        leaves->count <= capacity ? room : malloc(leaves->count * sizeof *parts);
    for (size_t i = 0; i < leaves->count && parts != NULL; i++) {
        const pa_leaf *leaf = &leaves->at[i];
        parts[i] = (pa_part){leaf->data, leaf->nbytes, leaf->place};
    }
    return parts;
}

/* Sends the letter, and of the head and of the payload, which is all on the host, what
 * did not fit; in chunks only the head. */
static pa_status
send_letter(pa_comm *comm, int to, const pa_message *message, pa_letter *letter,
            char *head, const pa_flow *payload, const pa_hooks *hooks, pa_error *error)
{
    pa_flow flows[3];
    size_t nflows = 1;
    size_t nhead = (size_t)(letter->nleaves + letter->nextra);
    pa_part whole = {(char *)letter, sizeof *letter, NULL};
    pa_part told = {head, nhead, NULL};
    flows[0] = (pa_flow){&whole, 1, sizeof *letter};
    if (head != NULL) {
        flows[nflows++] = (pa_flow){&told, 1, nhead};
    }
    if (payload_fits(letter)) {
        pa_cursor from = {.parts = payload->parts};
        pa_cursor_read(&from, letter->inlined + nhead, payload->nbytes);
    } else if (letter->chunk == 0 && payload->nbytes > 0) {
        flows[nflows++] = *payload;
    }
    return put_flows(comm, message->op, to, flows, nflows, hooks, error);
}

/* Sends the rest of a payload whose first chunk was fetched before the letter left. */
static pa_status
send_chunks(pa_comm *comm, int to, pa_carried *carried, pa_part chunk, pa_error *error)
{
    for (;;) {
        pa_flow flow = {&chunk, 1, chunk.nbytes};
        PA_TRY(put_flows(comm, carried->op, to, &flow, 1, carried->hooks, error));
        if (carried->traveled == carried->nbytes) {
            return PA_OK;
        }
        pa_status status = pa_carry_fetch(carried, &chunk, error);
        if (status != PA_OK) {
            return pa_devices_break(comm, carried->op, status, error);
        }
    }
}

/* Sends a message whose payload stands on devices, or part of it. */
static pa_status
send_placed(pa_comm *comm, int to, const pa_message *message, pa_letter *letter,
            char *head, const pa_flow *payload, const pa_hooks *hooks, pa_error *error)
{
    pa_carried carried;
    pa_part chunk;
    bool small = payload->nbytes <= PA_CARRY_SMALL;
    PA_TRY(pa_carry_begin(&carried, &comm->channels[to].out, comm, message->op,
                          payload->parts, payload->nparts,
                          small ? PA_CARRY_SMALL : PA_CARRY_CHUNK, hooks, error));
    letter->chunk = small ? 0 : carried.chunk;
    pa_status status = pa_carry_fetch(&carried, &chunk, error);
    if (status == PA_OK) {
        pa_flow whole = {&chunk, 1, chunk.nbytes};
        status = send_letter(comm, to, message, letter, head, &whole, hooks, error);
    }
    if (status == PA_OK && !small) {
        status = send_chunks(comm, to, &carried, chunk, error);
    }
    pa_carry_end(&carried);
    return status;
}

static pa_status
send_message(pa_comm *comm, int to, const pa_message *message, pa_letter *letter,
             char *head, const pa_hooks *hooks, pa_error *error)
{
    enum { ROOM = 16 };
    pa_part room[ROOM];
    pa_part *parts = payload_parts(&message->leaves, room, ROOM);
    if (parts == NULL) {
        return pa_error_set(error, PA_EMEMORY, "%s: no memory for %zu pieces",
                            pa_op_text(message->op), message->leaves.count);
    }
    pa_flow payload = {parts, message->leaves.count, (size_t)letter->nbytes};
    bool on_host = payload.nbytes == 0 || pa_leaves_on_host(&message->leaves);
    pa_status status =
        on_host ? send_letter(comm, to, message, letter, head, &payload, hooks, error)
                : send_placed(comm, to, message, letter, head, &payload, hooks, error);
    if (parts != room) {
        free(parts);
    }
    return status;
}

pa_status
pa_channel_send(pa_comm *comm, int64_t to, const pa_message *message,
                const pa_hooks *hooks, pa_error *error)
{
    PA_TRY(check_peer(comm, message->op, to, error));
    int peer = (int)to;
    char refusal[REFUSAL_BYTES];
    if (peer != comm->rank &&
        comm->backend->refused(comm, peer, refusal, sizeof refusal)) {
        return pa_error_set(error, PA_EMISMATCH,
                            "%s: rank %d refused what it was sent: %s",
                            pa_op_text(message->op), peer, refusal);
    }
    pa_channel *channel = &comm->channels[peer];
    pa_letter letter = {
        .op = message->op,
        .count = (uint32_t)message->leaves.count,
        .tag = message->tag,
        .digest = message->digest,
        .number = channel->sent + 1,
        .nleaves = pa_describe_leaves_nbytes(&message->leaves),
        .nextra = message->extra.nbytes,
        .nbytes = pa_leaves_nbytes(&message->leaves),
    };
    char *head = NULL;
    PA_TRY(write_head(message, &letter, &head, error));
    pa_status status = send_message(comm, peer, message, &letter, head, hooks, error);
    free(head);
    channel->sent += status == PA_OK ? 1 : 0;
    return status;
}

/* ---- Receiving ---- */

static uint32_t
kind_received_by(uint32_t op)
{
    return op == PA_OP_RECV_OBJECT ? PA_OP_SEND_OBJECT : PA_OP_SEND;
}

/* What was sent, in words. */
static void
format_sent(const pa_incoming *in, char *text, size_t capacity)
{
    const pa_letter *letter = &in->letter;
    pa_text_append(text, capacity, "message %llu of rank %d to rank %d is a %s",
                   (unsigned long long)letter->number, in->from, in->comm->rank,
                   pa_op_text(letter->op));
    if (letter->op == PA_OP_SEND) {
        pa_text_append(text, capacity, " of ");
        pa_describe_format_leaves(in->leaves, letter->count, text, capacity);
    }
}

/* Writes how a message differs from what is expected; false where it does not. */
static bool
find_difference(const pa_incoming *in, int64_t tag, uint64_t digest, char *text,
                size_t capacity)
{
    const pa_letter *letter = &in->letter;
    const char *op = pa_op_text(in->op);
    text[0] = '\0';
    if (letter->op != kind_received_by(in->op)) {
        format_sent(in, text, capacity);
        pa_text_append(text, capacity, ", which %s does not receive", op);
    } else if (letter->tag != tag) {
        format_sent(in, text, capacity);
        pa_text_append(text, capacity, " with tag %lld, but %s expects tag %lld",
                       (long long)letter->tag, op, (long long)tag);
    } else if (letter->digest != digest) {
        format_sent(in, text, capacity);
        pa_text_append(text, capacity, " with digest %016llx, but %s expects %016llx",
                       (unsigned long long)letter->digest, op,
                       (unsigned long long)digest);
    }
    return text[0] != '\0';
}

/* Points into the head and looks whether it can be what the letter says. */
static bool
read_head(pa_incoming *in)
{
    const pa_letter *letter = &in->letter;
    const char *head = in->head != NULL ? in->head : letter->inlined;
    in->leaves = (pa_describe_reader){head, head + letter->nleaves};
    in->extra = head + letter->nleaves;
    pa_describe_reader reader = in->leaves;
    pa_described_leaf leaf;
    for (uint32_t i = 0; i < letter->count; i++) {
        if (!pa_describe_read_leaf(&reader, &leaf)) {
            return false;
        }
    }
    return reader.at == reader.end;
}

/* Breaks the group: the channel is out of step. */
static pa_status
fail(const pa_incoming *in, pa_status status, const char *what, pa_error *error)
{
    char text[PA_COMM_REASON];
    text[0] = '\0';
    pa_text_append(text, sizeof text, "%s from rank %d on %s: %s", pa_op_text(in->op),
                   in->from, in->comm->backend->name, what);
    pa_comm_abort(in->comm, text);
    return pa_error_set(error, status, "%s", text);
}

static pa_status
receive_head(pa_incoming *in, const pa_hooks *hooks, pa_error *error)
{
    pa_letter *letter = &in->letter;
    size_t nhead = 0;
    pa_part part = {(char *)letter, sizeof *letter, NULL};
    PA_TRY(take_flow(in, &part, 1, sizeof *letter, hooks, error));
    if (letter->number != in->comm->channels[in->from].received + 1 ||
        !pa_size_add((size_t)letter->nleaves, (size_t)letter->nextra, &nhead)) {
        return fail(in, PA_EBROKEN, "what came is not the next message", error);
    }
    if (!head_fits(letter)) {
        in->head = malloc(nhead);
        if (in->head == NULL) {
            return fail(in, PA_EMEMORY, "there is no memory for what comes", error);
        }
        part = (pa_part){in->head, nhead, NULL};
        PA_TRY(take_flow(in, &part, 1, nhead, hooks, error));
    }
    if (!read_head(in)) {
        return fail(in, PA_EBROKEN, "what came is not the next message", error);
    }
    return PA_OK;
}

static void
finish(pa_incoming *in, const char *refusal)
{
    in->complete = true;
    in->comm->channels[in->from].received++;
    if (in->from != in->comm->rank) {
        in->comm->backend->taken(in->comm, in->from, refusal);
    }
}

pa_status
pa_channel_receive(pa_comm *comm, uint32_t op, int64_t from, int64_t tag,
                   uint64_t digest, pa_incoming *incoming, const pa_hooks *hooks,
                   pa_error *error)
{
    incoming->head = NULL;
    incoming->complete = true;
    PA_TRY(check_peer(comm, op, from, error));
    incoming->comm = comm;
    incoming->op = op;
    incoming->from = (int)from;
    incoming->complete = false;
    PA_TRY(receive_head(incoming, hooks, error));
    char text[REFUSAL_BYTES];
    if (find_difference(incoming, tag, digest, text, sizeof text)) {
        PA_TRY(pa_channel_drop(incoming, text, hooks, error));
        return pa_error_set(error, PA_EMISMATCH,
                            "%s: %s; that message is lost, and "
                            "the next one can be received",
                            pa_op_text(op), text);
    }
    return PA_OK;
}

/* The next bytes of the payload, which is in the letter or comes behind it. */
static pa_status
take_bytes(const pa_incoming *incoming, const pa_part *parts, size_t nparts,
           size_t nbytes, const pa_hooks *hooks, pa_error *error)
{
    const pa_letter *letter = &incoming->letter;
    if (payload_fits(letter)) {
        const char *from = letter->inlined + letter->nleaves + letter->nextra;
        pa_cursor to = {.parts = parts};
        if (parts != NULL) {
            pa_cursor_write(&to, from, nbytes);
        }
        return PA_OK;
    }
    return nbytes > 0 ? take_flow(incoming, parts, nparts, nbytes, hooks, error)
                      : PA_OK;
}

static pa_status
take_chunks(pa_incoming *incoming, pa_carried *carried, pa_error *error)
{
    pa_comm *comm = incoming->comm;
    while (carried->traveled < carried->nbytes) {
        pa_part chunk;
        pa_status status = pa_carry_room(carried, &chunk, error);
        if (status != PA_OK) {
            return pa_devices_break(comm, incoming->op, status, error);
        }
        PA_TRY(take_bytes(incoming, &chunk, 1, chunk.nbytes, carried->hooks, error));
        status = pa_carry_land(carried, error);
        if (status != PA_OK) {
            return pa_devices_break(comm, incoming->op, status, error);
        }
    }
    return PA_OK;
}

/* Takes a payload some of which goes to devices, or which comes from some. */
static pa_status
take_placed(pa_incoming *incoming, const pa_part *parts, size_t nparts,
            const pa_hooks *hooks, pa_error *error)
{
    pa_carried carried;
    size_t chunk =
        incoming->letter.chunk > 0 ? (size_t)incoming->letter.chunk : SIZE_MAX;
    PA_TRY(pa_carry_begin(&carried, &incoming->comm->channels[incoming->from].in,
                          incoming->comm, incoming->op, parts, nparts, chunk, hooks,
                          error));
    pa_status status = take_chunks(incoming, &carried, error);
    pa_carry_end(&carried);
    return status;
}

static bool
are_on_host(const pa_part *parts, size_t nparts)
{
    bool on_host = true;
    for (size_t i = 0; i < nparts; i++) {
        on_host = on_host && (parts[i].place == NULL || parts[i].nbytes == 0);
    }
    return on_host;
}

pa_status
pa_channel_take(pa_incoming *incoming, const pa_part *parts, size_t nparts,
                const pa_hooks *hooks, pa_error *error)
{
    const pa_letter *letter = &incoming->letter;
    size_t nbytes = 0;
    for (size_t i = 0; i < nparts; i++) {
        nbytes += parts[i].nbytes;
    }
    if (nbytes != letter->nbytes) {
        return fail(incoming, PA_EBROKEN, "what came has not the bytes that it says",
                    error);
    }
    if (letter->chunk > 0 || !are_on_host(parts, nparts)) {
        PA_TRY(take_placed(incoming, parts, nparts, hooks, error));
    } else {
        PA_TRY(take_bytes(incoming, parts, nparts, nbytes, hooks, error));
    }
    finish(incoming, NULL);
    return PA_OK;
}

pa_status
pa_channel_drop(pa_incoming *incoming, const char *refusal, const pa_hooks *hooks,
                pa_error *error)
{
    const pa_letter *letter = &incoming->letter;
    if (incoming->complete) {
        return PA_OK;
    }
    size_t left = (size_t)letter->nbytes;
    size_t chunk = letter->chunk > 0 ? (size_t)letter->chunk : left;
    while (left > 0) {
        size_t nbytes = left < chunk ? left : chunk;
        PA_TRY(take_bytes(incoming, NULL, 0, nbytes, hooks, error));
        left -= nbytes;
    }
    finish(incoming, refusal);
    return PA_OK;
}

void
pa_incoming_fini(pa_incoming *incoming)
{
    free(incoming->head);
    incoming->head = NULL;
}
