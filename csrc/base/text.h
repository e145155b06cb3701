/* Texts that are put together piece by piece in a buffer of the caller's. */
#ifndef PA_BASE_TEXT_H
#define PA_BASE_TEXT_H

#include <stddef.h>

/* Appends (printf-style) to a terminated text, which is cut at `capacity`. */
__attribute__((format(printf, 3, 4))) void
pa_text_append(char *text, size_t capacity, const char *format, ...);

#endif
