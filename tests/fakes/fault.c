/* Faults that a test asks for, by FAKES_FAIL or fake_fail. */
#include "record.h"
#include "settings.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Calls number `first` to `last` of a function fail. */
typedef struct rule {
    char name[64];
    unsigned long first;
    unsigned long last;
    bool kills;
    int code;
    unsigned long calls;
    struct rule *next;
} rule;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static rule *rules;

/* Reads what is to happen: "2", "719!", "kill". */
static bool
read_what(rule *made, const char *text)
{
    char *end = NULL;
    made->kills = strcmp(text, "kill") == 0;
    if (made->kills) {
        return true;
    }
    made->code = (int)strtol(text, &end, 10);
    bool loses = end != text && strcmp(end, "!") == 0;
    made->code |= loses ? FAKE_LOSES : 0;
    return end != text && (loses || *end == '\0');
}

/* Reads "name:n:what" or "name:n+:what". */
static bool
read_rule(rule *made, const char *text)
{
    char mark[2] = "";
    char what[16] = "";
    if (sscanf(text, "%63[^:]:%lu:%15s", made->name, &made->first, what) == 3) {
        made->last = made->first;
    } else if (sscanf(text, "%63[^:]:%lu%1[+]:%15s", made->name, &made->first, mark,
                      what) == 4) {
        made->last = (unsigned long)-1;
    } else {
        return false;
    }
    return read_what(made, what);
}

/* Adds one rule, if it is for this rank: "1@..." is for rank 1. False: it is none. */
static bool
add_rule(const char *text, size_t length)
{
    char copy[128];
    if (length >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    char *rest = strchr(copy, '@');
    bool mine = true;
    if (rest != NULL) {
        *rest++ = '\0';
        const char *own = fake_settings_get()->rank;
        mine = own != NULL && strcmp(own, copy) == 0;
    }
    rule *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        abort();
    }
    bool read = read_rule(made, rest != NULL ? rest : copy);
    if (!read || !mine) {
        free(made);
        return read;
    }
    made->next = rules;
    rules = made;
    return true;
}

static bool
read_rules(const char *text)
{
    while (rules != NULL) {
        rule *next = rules->next;
        free(rules);
        rules = next;
    }
    while (text[0] != '\0') {
        size_t length = strcspn(text, ", ");
        if (length > 0 && !add_rule(text, length)) {
            return false;
        }
        text += length + strspn(text + length, ", ");
    }
    return true;
}

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

static void
start(void)
{
    pthread_atfork(hold_lock, leave_lock, leave_lock);
    if (!read_rules(fake_settings_get()->fail)) {
        fprintf(stderr, "fakes: FAKES_FAIL=%s cannot be read\n",
                fake_settings_get()->fail);
        abort();
    }
}

bool
fake_fail(const char *text)
{
    pthread_once(&once, start);
    pthread_mutex_lock(&lock);
    bool read = read_rules(text);
    pthread_mutex_unlock(&lock);
    return read;
}

int
fake_fault(const char *name)
{
    int code = 0;
    bool kills = false;
    pthread_once(&once, start);
    pthread_mutex_lock(&lock);
    for (rule *each = rules; each != NULL; each = each->next) {
        if (strcmp(each->name, name) != 0) {
            continue;
        }
        each->calls++;
        if (each->calls >= each->first && each->calls <= each->last) {
            code = each->code;
            kills = kills || each->kills;
        }
    }
    pthread_mutex_unlock(&lock);
    if (kills) {
        kill(getpid(), SIGKILL);
    }
    return code;
}
