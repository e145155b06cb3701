/* Reads the environment: numbers, words, and which devices are visible. */
#include "settings.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static fake_settings settings;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const char *
given(const char *name, const char *usual)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : usual;
}

/* Of "22809;1@22907" what is for this rank: the last entry that names it, or names no
 * rank. The text lives as long as the process. */
static const char *
word(const char *name, const char *usual)
{
    const char *value = given(name, usual);
    const char *rank = given("RANK", given("LOCAL_RANK", ""));
    const char *best = usual;
    size_t length = 0;
    if (value == NULL || strpbrk(value, ";@") == NULL) {
        return value;
    }
    for (size_t whole; *value != '\0'; value += whole + (value[whole] == ';')) {
        whole = strcspn(value, ";");
        const char *at = memchr(value, '@', whole);
        const char *text = at == NULL ? value : at + 1;
        size_t named = at == NULL ? 0 : (size_t)(at - value);
        if (at == NULL || (named == strlen(rank) && strncmp(rank, value, named) == 0)) {
            best = text;
            length = whole - (size_t)(text - value);
        }
    }
    char *copy = best == usual ? NULL : strndup(best, length);
    return copy != NULL ? copy : usual;
}

/* A whole number; what is none ends the process, since a test would not be what it
 * seems. */
static unsigned long long
number(const char *name, unsigned long long usual)
{
    const char *value = word(name, NULL);
    if (value == NULL) {
        return usual;
    }
    char *end = NULL;
    unsigned long long result = strtoull(value, &end, 10);
    if (*end != '\0') {
        fprintf(stderr, "fakes: %s=%s is no whole number\n", name, value);
        abort();
    }
    return result;
}

/* One of two words. */
static bool
is(const char *name, const char *wanted, const char *other)
{
    const char *value = word(name, wanted);
    if (strcmp(value, wanted) != 0 && strcmp(value, other) != 0) {
        fprintf(stderr, "fakes: %s=%s is neither %s nor %s\n", name, value, wanted,
                other);
        abort();
    }
    return strcmp(value, wanted) == 0;
}

/* The device that one entry of CUDA_VISIBLE_DEVICES names: a number, or the beginning
 * of its identity; -1: none. */
static int
named(const char *entry, size_t length)
{
    char text[FAKE_UUID_TEXT];
    char *end = NULL;
    long index = strtol(entry, &end, 10);
    if (end == entry + length && length > 0) {
        return index >= 0 && index < settings.machine ? (int)index : -1;
    }
    for (int i = 0; i < settings.machine; i++) {
        fake_uuid_text(i, text);
        if (length > 4 && strncmp(text, entry, length) == 0) {
            return i;
        }
    }
    return -1;
}

/* The entry for this rank of "0;1;0,1", which stands for CUDA_VISIBLE_DEVICES of
 * several ranks; the whole where there is but one. */
static const char *
visible(void)
{
    const char *all = given("FAKES_VISIBLE", NULL);
    if (all == NULL) {
        return getenv("CUDA_VISIBLE_DEVICES");
    }
    const char *rank = given("LOCAL_RANK", "0");
    for (int skip = atoi(rank); skip > 0 && strchr(all, ';') != NULL; skip--) {
        all = strchr(all, ';') + 1;
    }
    return all;
}

/* As the driver does: the list ends at the first entry that names no device. Of a
 * divided GPU a process sees one instance only. */
static void
read_visible(void)
{
    const char *list = visible();
    settings.physical = calloc((size_t)settings.machine + 1, sizeof(int));
    if (settings.physical == NULL) {
        abort();
    }
    if (list == NULL) {
        settings.count = settings.machine;
        for (int i = 0; i < settings.count; i++) {
            settings.physical[i] = i;
        }
    }
    while (list != NULL && settings.count < settings.machine) {
        size_t length = strcspn(list, ",;");
        int device = named(list, length);
        if (device < 0) {
            break;
        }
        settings.physical[settings.count++] = device;
        list = list[length] == ',' ? list + length + 1 : NULL;
    }
    if (settings.mig && settings.count > 1) {
        settings.count = 1;
    }
}

static void
read_all(void)
{
    settings.host = word("FAKES_HOST", "");
    settings.machine = (int)number("FAKES_DEVICES", 4);
    settings.memory = (size_t)number("FAKES_MEMORY", 512ull << 20);
    settings.mig = !is("FAKES_MIG", "off", "on");
    settings.peers = is("FAKES_PEERS", "all", "none") && !settings.mig;
    settings.ipc_error = (int)number("FAKES_IPC_ERROR", 0);
    settings.ipc = settings.ipc_error == 0;
    settings.pinned_only = is("FAKES_PAGEABLE", "refused", "allowed");
    settings.order = is("FAKES_ORDER", "checked", "ignored");
    settings.abort = is("FAKES_VIOLATIONS", "abort", "record");
    settings.seed = number("FAKES_SEED", 1);
    settings.delay_ns = 1000 * number("FAKES_DELAY_US", 400);
    settings.runtime = (int)number("FAKES_CUDA_VERSION", 13000);
    settings.driver = (int)number("FAKES_DRIVER_VERSION", 13000);
    settings.nccl = (int)number("FAKES_NCCL_VERSION", 22809);
    settings.polls = (int)number("FAKES_NCCL_POLLS", 3);
    settings.queue = (int)number("FAKES_NCCL_QUEUE", 0);
    settings.rank = given("RANK", given("LOCAL_RANK", NULL));
    settings.record = given("FAKES_RECORD", NULL);
    settings.fail = given("FAKES_FAIL", "");
    settings.report = !is("FAKES_REPORT", "off", "on");
    read_visible();
}

const fake_settings *
fake_settings_get(void)
{
    pthread_once(&once, read_all);
    return &settings;
}

void
fake_uuid(int physical, char bytes[FAKE_UUID_BYTES])
{
    uint32_t hash = 2166136261u;
    for (const char *c = settings.host; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    }
    memset(bytes, 0, FAKE_UUID_BYTES);
    memcpy(bytes, "FAKE", 4);
    memcpy(bytes + 4, &hash, sizeof(hash));
    bytes[15] = (char)physical;
}

void
fake_uuid_text(int physical, char text[FAKE_UUID_TEXT])
{
    char bytes[FAKE_UUID_BYTES];
    fake_uuid(physical, bytes);
    size_t used = (size_t)sprintf(text, "%s-", settings.mig ? "MIG" : "GPU");
    for (int i = 0; i < FAKE_UUID_BYTES; i++) {
        bool gap = i == 4 || i == 6 || i == 8 || i == 10;
        used += (size_t)sprintf(text + used, "%s%02x", gap ? "-" : "",
                                (unsigned char)bytes[i]);
    }
}
