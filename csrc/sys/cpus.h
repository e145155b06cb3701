/* How many processors the calling process may really use. */
#ifndef PA_SYS_CPUS_H
#define PA_SYS_CPUS_H

/* The lesser of the affinity mask's count and the cgroup's CPU quota (version 2 or 1,
 * of the process's own group and of all above it); fractional under a quota such as
 * 1.5. At least a small positive number; reads files, so ask once. */
double
pa_cpus_usable(void);

#endif
