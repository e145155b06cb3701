/* The store's server: TCP connections, each with a session, in one epoll loop.
 *
 * It is driven either by the caller's own loop (poll for reading on
 * pa_server_poll_fd, then pa_server_step) or by a thread of its own
 * (pa_server_start). Its descriptors are close-on-exec. In a child of fork the server
 * is dead: the child may only close it, which the parent's clients do not notice. */
#ifndef PA_STORE_SERVER_H
#define PA_STORE_SERVER_H

#include "store/session.h"

typedef struct pa_server pa_server;

/* Listens at `host` and `port` (0: any free one); who connects from now on is served as
 * soon as somebody drives the server. `secret` as of pa_store_init. Goes to
 * pa_server_close. PA_ESYSTEM has EADDRINUSE where the port is taken. */
pa_status
pa_server_open(const char *host, int port, pa_bytes secret, pa_server **server,
               pa_error *error);

/* The port at which it listens. */
int
pa_server_port(const pa_server *server);

/* Readable when pa_server_step has something to do; for poll only. Borrowed. */
int
pa_server_poll_fd(const pa_server *server);

/* Does what there is to do now, without waiting. PA_EARGUMENT when a thread drives the
 * server, PA_EFORKED in a child. */
pa_status
pa_server_step(pa_server *server, pa_error *error);

/* Starts a thread that drives the server until it is closed; it takes no signals. */
pa_status
pa_server_start(pa_server *server, pa_error *error);

/* Ends all connections and frees the server; waits for its thread, which ends at once.
 * NULL is fine. */
void
pa_server_close(pa_server *server);

#endif
