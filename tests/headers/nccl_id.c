/* Asks a real NCCL for its version and for an identity of a communicator, which needs
 * no GPU: `nccl_id LIBRARY` prints the version, and how many bytes differ between two.
 */
#include "gpu/nccl.h"

#include <stdio.h>
#include <string.h>

int
main(int count, char **arguments)
{
    const char *const paths[] = {count > 1 ? arguments[1] : ""};
    if (!pa_gpu_search(PA_GPU_NCCL, paths, 1) || pa_nccl_get() == NULL) {
        printf("%s\n", pa_gpu_find(PA_GPU_NCCL)->reason);
        return 1;
    }
    const pa_nccl *nccl = pa_nccl_get();
    /* The byte beyond an identity shows whether more is written than we have room for.
     */
    struct {
        pa_nccl_id id;
        char beyond[64];
    } ids[2];
    memset(ids, 0x5a, sizeof ids);
    for (int i = 0; i < 2; i++) {
        int code = nccl->GetUniqueId(&ids[i].id);
        if (code != PA_NCCL_SUCCESS) {
            printf("ncclGetUniqueId failed: %s\n", nccl->GetErrorString(code));
            return 1;
        }
    }
    int differing = 0;
    for (size_t i = 0; i < sizeof ids[0].id.bytes; i++) {
        differing += ids[0].id.bytes[i] != ids[1].id.bytes[i];
    }
    int intact = 0;
    for (size_t i = 0; i < sizeof ids[0].beyond; i++) {
        intact += ids[0].beyond[i] == 0x5a && ids[1].beyond[i] == 0x5a;
    }
    char text[32];
    pa_nccl_version_format(pa_gpu_find(PA_GPU_NCCL)->version, text, sizeof text);
    printf("%s %s %s\n", text, differing > 0 ? "distinct" : "the same",
           intact == 64 ? "128" : "more");
    return 0;
}
