/* Parcels: serialised objects, with the buffers that travel beside them.
 *
 * A parcel is a head and any number of buffers. The head is the lengths of the buffers
 * (u64 each) and then the serialised bytes; short heads come with the card. Buffers go
 * from the sender's memory through the rings straight into recycled blocks. */
#ifndef PA_COMM_PARCEL_H
#define PA_COMM_PARCEL_H

#include "comm/comm.h"
#include "sys/arena.h"
#include "sys/pool.h"

/* One rank's parcel as received. */
typedef struct pa_parcel {
    const char *text; /* the serialised bytes */
    size_t ntext;
    uint32_t nbuffers;
    const uint64_t *lengths; /* [nbuffers] */
    pa_block **buffers;      /* [nbuffers]; NULL what the caller takes over */
    pa_lease *lease;         /* not NULL: the buffers stand there, as pa_lend_place
                              * places them, and `buffers` are NULL */
} pa_parcel;

/* The parcels of all ranks. Starts zeroed. */
typedef struct pa_parcels {
    int size;
    pa_parcel *at; /* [size] */
    void *memory;  /* behind texts, lengths and tables */
    void *tables;
} pa_parcels;

/* Collective. Sends `parts[0]` as text and the others as buffers. `from` is the only
 * sender, or PA_NO_ROOT when all send (the parts of others are ignored, and the sender
 * gets no parcel of its own); `to` is the only receiver, or PA_NO_ROOT (others get
 * empty parcels); one of both at most. `arguments` (NULL: none), words as in a
 * pa_called, must be equal on all ranks. With `lend`, equal on all ranks as well, the
 * buffers are leases where that is possible (comm/lend.h), else blocks as always. On
 * success the caller frees the result with pa_parcels_fini. PA_EMEMORY breaks the
 * group; else as pa_agree. */
pa_status
pa_parcels_exchange(pa_comm *comm, uint32_t op, int from, int to, bool lend,
                    const char *arguments, const pa_part *parts, size_t nparts,
                    pa_pool *pool, pa_parcels *parcels, const pa_hooks *hooks,
                    pa_error *error);

/* Frees the parcels and every buffer that is still theirs; a zeroed one is fine. */
void
pa_parcels_fini(pa_parcels *parcels);

#endif
