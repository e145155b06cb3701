/* What is alive: for a test that asks, and at the end of the process. */
#include "runtime.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Where the lines of a report go. */
typedef struct report {
    char *text;
    size_t capacity;
    size_t used;
    size_t lines;
} report;

static void (*also)(fake_line line, void *context);

void
fake_live_also(void (*each)(fake_line line, void *context))
{
    also = each;
}

static void
add(void *context, const char *text)
{
    report *into = context;
    into->lines++;
    if (into->text != NULL && into->used < into->capacity) {
        size_t room = into->capacity - into->used;
        int length = snprintf(into->text + into->used, room, "%s\n", text);
        into->used += (size_t)length < room ? (size_t)length : room;
    }
}

static void
add_blocks(report *into)
{
    static const char *const KINDS[] = {
        [FAKE_DEVICE] = "device memory",
        [FAKE_IMPORTED] = "opened memory of another process",
        [FAKE_PINNED] = "pinned memory",
    };
    char line[160];
    for (const fake_block *each = fake_blocks(); each != NULL; each = each->next) {
        if (each->kind != FAKE_TENSOR) {
            snprintf(line, sizeof(line), "%s: %zu bytes at %p, device %d",
                     KINDS[each->kind], each->nbytes, (void *)each->address,
                     each->device);
            add(into, line);
        }
    }
}

size_t
fake_report_live(char *text, size_t capacity)
{
    report into = {.text = text, .capacity = capacity};
    char line[160];
    if (text != NULL && capacity > 0) {
        text[0] = '\0';
    }
    pthread_mutex_lock(&fake_lock);
    add_blocks(&into);
    for (const fake_stream *each = fake_streams(); each != NULL; each = each->next) {
        if (!each->usual && !each->destroyed) {
            snprintf(line, sizeof(line), "stream: %p, device %d",
                     (void *)fake_stream_handle(each), each->device);
            add(&into, line);
        }
    }
    for (const fake_event *each = fake_events(); each != NULL; each = each->next) {
        if (!each->destroyed) {
            snprintf(line, sizeof(line), "%s: %p, device %d",
                     each->imported ? "opened event of another process" : "event",
                     (void *)fake_event_handle(each), each->device);
            add(&into, line);
        }
    }
    pthread_mutex_unlock(&fake_lock);
    if (also != NULL) {
        also(add, &into);
    }
    return into.lines;
}

/* At the end of the process: into the record, and on stderr where that was asked for.
 * A fork has nothing of its own to report. */
__attribute__((destructor)) static void
report_at_exit(void)
{
    static char text[1 << 16];
    if (fake_owner() != getpid() || fake_report_live(text, sizeof(text)) == 0) {
        return;
    }
    for (char *line = text; *line != '\0';) {
        char *end = line + strcspn(line, "\n");
        bool more = *end != '\0';
        *end = '\0';
        fake_note("alive", "%s", line);
        if (fake_settings_get()->report) {
            fprintf(stderr, "fakes: process %ld ends with %s\n", (long)getpid(), line);
        }
        line = more ? end + 1 : end;
    }
}
