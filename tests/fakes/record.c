/* The record is a text file a process, a line a call, written whole and at once: what a
 * process did is there even if it was killed.
 *
 *     nanoseconds <tab> thread <tab> name <tab> arguments <tab> result */
#include "record.h"
#include "settings.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pid_t file_owner;
static int file = -1;
static size_t violations;
static char last_violation[512];

static void
hold_lock(void)
{
    pthread_mutex_lock(&lock);
}

static void
leave_lock(void)
{
    pthread_mutex_unlock(&lock);
}

/* A fork must find the lock free in the child: what it calls is refused, and told. */
static void
start(void)
{
    pthread_atfork(hold_lock, leave_lock, leave_lock);
}

static void
write_line(const char *name, const char *arguments, int code)
{
    const char *folder = fake_settings_get()->record;
    if (folder == NULL) {
        return;
    }
    char line[1024];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof(line), "%lld\t%ld\t%s\t%s\t%d\n",
                          (long long)now.tv_sec * 1000000000 + now.tv_nsec,
                          (long)syscall(SYS_gettid), name, arguments, code);
    pthread_mutex_lock(&lock);
    if (file < 0 || file_owner != getpid()) {
        char path[512];
        snprintf(path, sizeof(path), "%s/%ld.calls", folder, (long)getpid());
        file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        file_owner = getpid();
    }
    size_t whole = length < (int)sizeof(line) ? (size_t)length : sizeof(line) - 1;
    if (file < 0 || write(file, line, whole) != (ssize_t)whole) {
        fprintf(stderr, "fakes: FAKES_RECORD=%s cannot be written\n", folder);
        abort();
    }
    pthread_mutex_unlock(&lock);
}

int
fake_begin(fake_call *call, const char *name, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(call->arguments, sizeof(call->arguments), format, list);
    va_end(list);
    call->name = name;
    pthread_once(&once, start);
    return fake_fault(name);
}

int
fake_end(const fake_call *call, int code)
{
    code &= ~FAKE_LOSES;
    write_line(call->name, call->arguments, code);
    return code;
}

void
fake_note(const char *name, const char *format, ...)
{
    char arguments[512];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof(arguments), format, list);
    va_end(list);
    write_line(name, arguments, 0);
}

int
fake_refuse(int code, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    fprintf(stderr, "fakes: process %ld: %s\n", (long)getpid(), text);
    write_line("violation", text, code);
    if (fake_settings_get()->abort) {
        abort();
    }
    pthread_mutex_lock(&lock);
    violations++;
    memcpy(last_violation, text, sizeof(text));
    pthread_mutex_unlock(&lock);
    return code;
}

size_t
fake_violations(char *text, size_t capacity)
{
    pthread_mutex_lock(&lock);
    size_t count = violations;
    if (text != NULL && capacity > 0) {
        snprintf(text, capacity, "%s", last_violation);
    }
    pthread_mutex_unlock(&lock);
    return count;
}
