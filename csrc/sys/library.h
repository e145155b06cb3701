/* Libraries that somebody else has loaded into this process. */
#ifndef PA_SYS_LIBRARY_H
#define PA_SYS_LIBRARY_H

#include <stddef.h>

/* A handle of the mapped library whose file name begins with `prefix` (such as
 * "libtorch_cpu.so"), or NULL when none is mapped. Loads nothing. Goes to
 * pa_library_close. */
void *
pa_library_find(const char *prefix);

/* The address of a symbol of the library, or NULL. */
void *
pa_library_symbol(void *library, const char *name);

/* Gives the handle back; NULL is fine. The library stays mapped for its owner. */
void
pa_library_close(void *library);

#endif
