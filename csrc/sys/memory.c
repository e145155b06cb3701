/* How much memory the calling process may still take: see the header. */
#include "sys/memory.h"

#include "sys/cgroup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A number in a file of a group; 0 for "max" and for no file. */
static double
number_in(const char *folder, const char *name)
{
    char line[64];
    return pa_cgroup_line(folder, name, line, sizeof line) ? strtod(line, NULL) : 0.0;
}

/* What a limit leaves; a group that is full leaves next to nothing, which is not the
 * same as no limit. The cache is of the used bytes, but the three numbers are read one
 * after the other, so that it can seem larger. */
static double
left_of(double limit, double used, double cache)
{
    if (limit <= 0.0) {
        return 0.0;
    }
    double held = used > cache ? used - cache : 0.0;
    return limit > held ? limit - held : 1.0;
}

double
pa_memory_left_v2(const char *folder)
{
    double cache = pa_cgroup_entry(folder, "memory.stat", "inactive_file") +
                   pa_cgroup_entry(folder, "memory.stat", "active_file");
    return left_of(number_in(folder, "memory.max"), number_in(folder, "memory.current"),
                   cache);
}

double
pa_memory_left_v1(const char *folder)
{
    double cache = pa_cgroup_entry(folder, "memory.stat", "total_inactive_file") +
                   pa_cgroup_entry(folder, "memory.stat", "total_active_file");
    return left_of(number_in(folder, "memory.limit_in_bytes"),
                   number_in(folder, "memory.usage_in_bytes"), cache);
}

static double
system_available(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    if (file == NULL) {
        return INFINITY;
    }
    double kilobytes = -1.0;
    char line[128];
    while (kilobytes < 0.0 && fgets(line, sizeof line, file) != NULL) {
        unsigned long long value = 0;
        if (sscanf(line, "MemAvailable: %llu", &value) == 1) {
            kilobytes = (double)value;
        }
    }
    (void)fclose(file);
    return kilobytes < 0.0 ? INFINITY : kilobytes * 1024.0;
}

double
pa_memory_available(void)
{
    double system = system_available();
    double group = pa_cgroup_least("memory", pa_memory_left_v2, pa_memory_left_v1);
    return group > 0.0 && group < system ? group : system;
}
