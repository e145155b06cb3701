/* One gather over NCCL on every rank, for the C tests of GPUs. */
#ifndef TESTS_C_DEVICE_GATHER_H
#define TESTS_C_DEVICE_GATHER_H

#include "device_ranks.h"

#include "comm/device/backend.h"

enum { BYTES = 5000 };

/* All parts are in one piece of the device's memory. */
typedef struct gathering {
    pa_place place;
    pa_part send;
    pa_part recv[MOST_RANKS];
    pa_flow sent;
    pa_flow flows[MOST_RANKS];
    char *own;
    char *all;
} gathering;

static inline void
gather_make(device_rank *rank, gathering *made, pa_cuda_stream stream)
{
    made->place = (pa_place){rank->rank, stream};
    made->own = fakes.alloc(rank->rank, BYTES, stream);
    made->all = fakes.alloc(rank->rank, (size_t)BYTES * MOST_RANKS, stream);
    memset(made->own, rank->rank + 1, BYTES);
    made->send = (pa_part){made->own, BYTES, &made->place};
    made->sent = (pa_flow){&made->send, 1, BYTES};
    for (int peer = 0; peer < rank->size; peer++) {
        made->recv[peer] =
            (pa_part){made->all + (ptrdiff_t)peer * BYTES, BYTES, &made->place};
        made->flows[peer] = (pa_flow){&made->recv[peer], 1, BYTES};
    }
}

/* Enqueues the gather, or captures it. */
static inline pa_status
gather_enqueue(device_rank *rank, gathering *made, bool captured, pa_error *error)
{
    pa_device_work work = {
        .op = PA_OP_GATHER,
        .send = &made->sent,
        .recv = made->flows,
        .receiver = PA_NO_ROOT,
        .sender = PA_NO_ROOT,
        .stream = made->place.stream,
        .captured = captured,
    };
    return pa_device_nccl.stream(rank->devices, &work, NULL, error);
}

static inline pa_status
gather_on(device_rank *rank, gathering *made, pa_cuda_stream stream, pa_error *error)
{
    gather_make(rank, made, stream);
    return gather_enqueue(rank, made, false, error);
}

/* The end of what was enqueued, whatever became of it, and of its memory. */
static inline void
gather_end(device_rank *rank, gathering *made, pa_cuda_stream stream)
{
    (void)rank->cuda->StreamSynchronize(stream);
    fakes.free(made->own);
    fakes.free(made->all);
}

static inline void
open_nccl(device_rank *rank)
{
    pa_error error = PA_ERROR_INIT;
    rank->devices->cuda = rank->cuda;
    CHECK_EQUAL(pa_device_nccl.open(rank->devices, NULL, &error), PA_OK);
}

/* A stream beside the default one. */
static inline void
new_stream(device_rank *rank, pa_cuda_stream *stream)
{
    CHECK_EQUAL(rank->cuda->StreamCreateWithFlags(stream, PA_CUDA_STREAM_NON_BLOCKING),
                PA_CUDA_SUCCESS);
}

#endif
