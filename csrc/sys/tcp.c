/* TCP sockets with deadlines: see the header. */
#include "sys/tcp.h"

#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const uint64_t slice_ns = UINT64_C(25000000);

pa_status
pa_tcp_wait(int fd, short events, uint64_t deadline, const pa_patience *patience)
{
    for (;;) {
        uint64_t now = pa_clock_now();
        uint64_t left = deadline > now ? deadline - now : 0;
        uint64_t slice = left < slice_ns ? left : slice_ns;
        struct timespec timeout = {0, (long)slice};
        struct pollfd entry = {.fd = fd, .events = events};
        /* A signal ends the slice early; its handler runs in the tick. */
        int ready = ppoll(&entry, fd >= 0 ? 1 : 0, &timeout, NULL);
        if (ready > 0) {
            return PA_OK;
        }
        if (ready < 0 && errno != EINTR) {
            return PA_ESYSTEM;
        }
        if (patience->tick != NULL && !patience->tick(patience->context)) {
            return PA_EINTERRUPTED;
        }
        if (left == 0) {
            return PA_ETIMEOUT;
        }
    }
}

static pa_status
check_port(int port, pa_error *error)
{
    if (port < 0 || port > PA_PORT_MAX) {
        return pa_error_set(error, PA_EARGUMENT,
                            "port %d is out of range: choose one from 0 to %d", port,
                            PA_PORT_MAX);
    }
    return PA_OK;
}

/* The addresses of a host and port; the caller frees `*found`. */
static pa_status
look_up(const char *host, int port, int flags, struct addrinfo **found, pa_error *error)
{
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port);
    struct addrinfo hints = {
        .ai_flags = flags | AI_NUMERICSERV,
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    int status = getaddrinfo(host, service, &hints, found);
    if (status == EAI_SYSTEM) {
        return pa_error_set_errno(error, "looking up the host '%s'", host);
    }
    if (status != 0) {
        return pa_error_set(error, PA_EARGUMENT, "the host '%s' is not known: %s", host,
                            gai_strerror(status));
    }
    return PA_OK;
}

static int
listen_at(const struct addrinfo *address)
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(address->ai_family, type, address->ai_protocol);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    /* Ports whose last connection is still being forgotten can be served again. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 &&
        listen(fd, SOMAXCONN) == 0) {
        return fd;
    }
    int number = errno;
    (void)close(fd);
    errno = number;
    return -1;
}

static int
port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        return 0;
    }
    return address.ss_family == AF_INET6
               ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
               : ntohs(((struct sockaddr_in *)&address)->sin_port);
}

pa_status
pa_tcp_listen(const char *host, int port, int *fd, int *bound, pa_error *error)
{
    struct addrinfo *found = NULL;
    PA_TRY(check_port(port, error));
    PA_TRY(look_up(host, port, AI_PASSIVE, &found, error));
    int opened = -1;
    for (struct addrinfo *one = found; one != NULL && opened < 0; one = one->ai_next) {
        opened = listen_at(one);
    }
    int number = errno;
    freeaddrinfo(found);
    if (opened < 0) {
        errno = number;
        return pa_error_set_errno(error, "listening at %s port %d", host, port);
    }
    *bound = port_of(opened);
    *fd = opened;
    return PA_OK;
}

/* One attempt at one address; PA_ESYSTEM with errno when refused. */
static pa_status
connect_to(const struct addrinfo *address, uint64_t deadline,
           const pa_patience *patience, int *fd)
{
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int opened = socket(address->ai_family, type, address->ai_protocol);
    if (opened < 0) {
        return PA_ESYSTEM;
    }
    pa_status status = PA_OK;
    int number = 0;
    if (connect(opened, address->ai_addr, address->ai_addrlen) != 0) {
        number = errno;
        if (number == EINPROGRESS || number == EINTR) {
            status = pa_tcp_wait(opened, POLLOUT, deadline, patience);
            number = status == PA_ESYSTEM ? errno : 0;
        }
    }
    if (status == PA_OK && number == 0) {
        socklen_t length = sizeof number;
        if (getsockopt(opened, SOL_SOCKET, SO_ERROR, &number, &length) != 0) {
            number = errno;
        }
    }
    if (status == PA_OK && number == 0) {
        int on = 1;
        (void)setsockopt(opened, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        *fd = opened;
        return PA_OK;
    }
    (void)close(opened);
    errno = number;
    return status == PA_OK ? PA_ESYSTEM : status;
}

/* Whether somebody may yet come to listen there. */
static bool
may_change(int number)
{
    return number == ECONNREFUSED || number == ECONNRESET || number == ETIMEDOUT ||
           number == EHOSTUNREACH || number == ENETUNREACH || number == EAGAIN;
}

/* One attempt at every address of a host, which is looked up unless `*found` has that
 * already. `*again`: it has failed, with a message, but may succeed later. */
static pa_status
attempt(const char *host, int port, uint64_t deadline, const pa_patience *patience,
        struct addrinfo **found, int *fd, bool *again, pa_error *error)
{
    pa_status status = PA_OK;
    *again = false;
    if (*found == NULL) {
        status = look_up(host, port, 0, found, error);
        /* The name of a machine that is just being started comes later. */
        *again = status == PA_EARGUMENT;
    }
    for (struct addrinfo *one = *found; one != NULL; one = one->ai_next) {
        status = connect_to(one, deadline, patience, fd);
        if (status != PA_ESYSTEM) {
            return status;
        }
    }
    if (status == PA_ESYSTEM && *found != NULL) {
        *again = may_change(errno);
        return pa_error_set_errno(error, "connecting to %s port %d", host, port);
    }
    return status;
}

pa_status
pa_tcp_connect(const char *host, int port, uint64_t deadline,
               const pa_patience *patience, int *fd, pa_error *error)
{
    PA_TRY(check_port(port, error));
    struct addrinfo *found = NULL;
    pa_status status = PA_OK;
    uint64_t pause = 1000000;
    bool again = true;
    while (again) {
        status = attempt(host, port, deadline, patience, &found, fd, &again, error);
        uint64_t now = pa_clock_now();
        if (again && now >= deadline) {
            status = found != NULL ? PA_ETIMEOUT : status;
            break;
        }
        uint64_t next = now + pause < deadline ? now + pause : deadline;
        if (again && pa_tcp_wait(-1, 0, next, patience) == PA_EINTERRUPTED) {
            status = PA_EINTERRUPTED;
            break;
        }
        pause = pause < 100000000 ? 2 * pause : pause;
    }
    if (found != NULL) {
        freeaddrinfo(found);
    }
    if (status == PA_ETIMEOUT) {
        return pa_error_set(error, PA_ETIMEOUT,
                            "connecting to %s port %d: nobody answered there within "
                            "%.1f s",
                            host, port, (double)patience->timeout_ns / 1e9);
    }
    return status;
}
