/*
 wshards        hbeat_link_received by 1 and by 2 threads, a core each, into engines of 1, 2 and 4 shards: each thread
                touches the links of its own shards, or both touch links of all. All take turns, round after round.
 wshards beats  W4 with 1 and with 2 shards, by a fifth of the links in a fifth of the period: as many beats a second.
 wshards lines  two threads whose links lie side by side in memory, eight to a cache line, or far apart: four each,
                which is one line, again and again, and all there are, each of them seldom enough for the millisecond
                to be another one, which is when there is something to store. Beside them an array of stamps, each
                stored at once, or looked at before.
*/
#include <string.h>

#include "hb.h"

#define POLICY "normal interval=600s timeout=600s"
#define THREADS 2
/* Of all threads in a round: enough for a thread that is held up for a moment not to count too much. */
#define TOUCHES (4 * size.touches)

/* What one thread touches, in this order, again and again. As in W1 the ids lie as the order does. */
typedef struct share {
    const uint32_t *order;
    const hbeat_link *links;
    uint32_t length, count;
} share;

static uint64_t *stamps;

static void touch_stamps(int i, void *data)
{
    const share *mine = (const share *)data + i;
    uint64_t now = 0;
    for (uint32_t n = 0, at = 0; n < mine->count; n++) {
        if (n % CLOCK_EACH == 0)
            now = clock_now();
        __atomic_store_n(&stamps[mine->order[at]], now, __ATOMIC_RELAXED);
        at = at + 1 == mine->length ? 0 : at + 1;
    }
}

/* Looks first, as who must not move a stamp back: a line that another core took away has to be waited for. */
static void look_and_touch_stamps(int i, void *data)
{
    const share *mine = (const share *)data + i;
    uint64_t now = clock_now();
    for (uint32_t n = 0, at = 0; n < mine->count; n++) {
        uint64_t *stamp = &stamps[mine->order[at]];
        if (__atomic_load_n(stamp, __ATOMIC_RELAXED) < now + n)
            __atomic_store_n(stamp, now + n, __ATOMIC_RELAXED);
        at = at + 1 == mine->length ? 0 : at + 1;
    }
}

static void touch_links(int i, void *data)
{
    const share *mine = (const share *)data + i;
    uint64_t now = 0;
    for (uint32_t n = 0, at = 0; n < mine->count; n++) {
        if (n % CLOCK_EACH == 0)
            now = hbeat_now_ns();
        if (hbeat_link_received(engine, mine->links[at], now) < 0)
            die("hbeat_link_received");
        at = at + 1 == mine->length ? 0 : at + 1;
    }
}

/* Wall time a touch, over the touches of all threads. */
static double ns_each(int threads, void (*touch)(int i, void *data), share *shares)
{
    uint64_t all = 0;
    for (int i = 0; i < threads; i++)
        all += shares[i].count;
    return (double)side_by_side(threads, touch, shares) / (double)all;
}

/* An engine of so many shards, with all links. */
static void open_shards(uint32_t shards)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.threads = shards;
    options.on_event = on_event;
    ids = memory(size.links, sizeof *ids);
    open_engine(options);
    open_links(size.links, policy_of(POLICY), NULL, 0);
}

/* ---- wshards ---- */

enum { ONE, OWN, MIXED, ARRANGEMENTS };
enum { FLOOR, SHARDS_1, SHARDS_2, SHARDS_4, ROWS };
static const uint32_t shards_of[ROWS] = { 1, 1, 2, 4 };

static const hbeat_link *links_in(const uint32_t *order, uint32_t length)
{
    hbeat_link *links = memory(length, sizeof *links);
    for (uint32_t i = 0; i < length; i++)
        links[i] = ids[order[i]];
    return links;
}

/* Each thread's links in a random order, those of its own shards or, where there is one, of its own half. */
static const uint32_t *order_of(uint32_t shards)
{
    uint32_t *all = permutation(size.links), *order = memory(size.links, sizeof *order), half = size.links / 2;
    uint32_t at[THREADS] = { 0, half };
    for (uint32_t i = 0; i < size.links; i++) {
        /* The uppermost bits of an id are its shard. */
        uint32_t thread = shards == 1 ? all[i] >= half : (uint32_t)(ids[all[i]] >> 56) % 2;
        if (at[thread] == half * (thread + 1))
            thread = 1 - thread;
        order[at[thread]++] = all[i];
    }
    return order;
}

/* The links of an engine, or the stamps of the floor, in both orders. */
typedef struct subject {
    hbeat_engine *engine;
    const uint32_t *order[ARRANGEMENTS];
    const hbeat_link *links[ARRANGEMENTS];
} subject;

static double arranged(int arrangement, void (*touch)(int i, void *data), const subject *which)
{
    const uint32_t *order = which->order[arrangement];
    const hbeat_link *links = which->links[arrangement];
    uint32_t half = size.links / 2, count = TOUCHES / 2;
    share shares[THREADS] = { { order, links, half, count }, { order + half, links + half, half, count } };
    if (arrangement == ONE)
        shares[0] = (share) { order, links, size.links, TOUCHES };
    engine = which->engine;
    return ns_each(arrangement == ONE ? 1 : THREADS, touch, shares);
}

static void measure_shards(const void *none, double *results)
{
    subject subjects[ROWS];
    const uint32_t *mixed = permutation(size.links);
    (void)none;
    ids = memory(size.links, sizeof *ids);
    stamps = touched_memory(size.links, sizeof *stamps);
    for (int i = 0; i < ROWS; i++) {
        if (i != FLOOR)
            open_shards(shards_of[i]);
        subjects[i].engine = engine;
        subjects[i].order[ONE] = subjects[i].order[MIXED] = mixed;
        subjects[i].order[OWN] = order_of(shards_of[i]);
        subjects[i].links[ONE] = subjects[i].links[MIXED] = links_in(mixed, size.links);
        subjects[i].links[OWN] = links_in(subjects[i].order[OWN], size.links);
    }
    for (int round = -1; round < size.rounds; round++)
        for (int i = 0; i < ROWS; i++)
            for (int how = 0; how < ARRANGEMENTS; how++) {
                double ns = arranged(how, i == FLOOR ? touch_stamps : touch_links, &subjects[i]);
                if (round >= 0)
                    results[(i * ARRANGEMENTS + how) * ROUNDS_MOST + round] = ns;
            }
}

static void shards(void)
{
    static const char *const names[ROWS]
        = { "floor: store to u64[N]", "hbeat, 1 shard", "hbeat, 2 shards", "hbeat, 4 shards" };
    static const column columns[] = {
        { "ns, one thread", 24, 1 },
        { "ns, two, own shards", 24, 1 },
        { "ns, two, mixed", 24, 1 },
        { "own: rate x one thread", 23, 2 },
        { "mixed x own", 20, 2 },
        { 0, 0, 0 },
    };
    static double results[ROWS * ARRANGEMENTS * ROUNDS_MOST];
    table("wshards", columns, "%u links touched in a random order, wall time a touch over all touches, %d rounds",
        size.links, size.rounds);
    apart(measure_shards, NULL, results, ROWS * ARRANGEMENTS * ROUNDS_MOST);
    for (int i = 0; i < ROWS; i++) {
        const double *one = results + i * ARRANGEMENTS * ROUNDS_MOST;
        const double *own = one + ROUNDS_MOST, *mixed = own + ROUNDS_MOST;
        row(names[i]);
        cell(one, size.rounds);
        cell(own, size.rounds);
        cell(mixed, size.rounds);
        cell_ratios(one, own, size.rounds);
        cell_ratios(mixed, own, size.rounds);
        row_end();
    }
    fact("wshards: own: of one shard, the first half of its links and the second");
}

/* ---- wshards beats ---- */

#define FRACTION 5

static void measure_beats(const void *count, double *results)
{
    size.links /= FRACTION;
    size.period_ms /= FRACTION;
    size.window_ms /= 2;
    w4_of_shards(count, results);
}

static void beats(void)
{
    static const uint32_t counts[] = { 1, 2 };
    static const char *const names[] = { "hbeat, 1 shard", "hbeat, 2 shards" };
    static const column columns[] = {
        { "CPU % of a core", 21, 1 },
        { "late p99 ms", 21, 2 },
        { 0, 0, 0 },
    };
    table("wshards beats", columns, "%u links, a beat each %.1f s at random phases, %d windows of %.1f s",
        size.links / FRACTION, size.period_ms / 1e3 / FRACTION, W4_WINDOWS, size.window_ms / 2e3);
    for (int i = 0; i < 2; i++) {
        double results[2 * W4_WINDOWS];
        apart(measure_beats, &counts[i], results, 2 * W4_WINDOWS);
        row(names[i]);
        cell(results, W4_WINDOWS);
        cell(results + W4_WINDOWS, W4_WINDOWS);
        row_end();
    }
}

/* ---- wshards lines ---- */

/* Links, or stamps, in a cache line. */
#define LINE 8

enum { SIDE_BY_SIDE, FAR_APART, PLACES };

/* So many links for thread i: every other one, or those from where its half begins. */
static share share_of(int i, int place, uint32_t length)
{
    uint32_t *order = memory(length, sizeof *order);
    for (uint32_t n = 0; n < length; n++)
        order[n] = place == SIDE_BY_SIDE ? n * THREADS + (uint32_t)i : size.links / THREADS * (uint32_t)i + n;
    return (share) { order, links_in(order, length), length, TOUCHES };
}

static const struct {
    const char *name;
    void (*touch)(int i, void *data);
    int many;
} line_rows[] = {
    { "floor: store to u64[N], one line", touch_stamps, 0 },
    { "floor: look and store, one line", look_and_touch_stamps, 0 },
    { "hbeat_link_received, one line", touch_links, 0 },
    { "floor: store to u64[N], all", touch_stamps, 1 },
    { "floor: look and store, all", look_and_touch_stamps, 1 },
    { "hbeat_link_received, all", touch_links, 1 },
};

#define LINE_ROWS (int)(sizeof line_rows / sizeof *line_rows)

static void measure_lines(const void *none, double *results)
{
    share shares[2][PLACES][THREADS];
    (void)none;
    stamps = touched_memory(size.links + LINE, sizeof *stamps);
    /* From where a line begins. */
    stamps += (64 - (uintptr_t)stamps % 64) / sizeof *stamps % LINE;
    open_shards(1);
    for (int many = 0; many < 2; many++)
        for (int place = 0; place < PLACES; place++)
            for (int i = 0; i < THREADS; i++)
                shares[many][place][i] = share_of(i, place, (many ? size.links : LINE) / THREADS);
    for (int round = -1; round < size.rounds; round++)
        for (int i = 0; i < LINE_ROWS; i++)
            for (int place = 0; place < PLACES; place++) {
                double ns = ns_each(THREADS, line_rows[i].touch, shares[line_rows[i].many][place]);
                if (round >= 0)
                    results[(i * PLACES + place) * ROUNDS_MOST + round] = ns;
            }
}

static void lines(void)
{
    static const column columns[] = {
        { "ns, side by side", 24, 2 },
        { "ns, far apart", 24, 2 },
        { "side by side x far apart", 24, 2 },
        { 0, 0, 0 },
    };
    static double results[LINE_ROWS * PLACES * ROUNDS_MOST];
    table("wshards lines", columns, "%u links, two threads, wall time a touch over all touches, %d rounds", size.links,
        size.rounds);
    apart(measure_lines, NULL, results, LINE_ROWS * PLACES * ROUNDS_MOST);
    for (int i = 0; i < LINE_ROWS; i++) {
        const double *near = results + i * PLACES * ROUNDS_MOST, *far = near + ROUNDS_MOST;
        row(line_rows[i].name);
        cell(near, size.rounds);
        cell(far, size.rounds);
        cell_ratios(near, far, size.rounds);
        row_end();
    }
    fact("wshards lines: hbeat stores a stamp where its millisecond is another, the array each time");
}

void wshards(void)
{
    if (cores() < THREADS) {
        row_skipped("wshards", "this process has one core only");
        return;
    }
    shards();
    beats();
    lines();
    print_load("after it");
}
