/* Limits that control groups put on this process. */
#ifndef PA_SYS_CGROUP_H
#define PA_SYS_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/* Reads one limit from the folder of a group; 0 or less for no limit there. */
typedef double (*pa_cgroup_reader)(const char *folder);

/* The least limit of the process's own group and of all above it, by `v2` in the
 * unified hierarchy and by `v1` in the one of `controller` ("cpu", "memory"), where
 * these exist; 0 for no limit. Reads files, so ask once. */
double
pa_cgroup_least(const char *controller, pa_cgroup_reader v2, pa_cgroup_reader v1);

/* The first line of `name` in `folder`; false when there is none. */
bool
pa_cgroup_line(const char *folder, const char *name, char *line, size_t capacity);

/* The number after `key` in `name`, a file of lines "KEY NUMBER", in `folder`; 0 when
 * there is none. */
double
pa_cgroup_entry(const char *folder, const char *name, const char *key);

#endif
