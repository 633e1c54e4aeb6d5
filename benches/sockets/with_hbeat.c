/*
 A loop that has its sockets itself, and the time from hbeat: SEND says when a ping is to be written, and what was read is
 told with the time of the turn, for all connections at once.
*/
#define _GNU_SOURCE
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../peers/harness.h"
#include "../tcp.h"
#include "hbeat.h"
#include "sockets.h"

#define ENGINE UINT32_MAX /* the number of hbeat's descriptor */

struct connection {
    hbeat_link link;
    int fd;
    uint32_t next_sequence;
};

static hbeat_engine *engine;
static hbeat_policy policy;
static struct connection *all;
static uint32_t opened;
static int poller;

static void must(hbeat_status status, const char *what)
{
    if (status < 0) {
        errno = 0; /* it is hbeat that says why */
        die(what);
    }
}

static void begin(struct task task, uint32_t run)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.run = run;
    options.tick_ms = task.tick_ms;
    options.max_links = task.connections;
    must(hbeat_engine_new(&options, &engine), "hbeat_engine_new");
    must(hbeat_policy_parse(&policy, sizeof policy, "interval=1s timeout=2s tries=3 strategy=periodic jitter=0%"),
        "hbeat_policy_parse");
    all = memory(task.connections, sizeof *all);
    poller = epoll_create1(0);
}

/* ---- A connection ---- */

static void open_connection(uint16_t port, uint32_t number)
{
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    struct connection *connection = &all[number];
    connection->fd = connect_to(port, number);
    watch(poller, connection->fd, number);
    how.fd = connection->fd;
    how.link_data = connection;
    must(hbeat_link_open(engine, &policy, &how, &connection->link), "hbeat_link_open");
}

/* Those whose place in the interval has come, so that the beats are spread over it. Whether all are open. */
static int open_those_due(struct task task, uint64_t begun, uint64_t now)
{
    while (opened < task.connections && now >= begun + (uint64_t)opened * INTERVAL_MS * MS / task.connections)
        open_connection(task.port, opened++);
    return opened == task.connections;
}

static void ping(struct connection *connection, uint64_t now)
{
    uint8_t bytes[PING];
    uint32_t sequence = connection->next_sequence;
    size_t length;
    if (hbeat_link_take(engine, connection->link, &connection->next_sequence, now, NULL, 0, &length) != HBEAT_INFO_SEND)
        return;
    make_ping(bytes, sequence);
    if (send(connection->fd, bytes, PING, MSG_DONTWAIT | MSG_NOSIGNAL) == PING)
        return;
    if (errno == EAGAIN)
        hbeat_link_unsent(engine, connection->link, now);
    else
        hbeat_link_report_down(engine, connection->link, HBEAT_CAUSE_RESET, (uint32_t)errno);
}

/* Whether an answer to the latest ping came. Takes for granted that messages come whole. */
static int hear(struct connection *connection)
{
    uint8_t bytes[ANSWER * 8];
    int answered = 0;
    ssize_t length = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN)
        return 0;
    if (length <= 0 || length % ANSWER) {
        hbeat_link_report_down(engine, connection->link, HBEAT_CAUSE_CLOSED_BY_PEER, 0);
        return 0;
    }
    for (ssize_t i = 0; i < length; i += ANSWER)
        answered |= is_answer(bytes + i, connection->next_sequence - 1);
    return answered;
}

/* ---- Turns ---- */

static void hear_those_ready(const struct epoll_event *ready, int count, uint64_t now)
{
    static hbeat_link answered[BATCH];
    uint32_t answers = 0;
    for (int i = 0; i < count; i++) {
        uint32_t number = ready[i].data.u32;
        if (number != ENGINE && hear(&all[number]))
            answered[answers++] = all[number].link;
    }
    hbeat_links_received(engine, answered, answers, now);
}

static void pull(uint64_t now)
{
    static hbeat_event events[BATCH];
    uint32_t count;
    do {
        must(hbeat_engine_wait(engine, events, sizeof *events, BATCH, 0, &count), "hbeat_engine_wait");
        for (uint32_t i = 0; i < count; i++) {
            struct connection *connection = events[i].link_data;
            if (events[i].type == HBEAT_EVENT_SEND) {
                ping(connection, now);
            } else if (events[i].type == HBEAT_EVENT_DOWN) {
                hbeat_link_close(engine, connection->link);
                close(connection->fd);
            }
        }
    } while (count == BATCH);
}

/* How long epoll may wait, rounded up: better late than in circles. */
static int until_due(uint64_t now)
{
    uint64_t due;
    must(hbeat_engine_next_deadline(engine, &due), "hbeat_engine_next_deadline");
    if (due <= now)
        return 0;
    return due - now < SECOND ? (int)((due - now + MS - 1) / MS) : 1000;
}

void beat_driven(struct task task)
{
    struct epoll_event ready[BATCH];
    begin(task, HBEAT_RUN_APPLICATION);
    for (uint64_t begun = clock_now(), now = begun;;) {
        int wait_ms = open_those_due(task, begun, now) ? until_due(now) : 1;
        int count = epoll_wait(poller, ready, BATCH, wait_ms);
        now = clock_now();
        hear_those_ready(ready, count, now);
        hbeat_status status = hbeat_engine_drive(engine, now);
        must(status, "hbeat_engine_drive");
        if (status == HBEAT_INFO_MORE)
            pull(now);
    }
}

void beat_threaded(struct task task)
{
    struct epoll_event ready[BATCH];
    int32_t told;
    begin(task, HBEAT_RUN_THREADS);
    must(hbeat_engine_fd(engine, &told), "hbeat_engine_fd");
    watch(poller, told, ENGINE);
    for (uint64_t begun = clock_now(), now = begun;;) {
        int count = epoll_wait(poller, ready, BATCH, open_those_due(task, begun, now) ? -1 : 1);
        now = clock_now();
        hear_those_ready(ready, count, now);
        for (int i = 0; i < count; i++)
            if (ready[i].data.u32 == ENGINE)
                pull(now);
    }
}
