/* Shared libraries: see the header. */
#include "sys/library.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

typedef struct search {
    const char *prefix;
    size_t skip;
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
    if (wanted->skip > 0) {
        wanted->skip--;
        return 0;
    }
    (void)snprintf(wanted->path, sizeof wanted->path, "%s", info->dlpi_name);
    return 1;
}

void *
pa_library_find(const char *prefix, size_t skip)
{
    /* By the mapped path: a bare name fails where the library's own carries a version,
     * and could load a second copy. */
    search wanted = {.prefix = prefix, .skip = skip};
    if (dl_iterate_phdr(look_at, &wanted) == 0) {
        return NULL;
    }
    return dlopen(wanted.path, RTLD_NOLOAD | RTLD_LAZY);
}

void *
pa_library_open(const char *path, char *why, size_t capacity)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *text = dlerror();
        (void)snprintf(why, capacity, "%s", text != NULL ? text : path);
    }
    return library;
}

void
pa_library_path(void *library, char *path, size_t capacity)
{
    struct link_map *map = NULL;
    bool known = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != NULL;
    (void)snprintf(path, capacity, "%s", known ? map->l_name : "");
}

const char *
pa_library_fill(void *library, const pa_library_entry *entries, size_t count,
                void *table)
{
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(library, entries[i].name);
        if (address == NULL && !entries[i].optional) {
            return entries[i].name;
        }
        /* The system promises that a pointer to a function has an object pointer's
         * form, for which ISO C has no conversion. */
        memcpy((char *)table + entries[i].offset, &address, sizeof address);
    }
    return NULL;
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
