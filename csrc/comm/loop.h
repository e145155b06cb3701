/* What a rank sends to itself: kept in memory until it is received. */
#ifndef PA_COMM_LOOP_H
#define PA_COMM_LOOP_H

#include "comm/comm.h"

typedef struct pa_loop pa_loop;

/* An empty loop; NULL when memory is short. */
pa_loop *
pa_loop_create(void);

/* Frees it with what was not received; NULL is fine. */
void
pa_loop_destroy(pa_loop *loop);

/* As the slots `put` and `take` of comm/backend.h, from any thread. PA_EMEMORY: there
 * is no memory for a copy, and the group is whole. A wait for what never comes ends as
 * that of any other message, and breaks the group. */
pa_status
pa_loop_put(pa_comm *comm, uint32_t op, const pa_flow *flows, size_t nflows,
            pa_error *error);
pa_status
pa_loop_take(pa_comm *comm, uint32_t op, const pa_flow *into, const pa_hooks *hooks,
             pa_error *error);

/* Ends the waits of this and of later calls with `text`, from any thread. */
void
pa_loop_abort(pa_loop *loop, const char *text);

#endif
