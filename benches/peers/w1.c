/*
 W1    ns a touch ("a packet arrived") of N armed sessions, in the order of a random permutation, round after round.
       This is the order of periodic senders: the session touched is always the one with the oldest deadline.
 W1r   the same, but each touch is of an independent random session.
 W1mt  the same as W1 by two threads on a core each, each with its own half of the sessions.
*/
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hb.h"
#include "peers.h"

/* Nothing comes due while this lasts. What a touch costs does not depend on it. */
#define PERIOD_MS 600000u
#define HBEAT_POLICY "normal interval=600s timeout=600s"

static uint64_t *stamps;
static uint32_t *order;
/* The ids in the order of the touches: a program has its connection at hand, and the id in it. */
static hbeat_link *ids_in_order;

static uint64_t nothing_due(uint32_t id)
{
    (void)id;
    return clock_now() + PERIOD_MS * MS;
}

/* ---- The floor: what no store can do without ---- */

static __thread uint64_t floor_now;

static void floor_refresh(void) { floor_now = clock_now(); }

static void floor_none(void) { }

static void floor_touch(uint32_t id) { __atomic_store_n(&stamps[id], floor_now, __ATOMIC_RELAXED); }

static void floor_touch_clock(uint32_t id) { __atomic_store_n(&stamps[id], clock_now(), __ATOMIC_RELAXED); }

/* Early by up to a tick of the kernel: no product may. */
static void floor_touch_coarse(uint32_t id)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
    __atomic_store_n(&stamps[id], (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec, __ATOMIC_RELAXED);
}

static void walk_floor(walk *way) { walk_each(way, floor_refresh, floor_touch); }

static void walk_floor_clock(walk *way) { walk_each(way, floor_none, floor_touch_clock); }

static void walk_floor_coarse(walk *way) { walk_each(way, floor_none, floor_touch_coarse); }

/* ---- hbeat: the ids lie as the order does ---- */

static void walk_hbeat(walk *way)
{
    const hbeat_link *links = ids_in_order + (way->order - order);
    uint64_t now = 0;
    uint32_t at = way->at;
    for (uint32_t i = 0; i < way->count; i++) {
        if (i % CLOCK_EACH == 0)
            now = hbeat_now_ns();
        if (hbeat_link_received(engine, links[at], now) < 0)
            die("hbeat_link_received");
        at = at + 1 == way->length ? 0 : at + 1;
    }
    way->at = at;
}

static void walk_hbeat_clock(walk *way)
{
    const hbeat_link *links = ids_in_order + (way->order - order);
    uint32_t at = way->at;
    for (uint32_t i = 0; i < way->count; i++) {
        if (hbeat_link_received(engine, links[at], 0) < 0)
            die("hbeat_link_received");
        at = at + 1 == way->length ? 0 : at + 1;
    }
    way->at = at;
}

/* As many at once as share a reading of the clock elsewhere. */
static void walk_hbeat_many(walk *way)
{
    const hbeat_link *links = ids_in_order + (way->order - order);
    uint32_t at = way->at, count;
    for (uint32_t left = way->count; left > 0; left -= count, at = at + count == way->length ? 0 : at + count) {
        count = left < CLOCK_EACH ? left : CLOCK_EACH;
        if (count > way->length - at)
            count = way->length - at;
        if (hbeat_links_received(engine, links + at, count, hbeat_now_ns()) < 0)
            die("hbeat_links_received");
    }
    way->at = at;
}

static void open_hbeat(void)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.on_event = on_event;
    ids = memory(size.links, sizeof *ids);
    open_engine(options);
    open_links(size.links, policy_of(HBEAT_POLICY), NULL, 0);
}

static void order_ids(uint32_t length)
{
    if (!ids_in_order)
        ids_in_order = memory(length, sizeof *ids_in_order);
    for (uint32_t i = 0; i < length; i++)
        ids_in_order[i] = ids[order[i]];
}

/*
 Deadlines lie in the second half of a period, in the order of the ids: a program opens its connections in one order, and
 hears from them in another.
*/
static void arm_all(const timers *peer)
{
    peer->make(size.links, PERIOD_MS, nothing_due);
    for (uint32_t i = 0; i < size.links; i++) {
        if (i % CLOCK_EACH == 0)
            peer->refresh();
        peer->arm(i, PERIOD_MS * MS / 2 + PERIOD_MS * MS / 2 * i / size.links);
    }
}

/* ---- W1, W1r ---- */

enum { FLOOR, FLOOR_CLOCK, FLOOR_COARSE, HBEAT, HBEAT_MANY, HBEAT_CLOCK, OWN };
#define TOUCHERS (OWN + PEERS)

static const struct {
    const char *name;
    void (*walk)(walk *way);
} own[OWN] = {
    { "floor: store to u64[N]", walk_floor },
    { "floor, clock at each touch", walk_floor_clock },
    { "floor, coarse clock at each touch", walk_floor_coarse },
    { "hbeat_link_received, caller's time", walk_hbeat },
    { "hbeat_links_received, 64 at once", walk_hbeat_many },
    { "hbeat_link_received, now_ns = 0", walk_hbeat_clock },
};

static void (*body_walk)(walk *way);
static walk *body_way;
static uint64_t body_took;

static void timed_body(void)
{
    uint64_t begun = clock_now();
    body_walk(body_way);
    body_took = clock_now() - begun;
}

static double ns_each(const timers *peer, void (*touch)(walk *way), walk *way)
{
    body_walk = touch;
    body_way = way;
    if (peer && peer->inside)
        peer->inside(timed_body);
    else
        timed_body();
    return (double)body_took / way->count;
}

/* who: NULL for W1, else W1r. All are in one process and take turns, round after round. */
static void measure_touches(const void *who, double *results)
{
    int random = who != NULL;
    uint32_t *first = permutation(size.links), length = random ? size.touches : size.links;
    walk ways[TOUCHERS];
    order = random ? memory(length, sizeof *order) : first;
    stamps = touched_memory(size.links, sizeof *stamps);
    open_hbeat();
    for (int i = 0; i < PEERS; i++)
        if (!peers[i]->skipped)
            arm_all(peers[i]);
    for (int i = 0; i < TOUCHERS; i++)
        ways[i] = (walk) { order, length, 0, 0 };
    for (int round = -1; round < size.touch_rounds; round++) {
        for (uint32_t i = 0; random && i < length; i++)
            order[i] = random_below(size.links);
        if (random || round < 0)
            order_ids(length);
        for (int i = 0; i < TOUCHERS; i++) {
            const timers *peer = i < OWN ? NULL : peers[i - OWN];
            if (peer && peer->skipped)
                continue;
            ways[i].count = size.touches / (peer && peer->slow ? 10 : 1);
            /* The warm-up gets as far as each session, or the oldest deadline would not be the one that is touched. */
            if (round < 0 && ways[i].count < size.links)
                ways[i].count = size.links;
            double ns = ns_each(peer, peer ? peer->walk : own[i].walk, &ways[i]);
            if (round >= 0)
                results[i * ROUNDS_MOST + round] = ns;
        }
    }
}

static void touches(const char *name, const char *what, int random)
{
    static const column columns[] = {
        { "ns a touch", 26, 1 },
        { "x floor", 24, 2 },
        { "x libev lazy", 24, 2 },
        { 0, 0, 0 },
    };
    static double results[TOUCHERS * ROUNDS_MOST];
    int rounds = size.touch_rounds;
    apart(measure_touches, random ? name : NULL, results, TOUCHERS * ROUNDS_MOST);
    table(name, columns, "%u sessions, %s, %d rounds of %u touches, %u of libevent (evtimer_add) and libuv", size.links,
        what, rounds, size.touches, size.touches / 10);
    for (int i = 0; i < TOUCHERS; i++) {
        const double *mine = results + i * ROUNDS_MOST, *lazy = NULL;
        int reads = i == FLOOR_CLOCK || i == FLOOR_COARSE || i == HBEAT_CLOCK;
        const timers *peer = i < OWN ? NULL : peers[i - OWN];
        for (int j = 0; j < PEERS; j++)
            if (peers[j] == &libev_lazy && !libev_lazy.skipped)
                lazy = results + (OWN + j) * ROUNDS_MOST;
        if (peer && peer->skipped) {
            row_skipped(peer->name, peer->skipped);
            continue;
        }
        row(peer ? peer->name : own[i].name);
        cell(mine, rounds);
        cell_ratios(mine, results + ROUNDS_MOST * (reads ? FLOOR_CLOCK : FLOOR), rounds);
        cell_ratios(mine, lazy, rounds);
        row_end();
    }
    fact("%s: those that read the clock at each touch: x the floor that does, too", name);
    print_load("after it");
}

void w1(void) { touches("W1", "touched in the order of a random permutation", 0); }

void w1r(void) { touches("W1r", "each touch of a random one", 1); }

/* ---- W1mt ---- */

/* What one thread does: its part of the way. */
typedef struct part {
    walk way;
    void (*touch)(walk *way);
} part;

static const timers *locked;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int turning;

static void walk_locked(walk *way)
{
    uint32_t at = way->at;
    for (uint32_t i = 0; i < way->count; i++) {
        pthread_mutex_lock(&lock);
        if (i % CLOCK_EACH == 0)
            locked->refresh();
        locked->touch(way->order[at]);
        pthread_mutex_unlock(&lock);
        at = at + 1 == way->length ? 0 : at + 1;
    }
    way->at = at;
}

/* The thread that runs the timers. */
static void *turn_on(void *data)
{
    const timers *peer = data;
    while (__atomic_load_n(&turning, __ATOMIC_RELAXED)) {
        if (!peer->walk_unlocked)
            pthread_mutex_lock(&lock);
        peer->turn();
        if (!peer->walk_unlocked)
            pthread_mutex_unlock(&lock);
        sleep_to_next_turn(1);
    }
    return NULL;
}

static void walk_part(int i, void *data)
{
    part *mine = (part *)data + i;
    mine->touch(&mine->way);
}

/* ns of wall time a touch, over the touches of all threads. */
static double by_threads(int count, void (*touch)(walk *way), uint32_t all)
{
    part parts[2];
    uint32_t length = size.links / (uint32_t)count, each = all / (uint32_t)count;
    for (int i = 0; i < count; i++)
        parts[i] = (part) { { order + length * (uint32_t)i, length, each, 0 }, touch };
    return (double)side_by_side(count, walk_part, parts) / (each * (uint32_t)count);
}

enum { MT_FLOOR, MT_HBEAT, MT_MANY, MT_LAZY, MT_HEAP, MT_AGAIN, MT_TOKIO, MT_ROWS };

static const struct {
    const char *name;
    void (*walk)(walk *way);
    const timers *peer;
} mt_rows[MT_ROWS] = {
    { "floor: store to u64[N]", walk_floor, NULL },
    { "hbeat_link_received, caller's time", walk_hbeat, NULL },
    { "hbeat_links_received, 64 at once", walk_hbeat_many, NULL },
    { "libev lazy, without a lock", NULL, &libev_lazy },
    { "heap, with a mutex", NULL, &plain_heap },
    { "libev again, with a mutex", NULL, &libev_again },
    { "tokio DelayQueue, with a mutex", NULL, &tokio_delayqueue },
};

static void measure_threads(const void *who, double *results)
{
    (void)who;
    order = permutation(size.links);
    stamps = touched_memory(size.links, sizeof *stamps);
    open_hbeat();
    order_ids(size.links);
    for (int i = 0; i < MT_ROWS; i++)
        if (mt_rows[i].peer && !mt_rows[i].peer->skipped)
            arm_all(mt_rows[i].peer);
    for (int round = -1; round < size.touch_rounds; round++)
        for (int i = 0; i < MT_ROWS; i++) {
            const timers *peer = mt_rows[i].peer;
            void (*touch)(walk *) = mt_rows[i].walk;
            pthread_t turner;
            if (peer && peer->skipped)
                continue;
            if (peer) {
                touch = peer->walk_unlocked ? peer->walk_unlocked : walk_locked;
                locked = peer;
                turning = 1;
                errno = pthread_create(&turner, NULL, turn_on, (void *)(uintptr_t)peer);
                if (errno)
                    die("pthread_create");
            }
            /* Those that take no lock need more of them, or a thread that is held up for a moment counts too much. */
            uint32_t all = size.touches * (touch == walk_locked ? 1 : 4);
            double one = by_threads(1, touch, all), two = by_threads(2, touch, all);
            if (peer) {
                __atomic_store_n(&turning, 0, __ATOMIC_RELAXED);
                pthread_join(turner, NULL);
            }
            if (round >= 0) {
                results[i * ROUNDS_MOST + round] = one;
                results[(MT_ROWS + i) * ROUNDS_MOST + round] = two;
            }
        }
}

void w1mt(void)
{
    static const column columns[] = {
        { "ns, one thread", 26, 1 },
        { "ns, two threads", 26, 1 },
        { "rate x own one thread", 24, 2 },
        { "two threads x libev lazy", 24, 2 },
        { 0, 0, 0 },
    };
    static double results[2 * MT_ROWS * ROUNDS_MOST];
    int rounds = size.touch_rounds;
    if (cores() < 2) {
        row_skipped("W1mt", "this process has one core only");
        return;
    }
    apart(measure_threads, NULL, results, 2 * MT_ROWS * ROUNDS_MOST);
    table("W1mt", columns,
        "%u sessions, wall time a touch over all touches, threads on a core each, one more turns the timers, %d rounds",
        size.links, rounds);
    for (int i = 0; i < MT_ROWS; i++) {
        const double *one = results + i * ROUNDS_MOST, *two = one + MT_ROWS * ROUNDS_MOST;
        if (mt_rows[i].peer && mt_rows[i].peer->skipped) {
            row_skipped(mt_rows[i].name, mt_rows[i].peer->skipped);
            continue;
        }
        row(mt_rows[i].name);
        cell(one, rounds);
        cell(two, rounds);
        cell_ratios(one, two, rounds);
        cell_ratios(two, libev_lazy.skipped ? NULL : results + (MT_ROWS + MT_LAZY) * ROUNDS_MOST, rounds);
        row_end();
    }
    print_load("after it");
}
