/* What a rank sends to itself: see the header. */
#include "comm/loop.h"

#include "base/clock.h"
#include "base/size.h"
#include "comm/backend.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TICK_NS = 25000000 };

/* One flow on its way. */
typedef struct item {
    struct item *next;
    size_t nbytes;
    char data[];
} item;

struct pa_loop {
    pthread_mutex_t lock;
    pthread_cond_t came;
    item *first;
    item **end;
    bool aborted;
    char text[PA_COMM_REASON];
};

pa_loop *
pa_loop_create(void)
{
    pa_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        return NULL;
    }
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&loop->came, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&loop->lock, NULL);
    loop->end = &loop->first;
    return loop;
}

static void
free_items(item *first)
{
    while (first != NULL) {
        item *next = first->next;
        free(first);
        first = next;
    }
}

void
pa_loop_destroy(pa_loop *loop)
{
    if (loop != NULL) {
        free_items(loop->first);
        (void)pthread_cond_destroy(&loop->came);
        (void)pthread_mutex_destroy(&loop->lock);
        free(loop);
    }
}

static pa_status
fail_broken(uint32_t op, const char *text, pa_error *error)
{
    return pa_error_set(error, PA_EBROKEN,
                        "%s: the group cannot be used any more after this failure: %s",
                        pa_op_text(op), text);
}

pa_status
pa_loop_put(pa_comm *comm, uint32_t op, const pa_flow *flows, size_t nflows,
            pa_error *error)
{
    char text[PA_COMM_REASON];
    if (pa_comm_broken(comm, text, sizeof text)) {
        return fail_broken(op, text, error);
    }
    item *first = NULL;
    item **end = &first;
    for (size_t i = 0; i < nflows; i++) {
        size_t nbytes = 0;
        bool fits = pa_size_add(sizeof(item), flows[i].nbytes, &nbytes);
        item *made = fits ? malloc(nbytes) : NULL;
        if (made == NULL) {
            free_items(first);
            return pa_error_set(error, PA_EMEMORY, "%s: no memory for %zu bytes",
                                pa_op_text(op), flows[i].nbytes);
        }
        made->next = NULL;
        made->nbytes = flows[i].nbytes;
        pa_cursor from = {.parts = flows[i].parts};
        pa_cursor_read(&from, made->data, made->nbytes);
        *end = made;
        end = &made->next;
    }
    pa_loop *loop = comm->loop;
    pa_status status = PA_OK;
    (void)pthread_mutex_lock(&loop->lock);
    if (loop->aborted) {
        status = fail_broken(op, loop->text, error);
    } else if (first != NULL) {
        *loop->end = first;
        loop->end = end;
        first = NULL;
        (void)pthread_cond_broadcast(&loop->came);
    }
    (void)pthread_mutex_unlock(&loop->lock);
    free_items(first);
    return status;
}

/* Sleeps for a tick, or until something comes. With the lock. */
static void
sleep_a_tick(pa_loop *loop)
{
    uint64_t until = pa_clock_now() + TICK_NS;
    struct timespec moment = {
        .tv_sec = (time_t)(until / UINT64_C(1000000000)),
        .tv_nsec = (long)(until % UINT64_C(1000000000)),
    };
    (void)pthread_cond_timedwait(&loop->came, &loop->lock, &moment);
}

/* Looks for what ends a wait. Without the lock. */
static pa_status
look_up(pa_comm *comm, uint32_t op, uint64_t waited_ns, const pa_hooks *hooks,
        pa_error *error)
{
    char text[PA_COMM_REASON];
    if (pa_comm_broken(comm, text, sizeof text)) {
        return fail_broken(op, text, error);
    }
    if (hooks != NULL && hooks->tick != NULL &&
        !hooks->tick(hooks->context, waited_ns, comm->rank)) {
        (void)snprintf(text, sizeof text, "%s on %s: rank %d was interrupted",
                       pa_op_text(op), comm->backend->name, comm->rank);
        pa_comm_abort(comm, text);
        return pa_error_set(error, PA_EINTERRUPTED, "%s", text);
    }
    if (waited_ns >= comm->timeout_ns) {
        (void)snprintf(text, sizeof text,
                       "%s from rank %d on %s: what this rank sends to itself did not "
                       "arrive within %.1f s",
                       pa_op_text(op), comm->rank, comm->backend->name,
                       (double)comm->timeout_ns / 1e9);
        pa_comm_abort(comm, text);
        return pa_error_set(error, PA_ETIMEOUT, "%s", text);
    }
    return PA_OK;
}

/* Takes the first item, waiting for it. */
static pa_status
next_item(pa_comm *comm, uint32_t op, item **taken, const pa_hooks *hooks,
          pa_error *error)
{
    pa_loop *loop = comm->loop;
    uint64_t began = 0;
    pa_status status = PA_OK;
    *taken = NULL;
    while (status == PA_OK && *taken == NULL) {
        if (began != 0) {
            status = look_up(comm, op, pa_clock_now() - began, hooks, error);
        }
        (void)pthread_mutex_lock(&loop->lock);
        if (status == PA_OK && loop->first == NULL && began != 0 && !loop->aborted) {
            sleep_a_tick(loop);
        }
        if (status == PA_OK && loop->aborted) {
            status = fail_broken(op, loop->text, error);
        } else if (status == PA_OK && loop->first != NULL) {
            *taken = loop->first;
            loop->first = (*taken)->next;
            loop->end = loop->first != NULL ? loop->end : &loop->first;
        }
        (void)pthread_mutex_unlock(&loop->lock);
        if (began == 0 && status == PA_OK && *taken == NULL) {
            began = pa_clock_now();
            if (hooks != NULL && hooks->release != NULL) {
                hooks->release(hooks->context);
            }
        }
    }
    return status;
}

pa_status
pa_loop_take(pa_comm *comm, uint32_t op, const pa_flow *into, const pa_hooks *hooks,
             pa_error *error)
{
    item *taken = NULL;
    PA_TRY(next_item(comm, op, &taken, hooks, error));
    if (into->parts != NULL) {
        pa_cursor to = {.parts = into->parts};
        size_t nbytes = taken->nbytes < into->nbytes ? taken->nbytes : into->nbytes;
        pa_cursor_write(&to, taken->data, nbytes);
    }
    free(taken);
    return PA_OK;
}

void
pa_loop_abort(pa_loop *loop, const char *text)
{
    (void)pthread_mutex_lock(&loop->lock);
    if (!loop->aborted) {
        loop->aborted = true;
        (void)snprintf(loop->text, sizeof loop->text, "%s", text);
    }
    (void)pthread_cond_broadcast(&loop->came);
    (void)pthread_mutex_unlock(&loop->lock);
}
