/* NCCL's table: see the header. */
#include "gpu/nccl.h"

#include "base/text.h"
#include "gpu/load.h"

#include <stdio.h>

enum { VERSION_CAPACITY = 32 };

static pa_nccl known;

void
pa_nccl_load(pa_gpu_library *library)
{
#define PA_NCCL_ROW(name, parameters) PA_GPU_ENTRY(pa_nccl, "nccl", name, false),
    static const pa_library_entry entries[] = {
        PA_NCCL_MAP(PA_NCCL_ROW) PA_GPU_ENTRY(pa_nccl, "nccl", GetErrorString, false),
        PA_GPU_ENTRY(pa_nccl, "nccl", GetLastError, true),
        PA_GPU_ENTRY(pa_nccl, "nccl", CommRevoke, true),
    };
#undef PA_NCCL_ROW
    /* The version first: what an old one lacks is better said by its number. */
    static const pa_library_entry version[] = {
        PA_GPU_ENTRY(pa_nccl, "nccl", GetVersion, false),
    };
    if (!pa_gpu_fill(library, version, 1, &known)) {
        return;
    }
    int code = known.GetVersion(&library->version);
    char text[VERSION_CAPACITY];
    pa_nccl_version_format(library->version, text, sizeof text);
    if (code != PA_NCCL_SUCCESS) {
        pa_text_append(library->reason, sizeof library->reason,
                       "ncclGetVersion failed with code %d in %s", code, library->path);
    } else if (library->version < PA_NCCL_OLDEST) {
        pa_text_append(library->reason, sizeof library->reason,
                       "NCCL %s is too old, 2.14 or newer is needed: %s", text,
                       library->path);
    } else {
        (void)pa_gpu_fill(library, entries, sizeof entries / sizeof entries[0], &known);
    }
}

const pa_nccl *
pa_nccl_get(void)
{
    return pa_gpu_find(PA_GPU_NCCL)->handle != NULL ? &known : NULL;
}

int
pa_nccl_dtype_of(pa_dtype dtype, size_t *per_element)
{
    /* In DLPack's codes; a complex number is two floats of half its bits. */
    static const struct {
        uint8_t code;
        uint8_t bits;
        uint8_t per_element;
        pa_nccl_dtype found;
    } rows[] = {
        {PA_DTYPE_BOOL, 8, 1, PA_NCCL_UINT8},
        {PA_DTYPE_INT, 8, 1, PA_NCCL_INT8},
        {PA_DTYPE_INT, 32, 1, PA_NCCL_INT32},
        {PA_DTYPE_INT, 64, 1, PA_NCCL_INT64},
        {PA_DTYPE_UINT, 8, 1, PA_NCCL_UINT8},
        {PA_DTYPE_UINT, 32, 1, PA_NCCL_UINT32},
        {PA_DTYPE_UINT, 64, 1, PA_NCCL_UINT64},
        {PA_DTYPE_FLOAT, 16, 1, PA_NCCL_FLOAT16},
        {PA_DTYPE_FLOAT, 32, 1, PA_NCCL_FLOAT32},
        {PA_DTYPE_FLOAT, 64, 1, PA_NCCL_FLOAT64},
        {PA_DTYPE_BFLOAT, 16, 1, PA_NCCL_BFLOAT16},
        {PA_DTYPE_COMPLEX, 32, 2, PA_NCCL_FLOAT16},
        {PA_DTYPE_COMPLEX, 64, 2, PA_NCCL_FLOAT32},
        {PA_DTYPE_COMPLEX, 128, 2, PA_NCCL_FLOAT64},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].code == dtype.code && rows[i].bits == dtype.bits &&
            dtype.lanes == 1) {
            *per_element = rows[i].per_element;
            return (int)rows[i].found;
        }
    }
    return -1;
}

void
pa_nccl_version_format(int version, char *text, size_t capacity)
{
    /* Two digits for the minor number since 2.9, one before. */
    int thousand = version >= 10000 ? 10000 : 1000;
    (void)snprintf(text, capacity, "%d.%d.%d", version / thousand,
                   version % thousand / 100, version % 100);
}
