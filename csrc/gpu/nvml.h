/* NVML: what the driver says of GPUs without CUDA being initialised in this process. */
#ifndef PA_GPU_NVML_H
#define PA_GPU_NVML_H

#include "base/status.h"
#include "gpu/library.h"

#include <stdint.h>

typedef struct pa_nvml_gpu {
    char name[96];
    char uuid[96];        /* "GPU-..." */
    uint64_t memory;      /* bytes of all its memory; 0: unknown */
    uint64_t memory_free; /* bytes; 0: unknown */
    int mig;              /* divided into instances: 1, not: 0, unknown: -1 */
} pa_nvml_gpu;

/* All GPUs of the machine that the system lets this process ask for, whatever
 * CUDA_VISIBLE_DEVICES says, into new memory (free). PA_ESYSTEM where NVML is not to be
 * had or refuses, with a sentence; PA_EMEMORY. */
pa_status
pa_nvml_list(pa_nvml_gpu **gpus, int *count, pa_error *error);

/* The driver's version as text, such as "580.65.06"; as pa_nvml_list. */
pa_status
pa_nvml_driver(char *text, size_t capacity, pa_error *error);

#endif
