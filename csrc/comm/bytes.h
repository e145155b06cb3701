/* All-gather of byte strings of any length: the tool behind descriptions. */
#ifndef PA_COMM_BYTES_H
#define PA_COMM_BYTES_H

#include "comm/comm.h"

/* One rank's string. */
typedef struct pa_bytes {
    const char *data;
    size_t nbytes;
} pa_bytes;

/* Collective. Gathers everybody's `mine` into `*all` [size], which the caller frees
 * with pa_bytes_free. The card names PA_OP_DESCRIBE; `op` is for messages. On failure
 * `*all` is left NULL. PA_EMEMORY breaks the group; else as pa_comm_stream. */
pa_status
pa_bytes_gather(pa_comm *comm, uint32_t op, const pa_part *mine, pa_bytes **all,
                const pa_hooks *hooks, pa_error *error);

/* Frees a result; NULL is fine. */
void
pa_bytes_free(pa_bytes *all);

#endif
