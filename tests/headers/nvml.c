/* Whether csrc/gpu/nvml_table.h says what NVML's header says. It is compiled and never
 * run. */
#include "gpu/nvml_table.h"
#include "same.h"

#include <stddef.h>

/* The header would otherwise map names to the newest versions of the functions. */
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>

SAME_VALUE(PA_NVML_SUCCESS, NVML_SUCCESS);
SAME_VALUE(PA_NVML_NOT_SUPPORTED, NVML_ERROR_NOT_SUPPORTED);
SAME_VALUE(PA_NVML_NO_PERMISSION, NVML_ERROR_NO_PERMISSION);
SAME_VALUE(PA_NVML_MIG_ENABLED, NVML_DEVICE_MIG_ENABLE);
SAME_VALUE(PA_NVML_TEXT, NVML_DEVICE_NAME_V2_BUFFER_SIZE);
SAME_VALUE(PA_NVML_TEXT, NVML_DEVICE_UUID_V2_BUFFER_SIZE);
SAME_FORM(pa_nvml_device, nvmlDevice_t);
SAME_FORM(int, nvmlReturn_t);
SAME_FORM(pa_nvml_memory, nvmlMemory_t);
SAME_VALUE(offsetof(pa_nvml_memory, total), offsetof(nvmlMemory_t, total));
SAME_VALUE(offsetof(pa_nvml_memory, free), offsetof(nvmlMemory_t, free));

/* From here on our names of types stand for NVML's, so that our parameters can be
 * compared with NVML's as they are. */
#define pa_nvml_device nvmlDevice_t
#define pa_nvml_memory nvmlMemory_t

#define SAME_CALL(name, parameters, may_lack)                                          \
    SAME_NAME(nvml##name, "nvml" #name);                                               \
    SAME_TYPE(&nvml##name, nvmlReturn_t(*) parameters);
PA_NVML_MAP(SAME_CALL)

SAME_TYPE(((pa_nvml *)NULL)->ErrorString, const char *(*)(int));
SAME_TYPE(&nvmlErrorString, const char *(*)(nvmlReturn_t));
