/* What every C test shares: a check that says where it failed, and the run of a list.
 *
 *     static void
 *     sum_is_right(void)
 *     {
 *         CHECK_EQUAL(add(1, 2), 3);
 *     }
 *
 *     int
 *     main(void)
 *     {
 *         static const testing_case cases[] = {TESTING(sum_is_right)};
 *         return TESTING_RUN(cases);
 *     }
 */
#ifndef TESTS_C_TESTING_H
#define TESTS_C_TESTING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct testing_case {
    const char *name;
    void (*run)(void);
} testing_case;

/* A function as an entry of the list of cases. */
#define TESTING(function) {#function, function}

/* Runs every case of an array; the value that `main` returns. */
#define TESTING_RUN(cases) testing_run((cases), sizeof(cases) / sizeof((cases)[0]))

/* Leaves the calling function, which returns nothing, when a condition does not hold.
 * May stand in any thread. */
#define CHECK(condition)                                                               \
    do {                                                                               \
        if (!(condition)) {                                                            \
            testing_fail(__FILE__, __LINE__, #condition);                              \
            return;                                                                    \
        }                                                                              \
    } while (0)

/* As CHECK, for two whole numbers that should be equal; shows both. */
#define CHECK_EQUAL(a, b)                                                              \
    do {                                                                               \
        long long testing_a = (long long)(a);                                          \
        long long testing_b = (long long)(b);                                          \
        if (testing_a != testing_b) {                                                  \
            testing_fail(__FILE__, __LINE__, #a " == " #b);                            \
            printf("  left %lld, right %lld\n", testing_a, testing_b);                 \
            return;                                                                    \
        }                                                                              \
    } while (0)

/* As CHECK, for two texts that should be equal; shows both. */
#define CHECK_TEXT(a, b)                                                               \
    do {                                                                               \
        const char *testing_a = (a);                                                   \
        const char *testing_b = (b);                                                   \
        if (strcmp(testing_a, testing_b) != 0) {                                       \
            testing_fail(__FILE__, __LINE__, #a " == " #b);                            \
            printf("  left  \"%s\"\n  right \"%s\"\n", testing_a, testing_b);          \
            return;                                                                    \
        }                                                                              \
    } while (0)

/* How many checks failed in this program. */
static atomic_int testing_failures;

static inline void
testing_fail(const char *file, int line, const char *text)
{
    atomic_fetch_add(&testing_failures, 1);
    printf("%s:%d: does not hold: %s\n", file, line, text);
}

static inline int
testing_run(const testing_case *cases, size_t count)
{
    /* Unbuffered, so that what a crash interrupts has been said. */
    setvbuf(stdout, NULL, _IONBF, 0);
    for (size_t i = 0; i < count; i++) {
        int before = atomic_load(&testing_failures);
        cases[i].run();
        int failed = atomic_load(&testing_failures) - before;
        printf("%s %s\n", failed == 0 ? "ok    " : "FAILED", cases[i].name);
    }
    return atomic_load(&testing_failures) == 0 ? 0 : 1;
}

#endif
