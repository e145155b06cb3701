/* What the files of the table share: its entries, and how they are found and woken. */
#ifndef PA_STORE_ENTRY_H
#define PA_STORE_ENTRY_H

#include "store/table.h"

/* One element of a queue. */
typedef struct pa_element {
    struct pa_element *next;
    size_t nbytes;
    char data[];
} pa_element;

typedef struct pa_entry {
    struct pa_entry *next; /* in the same slot */
    uint64_t hash;
    char *value;
    size_t nvalue;
    size_t capacity;
    pa_element *queue_first;
    pa_element *queue_last;
    size_t queued;
    pa_table_link *first; /* who waits for the key, in the order of arrival */
    pa_table_link *last;
    bool present; /* it has a value, which may be empty */
    bool reserved;
    size_t nkey;
    char key[];
} pa_entry;

/* One key that one waiter waits for. */
struct pa_table_link {
    pa_entry *entry; /* NULL once the key came */
    pa_table_waiter *waiter;
    pa_table_link *previous;
    pa_table_link *next;
};

struct pa_table {
    pa_entry **slots; /* [nslots], a power of two */
    size_t nslots;
    size_t nentries;
    size_t counts[2]; /* keys with a value: others, reserved */
    pa_bytes reserved;
    uint64_t seed;
    pa_table_waiter *woken; /* in the order in which they were woken */
    pa_table_waiter *woken_last;
};

/* The entry of a key, NULL where there is none. */
pa_entry *
pa_entry_find(const pa_table *table, pa_bytes key);

/* The entry of a key, which may be new and then has no value. NULL when memory is
 * short. */
pa_entry *
pa_entry_make(pa_table *table, pa_bytes key);

/* Takes an entry out of the table and frees it, unless it has something or somebody. */
void
pa_entry_release(pa_table *table, pa_entry *entry);

/* Frees an entry with its value and queue. */
void
pa_entry_free(pa_entry *entry);

/* Whether a wait for the key is over. */
static inline bool
pa_entry_is_ready(const pa_entry *entry)
{
    return entry->present || entry->queued > 0;
}

/* Tells all who wait for the key that it is there. */
void
pa_entry_wake_waiting(pa_table *table, pa_entry *entry);

/* Tells those who wait for the key that it is there, until one lacks nothing more. */
void
pa_entry_wake_one(pa_table *table, pa_entry *entry);

#endif
