/* Where the libraries of a GPU come from: found at first use, never needed to build.
 *
 * In order: one that is already mapped (torch's, so that a process has one of each),
 * the paths that the caller named, the plain name where none of these could be opened.
 * One that is too old or lacks a function is passed over. What was found, or why
 * nothing was, can be asked for. */
#ifndef PA_GPU_LIBRARY_H
#define PA_GPU_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

/* The libraries that we open. */
typedef enum pa_gpu_kind {
    PA_GPU_CUDART,
    PA_GPU_DRIVER,
    PA_GPU_NCCL,
    PA_GPU_NVML,
    PA_GPU_KINDS,
} pa_gpu_kind;

enum { PA_GPU_PATH = 4096, PA_GPU_REASON = 512 };

/* What became of looking for a library. */
typedef struct pa_gpu_library {
    void *handle; /* NULL: not found, or not usable */
    bool mapped;  /* somebody else had loaded it */
    int version;  /* as the library's own call says it; 0: unknown */
    char path[PA_GPU_PATH];
    char reason[PA_GPU_REASON]; /* why it is off; empty where it is on */
    char
        passed[PA_GPU_REASON]; /* where it is on: why others before it were not taken */
} pa_gpu_library;

/* Names the files to try for a library, first to last, in place of those named before.
 * Has no effect once the library was looked for: false then, and when memory is short.
 * The strings are copied. */
bool
pa_gpu_search(pa_gpu_kind kind, const char *const *paths, size_t count);

/* What was found of a library; looks for it at the first call, which initialises
 * nothing of CUDA. Never NULL; the same for the whole life of the process. From any
 * thread. */
const pa_gpu_library *
pa_gpu_find(pa_gpu_kind kind);

/* A name for people: "CUDA runtime", "CUDA driver", "NCCL", "NVML". */
const char *
pa_gpu_kind_text(pa_gpu_kind kind);

#endif
