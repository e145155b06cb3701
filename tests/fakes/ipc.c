/* Handles of memory and of events that other processes open.
 *
 * A handle names the process, its memory file and the place in it, and the serial
 * number of what it stands for, which the owner keeps in a table of shared memory, so
 * that opening what was freed is seen. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAGIC = 0x46414B45, PAGE = 4096, TABLE_BYTES = 1 << 20 };

/* What the 64 bytes of a handle hold. */
typedef struct handle {
    uint32_t magic;
    int32_t process;
    int32_t file;
    int32_t physical;
    uint64_t offset;
    uint64_t nbytes;
    int32_t table; /* file of the owner's table of live exports */
    uint32_t entry;
    uint32_t serial;
    uint32_t host;
} handle;

_Static_assert(sizeof(handle) <= PA_CUDA_IPC_BYTES, "a handle has 64 bytes");

/* Of uint32_t, from the second one on: the serial of a live export, or 0. */
static fake_arena table;

/* A number for the host's name. */
static uint32_t
host(void)
{
    char bytes[FAKE_UUID_BYTES];
    uint32_t hash;
    fake_uuid(0, bytes);
    memcpy(&hash, bytes + 4, sizeof(hash));
    return hash;
}

static _Atomic uint32_t *
entry_of(uint32_t index)
{
    return (_Atomic uint32_t *)(void *)table.base + index;
}

/* With the lock: the entry of a block in the table, new at the first time. */
static uint32_t
export_block(fake_block *block)
{
    if (table.base == NULL) {
        fake_arena_make(&table, "fake exports", TABLE_BYTES, PROT_READ | PROT_WRITE);
    }
    for (uint32_t i = 1; block->entry == 0; i++) {
        if (i >= TABLE_BYTES / sizeof(uint32_t)) {
            fprintf(stderr, "fakes: no room for one more exported block\n");
            abort();
        }
        if (atomic_load(entry_of(i)) == 0) {
            atomic_store(entry_of(i), (uint32_t)block->serial);
            block->entry = i;
        }
    }
    return block->entry;
}

void
fake_export_end(const fake_block *block)
{
    if (block->entry != 0) {
        atomic_store(entry_of(block->entry), 0);
    }
}

/* With the lock: whether a handle, which an owner made, can be opened here. */
static int
check(const handle *read, const char *call)
{
    if (read->magic != MAGIC) {
        return fake_refuse(FAKE_INVALID_VALUE, "%s: this is no handle", call);
    }
    if (read->process == (int32_t)getpid()) {
        return fake_refuse(FAKE_INVALID_CONTEXT,
                           "%s: the handle is this process' own, which cannot open it",
                           call);
    }
    return read->host == host() ? 0 : FAKE_INVALID_VALUE;
}

/* The device of this process that is the machine's `physical` one; -1. */
static int
device_of(int physical)
{
    const fake_settings *settings = fake_settings_get();
    for (int i = 0; i < settings->count; i++) {
        if (settings->physical[i] == physical) {
            return i;
        }
    }
    return -1;
}

/* The code for a process that may not open handles; 0: it may. */
static int
forbidden(void)
{
    return fake_settings_get()->ipc_error;
}

int
cudaIpcGetMemHandle(pa_cuda_ipc_memory *memory, void *address)
{
    fake_call call;
    int code =
        fake_enter(fake_begin(&call, "cudaIpcGetMemHandle", "address=%p", address));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_block *block = fake_block_of(address);
        if (block == NULL || block->kind != FAKE_DEVICE) {
            code = fake_refuse(FAKE_INVALID_VALUE,
                               "cudaIpcGetMemHandle: %p is not in live memory of "
                               "cudaMalloc",
                               address);
        } else {
            const fake_settings *settings = fake_settings_get();
            handle made = {.magic = MAGIC,
                           .process = (int32_t)getpid(),
                           .file = fake_arena_of(block->device)->file,
                           .physical = settings->physical[block->device],
                           .offset = block->offset,
                           .nbytes = block->nbytes,
                           .entry = export_block(block),
                           .serial = (uint32_t)block->serial,
                           .host = host()};
            made.table = table.file;
            memset(memory, 0, sizeof(*memory));
            memcpy(memory->bytes, &made, sizeof(made));
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

/* Whether the export that a handle names is alive; also false when its process is not.
 */
static bool
alive(const handle *read)
{
    size_t page = read->entry * sizeof(uint32_t) / PAGE * PAGE;
    char *mapped =
        fake_arena_map(read->process, read->table, page, PAGE, PROT_READ | PROT_WRITE);
    if (mapped == NULL) {
        return false;
    }
    size_t inside = read->entry * sizeof(uint32_t) - page;
    bool result =
        atomic_load((_Atomic uint32_t *)(void *)(mapped + inside)) == read->serial;
    munmap(mapped, PAGE);
    return result;
}

/* With the lock: the block that this handle was opened as before; NULL. */
static fake_block *
opened(const handle *read)
{
    for (fake_block *each = fake_blocks(); each != NULL; each = each->next) {
        if (each->kind == FAKE_IMPORTED && each->process == read->process &&
            each->origin == read->serial && each->offset == read->offset) {
            return each;
        }
    }
    return NULL;
}

/* With the lock: cudaIpcOpenMemHandle after its checks of arguments. */
static int
open_memory(void **address, const handle *read)
{
    const fake_settings *settings = fake_settings_get();
    int device = device_of(read->physical);
    bool same = settings->physical[fake_current()] == read->physical;
    if (!same && !settings->peers) {
        return FAKE_PEER_UNSUPPORTED;
    }
    if (!alive(read)) {
        return fake_refuse(FAKE_INVALID_VALUE,
                           "cudaIpcOpenMemHandle: the memory of process %d that the "
                           "handle stands for was freed",
                           read->process);
    }
    fake_block *block = opened(read);
    if (block != NULL) {
        block->opened++;
        *address = block->address;
        return 0;
    }
    void *mapped = fake_arena_map(read->process, read->file, read->offset, read->nbytes,
                                  PROT_READ | PROT_WRITE);
    block = mapped == NULL ? NULL : calloc(1, sizeof(*block));
    if (block == NULL) {
        return 205;
    }
    *block = (fake_block){.address = mapped,
                          .nbytes = read->nbytes,
                          .kind = FAKE_IMPORTED,
                          .device = device >= 0 ? device : fake_current(),
                          .opened = 1,
                          .offset = read->offset,
                          .process = read->process,
                          .origin = read->serial};
    fake_block_add(block);
    *address = mapped;
    return 0;
}

int
cudaIpcOpenMemHandle(void **address, pa_cuda_ipc_memory memory, unsigned int flags)
{
    handle read;
    memcpy(&read, memory.bytes, sizeof(read));
    fake_call call;
    int code = fake_enter(fake_begin(
        &call, "cudaIpcOpenMemHandle", "device=%d process=%d nbytes=%llu flags=%u",
        fake_current(), read.process, (unsigned long long)read.nbytes, flags));
    if (code == 0) {
        code = forbidden();
    }
    if (code == 0 && flags != PA_CUDA_IPC_LAZY_PEER_ACCESS) {
        code = fake_refuse(FAKE_INVALID_VALUE,
                           "cudaIpcOpenMemHandle: flags %u, where only 1 is possible",
                           flags);
    }
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        code = check(&read, "cudaIpcOpenMemHandle");
        if (code == 0) {
            code = open_memory(address, &read);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

int
cudaIpcCloseMemHandle(void *address)
{
    fake_call call;
    int code =
        fake_enter(fake_begin(&call, "cudaIpcCloseMemHandle", "address=%p", address));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_block *block =
            fake_block_to_free(address, FAKE_IMPORTED, "cudaIpcCloseMemHandle");
        if (block == NULL) {
            code = FAKE_INVALID_VALUE;
        } else if (--block->opened == 0) {
            fake_block_remove(block);
            munmap(block->address, block->nbytes);
            free(block);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

int
cudaIpcGetEventHandle(pa_cuda_ipc_event *out, pa_cuda_event event_handle)
{
    fake_call call;
    int code = fake_enter(
        fake_begin(&call, "cudaIpcGetEventHandle", "event=%p", (void *)event_handle));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_event *event = fake_event_of(event_handle, "cudaIpcGetEventHandle");
        if (event == NULL) {
            code = FAKE_INVALID_HANDLE;
        } else if (event->imported ||
                   (event->flags & PA_CUDA_EVENT_INTERPROCESS) == 0) {
            code = fake_refuse(FAKE_INVALID_HANDLE,
                               "cudaIpcGetEventHandle: event %p was not created for "
                               "other processes, or by one",
                               (void *)event_handle);
        } else {
            const fake_arena *slots = fake_slots();
            handle made = {.magic = MAGIC,
                           .process = (int32_t)getpid(),
                           .file = slots->file,
                           .physical = fake_settings_get()->physical[event->device],
                           .offset = (uint64_t)((char *)event->slot - slots->base),
                           .nbytes = slots->nbytes,
                           .serial = atomic_load(&event->slot->generation),
                           .host = host()};
            event->exported = true;
            memset(out, 0, sizeof(*out));
            memcpy(out->bytes, &made, sizeof(made));
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}

/* With the lock: cudaIpcOpenEventHandle after its checks of arguments. */
static int
open_event(pa_cuda_event *event, const handle *read)
{
    char *mapped = fake_arena_map(read->process, read->file, 0, read->nbytes,
                                  PROT_READ | PROT_WRITE);
    if (mapped == NULL) {
        return 205;
    }
    fake_slot *slot = (fake_slot *)(void *)(mapped + read->offset);
    if (atomic_load(&slot->generation) != read->serial) {
        munmap(mapped, read->nbytes);
        return fake_refuse(FAKE_INVALID_HANDLE,
                           "cudaIpcOpenEventHandle: the event of process %d that the "
                           "handle stands for was destroyed",
                           read->process);
    }
    int device = device_of(read->physical);
    fake_event *made = fake_event_make(
        device >= 0 ? device : fake_current(),
        PA_CUDA_EVENT_INTERPROCESS | PA_CUDA_EVENT_DISABLE_TIMING, slot);
    made->mapping = mapped;
    made->mapping_bytes = read->nbytes;
    *event = fake_event_handle(made);
    return 0;
}

int
cudaIpcOpenEventHandle(pa_cuda_event *event, pa_cuda_ipc_event bytes)
{
    handle read;
    memcpy(&read, bytes.bytes, sizeof(read));
    fake_call call;
    int code =
        fake_enter(fake_begin(&call, "cudaIpcOpenEventHandle", "device=%d process=%d",
                              fake_current(), read.process));
    if (code == 0) {
        code = forbidden();
    }
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        code = check(&read, "cudaIpcOpenEventHandle");
        if (code == 0) {
            code = open_event(event, &read);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_leave(&call, code);
}
