/* How many processors the calling process may really use: see the header. */
#include "sys/cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* First line of a file into `line`; false when there is none. */
static bool
first_line(const char *path, char *line, size_t capacity)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool read = fgets(line, (int)capacity, file) != NULL;
    (void)fclose(file);
    return read;
}

/* "QUOTA PERIOD" or "max PERIOD", both in microseconds; 0 for no limit. */
static double
quota_v2(const char *folder)
{
    char path[PATH_MAX + 16];
    char line[64];
    (void)snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (!first_line(path, line, sizeof line)) {
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
    char path[PATH_MAX + 32];
    char line[64];
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (!first_line(path, line, sizeof line)) {
        return 0.0;
    }
    double quota = strtod(line, NULL);
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (!first_line(path, line, sizeof line)) {
        return 0.0;
    }
    double period = strtod(line, NULL);
    return quota > 0.0 && period > 0.0 ? quota / period : 0.0;
}

/* The least limit from `group` up to the root of the hierarchy at `mount`. */
static double
least_quota(const char *mount, const char *group, double (*quota_of)(const char *))
{
    char folder[PATH_MAX];
    double least = 0.0;
    size_t root = strlen(mount);
    (void)snprintf(folder, sizeof folder, "%s%s", mount, group);
    for (;;) {
        double quota = quota_of(folder);
        if (quota > 0.0 && (least == 0.0 || quota < least)) {
            least = quota;
        }
        char *slash = strrchr(folder, '/');
        if (slash == NULL || strlen(folder) <= root) {
            return least;
        }
        *slash = '\0';
    }
}

/* Whether a comma-separated list holds the word "cpu". */
static bool
names_cpu(const char *controllers, size_t length)
{
    for (size_t at = 0; at < length;) {
        size_t end = at;
        while (end < length && controllers[end] != ',') {
            end++;
        }
        if (end - at == 3 && strncmp(controllers + at, "cpu", 3) == 0) {
            return true;
        }
        at = end + 1;
    }
    return false;
}

static double
cgroup_quota(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL) {
        return 0.0;
    }
    double least = 0.0;
    char line[PATH_MAX + 128];
    /* Lines are "ID:CONTROLLERS:GROUP"; version 2 has no controllers. */
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL) {
            continue;
        }
        controllers++;
        size_t length = (size_t)(group - controllers);
        group++;
        double quota = 0.0;
        if (length == 0) {
            quota = least_quota("/sys/fs/cgroup", group, quota_v2);
        } else if (names_cpu(controllers, length)) {
            quota = least_quota("/sys/fs/cgroup/cpu", group, quota_v1);
        }
        if (quota > 0.0 && (least == 0.0 || quota < least)) {
            least = quota;
        }
    }
    (void)fclose(file);
    return least;
}

double
pa_cpus_usable(void)
{
    double cpus = affinity_count();
    double quota = cgroup_quota();
    return quota > 0.0 && quota < cpus ? quota : cpus;
}
