/* What the environment says about the machine that is faked. Read once. */
#ifndef TESTS_FAKES_SETTINGS_H
#define TESTS_FAKES_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fake_settings {
    int machine;      /* GPUs of the machine, or instances of its one GPU */
    int count;        /* devices that this process sees */
    int *physical;    /* [count] which of the machine's these are */
    size_t memory;    /* bytes of a device */
    bool mig;         /* the machine's one GPU is divided into instances */
    bool peers;       /* devices can access each other */
    bool ipc;         /* handles can be opened by other processes */
    int ipc_error;    /* what opening returns where they cannot */
    bool pinned_only; /* asynchronous copies of pageable memory are a violation */
    bool order;       /* work on shared memory without an order is a violation */
    bool abort;       /* a violation ends the process */
    uint64_t seed;
    uint64_t delay_ns; /* longest pause before a piece of work */
    int runtime;       /* versions, as the libraries encode them */
    int driver;
    int nccl;
    int polls; /* answers "in progress" before an operation of NCCL is done */
    int queue; /* launches of NCCL that find room; who launches more waits. 0: all do */
    const char *host;
    const char *rank;   /* of this process, as its launcher says; NULL: unknown */
    const char *record; /* the folder of recorded calls; NULL: nothing is recorded */
    const char *fail;   /* see fake_fail */
    bool report;        /* say at exit what is alive */
} fake_settings;

const fake_settings *
fake_settings_get(void);

enum { FAKE_UUID_BYTES = 16, FAKE_UUID_TEXT = 48 };

/* What identifies a device of the machine: different on every host. */
void
fake_uuid(int physical, char bytes[FAKE_UUID_BYTES]);

/* The same as the driver writes it: "GPU-...", "MIG-..." for an instance. */
void
fake_uuid_text(int physical, char text[FAKE_UUID_TEXT]);

#endif
