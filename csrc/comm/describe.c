/* Descriptions of calls: see the header. */
#include "comm/describe.h"

#include "base/hash.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* Leaves that a message spells out before it says how many more there are. */
enum { LEAVES_IN_WORDS = 4 };

/* Bytes of a place in a script, its file's name cut; of the part before the texts. */
enum { SITE_CAPACITY = 256, OUTLINE_CAPACITY = 160, FIXED_BYTES = 36 };

uint64_t
pa_called_fingerprint(const pa_called *called)
{
    uint64_t hash =
        called->leaves != NULL ? pa_leaves_fingerprint(called->leaves) : PA_HASH_SEED;
    if (called->arguments != NULL) {
        hash = pa_hash_bytes(hash, called->arguments, strlen(called->arguments));
    }
    return hash;
}

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

size_t
pa_describe_leaves_nbytes(const pa_leaves *leaves)
{
    size_t nbytes = 0;
    for (size_t i = 0; i < leaves->count; i++) {
        nbytes += sizeof(pa_dtype) + sizeof(int32_t) + sizeof(uint32_t);
        nbytes += sizeof(int64_t) * (size_t)leaves->at[i].ndim;
    }
    return nbytes;
}

char *
pa_describe_write_leaves(const pa_leaves *leaves, char *at)
{
    for (size_t i = 0; i < leaves->count; i++) {
        const pa_leaf *leaf = &leaves->at[i];
        uint32_t on_device = leaf->place != NULL;
        put(&at, &leaf->dtype, sizeof leaf->dtype);
        put(&at, &leaf->ndim, sizeof leaf->ndim);
        put(&at, &on_device, sizeof on_device);
        put(&at, leaf->shape, sizeof(int64_t) * (size_t)leaf->ndim);
    }
    return at;
}

char *
pa_describe_write(const pa_card *card, const pa_called *called, const pa_hooks *hooks,
                  size_t *nbytes)
{
    const pa_leaves *leaves = called->leaves;
    const char *arguments = called->arguments != NULL ? called->arguments : "";
    char site[SITE_CAPACITY] = "";
    if (hooks != NULL && hooks->site != NULL) {
        hooks->site(hooks->context, site, sizeof site);
    }
    char outline[OUTLINE_CAPACITY] = "";
    if (hooks != NULL && hooks->outline != NULL) {
        hooks->outline(hooks->context, outline, sizeof outline);
    }
    size_t length = FIXED_BYTES + strlen(arguments) + strlen(outline) + strlen(site);
    length += leaves != NULL ? pa_describe_leaves_nbytes(leaves) : 0;
    char *bytes = malloc(length);
    if (bytes == NULL) {
        return NULL;
    }
    char *at = bytes;
    uint64_t structure = leaves != NULL ? leaves->structure : 0;
    uint64_t nleaves = leaves != NULL ? leaves->count : 0;
    uint32_t texts[3] = {(uint32_t)strlen(arguments), (uint32_t)strlen(outline),
                         (uint32_t)strlen(site)};
    put(&at, &card->op, sizeof card->op);
    put(&at, &card->root, sizeof card->root);
    put(&at, &structure, sizeof structure);
    put(&at, &nleaves, sizeof nleaves);
    put(&at, texts, sizeof texts);
    put(&at, arguments, texts[0]);
    put(&at, outline, texts[1]);
    put(&at, site, texts[2]);
    if (leaves != NULL) {
        (void)pa_describe_write_leaves(leaves, at);
    }
    *nbytes = length;
    return bytes;
}

bool
pa_describe_read(pa_describe_reader *reader, pa_description *description)
{
    uint32_t texts[3] = {0};
    if (!get(reader, &description->op, sizeof description->op) ||
        !get(reader, &description->root, sizeof description->root) ||
        !get(reader, &description->structure, sizeof description->structure) ||
        !get(reader, &description->leaves, sizeof description->leaves) ||
        !get(reader, texts, sizeof texts) ||
        (size_t)(reader->end - reader->at) < (size_t)texts[0] + texts[1] + texts[2]) {
        return false;
    }
    description->narguments = texts[0];
    description->noutline = texts[1];
    description->nsite = texts[2];
    description->arguments = reader->at;
    description->outline = description->arguments + texts[0];
    description->site = description->outline + texts[1];
    reader->at += (size_t)texts[0] + texts[1] + texts[2];
    return true;
}

bool
pa_describe_read_leaf(pa_describe_reader *reader, pa_described_leaf *leaf)
{
    if (!get(reader, &leaf->dtype, sizeof leaf->dtype) ||
        !get(reader, &leaf->ndim, sizeof leaf->ndim) ||
        !get(reader, &leaf->on_device, sizeof leaf->on_device) || leaf->ndim < 0) {
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

static void
format_leaf(const pa_described_leaf *leaf, char *text, size_t capacity)
{
    char name[48];
    pa_dtype_format(leaf->dtype, name, sizeof name);
    pa_text_append(text, capacity, "%s [", name);
    for (int64_t d = 0; d < leaf->ndim; d++) {
        pa_text_append(text, capacity, "%s%lld", d > 0 ? ", " : "",
                       (long long)pa_described_dimension(leaf, d));
    }
    pa_text_append(text, capacity, leaf->on_device != 0 ? "] on a GPU" : "]");
}

void
pa_describe_format_leaves(pa_describe_reader reader, uint64_t count, char *text,
                          size_t capacity)
{
    pa_described_leaf leaf;
    uint64_t said = 0;
    while (said < LEAVES_IN_WORDS && said < count &&
           pa_describe_read_leaf(&reader, &leaf)) {
        pa_text_append(text, capacity, "%s", said++ > 0 ? ", " : "");
        format_leaf(&leaf, text, capacity);
    }
    if (count > said) {
        pa_text_append(text, capacity, " and %llu more",
                       (unsigned long long)(count - said));
    }
}

void
pa_describe_format(const char *bytes, size_t nbytes, char *text, size_t capacity)
{
    pa_describe_reader reader = {.at = bytes, .end = bytes + nbytes};
    pa_description head;
    if (!pa_describe_read(&reader, &head)) {
        pa_text_append(text, capacity, "a call that it could not describe");
        return;
    }
    pa_text_append(text, capacity, "%s", pa_op_text(head.op));
    if (head.narguments > 0) {
        pa_text_append(text, capacity, "(%.*s)", (int)head.narguments, head.arguments);
    }
    if (head.root != PA_NO_ROOT) {
        bool gathers = head.op == PA_OP_GATHER || head.op == PA_OP_GATHER_OBJECT;
        pa_text_append(text, capacity, " %s rank %d", gathers ? "to" : "from",
                       head.root);
    }
    if (head.leaves > 0) {
        pa_text_append(text, capacity, " of ");
        pa_describe_format_leaves(reader, head.leaves, text, capacity);
    }
    if (head.noutline > 0) {
        pa_text_append(text, capacity, " in %.*s", (int)head.noutline, head.outline);
    }
    if (head.nsite > 0) {
        pa_text_append(text, capacity, " at %.*s", (int)head.nsite, head.site);
    }
}
