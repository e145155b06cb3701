/* What a client's calls share: its connection, and one call's sending and receiving. */
#ifndef PA_STORE_LINK_H
#define PA_STORE_LINK_H

#include "store/buffer.h"
#include "store/client.h"
#include "sys/process.h"

#include <stdatomic.h>

struct pa_client {
    pa_buffer in;
    pa_buffer out;
    pa_fork_mark *mark;
    atomic_bool aborted;
    bool broken; /* a call ended in the middle */
    int fd;
    int port;
    size_t lent; /* bytes at the beginning of `in` that the last call gave away */
    char host[64];
};

/* One call of a client. */
typedef struct pa_call {
    pa_client *client;
    const char *name;
    const pa_patience *patience;
    uint64_t deadline;
    pa_error *error;
} pa_call;

/* A connection to `host` and `port`, as pa_tcp_connect makes it. Goes to
 * pa_link_close. */
pa_status
pa_link_open(const char *host, int port, uint64_t deadline, const pa_patience *patience,
             pa_client **client, pa_error *error);

/* Shuts the connection down; from any thread. */
void
pa_link_abort(pa_client *client);

/* Frees the client; NULL is fine. */
void
pa_link_close(pa_client *client);

/* Says that memory is short, and forgets the request that was begun. */
pa_status
pa_link_no_memory(pa_client *client, pa_error *error);

/* Begins a call, if the client is usable; everything is borrowed until its end. */
pa_status
pa_call_begin(pa_call *call, pa_client *client, const char *name,
              const pa_patience *patience, pa_error *error);

/* Sends what was put into the client's `out`. Waits while the server does not read. */
pa_status
pa_call_send(pa_call *call);

/* Waits until there is something to receive. It leaves the client usable when it ends
 * with PA_ETIMEOUT, which has no message, or PA_EINTERRUPTED. */
pa_status
pa_call_await(pa_call *call);

/* Receives exactly so many bytes into `data`. */
pa_status
pa_call_receive(pa_call *call, void *data, size_t nbytes);

/* Receives a number of eight bytes. */
pa_status
pa_call_receive_u64(pa_call *call, uint64_t *value);

/* Receives so many bytes; they stay in the client until its next call. */
pa_status
pa_call_receive_bytes(pa_call *call, uint64_t nbytes, pa_bytes *bytes);

#endif
