/* csrc/store over TCP: a client that asks for more than it reads, and reads at last. */
#include "testing.h"

#include "base/clock.h"
#include "store/server.h"
#include "store_frames.h"
#include "sys/tcp.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    VALUE = (1 << 20) + 1, /* one such answer, and its client has to read first */
    ASKED = 16,  /* answers that are more than the kernel keeps for a client */
    OTHERS = 64, /* events that the server takes at a time */
    PATIENCE_MS = 20000,
};

static const pa_patience patient = {.timeout_ns = UINT64_C(60000000000)};

static int
socket_to(const pa_server *server)
{
    int fd = -1;
    uint64_t deadline = pa_clock_deadline(patient.timeout_ns);
    must(pa_tcp_connect("127.0.0.1", pa_server_port(server), deadline, &patient, &fd,
                        NULL) == PA_OK);
    return fd;
}

static void
step(pa_server *server)
{
    must(pa_server_step(server, NULL) == PA_OK);
}

/* Waits until the client or the server can do something, and has the server do it;
 * false when nothing happens any more. */
static bool
go_on(pa_server *server, int client, short events)
{
    struct pollfd both[] = {{.fd = client, .events = events},
                            {.fd = pa_server_poll_fd(server), .events = POLLIN}};
    bool can = poll(both, 2, PATIENCE_MS) > 0;
    step(server);
    return can;
}

/* Sends everything; the server, which is driven here, reads meanwhile. */
static void
say(pa_server *server, int fd, pa_buffer *said)
{
    while (pa_buffer_size(said) > 0) {
        pa_bytes bytes = pa_buffer_get(said);
        ssize_t sent = send(fd, bytes.data, bytes.nbytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        pa_buffer_drop(said, sent > 0 ? (size_t)sent : 0);
        must(go_on(server, fd, POLLOUT));
    }
    pa_buffer_fini(said);
}

/* Reads what has come, which the server need not do anything for; the bytes. */
static size_t
read_all(int fd)
{
    static char bytes[1 << 16];
    size_t all = 0;
    ssize_t got = 0;
    while ((got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        all += (size_t)got;
    }
    return all;
}

static in_port_t
port_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_in address = {0};
    socklen_t length = sizeof address;
    return name(fd, (struct sockaddr *)&address, &length) == 0 ? address.sin_port : 0;
}

/* The server's end of a client's connection: both are this process's. */
static int
other_end(int client)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    in_port_t port = port_of(client, getsockname);
    for (int fd = 0; (rlim_t)fd < limit.rlim_cur; fd++) {
        if (fd != client && port_of(fd, getpeername) == port) {
            return fd;
        }
    }
    return -1;
}

static bool
becomes(int fd, short events)
{
    struct pollfd watched = {.fd = fd, .events = events};
    return poll(&watched, 1, PATIENCE_MS) == 1;
}

/* A client that waits for a key asks for so much that it has to read first. It reads,
 * and before the server hears of that it hears from so many others that it takes their
 * events first, with the key among them. The answer to the wait takes everything that
 * was unsent along, and yet the client is to be served further. */
static void
an_answer_to_a_wait_may_empty_what_was_kept_back(void)
{
    pa_server *server = NULL;
    CHECK_EQUAL(pa_server_open("127.0.0.1", 0, text(""), &server, NULL), PA_OK);
    int others[OTHERS];
    pa_buffer said = {0};
    for (int i = 0; i < OTHERS; i++) {
        others[i] = socket_to(server);
        put_validate(&said);
        say(server, others[i], &said);
    }
    char *value = calloc(1, VALUE);
    put_op(&said, PA_STORE_SET);
    put_text(&said, "/large");
    must(pa_frame_put_bytes(&said, (pa_bytes){value, VALUE}));
    free(value);
    put_op(&said, PA_STORE_GETNUMKEYS);
    say(server, others[0], &said);
    while (read_all(others[0]) == 0) {
        must(go_on(server, others[0], POLLIN)); /* until the value is there */
    }

    int client = socket_to(server);
    put_validate(&said);
    put_list(&said, PA_STORE_WAIT, 1, "/go", NULL);
    for (int i = 0; i < ASKED; i++) {
        put_texts(&said, PA_STORE_GET, "/large", NULL, NULL);
    }
    say(server, client, &said);
    /* Until there is nothing left that the server can do. */
    for (int i = 0; i < 2; i++) {
        step(server);
    }
    int served = other_end(client);
    CHECK(served >= 0);

    for (int i = 0; i < OTHERS; i++) {
        put_texts(&said, PA_STORE_SET, i == 0 ? "/go" : "/other", "!", NULL);
        pa_bytes bytes = pa_buffer_get(&said);
        CHECK(send(others[i], bytes.data, bytes.nbytes, 0) == (ssize_t)bytes.nbytes);
        pa_buffer_fini(&said);
        CHECK(becomes(other_end(others[i]), POLLIN));
    }
    size_t got = read_all(client);
    CHECK(got < (size_t)ASKED * VALUE);
    CHECK(becomes(served, POLLOUT));

    size_t all = (size_t)ASKED * (sizeof(uint64_t) + VALUE) + 1;
    step(server);
    while (got < all) {
        CHECK(go_on(server, client, POLLIN));
        got += read_all(client);
    }
    CHECK_EQUAL(got, all);
    for (int i = 0; i < OTHERS; i++) {
        (void)close(others[i]);
    }
    (void)close(client);
    pa_server_close(server);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(an_answer_to_a_wait_may_empty_what_was_kept_back),
    };
    return TESTING_RUN(cases);
}
