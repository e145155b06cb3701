/* Which work is ordered behind which: every stream knows how far the others have come
 * for whatever is queued on it next, by the events that it waited for. Work that uses
 * memory which unfinished work of another stream uses too, one of them writing, without
 * such an order between them, is a violation, whether or not the data was wrong. */
#include "runtime.h"

#include <stdlib.h>

/* Marks that were passed say nothing any more. */
static void
prune(fake_mark **clock)
{
    while (*clock != NULL) {
        fake_mark *each = *clock;
        if (fake_passed(each->stream, each->position)) {
            *clock = each->next;
            free(each);
        } else {
            clock = &each->next;
        }
    }
}

void
fake_clock_know(fake_mark **clock, uint64_t stream, uint64_t position)
{
    for (fake_mark *each = *clock; each != NULL; each = each->next) {
        if (each->stream == stream) {
            each->position = each->position < position ? position : each->position;
            return;
        }
    }
    fake_mark *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        abort();
    }
    *made = (fake_mark){.stream = stream, .position = position, .next = *clock};
    *clock = made;
}

void
fake_clock_merge(fake_mark **clock, const fake_mark *other)
{
    prune(clock);
    for (; other != NULL; other = other->next) {
        fake_clock_know(clock, other->stream, other->position);
    }
}

void
fake_clock_free(fake_mark **clock)
{
    while (*clock != NULL) {
        fake_mark *next = (*clock)->next;
        free(*clock);
        *clock = next;
    }
}

/* The position that work behind a clock is ordered after. */
static uint64_t
known(const fake_mark *clock, uint64_t stream)
{
    for (; clock != NULL; clock = clock->next) {
        if (clock->stream == stream) {
            return clock->position;
        }
    }
    return 0;
}

static bool
meet(const fake_use *a, const fake_use *b)
{
    return (a->writes || b->writes) && a->address < b->address + b->nbytes &&
           b->address < a->address + a->nbytes;
}

/* The first address that both use and one of them writes; NULL. */
static const char *
conflict(const fake_use *uses, size_t count, const fake_op *other)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < other->nuses; j++) {
            if (meet(&uses[i], &other->uses[j])) {
                return uses[i].address < other->uses[j].address ? other->uses[j].address
                                                                : uses[i].address;
            }
        }
    }
    return NULL;
}

const fake_op *
fake_unordered(const fake_stream *stream, const fake_use *uses, size_t count,
               const fake_stream **where, const char **address)
{
    for (const fake_stream *each = fake_streams(); each != NULL; each = each->next) {
        if (each == stream) {
            continue;
        }
        uint64_t after = known(stream->clock, each->serial);
        for (const fake_op *op = each->first; op != NULL; op = op->next) {
            *address = op->position > after ? conflict(uses, count, op) : NULL;
            if (*address != NULL) {
                *where = each;
                return op;
            }
        }
    }
    return NULL;
}

void
fake_order_check(const fake_stream *stream, const fake_op *op)
{
    const fake_stream *where;
    const char *address;
    if (!fake_settings_get()->order) {
        return;
    }
    const fake_op *other =
        fake_unordered(stream, op->uses, op->nuses, &where, &address);
    if (other != NULL) {
        fake_refuse(
            0,
            "%s on stream %p and %s on stream %p both use the memory at %p, and "
            "no event orders them",
            op->name, (void *)fake_stream_handle(stream), other->name,
            (void *)fake_stream_handle(where), (const void *)address);
    }
}
