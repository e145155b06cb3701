/* Memory that one process writes and others read: see the header. */
#include "sys/arena.h"

#include "sys/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The writer ---- */

struct pa_arena {
    void *base;
    size_t nbytes;
    int fd;
    struct stat file;
};

pa_status
pa_arena_create(size_t nbytes, pa_arena **arena, pa_error *error)
{
    pa_arena *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory for an arena");
    }
    made->fd = -1;
    pa_status status = pa_segment_create(nbytes, &made->fd, error);
    if (status == PA_OK) {
        status = pa_segment_map(made->fd, &made->base, &made->nbytes, error);
    }
    if (status == PA_OK && fstat(made->fd, &made->file) != 0) {
        status = pa_error_set_errno(error, "descriptor %d of an arena", made->fd);
    }
    if (status != PA_OK) {
        pa_arena_destroy(made);
        return status;
    }
    *arena = made;
    return PA_OK;
}

void
pa_arena_destroy(pa_arena *arena)
{
    if (arena != NULL) {
        pa_segment_unmap(arena->base, arena->nbytes);
        if (arena->fd >= 0) {
            (void)close(arena->fd);
        }
        free(arena);
    }
}

char *
pa_arena_data(const pa_arena *arena)
{
    return arena->base;
}

size_t
pa_arena_nbytes(const pa_arena *arena)
{
    return arena->nbytes;
}

bool
pa_arena_leased(const pa_arena *arena)
{
    /* Asks whether an exclusive lock could be had; takes none. */
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(arena->fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

pa_arena_address
pa_arena_locate(const pa_arena *arena)
{
    return (pa_arena_address){
        .pid = (int32_t)getpid(),
        .fd = arena->fd,
        .device = (uint64_t)arena->file.st_dev,
        .inode = (uint64_t)arena->file.st_ino,
    };
}

/* ---- The readers ---- */

struct pa_lease {
    void *base;
    size_t nbytes;
    _Atomic size_t holders;
};

/* Whether the file is the one at the address, with that many bytes. */
static bool
is_arena(const struct stat *file, const pa_arena_address *address, size_t nbytes)
{
    return (uint64_t)file->st_dev == address->device &&
           (uint64_t)file->st_ino == address->inode && file->st_size > 0 &&
           (uint64_t)file->st_size >= nbytes;
}

/* Opens the arena. The pid may be another process' from here,
 * whose descriptor may be anything: so nothing is opened that is not the file. */
static pa_status
open_arena(const pa_arena_address *address, size_t nbytes, int access, int *fd,
           pa_error *error)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", address->pid, address->fd);
    struct stat file;
    if (stat(path, &file) != 0) {
        return pa_error_set_errno(error, "the arena %s", path);
    }
    if (!is_arena(&file, address, nbytes)) {
        return pa_error_set(error, PA_EARGUMENT, "%s is not the arena", path);
    }
    int opened = open(path, access | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (opened < 0) {
        return pa_error_set_errno(error, "opening the arena %s", path);
    }
    if (fstat(opened, &file) != 0 || !is_arena(&file, address, nbytes)) {
        (void)close(opened);
        return pa_error_set(error, PA_EARGUMENT, "%s is not the arena", path);
    }
    *fd = opened;
    return PA_OK;
}

pa_status
pa_arena_write(const pa_arena_address *address, size_t nbytes,
               const pa_arena_piece *pieces, size_t count, pa_error *error)
{
    int fd = -1;
    PA_TRY(open_arena(address, nbytes, O_RDWR, &fd, error));
    pa_status status = PA_OK;
    for (size_t i = 0; i < count && status == PA_OK; i++) {
        size_t done = 0;
        while (done < pieces[i].nbytes && status == PA_OK) {
            /* Without a mapping: its page faults would cost more than the copy. */
            ssize_t wrote = pwrite(fd, pieces[i].data + done, pieces[i].nbytes - done,
                                   (off_t)(pieces[i].start + done));
            if (wrote > 0) {
                done += (size_t)wrote;
            } else if (wrote == 0 || errno != EINTR) {
                status = pa_error_set_errno(error, "writing %zu bytes to an arena",
                                            pieces[i].nbytes - done);
            }
        }
    }
    (void)close(fd);
    return status;
}

pa_status
pa_lease_open(const pa_arena_address *address, size_t nbytes, pa_lease **lease,
              pa_error *error)
{
    int fd = -1;
    PA_TRY(open_arena(address, nbytes, O_RDONLY, &fd, error));
    pa_status status = PA_OK;
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    pa_lease *made = calloc(1, sizeof *made);
    if (made == NULL) {
        status = pa_error_set(error, PA_EMEMORY, "no memory for a lease");
        goto done;
    }
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
        status = pa_error_set_errno(error, "locking descriptor %d of an arena", fd);
        goto done;
    }
    made->base = mmap(NULL, nbytes, PROT_READ, MAP_SHARED, fd, 0);
    if (made->base == MAP_FAILED) {
        status = pa_error_set_errno(error, "mapping %zu bytes of an arena", nbytes);
        goto done;
    }
    made->nbytes = nbytes;
    atomic_store(&made->holders, 1);
    *lease = made;
    made = NULL;
done:
    free(made);
    /* The mapping keeps what was opened, and so the lock. */
    (void)close(fd);
    return status;
}

pa_lease *
pa_lease_hold(pa_lease *lease)
{
    (void)atomic_fetch_add(&lease->holders, 1);
    return lease;
}

void
pa_lease_release(pa_lease *lease)
{
    if (lease != NULL && atomic_fetch_sub(&lease->holders, 1) == 1) {
        (void)munmap(lease->base, lease->nbytes);
        free(lease);
    }
}

const char *
pa_lease_data(const pa_lease *lease)
{
    return lease->base;
}
