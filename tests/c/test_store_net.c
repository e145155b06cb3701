/* csrc/store over TCP: servers, clients, who waits, who goes, who talks nonsense. */
#include "testing.h"

#include "base/clock.h"
#include "store/client.h"
#include "store/server.h"
#include "store_frames.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECOND = 1000000000, CLIENTS = 24 };

/* Long enough for a busy machine. */
static const pa_patience patient = {.timeout_ns = 60ull * SECOND};
static const pa_patience impatient = {.timeout_ns = SECOND / 20};

static pa_server *
serving(const char *secret)
{
    pa_server *server = NULL;
    pa_error error = PA_ERROR_INIT;
    must(pa_server_open("127.0.0.1", 0, text(secret), &server, &error) == PA_OK);
    must(pa_server_start(server, &error) == PA_OK);
    return server;
}

static pa_client *
client_of(const pa_server *server)
{
    pa_client *client = NULL;
    pa_error error = PA_ERROR_INIT;
    must(pa_client_open("127.0.0.1", pa_server_port(server), text(""), &patient,
                        &client, &error) == PA_OK);
    return client;
}

/* A bare connection. */
static int
socket_to(const pa_server *server)
{
    int fd = -1;
    pa_error error = PA_ERROR_INIT;
    uint64_t deadline = pa_clock_deadline(patient.timeout_ns);
    must(pa_tcp_connect("127.0.0.1", pa_server_port(server), deadline, &patient, &fd,
                        &error) == PA_OK);
    return fd;
}

static void
every_call_works(void)
{
    pa_server *server = serving("");
    pa_client *client = client_of(server);
    pa_error error = PA_ERROR_INIT;
    pa_bytes value = {NULL, 0};
    int64_t sum = 0;
    bool answer = false;
    CHECK_EQUAL(pa_client_set(client, text("k"), text("v"), &patient, &error), PA_OK);
    CHECK_EQUAL(pa_client_get(client, text("k"), &patient, &value, &error), PA_OK);
    CHECK(value.nbytes == 1 && value.data[0] == 'v');
    CHECK_EQUAL(pa_client_add(client, text("n"), -7, &patient, &sum, &error), PA_OK);
    CHECK_EQUAL(sum, -7);
    const pa_bytes keys[] = {text("k"), text("n"), text("none")};
    CHECK_EQUAL(pa_client_check(client, keys, 2, &patient, &answer, &error), PA_OK);
    CHECK(answer);
    CHECK_EQUAL(pa_client_check(client, keys, 3, &patient, &answer, &error), PA_OK);
    CHECK(!answer);
    CHECK_EQUAL(pa_client_wait(client, keys, 2, &patient, &error), PA_OK);
    CHECK_EQUAL(pa_client_delete(client, text("k"), &patient, &answer, &error), PA_OK);
    CHECK(answer);
    CHECK_EQUAL(pa_client_delete(client, text("k"), &patient, &answer, &error), PA_OK);
    CHECK(!answer);
    pa_client_close(client);
    pa_client_close(NULL);
    pa_server_close(server);
    pa_server_close(NULL);
}

static void
large_values_travel_and_larger_ones_are_refused(void)
{
    pa_server *server = serving("");
    pa_client *client = client_of(server);
    pa_error error = PA_ERROR_INIT;
    char *bytes = malloc(PA_STORE_VALUE_MAX + 1);
    memset(bytes, 'x', PA_STORE_VALUE_MAX + 1);
    pa_bytes value = {bytes, PA_STORE_VALUE_MAX};
    pa_bytes back = {NULL, 0};
    CHECK_EQUAL(pa_client_set(client, text("k"), value, &patient, &error), PA_OK);
    CHECK_EQUAL(pa_client_get(client, text("k"), &patient, &back, &error), PA_OK);
    CHECK(back.nbytes == value.nbytes && memcmp(back.data, bytes, back.nbytes) == 0);
    value.nbytes++;
    CHECK_EQUAL(pa_client_set(client, text("k"), value, &patient, &error),
                PA_EARGUMENT);
    CHECK(strstr(error.message, "8388609") != NULL);
    pa_bytes key = {bytes, PA_STORE_KEY_MAX};
    CHECK_EQUAL(pa_client_get(client, key, &patient, &back, &error), PA_EARGUMENT);
    CHECK_EQUAL(pa_client_get(client, text("k"), &patient, &back, &error), PA_OK);
    free(bytes);
    pa_client_close(client);
    pa_server_close(server);
}

static void
an_unfulfilled_wait_leaves_the_client_usable(void)
{
    pa_server *server = serving("");
    pa_client *client = client_of(server);
    pa_error error = PA_ERROR_INIT;
    pa_bytes value = {NULL, 0};
    const pa_bytes keys[] = {text("late")};
    uint64_t before = pa_clock_now();
    CHECK_EQUAL(pa_client_wait(client, keys, 1, &impatient, &error), PA_ETIMEOUT);
    CHECK(strstr(error.message, "'late'") != NULL);
    CHECK(pa_clock_now() - before >= impatient.timeout_ns);
    CHECK_EQUAL(pa_client_get(client, keys[0], &impatient, &value, &error),
                PA_ETIMEOUT);
    CHECK_EQUAL(pa_client_set(client, keys[0], text("now"), &patient, &error), PA_OK);
    CHECK_EQUAL(pa_client_get(client, keys[0], &patient, &value, &error), PA_OK);
    CHECK_EQUAL(value.nbytes, 3);
    pa_client_close(client);
    pa_server_close(server);
}

static bool
refuse(void *context)
{
    (void)context;
    return false;
}

static void
the_tick_interrupts(void)
{
    pa_server *server = serving("");
    pa_client *client = client_of(server);
    pa_error error = PA_ERROR_INIT;
    pa_patience interrupted = {.timeout_ns = patient.timeout_ns, .tick = refuse};
    const pa_bytes keys[] = {text("never")};
    bool answer = true;
    CHECK_EQUAL(pa_client_wait(client, keys, 1, &interrupted, &error), PA_EINTERRUPTED);
    CHECK_EQUAL(pa_client_check(client, keys, 1, &patient, &answer, &error), PA_OK);
    CHECK(!answer);
    pa_client_close(client);
    pa_server_close(server);
}

static void
nobody_listens(void)
{
    pa_server *server = serving("");
    int port = pa_server_port(server);
    pa_server_close(server);
    pa_client *client = NULL;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(
        pa_client_open("127.0.0.1", port, text(""), &impatient, &client, &error),
        PA_ETIMEOUT);
    CHECK(client == NULL);
    CHECK_EQUAL(pa_client_open("no.such.host.invalid", port, text(""), &impatient,
                               &client, &error),
                PA_EARGUMENT);
    CHECK_EQUAL(
        pa_client_open("127.0.0.1", 70000, text(""), &impatient, &client, &error),
        PA_EARGUMENT);
}

static void
a_taken_port_is_an_error(void)
{
    pa_server *server = serving("");
    pa_server *second = NULL;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(
        pa_server_open("127.0.0.1", pa_server_port(server), text(""), &second, &error),
        PA_ESYSTEM);
    CHECK_EQUAL(error.sys_errno, EADDRINUSE);
    CHECK_EQUAL(pa_server_step(server, &error), PA_EARGUMENT); /* a thread does it */
    pa_server_close(server);
}

static void
the_secret_is_asked_for(void)
{
    pa_server *server = serving("right");
    pa_client *client = NULL;
    pa_error error = PA_ERROR_INIT;
    pa_bytes value = {NULL, 0};
    int port = pa_server_port(server);
    CHECK_EQUAL(
        pa_client_open("127.0.0.1", port, text("wrong"), &patient, &client, &error),
        PA_EREMOTE);
    CHECK(strstr(error.message, "another secret") != NULL);
    CHECK_EQUAL(
        pa_client_open("127.0.0.1", port, text("right"), &patient, &client, &error),
        PA_OK);
    CHECK_EQUAL(pa_client_set(client, text("pyaccel/k"), text("v"), &patient, &error),
                PA_OK);
    pa_client *stranger = client_of(server);
    CHECK_EQUAL(pa_client_get(stranger, text("pyaccel/k"), &patient, &value, &error),
                PA_EPEER);
    CHECK_EQUAL(pa_client_get(stranger, text("other"), &patient, &value, &error),
                PA_EBROKEN);
    CHECK_EQUAL(pa_client_get(client, text("pyaccel/k"), &patient, &value, &error),
                PA_OK);
    pa_client_close(stranger);
    pa_client_close(client);
    pa_server_close(server);
}

/* One of those who wait, and how it ended. */
typedef struct waiting {
    pa_client *client;
    pa_status status;
} waiting;

static void *
wait_for_go(void *argument)
{
    waiting *self = argument;
    pa_error error = PA_ERROR_INIT;
    pa_bytes value = {NULL, 0};
    int64_t sum = 0;
    self->status =
        pa_client_add(self->client, text("waiting"), 1, &patient, &sum, &error);
    if (self->status == PA_OK) {
        self->status =
            pa_client_get(self->client, text("go"), &patient, &value, &error);
    }
    return NULL;
}

/* Starts threads that wait for the key "go"; returns when all of them have begun. */
static void
all_wait(waiting *all, pthread_t *threads, int count, pa_client *overseer)
{
    for (int i = 0; i < count; i++) {
        must(pthread_create(&threads[i], NULL, wait_for_go, &all[i]) == 0);
    }
    int64_t come = 0;
    pa_error error = PA_ERROR_INIT;
    while (come < count) {
        must(pa_client_add(overseer, text("waiting"), 0, &patient, &come, &error) ==
             PA_OK);
    }
}

static void
many_wait_for_one_key(void)
{
    pa_server *server = serving("");
    pa_client *overseer = client_of(server);
    waiting all[CLIENTS];
    pthread_t threads[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        all[i].client = client_of(server);
    }
    all_wait(all, threads, CLIENTS, overseer);
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_client_set(overseer, text("go"), text("!"), &patient, &error),
                PA_OK);
    for (int i = 0; i < CLIENTS; i++) {
        (void)pthread_join(threads[i], NULL);
        CHECK_EQUAL(all[i].status, PA_OK);
        pa_client_close(all[i].client);
    }
    pa_client_close(overseer);
    pa_server_close(server);
}

static void
the_server_ends_while_clients_wait(void)
{
    pa_server *server = serving("");
    pa_client *overseer = client_of(server);
    waiting all[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        all[i].client = client_of(server);
    }
    all_wait(all, threads, 4, overseer);
    pa_server_close(server);
    for (int i = 0; i < 4; i++) {
        (void)pthread_join(threads[i], NULL);
        CHECK_EQUAL(all[i].status, PA_EPEER);
        pa_client_close(all[i].client);
    }
    pa_client_close(overseer);
}

static void
an_abort_ends_a_wait(void)
{
    pa_server *server = serving("");
    pa_client *overseer = client_of(server);
    waiting one = {.client = client_of(server)};
    pthread_t thread;
    all_wait(&one, &thread, 1, overseer);
    pa_client_abort(one.client);
    (void)pthread_join(thread, NULL);
    CHECK_EQUAL(one.status, PA_ECLOSED);
    pa_client_close(one.client);
    pa_client_close(overseer);
    pa_server_close(server);
}

/* Whether the server ends the connection after these bytes. */
static bool
is_thrown_out(const pa_server *server, const void *bytes, size_t nbytes)
{
    int fd = socket_to(server);
    must(send(fd, bytes, nbytes, MSG_NOSIGNAL) == (ssize_t)nbytes);
    struct pollfd watched = {.fd = fd, .events = POLLIN};
    char byte;
    bool out = poll(&watched, 1, 60000) == 1 && recv(fd, &byte, 1, 0) <= 0;
    (void)close(fd);
    return out;
}

static void
nonsense_ends_only_who_says_it(void)
{
    pa_server *server = serving("");
    pa_client *client = client_of(server);
    CHECK(is_thrown_out(server, "GET / HTTP/1.1\r\n\r\n", 18));
    CHECK(is_thrown_out(server, "\0\0\0\0\0", 5));
    pa_buffer frame = {0};
    put_validate(&frame);
    put_op(&frame, 99);
    CHECK(is_thrown_out(server, frame.data, pa_buffer_size(&frame)));
    pa_buffer_fini(&frame);
    put_validate(&frame);
    put_op(&frame, PA_STORE_GET);
    must(pa_frame_put_u64(&frame, UINT64_MAX));
    CHECK(is_thrown_out(server, frame.data, pa_buffer_size(&frame)));
    pa_buffer_fini(&frame);
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_client_set(client, text("k"), text("v"), &patient, &error), PA_OK);
    pa_client_close(client);
    pa_server_close(server);
}

static void
a_loop_of_the_caller_drives_it(void)
{
    pa_server *server = NULL;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_server_open("localhost", 0, text(""), &server, &error), PA_OK);
    int fd = socket_to(server);
    pa_buffer frame = {0};
    put_validate(&frame);
    put_number(&frame, PA_STORE_ADD, "/n", 5);
    CHECK(send(fd, frame.data, pa_buffer_size(&frame), 0) > 0);
    pa_buffer_fini(&frame);
    struct pollfd both[] = {{.fd = fd, .events = POLLIN},
                            {.fd = pa_server_poll_fd(server), .events = POLLIN}};
    while ((both[0].revents & POLLIN) == 0) {
        CHECK(poll(both, 2, 60000) > 0);
        CHECK_EQUAL(pa_server_step(server, &error), PA_OK);
    }
    char sum[8] = {0};
    CHECK_EQUAL(recv(fd, sum, sizeof sum, 0), 8);
    CHECK_EQUAL(sum[0], 5);
    (void)close(fd);
    pa_server_close(server);
}

static void
a_fork_has_no_part_in_it(void)
{
    pa_server *server = NULL;
    pa_error error = PA_ERROR_INIT;
    CHECK_EQUAL(pa_server_open("127.0.0.1", 0, text(""), &server, &error), PA_OK);
    int fd = socket_to(server);
    CHECK_EQUAL(pa_server_step(server, &error), PA_OK);
    pid_t child = fork();
    if (child == 0) {
        bool refused = pa_server_step(server, &error) == PA_EFORKED;
        pa_server_close(server);
        (void)close(fd);
        _exit(refused ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
    pa_buffer frame = {0};
    put_validate(&frame);
    put_number(&frame, PA_STORE_ADD, "/n", 5);
    CHECK(send(fd, frame.data, pa_buffer_size(&frame), 0) > 0);
    pa_buffer_fini(&frame);
    struct pollfd watched = {.fd = pa_server_poll_fd(server), .events = POLLIN};
    CHECK(poll(&watched, 1, 60000) == 1);
    CHECK_EQUAL(pa_server_step(server, &error), PA_OK);
    char sum[8] = {0};
    CHECK_EQUAL(recv(fd, sum, sizeof sum, 0), 8);
    (void)close(fd);
    pa_server_close(server);
}

int
main(void)
{
    static const testing_case cases[] = {
        TESTING(every_call_works),
        TESTING(large_values_travel_and_larger_ones_are_refused),
        TESTING(an_unfulfilled_wait_leaves_the_client_usable),
        TESTING(the_tick_interrupts),
        TESTING(nobody_listens),
        TESTING(a_taken_port_is_an_error),
        TESTING(the_secret_is_asked_for),
        TESTING(many_wait_for_one_key),
        TESTING(the_server_ends_while_clients_wait),
        TESTING(an_abort_ends_a_wait),
        TESTING(nonsense_ends_only_who_says_it),
        TESTING(a_loop_of_the_caller_drives_it),
        TESTING(a_fork_has_no_part_in_it),
    };
    return TESTING_RUN(cases);
}
