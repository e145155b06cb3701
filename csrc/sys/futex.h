/* Sleeping on a 32-bit word that several processes map, and waking who sleeps. */
#ifndef PA_SYS_FUTEX_H
#define PA_SYS_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleeps while `*word == expected`, for at most `timeout_ns`. Returns for any reason
 * (a wake, a changed word, a signal, the timeout): the caller looks again. */
void
pa_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns);

/* Wakes everybody who sleeps on the word. */
void
pa_futex_wake(_Atomic uint32_t *word);

/* Tells the processor that this is a spin loop. */
static inline void
pa_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#else
    __asm__ __volatile__("" ::: "memory");
#endif
}

#endif
