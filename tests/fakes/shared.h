/* Memory that several processes share, without a name in any file system: a process
 * opens another's through /proc, as long as that lives; and waiting for a word in it.
 */
#ifndef TESTS_FAKES_SHARED_H
#define TESTS_FAKES_SHARED_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fake_arena {
    int file;
    char *base;
    size_t nbytes;
} fake_arena;

/* New memory; takes room only where it is written. Ends the process on failure. */
void
fake_arena_make(fake_arena *arena, const char *name, size_t nbytes, int protection);

/* Maps part of another process' memory; NULL and errno when that is gone. `offset` is
 * that of a page. */
void *
fake_arena_map(long process, int file, size_t offset, size_t nbytes, int protection);

/* Sleeps until the word is not `seen`, somebody rings, or some milliseconds passed. */
void
fake_word_wait(_Atomic uint32_t *word, uint32_t seen);

/* Changes the word and wakes all who wait for it. */
void
fake_word_ring(_Atomic uint32_t *word);

#endif
