/* What the fake CUDA and NCCL offer to tests beside the real functions: control, and
 * questions that the real libraries do not answer. All are exported by the fake CUDA
 * runtime, so that they can be called by ctypes or after dlsym too. Variables of the
 * environment are listed in README.md. */
#ifndef TESTS_FAKES_FAKES_H
#define TESTS_FAKES_FAKES_H

#include "gpu/cuda.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- memory --------------------------------------------------------------------- */

/* Memory of a device as torch's caching allocator gives it to a tensor that is used on
 * `stream` (NULL: the default one). The host may read and write it once the streams are
 * synchronized. NULL when the device is full. Not counted as a leak. */
void *
fake_alloc(int device, size_t nbytes, pa_cuda_stream stream);

/* Takes back what fake_alloc gave, in order on its stream, as torch does when a tensor
 * dies. A violation when other streams have work on it queued that the tensor's stream
 * does not wait for and that fake_record_stream did not name. */
void
fake_free(void *address);

/* As Tensor.record_stream: the memory is not given to others before what is queued on
 * `stream` now is done. */
void
fake_record_stream(void *address, pa_cuda_stream stream);

/* Memory of the host, such as a tensor's of the CPU, that counts as a tensor's of a
 * device until fake_return; false when memory is short. Work on it that is still queued
 * then is a violation. */
bool
fake_lend(int device, void *address, size_t nbytes);
void
fake_return(void *address);

/* The device (as this process counts) whose live memory holds the address; -1: none. */
int
fake_device_of(const void *address);

/* --- streams -------------------------------------------------------------------- */

/* Waits for all work of all streams of this process, without pauses before it. */
void
fake_synchronize_all(void);

/* Nothing runs on the stream from now on, until it is released; not even for those who
 * wait. To show what happens when one stream is behind another. */
void
fake_hold(pa_cuda_stream stream);
void
fake_release(pa_cuda_stream stream);

/* Pieces of work on the stream that are not done. */
uint64_t
fake_queued(pa_cuda_stream stream);

/* --- graphs --------------------------------------------------------------------- */

typedef struct fake_graph fake_graph;

/* As cudaStreamBeginCapture with mode "global" (0), "thread local" (1) or "relaxed"
 * (2). A code of CUDA's. */
int
fake_capture_begin(pa_cuda_stream stream, int mode);

/* Ends the capture into a new graph (fake_graph_destroy); NULL and a code when it was
 * spoilt or work of another stream was not joined. */
int
fake_capture_end(pa_cuda_stream stream, fake_graph **graph);

/* Queues all work of the graph on a stream, in the order in which it was captured. */
int
fake_graph_launch(fake_graph *graph, pa_cuda_stream stream);

/* Pieces of work in a graph. */
size_t
fake_graph_size(const fake_graph *graph);

/* Frees a graph once nothing of it is queued. */
void
fake_graph_destroy(fake_graph *graph);

/* --- faults --------------------------------------------------------------------- */

/* From now on calls fail as FAKES_FAIL says (see README.md); counts start anew. False
 * when it cannot be read. */
bool
fake_fail(const char *rules);

/* All devices of this process are gone: every call fails with `code` and queued work
 * never has an effect. */
void
fake_lose(int code);

/* Whether this process has used a device, so that some of its memory is taken for a
 * context: by making it a thread's current one, or in a thread whose current one it is.
 */
bool
fake_used(int device);

/* The code that cudaPeekAtLastError would give: what a call left behind in this
 * thread. */
int
fake_last_error(void);

/* --- reports -------------------------------------------------------------------- */

/* What is alive, a line each: allocations, pinned blocks, streams, events, opened
 * handles, communicators. Returns how many. `text` may be NULL. */
size_t
fake_report_live(char *text, size_t capacity);

/* How many rules were broken in this process (where FAKES_VIOLATIONS=record), and the
 * last one's sentence. */
size_t
fake_violations(char *text, size_t capacity);

#endif
