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

pa_status
pa_segment_create(size_t nbytes, int *fd, pa_error *error)
{
    if (nbytes == 0 || nbytes > (size_t)INT64_MAX) {
        return pa_error_set(error, PA_EARGUMENT,
                            "a shared segment cannot have %zu bytes", nbytes);
    }
    /* The kernel would rather end processes than refuse a reservation. */
    double available = pa_memory_available();
    if ((double)nbytes > available) {
        errno = ENOMEM;
        return pa_error_set_errno(error,
                                  "a shared segment of %zu bytes, where %.0f bytes of "
                                  "memory are available",
                                  nbytes, available);
    }
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
    /* A file system without fallocate cannot promise the memory; go on without. */
    if (fallocate(made, 0, 0, (off_t)nbytes) != 0 && errno != EOPNOTSUPP &&
        errno != ENOSYS) {
        status = pa_error_set_errno(
            error, "reserving %zu bytes of shared memory for the group", nbytes);
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

pa_status
pa_segment_map(int fd, void **base, size_t *nbytes, pa_error *error)
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
    void *mapped =
        mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
        return pa_error_set_errno(error, "mapping a shared segment of %lld bytes",
                                  (long long)status.st_size);
    }
    *base = mapped;
    *nbytes = (size_t)status.st_size;
    return PA_OK;
}

void
pa_segment_unmap(void *base, size_t nbytes)
{
    if (base != NULL) {
        (void)munmap(base, nbytes);
    }
}
