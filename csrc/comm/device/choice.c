/* Which way bytes take between GPUs: see the header. */
#include "comm/device/choice.h"

#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const pa_device_backend *const pa_device_ways[PA_DEVICE_WAYS] = {
    &pa_device_nccl,
    &pa_device_ipc,
    &pa_device_staged,
};

size_t
pa_device_way_index(const pa_device_backend *way)
{
    size_t index = 0;
    while (index + 1 < PA_DEVICE_WAYS && pa_device_ways[index] != way) {
        index++;
    }
    return index;
}

static const pa_device_backend *
find_way(const char *name, size_t length)
{
    for (size_t i = 0; i < PA_DEVICE_WAYS; i++) {
        const char *known = pa_device_ways[i]->name;
        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            return pa_device_ways[i];
        }
    }
    return NULL;
}

/* The number at `*text`, which moves behind it; false if there is none. */
static bool
read_bytes(const char **text, size_t *nbytes)
{
    char *end = NULL;
    if (**text < '0' || **text > '9') {
        return false;
    }
    errno = 0;
    unsigned long long number = strtoull(*text, &end, 10);
    if (errno != 0) {
        return false;
    }
    unsigned int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    *text = shift > 0 ? end + 1 : end;
    *nbytes = (size_t)number << shift;
    return *nbytes >> shift == number;
}

/* One row at `*text`, which moves behind it. */
static bool
read_row(const char **text, pa_device_row *row)
{
    size_t length = strcspn(*text, "<,");
    row->way = find_way(*text, length);
    row->up_to = SIZE_MAX;
    *text += length;
    if (row->way == NULL) {
        return false;
    }
    if (strncmp(*text, "<=", 2) == 0) {
        *text += 2;
        return read_bytes(text, &row->up_to);
    }
    return true;
}

pa_status
pa_device_choice_read(pa_device_choice *choice, const char *text, pa_error *error)
{
    pa_device_choice read = {0};
    const char *at = text;
    bool good = true;
    while (good && read.count < PA_DEVICE_WAYS) {
        pa_device_row *row = &read.rows[read.count];
        good = read_row(&at, row) && !pa_device_choice_names(&read, row->way) &&
               (read.count == 0 || row[-1].up_to < row->up_to);
        read.count++;
        if (*at != ',' || read.count == PA_DEVICE_WAYS) {
            break;
        }
        at++;
    }
    good = good && *at == '\0' && read.rows[read.count - 1].up_to == SIZE_MAX;
    if (!good) {
        return pa_error_set(error, PA_EARGUMENT,
                            "the ways between GPUs are \"%s\": write rows such as "
                            "\"staged<=4K,nccl\", of nccl, ipc and staged, each once, "
                            "with growing numbers of bytes and none in the last",
                            text);
    }
    *choice = read;
    return PA_OK;
}

void
pa_device_choice_format(const pa_device_choice *choice, char *text, size_t capacity)
{
    for (size_t i = 0; i < choice->count; i++) {
        const pa_device_row *row = &choice->rows[i];
        pa_text_append(text, capacity, "%s%s", i > 0 ? "," : "", row->way->name);
        if (row->up_to != SIZE_MAX) {
            pa_text_append(text, capacity, "<=%zu", row->up_to);
        }
    }
}

bool
pa_device_choice_names(const pa_device_choice *choice, const pa_device_backend *way)
{
    bool named = false;
    for (size_t i = 0; i < choice->count; i++) {
        named = named || choice->rows[i].way == way;
    }
    return named;
}

const pa_device_backend *
pa_device_choice_way(const pa_device_choice *choice, size_t nbytes)
{
    size_t row = 0;
    while (row + 1 < choice->count && nbytes > choice->rows[row].up_to) {
        row++;
    }
    return choice->rows[row].way;
}
