/* Shared memory without a name: see the header. */
#include "sys/segment.h"

#include "sys/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A mapping of a file that can shrink turns into a bus error. */
enum { SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW };

/* An error where the process may not take that much more memory: the kernel would
 * rather end processes than refuse a reservation. */
static pa_status
check_available(size_t nbytes, pa_error *error)
{
    double available = pa_memory_available();
    if ((double)nbytes > available) {
        errno = ENOMEM;
        return pa_error_set_errno(error,
                                  "a shared segment of %zu bytes, where %.0f bytes of "
                                  "memory are available",
                                  nbytes, available);
    }
    return PA_OK;
}

pa_status
pa_segment_reserve(int fd, size_t start, size_t nbytes, pa_error *error)
{
    PA_TRY(check_available(nbytes, error));
    /* A file system without fallocate cannot promise the memory; go on without. */
    if (fallocate(fd, 0, (off_t)start, (off_t)nbytes) != 0 && errno != EOPNOTSUPP &&
        errno != ENOSYS) {
        return pa_error_set_errno(
            error, "reserving %zu bytes of shared memory for the group", nbytes);
    }
    return PA_OK;
}

void
pa_segment_drop(int fd, size_t start, size_t nbytes)
{
    /* Where that is not possible the memory goes when the segment does. */
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
                    (off_t)nbytes);
}

pa_status
pa_segment_create(size_t nbytes, int *fd, pa_error *error)
{
    return pa_segment_create_sparse(nbytes, nbytes, fd, error);
}

pa_status
pa_segment_create_sparse(size_t reserved, size_t nbytes, int *fd, pa_error *error)
{
    if (reserved == 0 || reserved > nbytes || nbytes > (size_t)INT64_MAX) {
        return pa_error_set(error, PA_EARGUMENT,
                            "a shared segment cannot have %zu bytes", nbytes);
    }
    PA_TRY(check_available(reserved, error));
    pa_status status = PA_OK;
    int made = memfd_create("pyaccel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made < 0) {
        return pa_error_set_errno(error,
                                  "memfd_create for a shared segment of %zu "
                                  "bytes",
                                  nbytes);
    }
    if (ftruncate(made, (off_t)nbytes) != 0) {
        status = pa_error_set_errno(error, "a shared segment of %zu bytes", nbytes);
        goto done;
    }
    status = pa_segment_reserve(made, 0, reserved, error);
    if (status != PA_OK) {
        goto done;
    }
    if (fcntl(made, F_ADD_SEALS, SIZE_SEALS | F_SEAL_SEAL) != 0) {
        status = pa_error_set_errno(error, "sealing a shared segment");
        goto done;
    }
    *fd = made;
    made = -1;
done:
    if (made >= 0) {
        (void)close(made);
    }
    return status;
}

/* The bytes of the segment behind `fd`. */
static pa_status
find_nbytes(int fd, size_t *nbytes, pa_error *error)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return pa_error_set_errno(error, "descriptor %d of the shared segment", fd);
    }
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SIZE_SEALS) != SIZE_SEALS || status.st_size <= 0) {
        return pa_error_set(error, PA_EARGUMENT,
                            "descriptor %d is not a sealed shared segment", fd);
    }
    *nbytes = (size_t)status.st_size;
    return PA_OK;
}

pa_status
pa_segment_map_part(int fd, size_t start, size_t nbytes, void **base, pa_error *error)
{
    size_t whole = 0;
    PA_TRY(find_nbytes(fd, &whole, error));
    if (nbytes == 0 || start > whole || nbytes > whole - start) {
        return pa_error_set(error, PA_EARGUMENT,
                            "descriptor %d is a segment of %zu bytes, which has no "
                            "%zu bytes at %zu",
                            fd, whole, nbytes, start);
    }
    void *mapped =
        mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)start);
    if (mapped == MAP_FAILED) {
        return pa_error_set_errno(error, "mapping a shared segment of %zu bytes",
                                  nbytes);
    }
    *base = mapped;
    return PA_OK;
}

pa_status
pa_segment_map(int fd, void **base, size_t *nbytes, pa_error *error)
{
    PA_TRY(find_nbytes(fd, nbytes, error));
    return pa_segment_map_part(fd, 0, *nbytes, base, error);
}

void
pa_segment_unmap(void *base, size_t nbytes)
{
    if (base != NULL) {
        (void)munmap(base, nbytes);
    }
}
