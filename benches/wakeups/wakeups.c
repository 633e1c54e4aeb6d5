/*
 How often hbeat's threads wake up (R44): with no link, one, a thousand and a million, whose peers all answer. Each beats
 every 9 s, as the policy "normal" has it.

   wakeups [SECONDS]

 Counted are the voluntary context switches of each thread, as /proc/self/task has them, a minute. All engines run at the
 same time, each in a process of its own: how often a thread wakes does not depend on how fast it is.
*/
#define _GNU_SOURCE
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hbeat.h"

/* By then all links have beaten once. */
#define WARM_UP 12
#define MINUTE 60.0

static hbeat_engine *engine;
static unsigned seconds = 60;

static void die(const char *what)
{
    fprintf(stderr, "wakeups: %s: %s\n", what, hbeat_last_error());
    exit(2);
}

static void on_event(void *data, const hbeat_event *event)
{
    (void)data;
    if (event->type == HBEAT_EVENT_DOWN)
        fprintf(stderr, "wakeups: a link is DOWN: this machine is too busy\n");
}

static void on_send(void *data, const hbeat_event *event)
{
    size_t length = 0;
    (void)data;
    hbeat_link_take(engine, event->link, NULL, 0, NULL, 0, &length);
    hbeat_link_received(engine, event->link, 0);
}

/* Voluntary switches of the threads whose name begins so. */
static double switches(const char *name)
{
    DIR *tasks = opendir("/proc/self/task");
    double sum = 0;
    if (!tasks)
        die("/proc/self/task");
    for (struct dirent *task; (task = readdir(tasks));) {
        char path[300], line[200], comm[64] = "";
        unsigned long count;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *file = fopen(path, "r");
        if (!file)
            continue;
        while (fgets(line, sizeof line, file)) {
            sscanf(line, "Name: %63s", comm);
            if (sscanf(line, "voluntary_ctxt_switches: %lu", &count) == 1 && strncmp(comm, name, strlen(name)) == 0)
                sum += (double)count;
        }
        fclose(file);
    }
    closedir(tasks);
    return sum;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void measure(uint32_t links, uint32_t tick_ms)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy;
    options.on_event = on_event;
    options.on_send = on_send;
    options.tick_ms = tick_ms;
    if (hbeat_engine_new(&options, &engine) < 0 || hbeat_policy_parse(&policy, sizeof policy, "normal") < 0)
        die("the engine");
    for (uint32_t i = 0; i < links; i++) {
        hbeat_link link;
        hbeat_status status;
        while ((status = hbeat_link_open(engine, &policy, &how, &link)) == HBEAT_ERR_AGAIN)
            usleep(500);
        if (status < 0)
            die("hbeat_link_open");
    }
    sleep(WARM_UP);
    double shard = switches("hbeat-s0"), sends = switches("hbeat-send"), events = switches("hbeat-ev"), cpu = cpu_seconds();
    sleep(seconds);
    double scale = MINUTE / seconds;
    printf("%9u %8u %14.0f %14.0f %14.0f %12.2f\n", links, tick_ms, (switches("hbeat-s0") - shard) * scale,
        (switches("hbeat-send") - sends) * scale, (switches("hbeat-ev") - events) * scale,
        (cpu_seconds() - cpu) / seconds * 100);
    fflush(stdout);
    _exit(0);
}

int main(int count, char **words)
{
    static const uint32_t links[] = { 0, 1, 1000, 1000000 }, ticks[] = { 1, 100 };
    int failed = 0, status;
    if (count > 1)
        seconds = (unsigned)strtoul(words[1], NULL, 10);
    if (count > 2 || seconds == 0) {
        fprintf(stderr, "usage: wakeups [SECONDS]\n");
        return 2;
    }
    printf("Wake-ups a minute, counted over %u s\n%9s %8s %14s %14s %14s %12s\n", seconds, "links", "tick, ms", "the shard",
        "sends", "events", "CPU, %");
    fflush(stdout);
    for (size_t tick = 0; tick < 2; tick++)
        for (size_t row = 0; row < sizeof links / sizeof *links; row++)
            if (fork() == 0)
                measure(links[row], ticks[tick]);
    while (wait(&status) > 0)
        failed |= status != 0;
    return failed;
}
