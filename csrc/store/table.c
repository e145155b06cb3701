/* The store's contents: see the header. Values and queues are here, waiting is in
 * waiting.c. */
#include "store/table.h"

#include "base/size.h"
#include "store/entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS_AT_FIRST = 64 };

/* ---- Values ---- */

static bool
give_value(pa_table *table, pa_entry *entry, pa_bytes value)
{
    /* What fits is reused, unless most of it would lie idle. */
    if (value.nbytes > entry->capacity || value.nbytes < entry->capacity / 4) {
        char *made = malloc(value.nbytes + 1);
        if (made == NULL) {
            return false;
        }
        free(entry->value);
        entry->value = made;
        entry->capacity = value.nbytes;
    }
    if (value.nbytes > 0) {
        memcpy(entry->value, value.data, value.nbytes);
    }
    entry->nvalue = value.nbytes;
    if (!entry->present) {
        entry->present = true;
        table->counts[entry->reserved]++;
    }
    pa_entry_wake_waiting(table, entry);
    return true;
}

static pa_bytes
value_of(const pa_entry *entry)
{
    if (entry == NULL || !entry->present) {
        return (pa_bytes){NULL, 0};
    }
    return (pa_bytes){entry->value, entry->nvalue};
}

static bool
equal(pa_bytes a, pa_bytes b)
{
    return a.nbytes == b.nbytes &&
           (a.nbytes == 0 || memcmp(a.data, b.data, a.nbytes) == 0);
}

bool
pa_table_set(pa_table *table, pa_bytes key, pa_bytes value)
{
    pa_entry *entry = pa_entry_make(table, key);
    if (entry == NULL) {
        return false;
    }
    if (!give_value(table, entry, value)) {
        pa_entry_release(table, entry);
        return false;
    }
    return true;
}

pa_bytes
pa_table_get(const pa_table *table, pa_bytes key)
{
    return value_of(pa_entry_find(table, key));
}

bool
pa_table_has(const pa_table *table, pa_bytes key)
{
    const pa_entry *entry = pa_entry_find(table, key);
    return entry != NULL && pa_entry_is_ready(entry);
}

bool
pa_table_compare_set(pa_table *table, pa_bytes key, pa_bytes expected, pa_bytes desired,
                     pa_bytes *now)
{
    const pa_entry *entry = pa_entry_find(table, key);
    bool present = entry != NULL && entry->present;
    if (present ? equal(value_of(entry), expected) : expected.nbytes == 0) {
        *now = desired;
        return pa_table_set(table, key, desired);
    }
    *now = present ? value_of(entry) : expected;
    return true;
}

/* Room for a longer value; what is there stays. */
static bool
make_room(pa_entry *entry, size_t nbytes)
{
    if (nbytes <= entry->capacity) {
        return true;
    }
    /* Twice as much, since it grows by appending. */
    size_t capacity = nbytes < 2 * entry->capacity ? 2 * entry->capacity : nbytes;
    char *value = realloc(entry->value, capacity);
    if (value == NULL) {
        return false;
    }
    entry->value = value;
    entry->capacity = capacity;
    return true;
}

pa_status
pa_table_append(pa_table *table, pa_bytes key, pa_bytes more)
{
    pa_entry *entry = pa_entry_find(table, key);
    if (entry == NULL || !entry->present) {
        return pa_table_set(table, key, more) ? PA_OK : PA_EMEMORY;
    }
    if (more.nbytes > PA_STORE_WHOLE_MAX - entry->nvalue) {
        return PA_EARGUMENT;
    }
    if (!make_room(entry, entry->nvalue + more.nbytes)) {
        return PA_EMEMORY;
    }
    if (more.nbytes > 0) {
        memcpy(entry->value + entry->nvalue, more.data, more.nbytes);
        entry->nvalue += more.nbytes;
    }
    return PA_OK;
}

bool
pa_table_delete(pa_table *table, pa_bytes key)
{
    pa_entry *entry = pa_entry_find(table, key);
    if (entry == NULL || !entry->present) {
        return false;
    }
    entry->present = false;
    table->counts[entry->reserved]--;
    free(entry->value);
    entry->value = NULL;
    entry->nvalue = 0;
    entry->capacity = 0;
    pa_entry_release(table, entry);
    return true;
}

/* ---- Numbers ---- */

/* The number at the beginning of a text, as C's strtoll reads it; false if there is
 * none or it does not fit. */
static bool
read_number(pa_bytes text, int64_t *number)
{
    size_t at = 0;
    while (at < text.nbytes &&
           (text.data[at] == ' ' || (text.data[at] >= '\t' && text.data[at] <= '\r'))) {
        at++;
    }
    bool negative = at < text.nbytes && text.data[at] == '-';
    if (at < text.nbytes && (text.data[at] == '-' || text.data[at] == '+')) {
        at++;
    }
    size_t first = at;
    int64_t value = 0;
    for (; at < text.nbytes && text.data[at] >= '0' && text.data[at] <= '9'; at++) {
        int64_t digit = text.data[at] - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, digit, &value)) {
            return false;
        }
    }
    /* Gathered as a negative number, of which there is one more. */
    if (!negative && __builtin_sub_overflow(0, value, &value)) {
        return false;
    }
    *number = value;
    return at > first;
}

pa_status
pa_table_add(pa_table *table, pa_bytes key, int64_t *amount)
{
    const pa_entry *entry = pa_entry_find(table, key);
    int64_t before = 0;
    if (entry != NULL && entry->present && !read_number(value_of(entry), &before)) {
        return PA_EARGUMENT;
    }
    /* Wraps around where it does not fit, as torch's does. */
    *amount = (int64_t)((uint64_t)before + (uint64_t)*amount);
    char text[24];
    int length = snprintf(text, sizeof text, "%lld", (long long)*amount);
    return pa_table_set(table, key, (pa_bytes){text, (size_t)length}) ? PA_OK
                                                                      : PA_EMEMORY;
}

/* ---- Queues ---- */

bool
pa_table_push(pa_table *table, pa_bytes key, pa_bytes element)
{
    pa_entry *entry = pa_entry_make(table, key);
    if (entry == NULL) {
        return false;
    }
    pa_element *made = malloc(sizeof *made + element.nbytes);
    if (made == NULL) {
        pa_entry_release(table, entry);
        return false;
    }
    made->next = NULL;
    made->nbytes = element.nbytes;
    if (element.nbytes > 0) {
        memcpy(made->data, element.data, element.nbytes);
    }
    if (entry->queue_last != NULL) {
        entry->queue_last->next = made;
    } else {
        entry->queue_first = made;
    }
    entry->queue_last = made;
    entry->queued++;
    pa_entry_wake_one(table, entry);
    return true;
}

bool
pa_table_front(const pa_table *table, pa_bytes key, pa_bytes *element)
{
    const pa_entry *entry = pa_entry_find(table, key);
    if (entry == NULL || entry->queue_first == NULL) {
        return false;
    }
    *element = (pa_bytes){entry->queue_first->data, entry->queue_first->nbytes};
    return true;
}

void
pa_table_drop(pa_table *table, pa_bytes key)
{
    pa_entry *entry = pa_entry_find(table, key);
    if (entry == NULL || entry->queue_first == NULL) {
        return;
    }
    pa_element *first = entry->queue_first;
    entry->queue_first = first->next;
    if (entry->queue_first == NULL) {
        entry->queue_last = NULL;
    }
    entry->queued--;
    free(first);
    pa_entry_release(table, entry);
}

size_t
pa_table_queued(const pa_table *table, pa_bytes key)
{
    const pa_entry *entry = pa_entry_find(table, key);
    return entry != NULL ? entry->queued : 0;
}

/* ---- The whole ---- */

pa_table *
pa_table_create(pa_bytes reserved, uint64_t seed)
{
    pa_table *table = calloc(1, sizeof *table);
    if (table == NULL) {
        return NULL;
    }
    table->slots = calloc(SLOTS_AT_FIRST, sizeof *table->slots);
    if (table->slots == NULL) {
        free(table);
        return NULL;
    }
    table->nslots = SLOTS_AT_FIRST;
    table->reserved = reserved;
    table->seed = seed;
    return table;
}

void
pa_table_destroy(pa_table *table)
{
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < table->nslots; i++) {
        pa_entry *next = NULL;
        for (pa_entry *entry = table->slots[i]; entry != NULL; entry = next) {
            next = entry->next;
            pa_entry_free(entry);
        }
    }
    free(table->slots);
    free(table);
}

size_t
pa_table_count(const pa_table *table, bool with_reserved)
{
    return table->counts[0] + (with_reserved ? table->counts[1] : 0);
}

bool
pa_table_list(const pa_table *table, bool with_reserved, pa_buffer *out)
{
    for (size_t i = 0; i < table->nslots; i++) {
        for (pa_entry *entry = table->slots[i]; entry != NULL; entry = entry->next) {
            bool wanted = entry->present && (with_reserved || !entry->reserved);
            if (wanted &&
                !pa_frame_put_bytes(out, (pa_bytes){entry->key, entry->nkey})) {
                return false;
            }
        }
    }
    return true;
}
