/* The protocol of torch's TCPStore (2.4 to 2.13): requests as bytes, and back.
 *
 * All numbers are little-endian. A request is one byte that says what is asked for,
 * then its fields; `key` and `value` are a u64 length and that many bytes.
 *
 *     +----+----------------------+     +----+----------+-----+----------+-----+
 *     | op | fields               |     |  1 | u64 nkey | key | u64 nval | val |  SET
 *     +----+----------------------+     +----+----------+-----+----------+-----+
 *
 * What is asked for and what is answered stands in the README of this folder. Our own
 * addition, SHOW_SECRET, is far from torch's numbers, which only grow at their end. */
#ifndef PA_STORE_WIRE_H
#define PA_STORE_WIRE_H

#include "store/buffer.h"

/* Requests: name, number, and fields in order: `4` and `8` numbers of so many bytes,
 * `k` a key, `v` a value, `s` a secret, `n` a count of how often the rest comes. */
#define PA_STORE_OP_MAP(X)                                                             \
    X(VALIDATE, 0, "4")                                                                \
    X(SET, 1, "kv")                                                                    \
    X(COMPARE_SET, 2, "kvv")                                                           \
    X(GET, 3, "k")                                                                     \
    X(ADD, 4, "k8")                                                                    \
    X(CHECK, 5, "nk")                                                                  \
    X(WAIT, 6, "nk")                                                                   \
    X(GETNUMKEYS, 7, "")                                                               \
    X(DELETE_KEY, 8, "k")                                                              \
    X(APPEND, 9, "kv")                                                                 \
    X(MULTI_GET, 10, "nk")                                                             \
    X(MULTI_SET, 11, "nkv")                                                            \
    X(CANCEL_WAIT, 12, "")                                                             \
    X(PING, 13, "4")                                                                   \
    X(QUEUE_PUSH, 14, "kv")                                                            \
    X(QUEUE_POP, 15, "k")                                                              \
    X(QUEUE_LEN, 16, "k")                                                              \
    X(LIST_KEYS, 17, "")                                                               \
    X(BARRIER, 18, "k8")                                                               \
    X(SHOW_SECRET, 112, "s")

#define PA_STORE_OP_NAME(name, number, fields) PA_STORE_##name = (number),
typedef enum pa_store_op { PA_STORE_OP_MAP(PA_STORE_OP_NAME) } pa_store_op;
#undef PA_STORE_OP_NAME

#define PA_STORE_MAGIC UINT32_C(0x3C85F7CE) /* what VALIDATE has to say */

/* One-byte answers. */
enum {
    PA_STORE_READY = 0,
    PA_STORE_NOT_READY = 1,
    PA_STORE_STOP_WAITING = 0,
    PA_STORE_WAIT_CANCELED = 1,
    PA_STORE_TRUSTED = 0,
    PA_STORE_NOT_TRUSTED = 1,
};

/* Limits: torch's own for a key, a value and the number of keys; the others keep one
 * client from taking all memory. */
enum {
    PA_STORE_KEY_MAX = 8 << 10,
    PA_STORE_VALUE_MAX = 8 << 20,
    PA_STORE_SECRET_MAX = 256,
    PA_STORE_KEYS_MAX = 128 << 10,
    PA_STORE_REQUEST_MAX = 64 << 20,
    PA_STORE_WHOLE_MAX = 64 << 20, /* a value made by several APPENDs */
    PA_STORE_ANSWER_MAX = 256 << 20,
};

typedef enum pa_frame_state {
    PA_FRAME_PARTIAL, /* more bytes are needed */
    PA_FRAME_WHOLE,   /* the first `at` bytes are one request */
    PA_FRAME_BAD,     /* no request begins like this, or a limit is passed */
} pa_frame_state;

/* How far a request was scanned; all zero before its first byte. */
typedef struct pa_frame_scan {
    size_t at;          /* bytes that were looked at */
    const char *fields; /* those still to come; NULL before the first byte */
    const char *again;  /* where the repeated fields begin */
    uint64_t rounds;    /* how often they still come, this time included */
} pa_frame_scan;

/* Scans on in `bytes`, which begin with the request's first byte, however many have
 * come since the last call. Looks at no byte twice. */
pa_frame_state
pa_frame_scan_on(pa_frame_scan *scan, pa_bytes bytes);

/* Reads the fields of a scanned request in order: start at its second byte. */
typedef struct pa_frame_reader {
    const char *at;
} pa_frame_reader;

/* The next field, a number of four bytes. */
uint32_t
pa_frame_read_u32(pa_frame_reader *reader);

/* The next field, a number of eight bytes. */
uint64_t
pa_frame_read_u64(pa_frame_reader *reader);

/* The next field, a key, value or secret; valid as long as the request is. */
pa_bytes
pa_frame_read_bytes(pa_frame_reader *reader);

/* Appends a byte; false when memory is short. So do the following. */
bool
pa_frame_put_u8(pa_buffer *buffer, unsigned value);

/* Appends a number of four bytes. */
bool
pa_frame_put_u32(pa_buffer *buffer, uint32_t value);

/* Appends a number of eight bytes. */
bool
pa_frame_put_u64(pa_buffer *buffer, uint64_t value);

/* Appends a length and that many bytes. */
bool
pa_frame_put_bytes(pa_buffer *buffer, pa_bytes bytes);

#endif
