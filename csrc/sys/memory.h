/* How much memory the calling process may still take. */
#ifndef PA_SYS_MEMORY_H
#define PA_SYS_MEMORY_H

/* Bytes that the kernel calls available, or that the process's control groups leave it
 * if that is less; infinite where neither can be read. Reads files. */
double
pa_memory_available(void);

#endif
