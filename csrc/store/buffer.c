/* A growing queue of bytes: see the header. */
#include "store/buffer.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 256, KEPT = 65536 };

char *
pa_buffer_reserve(pa_buffer *buffer, size_t nbytes)
{
    size_t used = pa_buffer_size(buffer);
    size_t needed = 0;
    if (!pa_size_add(used, nbytes, &needed)) {
        return NULL;
    }
    if (buffer->begin > 0 && buffer->capacity - buffer->end < nbytes) {
        memmove(buffer->data, buffer->data + buffer->begin, used);
        buffer->begin = 0;
        buffer->end = used;
    }
    if (buffer->capacity - buffer->end < nbytes || buffer->data == NULL) {
        size_t capacity = SMALLEST;
        while (capacity < needed) {
            if (!pa_size_mul(capacity, 2, &capacity)) {
                return NULL;
            }
        }
        char *data = realloc(buffer->data, capacity);
        if (data == NULL) {
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->end;
}

void
pa_buffer_grow(pa_buffer *buffer, size_t nbytes)
{
    buffer->end += nbytes;
}

void
pa_buffer_drop(pa_buffer *buffer, size_t nbytes)
{
    buffer->begin += nbytes;
    if (buffer->begin == buffer->end) {
        buffer->begin = 0;
        buffer->end = 0;
        if (buffer->capacity > KEPT) {
            pa_buffer_fini(buffer);
        }
    }
}

bool
pa_buffer_put(pa_buffer *buffer, const void *data, size_t nbytes)
{
    if (nbytes == 0) {
        return true;
    }
    char *room = pa_buffer_reserve(buffer, nbytes);
    if (room == NULL) {
        return false;
    }
    memcpy(room, data, nbytes);
    buffer->end += nbytes;
    return true;
}

void
pa_buffer_fini(pa_buffer *buffer)
{
    free(buffer->data);
    *buffer = (pa_buffer){NULL, 0, 0, 0};
}
