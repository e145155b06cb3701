/* Streams: a queue and a thread each.
 *
 * Work never runs in the call that queues it. Before each piece the thread pauses for a
 * pseudo-random time, which follows from the seed, so that streams run late and out of
 * step; it pauses less when somebody waits for just this stream. */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAG ((uint64_t)0x51 << 56)

/* A wait of one stream for another. */
typedef struct wait_op {
    fake_op op;
    uint64_t stream;
    uint64_t position;
} wait_op;

static fake_stream *streams;
static uint64_t last_serial;

fake_stream *
fake_streams(void)
{
    return streams;
}

pa_cuda_stream
fake_stream_handle(const fake_stream *stream)
{
    return stream->usual ? NULL
                         : (pa_cuda_stream)(uintptr_t)(TAG | stream->serial << 4);
}

static fake_stream *
by_serial(uint64_t serial)
{
    fake_stream *each = streams;
    while (each != NULL && each->serial != serial) {
        each = each->next;
    }
    return each;
}

bool
fake_passed(uint64_t serial, uint64_t position)
{
    const fake_stream *stream = by_serial(serial);
    return stream == NULL || stream->done >= position;
}

/* Pauses before a piece of work, unless somebody waits for the stream. With the lock.
 */
static void
dawdle(fake_stream *stream)
{
    uint64_t longest = fake_settings_get()->delay_ns;
    stream->random ^= stream->random << 13;
    stream->random ^= stream->random >> 7;
    stream->random ^= stream->random << 17;
    uint64_t shortest = longest / 4;
    uint64_t pause = shortest + stream->random % (longest - shortest + 1);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + pause;
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    while (stream->waiters == 0 && fake_lost() == 0) {
        if (pthread_cond_timedwait(&fake_changed, &fake_lock, &until) != 0) {
            break;
        }
    }
}

static void
forget(fake_stream *stream)
{
    fake_stream **place = &streams;
    while (*place != stream) {
        place = &(*place)->next;
    }
    *place = stream->next;
    fake_clock_free(&stream->clock);
    free(stream);
    pthread_cond_broadcast(&fake_changed);
}

/* Does a piece of work, unless the devices are gone. What fails here fails as the real
 * thing does: later, and for all that comes. */
static void
run(const fake_stream *stream, fake_op *op)
{
    fake_call call;
    int code = fake_begin(&call, op->name, "stream=%p device=%d position=%llu",
                          (void *)fake_stream_handle(stream), stream->device,
                          (unsigned long long)op->position);
    if (code != 0) {
        fake_lose(code & ~FAKE_LOSES);
    }
    if (fake_lost() == 0) {
        op->run(op);
    }
    fake_end(&call, code);
}

/* The thread of a stream; ends when the stream is destroyed and has nothing left. */
static void *
work(void *argument)
{
    fake_stream *stream = argument;
    pthread_mutex_lock(&fake_lock);
    for (;;) {
        while ((stream->first == NULL && !stream->destroyed) || stream->held > 0) {
            pthread_cond_wait(&fake_changed, &fake_lock);
        }
        if (stream->first == NULL) {
            break;
        }
        dawdle(stream);
        if (stream->held > 0) {
            continue;
        }
        fake_op *op = stream->first;
        pthread_mutex_unlock(&fake_lock);
        run(stream, op);
        pthread_mutex_lock(&fake_lock);
        stream->first = op->next;
        if (stream->first == NULL) {
            stream->last = &stream->first;
        }
        stream->done = op->position;
        fake_tensors_release();
        pthread_cond_broadcast(&fake_changed);
        pthread_mutex_unlock(&fake_lock);
        op->destroy(op);
        pthread_mutex_lock(&fake_lock);
    }
    forget(stream);
    pthread_mutex_unlock(&fake_lock);
    return NULL;
}

/* With the lock: a new stream with its thread. */
static fake_stream *
make(int device)
{
    fake_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL) {
        abort();
    }
    const char *rank = fake_settings_get()->rank;
    stream->serial = ++last_serial;
    stream->device = device;
    stream->last = &stream->first;
    stream->random = (fake_settings_get()->seed + 1) * 0x9E3779B97F4A7C15ull;
    stream->random ^= stream->serial * 0xBF58476D1CE4E5B9ull;
    stream->random ^= (rank == NULL ? 0 : (uint64_t)atoi(rank) + 1) << 32;
    stream->next = streams;
    streams = stream;
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, stream) != 0) {
        abort();
    }
    pthread_detach(thread);
    return stream;
}

fake_stream *
fake_stream_default(int device)
{
    for (fake_stream *each = streams; each != NULL; each = each->next) {
        if (each->usual && each->device == device) {
            return each;
        }
    }
    fake_stream *made = make(device);
    made->usual = true;
    return made;
}

fake_stream *
fake_stream_of(pa_cuda_stream handle, const char *call)
{
    uint64_t value = (uint64_t)(uintptr_t)handle;
    if (value <= 1) { /* none, or the name that CUDA gives to the default stream */
        return fake_stream_default(fake_current());
    }
    uint64_t serial = (value & ~TAG) >> 4;
    bool given = (value & TAG) == TAG && (value & 15) == 0 && serial <= last_serial;
    fake_stream *stream = given ? by_serial(serial) : NULL;
    if (stream == NULL || stream->destroyed) {
        fake_refuse(FAKE_INVALID_HANDLE, "%s: %p is %s", call, (void *)handle,
                    given ? "a stream that was destroyed" : "no stream");
        return NULL;
    }
    return stream;
}

static void
free_op(fake_op *op)
{
    free(op);
}

static void
wait_run(fake_op *op)
{
    const wait_op *wait = (const wait_op *)op;
    pthread_mutex_lock(&fake_lock);
    while (!fake_passed(wait->stream, wait->position) && fake_lost() == 0) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    pthread_mutex_unlock(&fake_lock);
}

/* With the lock: puts work at the end of the queue. */
static void
append(fake_stream *stream, fake_op *op)
{
    op->next = NULL;
    op->position = ++stream->queued;
    *stream->last = op;
    stream->last = &op->next;
    pthread_cond_broadcast(&fake_changed);
}

static void
append_wait(fake_stream *stream, const fake_stream *other)
{
    if (other->done == other->queued) {
        return;
    }
    fake_clock_merge(&stream->clock, other->clock);
    fake_clock_know(&stream->clock, other->serial, other->queued);
    wait_op *wait = calloc(1, sizeof(*wait));
    if (wait == NULL) {
        abort();
    }
    wait->op = (fake_op){.name = "run.order", .run = wait_run, .destroy = free_op};
    wait->stream = other->serial;
    wait->position = other->queued;
    append(stream, &wait->op);
}

void
fake_push_after(fake_stream *stream, const fake_stream *other)
{
    if (stream != other && stream->graph == NULL) {
        append_wait(stream, other);
    }
}

uint64_t
fake_push(fake_stream *stream, fake_op *op)
{
    if (stream->graph != NULL) {
        fake_graph_add(stream, op);
        return 0;
    }
    for (fake_stream *each = streams; each != NULL; each = each->next) {
        bool in_step = (stream->usual && each->blocking && !each->destroyed) ||
                       (stream->blocking && each->usual);
        if (in_step && each->device == stream->device && each->graph == NULL) {
            append_wait(stream, each);
        }
    }
    fake_order_check(stream, op);
    append(stream, op);
    return op->position;
}

void
fake_drain(fake_stream *stream, uint64_t position)
{
    uint64_t serial = stream->serial;
    stream->waiters++;
    pthread_cond_broadcast(&fake_changed);
    while (!fake_passed(serial, position) && fake_lost() == 0) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    stream = by_serial(serial);
    if (stream != NULL) {
        stream->waiters--;
    }
}

const char *
fake_used_by(const char *address, size_t nbytes, const fake_stream **stream)
{
    for (const fake_stream *each = streams; each != NULL; each = each->next) {
        for (const fake_op *op = each->first; op != NULL; op = op->next) {
            for (size_t i = 0; i < op->nuses; i++) {
                const fake_use *use = &op->uses[i];
                if (use->address < address + nbytes &&
                    address < use->address + use->nbytes) {
                    *stream = each;
                    return op->name;
                }
            }
        }
    }
    return NULL;
}

int
cudaStreamCreateWithFlags(pa_cuda_stream *stream, unsigned int flags)
{
    fake_call call;
    int code = fake_enter(fake_begin(&call, "cudaStreamCreateWithFlags",
                                     "device=%d flags=%u", fake_current(), flags));
    if (code == 0 && flags > PA_CUDA_STREAM_NON_BLOCKING) {
        code = FAKE_INVALID_VALUE;
    }
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_stream *made = make(fake_current());
        made->blocking = flags == 0;
        *stream = fake_stream_handle(made);
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

int
cudaStreamDestroy(pa_cuda_stream handle)
{
    fake_call call;
    int code =
        fake_enter(fake_begin(&call, "cudaStreamDestroy", "stream=%p", (void *)handle));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_stream *stream = fake_stream_of(handle, "cudaStreamDestroy");
        if (stream == NULL) {
            code = FAKE_INVALID_HANDLE;
        } else if (stream->usual || stream->graph != NULL) {
            code = fake_refuse(FAKE_INVALID_HANDLE, "cudaStreamDestroy: %p is %s",
                               (void *)handle,
                               stream->usual ? "the default stream" : "being captured");
        } else {
            stream->destroyed = true;
            pthread_cond_broadcast(&fake_changed);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

int
cudaStreamSynchronize(pa_cuda_stream handle)
{
    fake_call call;
    int code = fake_enter_unsafe(
        fake_begin(&call, "cudaStreamSynchronize", "stream=%p", (void *)handle),
        "cudaStreamSynchronize");
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_stream *stream = fake_stream_of(handle, "cudaStreamSynchronize");
        if (stream == NULL) {
            code = FAKE_INVALID_HANDLE;
        } else if (stream->graph != NULL) {
            fake_graph_spoil(stream->graph);
            code = fake_refuse(FAKE_CAPTURE_UNSUPPORTED,
                               "cudaStreamSynchronize: stream %p is being captured",
                               (void *)handle);
        } else {
            fake_drain(stream, stream->queued);
            code = fake_lost();
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

int
cudaStreamIsCapturing(pa_cuda_stream handle, int *status)
{
    fake_call call;
    int code = fake_enter(
        fake_begin(&call, "cudaStreamIsCapturing", "stream=%p", (void *)handle));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        const fake_stream *stream = fake_stream_of(handle, "cudaStreamIsCapturing");
        if (stream == NULL) {
            code = FAKE_INVALID_HANDLE;
        } else {
            *status = fake_graph_state(stream->graph);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

void
fake_synchronize_all(void)
{
    pthread_mutex_lock(&fake_lock);
    for (fake_stream *each = streams; each != NULL;) {
        if (each->done < each->queued && fake_lost() == 0) {
            fake_drain(each, each->queued);
            each = streams;
        } else {
            each = each->next;
        }
    }
    pthread_mutex_unlock(&fake_lock);
}

static void
hold(pa_cuda_stream handle, int change)
{
    pthread_mutex_lock(&fake_lock);
    fake_stream *stream = fake_stream_of(handle, "fake_hold");
    if (stream != NULL) {
        stream->held += change;
        pthread_cond_broadcast(&fake_changed);
    }
    pthread_mutex_unlock(&fake_lock);
}

void
fake_hold(pa_cuda_stream handle)
{
    hold(handle, 1);
}

void
fake_release(pa_cuda_stream handle)
{
    hold(handle, -1);
}

uint64_t
fake_queued(pa_cuda_stream handle)
{
    pthread_mutex_lock(&fake_lock);
    const fake_stream *stream = fake_stream_of(handle, "fake_queued");
    uint64_t queued = stream == NULL ? 0 : stream->queued - stream->done;
    pthread_mutex_unlock(&fake_lock);
    return queued;
}
