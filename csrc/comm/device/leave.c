/* Waiting while a group is left: see the header. */
#include "comm/device/leave.h"

#include "base/clock.h"

#include <time.h>

enum { PAUSE_NS = 100000, TICK_NS = 25000000 };

/* Whether there is reason to go on; looked at every 25 ms. */
static bool
goes_on(const pa_devices *devices, uint64_t waited_ns)
{
    const pa_hooks *hooks = devices->comm->leaving;
    char text[PA_COMM_REASON];
    return !pa_comm_broken(devices->comm, text, sizeof text) &&
           (hooks == NULL || hooks->tick == NULL ||
            hooks->tick(hooks->context, waited_ns, -1));
}

bool
pa_device_await(const pa_devices *devices, bool (*question)(const pa_devices *devices),
                uint64_t limit_ns)
{
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    uint64_t began = pa_clock_now();
    uint64_t looked = began;
    while (!question(devices)) {
        uint64_t now = pa_clock_now();
        if (now - began >= limit_ns) {
            return false;
        }
        if (now - looked >= TICK_NS) {
            looked = now;
            if (!goes_on(devices, now - began)) {
                return false;
            }
        }
        (void)nanosleep(&pause, NULL);
    }
    return true;
}
