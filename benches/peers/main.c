/*
 The workloads through the C ABI, beside what a program would use instead, in the same run.

   w [quick | public] [--tsv FILE] [w1] [w1r] [w1mt] [w2] [w3] [w4] [w4t] [w5] [wmany]
     [wopen] [wshards]

 Without a name: all but w4t, which is w4 with ticks of 10 ms as well, and wmany, wopen and wshards, which are about hbeat
 alone. quick: fewer sessions and rounds. public: all workloads, w4t for w4, and five rounds at least of what has rounds;
 17 minutes.

 Each file w*.c has a workload, and says what it measures. "floor" is a bound and no product: a bare array of times, and
 for W4 a wheel of one level and no checks. The peers are in heap.c, ev.c, event.c, uv.c and tokio.c. Clocks are read once
 for 64 touches, as a loop does once a poll, unless the name says otherwise.

 Each measurement runs in a process of its own. In W1 the peers are in one and take turns, round after round.
*/
#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "hb.h"
#include "peers.h"

sizes size = {
    .links = 1000000,
    .cmpp_links = 100000,
    .touches = 2000000,
    .pairs = 200000,
    .period_ms = 15000,
    .window_ms = 1200,
    .warm_up_ms = 1000,
    .spread_ms = 1000,
    .death_ms = 4000,
    .death_at_once_ms = 2000,
    .touch_rounds = 7,
    .rounds = 5,
    .death_rounds = 3,
    .death_at_once_rounds = 3,
};

#define PUBLIC_ROUNDS 5

static const sizes quick = {
    .links = 100000,
    .cmpp_links = 20000,
    .touches = 500000,
    .pairs = 50000,
    .period_ms = 3000,
    .window_ms = 300,
    .warm_up_ms = 200,
    .spread_ms = 300,
    .death_ms = 600,
    .death_at_once_ms = 600,
    .touch_rounds = 5,
    .rounds = 3,
    .death_rounds = 1,
    .death_at_once_rounds = 1,
};

/* Which are run without being named: in each run, or in one that is public, or not. */
enum { IN_USUAL = 1, IN_PUBLIC = 2, IN_ALL = IN_USUAL | IN_PUBLIC };

static const struct {
    const char *name;
    void (*run)(void);
    int where;
} workloads[] = {
    { "w1", w1, IN_ALL },
    { "w1r", w1r, IN_ALL },
    { "w1mt", w1mt, IN_ALL },
    { "w2", w2, IN_ALL },
    { "w3", w3, IN_ALL },
    { "w4", w4, IN_USUAL },
    { "w4t", w4t, IN_PUBLIC },
    { "w5", w5, IN_ALL },
    { "wmany", wmany, IN_PUBLIC },
    { "wopen", wopen, IN_PUBLIC },
    { "wshards", wshards, IN_PUBLIC },
};

#define WORKLOADS (sizeof workloads / sizeof *workloads)

static void say_machine(void)
{
    char line[256], model[128] = "unknown";
    struct utsname kernel;
    int major = 0, minor = 0;
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "model name : %127[^\n]", model) == 1)
            break;
    if (file)
        fclose(file);
    uname(&kernel);
    sscanf(kernel.release, "%d.%d", &major, &minor);
    fact("machine: %ld cores, %s, %s %d.%d, glibc %s", sysconf(_SC_NPROCESSORS_ONLN), model, kernel.sysname, major,
        minor, gnu_get_libc_version());
}

static void say_version(const char *name, const char *version, const char *missing)
{
    if (version)
        fact("version: %s %s", name, version);
    else
        fact("version: %s is skipped, %s", name, missing);
}

int main(int count, char **words)
{
    int wanted[WORKLOADS] = { 0 }, named = 0, run = IN_USUAL;
    const char *file = getenv("W_TSV");
    for (int i = 1; i < count; i++) {
        size_t which = 0;
        while (which < WORKLOADS && strcmp(words[i], workloads[which].name) != 0)
            which++;
        if (which < WORKLOADS) {
            wanted[which] = 1;
            named = 1;
        } else if (strcmp(words[i], "quick") == 0) {
            size = quick;
        } else if (strcmp(words[i], "public") == 0) {
            size.death_rounds = size.death_at_once_rounds = PUBLIC_ROUNDS;
            run = IN_PUBLIC;
        } else if (strcmp(words[i], "--tsv") == 0 && i + 1 < count) {
            file = words[++i];
        } else {
            fprintf(stderr, "usage: w [quick | public] [--tsv FILE] [w1] [w1r] [w1mt] [w2] [w3] [w4] [w4t] [w5] "
                            "[wmany] [wopen] [wshards]\n");
            return 2;
        }
    }
    if (file && *file)
        tsv_open(file);
    printf("hbeat and its peers, on a machine that others may use, too: only ratios within this run mean anything.\n");
    print_load("before");
    say_machine();
    say_version("hbeat", hbeat_version(), "");
    say_version("libev", libev_version(), libev_again.skipped);
    say_version("libevent", libevent_version(), libevent_plain.skipped);
    say_version("libuv", libuv_version(), libuv.skipped);
    say_version("tokio-util", tokio_version(), tokio_delayqueue.skipped);
    for (size_t i = 0; i < WORKLOADS; i++)
        if (named ? wanted[i] : workloads[i].where & run)
            workloads[i].run();
    return 0;
}
