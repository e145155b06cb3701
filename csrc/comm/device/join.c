/* Setting up the GPUs of a group: see the header. */
#include "comm/device/join.h"

#include "base/hash.h"
#include "base/text.h"
#include "comm/bytes.h"
#include "comm/device/choice.h"
#include "gpu/nccl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NCCL lets several ranks use one GPU from this version on, where that is allowed. */
enum { SHARES_GPU = 23000 };

/* ---- Exchanges ---- */

pa_status
pa_devices_exchange(pa_devices *devices, const void *mine, size_t nbytes, void *all,
                    const pa_hooks *hooks, pa_error *error)
{
    /* The part is only read. */
    pa_part part = {(char *)(uintptr_t)mine, nbytes, NULL};
    pa_bytes *said = NULL;
    PA_TRY(pa_bytes_gather(devices->comm, PA_OP_DEVICES, &part, &said, hooks, error));
    pa_status status = PA_OK;
    for (int rank = 0; rank < pa_comm_size(devices->comm) && status == PA_OK; rank++) {
        if (said[rank].nbytes != nbytes) {
            status = pa_error_set(error, PA_EMISMATCH,
                                  "%s: rank %d sent %zu bytes where %zu were expected; "
                                  "all ranks must use the same version of pyaccel",
                                  pa_op_text(PA_OP_DEVICES), rank, said[rank].nbytes,
                                  nbytes);
        } else {
            memcpy((char *)all + (size_t)rank * nbytes, said[rank].data, nbytes);
        }
    }
    pa_bytes_free(said);
    return status;
}

pa_status
pa_devices_all_did(pa_devices *devices, const char *failed, char *why, size_t capacity,
                   const pa_hooks *hooks, pa_error *error)
{
    why[0] = '\0';
    char text[PA_DEVICE_TEXT] = "";
    if (failed != NULL) {
        pa_text_append(text, sizeof text, "%s", failed[0] != '\0' ? failed : "unknown");
    }
    pa_part part = {text, strlen(text), NULL};
    pa_bytes *said = NULL;
    PA_TRY(pa_bytes_gather(devices->comm, PA_OP_DEVICES, &part, &said, hooks, error));
    for (int rank = 0; rank < pa_comm_size(devices->comm) && why[0] == '\0'; rank++) {
        if (said[rank].nbytes > 0) {
            int length =
                (int)(said[rank].nbytes < capacity ? said[rank].nbytes : capacity);
            (void)snprintf(why, capacity, "rank %d: %.*s", rank, length,
                           said[rank].data);
        }
    }
    pa_bytes_free(said);
    return PA_OK;
}

/* ---- What a rank has ---- */

static uint64_t
hash_of(const pa_device_choice *choice)
{
    char text[PA_DEVICE_TEXT] = "";
    pa_device_choice_format(choice, text, sizeof text);
    return pa_hash_bytes(PA_HASH_SEED, text, strlen(text));
}

static void
learn_facts(pa_devices *devices, pa_device_facts *facts)
{
    *facts = (pa_device_facts){.device = -1, .shared_nccl = devices->shared_nccl};
    facts->asked = hash_of(&devices->asked);
    devices->cuda = pa_cuda_get();
    if (devices->cuda == NULL) {
        pa_text_append(facts->no_cuda, sizeof facts->no_cuda, "%s", pa_cuda_reason());
    } else if (devices->device < 0) {
        pa_text_append(facts->no_cuda, sizeof facts->no_cuda,
                       "no GPU was chosen for this rank");
    } else {
        pa_error said = PA_ERROR_INIT;
        facts->cuda = pa_gpu_find(PA_GPU_CUDART)->version;
        if (pa_cuda_identity(devices->cuda, devices->device, &facts->uuid, &said) ==
            PA_OK) {
            facts->device = devices->device;
        } else {
            pa_text_append(facts->no_cuda, sizeof facts->no_cuda, "%s", said.message);
        }
    }
    if (pa_nccl_get() != NULL) {
        facts->nccl = pa_gpu_find(PA_GPU_NCCL)->version;
    } else {
        pa_text_append(facts->no_nccl, sizeof facts->no_nccl, "%s",
                       pa_gpu_find(PA_GPU_NCCL)->reason);
    }
}

/* ---- What follows from the facts, the same on every rank ---- */

/* The first rank without a device, or -1. */
static int
without_device(const pa_devices *devices)
{
    for (int rank = 0; rank < pa_comm_size(devices->comm); rank++) {
        if (devices->ranks[rank].device < 0) {
            return rank;
        }
    }
    return -1;
}

/* Why NCCL cannot be used. */
static void
judge_nccl(const pa_devices *devices, char *why, size_t capacity)
{
    const pa_device_facts *ranks = devices->ranks;
    char one[32];
    char other[32];
    for (int rank = 0; rank < pa_comm_size(devices->comm) && why[0] == '\0'; rank++) {
        if (ranks[rank].nccl == 0) {
            pa_text_append(why, capacity, "rank %d has no NCCL: %s", rank,
                           ranks[rank].no_nccl);
        } else if (ranks[rank].nccl != ranks[0].nccl) {
            pa_nccl_version_format(ranks[0].nccl, one, sizeof one);
            pa_nccl_version_format(ranks[rank].nccl, other, sizeof other);
            pa_text_append(why, capacity,
                           "rank 0 has NCCL %s and rank %d has %s; install the same "
                           "version everywhere",
                           one, rank, other);
        }
        for (int lower = 0; lower < rank && why[0] == '\0'; lower++) {
            bool same = memcmp(&ranks[lower].uuid, &ranks[rank].uuid,
                               sizeof ranks[rank].uuid) == 0;
            bool shared = ranks[lower].shared_nccl != 0 &&
                          ranks[rank].shared_nccl != 0 &&
                          ranks[rank].nccl >= SHARES_GPU;
            if (same && !shared) {
                pa_text_append(why, capacity,
                               "ranks %d and %d are on one GPU (their numbers: %d and "
                               "%d); start at most one process a GPU for NCCL",
                               lower, rank, ranks[lower].device, ranks[rank].device);
            }
        }
    }
}

static void
judge(const pa_devices *devices, const pa_device_backend *way, char *why,
      size_t capacity)
{
    int missing = without_device(devices);
    if (way == &pa_device_staged) {
        return;
    }
    if (missing >= 0) {
        pa_text_append(why, capacity, "rank %d has no GPU: %s", missing,
                       devices->ranks[missing].no_cuda);
    } else if (way == &pa_device_nccl) {
        judge_nccl(devices, why, capacity);
    } else if (!devices->comm->backend->one_host) {
        pa_text_append(why, capacity, "the ranks do not share memory on one host");
    }
}

/* ---- Opening ---- */

static pa_status
refuse_other_tables(const pa_devices *devices, pa_error *error)
{
    char own[PA_DEVICE_TEXT] = "";
    pa_device_choice_format(&devices->asked, own, sizeof own);
    for (int rank = 1; rank < pa_comm_size(devices->comm); rank++) {
        if (devices->ranks[rank].asked != devices->ranks[0].asked) {
            return pa_error_set(error, PA_EMISMATCH,
                                "ranks 0 and %d ask for different ways between GPUs; "
                                "rank %d asks for \"%s\": give all ranks the same rows",
                                rank, pa_comm_rank(devices->comm), own);
        }
    }
    return PA_OK;
}

/* Tries a way on every rank, unless it is known to be off. */
static pa_status
open_way(pa_devices *devices, const pa_device_backend *way, const pa_hooks *hooks,
         pa_error *error)
{
    char *off = devices->off[pa_device_way_index(way)];
    judge(devices, way, off, PA_DEVICE_TEXT);
    if (off[0] != '\0') {
        return PA_OK;
    }
    pa_error said = PA_ERROR_INIT;
    pa_status opened = way->open(devices, hooks, &said);
    char reason[PA_COMM_REASON];
    if (opened != PA_OK && pa_comm_broken(devices->comm, reason, sizeof reason)) {
        return pa_error_set(error, opened, "%s", said.message);
    }
    PA_TRY(pa_devices_all_did(devices, opened == PA_OK ? NULL : said.message, off,
                              PA_DEVICE_TEXT, hooks, error));
    if (off[0] != '\0') {
        way->close(devices, false);
    }
    return PA_OK;
}

static bool
is_on(const pa_devices *devices, const pa_device_backend *way)
{
    return devices->off[pa_device_way_index(way)][0] == '\0';
}

/* Mixed places have no other way, so a group without it is none. */
static pa_status
need_staged(const pa_devices *devices, pa_error *error)
{
    return is_on(devices, &pa_device_staged)
               ? PA_OK
               : pa_error_set(error, PA_EMEMORY, "%s: %s", pa_op_text(PA_OP_DEVICES),
                              devices->off[pa_device_way_index(&pa_device_staged)]);
}

/* Opens the ways that were asked for. */
static pa_status
open_asked(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    for (size_t i = 0; i < PA_DEVICE_WAYS; i++) {
        const pa_device_backend *way = pa_device_ways[i];
        bool named = pa_device_choice_names(&devices->asked, way);
        if (!named && way != &pa_device_staged) {
            (void)snprintf(devices->off[i], PA_DEVICE_TEXT, "not asked for");
            continue;
        }
        PA_TRY(open_way(devices, way, hooks, error));
        if (named && !is_on(devices, way)) {
            return pa_error_set(error, PA_EARGUMENT,
                                "the way %s between GPUs was asked for and cannot be "
                                "had: %s",
                                way->name, devices->off[i]);
        }
    }
    devices->choice = devices->asked;
    return need_staged(devices, error);
}

/* Opens the best way that can be had, and the one that always can. */
static pa_status
open_best(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    pa_device_choice *choice = &devices->choice;
    for (size_t i = 0; i < PA_DEVICE_WAYS; i++) {
        const pa_device_backend *way = pa_device_ways[i];
        if (choice->count > 0 && way != &pa_device_staged) {
            (void)snprintf(devices->off[i], PA_DEVICE_TEXT, "not needed beside %s",
                           choice->rows[0].way->name);
            continue;
        }
        PA_TRY(open_way(devices, way, hooks, error));
        if (choice->count == 0 && is_on(devices, way)) {
            choice->rows[choice->count++] = (pa_device_row){way, SIZE_MAX};
        }
    }
    return need_staged(devices, error);
}

static void
forget(pa_devices *devices)
{
    for (size_t i = 0; i < PA_DEVICE_WAYS; i++) {
        pa_device_ways[i]->close(devices, false);
        devices->off[i][0] = '\0';
    }
    devices->choice.count = 0;
    free(devices->ranks);
    devices->ranks = NULL;
}

/* Says once, on one rank, why GPUs do not talk over NCCL although every rank has one.
 */
static void
tell_fall_back(const pa_devices *devices, const pa_hooks *hooks)
{
    char text[PA_DEVICE_TEXT + 128] = "";
    if (hooks == NULL || hooks->lasts == NULL || pa_comm_rank(devices->comm) != 0 ||
        devices->asked.count > 0 || without_device(devices) >= 0 ||
        is_on(devices, &pa_device_nccl)) {
        return;
    }
    pa_text_append(text, sizeof text, "tensors of GPUs go by the way ");
    pa_device_choice_format(&devices->choice, text, sizeof text);
    pa_text_append(text, sizeof text, " between the ranks, not over NCCL: %s",
                   devices->off[pa_device_way_index(&pa_device_nccl)]);
    hooks->lasts(hooks->context, text);
}

pa_status
pa_devices_join(pa_devices *devices, const pa_hooks *hooks, pa_error *error)
{
    if (devices->joined) {
        return PA_OK;
    }
    size_t size = (size_t)pa_comm_size(devices->comm);
    pa_device_facts mine;
    if (hooks != NULL && hooks->release != NULL) {
        /* Libraries are loaded and devices woken: that takes a second or two. */
        hooks->release(hooks->context);
    }
    learn_facts(devices, &mine);
    devices->ranks = calloc(size, sizeof *devices->ranks);
    if (devices->ranks == NULL) {
        pa_comm_abort_memory(devices->comm, PA_OP_DEVICES);
        return pa_error_set(error, PA_EMEMORY, "no memory for %zu ranks", size);
    }
    pa_status status =
        pa_devices_exchange(devices, &mine, sizeof mine, devices->ranks, hooks, error);
    if (status == PA_OK) {
        status = refuse_other_tables(devices, error);
    }
    if (status == PA_OK) {
        status = devices->asked.count > 0 ? open_asked(devices, hooks, error)
                                          : open_best(devices, hooks, error);
    }
    if (status != PA_OK) {
        forget(devices);
        return status;
    }
    devices->joined = true;
    tell_fall_back(devices, hooks);
    return PA_OK;
}
