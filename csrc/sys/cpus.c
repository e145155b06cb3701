/* How many processors the calling process may really use: see the header. */
#include "sys/cpus.h"

#include "sys/cgroup.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static double
affinity_count(void)
{
    /* The mask's size is not known beforehand: grow until the kernel accepts it. */
    for (int cpus = 1024; cpus <= (1 << 20); cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (set == NULL) {
            break;
        }
        size_t nbytes = CPU_ALLOC_SIZE((size_t)cpus);
        int count =
            sched_getaffinity(0, nbytes, set) == 0 ? CPU_COUNT_S(nbytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) {
            return count;
        }
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (double)online : 1.0;
}

/* "QUOTA PERIOD" or "max PERIOD", both in microseconds; 0 for no limit. */
static double
quota_v2(const char *folder)
{
    char line[64];
    if (!pa_cgroup_line(folder, "cpu.max", line, sizeof line)) {
        return 0.0;
    }
    char *rest = NULL;
    double quota = strtod(line, &rest);
    double period = strtod(rest, NULL);
    return quota > 0.0 && period > 0.0 ? quota / period : 0.0;
}

/* Version 1 keeps the two numbers in two files; -1 is no limit. */
static double
quota_v1(const char *folder)
{
    char quota_line[64];
    char period_line[64];
    if (!pa_cgroup_line(folder, "cpu.cfs_quota_us", quota_line, sizeof quota_line) ||
        !pa_cgroup_line(folder, "cpu.cfs_period_us", period_line, sizeof period_line)) {
        return 0.0;
    }
    double quota = strtod(quota_line, NULL);
    double period = strtod(period_line, NULL);
    return quota > 0.0 && period > 0.0 ? quota / period : 0.0;
}

double
pa_cpus_usable(void)
{
    double cpus = affinity_count();
    double quota = pa_cgroup_least("cpu", quota_v2, quota_v1);
    return quota > 0.0 && quota < cpus ? quota : cpus;
}
