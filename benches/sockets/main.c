/*
 W6: real TCP connections over loopback, of which the application has the sockets and the loop. Each is beaten on once a
 second: a CMPP_ACTIVE_TEST of 12 bytes, which the far end answers with 13. Who does not answer for 6 s is given up.

   sockets [quick] [CONNECTIONS]

 CONNECTIONS a contender (9000; no more than its descriptors allow). The contenders take turns, round after round, each
 in a process of its own, with a far end of its own, which is the same for all (../tcp.c). They are watched from outside,
 once each connection has beaten: the CPU time of the process over a window, by its CPU clock; the beats of each
 connection, as the far end counts them; at the end its anonymous memory, beyond what it has for FEW connections.

 Turns of 10 ms: what is due within them goes out together. Answers are read when they come, whatever the turns.

 Before the rounds all are left with a far end that answers nothing, to see that each gives it up, and when.
*/
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../peers/harness.h"
#include "../tcp.h"
#include "sockets.h"

#define FEW 100
/* Descriptors that are no connections: the standard ones, those of an interpreter or an engine. */
#define SPARE 64

static uint32_t connections = 9000;
static int rounds = 5;
static uint32_t window_s = 2;

/* In the order of a round; each is compared with the floor of its turns. */
enum { FLOOR_1, FLOOR_10, DRIVEN_1, DRIVEN_10, THREADED, TOKIO, ASYNCIO, CONTENDERS };

static struct contender {
    const char *name;
    int floor;
    /* One in C, or a program that is told port and connections, and what it means if there is none. */
    void (*beat)(struct task task);
    uint32_t tick_ms;
    const char *program[2];
    const char *missing;
    /* Found out while running. */
    int skipped, failed;
    uint64_t first_lost_ms, last_lost_ms;
    double few_bytes;
    double cpu_us[ROUNDS_MOST], far_cpu_us[ROUNDS_MOST], beats[ROUNDS_MOST], bytes[ROUNDS_MOST];
} contenders[CONTENDERS] = {
    [FLOOR_1] = { "floor: by hand, 1 ms turns", FLOOR_1, .beat = beat_by_hand, .tick_ms = 1 },
    [FLOOR_10] = { "floor: by hand, 10 ms turns", FLOOR_10, .beat = beat_by_hand, .tick_ms = 10 },
    [DRIVEN_1] = { "hbeat: driven, 1 ms turns", FLOOR_1, .beat = beat_driven, .tick_ms = 1 },
    [DRIVEN_10] = { "hbeat: driven, 10 ms turns", FLOOR_10, .beat = beat_driven, .tick_ms = 10 },
    [THREADED] = { "hbeat: its own thread, 10 ms turns", FLOOR_10, .beat = beat_threaded, .tick_ms = 10 },
    [TOKIO] = { "tokio", FLOOR_1, .program = { TOKIO_PROGRAM }, .missing = "cargo could not build it" },
    [ASYNCIO] = { "asyncio", FLOOR_1, .program = { "python3", ASYNCIO_PROGRAM }, .missing = "there is no python3" },
};

/* ---- A contender at work ---- */

struct run {
    pid_t process;
    struct far_end far_end;
};

static void become(const char *const *program, struct task task)
{
    char port[16], count[16];
    const char *words[5] = { program[0] };
    int at = 1;
    if (program[1])
        words[at++] = program[1];
    words[at++] = port;
    words[at] = count;
    snprintf(port, sizeof port, "%u", task.port);
    snprintf(count, sizeof count, "%u", task.connections);
    execvp(words[0], (char **)words);
    _exit(127);
}

static struct run begin(const struct contender *contender, uint32_t count, int mute)
{
    struct run run = { .far_end = begin_far_end(mute) };
    struct task task = { run.far_end.port, count, contender->tick_ms };
    fflush(NULL);
    run.process = fork();
    if (run.process < 0)
        die("fork");
    if (run.process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (contender->beat)
            contender->beat(task);
        become(contender->program, task);
    }
    return run;
}

/* The exit code of a contender that has ended, else -1. */
static int ended(const struct run *run)
{
    siginfo_t how = { .si_pid = 0 };
    waitid(P_PID, (id_t)run->process, &how, WEXITED | WNOHANG | WNOWAIT);
    return how.si_pid == 0 ? -1 : how.si_code == CLD_EXITED ? how.si_status : 128 + how.si_status;
}

/* The contender is stopped first, so that it sees nothing of the end and has nothing to say of it. */
static void end(struct run *run)
{
    kill(run->process, SIGSTOP);
    end_far_end(&run->far_end);
    kill(run->process, SIGKILL);
    waitpid(run->process, NULL, 0);
}

static double cpu_us_of(pid_t process)
{
    struct timespec time;
    clockid_t clock;
    if ((errno = clock_getcpuclockid(process, &clock)) || clock_gettime(clock, &time))
        die("the CPU clock of a contender");
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* Resident memory that is no file's. */
static double bytes_of(pid_t process)
{
    char path[64], line[128];
    unsigned long kilobytes = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)process);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "RssAnon: %lu kB", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return (double)kilobytes * 1024;
}

static void pause_ms(uint64_t ms) { sleep_until(clock_now() + ms * MS); }

/* ---- Whether each gives up a peer that does not answer; and what each takes for a few connections ---- */

/* Looks at one; whether that was the last look. */
static int check(struct contender *contender, const struct run *run, uint64_t ms)
{
    const volatile struct heard *heard = run->far_end.heard;
    contender->skipped = contender->missing && ended(run) == 127;
    if (contender->skipped)
        return 1;
    if (heard->made < FEW)
        return 0;
    if (heard->open == FEW)
        contender->few_bytes = bytes_of(run->process);
    else if (!contender->first_lost_ms)
        contender->first_lost_ms = ms;
    if (heard->open == 0)
        contender->last_lost_ms = ms;
    return heard->open == 0;
}

static void print_check(struct contender *contender)
{
    double first = (double)contender->first_lost_ms / 1e3, last = (double)contender->last_lost_ms / 1e3;
    if (contender->skipped)
        row_skipped(contender->name, contender->missing);
    else if (contender->first_lost_ms >= PATIENCE_MS && contender->last_lost_ms)
        printf("%-36s gave up peers that are mute %.1f to %.1f s after it was started\n", contender->name, first, last);
    else {
        printf("%-36s FAILED: gave up peers that are mute %.1f to %.1f s (0.0: never) after it was started\n",
            contender->name, first, last);
        contender->failed++;
    }
}

static void check_all(void)
{
    struct run runs[CONTENDERS];
    int over[CONTENDERS] = { 0 }, left = CONTENDERS;
    uint64_t begun = clock_now(), ms = 0;
    for (int i = 0; i < CONTENDERS; i++)
        runs[i] = begin(&contenders[i], FEW, 1);
    while (left > 0 && ms < 2 * PATIENCE_MS) {
        pause_ms(20);
        ms = (clock_now() - begun) / MS;
        for (int i = 0; i < CONTENDERS; i++)
            if (!over[i]) {
                over[i] = check(&contenders[i], &runs[i], ms);
                left -= over[i];
            }
    }
    for (int i = 0; i < CONTENDERS; i++) {
        print_check(&contenders[i]);
        end(&runs[i]);
    }
    fflush(stdout);
}

/* ---- A round ---- */

static void copy_pings(uint32_t *copy, const struct run *run)
{
    for (uint32_t i = 0; i < run->far_end.heard->room; i++)
        copy[i] = run->far_end.heard->pings[i];
}

/* On all connections; who cannot get so far is measured all the same, and fails. */
static void wait_for_first_beats(const struct contender *contender, const struct run *run)
{
    const volatile struct heard *heard = run->far_end.heard;
    uint32_t beaten = 0;
    for (uint64_t begun = clock_now(); beaten < connections && clock_now() < begun + 30 * SECOND; pause_ms(50)) {
        if (ended(run) >= 0) {
            fprintf(stderr, "%s: has ended\n", contender->name);
            exit(2);
        }
        beaten = 0;
        for (uint32_t i = 0; i < heard->room; i++)
            beaten += heard->pings[i] > 0;
    }
    pause_ms(200);
}

static void measure(struct contender *contender, int round)
{
    struct run run = begin(contender, connections, 0);
    uint32_t room = run.far_end.heard->room, steady = 0;
    uint32_t *before = touched_memory(room, sizeof *before), *after = touched_memory(room, sizeof *after);
    wait_for_first_beats(contender, &run);

    uint64_t begun = clock_now();
    double cpu_us = cpu_us_of(run.process), far_cpu_us = cpu_us_of(run.far_end.process), beats = 0;
    copy_pings(before, &run);
    sleep_until(begun + window_s * SECOND);
    copy_pings(after, &run);
    cpu_us = cpu_us_of(run.process) - cpu_us;
    far_cpu_us = cpu_us_of(run.far_end.process) - far_cpu_us;
    double seconds = (double)(clock_now() - begun) / 1e9, bytes = bytes_of(run.process) - contender->few_bytes;
    uint32_t open = run.far_end.heard->open;
    end(&run);

    for (uint32_t i = 0; i < room; i++) {
        beats += after[i] - before[i];
        /* A window may begin right after a beat and end right before one. */
        steady += after[i] - before[i] + 1 >= window_s;
    }
    free(before);
    free(after);
    contender->cpu_us[round] = cpu_us / beats;
    contender->far_cpu_us[round] = far_cpu_us / beats;
    contender->beats[round] = beats / seconds;
    contender->bytes[round] = bytes / (connections - FEW);
    printf("%d  %-36s %6.2f us a beat, %.2f x floor, %5.0f beats/s", round + 1, contender->name, contender->cpu_us[round],
        contender->cpu_us[round] / contenders[contender->floor].cpu_us[round], contender->beats[round]);
    if (open != connections || steady != connections) {
        printf("  FAILED: %u of %u connections are open, %u were beaten on each second", open, connections, steady);
        contender->failed++;
    }
    printf("\n");
    fflush(stdout);
}

/* ---- All ---- */

static void print_results(void)
{
    static const column columns[] = {
        { "us CPU a beat", 21, 2 },
        { "x floor, same turns", 20, 2 },
        { "x tokio", 20, 2 },
        { "x asyncio", 20, 2 },
        { "beats/s", 21, 0 },
        { "bytes a connection", 23, 0 },
        { "far end, us a beat", 21, 2 },
        { "failed", 6, 0 },
        { 0, 0, 0 },
    };
    table("W6", columns, "%u connections, a beat each second, %d rounds of %u s", connections, rounds, window_s);
    for (int i = 0; i < CONTENDERS; i++) {
        const struct contender *contender = &contenders[i];
        double failed = contender->failed;
        if (contender->skipped) {
            row_skipped(contender->name, contender->missing);
            continue;
        }
        row(contender->name);
        cell(contender->cpu_us, rounds);
        cell_ratios(contender->cpu_us, contenders[contender->floor].cpu_us, rounds);
        cell_ratios(contender->cpu_us, contenders[TOKIO].skipped ? NULL : contenders[TOKIO].cpu_us, rounds);
        cell_ratios(contender->cpu_us, contenders[ASYNCIO].skipped ? NULL : contenders[ASYNCIO].cpu_us, rounds);
        cell(contender->beats, rounds);
        cell(contender->bytes, rounds);
        cell(contender->far_cpu_us, rounds);
        cell(&failed, 1);
        row_end();
    }
}

static void read_arguments(char **words)
{
    uint32_t descriptors = raise_descriptors();
    if (*words && !strcmp(*words, "quick")) {
        words++;
        connections = 1000;
        rounds = 1;
    }
    if (*words) {
        char *rest;
        unsigned long value = strtoul(*words, &rest, 10);
        if (*rest || value <= FEW || value > 1000000) {
            fprintf(stderr, "usage: sockets [quick] [CONNECTIONS], from %d to 1000000\n", FEW + 1);
            exit(2);
        }
        connections = (uint32_t)value;
    }
    if (connections > descriptors - SPARE) {
        connections = descriptors - SPARE;
        printf("only %u connections: that is what the descriptors of a process allow\n", connections);
    }
}

int main(int count, char **words)
{
    read_arguments(words + (count > 0));
    printf("real connections, on a machine that others may use, too: only ratios within this run mean anything.\n");
    print_load("before");
    check_all();
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < CONTENDERS; i++)
            if (!contenders[i].skipped)
                measure(&contenders[i], round);
    print_results();
    fact("W6: failed: runs in which a connection was lost or not beaten on each second; a mute peer not given up");
    print_load("after it");
    return 0;
}
