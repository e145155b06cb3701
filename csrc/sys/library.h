/* Shared libraries: those that somebody else has loaded, and those that we open. */
#ifndef PA_SYS_LIBRARY_H
#define PA_SYS_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* A function of a library, and where its address belongs in the caller's table. */
typedef struct pa_library_entry {
    const char *name;
    size_t offset; /* of a pointer to a function */
    bool optional; /* NULL where the library has none */
} pa_library_entry;

/* A handle of a mapped library whose file name begins with `prefix` (such as
 * "libtorch_cpu.so"): the one before which `skip` others were mapped, or NULL when
 * there are no more. Loads nothing. Goes to pa_library_close. */
void *
pa_library_find(const char *prefix, size_t skip);

/* Opens a library by its path or plain name, with all symbols bound at once and seen by
 * nobody else. NULL and the loader's words in `why` when that fails. Goes to
 * pa_library_close. */
void *
pa_library_open(const char *path, char *why, size_t capacity);

/* Writes the path that the library was mapped from; empty where nobody knows. */
void
pa_library_path(void *library, char *path, size_t capacity);

/* Fills `table` from the library. The name of the first function that the library lacks
 * and that is not optional, or NULL when it has them all. */
const char *
pa_library_fill(void *library, const pa_library_entry *entries, size_t count,
                void *table);

/* The address of a symbol of the library, or NULL. */
void *
pa_library_symbol(void *library, const char *name);

/* Gives the handle back; NULL is fine. The library stays mapped for its other owners.
 */
void
pa_library_close(void *library);

#endif
