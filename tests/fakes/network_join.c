/* How the ranks of a communicator meet: in a memory file of the process that made the
 * identity. A thread joins it for each rank, also where the call waits for that; a rank
 * that does not come leaves the others waiting until they abort. */
#include "network.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MANY_RANKS_A_GPU = 23000 };

/* What the bytes of an identity hold. */
typedef struct identity {
    uint64_t token;
    int32_t process;
    int32_t file;
} identity;

/* An identity that this process made: its file is open until all ranks have it. */
typedef struct made {
    identity id;
    fake_arena arena;
    struct made *next;
} made;

static made *identities;

size_t
fake_identities(void)
{
    size_t count = 0;
    for (const made *each = identities; each != NULL; each = each->next) {
        count++;
    }
    return count;
}

size_t
fake_segment_bytes(int size)
{
    size_t ranks = (size_t)size;
    return sizeof(fake_segment) + ranks * sizeof(fake_member) +
           ranks * ranks * sizeof(fake_channel);
}

fake_channel *
fake_channel_of(const fake_comm *comm, int from, int to)
{
    fake_channel *all = (void *)&comm->segment->members[comm->size];
    return &all[from * comm->size + to];
}

int
ncclGetUniqueId(pa_nccl_id *id)
{
    fake_call call;
    int code = fake_begin(&call, "ncclGetUniqueId", "%s", "");
    if (code == 0) {
        made *one = calloc(1, sizeof(*one));
        if (one == NULL) {
            abort();
        }
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        fake_arena_make(&one->arena, "fake nccl", FAKE_SEGMENT_BYTES,
                        PROT_READ | PROT_WRITE);
        pthread_mutex_lock(&fake_lock);
        one->id.token = ((uint64_t)getpid() << 40) ^
                        ((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
        one->id.process = (int32_t)getpid();
        one->id.file = one->arena.file;
        ((fake_segment *)(void *)one->arena.base)->token = one->id.token;
        one->next = identities;
        identities = one;
        pthread_mutex_unlock(&fake_lock);
        memset(id, 0, sizeof(*id));
        memcpy(id->bytes, &one->id, sizeof(one->id));
    }
    return fake_end(&call, code);
}

/* With the lock: closes the file of an identity that this process made. */
static void
forget_identity(const pa_nccl_id *id)
{
    for (made **place = &identities; *place != NULL; place = &(*place)->next) {
        made *one = *place;
        if (memcmp(&one->id, id->bytes, sizeof(one->id)) == 0) {
            *place = one->next;
            munmap(one->arena.base, one->arena.nbytes);
            close(one->arena.file);
            free(one);
            return;
        }
    }
}

/* Says in the segment who this rank is. Without the lock. False: it cannot be joined.
 */
static bool
enter_segment(fake_comm *comm)
{
    identity id;
    memcpy(&id, comm->id.bytes, sizeof(id));
    void *mapped = fake_arena_map(id.process, id.file, 0, FAKE_SEGMENT_BYTES,
                                  PROT_READ | PROT_WRITE);
    pthread_mutex_lock(&fake_lock);
    comm->segment = mapped;
    bool good = mapped != NULL && comm->segment->token == id.token;
    uint32_t none = 0;
    if (!good) {
        fake_comm_break(comm, PA_NCCL_SYSTEM_ERROR,
                        "the process that made the unique id is gone");
    } else if (!atomic_compare_exchange_strong(&comm->segment->size, &none,
                                               (uint32_t)comm->size) &&
               none != (uint32_t)comm->size) {
        good = false;
        fake_refuse(0, "ncclCommInitRankConfig: one rank says %d ranks, another %u",
                    comm->size, none);
        fake_comm_break(comm, PA_NCCL_INVALID_ARGUMENT, "ranks differ in their number");
    }
    if (good) {
        const fake_arena *arena = fake_arena_of(comm->device);
        fake_member *own = &comm->segment->members[comm->rank];
        comm->base = arena->base;
        own->process = (int)getpid();
        own->file = arena->file;
        own->nbytes = arena->nbytes;
        own->version = fake_settings_get()->nccl;
        own->device = comm->device;
        fake_uuid(fake_settings_get()->physical[comm->device], own->uuid);
        if (atomic_fetch_add(&own->joined, 1) != 0) {
            good = false;
            fake_refuse(0, "ncclCommInitRankConfig: two processes are rank %d",
                        comm->rank);
            fake_comm_break(comm, PA_NCCL_INVALID_ARGUMENT, "two ranks are one");
        }
    }
    pthread_mutex_unlock(&fake_lock);
    if (good) {
        fake_word_ring(&comm->segment->bell);
    }
    return good;
}

/* Waits until all ranks have joined; false: aborted, or the devices are lost. */
static bool
await_members(const fake_comm *comm)
{
    for (int rank = 0; rank < comm->size;) {
        uint32_t bell = atomic_load(&comm->segment->bell);
        if (atomic_load(&comm->segment->members[rank].joined) != 0) {
            rank++;
        } else if (atomic_load(&comm->aborted) || fake_lost() != 0) {
            return false;
        } else {
            fake_word_wait(&comm->segment->bell, bell);
        }
    }
    return true;
}

/* Whether several ranks may be on one GPU, which newer versions allow when asked. */
static bool
may_share(void)
{
    const char *asked = getenv("NCCL_MULTI_RANK_GPU_ENABLE");
    return fake_settings_get()->nccl >= MANY_RANKS_A_GPU && asked != NULL &&
           strcmp(asked, "1") == 0;
}

/* What NCCL looks for when all ranks know of each other. With the lock. */
static void
check_members(fake_comm *comm)
{
    char text[200];
    const fake_member *all = comm->segment->members;
    for (int i = 0; i < comm->size; i++) {
        if (all[i].version != all[0].version) {
            snprintf(text, sizeof(text),
                     "Mismatched NCCL version detected : rank %d version %d rank 0 "
                     "version %d",
                     i, all[i].version, all[0].version);
            fake_comm_break(comm, PA_NCCL_INVALID_USAGE, text);
        }
        for (int j = 0; j < i && !may_share(); j++) {
            if (memcmp(all[i].uuid, all[j].uuid, FAKE_UUID_BYTES) == 0) {
                snprintf(text, sizeof(text),
                         "Duplicate GPU detected : rank %d and rank %d both on CUDA "
                         "device %d",
                         j, i, all[j].device);
                bool own = comm->rank == i || comm->rank == j;
                fake_comm_break(
                    comm, own ? PA_NCCL_INVALID_USAGE : PA_NCCL_REMOTE_ERROR, text);
            }
        }
    }
}

static void
map_members(fake_comm *comm)
{
    comm->memory = calloc((size_t)comm->size, sizeof(*comm->memory));
    for (int i = 0; comm->memory != NULL && i < comm->size; i++) {
        const fake_member *each = &comm->segment->members[i];
        comm->memory[i] =
            fake_arena_map(each->process, each->file, 0, each->nbytes, PROT_READ);
        if (comm->memory[i] == NULL) {
            fake_comm_break(comm, PA_NCCL_SYSTEM_ERROR, strerror(errno));
        }
    }
}

void *
fake_join(void *argument)
{
    fake_comm *comm = argument;
    bool met = enter_segment(comm) && await_members(comm);
    pthread_mutex_lock(&fake_lock);
    if (met) {
        check_members(comm);
        if (comm->code == 0) {
            map_members(comm);
        }
    }
    forget_identity(&comm->id);
    comm->stage = comm->code == 0 && met ? FAKE_READY : FAKE_JOINING;
    comm->joining = false;
    pthread_cond_broadcast(&fake_changed);
    fake_comm_settle(comm);
    pthread_mutex_unlock(&fake_lock);
    return NULL;
}
