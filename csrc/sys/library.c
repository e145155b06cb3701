/* Libraries that somebody else has loaded: see the header. */
#include "sys/library.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

typedef struct search {
    const char *prefix;
    char path[PATH_MAX];
} search;

static int
look_at(struct dl_phdr_info *info, size_t nbytes, void *context)
{
    (void)nbytes;
    search *wanted = context;
    const char *slash = strrchr(info->dlpi_name, '/');
    const char *name = slash != NULL ? slash + 1 : info->dlpi_name;
    if (strncmp(name, wanted->prefix, strlen(wanted->prefix)) != 0) {
        return 0;
    }
    (void)snprintf(wanted->path, sizeof wanted->path, "%s", info->dlpi_name);
    return 1;
}

void *
pa_library_find(const char *prefix)
{
    /* By the mapped path: a bare name fails where the library's own carries a version,
     * and could load a second copy. */
    search wanted = {.prefix = prefix};
    if (dl_iterate_phdr(look_at, &wanted) == 0) {
        return NULL;
    }
    return dlopen(wanted.path, RTLD_NOLOAD | RTLD_LAZY);
}

void *
pa_library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

void
pa_library_close(void *library)
{
    if (library != NULL) {
        (void)dlclose(library);
    }
}
