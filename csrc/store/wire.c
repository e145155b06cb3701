/* The protocol of torch's TCPStore: see the header. */
#include "store/wire.h"

#include <endian.h>
#include <string.h>

/* The fields of each request, NULL where no request has that number. */
#define PA_STORE_OP_FIELDS(name, number, fields) [(number)] = (fields),
static const char *const fields_of[256] = {PA_STORE_OP_MAP(PA_STORE_OP_FIELDS)};
#undef PA_STORE_OP_FIELDS

static uint64_t
load_u64(const char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

/* The greatest length or count that a field may state. */
static uint64_t
limit_of(char field)
{
    switch (field) {
    case 'k':
        return PA_STORE_KEY_MAX;
    case 's':
        return PA_STORE_SECRET_MAX;
    case 'n':
        return PA_STORE_KEYS_MAX;
    default:
        return PA_STORE_VALUE_MAX;
    }
}

/* Moves on to the field after this one, which may be the first of another round. */
static void
next_field(pa_frame_scan *scan)
{
    scan->fields++;
    if (*scan->fields == '\0' && scan->rounds > 1) {
        scan->rounds--;
        scan->fields = scan->again;
    }
}

pa_frame_state
pa_frame_scan_on(pa_frame_scan *scan, pa_bytes bytes)
{
    if (scan->fields == NULL) {
        if (bytes.nbytes == 0) {
            return PA_FRAME_PARTIAL;
        }
        scan->fields = fields_of[(unsigned char)bytes.data[0]];
        if (scan->fields == NULL) {
            return PA_FRAME_BAD;
        }
        scan->at = 1;
    }
    while (*scan->fields != '\0') {
        char field = *scan->fields;
        size_t width = field == '4' ? 4 : 8;
        bool states_size = field != '4' && field != '8';
        uint64_t size = 0;
        if (bytes.nbytes - scan->at < width) {
            return PA_FRAME_PARTIAL;
        }
        if (states_size) {
            size = load_u64(bytes.data + scan->at);
            if (size > limit_of(field)) {
                return PA_FRAME_BAD;
            }
        }
        if (field != 'n') {
            width += (size_t)size;
        }
        if (scan->at + width > PA_STORE_REQUEST_MAX) {
            return PA_FRAME_BAD;
        }
        if (bytes.nbytes - scan->at < width) {
            return PA_FRAME_PARTIAL;
        }
        scan->at += width;
        if (field == 'n') {
            scan->again = scan->fields + 1;
            scan->rounds = size;
            if (size == 0) {
                scan->fields += strlen(scan->fields);
                break;
            }
        }
        next_field(scan);
    }
    return PA_FRAME_WHOLE;
}

uint32_t
pa_frame_read_u32(pa_frame_reader *reader)
{
    uint32_t value;
    memcpy(&value, reader->at, sizeof value);
    reader->at += sizeof value;
    return le32toh(value);
}

uint64_t
pa_frame_read_u64(pa_frame_reader *reader)
{
    uint64_t value = load_u64(reader->at);
    reader->at += sizeof value;
    return value;
}

pa_bytes
pa_frame_read_bytes(pa_frame_reader *reader)
{
    size_t nbytes = (size_t)pa_frame_read_u64(reader);
    pa_bytes bytes = {reader->at, nbytes};
    reader->at += nbytes;
    return bytes;
}

bool
pa_frame_put_u8(pa_buffer *buffer, unsigned value)
{
    unsigned char byte = (unsigned char)value;
    return pa_buffer_put(buffer, &byte, sizeof byte);
}

bool
pa_frame_put_u32(pa_buffer *buffer, uint32_t value)
{
    value = htole32(value);
    return pa_buffer_put(buffer, &value, sizeof value);
}

bool
pa_frame_put_u64(pa_buffer *buffer, uint64_t value)
{
    value = htole64(value);
    return pa_buffer_put(buffer, &value, sizeof value);
}

bool
pa_frame_put_bytes(pa_buffer *buffer, pa_bytes bytes)
{
    return pa_frame_put_u64(buffer, bytes.nbytes) &&
           pa_buffer_put(buffer, bytes.data, bytes.nbytes);
}
