/* Agreement when cards differ: see the header. */
#include "comm/agree.h"

#include "base/text.h"
#include "comm/bytes.h"
#include "comm/describe.h"

#include <stdlib.h>
#include <string.h>

/* Ranks that a message spells out. */
enum { RANKS_IN_WORDS = 8 };

void
pa_agreement_fini(pa_agreement *agreement)
{
    free(agreement->rows);
    *agreement = (pa_agreement){0};
}

/* ---- Ranks that could not take part ---- */

static pa_status
report_failed(pa_comm *comm, const pa_card *cards, pa_error *error)
{
    int size = pa_comm_size(comm);
    for (int rank = 0; rank < size; rank++) {
        if (cards[rank].failed) {
            return pa_error_set(error, PA_EREMOTE,
                                "%s: rank %d could not take part in %s: %.*s",
                                pa_op_text(cards[pa_comm_rank(comm)].op), rank,
                                pa_op_text(cards[rank].op), (int)cards[rank].ninline,
                                cards[rank].inlined);
        }
    }
    return PA_OK;
}

/* ---- Comparing descriptions ---- */

/* How two descriptions differ, from the harmless to the worst. */
typedef enum difference {
    SAME,
    PLACES,
    ROWS,
    OTHER_SHAPE,
    OTHER_DTYPE,
    OTHER_STRUCTURE,
    OTHER_ARGUMENTS,
    OTHER_ROOT,
    OTHER_OPERATION,
} difference;

static const char *
difference_text(difference found)
{
    switch (found) {
    case OTHER_OPERATION:
        return "The ranks called different operations";
    case OTHER_ROOT:
        return "The ranks named different roots";
    case OTHER_STRUCTURE:
        return "The ranks passed different nested structures: other containers, keys "
               "or numbers of tensors";
    case OTHER_ARGUMENTS:
        return "The ranks passed different arguments";
    case OTHER_DTYPE:
        return "The ranks passed different dtypes";
    case OTHER_SHAPE:
    case ROWS:
    case PLACES:
    case SAME:
        break;
    }
    return "The ranks passed shapes that do not fit each other";
}

static difference
compare_leaf(const pa_described_leaf *a, const pa_described_leaf *b, bool *apart)
{
    if (!pa_dtype_equal(a->dtype, b->dtype)) {
        return OTHER_DTYPE;
    }
    if (a->ndim != b->ndim) {
        return OTHER_SHAPE;
    }
    difference found = SAME;
    if (a->on_device != b->on_device) {
        *apart = true;
        found = PLACES;
    }
    for (int64_t d = 0; d < a->ndim; d++) {
        if (pa_described_dimension(a, d) != pa_described_dimension(b, d)) {
            difference here = d == 0 ? ROWS : OTHER_SHAPE;
            found = here > found ? here : found;
        }
    }
    return found;
}

/* How two descriptions differ; notes in `*apart` leaves on a device in one only. */
static difference
compare(const pa_bytes *one, const pa_bytes *other, bool *apart)
{
    pa_describe_reader a = {.at = one->data, .end = one->data + one->nbytes};
    pa_describe_reader b = {.at = other->data, .end = other->data + other->nbytes};
    pa_description first;
    pa_description second;
    if (!pa_describe_read(&a, &first) || !pa_describe_read(&b, &second) ||
        first.op != second.op) {
        return OTHER_OPERATION;
    }
    if (first.root != second.root) {
        return OTHER_ROOT;
    }
    if (first.narguments != second.narguments ||
        memcmp(first.arguments, second.arguments, first.narguments) != 0) {
        return OTHER_ARGUMENTS;
    }
    if (first.leaves != second.leaves || first.structure != second.structure) {
        return OTHER_STRUCTURE;
    }
    difference worst = SAME;
    for (uint64_t i = 0; i < first.leaves; i++) {
        pa_described_leaf left;
        pa_described_leaf right;
        if (!pa_describe_read_leaf(&a, &left) || !pa_describe_read_leaf(&b, &right)) {
            return OTHER_STRUCTURE;
        }
        difference found = compare_leaf(&left, &right, apart);
        worst = found > worst ? found : worst;
    }
    return worst;
}

/* Whether two ranks described the same operation. */
static bool
same_operation(const pa_bytes *one, const pa_bytes *other)
{
    pa_describe_reader a = {one->data, one->data + one->nbytes};
    pa_describe_reader b = {other->data, other->data + other->nbytes};
    pa_description first;
    pa_description second;
    return pa_describe_read(&a, &first) && pa_describe_read(&b, &second) &&
           first.op == second.op;
}

/* Appends "; only rank 0 entered gather, and only ranks 1 and 2 entered broadcast": an
 * operation in a condition that holds on some ranks. */
static void
append_entered(int size, const pa_bytes *all, char *text, size_t capacity)
{
    for (int rank = 0; rank < size && rank < RANKS_IN_WORDS; rank++) {
        int first = 0;
        while (!same_operation(&all[first], &all[rank]) && first < rank) {
            first++;
        }
        if (first < rank) {
            continue;
        }
        int count = 0;
        int last = rank;
        for (int other = rank; other < size; other++) {
            if (other == rank || same_operation(&all[rank], &all[other])) {
                count++;
                last = other;
            }
        }
        pa_text_append(text, capacity, "%s only rank%s %d", rank == 0 ? ":" : ", and",
                       count == 1 ? "" : "s", rank);
        for (int other = rank + 1; other < size; other++) {
            if (same_operation(&all[rank], &all[other])) {
                pa_text_append(text, capacity, "%s%d", other == last ? " and " : ", ",
                               other);
            }
        }
        pa_describe_reader reader = {all[rank].data, all[rank].data + all[rank].nbytes};
        pa_description head;
        bool known = pa_describe_read(&reader, &head);
        pa_text_append(text, capacity, " entered %s",
                       pa_op_text(known ? head.op : PA_OP_NONE));
    }
}

static pa_status
report_mismatch(int size, const pa_bytes *all, difference worst, pa_error *error)
{
    char text[PA_ERROR_CAPACITY - 128] = "";
    pa_text_append(text, sizeof text, "%s", difference_text(worst));
    if (worst == OTHER_OPERATION) {
        append_entered(size, all, text, sizeof text);
    }
    pa_text_append(text, sizeof text,
                   "; every rank must make the same calls in the same order:");
    for (int rank = 0; rank < size && rank < RANKS_IN_WORDS; rank++) {
        pa_text_append(text, sizeof text, "\n  - rank %d: ", rank);
        pa_describe_format(all[rank].data, all[rank].nbytes, text, sizeof text);
    }
    if (size > RANKS_IN_WORDS) {
        pa_text_append(text, sizeof text, "\n  - and %d more ranks",
                       size - RANKS_IN_WORDS);
    }
    return pa_error_set(error, PA_EMISMATCH, "%s", text);
}

/* The first dimensions of every leaf on every rank. */
static pa_status
note_rows(int size, const pa_bytes *all, size_t leaves, pa_agreement *agreement,
          pa_error *error)
{
    agreement->rows = calloc((size_t)size * leaves, sizeof *agreement->rows);
    if (agreement->rows == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for %zu shapes", leaves);
    }
    for (int rank = 0; rank < size; rank++) {
        pa_describe_reader reader = {.at = all[rank].data,
                                     .end = all[rank].data + all[rank].nbytes};
        pa_description head;
        pa_described_leaf leaf;
        (void)pa_describe_read(&reader, &head);
        for (size_t i = 0; i < leaves && pa_describe_read_leaf(&reader, &leaf); i++) {
            int64_t rows = leaf.ndim > 0 ? pa_described_dimension(&leaf, 0) : 1;
            if (rows < 0) {
                return pa_error_set(error, PA_EMISMATCH,
                                    "rank %d described a tensor of %lld rows", rank,
                                    (long long)rows);
            }
            agreement->rows[(size_t)rank * leaves + i] = rows;
        }
    }
    agreement->uneven = true;
    agreement->leaves = leaves;
    return PA_OK;
}

/* Every rank describes its call, and all come to the same verdict. */
static pa_status
settle_difference(pa_comm *comm, const pa_card *mine, const pa_called *called,
                  bool rows_may_differ, pa_agreement *agreement, const pa_hooks *hooks,
                  pa_error *error)
{
    int size = pa_comm_size(comm);
    pa_bytes *all = NULL;
    size_t nbytes = 0;
    char *own = pa_describe_write(mine, called, hooks, &nbytes);
    pa_status status = PA_OK;
    if (own == NULL) {
        status = pa_error_set(error, PA_EMEMORY, "no memory to describe a call");
        goto done;
    }
    pa_part part = {.data = own, .nbytes = nbytes};
    status = pa_bytes_gather(comm, mine->op, &part, &all, hooks, error);
    if (status != PA_OK) {
        goto done;
    }
    difference worst = SAME;
    for (int rank = 1; rank < size; rank++) {
        difference found = compare(&all[0], &all[rank], &agreement->apart);
        worst = found > worst ? found : worst;
    }
    if (worst == SAME) {
        status =
            pa_error_set(error, PA_EMISMATCH,
                         "%s: the ranks disagree on the payload although they made "
                         "the same call",
                         pa_op_text(mine->op));
    } else if (worst > ROWS || (worst == ROWS && !rows_may_differ)) {
        status = report_mismatch(size, all, worst, error);
    } else if (worst == ROWS) {
        status = note_rows(size, all, called->leaves->count, agreement, error);
    }
done:
    if (status == PA_EMEMORY) {
        /* The others go on with a verdict that this rank could not reach. */
        pa_comm_abort_memory(comm, mine->op);
    }
    pa_bytes_free(all);
    free(own);
    return status;
}

pa_status
pa_agree(pa_comm *comm, const pa_card *cards, const pa_called *called,
         bool rows_may_differ, pa_agreement *agreement, const pa_hooks *hooks,
         pa_error *error)
{
    int size = pa_comm_size(comm);
    bool same = true;
    for (int rank = 0; rank < size; rank++) {
        same = same && !cards[rank].failed && cards[rank].op == cards[0].op &&
               cards[rank].root == cards[0].root &&
               cards[rank].fingerprint == cards[0].fingerprint;
    }
    if (same) {
        return PA_OK;
    }
    PA_TRY(report_failed(comm, cards, error));
    /* The next meeting overwrites nothing of ours: the own card is a copy. */
    pa_card mine = cards[pa_comm_rank(comm)];
    static const pa_called nothing = {0};
    return settle_difference(comm, &mine, called != NULL ? called : &nothing,
                             rows_may_differ, agreement, hooks, error);
}
