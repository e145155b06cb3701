/* A client of the store: ours, or torch's TCPStore of any version from 2.4 on.
 *
 * Keys are those that torch's users write: on the wire both put a slash before them.
 * Every call waits for an answer, within its patience; one thread at a time, except for
 * pa_client_abort. A call that failed in the middle leaves the client unusable
 * (PA_EBROKEN from then on): what comes next may be the rest of the last answer. A get
 * or wait that was not fulfilled, or was interrupted, leaves it usable: the server is
 * given up to one second more to take it back.
 *
 * All calls: PA_EPEER when the server has gone, PA_ETIMEOUT, PA_EINTERRUPTED when the
 * tick said so, PA_EARGUMENT for keys and values beyond the limits of wire.h,
 * PA_ECLOSED after pa_client_abort, PA_EFORKED in a child of fork. */
#ifndef PA_STORE_CLIENT_H
#define PA_STORE_CLIENT_H

#include "base/status.h"
#include "store/buffer.h"
#include "sys/tcp.h"

typedef struct pa_client pa_client;

/* Connects, waiting until somebody listens there, and shows the secret if it has bytes.
 * PA_EREMOTE when the server does not take the secret, or is no store. Goes to
 * pa_client_close. */
pa_status
pa_client_open(const char *host, int port, pa_bytes secret, const pa_patience *patience,
               pa_client **client, pa_error *error);

/* Ends the call that is under way in another thread and every later one. */
void
pa_client_abort(pa_client *client);

/* Closes the connection and frees the client; NULL is fine. */
void
pa_client_close(pa_client *client);

/* Gives a key a value. Returns when the bytes are on their way. */
pa_status
pa_client_set(pa_client *client, pa_bytes key, pa_bytes value,
              const pa_patience *patience, pa_error *error);

/* Waits until the key has a value; `*value` is valid until the client's next call. */
pa_status
pa_client_get(pa_client *client, pa_bytes key, const pa_patience *patience,
              pa_bytes *value, pa_error *error);

/* Adds to the number that the key holds, 0 at first; `*sum` is the new one. */
pa_status
pa_client_add(pa_client *client, pa_bytes key, int64_t amount,
              const pa_patience *patience, int64_t *sum, pa_error *error);

/* Gives the key the value `desired` if its value is `expected`, or if it has none and
 * `expected` is empty. `*now` is its value after that (`expected` if it has none),
 * valid until the client's next call. */
pa_status
pa_client_compare_set(pa_client *client, pa_bytes key, pa_bytes expected,
                      pa_bytes desired, const pa_patience *patience, pa_bytes *now,
                      pa_error *error);

/* Whether all of the keys have a value. */
pa_status
pa_client_check(pa_client *client, const pa_bytes *keys, size_t count,
                const pa_patience *patience, bool *all, pa_error *error);

/* Waits until all of the keys have a value. */
pa_status
pa_client_wait(pa_client *client, const pa_bytes *keys, size_t count,
               const pa_patience *patience, pa_error *error);

/* Takes a key away; `*found` whether it was there. */
pa_status
pa_client_delete(pa_client *client, pa_bytes key, const pa_patience *patience,
                 bool *found, pa_error *error);

#endif
