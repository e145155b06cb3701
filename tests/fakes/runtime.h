/* The inside of the fake CUDA runtime: devices, memory, streams and events, as its own
 * files and the fake NCCL use them. One lock guards all of it; functions that need it
 * held say so. */
#ifndef TESTS_FAKES_RUNTIME_H
#define TESTS_FAKES_RUNTIME_H

#include "fakes.h"
#include "record.h"
#include "settings.h"
#include "shared.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

/* Codes of the runtime that the core does not tell apart. */
enum {
    FAKE_INVALID_VALUE = 1,
    FAKE_INITIALIZATION = 3,
    FAKE_NO_DEVICE = 100,
    FAKE_INVALID_DEVICE = 101,
    FAKE_INVALID_CONTEXT = 201,
    FAKE_PEER_UNSUPPORTED = 217,
    FAKE_INVALID_HANDLE = 400,
    FAKE_CAPTURE_UNSUPPORTED = 900,
    FAKE_CAPTURE_INVALIDATED = 901,
    FAKE_CAPTURE_MERGE = 902,
    FAKE_CAPTURE_UNMATCHED = 903,
    FAKE_CAPTURE_UNJOINED = 904,
    FAKE_CAPTURED_EVENT = 907,
};

extern pthread_mutex_t fake_lock;
extern pthread_cond_t fake_changed; /* with the lock: a stream has moved */

/* The prototypes of what the table asks for, so that a definition of ours that differs
 * from the core's declaration does not compile. */
#define FAKE_DECLARE(name, parameters) int cuda##name parameters;
PA_CUDA_MAP(FAKE_DECLARE)
#undef FAKE_DECLARE

/* --- calls: device.c ------------------------------------------------------------ */

/* Begins a call of the runtime that only asks: `code` is fake_begin's. Refuses a forked
 * child and a lost device. */
int
fake_ask(int code);

/* Begins a call that uses the thread's current device. */
int
fake_enter(int code);

/* The same for a call that a capture in mode "global" forbids to everybody. */
int
fake_enter_unsafe(int code, const char *name);

/* Ends a call of the runtime: records it, and remembers an error for cudaGetLastError.
 */
int
fake_leave(const fake_call *call, int code);

/* The process that has initialized CUDA; 0: none yet. */
pid_t
fake_owner(void);

/* The calling thread's current device. */
int
fake_current(void);

/* The code that all devices are lost with; 0: none is. */
int
fake_lost(void);

/* --- memory: memory.c ----------------------------------------------------------- */

typedef enum fake_kind {
    FAKE_DEVICE,   /* cudaMalloc */
    FAKE_TENSOR,   /* fake_alloc */
    FAKE_IMPORTED, /* cudaIpcOpenMemHandle */
    FAKE_PINNED,   /* cudaHostAlloc */
} fake_kind;

/* A place in a stream's work. */
typedef struct fake_mark {
    uint64_t stream; /* its serial */
    uint64_t position;
    struct fake_mark *next;
} fake_mark;

/* A range of live memory; kept sorted by address. */
typedef struct fake_block {
    char *address;
    size_t nbytes;
    fake_kind kind;
    int device;
    uint64_t serial;
    size_t offset; /* in the arena of its device, or of the process it is from */
    int opened;    /* of an imported block: times that it was opened, and the process */
    int process;   /* and the serial that it is from */
    uint64_t origin;
    uint32_t entry; /* of memory that was exported: its place in the table; else 0 */
    bool dead;      /* of a tensor: given back, not yet passed by its streams, */
    uint64_t owner; /* of which this one is its own, by its serial */
    fake_mark *marks;
    struct fake_block *shadow; /* of lent memory: where other ranks can read it */
    struct fake_block *next;
} fake_block;

/* With the lock: the live block that holds the address; NULL. */
fake_block *
fake_block_of(const void *address);

/* Where other processes find these bytes of a device: the address itself, or for lent
 * memory a copy that is made now. */
const char *
fake_shown(const char *address, size_t nbytes);

/* With the lock: enters a block that was made elsewhere. */
void
fake_block_add(fake_block *block);

/* With the lock: takes a block off the list; who calls frees it. */
void
fake_block_remove(fake_block *block);

/* With the lock: the block that begins at an address and is unused, to free it by the
 * function `name`; NULL after a violation. */
fake_block *
fake_block_to_free(void *address, fake_kind kind, const char *name);

/* With the lock, before memory of cudaMalloc is freed: its handle is void. */
void
fake_export_end(const fake_block *block);

/* With the lock: whether the range is wholly inside live memory of a device, or no
 * device's memory at all; else a violation in the words of `call`. */
bool
fake_range_check(const void *address, size_t nbytes, const char *call);

/* With the lock: the live blocks, in order. */
fake_block *
fake_blocks(void);

/* With the lock: the memory of a device as the other processes open it. */
const fake_arena *
fake_arena_of(int device);

/* With the lock, whenever a stream has moved: lets go of dead tensors that it passed.
 */
void
fake_tensors_release(void);

/* --- streams: stream.c ---------------------------------------------------------- */

/* Bytes that a piece of work reads or writes. */
typedef struct fake_use {
    const char *address;
    size_t nbytes;
    bool writes;
} fake_use;

/* A piece of work: the beginning of a struct of whoever queues it. */
typedef struct fake_op {
    const char *name;
    void (*run)(struct fake_op *op);     /* without the lock */
    void (*destroy)(struct fake_op *op); /* without the lock; frees the whole */
    const fake_use *uses;
    size_t nuses;
    uint64_t position;
    struct fake_op *next;
} fake_op;

typedef struct fake_stream {
    uint64_t serial;
    int device;
    bool usual;     /* the default stream of its device */
    bool blocking;  /* in step with the default stream */
    bool destroyed; /* ends when its work is done */
    int held;
    int waiters;
    uint64_t queued;
    uint64_t done;
    uint64_t random;
    uint64_t launched; /* position of its latest work of NCCL */
    fake_mark *clock;  /* what is queued next comes after these */
    fake_op *first;
    fake_op **last;
    fake_graph *graph; /* being captured */
    struct fake_stream *next;
} fake_stream;

/* With the lock: the stream of a handle; NULL after a violation. */
fake_stream *
fake_stream_of(pa_cuda_stream handle, const char *call);

/* With the lock: the default stream of a device. */
fake_stream *
fake_stream_default(int device);

/* The handle that stands for a stream. */
pa_cuda_stream
fake_stream_handle(const fake_stream *stream);

/* With the lock: queues work, or captures it; its position on the stream (0 when it was
 * captured). Never runs it. */
uint64_t
fake_push(fake_stream *stream, fake_op *op);

/* With the lock: queues on `stream` a wait for what is queued on `other` now. */
void
fake_push_after(fake_stream *stream, const fake_stream *other);

/* With the lock: whether a position was passed; also true of a stream that is gone. */
bool
fake_passed(uint64_t serial, uint64_t position);

/* With the lock, which it gives up meanwhile: waits for a position, or a loss. */
void
fake_drain(fake_stream *stream, uint64_t position);

/* With the lock: the first stream; the others by `next`. */
fake_stream *
fake_streams(void);

/* With the lock: the name of queued work that uses part of a range, and its stream;
 * NULL. */
const char *
fake_used_by(const char *address, size_t nbytes, const fake_stream **stream);

/* --- order: order.c ------------------------------------------------------------- */

/* With the lock: what is behind the clock comes after a position of a stream. */
void
fake_clock_know(fake_mark **clock, uint64_t stream, uint64_t position);

/* With the lock: the same for all that another clock has. */
void
fake_clock_merge(fake_mark **clock, const fake_mark *other);

/* Empties a clock. */
void
fake_clock_free(fake_mark **clock);

/* With the lock: unfinished work of another stream that what comes next on `stream` is
 * not ordered after, though they share memory that one of them writes; NULL. */
const fake_op *
fake_unordered(const fake_stream *stream, const fake_use *uses, size_t count,
               const fake_stream **where, const char **address);

/* With the lock: a violation if there is such work for what is about to be queued. */
void
fake_order_check(const fake_stream *stream, const fake_op *op);

/* --- events: event.c ------------------------------------------------------------ */

/* The state of an event that all processes share. */
typedef struct fake_slot {
    _Atomic uint64_t recorded; /* records asked for */
    _Atomic uint64_t done;     /* the latest that was reached */
    _Atomic uint32_t bell;
    _Atomic uint32_t generation; /* odd: in use */
} fake_slot;

typedef struct fake_event {
    uint64_t serial;
    int device;
    unsigned int flags;
    bool imported;
    bool exported;
    bool destroyed;
    int users; /* queued work */
    fake_slot *slot;
    fake_mark *clock; /* where it was recorded, and what that came after */
    void *mapping;    /* of an imported event: what to unmap */
    size_t mapping_bytes;
    fake_graph *graph; /* captured in; which stream, behind how much work */
    uint64_t captured_on;
    size_t captured;
    struct fake_event *next;
} fake_event;

/* With the lock: the event of a handle; NULL after a violation. */
fake_event *
fake_event_of(pa_cuda_event handle, const char *call);

/* With the lock: a new event around a slot (NULL: a new one of its own). */
fake_event *
fake_event_make(int device, unsigned int flags, fake_slot *slot);
pa_cuda_event
fake_event_handle(const fake_event *event);

/* With the lock: queued work no longer needs the event. */
void
fake_event_unuse(fake_event *event);

/* The memory of this process' events. */
const fake_arena *
fake_slots(void);

/* With the lock: the first event; the others by `next`. */
fake_event *
fake_events(void);

/* --- capture: capture.c --------------------------------------------------------- */

/* With the lock: adds work to the graph that the stream is captured into. */
void
fake_graph_add(const fake_stream *stream, fake_op *op);

/* With the lock: records an event on a stream that is being captured. */
void
fake_graph_record(fake_event *event, fake_stream *stream);

/* With the lock: a stream waits for an event that was recorded in a capture, and
 * becomes part of it. A code of CUDA's. */
int
fake_graph_wait(fake_stream *stream, const fake_event *event);

/* With the lock: as cudaStreamIsCapturing says it of a stream's graph, or none. */
int
fake_graph_state(const fake_graph *graph);

/* With the lock: whether a capture forbids unsafe calls to this thread. */
bool
fake_graph_forbids(void);

/* With the lock: the capture can give no graph any more. */
void
fake_graph_spoil(fake_graph *graph);

/* --- reports: live.c ------------------------------------------------------------ */

/* A library on top says what of its own is alive, by lines of `line(context, text)`. */
typedef void (*fake_line)(void *context, const char *text);
void
fake_live_also(void (*each)(fake_line line, void *context));

/* With the lock: waits for all streams of a device (-1: of all), as the real calls that
 * free memory do. */
void
fake_drain_device(int device);

#endif
