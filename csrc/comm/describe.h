/* Descriptions: what a rank called, as bytes that another rank can read.
 *
 *   u32 op | i32 root | u64 structure | u64 leaves | u32 narguments | u32 noutline
 *   | u32 nsite | the arguments in words [narguments] | the containers around the
 *   leaves in words [noutline] | where the call stands [nsite]
 *   for each leaf:
 *   u8 code | u8 bits | u16 lanes | u32 detail | i32 ndim | u32 on a device
 *   | i64 dimension [ndim]
 *
 * Ranks of other hosts read them too. Every machine that is supported is little-endian,
 * so numbers are in the machine's own byte order. */
#ifndef PA_COMM_DESCRIBE_H
#define PA_COMM_DESCRIBE_H

#include "base/leaf.h"
#include "comm/comm.h"

/* What a rank called. */
typedef struct pa_called {
    const pa_leaves *leaves; /* NULL: none */
    const char *arguments;   /* in words, such as "sum"; NULL: none that matter */
} pa_called;

/* Hash of everything in a call that must be equal on all ranks; first dimensions too,
 * though an operation may allow for them. */
uint64_t
pa_called_fingerprint(const pa_called *called);

/* The part of a description before the leaves; the texts are not terminated. */
typedef struct pa_description {
    uint32_t op;
    int32_t root;
    uint64_t structure;
    uint64_t leaves;
    uint32_t narguments;
    uint32_t noutline;
    uint32_t nsite;
    const char *arguments;
    const char *outline;
    const char *site;
} pa_description;

/* One leaf of a description; the dimensions stay where they are, unaligned. */
typedef struct pa_described_leaf {
    pa_dtype dtype;
    int32_t ndim;
    uint32_t on_device;
    const char *dimensions;
} pa_described_leaf;

/* A place in a description. */
typedef struct pa_describe_reader {
    const char *at;
    const char *end;
} pa_describe_reader;

/* Writes a description of the call into new memory (free) and its length; NULL when
 * memory is short. The hooks tell where the call stands. */
char *
pa_describe_write(const pa_card *card, const pa_called *called, const pa_hooks *hooks,
                  size_t *nbytes);

/* Reads the part before the leaves, then leaf after leaf; false at the end or on
 * garbage. */
bool
pa_describe_read(pa_describe_reader *reader, pa_description *description);
bool
pa_describe_read_leaf(pa_describe_reader *reader, pa_described_leaf *leaf);

/* The leaves alone, as above: how many bytes that takes; writes them to `at` and gives
 * the place behind them; and in words, of `count` leaves. */
size_t
pa_describe_leaves_nbytes(const pa_leaves *leaves);
char *
pa_describe_write_leaves(const pa_leaves *leaves, char *at);
void
pa_describe_format_leaves(pa_describe_reader reader, uint64_t count, char *text,
                          size_t capacity);

/* Dimension `index` of a leaf. */
int64_t
pa_described_dimension(const pa_described_leaf *leaf, int64_t index);

/* Appends a description in words, such as "gather of float32 [2, 3] at
 * run.py:12", to the text. */
void
pa_describe_format(const char *bytes, size_t nbytes, char *text, size_t capacity);

#endif
