/* Events: two counters in shared memory, so that an event means the same in every
 * process that opened it. A record takes the next number when it is called and reaches
 * it in the order of its stream; a wait is for the number that was latest when the wait
 * was called. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TAG ((uint64_t)0x52 << 56)

enum { SLOTS_BYTES = 1 << 20 };

/* A record or a wait in a stream's queue. */
typedef struct event_op {
    fake_op op;
    fake_event *event;
    uint64_t number;
} event_op;

static fake_arena slots;
static fake_event *events;
static uint64_t last_serial;

const fake_arena *
fake_slots(void)
{
    if (slots.base == NULL) {
        fake_arena_make(&slots, "fake events", SLOTS_BYTES, PROT_READ | PROT_WRITE);
    }
    return &slots;
}

fake_event *
fake_events(void)
{
    return events;
}

pa_cuda_event
fake_event_handle(const fake_event *event)
{
    return (pa_cuda_event)(uintptr_t)(TAG | event->serial << 4);
}

fake_event *
fake_event_of(pa_cuda_event handle, const char *call)
{
    uint64_t value = (uint64_t)(uintptr_t)handle;
    uint64_t serial = (value & ~TAG) >> 4;
    bool given = (value & TAG) == TAG && (value & 15) == 0 && serial <= last_serial;
    fake_event *event = events;
    while (event != NULL && event->serial != serial) {
        event = event->next;
    }
    if (!given || event == NULL || event->destroyed) {
        fake_refuse(FAKE_INVALID_HANDLE, "%s: %p is %s", call, (void *)handle,
                    given ? "an event that was destroyed" : "no event");
        return NULL;
    }
    return event;
}

/* A slot that nobody uses, nor may be waiting for in another process. */
static fake_slot *
new_slot(void)
{
    fake_slot *all = (fake_slot *)(void *)fake_slots()->base;
    for (size_t i = 0; i < slots.nbytes / sizeof(*all); i++) {
        if ((atomic_load(&all[i].generation) & 1) == 0) {
            atomic_store(&all[i].recorded, 0);
            atomic_store(&all[i].done, 0);
            atomic_fetch_add(&all[i].generation, 1);
            return &all[i];
        }
    }
    fprintf(stderr, "fakes: no room for one more event\n");
    abort();
}

fake_event *
fake_event_make(int device, unsigned int flags, fake_slot *slot)
{
    fake_event *event = calloc(1, sizeof(*event));
    if (event == NULL) {
        abort();
    }
    event->serial = ++last_serial;
    event->device = device;
    event->flags = flags;
    event->imported = slot != NULL;
    event->slot = slot != NULL ? slot : new_slot();
    event->next = events;
    events = event;
    return event;
}

/* With the lock: frees a destroyed event that no queued work needs. */
static void
settle(fake_event *event)
{
    if (!event->destroyed || event->users > 0) {
        return;
    }
    fake_event **place = &events;
    while (*place != event) {
        place = &(*place)->next;
    }
    *place = event->next;
    if (event->imported) {
        munmap(event->mapping, event->mapping_bytes);
    } else { /* an odd number: the slot of an exported event is not used again */
        atomic_fetch_add(&event->slot->generation, event->exported ? 2 : 1);
    }
    fake_clock_free(&event->clock);
    free(event);
}

void
fake_event_unuse(fake_event *event)
{
    event->users--;
    settle(event);
}

static void
free_op(fake_op *op)
{
    pthread_mutex_lock(&fake_lock);
    fake_event_unuse(((event_op *)op)->event);
    pthread_mutex_unlock(&fake_lock);
    free(op);
}

static void
record_run(fake_op *op)
{
    const event_op *record = (const event_op *)op;
    fake_slot *slot = record->event->slot;
    uint64_t done = atomic_load(&slot->done);
    while (done < record->number &&
           !atomic_compare_exchange_weak(&slot->done, &done, record->number)) {
    }
    fake_word_ring(&slot->bell);
}

static void
wait_run(fake_op *op)
{
    const event_op *wait = (const event_op *)op;
    fake_slot *slot = wait->event->slot;
    while (fake_lost() == 0) {
        uint32_t bell = atomic_load(&slot->bell);
        if (atomic_load(&slot->done) >= wait->number) {
            break;
        }
        fake_word_wait(&slot->bell, bell);
    }
}

/* With the lock: queues a record or a wait. */
static uint64_t
push(fake_stream *stream, fake_event *event, bool record, uint64_t number)
{
    event_op *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        abort();
    }
    made->op.name = record ? "run.record" : "run.wait";
    made->op.run = record ? record_run : wait_run;
    made->op.destroy = free_op;
    made->event = event;
    made->number = number;
    event->users++;
    return fake_push(stream, &made->op);
}

int
cudaEventCreateWithFlags(pa_cuda_event *event, unsigned int flags)
{
    fake_call call;
    int code = fake_enter(fake_begin(&call, "cudaEventCreateWithFlags",
                                     "device=%d flags=%u", fake_current(), flags));
    bool timed = (flags & PA_CUDA_EVENT_DISABLE_TIMING) == 0;
    bool shared = (flags & PA_CUDA_EVENT_INTERPROCESS) != 0;
    if (code == 0 && (flags > 7 || (shared && timed))) {
        code = fake_refuse(FAKE_INVALID_VALUE,
                           "cudaEventCreateWithFlags: flags %u are unknown, or "
                           "interprocess without disabled timing",
                           flags);
    }
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        *event = fake_event_handle(fake_event_make(fake_current(), flags, NULL));
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

int
cudaEventDestroy(pa_cuda_event handle)
{
    fake_call call;
    int code =
        fake_enter(fake_begin(&call, "cudaEventDestroy", "event=%p", (void *)handle));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_event *event = fake_event_of(handle, "cudaEventDestroy");
        if (event == NULL) {
            code = FAKE_INVALID_HANDLE;
        } else {
            event->destroyed = true;
            settle(event);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

/* With the lock: cudaEventRecord after its checks of handles. */
static int
record(fake_event *event, fake_stream *stream)
{
    if (event->device != stream->device) {
        return fake_refuse(FAKE_INVALID_HANDLE,
                           "cudaEventRecord: an event of device %d on a stream of "
                           "device %d",
                           event->device, stream->device);
    }
    if (stream->graph != NULL) {
        fake_graph_record(event, stream);
        return 0;
    }
    event->graph = NULL;
    uint64_t number = atomic_fetch_add(&event->slot->recorded, 1) + 1;
    uint64_t position = push(stream, event, true, number);
    fake_clock_free(&event->clock);
    fake_clock_merge(&event->clock, stream->clock);
    fake_clock_know(&event->clock, stream->serial, position);
    return 0;
}

int
cudaEventRecord(pa_cuda_event event_handle, pa_cuda_stream stream_handle)
{
    fake_call call;
    int code = fake_enter(fake_begin(&call, "cudaEventRecord", "event=%p stream=%p",
                                     (void *)event_handle, (void *)stream_handle));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_event *event = fake_event_of(event_handle, "cudaEventRecord");
        fake_stream *stream = fake_stream_of(stream_handle, "cudaEventRecord");
        code = FAKE_INVALID_HANDLE;
        if (event != NULL && stream != NULL) {
            code = record(event, stream);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

/* With the lock: what comes next on the stream comes after the event. One that other
 * processes have may have been recorded by them, behind whatever of this process they
 * have waited for: then all of it counts. */
static void
learn(fake_stream *stream, const fake_event *event)
{
    fake_clock_merge(&stream->clock, event->clock);
    for (const fake_stream *each = fake_streams(); each != NULL; each = each->next) {
        if (event->imported || event->exported) {
            fake_clock_know(&stream->clock, each->serial, each->queued);
        }
    }
}

/* With the lock: cudaStreamWaitEvent after its checks of handles. */
static int
wait(fake_stream *stream, fake_event *event)
{
    if (event->graph != NULL) {
        return fake_graph_wait(stream, event);
    }
    if (stream->graph != NULL) {
        fake_graph_spoil(stream->graph);
        return fake_refuse(FAKE_CAPTURE_UNSUPPORTED,
                           "cudaStreamWaitEvent: a stream that is being captured waits "
                           "for an event recorded outside of the capture");
    }
    uint64_t number = atomic_load(&event->slot->recorded);
    if (number > 0) {
        push(stream, event, false, number);
        learn(stream, event);
    }
    return 0;
}

int
cudaStreamWaitEvent(pa_cuda_stream stream_handle, pa_cuda_event event_handle,
                    unsigned int flags)
{
    fake_call call;
    int code = fake_enter(
        fake_begin(&call, "cudaStreamWaitEvent", "stream=%p event=%p flags=%u",
                   (void *)stream_handle, (void *)event_handle, flags));
    if (code == 0 && flags > 1) {
        code = FAKE_INVALID_VALUE;
    }
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_event *event = fake_event_of(event_handle, "cudaStreamWaitEvent");
        fake_stream *stream = fake_stream_of(stream_handle, "cudaStreamWaitEvent");
        code = FAKE_INVALID_HANDLE;
        if (event != NULL && stream != NULL) {
            code = wait(stream, event);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

int
cudaEventQuery(pa_cuda_event handle)
{
    fake_call call;
    int code = fake_enter_unsafe(
        fake_begin(&call, "cudaEventQuery", "event=%p", (void *)handle),
        "cudaEventQuery");
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        const fake_event *event = fake_event_of(handle, "cudaEventQuery");
        if (event == NULL) {
            code = FAKE_INVALID_HANDLE;
        } else if (event->graph != NULL) {
            fake_graph_spoil(event->graph);
            code = fake_refuse(FAKE_CAPTURED_EVENT,
                               "cudaEventQuery: event %p was recorded in a capture",
                               (void *)handle);
        } else {
            uint64_t asked = atomic_load(&event->slot->recorded);
            bool reached = atomic_load(&event->slot->done) >= asked;
            code = reached ? 0 : PA_CUDA_NOT_READY;
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}
