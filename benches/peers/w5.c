/*
 W5   N sessions are touched for the last time within a second, and die a while later, within a second again.
 W5b  the same, touched as fast as the peer can: they die at once.

 When the last one is given up, lateness, CPU.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hb.h"
#include "peers.h"

enum { DRAIN, P50, P99, MOST, CPU, TOUCHED, LOST, TWICE, EARLY, RESULTS };

/* Over so much time all are touched for the last time; 0: as fast as the peer can. */
static uint64_t spread_ns;
/* So long after its last touch a session dies. */
static uint32_t death_ms;

static uint32_t *order;
static uint64_t *dues;
static uint8_t *deaths;
static double *late_ms;
static uint32_t dead, twice, early;
static uint64_t last_due, last_death, cpu_begun, touched_in;

/* Session i was given up. */
static void died(uint32_t i)
{
    last_death = clock_now();
    int64_t late = (int64_t)(last_death - dues[i]);
    early += late < 0;
    if (deaths[i]++) {
        twice++;
        return;
    }
    late_ms[dead] = (double)late / 1e6;
    __atomic_store_n(&dead, dead + 1, __ATOMIC_RELEASE);
}

static int all_dead(void) { return __atomic_load_n(&dead, __ATOMIC_ACQUIRE) == size.links; }

static void prepare(void)
{
    order = permutation(size.links);
    dues = touched_memory(size.links, sizeof *dues);
    deaths = touched_memory(size.links, sizeof *deaths);
    late_ms = touched_memory(size.links, sizeof *late_ms);
}

/* Touches each session once, in random order; from then on all are silent. */
static void touch_all(void (*refresh)(void), void (*touch)(uint32_t id))
{
    uint64_t begun = clock_now(), now = begun;
    for (uint32_t i = 0; i < size.links; i++) {
        uint64_t at = begun + spread_ns * i / size.links;
        int read = i % CLOCK_EACH == 0 || now < at;
        if (read)
            now = clock_now();
        while (now < at) {
            sleep_until(at + MS);
            now = clock_now();
        }
        if (read)
            refresh();
        dues[order[i]] = last_due = now + death_ms * MS;
        touch(order[i]);
    }
    touched_in = clock_now() - begun;
    cpu_begun = cpu_now();
}

/* The others are lost by then. */
static int time_is_up(void) { return clock_now() > last_due + 10 * SECOND; }

static void conclude(double *results)
{
    results[CPU] = (double)(cpu_now() - cpu_begun) / 1e6;
    usleep(100000); /* for those that come twice */
    qsort(late_ms, dead, sizeof *late_ms, ascending);
    if (dead > 0) {
        results[P50] = late_ms[dead / 2];
        results[P99] = late_ms[(uint64_t)dead * 99 / 100];
        results[MOST] = late_ms[dead - 1];
    }
    results[DRAIN] = (double)(int64_t)(last_death - last_due) / 1e6;
    results[TOUCHED] = (double)touched_in / 1e6;
    results[LOST] = size.links - dead;
    results[TWICE] = twice;
    results[EARLY] = early;
}

/* ---- hbeat: silence alone is the verdict ---- */

static uint64_t hbeat_time;

static void hbeat_refresh(void) { hbeat_time = hbeat_now_ns(); }

static void hbeat_touch(uint32_t id)
{
    if (hbeat_link_received(engine, ids[id], hbeat_time) < 0)
        die("hbeat_link_received");
}

static void on_death(void *data, const hbeat_event *event)
{
    (void)data;
    if (event->type == HBEAT_EVENT_DOWN)
        died((uint32_t)(uintptr_t)event->link_data);
}

/* So that none dies before its last touch, as slow as this machine may be now. */
static void keep_alive(void)
{
    hbeat_refresh();
    for (uint32_t i = 0; i < size.links; i++)
        hbeat_touch(i);
}

static void begin_hbeat(uint32_t run, hbeat_event_callback callback)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.run = run;
    options.on_event = callback;
    prepare();
    ids = memory(size.links, sizeof *ids);
    open_engine(options);
    open_links(size.links, policy_of("interval=0s hold=%ums tries=0", death_ms), NULL, 1);
    for (uint32_t i = 0; i < size.links; i++)
        if (hbeat_link_start(engine, ids[i], 0) < 0)
            die("hbeat_link_start");
    keep_alive();
    come_to_rest();
    keep_alive();
    touch_all(hbeat_refresh, hbeat_touch);
}

static void called(const void *none, double *results)
{
    (void)none;
    begin_hbeat(HBEAT_RUN_THREADS, on_death);
    while (!all_dead() && !time_is_up())
        usleep(1000);
    conclude(results);
}

static void pulled(const void *none, double *results)
{
    (void)none;
    begin_hbeat(HBEAT_RUN_THREADS, NULL);
    while (!all_dead() && !time_is_up())
        pull(on_death, 100);
    conclude(results);
}

static void driven(const void *none, double *results)
{
    (void)none;
    begin_hbeat(HBEAT_RUN_APPLICATION, NULL);
    while (!all_dead() && !time_is_up()) {
        drive();
        pull(on_death, 0);
        sleep_to_next_turn(1);
    }
    conclude(results);
}

/* ---- The peers ---- */

static const timers *store;

static uint64_t store_due(uint32_t id)
{
    died(id);
    return 0;
}

static void touch_store(void) { touch_all(store->refresh, store->touch); }

static void peer_deaths(const void *peer, double *results)
{
    store = peer;
    prepare();
    store->make(size.links, death_ms, store_due);
    for (uint32_t i = 0; i < size.links; i++) {
        if (i % CLOCK_EACH == 0)
            store->refresh();
        store->arm(i, death_ms * MS);
    }
    if (store->inside)
        store->inside(touch_store);
    else
        touch_store();
    while (!all_dead() && !time_is_up()) {
        store->turn();
        sleep_to_next_turn(1);
    }
    conclude(results);
}

enum { OWN = 3, ROWS = OWN + PEERS };

static void deaths_of(const char *name, const char *within, int most)
{
    struct {
        const char *name;
        void (*measure)(const void *peer, double *results);
        const timers *peer;
    } rows[ROWS] = {
        { "hbeat, on_event", called, NULL },
        { "hbeat, pulled 1024 at once", pulled, NULL },
        { "hbeat, driven, pulled", driven, NULL },
    };
    static const column columns[] = {
        { "drained after ms", 24, 1 },
        { "late p50 ms", 24, 1 },
        { "late p99 ms", 24, 1 },
        { "late most ms", 24, 1 },
        { "CPU ms", 20, 0 },
        { "CPU x heap", 20, 2 },
        { "touched in ms", 20, 0 },
        { "lost", 5, 0 },
        { "double", 6, 0 },
        { "early", 6, 0 },
        { 0, 0, 0 },
    };
    static double all[ROWS][RESULTS][ROUNDS_MOST];
    int rounds[ROWS], heap = -1;
    for (int i = 0; i < PEERS; i++) {
        rows[OWN + i].name = peers[i]->name;
        rows[OWN + i].measure = peer_deaths;
        rows[OWN + i].peer = peers[i];
        if (peers[i] == &plain_heap)
            heap = OWN + i;
    }
    for (int i = 0; i < ROWS; i++) {
        int slow = rows[i].peer && rows[i].peer->slow;
        rounds[i] = slow && most > size.death_at_once_rounds ? size.death_at_once_rounds : most;
    }
    for (int round = 0; round < most; round++)
        for (int i = 0; i < ROWS; i++) {
            double one[RESULTS] = { 0 };
            if ((rows[i].peer && rows[i].peer->skipped) || round >= rounds[i])
                continue;
            apart(rows[i].measure, rows[i].peer, one, RESULTS);
            for (int j = 0; j < RESULTS; j++)
                all[i][j][round] = one[j];
        }
    table(name, columns, "%u sessions die %u ms after their last touch, all touched within %s, %d rounds", size.links,
        death_ms, within, most);
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].peer && rows[i].peer->skipped) {
            row_skipped(rows[i].name, rows[i].peer->skipped);
            continue;
        }
        row(rows[i].name);
        for (int j = DRAIN; j <= CPU; j++)
            cell(all[i][j], rounds[i]);
        cell_ratios(all[i][CPU], all[heap][CPU], rounds[i]);
        cell(all[i][TOUCHED], rounds[i]);
        for (int j = LOST; j < RESULTS; j++) {
            double sum = 0;
            for (int round = 0; round < rounds[i]; round++)
                sum += all[i][j][round];
            cell(&sum, 1);
        }
        row_end();
    }
    if (most > size.death_at_once_rounds)
        fact("%s: libevent (evtimer_add) and libuv: %d rounds", name, size.death_at_once_rounds);
    fact("%s: drained: the last one, after the last deadline; CPU: of the process, from the last touch on", name);
}

void w5(void)
{
    char within[32];
    snprintf(within, sizeof within, "%.1f s", size.spread_ms / 1e3);
    spread_ns = size.spread_ms * MS;
    death_ms = size.death_ms;
    deaths_of("W5", within, size.death_rounds);
    spread_ns = 0;
    death_ms = size.death_at_once_ms;
    deaths_of("W5b", "as little time as the peer needs", size.death_at_once_rounds);
    print_load("after it");
}
