/* What a way between GPUs gives to devices.c: one table of functions. All are called by
 * every rank of the group, in the same order, after a meeting in which all have seen
 * what each rank is about to do. Backends trust their arguments. In `stream` and
 * `reduce` the rank's device is the thread's current one; an error there breaks the
 * group, which the caller does, with the operation and the rank in the text. */
#ifndef PA_COMM_DEVICE_BACKEND_H
#define PA_COMM_DEVICE_BACKEND_H

#include "comm/device/devices.h"
#include "math/reduction.h"

/* One rank's share of moving bytes: as pa_comm_stream, with all parts on the rank's
 * device and in order on `stream`. Every rank has as many parts in a flow. Where all
 * receive, parts of one index that are as long on every rank follow each other in
 * memory in the order of the ranks, or do so on no rank; the sender of a broadcast
 * receives nothing. */
typedef struct pa_device_work {
    uint32_t op;
    const pa_flow *send;
    const pa_flow *recv; /* [size] */
    int receiver;        /* the only rank that receives, or PA_NO_ROOT */
    int sender;          /* the only rank that sends, or PA_NO_ROOT */
    pa_cuda_stream stream;
    bool captured; /* the streams of all ranks are being captured in graphs */
} pa_device_work;

/* One rank's share of a reduction: `outputs[leaves]` stand where the leaves do. */
typedef struct pa_device_reduction {
    const pa_leaves *leaves;
    pa_reduction reduction;
    double scale;
    char *const *outputs;
    pa_cuda_stream stream;
    bool captured; /* as in pa_device_work */
} pa_device_reduction;

typedef struct pa_device_backend {
    const char *name;
    /* Whether its work may be captured in a CUDA graph. */
    bool captures;
    /* Collective, when the group's devices are set up: makes what the backend needs on
     * this rank. Any failure is told to all afterwards, who then all close it. */
    pa_status (*open)(pa_devices *devices, const pa_hooks *hooks, pa_error *error);
    /* Collective. Enqueues or does the work; once it returns, all that the caller
     * enqueues on the stream comes after it. */
    pa_status (*stream)(pa_devices *devices, const pa_device_work *work,
                        const pa_hooks *hooks, pa_error *error);
    /* (optional, default: no) Whether `reduce` can do a leaf of that dtype in a group
     * of that size; the same on every rank. */
    bool (*reduces)(int size, pa_reduction reduction, double scale, pa_dtype dtype);
    /* (optional, where `reduces`) Collective; as `stream`. */
    pa_status (*reduce)(pa_devices *devices, const pa_device_reduction *work,
                        const pa_hooks *hooks, pa_error *error);
    /* (optional) Ends what is enqueued and cannot end by itself, because the group is
     * broken; from any thread, once or more. */
    void (*abort)(pa_devices *devices);
    /* Frees what `open` made, also after an `open` that failed half-way; not
     * collective, and without calls of CUDA where `forked`. */
    void (*close)(pa_devices *devices, bool forked);
} pa_device_backend;

/* NCCL: one rank a GPU, one or many hosts. */
extern const pa_device_backend pa_device_nccl;
/* CUDA IPC: ranks of one host, on one GPU or on GPUs that can read each other. */
extern const pa_device_backend pa_device_ipc;
/* Pinned host memory and the host's backend: always possible. */
extern const pa_device_backend pa_device_staged;

#endif
