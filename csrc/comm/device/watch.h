/* The eye on work that was enqueued on a GPU and waits there for other ranks.
 *
 * A kernel of NCCL spins until its peers come, and nothing on the GPU tells it that one
 * has ended. So each piece of work is noted with an event before and one behind it, and
 * while any is unfinished a thread looks every 25 ms: has a peer ended, is the group
 * broken, has the work been running for longer than the deadline, does NCCL know of an
 * error? Then it breaks the group, ends the work (pa_devices_abort) and tells the
 * caller (pa_devices.failed). The thread is started by the first note, sleeps while all
 * is finished, and does not know Python.
 *
 * The deadline is that of the group's waits (pa_comm_timeout), from when the stream has
 * come to the work: what the caller's stream does before it is no matter. Work that was
 * captured in a graph runs whenever the graph does, and is marked instead (replay.h);
 * from then on the thread never sleeps. It looks for the same but for the deadline, as
 * it cannot tell a long run from several. */
#ifndef PA_COMM_DEVICE_WATCH_H
#define PA_COMM_DEVICE_WATCH_H

#include "comm/device/devices.h"

typedef struct pa_watch pa_watch;
struct pa_replays;

/* A watch without a thread. `ask` (optional) says whether the work has failed by
 * itself, with a sentence. `together`: every rank has the same work to watch, and shows
 * the others how much of it has ended (pa_comm_show). */
pa_status
pa_watch_create(pa_devices *devices, pa_status (*ask)(pa_devices *, pa_error *),
                bool together, pa_watch **watch, pa_error *error);

/* Before and behind work on a stream that is not being captured. PA_CUDA's errors;
 * PA_EMEMORY. */
pa_status
pa_watch_begin(pa_watch *watch, uint32_t op, pa_cuda_stream stream, pa_error *error);
pa_status
pa_watch_end(pa_watch *watch, pa_cuda_stream stream, pa_error *error);

/* The same around work on a stream that is being captured. Once before the first, the
 * watch is given where the marks are, which must live until it is destroyed. */
void
pa_watch_replays(pa_watch *watch, struct pa_replays *replays);
pa_status
pa_watch_begin_captured(pa_watch *watch, uint32_t op, pa_cuda_stream stream,
                        const pa_hooks *hooks, pa_error *error);
pa_status
pa_watch_end_captured(pa_watch *watch, pa_cuda_stream stream, pa_error *error);

/* In place of these for work that has nothing to do on this rank: so that together all
 * ranks count the same. */
void
pa_watch_pass(pa_watch *watch);

/* Whether all work has ended: of a watch that works together on every rank, since a
 * peer may still read what this one has sent. For who leaves the group in good order.
 */
typedef enum pa_watch_state {
    PA_WATCH_WORKS,
    PA_WATCH_DONE,
    PA_WATCH_FAILED, /* the watch has failed, or a peer is gone whose work had not ended
                      */
} pa_watch_state;
pa_watch_state
pa_watch_ask(pa_watch *watch);

/* Whether the watch has ended the work, and why, also before the group is broken. */
bool
pa_watch_failed(pa_watch *watch, pa_error *error);

/* Ends the thread and frees everything; NULL is fine. Where `forked` there is no thread
 * and CUDA is left alone. */
void
pa_watch_destroy(pa_watch *watch, bool forked);

#endif
