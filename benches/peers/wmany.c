/*
 wmany   ten million links, hbeat alone: what it takes to open them, to have them beat each minute, to hear from them,
         and the day all fall silent. Two engines, one after the other: of links that beat, and of links that are only
         heard from. Each figure is of one run, but the touches.
*/
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hb.h"

/* Times size.links. */
#define MANY 10
/* From beat to beat, by a grid: each comes up to a quarter of it early, and the first ones are spread over all of it. */
#define PERIOD_S 60u
/* How long beats are watched, once the first of them have come. */
#define WINDOW_S 30u
#define TOUCH_ROUNDS 5

/* Of a link, to be on the safe side. */
#define BYTES_NEEDED 400ull

static uint32_t many(void) { return MANY * size.links; }

static double seconds(uint64_t ns) { return (double)ns / 1e9; }

enum { OPENED_S, OPENED_CPU_S, BYTES, FIGURES };

/* Opens all, and says what that took. Keeps the ids of all, which do not count as memory here. */
static void open_many(hbeat_engine_options options, hbeat_policy policy, double *results)
{
    options.max_links = many();
    ids = touched_memory(many(), sizeof *ids);
    open_engine(options);
    uint64_t before = resident(), begun = clock_now(), cpu = cpu_now();
    open_links(many(), policy, NULL, 0);
    results[OPENED_S] = seconds(clock_now() - begun);
    results[OPENED_CPU_S] = seconds(cpu_now() - cpu);
    results[BYTES] = (double)(resident() - before) / many();
}

/* ---- Beating ---- */

static uint32_t beats;

static void take(void *data, const hbeat_event *event)
{
    size_t length = 0;
    uint64_t now = hbeat_now_ns();
    (void)data;
    if (hbeat_link_take(engine, event->link, NULL, now, NULL, 0, &length) == HBEAT_INFO_SEND)
        __atomic_fetch_add(&beats, 1, __ATOMIC_RELAXED);
    hbeat_link_received(engine, event->link, now);
}

enum { RATE = FIGURES, CPU_PERCENT, CPU_US, BEATING_BYTES, BAD, BEATING };

static void measure_beating(const void *none, double *results)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    (void)none;
    options.on_event = on_event;
    options.on_send = take;
    uint64_t before = resident();
    open_many(options, policy_of("normal interval=%us timeout=10s tries=3 strategy=periodic", PERIOD_S), results);
    sleep(PERIOD_S);
    uint32_t had = __atomic_load_n(&beats, __ATOMIC_RELAXED);
    uint64_t begun = clock_now(), cpu = cpu_now();
    sleep(WINDOW_S);
    double count = __atomic_load_n(&beats, __ATOMIC_RELAXED) - had, took = seconds(clock_now() - begun);
    double busy = seconds(cpu_now() - cpu);
    results[RATE] = count / took;
    results[CPU_PERCENT] = 100 * busy / took;
    results[CPU_US] = busy / count * 1e6;
    /* Without the ids, as above. */
    results[BEATING_BYTES] = (double)(resident() - before) / many() - sizeof *ids;
    results[BAD] = counted_bad;
}

/* ---- Silent ---- */

/* Long enough to touch all once more, as slow as this machine may be now. */
#define SILENCE_S 30u

static uint32_t downs, early;
static uint64_t last_touch, last_down;

static void count_down(void *data, const hbeat_event *event)
{
    (void)data;
    if (event->type != HBEAT_EVENT_DOWN)
        return;
    last_down = clock_now();
    early += event->last_received_ms < SILENCE_S * 1000;
    __atomic_fetch_add(&downs, 1, __ATOMIC_RELEASE);
}

enum { ONE_NS = FIGURES, BATCH_NS = ONE_NS + TOUCH_ROUNDS, DOWNS = BATCH_NS + TOUCH_ROUNDS };
enum { EARLY = DOWNS + 1, DRAINED_S, DOWN_CPU_S, SILENT };

static void touch_many(const hbeat_link *links, double *one_ns, double *batch_ns)
{
    uint64_t begun = clock_now(), now = begun;
    for (uint32_t i = 0; i < many(); i++) {
        if (i % CLOCK_EACH == 0)
            now = hbeat_now_ns();
        if (hbeat_link_received(engine, links[i], now) < 0)
            die("hbeat_link_received");
    }
    *one_ns = (double)(clock_now() - begun) / many();
    begun = clock_now();
    for (uint32_t i = 0; i < many(); i += CLOCK_EACH) {
        uint32_t count = many() - i < CLOCK_EACH ? many() - i : CLOCK_EACH;
        if (hbeat_links_received(engine, links + i, count, hbeat_now_ns()) < 0)
            die("hbeat_links_received");
    }
    last_touch = clock_now();
    *batch_ns = (double)(last_touch - begun) / many();
}

static void measure_silent(const void *none, double *results)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    (void)none;
    options.on_event = count_down;
    open_many(options, policy_of("interval=0s hold=%us tries=0", SILENCE_S), results);
    uint32_t *order = permutation(many());
    hbeat_link *links = memory(many(), sizeof *links);
    for (uint32_t i = 0; i < many(); i++)
        links[i] = ids[order[i]];
    for (int round = 0; round < TOUCH_ROUNDS; round++)
        touch_many(links, &results[ONE_NS + round], &results[BATCH_NS + round]);
    uint64_t cpu = cpu_now(), due = last_touch + SILENCE_S * SECOND;
    while (__atomic_load_n(&downs, __ATOMIC_ACQUIRE) < many() && clock_now() < due + 60 * SECOND)
        usleep(10000);
    results[DOWNS] = downs;
    results[EARLY] = early;
    results[DRAINED_S] = seconds(last_down) - seconds(due);
    results[DOWN_CPU_S] = seconds(cpu_now() - cpu);
}

/* ---- Tables ---- */

static void put(const char *name, const column *columns, const double *results)
{
    row(name);
    for (int at = 0; columns[at].name; at++)
        cell(results + at, 1);
    row_end();
}

void wmany(void)
{
    static const column beating[] = {
        { "opened in s", 12, 1 },
        { "CPU s", 8, 1 },
        { "bytes a link", 13, 0 },
        { "beats/s", 10, 0 },
        { "CPU %", 8, 1 },
        { "us CPU a beat", 14, 2 },
        { "bytes, beating", 15, 0 },
        { "bad", 4, 0 },
        { 0, 0, 0 },
    };
    static const column touched[] = {
        { "ns a touch", 22, 1 },
        { "ns, 64 at once", 22, 1 },
        { 0, 0, 0 },
    };
    static const column silent[] = {
        { "DOWN", 10, 0 },
        { "early", 6, 0 },
        { "last after s", 13, 2 },
        { "CPU s", 8, 1 },
        { 0, 0, 0 },
    };
    double results[BEATING], others[SILENT];
    if ((uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) < many() * BYTES_NEEDED) {
        row_skipped("wmany", "this machine has too little memory free");
        return;
    }
    apart(measure_beating, NULL, results, BEATING);
    apart(measure_silent, NULL, others, SILENT);
    table("wmany", beating, "%u links, a beat each %u s by a grid, jitter 25 %%, watched for %u s", many(), PERIOD_S,
        WINDOW_S);
    put("hbeat, with its counters", beating, results);
    table("wmany touched", touched, "%u links, each heard from once a round, in a random order, %d rounds", many(),
        TOUCH_ROUNDS);
    row("hbeat_link(s)_received");
    cell(others + ONE_NS, TOUCH_ROUNDS);
    cell(others + BATCH_NS, TOUCH_ROUNDS);
    row_end();
    table("wmany silent", silent, "%u links, all silent from one moment on, given up after %u s", many(), SILENCE_S);
    put("hbeat, on_event", silent, others + DOWNS);
    fact("wmany: bytes: resident, without the ids, which take 8 more");
    fact("wmany silent: last: after the last deadline; CPU: from the last touch on; early: before its time");
    print_load("after it");
}
