/* TCP sockets with deadlines: listening, connecting, waiting. */
#ifndef PA_SYS_TCP_H
#define PA_SYS_TCP_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { PA_PORT_MAX = 65535 };

/* How long a caller is ready to wait, and what it does meanwhile: `tick` (optional) is
 * called every 25 ms, on the waiting thread, and ends the wait by returning false. */
typedef struct pa_patience {
    uint64_t timeout_ns;
    void *context;
    bool (*tick)(void *context);
} pa_patience;

/* Waits until `fd` is ready for one of `events` (of poll) or has failed. PA_OK then,
 * PA_ETIMEOUT after `deadline`, PA_EINTERRUPTED when the tick said so, PA_ESYSTEM with
 * errno. Writes no message: the caller knows what it waits for. */
pa_status
pa_tcp_wait(int fd, short events, uint64_t deadline, const pa_patience *patience);

/* A listening, non-blocking, close-on-exec socket at `host` (a name or an address) and
 * `port`, 0 for any free one. The caller closes `*fd`; `*bound` is the port. PA_ESYSTEM
 * has EADDRINUSE when the port is taken. */
pa_status
pa_tcp_listen(const char *host, int port, int *fd, int *bound, pa_error *error);

/* A connected, non-blocking, close-on-exec socket without Nagle's delay. Waits: while
 * nobody listens there, or the name is unknown, it tries again, until `deadline`. The
 * caller closes `*fd`. A `host` that is a name is looked up first, which takes as long
 * as the system says; PA_EARGUMENT if it is unknown at the end too. */
pa_status
pa_tcp_connect(const char *host, int port, uint64_t deadline,
               const pa_patience *patience, int *fd, pa_error *error);

#endif
