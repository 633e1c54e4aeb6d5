/*
 W3: ns a pair: one random armed session is removed and one is added; N stays. CPU time, as hbeat's part of the work is
 done by its own thread.
*/
#define _GNU_SOURCE
#include <errno.h>
#include <unistd.h>

#include "hb.h"
#include "peers.h"

/* What a round of pairs came to: results is the first of three columns of rounds. */
enum { CALLER, ENGINE, BOTH, COLUMNS };

static void put(double *results, int round, uint64_t caller, uint64_t others)
{
    if (round < 0)
        return;
    results[CALLER * ROUNDS_MOST + round] = (double)caller / size.pairs;
    results[ENGINE * ROUNDS_MOST + round] = (double)others / size.pairs;
    results[BOTH * ROUNDS_MOST + round] = (double)(caller + others) / size.pairs;
}

/* ---- hbeat ---- */

static uint32_t run;

/* Where the application turns the engine, it does so once for CLOCK_EACH pairs. */
static void turn_once(void)
{
    drive();
    pull(on_event, 0);
}

/* Until a slot is free: those of closed links rest for a second. What that costs is not counted. */
static uint64_t wait_a_little(void)
{
    uint64_t begun = thread_cpu_now();
    usleep(2000);
    if (run == HBEAT_RUN_APPLICATION)
        turn_once();
    return thread_cpu_now() - begun;
}

static void replace(hbeat_link *id, const hbeat_policy *policy, uint64_t *not_counted)
{
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_status status;
    errno = 0;
    if (hbeat_link_close(engine, *id) < 0)
        die("hbeat_link_close");
    while ((status = hbeat_link_open(engine, policy, &how, id)) == HBEAT_ERR_AGAIN || status == HBEAT_ERR_LIMIT)
        *not_counted += wait_a_little();
    if (status < 0)
        die("hbeat_link_open");
}

static void hbeat_pairs(double *results)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_policy policy = policy_of("normal interval=30s timeout=10s");
    options.run = run;
    /* No event of a link is asked for, CLOSED neither. */
    options.events = 1u << HBEAT_EVENT_ENGINE_FAILED;
    options.on_event = run == HBEAT_RUN_APPLICATION ? NULL : on_event;
    /* Room for those that rest. */
    options.max_links = size.links + size.pairs + 65536;
    ids = memory(size.links, sizeof *ids);
    open_engine(options);
    open_links(size.links, policy, NULL, 0);
    for (int round = -1; round < size.rounds; round++) {
        uint64_t not_counted = 0, process_begun = cpu_now(), begun = thread_cpu_now();
        for (uint32_t i = 0; i < size.pairs; i++) {
            replace(&ids[random_below(size.links)], &policy, &not_counted);
            if (run == HBEAT_RUN_APPLICATION && i % CLOCK_EACH == CLOCK_EACH - 1)
                turn_once();
        }
        uint64_t caller = thread_cpu_now() - begun;
        come_to_rest();
        uint64_t ours = thread_cpu_now() - begun, process = cpu_now() - process_begun;
        put(results, round, caller - not_counted, process > ours ? process - ours : 0);
    }
}

static void own_threads(const void *peer, double *results)
{
    (void)peer;
    run = HBEAT_RUN_THREADS;
    hbeat_pairs(results);
}

static void driven(const void *peer, double *results)
{
    (void)peer;
    run = HBEAT_RUN_APPLICATION;
    hbeat_pairs(results);
}

/* ---- The peers ---- */

static const timers *store;
static double *store_results;

static uint64_t nothing_due(uint32_t id)
{
    (void)id;
    return clock_now() + size.period_ms * MS;
}

static void store_rounds(void)
{
    for (int round = -1; round < size.rounds; round++) {
        uint64_t begun = thread_cpu_now();
        for (uint32_t i = 0; i < size.pairs; i++) {
            uint32_t id = random_below(size.links);
            if (i % CLOCK_EACH == 0)
                store->refresh();
            store->remove(id);
            store->arm(id, size.period_ms * MS);
        }
        put(store_results, round, thread_cpu_now() - begun, 0);
    }
}

static void peer_pairs(const void *peer, double *results)
{
    store = peer;
    store_results = results;
    store->make(size.links, size.period_ms, nothing_due);
    for (uint32_t i = 0; i < size.links; i++) {
        uint64_t period = size.period_ms * MS;
        if (i % CLOCK_EACH == 0)
            store->refresh();
        store->arm(i, store->one_duration ? period : period / 2 + period / 2 * i / size.links);
    }
    if (store->inside)
        store->inside(store_rounds);
    else
        store_rounds();
}

enum { OWN = 2, ROWS = OWN + PEERS };

void w3(void)
{
    static const column columns[] = {
        { "ns, caller", 26, 0 },
        { "ns, rest of the process", 26, 0 },
        { "ns, both", 26, 0 },
        { "both x heap", 24, 2 },
        { 0, 0, 0 },
    };
    static double results[ROWS][COLUMNS * ROUNDS_MOST];
    const double *heap = NULL;
    apart(own_threads, NULL, results[0], COLUMNS * ROUNDS_MOST);
    apart(driven, NULL, results[1], COLUMNS * ROUNDS_MOST);
    for (int i = 0; i < PEERS; i++) {
        if (!peers[i]->skipped)
            apart(peer_pairs, peers[i], results[OWN + i], COLUMNS * ROUNDS_MOST);
        if (peers[i] == &plain_heap)
            heap = results[OWN + i] + BOTH * ROUNDS_MOST;
    }
    table("W3", columns, "CPU time of one removed and one added, %u sessions, %d rounds of %u pairs", size.links,
        size.rounds, size.pairs);
    for (int i = 0; i < ROWS; i++) {
        static const char *const names[OWN] = { "hbeat, close and open", "hbeat, driven" };
        const timers *peer = i < OWN ? NULL : peers[i - OWN];
        const double *mine = results[i];
        if (peer && peer->skipped) {
            row_skipped(peer->name, peer->skipped);
            continue;
        }
        row(peer ? peer->name : names[i]);
        cell(mine + CALLER * ROUNDS_MOST, size.rounds);
        if (i == 0)
            cell(mine + ENGINE * ROUNDS_MOST, size.rounds);
        else
            cell_none();
        cell(mine + BOTH * ROUNDS_MOST, size.rounds);
        cell_ratios(mine + BOTH * ROUNDS_MOST, heap, size.rounds);
        row_end();
    }
    fact("W3: a slot of a closed link of hbeat's rests for a second; waiting for one is not counted");
    print_load("after it");
}
