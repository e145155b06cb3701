/* libtorch's C shim: the few of its functions that read a tensor, found in the library
 * that torch has mapped. Their names and types are torch's promise
 * (torch/csrc/inductor/aoti_torch/c/shim.h); codes of dtypes are asked at run time. */
#ifndef PA_TORCH_SHIM_H
#define PA_TORCH_SHIM_H

#include "base/dtype.h"
#include "torch/dlpack.h"

#include <stdbool.h>

typedef struct pa_shim pa_shim;

/* Finds the shim; NULL when torch is not loaded, lacks a function, or memory is short.
 * Goes to pa_shim_close. */
pa_shim *
pa_shim_open(void);

/* Gives the shim back; NULL is fine. */
void
pa_shim_close(pa_shim *shim);

/* Fills a view of the tensor behind `handle`, whose shape and strides are borrowed from
 * it. False if the shim refuses or does not know the dtype. */
bool
pa_shim_view(const pa_shim *shim, void *handle, pa_dl_tensor *view);

/* Frees a handle; the tensor lives on if others hold it. */
void
pa_shim_release(const pa_shim *shim, void *handle);

#endif
