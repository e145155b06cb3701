/* What a client's calls share: see the header. */
#include "store/link.h"

#include "base/clock.h"
#include "store/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { SLICE_US = 25000, READ_LEAST = 4096, READ_MOST = 1 << 20 };

/* ---- The connection ---- */

/* The socket blocks, but looks up every 25 ms: one system call an answer, where a poll
 * before each would make it two. */
static bool
look_up_now_and_then(int fd)
{
    struct timeval slice = {.tv_usec = SLICE_US};
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof slice) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof slice) == 0;
}

pa_status
pa_link_open(const char *host, int port, uint64_t deadline, const pa_patience *patience,
             pa_client **client, pa_error *error)
{
    pa_client *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for a client of the store");
    }
    made->fd = -1;
    made->port = port;
    (void)snprintf(made->host, sizeof made->host, "%s", host);
    made->mark = pa_fork_mark_create();
    pa_status status =
        made->mark != NULL
            ? pa_tcp_connect(host, port, deadline, patience, &made->fd, error)
            : pa_error_set(error, PA_EMEMORY, "no memory for a client of the store");
    if (status == PA_OK && !look_up_now_and_then(made->fd)) {
        status = pa_error_set_errno(error, "setting up a connection to %s port %d",
                                    host, port);
    }
    if (status != PA_OK) {
        pa_link_close(made);
        return status;
    }
    *client = made;
    return PA_OK;
}

void
pa_link_abort(pa_client *client)
{
    atomic_store(&client->aborted, true);
    if (!pa_fork_mark_forked(client->mark)) {
        (void)shutdown(client->fd, SHUT_RDWR);
    }
}

void
pa_link_close(pa_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->fd >= 0) {
        (void)close(client->fd);
    }
    pa_buffer_fini(&client->in);
    pa_buffer_fini(&client->out);
    pa_fork_mark_destroy(client->mark);
    free(client);
}

pa_status
pa_link_no_memory(pa_client *client, pa_error *error)
{
    pa_buffer_fini(&client->out);
    return pa_error_set(error, PA_EMEMORY, "no memory for a request to the store");
}

/* ---- One call ---- */

pa_status
pa_call_begin(pa_call *call, pa_client *client, const char *name,
              const pa_patience *patience, pa_error *error)
{
    *call = (pa_call){
        .client = client,
        .name = name,
        .patience = patience,
        .deadline = pa_clock_deadline(patience->timeout_ns),
        .error = error,
    };
    if (pa_fork_mark_forked(client->mark)) {
        return pa_error_set(error, PA_EFORKED,
                            "%s: this connection to the store belongs to the process "
                            "that forked this one; open another",
                            name);
    }
    if (atomic_load(&client->aborted)) {
        return pa_error_set(error, PA_ECLOSED, "%s: the client of the store is closed",
                            name);
    }
    if (client->broken) {
        return pa_error_set(error, PA_EBROKEN,
                            "%s: an earlier call of this client of the store at %s "
                            "port %d failed in the middle; open another",
                            name, client->host, client->port);
    }
    pa_buffer_drop(&client->in, client->lent);
    client->lent = 0;
    return PA_OK;
}

/* The connection has failed, with errno, or ended, with 0. */
static pa_status
fail(pa_call *call, int number)
{
    pa_client *client = call->client;
    client->broken = true;
    if (atomic_load(&client->aborted)) {
        return pa_error_set(call->error, PA_ECLOSED,
                            "%s: the client of the store was closed meanwhile",
                            call->name);
    }
    if (number == 0 || number == ECONNRESET || number == EPIPE) {
        return pa_error_set(call->error, PA_EPEER,
                            "%s: the store at %s port %d closed the connection: it has "
                            "ended, or it refuses the request",
                            call->name, client->host, client->port);
    }
    errno = number;
    return pa_error_set_errno(call->error, "%s at the store at %s port %d", call->name,
                              client->host, client->port);
}

/* After a slice without progress: whether to go on. */
static pa_status
look_up(const pa_call *call)
{
    const pa_patience *patience = call->patience;
    if (patience->tick != NULL && !patience->tick(patience->context)) {
        return PA_EINTERRUPTED;
    }
    return pa_clock_now() >= call->deadline ? PA_ETIMEOUT : PA_OK;
}

/* Before a system call: its flags, after a wait if less than a slice is left. */
static pa_status
flags_of_next(const pa_call *call, short events, int *flags)
{
    uint64_t now = pa_clock_now();
    *flags = MSG_NOSIGNAL;
    if (call->deadline > now && call->deadline - now >= SLICE_US * UINT64_C(1000)) {
        return PA_OK;
    }
    *flags |= MSG_DONTWAIT;
    return pa_tcp_wait(call->client->fd, events, call->deadline, call->patience);
}

/* The end of a call in the middle of sending or receiving. */
static pa_status
stop_midway(pa_call *call, pa_status status)
{
    pa_client *client = call->client;
    client->broken = true;
    if (status == PA_ESYSTEM) {
        return fail(call, errno);
    }
    if (status == PA_ETIMEOUT) {
        return pa_error_set(call->error, PA_ETIMEOUT,
                            "%s: the store at %s port %d did not answer within %.1f s",
                            call->name, client->host, client->port,
                            (double)call->patience->timeout_ns / 1e9);
    }
    return status;
}

pa_status
pa_call_send(pa_call *call)
{
    pa_buffer *out = &call->client->out;
    while (pa_buffer_size(out) > 0) {
        int flags = 0;
        pa_status status = flags_of_next(call, POLLOUT, &flags);
        if (status != PA_OK) {
            return stop_midway(call, status);
        }
        pa_bytes bytes = pa_buffer_get(out);
        ssize_t sent = send(call->client->fd, bytes.data, bytes.nbytes, flags);
        if (sent >= 0) {
            pa_buffer_drop(out, (size_t)sent);
        } else if (errno != EAGAIN && errno != EINTR) {
            return fail(call, errno);
        } else {
            status = look_up(call);
            if (status != PA_OK) {
                return stop_midway(call, status);
            }
        }
    }
    return PA_OK;
}

/* Receives some bytes, about as many as are wanted. PA_ETIMEOUT without a message. */
static pa_status
receive_some(pa_call *call, size_t wanted)
{
    pa_buffer *in = &call->client->in;
    size_t more = wanted < READ_LEAST ? READ_LEAST : wanted;
    more = more > READ_MOST ? READ_MOST : more;
    char *room = pa_buffer_reserve(in, more);
    if (room == NULL) {
        call->client->broken = true;
        return pa_error_set(call->error, PA_EMEMORY,
                            "%s: no memory for the store's answer", call->name);
    }
    for (;;) {
        int flags = 0;
        PA_TRY(flags_of_next(call, POLLIN, &flags));
        ssize_t got = recv(call->client->fd, room, more, flags);
        if (got > 0) {
            pa_buffer_grow(in, (size_t)got);
            return PA_OK;
        }
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            return fail(call, got == 0 ? 0 : errno);
        }
        PA_TRY(look_up(call));
    }
}

pa_status
pa_call_await(pa_call *call)
{
    if (pa_buffer_size(&call->client->in) > call->client->lent) {
        return PA_OK;
    }
    pa_status status = receive_some(call, 1);
    return status == PA_ESYSTEM && !call->client->broken ? stop_midway(call, status)
                                                         : status;
}

pa_status
pa_call_receive_bytes(pa_call *call, uint64_t nbytes, pa_bytes *bytes)
{
    pa_client *client = call->client;
    if (nbytes > PA_STORE_ANSWER_MAX) {
        client->broken = true;
        return pa_error_set(call->error, PA_EREMOTE,
                            "%s: the store at %s port %d announces an answer of %llu "
                            "bytes: it is none",
                            call->name, client->host, client->port,
                            (unsigned long long)nbytes);
    }
    size_t needed = client->lent + (size_t)nbytes;
    while (pa_buffer_size(&client->in) < needed) {
        pa_status status = receive_some(call, needed - pa_buffer_size(&client->in));
        if (status != PA_OK) {
            return client->broken ? status : stop_midway(call, status);
        }
    }
    *bytes = (pa_bytes){pa_buffer_get(&client->in).data + client->lent, (size_t)nbytes};
    client->lent = needed;
    return PA_OK;
}

pa_status
pa_call_receive(pa_call *call, void *data, size_t nbytes)
{
    pa_bytes bytes = {"", 0};
    PA_TRY(pa_call_receive_bytes(call, nbytes, &bytes));
    memcpy(data, bytes.data, bytes.nbytes);
    return PA_OK;
}

pa_status
pa_call_receive_u64(pa_call *call, uint64_t *value)
{
    char bytes[sizeof *value];
    PA_TRY(pa_call_receive(call, bytes, sizeof bytes));
    pa_frame_reader reader = {bytes};
    *value = pa_frame_read_u64(&reader);
    return PA_OK;
}
