/* Capture into graphs. A graph is the list of captured work in the order of the calls,
 * which never contradicts the events between its streams; a launch queues all of it on
 * one stream. */
#include "runtime.h"

#include <stdlib.h>

enum { GLOBAL, THREAD_LOCAL, RELAXED };
enum { CAPTURE_ACTIVE = 1, CAPTURE_INVALIDATED = 2 };

/* A stream that takes part in a capture. */
typedef struct member {
    uint64_t stream;
    size_t added;  /* pieces of work captured on it */
    size_t joined; /* so many of these other streams have waited for */
    struct member *next;
} member;

struct fake_graph {
    fake_op *first;
    fake_op **last;
    size_t size;
    int mode;
    pthread_t thread;
    bool spoilt;
    bool capturing;
    uint64_t origin; /* serial of the stream on which the capture began */
    member *members;
    size_t queued; /* work of its launches that is not done */
    fake_graph *next;
};

/* One piece of a graph in a stream's queue. */
typedef struct replay_op {
    fake_op op;
    fake_graph *graph;
    fake_op *piece;
} replay_op;

static fake_graph *capturing;
/* Which captures forbid unsafe calls to a thread: those of the same names. */
static _Thread_local int own_mode = GLOBAL;
/* What the events of captures that have ended belong to. */
static fake_graph ended;

static member *
member_of(fake_graph *graph, const fake_stream *stream)
{
    member *each = graph->members;
    while (each != NULL && each->stream != stream->serial) {
        each = each->next;
    }
    if (each == NULL) {
        each = calloc(1, sizeof(*each));
        if (each == NULL) {
            abort();
        }
        each->stream = stream->serial;
        each->next = graph->members;
        graph->members = each;
    }
    return each;
}

void
fake_graph_add(const fake_stream *stream, fake_op *op)
{
    fake_graph *graph = stream->graph;
    op->next = NULL;
    *graph->last = op;
    graph->last = &op->next;
    graph->size++;
    member_of(graph, stream)->added++;
}

void
fake_graph_record(fake_event *event, fake_stream *stream)
{
    event->graph = stream->graph;
    event->captured_on = stream->serial;
    event->captured = member_of(stream->graph, stream)->added;
}

int
fake_graph_wait(fake_stream *stream, const fake_event *event)
{
    fake_graph *graph = event->graph;
    if (!graph->capturing || (stream->graph != NULL && stream->graph != graph)) {
        return fake_refuse(FAKE_CAPTURE_MERGE,
                           "cudaStreamWaitEvent: the event was recorded in a capture "
                           "that is not that of the stream, or has ended");
    }
    for (member *each = graph->members; each != NULL; each = each->next) {
        if (each->stream == event->captured_on && each->joined < event->captured) {
            each->joined = event->captured;
        }
    }
    stream->graph = graph;
    member_of(graph, stream);
    return 0;
}

void
fake_graph_spoil(fake_graph *graph)
{
    graph->spoilt = true;
}

int
fake_graph_state(const fake_graph *graph)
{
    if (graph == NULL) {
        return PA_CUDA_CAPTURE_NONE;
    }
    return graph->spoilt ? CAPTURE_INVALIDATED : CAPTURE_ACTIVE;
}

int
cudaThreadExchangeStreamCaptureMode(int *mode)
{
    fake_call call;
    int code = fake_enter(
        fake_begin(&call, "cudaThreadExchangeStreamCaptureMode", "mode=%d", *mode));
    if (code == 0 && (*mode < GLOBAL || *mode > RELAXED)) {
        code = FAKE_INVALID_VALUE;
    }
    if (code == 0) {
        int before = own_mode;
        own_mode = *mode;
        *mode = before;
    }
    return fake_leave(&call, code);
}

bool
fake_graph_forbids(void)
{
    for (fake_graph *each = capturing; each != NULL; each = each->next) {
        bool own = pthread_equal(each->thread, pthread_self()) != 0;
        bool others = each->mode == GLOBAL && own_mode == GLOBAL;
        if (own_mode != RELAXED && each->mode != RELAXED && (own || others)) {
            each->spoilt = true;
            return true;
        }
    }
    return false;
}

int
fake_capture_begin(pa_cuda_stream handle, int mode)
{
    int code = 0;
    pthread_mutex_lock(&fake_lock);
    fake_stream *stream = fake_stream_of(handle, "fake_capture_begin");
    if (stream == NULL) {
        code = FAKE_INVALID_HANDLE;
    } else if (stream->usual || stream->graph != NULL) {
        code = fake_refuse(FAKE_CAPTURE_UNSUPPORTED,
                           "fake_capture_begin: %p is the default stream, or is being "
                           "captured",
                           (void *)handle);
    } else {
        fake_graph *graph = calloc(1, sizeof(*graph));
        if (graph == NULL) {
            abort();
        }
        graph->last = &graph->first;
        graph->mode = mode;
        graph->thread = pthread_self();
        graph->capturing = true;
        graph->origin = stream->serial;
        graph->next = capturing;
        capturing = graph;
        stream->graph = graph;
    }
    pthread_mutex_unlock(&fake_lock);
    return code;
}

/* With the lock: frees a graph that captures no more. */
static void
destroy(fake_graph *graph)
{
    while (graph->members != NULL) {
        member *next = graph->members->next;
        free(graph->members);
        graph->members = next;
    }
    fake_op *op = graph->first;
    free(graph);
    /* What work holds is let go of with the lock, by itself. */
    pthread_mutex_unlock(&fake_lock);
    while (op != NULL) {
        fake_op *next = op->next;
        op->destroy(op);
        op = next;
    }
    pthread_mutex_lock(&fake_lock);
}

/* With the lock: nothing belongs to the capture any more. The code for its graph. */
static int
detach(fake_graph *graph)
{
    int code = graph->spoilt ? FAKE_CAPTURE_INVALIDATED : 0;
    for (const member *each = graph->members; each != NULL; each = each->next) {
        if (each->stream != graph->origin && each->joined < each->added) {
            code = code != 0 ? code : FAKE_CAPTURE_UNJOINED;
        }
    }
    for (fake_stream *each = fake_streams(); each != NULL; each = each->next) {
        if (each->graph == graph) {
            each->graph = NULL;
        }
    }
    for (fake_event *each = fake_events(); each != NULL; each = each->next) {
        if (each->graph == graph) {
            each->graph = &ended;
        }
    }
    fake_graph **place = &capturing;
    while (*place != graph) {
        place = &(*place)->next;
    }
    *place = graph->next;
    graph->capturing = false;
    return code;
}

int
fake_capture_end(pa_cuda_stream handle, fake_graph **out)
{
    int code = 0;
    *out = NULL;
    pthread_mutex_lock(&fake_lock);
    const fake_stream *stream = fake_stream_of(handle, "fake_capture_end");
    if (stream == NULL || stream->graph == NULL ||
        stream->graph->origin != stream->serial) {
        code = fake_refuse(FAKE_CAPTURE_UNMATCHED,
                           "fake_capture_end: no capture began on stream %p",
                           (void *)handle);
    } else {
        fake_graph *graph = stream->graph;
        code = detach(graph);
        if (code != 0) {
            destroy(graph);
        } else {
            *out = graph;
        }
    }
    pthread_mutex_unlock(&fake_lock);
    return code;
}

static void
replay_run(fake_op *op)
{
    fake_op *piece = ((replay_op *)op)->piece;
    piece->run(piece);
}

static void
replay_destroy(fake_op *op)
{
    pthread_mutex_lock(&fake_lock);
    ((replay_op *)op)->graph->queued--;
    pthread_cond_broadcast(&fake_changed);
    pthread_mutex_unlock(&fake_lock);
    free(op);
}

int
fake_graph_launch(fake_graph *graph, pa_cuda_stream handle)
{
    int code = 0;
    pthread_mutex_lock(&fake_lock);
    fake_stream *stream = fake_stream_of(handle, "fake_graph_launch");
    for (fake_op *piece = graph->first; stream != NULL && piece != NULL;
         piece = piece->next) {
        replay_op *made = calloc(1, sizeof(*made));
        if (made == NULL) {
            abort();
        }
        made->op = (fake_op){.name = piece->name,
                             .run = replay_run,
                             .destroy = replay_destroy,
                             .uses = piece->uses,
                             .nuses = piece->nuses};
        made->graph = graph;
        made->piece = piece;
        graph->queued++;
        fake_push(stream, &made->op);
    }
    code = stream == NULL ? FAKE_INVALID_HANDLE : 0;
    pthread_mutex_unlock(&fake_lock);
    return code;
}

size_t
fake_graph_size(const fake_graph *graph)
{
    return graph->size;
}

void
fake_graph_destroy(fake_graph *graph)
{
    pthread_mutex_lock(&fake_lock);
    while (graph->queued > 0) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    destroy(graph);
    pthread_mutex_unlock(&fake_lock);
}
