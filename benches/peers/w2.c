/* W2: bytes of resident memory an idle armed session, the id that the program keeps included. */
#include <malloc.h>

#include "hb.h"
#include "peers.h"

typedef struct memory_row {
    const char *name;
    void (*measure)(const void *peer, double *results);
    const timers *peer;
} memory_row;

static void floor_memory(const void *peer, double *results)
{
    uint64_t before = resident();
    (void)peer;
    uint64_t *stamps = touched_memory(size.links, sizeof *stamps);
    uint32_t *next = touched_memory(size.links, sizeof *next);
    (void)stamps, (void)next;
    results[0] = (double)(resident() - before) / size.links;
}

static uint64_t nothing_due(uint32_t id)
{
    (void)id;
    return 0;
}

static void peer_memory(const void *who, double *results)
{
    const timers *peer = who;
    uint64_t before = resident();
    peer->make(size.links, size.period_ms, nothing_due);
    for (uint32_t i = 0; i < size.links; i++) {
        if (i % CLOCK_EACH == 0)
            peer->refresh();
        peer->arm(i, (peer->one_duration ? size.period_ms : random_below(size.period_ms)) * MS);
    }
    results[0] = (double)(resident() - before) / size.links;
}

static void hbeat_memory(double *results, uint32_t count, const char *policy, const char *protocol)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.on_event = on_event;
    open_engine(options);
    uint64_t before = resident();
    ids = touched_memory(count, sizeof *ids);
    open_links(count, policy_of("%s", policy), protocol, 0);
    results[0] = (double)(resident() - before) / count;
    malloc_trim(0);
    results[1] = (double)(resident() - before) / count;
}

static void plain_memory(const void *peer, double *results)
{
    (void)peer;
    hbeat_memory(results, size.links, "normal interval=180s timeout=60s tries=3 jitter=0%", NULL);
}

static void cmpp_memory(const void *peer, double *results)
{
    (void)peer;
    hbeat_memory(results, size.cmpp_links, "cmpp", "cmpp");
}

enum { OWN = 3, ROWS = OWN + PEERS };

void w2(void)
{
    static const column columns[] = {
        { "bytes a session", 26, 1 },
        { "x floor", 24, 2 },
        { "bytes after malloc_trim", 26, 1 },
        { 0, 0, 0 },
    };
    memory_row rows[ROWS] = {
        { "floor: time and next", floor_memory, NULL },
        { "hbeat, plain link and its id", plain_memory, NULL },
        { "hbeat, cmpp link and its id", cmpp_memory, NULL },
    };
    double bytes[ROWS][ROUNDS_MOST], trimmed[ROWS][ROUNDS_MOST];
    for (int i = 0; i < PEERS; i++)
        rows[OWN + i] = (memory_row) { peers[i]->name, peer_memory, peers[i] };
    for (int round = 0; round < size.rounds; round++)
        for (int i = 0; i < ROWS; i++) {
            double both[2] = { 0, 0 };
            if (rows[i].peer && rows[i].peer->skipped)
                continue;
            apart(rows[i].measure, rows[i].peer, both, 2);
            bytes[i][round] = both[0];
            trimmed[i][round] = both[1];
        }
    table("W2", columns, "resident memory of an idle session, %u sessions (cmpp: %u), %d rounds", size.links,
        size.cmpp_links, size.rounds);
    for (int i = 0; i < ROWS; i++) {
        if (rows[i].peer && rows[i].peer->skipped) {
            row_skipped(rows[i].name, rows[i].peer->skipped);
            continue;
        }
        row(rows[i].name);
        cell(bytes[i], size.rounds);
        cell_ratios(bytes[i], bytes[0], size.rounds);
        if (trimmed[i][0] > 0)
            cell(trimmed[i], size.rounds);
        else
            cell_none();
        row_end();
    }
    print_load("after it");
}
