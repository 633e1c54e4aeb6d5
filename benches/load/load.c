/*
 What carrying beats costs: links of an engine beside a minimal hand-written epoll loop that does the same, in the same
 run. Both ping a peer over TCP on loopback, 12 bytes (CMPP_ACTIVE_TEST) each second on each connection, and read its
 answer of 13.

   load [quick] [CONNECTIONS] [PROCESSES]

 CONNECTIONS a process (9000; no more than its descriptors allow), PROCESSES that beat at once (1), each with a process
 of its own at the far end, which is the same for both sides. The sides take turns, round after round. What counts is
 the CPU time of the processes that beat, by their own rusage, once all connections are up and spread over the second.

 The loop keeps a slot of a wheel for each millisecond, gives a connection up whose last three pings went unanswered,
 and takes for granted that messages come whole. It is a bound, no product.
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hbeat.h"

#define INTERVAL_MS 1000u
#define SLOTS 1024u /* a power of two above INTERVAL_MS */
#define TRIES 3
#define ROUNDS_MAX 7
#define BATCH 1024
#define PING 12
#define ANSWER 13
#define ACTIVE_TEST 0x00000008u
#define ACTIVE_TEST_RESP 0x80000008u
#define NONE UINT32_MAX
/* Descriptors that are no connections: the standard ones, pipes, what the engine has. */
#define SPARE 64
#define PROCESSES_MAX 16

static uint32_t connections = 9000;
static uint32_t processes = 1;
static uint32_t rounds = 5;
static uint32_t window_ms = 10000;

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : hbeat_last_error());
    exit(2);
}

static uint64_t now_ms(void)
{
    return hbeat_now_ns() / 1000000;
}

static void sleep_until(uint64_t at_ms)
{
    struct timespec time = { (time_t)(at_ms / 1000), (long)(at_ms % 1000) * 1000000 };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static void *memory(size_t count, size_t size)
{
    void *place = calloc(count, size);
    if (!place)
        die("memory");
    return place;
}

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

static void watch(int poller, int fd, uint32_t number)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u32 = number };
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl");
}

/* ==== The far end: answers pings until the other side is gone ==== */

static int listen_here(uint16_t *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
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

static void answer_pings(int fd)
{
    uint8_t pings[PING * 32], answer[ANSWER] = { 0 };
    ssize_t length = recv(fd, pings, sizeof pings, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0) {
        close(fd);
        return;
    }
    for (ssize_t i = 0; i + PING <= length; i += PING) {
        put(answer, ANSWER);
        put(answer + 4, ACTIVE_TEST_RESP);
        memcpy(answer + 8, pings + i + 8, 4);
        if (send(fd, answer, ANSWER, MSG_DONTWAIT | MSG_NOSIGNAL) != ANSWER)
            close(fd);
    }
}

static void far_end(int listener)
{
    struct epoll_event ready[BATCH];
    int poller = epoll_create1(0);
    watch(poller, listener, (uint32_t)listener);
    for (;;) {
        int count = epoll_wait(poller, ready, BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)ready[i].data.u32;
            if (fd != listener) {
                answer_pings(fd);
                continue;
            }
            fd = accept(listener, NULL, NULL);
            if (fd < 0)
                die("accept");
            prepare(fd);
            watch(poller, fd, (uint32_t)fd);
        }
    }
}

/* ==== A side: connects, is spread over the interval, is measured ==== */

/* What one process, or all of a round, came to. */
struct measure {
    uint64_t beats, cpu_us, user_us, switches;
};

static int connect_to(uint16_t port, uint32_t number)
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

static uint64_t us(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/* Adds what was used up to now, or takes it away. */
static void take(struct measure *measure, uint64_t beats, int sign)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    uint64_t factor = (uint64_t)(int64_t)sign;
    measure->beats += factor * beats;
    measure->user_us += factor * us(usage.ru_utime);
    measure->cpu_us += factor * (us(usage.ru_utime) + us(usage.ru_stime));
    measure->switches += factor * (uint64_t)(usage.ru_nvcsw + usage.ru_nivcsw);
}

/* ==== Side A: an engine ==== */

static hbeat_stats engine_stats(const hbeat_engine *engine)
{
    hbeat_stats stats = { .struct_size = sizeof stats };
    if (hbeat_engine_stats(engine, &stats))
        die("hbeat_engine_stats");
    return stats;
}

static struct measure side_engine(const int *fds)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy;
    hbeat_engine *engine;
    struct measure measure = { 0 };
    errno = 0;
    options.events = 1u << HBEAT_EVENT_DOWN;
    how.protocol = "cmpp";
    if (hbeat_engine_new(&options, &engine) || hbeat_policy_preset(&policy, sizeof policy, "cmpp"))
        die("engine");
    policy.interval_ms = policy.timeout_ms = INTERVAL_MS;
    policy.tries = TRIES;
    policy.jitter_percent = 0;
    uint64_t start = now_ms();
    for (uint32_t i = 0; i < connections; i++) {
        hbeat_link link;
        sleep_until(start + (uint64_t)i * INTERVAL_MS / connections);
        errno = 0;
        if (hbeat_link_adopt(engine, fds[i], &policy, &how, &link))
            die("hbeat_link_adopt");
    }
    sleep_until(start + 3 * INTERVAL_MS);
    take(&measure, engine_stats(engine).answers_received, -1);
    sleep_until(start + 3 * INTERVAL_MS + window_ms);
    hbeat_stats stats = engine_stats(engine);
    take(&measure, stats.answers_received, 1);
    if (stats.links_up + stats.links_suspect != connections)
        fprintf(stderr, "load: %u of %u links are up\n", stats.links_up, connections);
    return measure;
}

/* ==== Side B: a loop ==== */

struct connection {
    int fd;
    uint32_t next, sequence, unanswered;
};

struct loop {
    struct connection *all;
    uint32_t slots[SLOTS]; /* the first connection that is due in this millisecond */
    uint64_t answers;
};

static void plan(struct loop *loop, uint32_t number, uint64_t at_ms)
{
    uint32_t *slot = &loop->slots[at_ms % SLOTS];
    loop->all[number].next = *slot;
    *slot = number;
}

static void give_up(struct connection *connection)
{
    fprintf(stderr, "load: the loop gave a connection up\n");
    close(connection->fd);
    connection->fd = -1;
}

static void ping(struct connection *connection)
{
    uint8_t bytes[PING];
    if (connection->unanswered++ == TRIES) {
        give_up(connection);
        return;
    }
    put(bytes, PING);
    put(bytes + 4, ACTIVE_TEST);
    put(bytes + 8, ++connection->sequence);
    if (send(connection->fd, bytes, PING, MSG_DONTWAIT | MSG_NOSIGNAL) != PING)
        give_up(connection);
}

static void ping_those_due(struct loop *loop, uint64_t at_ms)
{
    uint32_t number = loop->slots[at_ms % SLOTS];
    loop->slots[at_ms % SLOTS] = NONE;
    while (number != NONE) {
        struct connection *connection = &loop->all[number];
        uint32_t next = connection->next;
        ping(connection);
        if (connection->fd >= 0)
            plan(loop, number, at_ms + INTERVAL_MS);
        number = next;
    }
}

static void hear(struct loop *loop, struct connection *connection)
{
    uint8_t bytes[ANSWER * 8];
    ssize_t length = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0 || length % ANSWER) {
        give_up(connection);
        return;
    }
    for (ssize_t i = 0; i < length; i += ANSWER)
        if (get(bytes + i) == ANSWER && get(bytes + i + 4) == ACTIVE_TEST_RESP
            && get(bytes + i + 8) == connection->sequence) {
            connection->unanswered = 0;
            loop->answers++;
        }
}

static struct measure side_loop(const int *fds)
{
    struct epoll_event ready[BATCH];
    struct measure measure = { 0 };
    struct loop *loop = memory(1, sizeof *loop);
    int poller = epoll_create1(0);
    uint64_t start = now_ms(), at = start, from = start + 3 * INTERVAL_MS, end = from + window_ms;
    loop->all = memory(connections, sizeof *loop->all);
    memset(loop->slots, 0xff, sizeof loop->slots);
    for (uint32_t i = 0; i < connections; i++) {
        loop->all[i].fd = fds[i];
        watch(poller, fds[i], i);
        plan(loop, i, start + (uint64_t)i * INTERVAL_MS / connections);
    }
    for (int measures = 0;;) {
        uint64_t now = now_ms();
        if (!measures && now >= from) {
            take(&measure, loop->answers, -1);
            measures = 1;
        }
        if (now >= end) {
            take(&measure, loop->answers, 1);
            return measure;
        }
        for (; at <= now; at++)
            ping_those_due(loop, at);
        uint64_t next = at;
        while (loop->slots[next % SLOTS] == NONE && next < at + INTERVAL_MS)
            next++;
        int count = epoll_wait(poller, ready, BATCH, (int)(next - now));
        for (int i = 0; i < count; i++)
            hear(loop, &loop->all[ready[i].data.u32]);
    }
}

/* ==== Rounds ==== */

/* One process that beats and its far end; what it measured comes through the pipe. */
static pid_t begin(int engine, int result)
{
    uint16_t port;
    int listener = listen_here(&port);
    pid_t child = fork();
    if (child) {
        close(listener);
        return child;
    }
    pid_t peer = fork();
    if (!peer) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        far_end(listener);
    }
    close(listener);
    int *fds = memory(connections, sizeof *fds);
    for (uint32_t i = 0; i < connections; i++)
        fds[i] = connect_to(port, i);
    struct measure measure = engine ? side_engine(fds) : side_loop(fds);
    if (write(result, &measure, sizeof measure) != sizeof measure)
        die("write");
    /* Resets leave no port waiting for the next round. */
    struct linger at_once = { 1, 0 };
    for (uint32_t i = 0; i < connections; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    kill(peer, SIGKILL);
    _exit(0);
}

static struct measure round_of(int engine)
{
    struct measure sum = { 0 }, one;
    pid_t children[PROCESSES_MAX];
    int result[2];
    if (pipe(result))
        die("pipe");
    for (uint32_t i = 0; i < processes; i++)
        children[i] = begin(engine, result[1]);
    for (uint32_t i = 0; i < processes; i++) {
        int status;
        if (waitpid(children[i], &status, 0) < 0 || status || read(result[0], &one, sizeof one) != sizeof one) {
            fprintf(stderr, "load: a process failed\n");
            exit(2);
        }
        sum.beats += one.beats;
        sum.cpu_us += one.cpu_us;
        sum.user_us += one.user_us;
        sum.switches += one.switches;
    }
    close(result[0]);
    close(result[1]);
    if (!sum.beats) {
        fprintf(stderr, "load: nothing was answered\n");
        exit(2);
    }
    return sum;
}

/* CPU seconds a million beats: as many as microseconds a beat. */
static double cost(const struct measure *measure)
{
    return (double)measure->cpu_us / (double)measure->beats;
}

static void print(const char *side, const struct measure *measure)
{
    double beats = (double)measure->beats, cpu = (double)measure->cpu_us;
    printf("  %-6s %6.2f CPU s a million beats (%2.0f %% in user space), %5.0f beats/s, %.3f switches a beat\n", side,
        cost(measure), 100 * (double)measure->user_us / cpu, beats * 1000 / window_ms,
        (double)measure->switches / beats);
    fflush(stdout);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(const char *what, double *values)
{
    qsort(values, rounds, sizeof *values, compare);
    printf("%-28s min %6.2f  median %6.2f  max %6.2f\n", what, values[0], values[rounds / 2], values[rounds - 1]);
}

static uint32_t number(const char *text, uint32_t most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || !value || value > most) {
        fprintf(stderr, "load: %s: must be \"quick\" or a number from 1 to %u\n", text, most);
        exit(2);
    }
    return (uint32_t)value;
}

static void read_arguments(char **arguments)
{
    struct rlimit limit;
    if (*arguments && !strcmp(*arguments, "quick")) {
        arguments++;
        connections = 1000;
        rounds = 1;
        window_ms = 2000;
    }
    if (*arguments)
        connections = number(*arguments++, 1000000);
    if (*arguments)
        processes = number(*arguments++, PROCESSES_MAX);
    if (getrlimit(RLIMIT_NOFILE, &limit))
        die("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (connections > limit.rlim_cur - SPARE) {
        connections = (uint32_t)limit.rlim_cur - SPARE;
        printf("only %u connections a process: that is what its descriptors allow\n", connections);
    }
}

int main(int count, char **arguments)
{
    double engine[ROUNDS_MAX], loop[ROUNDS_MAX], ratio[ROUNDS_MAX];
    read_arguments(arguments + (count > 0));
    printf("%u x %u connections, a beat each %u ms, %u rounds of %u s\n", processes, connections, INTERVAL_MS, rounds,
        window_ms / 1000);
    for (uint32_t i = 0; i < rounds; i++) {
        struct measure measure = round_of(1);
        print("hbeat", &measure);
        engine[i] = cost(&measure);
        measure = round_of(0);
        print("loop", &measure);
        loop[i] = cost(&measure);
        ratio[i] = engine[i] / loop[i];
    }
    summarise("hbeat, CPU s a million beats", engine);
    summarise("loop, CPU s a million beats", loop);
    summarise("hbeat / loop", ratio);
    printf("aim: at most 1.25 x the loop: %s\n", ratio[rounds / 2] <= 1.25 ? "met" : "not met");
    return 0;
}
