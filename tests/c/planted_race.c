/* A race on purpose: a rank reads another's line before that rank has shown it.
 *
 * The thread sanitizer must find it. A clean run of the other programs means something
 * only if it does: the waits are made of atomics on memory that several ranks map, and
 * a sanitizer that saw nothing there would pass everything. */
#include "comm/comm.h"
#include "comm/shm/layout.h"
#include "comm/shm/shm.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pa_comm *comms[2];
static pa_shm_map map;

static void *
show_a_card(void *argument)
{
    pa_comm *comm = argument;
    pa_card card = {.op = PA_OP_BARRIER, .root = PA_NO_ROOT, .nbytes = 7};
    pa_card all[2];
    (void)pa_comm_meet(comm, &card, all, NULL, NULL);
    return NULL;
}

static void *
peek_too_early(void *argument)
{
    /* Not through `round`, which is what makes the rest readable. */
    uint64_t seen = map.lines[2].nbytes;
    (void)show_a_card(argument);
    printf("saw %llu\n", (unsigned long long)seen);
    return NULL;
}

int
main(void)
{
    int fd = -1;
    pthread_t threads[2];
    if (pa_shm_create(2, &fd, NULL) != PA_OK ||
        pa_shm_layout_map(fd, 2, &map, NULL) != PA_OK ||
        pa_shm_attach_mapped(&map, 0, NULL, &comms[0], NULL) != PA_OK ||
        pa_shm_attach_mapped(&map, 1, NULL, &comms[1], NULL) != PA_OK) {
        return 2;
    }
    (void)pthread_create(&threads[0], NULL, show_a_card, comms[0]);
    (void)pthread_create(&threads[1], NULL, peek_too_early, comms[1]);
    (void)pthread_join(threads[0], NULL);
    (void)pthread_join(threads[1], NULL);
    pa_comm_destroy(comms[0]);
    pa_comm_destroy(comms[1]);
    pa_shm_layout_unmap(&map);
    (void)close(fd);
    return 0;
}
