/* Status codes and messages: see the header. */
#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

pa_status
pa_error_set(pa_error *error, pa_status status, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        error->sys_errno = 0;
    }
    return status;
}

pa_status
pa_error_set_errno(pa_error *error, const char *format, ...)
{
    int number = errno;
    if (error != NULL) {
        char reason[128];
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        size_t used = strlen(error->message);
        /* The GNU form: it returns the text, which need not be in the buffer. */
        (void)snprintf(error->message + used, sizeof error->message - used, ": %s",
                       strerror_r(number, reason, sizeof reason));
        error->sys_errno = number;
    }
    return PA_ESYSTEM;
}

const char *
pa_status_text(pa_status status)
{
#define PA_STATUS_CASE(name, text)                                                     \
    case name:                                                                         \
        return text;
    switch (status) {
        PA_STATUS_MAP(PA_STATUS_CASE)
    }
#undef PA_STATUS_CASE
    return "unknown status";
}
