/* Limits that control groups put on this process: see the header. */
#include "sys/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *
open_in(const char *folder, const char *name)
{
    char path[PATH_MAX + 64];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, "re");
}

bool
pa_cgroup_line(const char *folder, const char *name, char *line, size_t capacity)
{
    FILE *file = open_in(folder, name);
    if (file == NULL) {
        return false;
    }
    bool read = fgets(line, (int)capacity, file) != NULL;
    (void)fclose(file);
    return read;
}

double
pa_cgroup_entry(const char *folder, const char *name, const char *key)
{
    FILE *file = open_in(folder, name);
    if (file == NULL) {
        return 0.0;
    }
    double value = 0.0;
    size_t length = strlen(key);
    char line[128];
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            value = strtod(line + length, NULL);
            break;
        }
    }
    (void)fclose(file);
    return value;
}

/* The least limit from `group` up to the root of the hierarchy at `mount`. */
static double
least_from(const char *mount, const char *group, pa_cgroup_reader limit_of)
{
    char folder[PATH_MAX];
    double least = 0.0;
    size_t root = strlen(mount);
    (void)snprintf(folder, sizeof folder, "%s%s", mount, group);
    for (;;) {
        double limit = limit_of(folder);
        if (limit > 0.0 && (least == 0.0 || limit < least)) {
            least = limit;
        }
        char *slash = strrchr(folder, '/');
        if (slash == NULL || strlen(folder) <= root) {
            return least;
        }
        *slash = '\0';
    }
}

/* Whether a comma-separated list holds a word. */
static bool
names(const char *list, size_t length, const char *word)
{
    size_t wanted = strlen(word);
    for (size_t at = 0; at < length;) {
        size_t end = at;
        while (end < length && list[end] != ',') {
            end++;
        }
        if (end - at == wanted && strncmp(list + at, word, wanted) == 0) {
            return true;
        }
        at = end + 1;
    }
    return false;
}

/* The limit from one line "ID:CONTROLLERS:GROUP"; version 2 has no controllers. */
static double
limit_of_line(char *line, const char *controller, pa_cgroup_reader v2,
              pa_cgroup_reader v1)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL) {
        return 0.0;
    }
    controllers++;
    size_t length = (size_t)(group - controllers);
    group++;
    if (length == 0) {
        return least_from("/sys/fs/cgroup", group, v2);
    }
    if (names(controllers, length, controller)) {
        char mount[64];
        (void)snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controller);
        return least_from(mount, group, v1);
    }
    return 0.0;
}

double
pa_cgroup_least(const char *controller, pa_cgroup_reader v2, pa_cgroup_reader v1)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) {
        return 0.0;
    }
    double least = 0.0;
    char line[PATH_MAX + 128];
    while (fgets(line, sizeof line, file) != NULL) {
        double limit = limit_of_line(line, controller, v2, v1);
        if (limit > 0.0 && (least == 0.0 || limit < least)) {
            least = limit;
        }
    }
    (void)fclose(file);
    return least;
}
