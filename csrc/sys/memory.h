/* How much memory the calling process may still take. */
#ifndef PA_SYS_MEMORY_H
#define PA_SYS_MEMORY_H

/* Bytes that the kernel calls available, or that the process's control groups leave it
 * if that is less; infinite where neither can be read. Reads files. */
double
pa_memory_available(void);

/* Bytes that the control group of a folder leaves, by the files of version 2 and of
 * version 1; 0 for no limit, and 1 for a full group. Cached file pages are not counted
 * as used: the kernel drops them before it refuses memory. */
double
pa_memory_left_v2(const char *folder);
double
pa_memory_left_v1(const char *folder);

#endif
