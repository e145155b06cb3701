/* Texts piece by piece: see the header. */
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
pa_text_append(char *text, size_t capacity, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + used, capacity - used, format, arguments);
    va_end(arguments);
}
