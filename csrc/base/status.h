/* Status codes and the message buffer that every call of the core can fill.
 *
 * A function that can fail returns a pa_status and takes, as its last argument,
 * a pa_error that the caller brings. The message is a whole sentence; NULL means
 * that the caller does not want one. The core prints nothing. */
#ifndef PA_BASE_STATUS_H
#define PA_BASE_STATUS_H

#include <stdarg.h>

/* Each status once: name, and what it means in words. */
#define PA_STATUS_MAP(X)                                                               \
    X(PA_OK, "success")                                                                \
    X(PA_EARGUMENT, "an argument is out of range or contradicts another")              \
    X(PA_EMEMORY, "memory is short")                                                   \
    X(PA_ESYSTEM, "a system call failed; pa_error.sys_errno says why")                 \
    X(PA_ETIMEOUT, "a deadline passed")                                                \
    X(PA_EPEER, "a peer ended or left the group")                                      \
    X(PA_EMISMATCH, "the ranks called different operations")                           \
    X(PA_EREMOTE, "a peer could not take part and said why")                           \
    X(PA_EBROKEN, "the group was broken by an earlier failure")                        \
    X(PA_ECLOSED, "the handle is closed")                                              \
    X(PA_EFORKED, "the handle belongs to the process that forked this one")            \
    X(PA_EINTERRUPTED, "the caller's hook asked to stop")

#define PA_STATUS_NAME(name, text) name,
typedef enum pa_status { PA_STATUS_MAP(PA_STATUS_NAME) } pa_status;
#undef PA_STATUS_NAME

enum { PA_ERROR_CAPACITY = 2048 };

/* The caller's message buffer; start it with PA_ERROR_INIT. */
typedef struct pa_error {
    int sys_errno; /* errno of the failed system call with PA_ESYSTEM, else 0 */
    char message[PA_ERROR_CAPACITY]; /* terminated, cut at the capacity */
} pa_error;

#define PA_ERROR_INIT {0, {0}}

/* Writes the message (printf-style) and returns `status`, so that a failing
 * function can end with it. `error` may be NULL. */
__attribute__((format(printf, 3, 4))) pa_status
pa_error_set(pa_error *error, pa_status status, const char *format, ...);

/* As pa_error_set with PA_ESYSTEM: keeps errno and appends its text. */
__attribute__((format(printf, 2, 3))) pa_status
pa_error_set_errno(pa_error *error, const char *format, ...);

/* What a status means, in words; never NULL. */
const char *
pa_status_text(pa_status status);

/* Returns from the calling function unless the expression is PA_OK. Only for
 * functions that own nothing at that point. */
#define PA_TRY(expression)                                                             \
    do {                                                                               \
        pa_status pa_try_status = (expression);                                        \
        if (pa_try_status != PA_OK) {                                                  \
            return pa_try_status;                                                      \
        }                                                                              \
    } while (0)

#endif
