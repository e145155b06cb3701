/* The store's server: see the header. */
#include "store/server.h"

#include "sys/process.h"
#include "sys/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, LEAST_READ = 4096 };

typedef struct connection {
    pa_session session;
    struct connection *previous;
    struct connection *next;
    uint32_t watched; /* what epoll watches for */
    int fd;           /* -1: ended, and freed at the end of the step */
} connection;

struct pa_server {
    pa_store store;
    connection *connections;
    connection *ended;
    pa_fork_mark *mark;
    pthread_t thread;
    bool threaded; /* the thread has been started */
    bool stopping; /* the thread's own: it has been told to end */
    int epoll;
    int listener;
    int stop; /* an eventfd, readable once the thread is to end */
    int port;
};

/* ---- Connections ---- */

static void
watch(pa_server *server, connection *one, uint32_t events)
{
    if (one->watched != events) {
        struct epoll_event event = {.events = events, .data.ptr = one};
        /* Cannot fail for a descriptor that is being watched. */
        (void)epoll_ctl(server->epoll, EPOLL_CTL_MOD, one->fd, &event);
        one->watched = events;
    }
}

/* Events of this step may still point at it, so that its memory stays until the end. */
static void
end_connection(pa_server *server, connection *one)
{
    /* By name, and shut down: a child of fork may hold the same sockets open. */
    (void)epoll_ctl(server->epoll, EPOLL_CTL_DEL, one->fd, NULL);
    (void)shutdown(one->fd, SHUT_RDWR);
    (void)close(one->fd);
    one->fd = -1;
    pa_session_fini(&one->session);
    if (one->previous != NULL) {
        one->previous->next = one->next;
    } else {
        server->connections = one->next;
    }
    if (one->next != NULL) {
        one->next->previous = one->previous;
    }
    one->next = server->ended;
    server->ended = one;
}

static void
free_ended(pa_server *server)
{
    while (server->ended != NULL) {
        connection *one = server->ended;
        server->ended = one->next;
        free(one);
    }
}

/* Sends what the socket takes now; false when the connection has failed. */
static bool
send_out(connection *one)
{
    pa_buffer *out = &one->session.out;
    while (pa_buffer_size(out) > 0) {
        pa_bytes bytes = pa_buffer_get(out);
        ssize_t sent = send(one->fd, bytes.data, bytes.nbytes, MSG_NOSIGNAL);
        if (sent < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        pa_buffer_drop(out, (size_t)sent);
    }
    return true;
}

/* Sends, and waits for what the connection can do next; false when it was ended. */
static bool
settle(pa_server *server, connection *one)
{
    if (one->session.failed || !send_out(one)) {
        end_connection(server, one);
        return false;
    }
    bool paused = one->session.paused;
    bool unsent = pa_buffer_size(&one->session.out) > 0;
    /* A paused one goes on when it can send, also where all has just been sent: with
     * nothing to wait for, its next request would never be read. */
    watch(server, one,
          (paused ? 0u : (uint32_t)EPOLLIN) |
              (unsent || paused ? (uint32_t)EPOLLOUT : 0u));
    return true;
}

/* Carries out what has come, and what a full `out` had kept back. */
static void
serve(pa_server *server, connection *one)
{
    bool again = true;
    while (again) {
        bool fine = pa_session_run(&one->session);
        pa_session *woken = NULL;
        while ((woken = pa_store_take_woken(&server->store)) != NULL) {
            (void)settle(server, (connection *)(void *)woken);
        }
        if (!fine) {
            (void)send_out(one);
            end_connection(server, one);
            return;
        }
        again = one->session.paused && settle(server, one) &&
                pa_buffer_size(&one->session.out) == 0;
        if (one->fd < 0) {
            return;
        }
    }
    (void)settle(server, one);
}

static void
receive(pa_server *server, connection *one)
{
    pa_buffer *in = &one->session.in;
    size_t more = pa_buffer_size(in);
    more = more > LEAST_READ ? more : LEAST_READ;
    char *room = pa_buffer_reserve(in, more);
    ssize_t got = room != NULL ? recv(one->fd, room, more, 0) : 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        end_connection(server, one);
        return;
    }
    pa_buffer_grow(in, (size_t)got);
    serve(server, one);
}

static void
accept_one(pa_server *server, int fd)
{
    connection *one = calloc(1, sizeof *one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    if (one == NULL || epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        free(one);
        (void)close(fd);
        return;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pa_session_init(&one->session, &server->store);
    one->fd = fd;
    one->watched = EPOLLIN;
    one->next = server->connections;
    if (one->next != NULL) {
        one->next->previous = one;
    }
    server->connections = one;
}

/* Who cannot be accepted for want of descriptors stays in the kernel's queue: the
 * listener is watched by edges, so that this does not keep the loop busy, and each
 * step that ended a connection tries again. */
static void
accept_all(pa_server *server)
{
    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_one(server, fd);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* ---- The loop ---- */

static void
handle(pa_server *server, const struct epoll_event *event)
{
    if (event->data.ptr == server) {
        accept_all(server);
        return;
    }
    connection *one = event->data.ptr;
    if (one == NULL) {
        server->stopping = true;
        return;
    }
    if (one->fd < 0) {
        return;
    }
    if ((event->events & EPOLLOUT) != 0) {
        serve(server, one);
    }
    if (one->fd >= 0 && (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        receive(server, one);
    }
}

/* One round, waiting at most so many milliseconds; how many events there were. */
static int
turn(pa_server *server, int milliseconds)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(server->epoll, events, EVENTS, milliseconds);
    for (int i = 0; i < count; i++) {
        handle(server, &events[i]);
    }
    if (server->ended != NULL) {
        free_ended(server);
        accept_all(server);
    }
    return count;
}

pa_status
pa_server_step(pa_server *server, pa_error *error)
{
    if (pa_fork_mark_forked(server->mark)) {
        return pa_error_set(error, PA_EFORKED,
                            "this process was forked from the one that serves the "
                            "store: only that one can go on with it");
    }
    if (server->threaded) {
        return pa_error_set(error, PA_EARGUMENT,
                            "the store's own thread drives it: step is not needed");
    }
    while (turn(server, 0) == EVENTS) {
    }
    return PA_OK;
}

static void *
run_thread(void *argument)
{
    pa_server *server = argument;
    while (!server->stopping) {
        (void)turn(server, -1);
    }
    return NULL;
}

pa_status
pa_server_start(pa_server *server, pa_error *error)
{
    if (server->threaded) {
        return PA_OK;
    }
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&server->thread, NULL, run_thread, server);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number != 0) {
        errno = number;
        return pa_error_set_errno(error, "starting the store's thread");
    }
    server->threaded = true;
    return PA_OK;
}

/* ---- Lifetime ---- */

static pa_status
open_descriptors(pa_server *server, const char *host, int port, pa_error *error)
{
    PA_TRY(pa_tcp_listen(host, port, &server->listener, &server->port, error));
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event listening = {.events = EPOLLIN | EPOLLET, .data.ptr = server};
    struct epoll_event stopping = {.events = EPOLLIN, .data.ptr = NULL};
    if (server->epoll < 0 || server->stop < 0 ||
        epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->listener, &listening) != 0 ||
        epoll_ctl(server->epoll, EPOLL_CTL_ADD, server->stop, &stopping) != 0) {
        return pa_error_set_errno(error, "the descriptors of the store's server");
    }
    return PA_OK;
}

pa_status
pa_server_open(const char *host, int port, pa_bytes secret, pa_server **server,
               pa_error *error)
{
    pa_server *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for the store's server");
    }
    made->epoll = -1;
    made->listener = -1;
    made->stop = -1;
    made->mark = pa_fork_mark_create();
    pa_status status =
        made->mark != NULL
            ? pa_store_init(&made->store, secret, error)
            : pa_error_set(error, PA_EMEMORY, "no memory for the store's server");
    if (status == PA_OK) {
        status = open_descriptors(made, host, port, error);
    }
    if (status != PA_OK) {
        pa_server_close(made);
        return status;
    }
    *server = made;
    return PA_OK;
}

int
pa_server_port(const pa_server *server)
{
    return server->port;
}

int
pa_server_poll_fd(const pa_server *server)
{
    return server->epoll;
}

static void
close_one(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* In a child of fork: lets go of the descriptors without the clients' noticing. */
static void
abandon(pa_server *server)
{
    /* The thread may have been in the middle of changing what is behind them. */
    while (server->connections != NULL && !server->threaded) {
        connection *one = server->connections;
        server->connections = one->next;
        (void)close(one->fd);
        pa_session_fini(&one->session);
        free(one);
    }
}

static void
end_all(pa_server *server)
{
    if (server->threaded) {
        uint64_t one = 1;
        /* Cannot fail: the count is 0. */
        (void)!write(server->stop, &one, sizeof one);
        (void)pthread_join(server->thread, NULL);
        server->threaded = false;
    }
    while (server->connections != NULL) {
        end_connection(server, server->connections);
    }
    free_ended(server);
}

void
pa_server_close(pa_server *server)
{
    if (server == NULL) {
        return;
    }
    if (server->mark != NULL && pa_fork_mark_forked(server->mark)) {
        abandon(server);
    } else {
        end_all(server);
    }
    close_one(server->epoll);
    close_one(server->listener);
    close_one(server->stop);
    if (!server->threaded) {
        pa_store_fini(&server->store);
    }
    pa_fork_mark_destroy(server->mark);
    free(server);
}
