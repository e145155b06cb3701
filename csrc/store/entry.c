/* Entries of the table by their keys: see the header. */
#include "store/entry.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

bool
pa_table_is_reserved(const pa_table *table, pa_bytes key)
{
    size_t nbytes = table->reserved.nbytes;
    return nbytes > 0 && key.nbytes >= nbytes &&
           memcmp(key.data, table->reserved.data, nbytes) == 0;
}

static uint64_t
hash_of(const pa_table *table, pa_bytes key)
{
    return pa_hash_bytes(table->seed, key.data, key.nbytes);
}

/* Where the pointer to the entry of a key is, or would be. */
static pa_entry **
place_of(const pa_table *table, pa_bytes key, uint64_t hash)
{
    pa_entry **place = &table->slots[hash & (table->nslots - 1)];
    while (*place != NULL) {
        const pa_entry *entry = *place;
        if (entry->hash == hash && entry->nkey == key.nbytes &&
            memcmp(entry->key, key.data, key.nbytes) == 0) {
            break;
        }
        place = &(*place)->next;
    }
    return place;
}

/* Twice as many slots; where memory is short, chains grow longer instead. */
static void
grow(pa_table *table)
{
    size_t nslots = 2 * table->nslots;
    pa_entry **slots = calloc(nslots, sizeof *slots);
    if (slots == NULL) {
        return;
    }
    for (size_t i = 0; i < table->nslots; i++) {
        pa_entry *next = NULL;
        for (pa_entry *entry = table->slots[i]; entry != NULL; entry = next) {
            next = entry->next;
            pa_entry **slot = &slots[entry->hash & (nslots - 1)];
            entry->next = *slot;
            *slot = entry;
        }
    }
    free(table->slots);
    table->slots = slots;
    table->nslots = nslots;
}

pa_entry *
pa_entry_find(const pa_table *table, pa_bytes key)
{
    return *place_of(table, key, hash_of(table, key));
}

pa_entry *
pa_entry_make(pa_table *table, pa_bytes key)
{
    uint64_t hash = hash_of(table, key);
    pa_entry *found = *place_of(table, key, hash);
    if (found != NULL) {
        return found;
    }
    if (table->nentries >= table->nslots) {
        grow(table);
    }
    pa_entry *made = calloc(1, sizeof *made + key.nbytes);
    if (made == NULL) {
        return NULL;
    }
    made->hash = hash;
    made->reserved = pa_table_is_reserved(table, key);
    made->nkey = key.nbytes;
    memcpy(made->key, key.data, key.nbytes);
    *place_of(table, key, hash) = made;
    table->nentries++;
    return made;
}

void
pa_entry_release(pa_table *table, pa_entry *entry)
{
    if (pa_entry_is_ready(entry) || entry->first != NULL) {
        return;
    }
    pa_bytes key = {entry->key, entry->nkey};
    *place_of(table, key, entry->hash) = entry->next;
    table->nentries--;
    pa_entry_free(entry);
}

void
pa_entry_free(pa_entry *entry)
{
    pa_element *next = NULL;
    for (pa_element *element = entry->queue_first; element != NULL; element = next) {
        next = element->next;
        free(element);
    }
    free(entry->value);
    free(entry);
}
