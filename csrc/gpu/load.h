/* What becomes of a library that was opened: its file here fills its table. For
 * gpu/library.c, which calls each function at most once, one after the other. */
#ifndef PA_GPU_LOAD_H
#define PA_GPU_LOAD_H

#include "gpu/library.h"
#include "sys/library.h"

/* An entry of the table `type` for the function `prefix``member`. A macro, because it
 * makes the function's name of the member's. */
#define PA_GPU_ENTRY(type, prefix, member, may_lack)                                   \
    {prefix #member, offsetof(type, member), may_lack}

/* Fills a table from an opened library; false, with the reason, where a function is
 * missing. */
bool
pa_gpu_fill(pa_gpu_library *library, const pa_library_entry *entries, size_t count,
            void *table);

/* The runtime's part of pa_cuda, and its version. Off when a function is missing. */
void
pa_cuda_load(pa_gpu_library *library);

/* The driver's part of pa_cuda, and its version. Off when a function is missing. */
void
pa_cuda_load_driver(pa_gpu_library *library);

/* pa_nccl and its version. Off when a function is missing or it is too old. */
void
pa_nccl_load(pa_gpu_library *library);

/* NVML's table; its version is left unknown, because it would have to be initialised.
 * Off when a function is missing. */
void
pa_nvml_load(pa_gpu_library *library);

#endif
