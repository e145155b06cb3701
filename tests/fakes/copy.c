/* cudaMemcpyAsync: queued, whatever the memory is.
 *
 * Pageable memory of the host is refused unless FAKES_PAGEABLE=allowed. Then it is as
 * CUDA documents it: what is read was copied aside when the call returns, and what is
 * written is complete. */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

typedef struct copy_op {
    fake_op op;
    char *to;
    const char *from;
    size_t nbytes;
    char *aside; /* of pageable memory, from which the copy is then made */
    fake_use uses[2];
} copy_op;

static void
copy_run(fake_op *op)
{
    const copy_op *copy = (const copy_op *)op;
    memmove(copy->to, copy->aside != NULL ? copy->aside : copy->from, copy->nbytes);
}

static void
copy_destroy(fake_op *op)
{
    free(((copy_op *)op)->aside);
    free(op);
}

/* With the lock: whether both ends of a copy may be used. */
static bool
check(const void *to, const void *from, size_t nbytes)
{
    if (!fake_range_check(to, nbytes, "cudaMemcpyAsync") ||
        !fake_range_check(from, nbytes, "cudaMemcpyAsync")) {
        return false;
    }
    const void *pageable = fake_block_of(to) == NULL     ? to
                           : fake_block_of(from) == NULL ? from
                                                         : NULL;
    if (pageable != NULL && fake_settings_get()->pinned_only) {
        fake_refuse(FAKE_INVALID_VALUE,
                    "cudaMemcpyAsync: %p is pageable memory of the host, which makes "
                    "the copy wait",
                    pageable);
        return false;
    }
    return true;
}

/* Whether a kind of copy, as the caller states it, fits what the memory is. */
static bool
fits(int kind, const void *to, const void *from)
{
    const fake_block *target = fake_block_of(to);
    const fake_block *source = fake_block_of(from);
    bool to_device = target != NULL && target->kind != FAKE_PINNED;
    bool from_device = source != NULL && source->kind != FAKE_PINNED;
    return kind == PA_CUDA_MEMCPY_DEFAULT ||
           (kind == (to_device ? 1 : 0) + (from_device ? 2 : 0));
}

/* With the lock: queues the copy. */
static int
copy(char *to, const char *from, size_t nbytes, fake_stream *stream)
{
    bool waits = fake_block_of(to) == NULL;
    copy_op *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        abort();
    }
    made->op = (fake_op){.name = "run.copy",
                         .run = copy_run,
                         .destroy = copy_destroy,
                         .uses = made->uses,
                         .nuses = 2};
    made->to = to;
    made->from = from;
    made->nbytes = nbytes;
    made->uses[0] = (fake_use){to, nbytes, true};
    made->uses[1] = (fake_use){from, nbytes, false};
    if (fake_block_of(from) == NULL) {
        made->aside = malloc(nbytes);
        if (made->aside == NULL) {
            abort();
        }
        memcpy(made->aside, from, nbytes);
    }
    uint64_t position = fake_push(stream, &made->op);
    if (waits && position > 0) {
        fake_drain(stream, position);
    }
    return fake_lost();
}

int
cudaMemcpyAsync(void *to, const void *from, size_t nbytes, int kind,
                pa_cuda_stream handle)
{
    fake_call call;
    int code = fake_enter(fake_begin(&call, "cudaMemcpyAsync",
                                     "to=%p from=%p nbytes=%zu kind=%d stream=%p", to,
                                     from, nbytes, kind, (void *)handle));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_stream *stream = fake_stream_of(handle, "cudaMemcpyAsync");
        if (stream == NULL) {
            code = FAKE_INVALID_HANDLE;
        } else if (nbytes > 0 && !fits(kind, to, from)) {
            code = fake_refuse(21, "cudaMemcpyAsync: kind %d from %p to %p", kind, from,
                               to);
        } else if (nbytes > 0) {
            code = check(to, from, nbytes) ? copy(to, from, nbytes, stream)
                                           : FAKE_INVALID_VALUE;
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}
