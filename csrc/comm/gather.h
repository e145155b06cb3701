/* Gather: every rank, or one, gets the leaves of all, one after the other along their
 * first dimension, in rank order. One exchange for a whole structure. */
#ifndef PA_COMM_GATHER_H
#define PA_COMM_GATHER_H

#include "base/leaf.h"
#include "comm/agree.h"
#include "comm/comm.h"
#include "sys/arena.h"

/* A gather between its two halves. Read-only for the caller. */
typedef struct pa_gather {
    pa_comm *comm;
    const pa_leaves *leaves;
    pa_card *cards;  /* [size]; flows and parts of the stream stand behind them */
    pa_flow *flows;  /* [size] */
    pa_part *parts;  /* [size][leaves] */
    pa_part *own;    /* [leaves] */
    pa_flow send;    /* of `own` */
    int root;        /* the only receiver, or PA_NO_ROOT */
    size_t nbytes;   /* of the own payload */
    bool inlined;    /* every payload came with its card */
    uint32_t placed; /* bits of pa_placed, of all ranks */
    pa_agreement agreement;
} pa_gather;

/* Collective, first half: all ranks agree on what is gathered, and who gets it (`root`,
 * or all with PA_NO_ROOT). First dimensions may differ, unless `strict`; a leaf without
 * dimensions counts as one row. `lend`, equal on all ranks, says that pa_gather_lend
 * follows. `leaves` is borrowed until pa_gather_fini, which is due on success only.
 * Errors as pa_agree and pa_comm_meet; PA_EMEMORY breaks the group. */
pa_status
pa_gather_begin(pa_gather *gather, pa_comm *comm, const pa_leaves *leaves, int root,
                bool strict, bool lend, const pa_hooks *hooks, pa_error *error);

/* Whether this rank gets the result. */
bool
pa_gather_receives(const pa_gather *gather);

/* First dimension of the result of a leaf; -1 if that does not fit. */
int64_t
pa_gather_rows(const pa_gather *gather, size_t leaf);

/* Collective, between the halves: the results as one lease, that of leaf i at
 * `starts[i]`; then pa_gather_finish is not called. `*lent` is the same on all ranks:
 * false where that is not possible or came with the cards, and pa_gather_finish follows
 * as always. `*lease` is NULL where nothing is received. Errors as pa_lend. */
pa_status
pa_gather_lend(pa_gather *gather, pa_lease **lease, size_t *starts, bool *lent,
               const pa_hooks *hooks, pa_error *error);

/* Collective, second half: fills `outputs[leaves]`, row-major memory of the results,
 * which is not looked at where nothing is received. A caller that cannot provide them
 * calls pa_comm_abort instead. */
pa_status
pa_gather_finish(pa_gather *gather, char *const *outputs, const pa_hooks *hooks,
                 pa_error *error);

/* Frees what pa_gather_begin made. */
void
pa_gather_fini(pa_gather *gather);

#endif
