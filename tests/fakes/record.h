/* What every fake function begins and ends with: the record of calls, the faults that a
 * test asked for, and the complaint about a broken rule. */
#ifndef TESTS_FAKES_RECORD_H
#define TESTS_FAKES_RECORD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fake_call {
    const char *name;
    char arguments[240];
} fake_call;

/* Part of a code that a test asked for: the devices are lost with it. */
enum { FAKE_LOSES = 1 << 16 };

/* Notes a call and its arguments ("name=value name=value"); the code that it is to fail
 * with, or 0. */
int
fake_begin(fake_call *call, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Records the call with its result, which it returns. */
int
fake_end(const fake_call *call, int code);

/* Records something that is no call, such as work that ran on a stream. */
void
fake_note(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A rule of the real library is broken: says so on stderr and in the record, and ends
 * the process unless FAKES_VIOLATIONS=record. Returns `code`, for who called. */
int
fake_refuse(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Counts something that may fail, by its name: the code that was asked for, with
 * FAKE_LOSES or without; 0: none. May end the process. In fault.c. */
int
fake_fault(const char *name);

/* As fakes.h declares them. */
bool
fake_fail(const char *rules);
size_t
fake_violations(char *text, size_t capacity);

#endif
