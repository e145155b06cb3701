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
 * same as no limit. */
static double
left_of(double limit, double used)
{
    if (limit <= 0.0) {
        return 0.0;
    }
    return limit > used ? limit - used : 1.0;
}

static double
left_v2(const char *folder)
{
    return left_of(number_in(folder, "memory.max"),
                   number_in(folder, "memory.current"));
}

static double
left_v1(const char *folder)
{
    return left_of(number_in(folder, "memory.limit_in_bytes"),
                   number_in(folder, "memory.usage_in_bytes"));
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
    double group = pa_cgroup_least("memory", left_v2, left_v1);
    return group > 0.0 && group < system ? group : system;
}
