/*
 What carrying beats costs: links of an engine beside a minimal hand-written epoll loop that does the same (../tcp.c), in
 the same run. Both ping a peer over TCP on loopback, 12 bytes (CMPP_ACTIVE_TEST) each second on each connection, and
 read its answer of 13.

   load [quick] [CONNECTIONS] [PROCESSES]

 CONNECTIONS a process (9000; no more than its descriptors allow), PROCESSES that beat at once (1), each with a process
 of its own at the far end, which is the same for both sides. The sides take turns, round after round. What counts is
 the CPU time of the processes that beat, by their own rusage, once all connections are up and spread over the second.
*/
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../peers/harness.h"
#include "../tcp.h"
#include "hbeat.h"

#define TRIES 3
/* Descriptors that are no connections: the standard ones, pipes, what the engine has. */
#define SPARE 64
#define PROCESSES_MAX 16

static uint32_t connections = 9000;
static uint32_t processes = 1;
static uint32_t rounds = 5;
static uint32_t window_ms = 10000;

static uint64_t now_ms(void) { return clock_now() / MS; }

static void sleep_until_ms(uint64_t at_ms) { sleep_until(at_ms * MS); }

/* ==== A side: connects, is spread over the interval, is measured ==== */

/* What one process, or all of a round, came to. */
struct measure {
    uint64_t beats, cpu_us, user_us, switches;
};

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
        sleep_until_ms(start + (uint64_t)i * INTERVAL_MS / connections);
        errno = 0;
        if (hbeat_link_adopt(engine, fds[i], &policy, &how, &link))
            die("hbeat_link_adopt");
    }
    sleep_until_ms(start + 3 * INTERVAL_MS);
    take(&measure, engine_stats(engine).answers_received, -1);
    sleep_until_ms(start + 3 * INTERVAL_MS + window_ms);
    hbeat_stats stats = engine_stats(engine);
    take(&measure, stats.answers_received, 1);
    if (stats.links_up + stats.links_suspect != connections)
        fprintf(stderr, "load: %u of %u links are up\n", stats.links_up, connections);
    return measure;
}

/* ==== Side B: a loop ==== */

static struct measure side_loop(const int *fds)
{
    struct measure measure = { 0 };
    uint64_t start = now_ms(), from = start + 3 * INTERVAL_MS, end = from + window_ms;
    struct loop *loop = loop_new(fds, connections, 1, TRIES, start);
    for (int measures = 0;;) {
        uint64_t now = now_ms();
        if (!measures && now >= from) {
            take(&measure, loop->answers, -1);
            measures = 1;
        }
        if (now >= end)
            break;
        loop_turn(loop, now);
    }
    take(&measure, loop->answers, 1);
    if (loop->given_up)
        fprintf(stderr, "load: the loop gave %u of %u connections up\n", loop->given_up, connections);
    return measure;
}

/* ==== Rounds ==== */

/* One process that beats, with a far end of its own; what it measured comes through the pipe. */
static pid_t begin(int engine, int result)
{
    pid_t child = fork();
    if (child)
        return child;
    struct far_end far_end = begin_far_end(0);
    int *fds = memory(connections, sizeof *fds);
    for (uint32_t i = 0; i < connections; i++)
        fds[i] = connect_to(far_end.port, i);
    struct measure measure = engine ? side_engine(fds) : side_loop(fds);
    if (write(result, &measure, sizeof measure) != sizeof measure)
        die("write");
    end_far_end(&far_end);
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

static void summarise(const char *what, double *values)
{
    qsort(values, rounds, sizeof *values, ascending);
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
    uint32_t descriptors = raise_descriptors();
    if (connections > descriptors - SPARE) {
        connections = descriptors - SPARE;
        printf("only %u connections a process: that is what its descriptors allow\n", connections);
    }
}

int main(int count, char **arguments)
{
    double engine[ROUNDS_MOST], loop[ROUNDS_MOST], ratio[ROUNDS_MOST];
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
