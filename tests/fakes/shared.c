/* Memory files and futexes. */
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Who waits looks again after this time: whoever should have rung may have ended. */
static const struct timespec PATIENCE = {.tv_nsec = 5000000};

void
fake_arena_make(fake_arena *arena, const char *name, size_t nbytes, int protection)
{
    arena->nbytes = nbytes;
    arena->file = memfd_create(name, MFD_CLOEXEC);
    void *base = MAP_FAILED;
    if (arena->file >= 0 && ftruncate(arena->file, (off_t)nbytes) == 0) {
        base =
            mmap(NULL, nbytes, protection, MAP_SHARED | MAP_NORESERVE, arena->file, 0);
    }
    if (base == MAP_FAILED) {
        perror("fakes: no shared memory");
        abort();
    }
    arena->base = base;
}

void *
fake_arena_map(long process, int file, size_t offset, size_t nbytes, int protection)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%ld/fd/%d", process, file);
    int opened = open(path, O_RDWR | O_CLOEXEC);
    if (opened < 0) {
        return NULL;
    }
    void *mapped = mmap(NULL, nbytes, protection, MAP_SHARED | MAP_NORESERVE, opened,
                        (off_t)offset);
    int error = errno;
    close(opened);
    errno = error;
    return mapped == MAP_FAILED ? NULL : mapped;
}

void
fake_word_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT, seen, &PATIENCE, NULL, 0);
}

void
fake_word_ring(_Atomic uint32_t *word)
{
    atomic_fetch_add(word, 1);
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
