/* Memory of devices and pinned memory.
 *
 * A device is an arena of shared memory, which other processes can map. A block begins
 * on a page and is followed by a page that nobody may touch; what is not allocated can
 * be touched by nobody either, so that a use after free ends the process. New memory
 * holds a pattern and not zeros. */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, PATTERN = 0xA5, FILLED = 1 << 20 };

static fake_arena *arenas; /* [count], made at first use */
static fake_block *blocks;
static uint64_t last_serial;

fake_block *
fake_blocks(void)
{
    return blocks;
}

const fake_arena *
fake_arena_of(int device)
{
    const fake_settings *settings = fake_settings_get();
    if (arenas == NULL) {
        arenas = calloc((size_t)settings->count, sizeof(*arenas));
        if (arenas == NULL) {
            abort();
        }
    }
    fake_arena *arena = &arenas[device];
    if (arena->base == NULL) {
        fake_arena_make(arena, "fake device", settings->memory, PROT_NONE);
    }
    return arena;
}

/* The device whose arena holds the address, allocated or not; -1. */
static int
arena_at(const char *address)
{
    for (int i = 0; arenas != NULL && i < fake_settings_get()->count; i++) {
        const fake_arena *arena = &arenas[i];
        if (arena->base != NULL && address >= arena->base &&
            address < arena->base + arena->nbytes) {
            return i;
        }
    }
    return -1;
}

fake_block *
fake_block_of(const void *address)
{
    const char *wanted = address;
    for (fake_block *each = blocks; each != NULL; each = each->next) {
        if (wanted >= each->address && wanted < each->address + each->nbytes) {
            return each->dead ? NULL : each;
        }
    }
    return NULL;
}

void
fake_block_add(fake_block *block)
{
    fake_block **place = &blocks;
    while (*place != NULL && (*place)->address < block->address) {
        place = &(*place)->next;
    }
    block->serial = ++last_serial;
    block->next = *place;
    *place = block;
}

void
fake_block_remove(fake_block *block)
{
    fake_block **place = &blocks;
    while (*place != block) {
        place = &(*place)->next;
    }
    *place = block->next;
}

bool
fake_range_check(const void *address, size_t nbytes, const char *call)
{
    const char *begin = address;
    const fake_block *block = fake_block_of(address);
    if (block == NULL) {
        int device = arena_at(begin);
        if (device >= 0) {
            fake_refuse(FAKE_INVALID_VALUE,
                        "%s: %p is memory of device %d that is not allocated", call,
                        address, device);
        }
        return device < 0;
    }
    size_t room = (size_t)(block->address + block->nbytes - begin);
    if (nbytes > room) {
        fake_refuse(FAKE_INVALID_VALUE,
                    "%s: %zu bytes at %p cross the end of their allocation of %zu "
                    "bytes at %p",
                    call, nbytes, address, block->nbytes, (void *)block->address);
        return false;
    }
    return true;
}

static size_t
pages(size_t nbytes)
{
    return (nbytes + PAGE - 1) / PAGE * PAGE;
}

/* The first gap of an arena that is large enough; NULL: it is full. */
static char *
find_gap(const fake_arena *arena, size_t nbytes)
{
    char *at = arena->base;
    char *end = arena->base + arena->nbytes;
    size_t wanted = pages(nbytes) + PAGE;
    for (const fake_block *each = blocks; each != NULL; each = each->next) {
        if (each->address >= end || each->address < at) {
            continue;
        }
        if ((size_t)(each->address - at) >= wanted) {
            break;
        }
        at = each->address + pages(each->nbytes) + PAGE;
    }
    return at < end && (size_t)(end - at) >= wanted ? at : NULL;
}

/* With the lock: a new block on a device; NULL when it is full. */
static fake_block *
allocate(int device, size_t nbytes, fake_kind kind)
{
    const fake_arena *arena = fake_arena_of(device);
    char *address = nbytes <= arena->nbytes ? find_gap(arena, nbytes) : NULL;
    fake_block *block = address != NULL ? calloc(1, sizeof(*block)) : NULL;
    if (block == NULL) {
        return NULL;
    }
    if (mprotect(address, pages(nbytes), PROT_READ | PROT_WRITE) != 0) {
        abort();
    }
    memset(address, PATTERN, nbytes < FILLED ? nbytes : FILLED);
    block->address = address;
    block->nbytes = nbytes;
    block->kind = kind;
    block->device = device;
    block->offset = (size_t)(address - arena->base);
    fake_block_add(block);
    return block;
}

/* With the lock: gives a block of a device's arena back to the system. */
static void
release(fake_block *block)
{
    size_t whole = pages(block->nbytes);
    fake_block_remove(block);
    if (madvise(block->address, whole, MADV_REMOVE) != 0 ||
        mprotect(block->address, whole, PROT_NONE) != 0) {
        abort();
    }
    fake_clock_free(&block->marks);
    free(block);
}

int
cudaMalloc(void **address, size_t nbytes)
{
    fake_call call;
    int code = fake_enter_unsafe(
        fake_begin(&call, "cudaMalloc", "device=%d nbytes=%zu", fake_current(), nbytes),
        "cudaMalloc");
    if (code == 0 && fake_settings_get()->count == 0) {
        code = FAKE_NO_DEVICE;
    }
    if (code == 0) {
        *address = NULL;
        pthread_mutex_lock(&fake_lock);
        if (nbytes > 0) {
            fake_block *block = allocate(fake_current(), nbytes, FAKE_DEVICE);
            code = block == NULL ? PA_CUDA_OUT_OF_MEMORY : 0;
            *address = block == NULL ? NULL : block->address;
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

fake_block *
fake_block_to_free(void *address, fake_kind kind, const char *name)
{
    fake_block *block = fake_block_of(address);
    if (block == NULL || block->address != address || block->kind != kind) {
        fake_refuse(FAKE_INVALID_VALUE,
                    "%s: %p is not the beginning of memory that its counterpart gave "
                    "and that is alive",
                    name, address);
        return NULL;
    }
    const fake_stream *stream = NULL;
    const char *work = fake_used_by(block->address, block->nbytes, &stream);
    if (work != NULL) {
        fake_refuse(FAKE_INVALID_VALUE,
                    "%s: %p is still used by %s, queued on stream %p of device %d",
                    name, address, work, (void *)fake_stream_handle(stream),
                    stream->device);
        return NULL;
    }
    return block;
}

void
fake_drain_device(int device)
{
    for (fake_stream *each = fake_streams(); each != NULL;) {
        if ((device < 0 || each->device == device) && each->done < each->queued) {
            fake_drain(each, each->queued);
            each = fake_streams();
        } else {
            each = each->next;
        }
    }
}

int
cudaFree(void *address)
{
    fake_call call;
    int code = fake_enter_unsafe(fake_begin(&call, "cudaFree", "address=%p", address),
                                 "cudaFree");
    if (code == 0 && address != NULL) {
        pthread_mutex_lock(&fake_lock);
        fake_block *block = fake_block_to_free(address, FAKE_DEVICE, "cudaFree");
        code = block == NULL ? FAKE_INVALID_VALUE : 0;
        if (block != NULL) {
            fake_drain_device(block->device);
            fake_export_end(block);
            release(block);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

int
cudaHostAlloc(void **address, size_t nbytes, unsigned int flags)
{
    fake_call call;
    int code = fake_enter_unsafe(
        fake_begin(&call, "cudaHostAlloc", "nbytes=%zu flags=%u", nbytes, flags),
        "cudaHostAlloc");
    if (code == 0 && flags > 7) {
        code = FAKE_INVALID_VALUE;
    }
    fake_block *block = NULL;
    if (code == 0) {
        block = calloc(1, sizeof(*block));
        void *memory = mmap(NULL, pages(nbytes + 1), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (block == NULL || memory == MAP_FAILED) {
            free(block);
            code = PA_CUDA_OUT_OF_MEMORY;
        } else {
            *block = (fake_block){.address = memory,
                                  .nbytes = nbytes > 0 ? nbytes : 1,
                                  .kind = FAKE_PINNED,
                                  .device = fake_current()};
            memset(memory, PATTERN, nbytes < FILLED ? nbytes : FILLED);
            *address = memory;
            pthread_mutex_lock(&fake_lock);
            fake_block_add(block);
            pthread_mutex_unlock(&fake_lock);
        }
    }
    return fake_leave(&call, code);
}

int
cudaFreeHost(void *address)
{
    fake_call call;
    int code = fake_enter_unsafe(
        fake_begin(&call, "cudaFreeHost", "address=%p", address), "cudaFreeHost");
    if (code == 0 && address != NULL) {
        pthread_mutex_lock(&fake_lock);
        fake_block *block = fake_block_to_free(address, FAKE_PINNED, "cudaFreeHost");
        code = block == NULL ? FAKE_INVALID_VALUE : 0;
        if (block != NULL) {
            fake_drain_device(-1);
            fake_block_remove(block);
            munmap(block->address, pages(block->nbytes));
            free(block);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

void *
fake_alloc(int device, size_t nbytes, pa_cuda_stream handle)
{
    pthread_mutex_lock(&fake_lock);
    fake_stream *stream = handle == NULL ? fake_stream_default(device)
                                         : fake_stream_of(handle, "fake_alloc");
    fake_block *block = NULL;
    if (stream != NULL) {
        block = allocate(device, nbytes > 0 ? nbytes : 1, FAKE_TENSOR);
    }
    if (block != NULL) {
        block->owner = stream->serial;
        fake_clock_know(&block->marks, stream->serial, 0);
    }
    pthread_mutex_unlock(&fake_lock);
    return block == NULL ? NULL : block->address;
}

void
fake_record_stream(void *address, pa_cuda_stream handle)
{
    pthread_mutex_lock(&fake_lock);
    fake_block *block = fake_block_of(address);
    fake_stream *stream = NULL;
    if (block != NULL && block->kind == FAKE_TENSOR) {
        stream = handle == NULL ? fake_stream_default(block->device)
                                : fake_stream_of(handle, "fake_record_stream");
    }
    if (stream != NULL) {
        fake_clock_know(&block->marks, stream->serial, 0);
    }
    pthread_mutex_unlock(&fake_lock);
}

/* Whether a tensor is used on a stream by its owner's word. */
static bool
has_mark(const fake_block *block, const fake_stream *stream)
{
    const fake_mark *each = block->marks;
    while (each != NULL && each->stream != stream->serial) {
        each = each->next;
    }
    return each != NULL;
}

/* With the lock: a tensor dies. Its streams may use it for what they were given until
 * now; any other must be ordered before what its own stream gets next. */
static void
die(fake_block *block)
{
    const fake_use whole = {block->address, block->nbytes, true};
    block->dead = true;
    for (const fake_stream *stream = fake_streams(); stream != NULL;
         stream = stream->next) {
        if (stream->serial == block->owner) {
            const fake_stream *where;
            const char *address;
            const fake_op *op = fake_unordered(stream, &whole, 1, &where, &address);
            if (op != NULL && !has_mark(block, where)) {
                fake_refuse(0,
                            "a tensor at %p of device %d dies while %s, queued on "
                            "stream %p, uses it, which is not the tensor's own",
                            (void *)block->address, block->device, op->name,
                            (void *)fake_stream_handle(where));
            }
        }
    }
    for (const fake_stream *stream = fake_streams(); stream != NULL;
         stream = stream->next) {
        if (has_mark(block, stream)) {
            fake_clock_know(&block->marks, stream->serial, stream->queued);
        }
    }
    fake_tensors_release();
}

void
fake_free(void *address)
{
    pthread_mutex_lock(&fake_lock);
    fake_block *block = fake_block_of(address);
    if (block == NULL || block->kind != FAKE_TENSOR || block->address != address) {
        fake_refuse(0, "fake_free: %p is no tensor's memory that is alive", address);
    } else {
        die(block);
    }
    pthread_mutex_unlock(&fake_lock);
}

static bool
passed_all(const fake_block *block)
{
    for (const fake_mark *each = block->marks; each != NULL; each = each->next) {
        if (!fake_passed(each->stream, each->position)) {
            return false;
        }
    }
    return true;
}

void
fake_tensors_release(void)
{
    const fake_stream *stream;
    for (fake_block *each = blocks, *next; each != NULL; each = next) {
        next = each->next;
        bool used =
            each->dead && fake_used_by(each->address, each->nbytes, &stream) != NULL;
        if (each->dead && !used && passed_all(each)) {
            release(each);
        }
    }
}

bool
fake_lend(int device, void *address, size_t nbytes)
{
    pthread_mutex_lock(&fake_lock);
    fake_block *block = calloc(1, sizeof(*block));
    fake_block *shadow = block != NULL ? allocate(device, nbytes, FAKE_TENSOR) : NULL;
    if (shadow != NULL) {
        block->address = address;
        block->nbytes = nbytes;
        block->kind = FAKE_TENSOR;
        block->device = device;
        block->shadow = shadow;
        fake_block_add(block);
    } else {
        free(block);
    }
    pthread_mutex_unlock(&fake_lock);
    return shadow != NULL;
}

void
fake_return(void *address)
{
    pthread_mutex_lock(&fake_lock);
    fake_block *block = fake_block_of(address);
    if (block == NULL || block->address != address || block->shadow == NULL) {
        fake_refuse(0, "fake_return: %p was not lent", address);
    } else {
        const fake_stream *stream = NULL;
        const char *work = fake_used_by(address, block->nbytes, &stream);
        if (work != NULL) {
            fake_refuse(0, "fake_return: %s, queued on stream %p, still uses %p", work,
                        (void *)fake_stream_handle(stream), address);
        }
        release(block->shadow);
        fake_block_remove(block);
        free(block);
    }
    pthread_mutex_unlock(&fake_lock);
}

const char *
fake_shown(const char *address, size_t nbytes)
{
    pthread_mutex_lock(&fake_lock);
    const fake_block *block = fake_block_of(address);
    const fake_block *shadow = block != NULL ? block->shadow : NULL;
    if (shadow != NULL) {
        char *copy = shadow->address + (address - block->address);
        memcpy(copy, address, nbytes);
        address = copy;
    }
    pthread_mutex_unlock(&fake_lock);
    return address;
}

int
fake_device_of(const void *address)
{
    pthread_mutex_lock(&fake_lock);
    const fake_block *block = fake_block_of(address);
    int device = block == NULL || block->kind == FAKE_PINNED ? -1 : block->device;
    pthread_mutex_unlock(&fake_lock);
    return device;
}
