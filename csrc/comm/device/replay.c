/* The marks of captured work: see the header. */
#include "comm/device/replay.h"

#include "comm/device/patience.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS = 512, WORD = sizeof(uint64_t) };

/* A block of words in pinned memory. */
static pa_status
add_words(pa_replays *replays, const pa_cuda *cuda, pa_error *error)
{
    void *words = NULL;
    PA_TRY(PA_CUDA(cuda, error,
                   HostAlloc(&words, (size_t)WORDS * WORD, PA_CUDA_HOST_PORTABLE)));
    memset(words, 0, (size_t)WORDS * WORD);
    replays->words = words;
    replays->free = WORDS;
    return PA_OK;
}

/* Copies the first two words, of which the second holds one, to the device, and
 * waits for that. */
static pa_status
copy_numbers(const pa_replays *replays, pa_comm *comm, const pa_cuda *cuda,
             pa_cuda_stream stream, pa_cuda_event copied, const pa_hooks *hooks,
             pa_error *error)
{
    PA_TRY(PA_CUDA(cuda, error,
                   MemcpyAsync(replays->numbers, replays->words, (size_t)2 * WORD,
                               PA_CUDA_MEMCPY_DEFAULT, stream)));
    PA_TRY(PA_CUDA(cuda, error, EventRecord(copied, stream)));
    pa_patience wait =
        pa_patience_begin(comm, PA_OP_DEVICES, "its GPU to copy two numbers", hooks);
    wait.alone = true;
    return pa_patience_event(&wait, cuda, copied, error);
}

/* Makes the numbers, by a stream of their own: the caller's are captured, or may be
 * hours behind. The two words they come from stay out of use. */
static pa_status
make_numbers(pa_replays *replays, pa_comm *comm, const pa_cuda *cuda,
             const pa_hooks *hooks, pa_error *error)
{
    void *numbers = NULL;
    pa_cuda_stream stream = NULL;
    pa_cuda_event copied = NULL;
    unsigned int flags = PA_CUDA_EVENT_DISABLE_TIMING;
    PA_TRY(PA_CUDA(cuda, error, Malloc(&numbers, (size_t)2 * WORD)));
    replays->numbers = numbers;
    replays->words[1] = 1;
    replays->free -= 2;
    pa_status status = PA_CUDA(
        cuda, error, StreamCreateWithFlags(&stream, PA_CUDA_STREAM_NON_BLOCKING));
    if (status == PA_OK) {
        status = PA_CUDA(cuda, error, EventCreateWithFlags(&copied, flags));
    }
    if (status == PA_OK) {
        status = copy_numbers(replays, comm, cuda, stream, copied, hooks, error);
    }
    if (copied != NULL) {
        (void)cuda->EventDestroy(copied);
    }
    if (stream != NULL) {
        (void)cuda->StreamDestroy(stream);
    }
    return status;
}

/* Sees to a free word and to the numbers. This happens while a graph is being captured,
 * so it takes the relaxed mode, in which memory may be had. */
static pa_status
prepare(pa_replays *replays, pa_comm *comm, const pa_cuda *cuda, const pa_hooks *hooks,
        pa_error *error)
{
    int mode = PA_CUDA_CAPTURE_MODE_RELAXED;
    PA_TRY(PA_CUDA(cuda, error, ThreadExchangeStreamCaptureMode(&mode)));
    pa_status status = PA_OK;
    if (replays->free == 0) {
        status = add_words(replays, cuda, error);
    }
    if (status == PA_OK && replays->numbers == NULL) {
        status = make_numbers(replays, comm, cuda, hooks, error);
    }
    (void)cuda->ThreadExchangeStreamCaptureMode(&mode);
    return status;
}

/* Captures that the mark's word becomes `number`. */
static pa_status
write_word(const pa_replays *replays, const pa_cuda *cuda, const pa_replay *mark,
           size_t number, pa_cuda_stream stream, pa_error *error)
{
    return PA_CUDA(cuda, error,
                   MemcpyAsync((void *)(uintptr_t)mark->running,
                               replays->numbers + number * WORD, WORD,
                               PA_CUDA_MEMCPY_DEFAULT, stream));
}

pa_status
pa_replays_begin(pa_replays *replays, pa_comm *comm, const pa_cuda *cuda, uint32_t op,
                 pa_cuda_stream stream, const pa_hooks *hooks, pa_replay **made,
                 pa_error *error)
{
    if (replays->free == 0 || replays->numbers == NULL) {
        PA_TRY(prepare(replays, comm, cuda, hooks, error));
    }
    pa_replay *mark = malloc(sizeof *mark);
    if (mark == NULL) {
        return pa_error_set(error, PA_EMEMORY, "no memory to watch over work on GPUs");
    }
    *mark = (pa_replay){.op = op, .running = &replays->words[WORDS - replays->free]};
    replays->free--;
    pa_status status = write_word(replays, cuda, mark, 1, stream, error);
    if (status != PA_OK) {
        free(mark);
        return status;
    }
    *made = mark;
    return PA_OK;
}

pa_status
pa_replays_end(const pa_replays *replays, const pa_cuda *cuda, const pa_replay *mark,
               pa_cuda_stream stream, pa_error *error)
{
    return write_word(replays, cuda, mark, 0, stream, error);
}

void
pa_replays_add(pa_replays *replays, pa_replay *mark)
{
    mark->next = replays->all;
    replays->all = mark;
}

/* The GPU writes the word, of which no tool that looks for races knows. */
__attribute__((no_sanitize("thread"))) static bool
is_running(const pa_replay *mark)
{
    return *mark->running != 0;
}

const pa_replay *
pa_replays_running(const pa_replays *replays)
{
    const pa_replay *mark = replays->all;
    while (mark != NULL && !is_running(mark)) {
        mark = mark->next;
    }
    return mark;
}

void
pa_replays_close(pa_replays *replays)
{
    while (replays->all != NULL) {
        pa_replay *next = replays->all->next;
        free(replays->all);
        replays->all = next;
    }
}
