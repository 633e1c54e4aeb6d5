/*
 wopen         N links opened from 1, 2 and 4 threads into an engine of 1 and of 2 shards: what an open costs, how often
               the engine asks to come again, and when all are started.
 wopen phases  all are opened at one moment, and a quarter of the period is jitter: how evenly the first beats spread.
               By the manual clock: it is about when beats are due, not about how quickly they are told. So it comes to
               the same in each run, and there is one round.
*/
#include <string.h>
#include <unistd.h>

#include "hb.h"

typedef struct setup {
    int threads;
    uint32_t shards;
} setup;

static hbeat_policy policy;
static uint32_t agains;

/* Opens a thread's share, and comes again where the engine asks for it. */
static void open_share(int i, void *data)
{
    const setup *how = data;
    uint32_t share = size.links / (uint32_t)how->threads, mine = 0;
    for (uint32_t at = share * (uint32_t)i; at < share * (uint32_t)(i + 1); at++) {
        hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
        hbeat_status status;
        while ((status = hbeat_link_open(engine, &policy, &options, &ids[at])) == HBEAT_ERR_AGAIN) {
            mine++;
            usleep(500);
        }
        if (status < 0)
            die("hbeat_link_open");
    }
    __atomic_fetch_add(&agains, mine, __ATOMIC_RELAXED);
}

static hbeat_engine_options options_of(uint32_t shards)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.threads = shards;
    options.on_event = on_event;
    ids = touched_memory(size.links, sizeof *ids);
    return options;
}

enum { WALL, CPU, AGAINS, STARTED, COLUMNS };

static void measure_opens(const void *who, double *results)
{
    setup how = *(const setup *)who;
    open_engine(options_of(how.shards));
    policy = policy_of("normal interval=600s timeout=600s");
    uint64_t begun = clock_now(), cpu = cpu_now();
    results[WALL] = (double)side_by_side(how.threads, open_share, &how) / size.links;
    come_to_rest();
    results[STARTED] = (double)(clock_now() - begun) / 1e6;
    results[CPU] = (double)(cpu_now() - cpu) / size.links;
    results[AGAINS] = agains;
}

/* ---- How first beats spread ---- */

#define PERIOD_MS 8000u
#define SLOT_MS 10u
/* A beat comes up to a quarter of the period before its time. */
#define SLOTS (PERIOD_MS / 4 / SLOT_MS)
#define START_NS SECOND

static uint32_t beats[SLOTS], outside;

static void count_beat(void *data, const hbeat_event *event)
{
    uint64_t after_ms = (event->at_ns - START_NS) / MS, first_ms = PERIOD_MS - PERIOD_MS / 4;
    (void)data;
    /* A beat is due at the end of its millisecond, and so is one that has no jitter at all. */
    if (after_ms <= first_ms || after_ms > PERIOD_MS)
        outside++;
    else
        beats[(after_ms - first_ms - 1) / SLOT_MS]++;
}

enum { BUSIEST, CALMEST, OUTSIDE, SPREAD_COLUMNS };

static void measure_spread(const void *who, double *results)
{
    setup how = *(const setup *)who;
    uint32_t most = 0, least = UINT32_MAX;
    hbeat_engine_options options = options_of(how.shards);
    options.clock = HBEAT_CLOCK_MANUAL;
    options.start_ns = START_NS;
    options.on_send = count_beat;
    open_engine(options);
    policy = policy_of("normal interval=%ums timeout=60s jitter=25%%", PERIOD_MS);
    side_by_side(how.threads, open_share, &how);
    come_to_rest();
    if (hbeat_engine_advance(engine, START_NS + PERIOD_MS * MS) < 0)
        die("hbeat_engine_advance");
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        most = beats[slot] > most ? beats[slot] : most;
        least = beats[slot] < least ? beats[slot] : least;
    }
    results[BUSIEST] = (double)most * SLOTS / size.links;
    results[CALMEST] = (double)least * SLOTS / size.links;
    results[OUTSIDE] = outside;
}

/* ---- Tables ---- */

static const struct {
    const char *name;
    setup how;
} rows[] = {
    { "hbeat, 1 thread into 1 shard", { 1, 1 } },
    { "hbeat, 2 threads into 1 shard", { 2, 1 } },
    { "hbeat, 4 threads into 1 shard", { 4, 1 } },
    { "hbeat, 1 thread into 2 shards", { 1, 2 } },
    { "hbeat, 2 threads into 2 shards", { 2, 2 } },
    { "hbeat, 4 threads into 2 shards", { 4, 2 } },
};

#define ROWS (sizeof rows / sizeof *rows)
#define COLUMNS_MOST 4

/* Those with so many threads (0: all) in turn, round after round, each in a process of its own. */
static void fill(const column *columns, void (*measure)(const void *how, double *results), int threads, int rounds)
{
    static double results[ROWS][COLUMNS_MOST][ROUNDS_MOST];
    int count = 0;
    while (columns[count].name)
        count++;
    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < ROWS; i++) {
            double one[COLUMNS_MOST];
            if (threads && rows[i].how.threads != threads)
                continue;
            apart(measure, &rows[i].how, one, count);
            for (int at = 0; at < count; at++)
                results[i][at][round] = one[at];
        }
    for (size_t i = 0; i < ROWS; i++) {
        if (threads && rows[i].how.threads != threads)
            continue;
        row(rows[i].name);
        for (int at = 0; at < count; at++)
            cell(results[i][at], rounds);
        row_end();
    }
}

void wopen(void)
{
    static const column opens[] = {
        { "wall ns an open", 26, 0 },
        { "CPU ns an open", 26, 0 },
        { "came again", 20, 0 },
        { "all started after ms", 26, 0 },
        { 0, 0, 0 },
    };
    static const column spread[] = {
        { "busiest 10 ms x mean", 22, 3 },
        { "calmest 10 ms x mean", 22, 3 },
        { "outside", 10, 0 },
        { 0, 0, 0 },
    };
    table("wopen", opens, "%u links, opened as fast as the threads can, %d rounds", size.links, size.rounds);
    fill(opens, measure_opens, 0, size.rounds);
    fact("wopen: CPU: of the process, until all are started");
    fact("wopen: came again: after half a millisecond, since open_queue was full");
    table("wopen phases", spread, "first beats of %u links opened at one moment, a beat each %u s, jitter 25 %%",
        size.links, PERIOD_MS / 1000);
    fill(spread, measure_spread, 2, 1);
    fact("wopen phases: outside: of the quarter of the period that jitter may take");
    print_load("after it");
}
