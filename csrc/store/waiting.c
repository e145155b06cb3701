/* Who waits for which key of the table: see table.h and entry.h. */
#include "store/entry.h"

#include <stdlib.h>

static void
attach(pa_table_link *link, pa_entry *entry, pa_table_waiter *waiter)
{
    *link = (pa_table_link){entry, waiter, entry->last, NULL};
    if (entry->last != NULL) {
        entry->last->next = link;
    } else {
        entry->first = link;
    }
    entry->last = link;
}

/* Takes a link from its entry, which stays. */
static void
detach(pa_table_link *link)
{
    pa_entry *entry = link->entry;
    if (link->previous != NULL) {
        link->previous->next = link->next;
    } else {
        entry->first = link->next;
    }
    if (link->next != NULL) {
        link->next->previous = link->previous;
    } else {
        entry->last = link->previous;
    }
    link->entry = NULL;
}

/* The key of a link has come. Whether its waiter lacks nothing any more. */
static bool
arrive(pa_table *table, pa_table_link *link)
{
    pa_table_waiter *waiter = link->waiter;
    detach(link);
    waiter->lacking--;
    if (waiter->lacking > 0) {
        return false;
    }
    waiter->next_woken = NULL;
    if (table->woken_last != NULL) {
        table->woken_last->next_woken = waiter;
    } else {
        table->woken = waiter;
    }
    table->woken_last = waiter;
    return true;
}

/* Tells those who wait at a barrier, or those who wait for a value. */
static void
wake(pa_table *table, pa_entry *entry, bool barrier, bool only_one)
{
    pa_table_link *next = NULL;
    for (pa_table_link *link = entry->first; link != NULL; link = next) {
        next = link->next;
        if (link->waiter->barrier == barrier && arrive(table, link) && only_one) {
            return;
        }
    }
}

void
pa_entry_wake_waiting(pa_table *table, pa_entry *entry)
{
    wake(table, entry, false, false);
}

void
pa_entry_wake_one(pa_table *table, pa_entry *entry)
{
    wake(table, entry, false, true);
}

static bool
reserve_links(pa_table_waiter *waiter, uint64_t count)
{
    waiter->links = calloc((size_t)count + 1, sizeof *waiter->links);
    return waiter->links != NULL;
}

pa_status
pa_table_wait(pa_table *table, pa_table_waiter *waiter, pa_frame_reader *keys,
              uint64_t count, bool *ready)
{
    if (!reserve_links(waiter, count)) {
        return PA_EMEMORY;
    }
    waiter->barrier = false;
    for (uint64_t i = 0; i < count; i++) {
        pa_bytes key = pa_frame_read_bytes(keys);
        if (pa_table_has(table, key)) {
            continue;
        }
        pa_entry *entry = pa_entry_make(table, key);
        if (entry == NULL) {
            pa_table_cancel(table, waiter);
            return PA_EMEMORY;
        }
        attach(&waiter->links[waiter->nlinks], entry, waiter);
        waiter->nlinks++;
        waiter->lacking++;
    }
    *ready = waiter->lacking == 0;
    if (*ready) {
        pa_table_cancel(table, waiter);
    }
    return PA_OK;
}

pa_status
pa_table_meet(pa_table *table, pa_table_waiter *waiter, pa_bytes key, int64_t size,
              bool *ready)
{
    if (!reserve_links(waiter, 1)) {
        return PA_EMEMORY;
    }
    int64_t come = 1;
    pa_status status = pa_table_add(table, key, &come);
    if (status != PA_OK) {
        pa_table_cancel(table, waiter);
        return status;
    }
    pa_entry *entry = pa_entry_find(table, key);
    *ready = come >= size;
    if (*ready) {
        wake(table, entry, true, false);
        pa_table_cancel(table, waiter);
        return PA_OK;
    }
    waiter->barrier = true;
    attach(&waiter->links[0], entry, waiter);
    waiter->nlinks = 1;
    waiter->lacking = 1;
    return PA_OK;
}

void
pa_table_cancel(pa_table *table, pa_table_waiter *waiter)
{
    for (size_t i = 0; i < waiter->nlinks; i++) {
        pa_entry *entry = waiter->links[i].entry;
        if (entry != NULL) {
            detach(&waiter->links[i]);
            pa_entry_release(table, entry);
        }
    }
    free(waiter->links);
    *waiter = (pa_table_waiter){0};
}

pa_table_waiter *
pa_table_take_woken(pa_table *table)
{
    pa_table_waiter *waiter = table->woken;
    if (waiter == NULL) {
        return NULL;
    }
    table->woken = waiter->next_woken;
    if (table->woken == NULL) {
        table->woken_last = NULL;
    }
    free(waiter->links);
    *waiter = (pa_table_waiter){0};
    return waiter;
}
