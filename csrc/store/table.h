/* The store's contents: keys with values and queues, and who waits for which key.
 *
 *     table -> slot -> entry "a/b"   value, queue
 *                        |
 *                        +-- link -- link -- link      in the order of arrival
 *                             |       |       |
 *                           waiter  waiter  waiter     each counts what it lacks
 *
 * A key that is only waited for has an entry without a value. Nobody is called back:
 * waiters that lack nothing any more are taken with pa_table_take_woken. One thread at
 * a time. */
#ifndef PA_STORE_TABLE_H
#define PA_STORE_TABLE_H

#include "base/status.h"
#include "store/wire.h"

typedef struct pa_table pa_table;
typedef struct pa_table_link pa_table_link;

/* Who waits; all zero while it does not. Belongs to the caller, who cancels the wait
 * before it lets go of the memory. */
typedef struct pa_table_waiter {
    pa_table_link *links; /* one for each key that was not there */
    size_t nlinks;
    size_t lacking;
    struct pa_table_waiter *next_woken;
    bool barrier; /* waits for a barrier to be complete, not for a value */
} pa_table_waiter;

/* An empty table. Keys that begin with `reserved` (borrowed for the table's life) are
 * counted and listed apart; `seed` should be random. NULL when memory is short. */
pa_table *
pa_table_create(pa_bytes reserved, uint64_t seed);

/* Frees the table and all that is in it; NULL is fine. No waiter may be waiting. */
void
pa_table_destroy(pa_table *table);

/* Whether a key belongs to the reserved ones. */
bool
pa_table_is_reserved(const pa_table *table, pa_bytes key);

/* Gives a key a value. false when memory is short. */
bool
pa_table_set(pa_table *table, pa_bytes key, pa_bytes value);

/* The value of a key, valid until the key's next change; no bytes where there is none.
 */
pa_bytes
pa_table_get(const pa_table *table, pa_bytes key);

/* Whether a key has a value or an element in its queue. */
bool
pa_table_has(const pa_table *table, pa_bytes key);

/* Adds to the number that a key holds as a decimal text (0 where there is none);
 * `*amount` becomes the sum. PA_EARGUMENT when the value is no number, PA_EMEMORY. */
pa_status
pa_table_add(pa_table *table, pa_bytes key, int64_t *amount);

/* Sets `desired` if the key holds `expected`, or `expected` is empty and there is no
 * key. `*now` is what the key holds then; for a key that is not there, `expected`, as
 * torch answers. false when memory is short. */
bool
pa_table_compare_set(pa_table *table, pa_bytes key, pa_bytes expected, pa_bytes desired,
                     pa_bytes *now);

/* Adds bytes to the end of a value, which may be new. PA_EARGUMENT when it would be
 * longer than PA_STORE_WHOLE_MAX, PA_EMEMORY. */
pa_status
pa_table_append(pa_table *table, pa_bytes key, pa_bytes more);

/* Takes the value away; whether there was one. */
bool
pa_table_delete(pa_table *table, pa_bytes key);

/* Adds an element to the end of a key's queue and wakes one who waits for it. false
 * when memory is short. */
bool
pa_table_push(pa_table *table, pa_bytes key, pa_bytes element);

/* The first element of a key's queue, false where there is none. It stays there until
 * pa_table_drop. */
bool
pa_table_front(const pa_table *table, pa_bytes key, pa_bytes *element);

/* Takes the first element of a key's queue away. */
void
pa_table_drop(pa_table *table, pa_bytes key);

/* How many elements the queue of a key has. */
size_t
pa_table_queued(const pa_table *table, pa_bytes key);

/* How many keys have a value; the reserved ones only if asked for. */
size_t
pa_table_count(const pa_table *table, bool with_reserved);

/* Appends every key that has a value, as pa_table_count counts them. false when memory
 * is short. */
bool
pa_table_list(const pa_table *table, bool with_reserved, pa_buffer *out);

/* Has `waiter`, which must not be waiting, wait for the next `count` keys of `keys`.
 * `*ready` when all are there: then it does not wait. PA_EMEMORY leaves it as it was.
 */
pa_status
pa_table_wait(pa_table *table, pa_table_waiter *waiter, pa_frame_reader *keys,
              uint64_t count, bool *ready);

/* One more comes to the barrier of that name, whose value counts them. When they are
 * `size` now, `*ready`, and all who wait there are woken; else `waiter` waits. Errors
 * as of pa_table_add. */
pa_status
pa_table_meet(pa_table *table, pa_table_waiter *waiter, pa_bytes key, int64_t size,
              bool *ready);

/* Ends a wait without its being woken; fine for one that does not wait. */
void
pa_table_cancel(pa_table *table, pa_table_waiter *waiter);

/* Takes one of those that lack nothing any more, NULL when there is none. It does not
 * wait then. */
pa_table_waiter *
pa_table_take_woken(pa_table *table);

#endif
