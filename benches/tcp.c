#define _GNU_SOURCE
#include "tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peers/harness.h"

#define ACTIVE_TEST 0x00000008u
#define ACTIVE_TEST_RESP 0x80000008u

static void put(uint8_t *at, uint32_t value)
{
    value = htonl(value);
    memcpy(at, &value, sizeof value);
}

static uint32_t get(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return ntohl(value);
}

void make_ping(uint8_t *bytes, uint32_t sequence)
{
    put(bytes, PING);
    put(bytes + 4, ACTIVE_TEST);
    put(bytes + 8, sequence);
}

int is_answer(const uint8_t *bytes, uint32_t sequence)
{
    return get(bytes) == ANSWER && get(bytes + 4) == ACTIVE_TEST_RESP && get(bytes + 8) == sequence;
}

void watch(int poller, int fd, uint32_t number)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = number };
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl");
}

uint32_t raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        die("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return (uint32_t)limit.rlim_cur;
}

/* ---- The far end ---- */

static int listen_here(uint16_t *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 1024)
        || getsockname(fd, (struct sockaddr *)&address, &length))
        die("listen");
    *port = ntohs(address.sin_port);
    return fd;
}

static void prepare(int fd)
{
    int yes = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes))
        die("TCP_NODELAY");
}

static void accept_one(int poller, int listener, volatile struct heard *heard)
{
    struct linger reset = { 1, 0 };
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        die("accept");
    prepare(fd);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    watch(poller, fd, (uint32_t)fd);
    heard->made++;
    heard->open++;
}

static void lose(int fd, volatile struct heard *heard)
{
    close(fd);
    heard->open--;
}

static void answer_pings(int fd, int mute, volatile struct heard *heard)
{
    uint8_t pings[PING * 32], answer[ANSWER] = { 0 };
    ssize_t length = recv(fd, pings, sizeof pings, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0) {
        lose(fd, heard);
        return;
    }
    for (ssize_t i = 0; i + PING <= length; i += PING) {
        heard->pings[(uint32_t)fd % heard->room]++;
        if (mute)
            continue;
        put(answer, ANSWER);
        put(answer + 4, ACTIVE_TEST_RESP);
        memcpy(answer + 8, pings + i + 8, 4);
        if (send(fd, answer, ANSWER, MSG_DONTWAIT | MSG_NOSIGNAL) != ANSWER) {
            lose(fd, heard);
            return;
        }
    }
}

static void answer_for_ever(int listener, int mute, volatile struct heard *heard)
{
    struct epoll_event ready[BATCH];
    int poller = epoll_create1(0);
    watch(poller, listener, (uint32_t)listener);
    for (;;) {
        int count = epoll_wait(poller, ready, BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)ready[i].data.u32;
            if (fd == listener)
                accept_one(poller, listener, heard);
            else
                answer_pings(fd, mute, heard);
        }
    }
}

static size_t size_of_heard(uint32_t room) { return sizeof(struct heard) + room * sizeof(uint32_t); }

struct far_end begin_far_end(int mute)
{
    struct far_end far_end;
    uint32_t room = raise_descriptors();
    struct heard *heard = mmap(NULL, size_of_heard(room), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (heard == MAP_FAILED)
        die("memory");
    heard->room = room;
    far_end.heard = heard;
    int listener = listen_here(&far_end.port);
    far_end.process = fork();
    if (far_end.process < 0)
        die("fork");
    if (far_end.process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        answer_for_ever(listener, mute, heard);
    }
    close(listener);
    return far_end;
}

void end_far_end(struct far_end *far_end)
{
    kill(far_end->process, SIGKILL);
    waitpid(far_end->process, NULL, 0);
    munmap((void *)far_end->heard, size_of_heard(far_end->heard->room));
}

int connect_to(uint16_t port, uint32_t number)
{
    /* Eight addresses, so that the ports of one do not run out. */
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % 8);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        die("connect");
    prepare(fd);
    return fd;
}

/*
 ---- A loop ----

 It keeps a slot of a wheel for each millisecond, and takes for granted that messages come whole. It is a bound, no
 product.
*/

#define NONE UINT32_MAX

struct loop_connection {
    int fd;
    uint32_t next, sequence, unanswered;
};

static void plan(struct loop *loop, uint32_t number, uint64_t at_ms)
{
    uint32_t *slot = &loop->slots[at_ms % LOOP_SLOTS];
    loop->all[number].next = *slot;
    *slot = number;
}

struct loop *loop_new(const int *fds, uint32_t count, uint32_t tick_ms, uint32_t tries, uint64_t now_ms)
{
    struct loop *loop = memory(1, sizeof *loop);
    loop->all = memory(count, sizeof *loop->all);
    loop->poller = epoll_create1(0);
    loop->tick_ms = tick_ms;
    loop->tries = tries;
    loop->at_ms = now_ms;
    memset(loop->slots, 0xff, sizeof loop->slots);
    for (uint32_t i = 0; i < count; i++) {
        loop->all[i].fd = fds[i];
        watch(loop->poller, fds[i], i);
        plan(loop, i, now_ms + (uint64_t)i * INTERVAL_MS / count);
    }
    return loop;
}

static void give_up(struct loop *loop, struct loop_connection *connection)
{
    close(connection->fd);
    connection->fd = -1;
    loop->given_up++;
}

static void ping(struct loop *loop, struct loop_connection *connection)
{
    uint8_t bytes[PING];
    if (connection->unanswered++ == loop->tries) {
        give_up(loop, connection);
        return;
    }
    make_ping(bytes, ++connection->sequence);
    if (send(connection->fd, bytes, PING, MSG_DONTWAIT | MSG_NOSIGNAL) != PING)
        give_up(loop, connection);
}

static void ping_those_due(struct loop *loop, uint64_t at_ms)
{
    uint32_t number = loop->slots[at_ms % LOOP_SLOTS];
    loop->slots[at_ms % LOOP_SLOTS] = NONE;
    while (number != NONE) {
        struct loop_connection *connection = &loop->all[number];
        uint32_t next = connection->next;
        if (connection->fd >= 0)
            ping(loop, connection);
        if (connection->fd >= 0)
            plan(loop, number, at_ms + INTERVAL_MS);
        number = next;
    }
}

static void hear(struct loop *loop, struct loop_connection *connection)
{
    uint8_t bytes[ANSWER * 8];
    ssize_t length = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0 || length % ANSWER) {
        give_up(loop, connection);
        return;
    }
    for (ssize_t i = 0; i < length; i += ANSWER)
        if (is_answer(bytes + i, connection->sequence)) {
            connection->unanswered = 0;
            loop->answers++;
        }
}

void loop_turn(struct loop *loop, uint64_t now_ms)
{
    struct epoll_event ready[BATCH];
    uint64_t tick = now_ms / loop->tick_ms * loop->tick_ms;
    for (; loop->at_ms <= tick; loop->at_ms++)
        ping_those_due(loop, loop->at_ms);
    uint64_t next = loop->at_ms, end = next + INTERVAL_MS;
    while (loop->slots[next % LOOP_SLOTS] == NONE && next < end)
        next++;
    next = (next + loop->tick_ms - 1) / loop->tick_ms * loop->tick_ms;
    int count = epoll_wait(loop->poller, ready, BATCH, (int)(next - now_ms));
    for (int i = 0; i < count; i++)
        hear(loop, &loop->all[ready[i].data.u32]);
}
