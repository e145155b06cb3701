/* Communicators from their birth to their end. */
#include "network.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define TAG ((uint64_t)0x53 << 56)

const char *
ncclGetErrorString(int code);
const char *
ncclGetLastError(pa_nccl_comm handle);

static fake_comm *comms;
static uint64_t last_serial;
static char last_text[256];

int
fake_nccl_enter(int code)
{
    int cuda = fake_ask(code & FAKE_LOSES ? code : 0);
    return code != 0   ? code & ~FAKE_LOSES
           : cuda == 0 ? 0
                       : PA_NCCL_UNHANDLED_CUDA_ERROR;
}

static pa_nccl_comm
handle_of(const fake_comm *comm)
{
    return (pa_nccl_comm)(uintptr_t)(TAG | comm->serial << 4);
}

fake_comm *
fake_comm_of(pa_nccl_comm handle, const char *call)
{
    uint64_t value = (uint64_t)(uintptr_t)handle;
    uint64_t serial = (value & ~TAG) >> 4;
    bool given = (value & TAG) == TAG && (value & 15) == 0 && serial <= last_serial;
    fake_comm *comm = comms;
    while (comm != NULL && comm->serial != serial) {
        comm = comm->next;
    }
    if (!given || comm == NULL || comm->gone) {
        fake_refuse(PA_NCCL_INVALID_ARGUMENT, "%s: %p is %s", call, (void *)handle,
                    given ? "a communicator that was destroyed or aborted"
                          : "no communicator");
        return NULL;
    }
    return comm;
}

int
fake_comm_ready(const fake_comm *comm, const char *call)
{
    if (comm->code != 0) {
        return comm->code;
    }
    if (comm->busy || comm->stage == FAKE_JOINING) {
        return fake_refuse(PA_NCCL_INVALID_ARGUMENT,
                           "%s: the communicator is used before its previous operation "
                           "was polled until ncclSuccess",
                           call);
    }
    if (comm->stage != FAKE_READY) {
        return fake_refuse(PA_NCCL_INVALID_USAGE,
                           "%s: the communicator has been finalized", call);
    }
    return 0;
}

void
fake_comm_break(fake_comm *comm, int code, const char *text)
{
    if (comm->code == 0) {
        comm->code = code;
        snprintf(last_text, sizeof(last_text), "%s", text);
    }
}

const char *
ncclGetLastError(pa_nccl_comm handle)
{
    static _Thread_local char text[sizeof(last_text)];
    (void)handle; /* the real one looks at no communicator either */
    pthread_mutex_lock(&fake_lock);
    memcpy(text, last_text, sizeof(text));
    pthread_mutex_unlock(&fake_lock);
    return text;
}

const char *
ncclGetErrorString(int code)
{
    static const char *const TEXTS[] = {
        [PA_NCCL_SUCCESS] = "no error",
        [PA_NCCL_UNHANDLED_CUDA_ERROR] = "unhandled cuda error",
        [PA_NCCL_SYSTEM_ERROR] = "unhandled system error",
        [PA_NCCL_INTERNAL_ERROR] = "internal error",
        [PA_NCCL_INVALID_ARGUMENT] = "invalid argument",
        [PA_NCCL_INVALID_USAGE] = "invalid usage",
        [PA_NCCL_REMOTE_ERROR] = "remote process exited or there was a network error",
        [PA_NCCL_IN_PROGRESS] = "NCCL operation in progress",
    };
    bool known = code >= 0 && code <= PA_NCCL_IN_PROGRESS;
    return known ? TEXTS[code] : "unknown result code";
}

/* For the report of what is alive. */
static void
each_alive(fake_line line, void *context)
{
    char text[120];
    pthread_mutex_lock(&fake_lock);
    for (const fake_comm *each = comms; each != NULL; each = each->next) {
        if (!each->gone) {
            snprintf(text, sizeof(text), "communicator: rank %d of %d, device %d",
                     each->rank, each->size, each->device);
            line(context, text);
        }
    }
    for (size_t i = 0; i < fake_identities(); i++) {
        line(context, "unique id that no group has been made with");
    }
    pthread_mutex_unlock(&fake_lock);
    if (fake_groups_open() > 0) {
        line(context, "group that was started and not ended");
    }
}

__attribute__((constructor)) static void
register_report(void)
{
    fake_live_also(each_alive);
}

int
ncclGetVersion(int *version)
{
    fake_call call;
    int code = fake_begin(&call, "ncclGetVersion", "%s", "");
    *version = fake_settings_get()->nccl;
    return fake_end(&call, code);
}

/* The configuration as NCCL checks it: it may be shorter than the library's own. */
static int
read_config(const pa_nccl_config *config, bool *blocking)
{
    *blocking = true;
    if (config == NULL) {
        return 0;
    }
    size_t least = offsetof(pa_nccl_config, blocking) + sizeof(int);
    if (config->nbytes < least || config->nbytes > 4096) {
        return fake_refuse(PA_NCCL_INVALID_ARGUMENT,
                           "ncclCommInitRankConfig: a configuration of %zu bytes",
                           config->nbytes);
    }
    if (config->magic != 0xcafebeefu) {
        return fake_refuse(PA_NCCL_INVALID_ARGUMENT,
                           "ncclCommInitRankConfig: the configuration's magic is %#x",
                           config->magic);
    }
    if (config->version < PA_NCCL_OLDEST ||
        (config->blocking != 0 && config->blocking != 1)) {
        return fake_refuse(PA_NCCL_INVALID_ARGUMENT,
                           "ncclCommInitRankConfig: version %u and blocking %d of the "
                           "configuration",
                           config->version, config->blocking);
    }
    *blocking = config->blocking == 1;
    return 0;
}

/* With the lock, which it gives up: waits until the operation that was begun is done,
 * for a communicator that blocks. */
static int
finish(fake_comm *comm)
{
    while (comm->joining ||
           (comm->stage == FAKE_FINALIZING && (comm->users > 0 || comm->running > 0))) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    return comm->code;
}

int
ncclCommInitRankConfig(pa_nccl_comm *out, int size, pa_nccl_id id, int rank,
                       pa_nccl_config *config)
{
    fake_call call;
    bool blocking;
    int code = fake_nccl_enter(fake_begin(&call, "ncclCommInitRankConfig",
                                          "size=%d rank=%d device=%d", size, rank,
                                          fake_current()));
    if (code == 0) {
        code = read_config(config, &blocking);
    }
    if (code == 0 && (size < 1 || rank < 0 || rank >= size ||
                      fake_segment_bytes(size) > FAKE_SEGMENT_BYTES)) {
        code = fake_refuse(PA_NCCL_INVALID_ARGUMENT,
                           "ncclCommInitRankConfig: rank %d of %d", rank, size);
    }
    if (code == 0) {
        fake_comm *comm = calloc(1, sizeof(*comm));
        if (comm == NULL) {
            abort();
        }
        pthread_mutex_lock(&fake_lock);
        comm->serial = ++last_serial;
        comm->rank = rank;
        comm->size = size;
        comm->device = fake_current();
        comm->blocking = blocking;
        comm->joining = true;
        comm->last = &comm->waiting;
        comm->id = id;
        comm->next = comms;
        comms = comm;
        *out = handle_of(comm);
        pthread_t thread;
        if (pthread_create(&thread, NULL, fake_join, comm) != 0) {
            abort();
        }
        pthread_detach(thread);
        code = blocking ? finish(comm) : fake_comm_begin(comm);
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_end(&call, code);
}

int
fake_comm_begin(fake_comm *comm)
{
    comm->polls = comm->blocking ? 0 : fake_settings_get()->polls;
    bool quick = comm->polls == 0 && !comm->joining && comm->stage != FAKE_FINALIZING;
    comm->busy = !comm->blocking && !quick;
    return comm->busy ? PA_NCCL_IN_PROGRESS : 0;
}

/* With the lock: the work of a communicator is over, on this rank. */
static void
set_finalized(fake_comm *comm)
{
    comm->stage = FAKE_FINALIZED;
    atomic_store(&comm->segment->members[comm->rank].finalized, 1);
    fake_word_ring(&comm->segment->bell);
}

/* With the lock: the state of what was begun last. */
static int
poll(fake_comm *comm)
{
    if (comm->code != 0) {
        return comm->code;
    }
    if (comm->joining) {
        return PA_NCCL_IN_PROGRESS;
    }
    if (comm->polls > 0) {
        comm->polls--;
        return PA_NCCL_IN_PROGRESS;
    }
    fake_comm_flush(comm);
    if (comm->stage == FAKE_FINALIZING) {
        if (comm->users > 0 || comm->running > 0) {
            return PA_NCCL_IN_PROGRESS;
        }
        set_finalized(comm);
    }
    comm->busy = false;
    return 0;
}

int
ncclCommGetAsyncError(pa_nccl_comm handle, int *state)
{
    fake_call call;
    int code = fake_nccl_enter(
        fake_begin(&call, "ncclCommGetAsyncError", "comm=%p", (void *)handle));
    int asked = fake_fault("ncclAsyncError");
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_comm *comm = fake_comm_of(handle, "ncclCommGetAsyncError");
        if (comm == NULL) {
            code = PA_NCCL_INVALID_ARGUMENT;
        } else {
            if (asked != 0) {
                fake_comm_break(comm, asked, "the test asked for this error");
            }
            *state = poll(comm);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_end(&call, code);
}

int
ncclCommFinalize(pa_nccl_comm handle)
{
    fake_call call;
    int code = fake_nccl_enter(
        fake_begin(&call, "ncclCommFinalize", "comm=%p", (void *)handle));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_comm *comm = fake_comm_of(handle, "ncclCommFinalize");
        code = comm == NULL ? PA_NCCL_INVALID_ARGUMENT
                            : fake_comm_ready(comm, "ncclCommFinalize");
        if (code == 0) {
            comm->stage = FAKE_FINALIZING;
            if (comm->blocking) {
                code = finish(comm);
                set_finalized(comm);
            } else {
                code = fake_comm_begin(comm);
            }
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_end(&call, code);
}

void
fake_comm_settle(fake_comm *comm)
{
    if (!comm->gone || comm->joining || comm->users > 0 || comm->running > 0) {
        return;
    }
    fake_comm **place = &comms;
    while (*place != comm) {
        place = &(*place)->next;
    }
    *place = comm->next;
    for (int i = 0; comm->memory != NULL && i < comm->size; i++) {
        if (comm->memory[i] != NULL) {
            munmap((void *)comm->memory[i], comm->segment->members[i].nbytes);
        }
    }
    if (comm->segment != NULL) {
        munmap(comm->segment, FAKE_SEGMENT_BYTES);
    }
    free(comm->memory);
    free(comm);
    pthread_cond_broadcast(&fake_changed);
}

int
ncclCommDestroy(pa_nccl_comm handle)
{
    fake_call call;
    int code = fake_nccl_enter(
        fake_begin(&call, "ncclCommDestroy", "comm=%p", (void *)handle));
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_comm *comm = fake_comm_of(handle, "ncclCommDestroy");
        bool ended = comm != NULL && (comm->stage == FAKE_FINALIZED ||
                                      (comm->blocking && comm->users == 0));
        if (comm == NULL) {
            code = PA_NCCL_INVALID_ARGUMENT;
        } else if (!ended) {
            code = fake_refuse(PA_NCCL_INVALID_USAGE,
                               "ncclCommDestroy: the communicator has not been "
                               "finalized until ncclSuccess, or has queued work: "
                               "finalize it, or abort it");
        } else {
            comm->gone = true;
            fake_comm_settle(comm);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_end(&call, code);
}

/* With the lock: the kernels of a communicator end, and do nothing from now on. */
static void
stop(fake_comm *comm)
{
    atomic_store(&comm->aborted, true);
    fake_comm_flush(comm);
    if (comm->segment != NULL) {
        fake_word_ring(&comm->segment->bell);
    }
    pthread_cond_broadcast(&fake_changed);
}

int
ncclCommRevoke(pa_nccl_comm handle, int flags)
{
    fake_call call;
    int code =
        fake_begin(&call, "ncclCommRevoke", "comm=%p flags=%d", (void *)handle, flags);
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_comm *comm = fake_comm_of(handle, "ncclCommRevoke");
        if (comm == NULL || flags != 0) {
            code = PA_NCCL_INVALID_ARGUMENT;
        } else {
            comm->stage = FAKE_REVOKED;
            code = PA_NCCL_IN_PROGRESS;
            stop(comm);
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_end(&call, code);
}

int
ncclCommAbort(pa_nccl_comm handle)
{
    fake_call call;
    int code = fake_begin(&call, "ncclCommAbort", "comm=%p", (void *)handle);
    if (code == 0) {
        pthread_mutex_lock(&fake_lock);
        fake_comm *comm = fake_comm_of(handle, "ncclCommAbort");
        code = comm == NULL ? PA_NCCL_INVALID_ARGUMENT : 0;
        if (comm != NULL) {
            uint64_t serial = comm->serial;
            int device = comm->device;
            if (comm->inside > 0) {
                fake_refuse(0, "ncclCommAbort: another thread is in a call of the "
                               "communicator, which this frees");
            }
            comm->gone = true;
            stop(comm);
            /* As the kernel that runs ends first; what is queued will do nothing. */
            while (comm != NULL && (comm->running > 0 || comm->joining)) {
                pthread_cond_wait(&fake_changed, &fake_lock);
                for (comm = comms; comm != NULL && comm->serial != serial;) {
                    comm = comm->next;
                }
            }
            if (comm != NULL) {
                fake_comm_settle(comm);
            }
            fake_drain_device(device); /* as memory is freed */
        }
        pthread_mutex_unlock(&fake_lock);
    }
    return fake_end(&call, code);
}
