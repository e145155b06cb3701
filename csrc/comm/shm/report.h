/* Words for a wait that fails or lasts: who waits where, and who did not come.
 *
 * Everything in them is read from the segment: a rank's card says which operation it is
 * in, and a rank that waits for longer than a tick notes where its call stands. */
#ifndef PA_COMM_SHM_REPORT_H
#define PA_COMM_SHM_REPORT_H

#include "comm/shm/rank.h"

/* Appends how a peer ended or left, such as "rank 1 (pid 77) has left the group". */
void
pa_shm_report_end(const pa_shm *shm, int rank, char *text, size_t capacity);

#endif
