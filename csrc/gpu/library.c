/* Where the libraries of a GPU come from: see the header. */
#include "gpu/library.h"

#include "base/text.h"
#include "gpu/load.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 4 };

/* What is known of a kind before anything is looked for. Lists end with NULL. */
typedef struct kind {
    const char *text;
    /* How file names of mapped ones begin: torch's older wheels put a hash after the
     * name. */
    const char *prefixes[MOST_NAMES];
    const char *names[MOST_NAMES];
    void (*load)(pa_gpu_library *library);
} kind;

static const kind kinds[PA_GPU_KINDS] = {
    [PA_GPU_CUDART] = {"CUDA runtime",
                       {"libcudart.so", "libcudart-", NULL},
                       {"libcudart.so.13", "libcudart.so.12", "libcudart.so", NULL},
                       pa_cuda_load},
    [PA_GPU_DRIVER] = {"CUDA driver",
                       {"libcuda.so", NULL},
                       {"libcuda.so.1", NULL},
                       pa_cuda_load_driver},
    [PA_GPU_NCCL] = {"NCCL",
                     {"libnccl.so", NULL},
                     {"libnccl.so.2", NULL},
                     pa_nccl_load},
    [PA_GPU_NVML] = {"NVML",
                     {"libnvidia-ml.so", NULL},
                     {"libnvidia-ml.so.1", NULL},
                     pa_nvml_load},
};

/* Files that the caller named, in one block with the list of them. */
typedef struct named {
    char **paths;
    size_t count;
} named;

/* All that was named and found. */
static struct {
    pthread_mutex_t lock;
    bool looked[PA_GPU_KINDS];
    named named[PA_GPU_KINDS];
    pa_gpu_library libraries[PA_GPU_KINDS];
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool
copy_paths(const char *const *paths, size_t count, named *copy)
{
    size_t nbytes = count * sizeof(char *);
    for (size_t i = 0; i < count; i++) {
        nbytes += strlen(paths[i]) + 1;
    }
    *copy = (named){NULL, count};
    if (count == 0) {
        return true;
    }
    copy->paths = malloc(nbytes);
    if (copy->paths == NULL) {
        return false;
    }
    char *text = (char *)(copy->paths + count);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(paths[i]) + 1;
        memcpy(text, paths[i], length);
        copy->paths[i] = text;
        text += length;
    }
    return true;
}

bool
pa_gpu_search(pa_gpu_kind kind, const char *const *paths, size_t count)
{
    named copy;
    if (!copy_paths(paths, count, &copy)) {
        return false;
    }
    (void)pthread_mutex_lock(&all.lock);
    bool in_time = !all.looked[kind];
    if (in_time) {
        named before = all.named[kind];
        all.named[kind] = copy;
        copy = before;
    }
    (void)pthread_mutex_unlock(&all.lock);
    free(copy.paths);
    return in_time;
}

/* Why one file after the other was not taken. */
typedef struct trial {
    const kind *kind;
    pa_gpu_library *library;
    bool opened; /* some file, which another had not mapped */
    char tried[PA_GPU_REASON];
} trial;

static void
note(trial *trial, const char *why)
{
    pa_text_append(trial->tried, sizeof trial->tried, "%s%s",
                   trial->tried[0] != '\0' ? "; " : "", why);
}

/* Takes an opened library if it has what we need. */
static bool
take(trial *trial, void *handle)
{
    pa_gpu_library *library = trial->library;
    *library = (pa_gpu_library){.handle = handle};
    pa_library_path(handle, library->path, sizeof library->path);
    trial->kind->load(library);
    if (library->reason[0] == '\0') {
        (void)snprintf(library->passed, sizeof library->passed, "%s", trial->tried);
        return true;
    }
    /* Never closed: its code has run, and may have left threads and handlers that need
     * it. The same file may come by several of its names. */
    if (strstr(trial->tried, library->reason) == NULL) {
        note(trial, library->reason);
    }
    return false;
}

static bool
take_file(trial *trial, const char *file)
{
    char why[PA_GPU_REASON];
    void *handle = pa_library_open(file, why, sizeof why);
    if (handle == NULL) {
        note(trial, why);
        return false;
    }
    trial->opened = true;
    return take(trial, handle);
}

static bool
take_mapped(trial *trial)
{
    for (const char *const *prefix = trial->kind->prefixes; *prefix != NULL; prefix++) {
        void *handle;
        for (size_t skip = 0; (handle = pa_library_find(*prefix, skip)) != NULL;
             skip++) {
            if (take(trial, handle)) {
                trial->library->mapped = true;
                return true;
            }
        }
    }
    return false;
}

static bool
take_one(trial *trial, const char *const *files, size_t count)
{
    for (size_t i = 0; i < count && files[i] != NULL; i++) {
        if (take_file(trial, files[i])) {
            return true;
        }
    }
    return false;
}

static void
open_library(pa_gpu_kind which, pa_gpu_library *library)
{
    const named *named = &all.named[which];
    trial trial = {.kind = &kinds[which], .library = library};
    if (take_mapped(&trial) ||
        take_one(&trial, (const char *const *)named->paths, named->count)) {
        return;
    }
    /* Who named a file that does not do is told so, and is given no other. */
    if (!trial.opened && take_one(&trial, trial.kind->names, MOST_NAMES)) {
        return;
    }
    *library = (pa_gpu_library){0};
    if (!trial.opened) {
        pa_text_append(library->reason, sizeof library->reason,
                       "%s could not be loaded: ", trial.kind->text);
    }
    pa_text_append(library->reason, sizeof library->reason, "%s", trial.tried);
}

const pa_gpu_library *
pa_gpu_find(pa_gpu_kind kind)
{
    (void)pthread_mutex_lock(&all.lock);
    if (!all.looked[kind]) {
        open_library(kind, &all.libraries[kind]);
        all.looked[kind] = true;
    }
    (void)pthread_mutex_unlock(&all.lock);
    return &all.libraries[kind];
}

const char *
pa_gpu_kind_text(pa_gpu_kind kind)
{
    return kinds[kind].text;
}

bool
pa_gpu_fill(pa_gpu_library *library, const pa_library_entry *entries, size_t count,
            void *table)
{
    const char *missing = pa_library_fill(library->handle, entries, count, table);
    if (missing != NULL) {
        pa_text_append(library->reason, sizeof library->reason, "there is no %s in %s",
                       missing, library->path);
    }
    return missing == NULL;
}
