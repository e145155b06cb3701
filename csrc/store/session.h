/* One client's conversation with the store, without sockets: bytes in, bytes out.
 *
 *     in  -> scan -> request -> table --> out               this session
 *                                 |
 *                                 +-----> out (woken)       other sessions
 *
 * Whoever owns the sessions moves the bytes and looks, after each run, at those that
 * another session's request has answered: pa_store_take_woken. */
#ifndef PA_STORE_SESSION_H
#define PA_STORE_SESSION_H

#include "store/table.h"

typedef struct pa_session pa_session;

/* What all sessions of a store share. */
typedef struct pa_store {
    pa_table *table;
    pa_session *woken; /* sessions with an answer that they did not ask for just now */
    size_t nsecret;
    unsigned char secret[PA_STORE_SECRET_MAX]; /* no bytes: nothing is reserved */
} pa_store;

struct pa_session {
    pa_store *store;
    pa_buffer in;
    pa_buffer out;
    pa_frame_scan scan;
    pa_table_waiter waiter;
    pa_session *next_woken;
    bool woken;     /* it stands in the store's list of the woken ones */
    bool validated; /* its first request was a right VALIDATE */
    bool trusted;   /* it has shown the secret, or there is none */
    bool failed;    /* an answer could not be written: it is to be ended */
    bool paused;    /* its client does not read: nothing is done until it has */
};

/* Keys that begin like this are served to sessions that have shown the secret; a client
 * of torch writes it without the slash. */
#define PA_STORE_RESERVED "/pyaccel/"

/* An empty store with a secret of at most PA_STORE_SECRET_MAX bytes, none for nothing
 * to be reserved. PA_EARGUMENT, PA_EMEMORY. Goes to pa_store_fini. */
pa_status
pa_store_init(pa_store *store, pa_bytes secret, pa_error *error);

/* Frees the contents; all sessions have ended before. */
void
pa_store_fini(pa_store *store);

/* A new client. */
void
pa_session_init(pa_session *session, pa_store *store);

/* Ends a conversation, whatever it was waiting for. */
void
pa_session_fini(pa_session *session);

/* Carries out the whole requests at the beginning of `in`, puts the answers into `out`.
 * Stops while too much is in `out` (`paused`); call it again when that was sent. false
 * when the session is to be ended after `out` was sent: what came is no request, or not
 * permitted, or memory is short. */
bool
pa_session_run(pa_session *session);

/* Takes one session to whose `out` another one's request has added; NULL when there is
 * none. */
pa_session *
pa_store_take_woken(pa_store *store);

#endif
