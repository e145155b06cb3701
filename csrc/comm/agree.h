/* Agreement: what happens when the cards of a meeting differ.
 *
 * Equal fingerprints cost nothing more. Otherwise every rank describes what it called
 * (operation, root, arguments, and each leaf's dtype and shape), all ranks see all
 * descriptions, and so come to the same verdict: the difference is legal (first
 * dimensions of a gather), or the same error is raised on every rank. */
#ifndef PA_COMM_AGREE_H
#define PA_COMM_AGREE_H

#include "base/leaf.h"
#include "comm/comm.h"
#include "comm/describe.h"

/* What the ranks turned out to have called. Starts zeroed. */
typedef struct pa_agreement {
    bool apart;    /* some leaf stands on a device on some ranks only */
    bool uneven;   /* first dimensions differ, and `rows` tells how */
    int64_t *rows; /* [size][leaves]: first dimension of a leaf on a rank */
    size_t leaves;
} pa_agreement;

/* Collective, right after a meeting. Compares `cards[size]`; with `rows_may_differ`
 * uneven first dimensions are legal. `called` is what this rank called the operation
 * with (NULL: nothing that matters). On success the caller frees the agreement with
 * pa_agreement_fini. PA_EREMOTE: a rank could not take part. PA_EMISMATCH: the calls
 * differ. After both the group is in step and can be used. Else as pa_comm_stream. */
pa_status
pa_agree(pa_comm *comm, const pa_card *cards, const pa_called *called,
         bool rows_may_differ, pa_agreement *agreement, const pa_hooks *hooks,
         pa_error *error);

/* Frees what pa_agree filled; a zeroed one is fine. */
void
pa_agreement_fini(pa_agreement *agreement);

#endif
