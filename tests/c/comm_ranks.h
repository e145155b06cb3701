/* Groups for the C tests: every rank a thread of this process over one segment. */
#ifndef TESTS_C_COMM_RANKS_H
#define TESTS_C_COMM_RANKS_H

#include "testing.h"

#include "comm/shm/layout.h"
#include "comm/shm/shm.h"

#include <pthread.h>
#include <unistd.h>

enum { MOST_RANKS = 8 };

#define SECOND_NS UINT64_C(1000000000)

typedef struct rank_thread {
    pthread_t thread;
    pa_comm *comm;
    void (*run)(pa_comm *comm);
} rank_thread;

static inline void *
rank_main(void *argument)
{
    rank_thread *self = argument;
    self->run(self->comm);
    return NULL;
}

/* Runs a function on every rank of a fresh group, and leaves it. All ranks use one
 * mapping, so that the thread sanitizer sees what they do to each other. */
static inline void
on_ranks(int size, uint64_t timeout_ns, void (*run)(pa_comm *comm))
{
    rank_thread ranks[MOST_RANKS];
    pa_error error = PA_ERROR_INIT;
    int fd = -1;
    pa_shm_map map;
    CHECK_EQUAL(pa_shm_create(size, &fd, &error), PA_OK);
    CHECK_EQUAL(pa_shm_layout_map(fd, size, &map, &error), PA_OK);
    for (int rank = 0; rank < size; rank++) {
        ranks[rank].run = run;
        CHECK_EQUAL(pa_shm_attach_mapped(&map, rank, NULL, &ranks[rank].comm, &error),
                    PA_OK);
        pa_comm_set_timeout(ranks[rank].comm, timeout_ns);
    }
    for (int rank = 0; rank < size; rank++) {
        CHECK(pthread_create(&ranks[rank].thread, NULL, rank_main, &ranks[rank]) == 0);
    }
    for (int rank = 0; rank < size; rank++) {
        (void)pthread_join(ranks[rank].thread, NULL);
    }
    for (int rank = 0; rank < size; rank++) {
        pa_comm_destroy(ranks[rank].comm);
    }
    pa_shm_layout_unmap(&map);
    (void)close(fd);
}

#endif
