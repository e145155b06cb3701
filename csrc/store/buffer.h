/* A growing queue of bytes: written at its end, read from its beginning. */
#ifndef PA_STORE_BUFFER_H
#define PA_STORE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed bytes. */
typedef struct pa_bytes {
    const char *data;
    size_t nbytes;
} pa_bytes;

/* The bytes are data[begin] to data[end]; all zero is an empty buffer. */
typedef struct pa_buffer {
    char *data;
    size_t begin;
    size_t end;
    size_t capacity;
} pa_buffer;

/* The bytes in it; never at NULL. */
static inline pa_bytes
pa_buffer_get(const pa_buffer *buffer)
{
    /* Without memory there is no place to count from, but it has none to be read. */
    const char *data = buffer->data != NULL ? buffer->data + buffer->begin : "";
    return (pa_bytes){data, buffer->end - buffer->begin};
}

/* How many bytes are in it. */
static inline size_t
pa_buffer_size(const pa_buffer *buffer)
{
    return buffer->end - buffer->begin;
}

/* Where at least `nbytes` more can be written, to be counted by pa_buffer_grow; NULL,
 * with nothing changed, when memory is short. */
char *
pa_buffer_reserve(pa_buffer *buffer, size_t nbytes);

/* Counts bytes that were written to what pa_buffer_reserve gave. */
void
pa_buffer_grow(pa_buffer *buffer, size_t nbytes);

/* Forgets the first bytes. An emptied buffer that had become large gives its memory
 * back. */
void
pa_buffer_drop(pa_buffer *buffer, size_t nbytes);

/* Adds bytes; false, with nothing added, when memory is short. */
bool
pa_buffer_put(pa_buffer *buffer, const void *data, size_t nbytes);

/* Frees the memory; the buffer is empty afterwards and can be used again. */
void
pa_buffer_fini(pa_buffer *buffer);

#endif
