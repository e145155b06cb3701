/* Descriptions of calls: see the header. */
#include "comm/describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Leaves that a message spells out before it says how many more there are. */
enum { LEAVES_IN_WORDS = 4 };

static void
put(char **at, const void *bytes, size_t nbytes)
{
    memcpy(*at, bytes, nbytes);
    *at += nbytes;
}

static bool
get(pa_describe_reader *reader, void *bytes, size_t nbytes)
{
    if ((size_t)(reader->end - reader->at) < nbytes) {
        return false;
    }
    memcpy(bytes, reader->at, nbytes);
    reader->at += nbytes;
    return true;
}

char *
pa_describe_write(const pa_card *card, const pa_leaves *leaves, size_t *nbytes)
{
    size_t count = leaves != NULL ? leaves->count : 0;
    size_t length = sizeof(pa_description);
    for (size_t i = 0; i < count; i++) {
        length += sizeof(pa_dtype) + sizeof(int64_t);
        length += sizeof(int64_t) * (size_t)leaves->at[i].ndim;
    }
    char *bytes = malloc(length);
    if (bytes == NULL) {
        return NULL;
    }
    char *at = bytes;
    pa_description head = {
        .op = card->op,
        .root = card->root,
        .structure = leaves != NULL ? leaves->structure : card->fingerprint,
        .leaves = count,
    };
    put(&at, &head, sizeof head);
    for (size_t i = 0; i < count; i++) {
        const pa_leaf *leaf = &leaves->at[i];
        int64_t ndim = leaf->ndim;
        put(&at, &leaf->dtype, sizeof leaf->dtype);
        put(&at, &ndim, sizeof ndim);
        put(&at, leaf->shape, sizeof(int64_t) * (size_t)ndim);
    }
    *nbytes = length;
    return bytes;
}

bool
pa_describe_read(pa_describe_reader *reader, pa_description *description)
{
    return get(reader, description, sizeof *description);
}

bool
pa_describe_read_leaf(pa_describe_reader *reader, pa_described_leaf *leaf)
{
    if (!get(reader, &leaf->dtype, sizeof leaf->dtype) ||
        !get(reader, &leaf->ndim, sizeof leaf->ndim) || leaf->ndim < 0) {
        return false;
    }
    size_t room = (size_t)(reader->end - reader->at) / sizeof(int64_t);
    if ((uint64_t)leaf->ndim > room) {
        return false;
    }
    leaf->dimensions = reader->at;
    reader->at += sizeof(int64_t) * (size_t)leaf->ndim;
    return true;
}

int64_t
pa_described_dimension(const pa_described_leaf *leaf, int64_t index)
{
    int64_t dimension = 0;
    memcpy(&dimension, leaf->dimensions + (size_t)index * sizeof dimension,
           sizeof dimension);
    return dimension;
}

/* Appends to a text that is cut at its capacity. */
__attribute__((format(printf, 3, 4))) static void
append(char *text, size_t capacity, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + used, capacity - used, format, arguments);
    va_end(arguments);
}

static void
format_leaf(const pa_described_leaf *leaf, char *text, size_t capacity)
{
    char name[48];
    pa_dtype_format(leaf->dtype, name, sizeof name);
    append(text, capacity, "%s [", name);
    for (int64_t d = 0; d < leaf->ndim; d++) {
        append(text, capacity, "%s%lld", d > 0 ? ", " : "",
               (long long)pa_described_dimension(leaf, d));
    }
    append(text, capacity, "]");
}

void
pa_describe_format(const char *bytes, size_t nbytes, char *text, size_t capacity)
{
    pa_describe_reader reader = {.at = bytes, .end = bytes + nbytes};
    pa_description head;
    if (!pa_describe_read(&reader, &head)) {
        append(text, capacity, "a call that it could not describe");
        return;
    }
    append(text, capacity, "%s", pa_op_text(head.op));
    if (head.root != PA_NO_ROOT) {
        append(text, capacity, " from rank %d", head.root);
    }
    if (head.op == PA_OP_BROADCAST_OBJECT) {
        int64_t length = (int64_t)head.structure;
        if (length < 0) {
            append(text, capacity, " of something that is no list");
        } else {
            append(text, capacity, " of a list of %lld", (long long)length);
        }
    }
    pa_described_leaf leaf;
    uint64_t said = 0;
    for (; said < LEAVES_IN_WORDS && pa_describe_read_leaf(&reader, &leaf); said++) {
        append(text, capacity, "%s", said == 0 ? " of " : ", ");
        format_leaf(&leaf, text, capacity);
    }
    if (head.leaves > said) {
        append(text, capacity, " and %llu more",
               (unsigned long long)(head.leaves - said));
    }
}
