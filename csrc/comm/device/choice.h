/* Which way bytes take between GPUs: by the payload, from a table that users can print
 * and write, such as "staged<=4096,nccl". */
#ifndef PA_COMM_DEVICE_CHOICE_H
#define PA_COMM_DEVICE_CHOICE_H

#include "comm/device/backend.h"

/* All ways, the best first. */
extern const pa_device_backend *const pa_device_ways[PA_DEVICE_WAYS];

/* A way's index among all. */
size_t
pa_device_way_index(const pa_device_backend *way);

/* Reads rows "WAY<=BYTES" and, last, "WAY", with commas between them; BYTES may end in
 * K, M or G. PA_EARGUMENT with what was expected. */
pa_status
pa_device_choice_read(pa_device_choice *choice, const char *text, pa_error *error);

/* Writes rows as pa_device_choice_read takes them; appends to the text. */
void
pa_device_choice_format(const pa_device_choice *choice, char *text, size_t capacity);

/* Whether a row names the way. */
bool
pa_device_choice_names(const pa_device_choice *choice, const pa_device_backend *way);

/* The way for a payload; the choice has rows. */
const pa_device_backend *
pa_device_choice_way(const pa_device_choice *choice, size_t nbytes);

#endif
