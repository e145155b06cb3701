/* Words for a wait that fails or lasts: who waits where, and who did not come.
 *
 * Everything in them is read from the segment: a rank's card says which operation it is
 * in, and a rank that waits for longer than a tick notes where its call stands. */
#ifndef PA_COMM_SHM_REPORT_H
#define PA_COMM_SHM_REPORT_H

#include "comm/shm/rank.h"

/* Notes in the segment where the call of this wait stands, the first time it is called
 * in a wait. */
void
pa_shm_report_place(pa_shm_waiter *waiter);

/* Takes back that this rank waits, if it was noted; what was noted stays. */
void
pa_shm_report_leave(pa_shm_waiter *waiter);

/* Writes that the ranks which are waited for did not come in time, and where all are.
 */
void
pa_shm_report_late(pa_shm_waiter *waiter, char *text, size_t capacity);

/* Writes how a peer ended or left, and what it did not enter or was in. */
void
pa_shm_report_gone(pa_shm_waiter *waiter, int rank, char *text, size_t capacity);

/* Writes for whom this rank has waited how long, and where all are. */
void
pa_shm_report_long(pa_shm_waiter *waiter, uint64_t waited_ns, char *text,
                   size_t capacity);

#endif
