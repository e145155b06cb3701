/* Element types and their names: see the header. */
#include "base/dtype.h"

#include <stdio.h>

typedef struct named_dtype {
    const char *name;
    pa_dtype dtype;
} named_dtype;

static const named_dtype names[] = {
#define PA_DTYPE_ROW(name, code, bits, lanes) {#name, {code, bits, lanes, 0}},
    PA_DTYPE_MAP(PA_DTYPE_ROW)
#undef PA_DTYPE_ROW
};

void
pa_dtype_format(pa_dtype dtype, char *text, size_t capacity)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (pa_dtype_equal(names[i].dtype, dtype)) {
            (void)snprintf(text, capacity, "%s", names[i].name);
            return;
        }
    }
    if (dtype.code == PA_DTYPE_OTHER) {
        (void)snprintf(text, capacity, "NumPy type %08x", dtype.detail);
    } else {
        (void)snprintf(text, capacity, "type (%u, %u, %u)", dtype.code, dtype.bits,
                       dtype.lanes);
    }
}
