/*
 W4   N sessions, a beat each period at random phases: CPU of the process, lateness of the beats. All turn each
      millisecond, but for hbeat's own threads, which sleep until something is due.
 w4t  the same table, and then the floor and hbeat with turns, and ticks, of ten milliseconds: a beat may be later by as
      much, and many share a turn. A minute more.
*/
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hb.h"
#include "peers.h"

#define WINDOWS W4_WINDOWS

/* What a window comes to, and after that the sums of all. */
enum { CPU, PER_FIRE, P50, P99, P999, MOST, COLUMNS };
enum { BEATS = COLUMNS * WINDOWS, EARLY, EARLY_MS, BAD, RESULTS };

/* From turn to turn; hbeat's tick. */
static uint32_t turn_ms = 1;
/* hbeat's; 0: the default. */
static uint32_t shards;
static uint64_t *dues;
static double *late_ms[WINDOWS];
static uint32_t late_count[WINDOWS];
static uint32_t late_room;
static int window = -1;
static uint32_t early;
static int64_t earliest;
static uint64_t window_begun, window_cpu, cpu_of[WINDOWS], length_of[WINDOWS];

static uint64_t period(void) { return size.period_ms * MS; }

static uint64_t warm_up(void) { return size.warm_up_ms * MS; }

/* A beat of session i came: how late, and when the next is due. */
static uint64_t fired(uint32_t i)
{
    uint64_t now = clock_now();
    int at = __atomic_load_n(&window, __ATOMIC_ACQUIRE);
    int64_t late = (int64_t)(now - dues[i]);
    early += late < 0;
    if (late < earliest)
        earliest = late;
    if (at >= 0 && at < WINDOWS && late_count[at] < late_room)
        late_ms[at][late_count[at]++] = (double)late / 1e6;
    dues[i] = now + period();
    return now;
}

/* Begins the next window; 0 when all are over. */
static int next_window(void)
{
    uint64_t now = clock_now(), cpu = cpu_now();
    int at = window;
    if (at >= 0) {
        cpu_of[at] = cpu - window_cpu;
        length_of[at] = now - window_begun;
    }
    window_begun = now;
    window_cpu = cpu;
    __atomic_store_n(&window, at + 1, __ATOMIC_RELEASE);
    return at + 1 < WINDOWS;
}

static void prepare(void)
{
    late_room = (uint32_t)((uint64_t)size.links * size.window_ms / size.period_ms * 3);
    dues = touched_memory(size.links, sizeof *dues);
    for (int i = 0; i < WINDOWS; i++)
        late_ms[i] = touched_memory(late_room, sizeof *late_ms[i]);
}

static void conclude(double *results)
{
    usleep(20000);
    for (int i = 0; i < WINDOWS; i++) {
        uint32_t count = late_count[i];
        const double *late = late_ms[i];
        if (count == 0)
            die("nothing fired");
        qsort(late_ms[i], count, sizeof *late, ascending);
        results[CPU * WINDOWS + i] = 100.0 * (double)cpu_of[i] / (double)length_of[i];
        results[PER_FIRE * WINDOWS + i] = (double)cpu_of[i] / count;
        results[P50 * WINDOWS + i] = late[count / 2];
        results[P99 * WINDOWS + i] = late[(uint64_t)count * 99 / 100];
        results[P999 * WINDOWS + i] = late[(uint64_t)count * 999 / 1000];
        results[MOST * WINDOWS + i] = late[count - 1];
        results[BEATS] += count;
    }
    results[EARLY] = early;
    results[EARLY_MS] = (double)-earliest / 1e6;
    results[BAD] = counted_bad;
}

/* ---- hbeat ---- */

static void on_send(void *data, const hbeat_event *event)
{
    size_t length = 0;
    uint64_t now = fired((uint32_t)(uintptr_t)event->link_data);
    (void)data;
    if (hbeat_link_take(engine, event->link, NULL, now, NULL, 0, &length) != HBEAT_INFO_SEND)
        __atomic_fetch_add(&counted_bad, 1, __ATOMIC_RELAXED);
    hbeat_link_received(engine, event->link, now);
}

static void on_any(void *data, const hbeat_event *event)
{
    if (event->type == HBEAT_EVENT_SEND)
        on_send(data, event);
    else
        on_event(data, event);
}

static uint32_t *begin_hbeat(hbeat_engine_options options)
{
    ids = memory(size.links, sizeof *ids);
    options.tick_ms = turn_ms;
    options.threads = shards;
    open_engine(options);
    /* Jitter comes from the phases: with that of the policy only hbeat would know when a beat was due. */
    open_links(size.links, policy_of("normal interval=%ums timeout=10s tries=3 jitter=0%%", size.period_ms), NULL, 1);
    prepare();
    return permutation(size.links);
}

static void start(uint32_t i, uint64_t now)
{
    dues[i] = now + period();
    if (hbeat_link_start(engine, ids[i], now) < 0)
        die("hbeat_link_start");
}

static void called(const void *none, double *results)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    (void)none;
    options.on_event = on_event;
    options.on_send = on_send;
    uint32_t *order = begin_hbeat(options);
    /* One period of warm-up, in which all are started at spread phases. */
    uint64_t begun = clock_now();
    for (uint32_t i = 0; i < size.links; i++) {
        uint64_t at = begun + period() * i / size.links, now = clock_now();
        while (now < at) {
            sleep_until(at + MS);
            now = clock_now();
        }
        start(order[i], now);
    }
    sleep_until(clock_now() + warm_up());
    while (next_window())
        sleep_until(window_begun + size.window_ms * MS);
    conclude(results);
}

/* In the thread of the application, as the other peers are. */
static void driven(const void *none, double *results)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    (void)none;
    options.run = HBEAT_RUN_APPLICATION;
    uint32_t *order = begin_hbeat(options);
    uint64_t begun = clock_now(), windows = begun + period() + warm_up();
    for (uint32_t i = 0;;) {
        uint64_t now = clock_now();
        for (; i < size.links && now >= begun + period() * i / size.links; i++)
            start(order[i], now);
        drive();
        pull(on_any, 0);
        if (now >= windows) {
            if (!next_window())
                break;
            windows = window_begun + size.window_ms * MS;
        }
        sleep_to_next_turn(turn_ms);
    }
    conclude(results);
}

/* ---- The peers can be armed at any phase ---- */

static void arm_phases(void (*refresh)(void), void (*arm)(uint32_t id, uint64_t after_ns))
{
    uint64_t begun = clock_now() + warm_up(), now = 0;
    prepare();
    for (uint32_t i = 0; i < size.links; i++) {
        if (i % CLOCK_EACH == 0) {
            now = clock_now();
            refresh();
        }
        dues[i] = begun + (uint64_t)(random_below(1u << 31) / 2147483648.0 * (double)period());
        if (dues[i] < now)
            dues[i] = now;
        arm(i, dues[i] - now);
    }
}

/* Calls turn each time that one is due, through the warm-up and all windows. */
static void turn_through(void (*turn)(void), uint64_t before)
{
    uint64_t next = clock_now() + before;
    for (;;) {
        uint64_t now = clock_now();
        turn();
        if (now >= next) {
            if (!next_window())
                return;
            next = window_begun + size.window_ms * MS;
        }
        sleep_to_next_turn(turn_ms);
    }
}

static uint64_t beat(uint32_t id) { return fired(id) + period(); }

static void peer_beats(const void *who, double *results)
{
    const timers *peer = who;
    peer->make(size.links, size.period_ms, beat);
    arm_phases(peer->refresh, peer->arm);
    /* Where there is one duration only: after a whole period all have it. */
    turn_through(peer->turn, peer->one_duration ? period() + warm_up() : warm_up());
    conclude(results);
}

/* ---- The floor: a wheel of one level and no checks ---- */

#define WHEEL 32768

static uint32_t *wheel, *wheel_next;
static uint64_t wheel_turned, wheel_now;

static void wheel_refresh(void) { wheel_now = clock_now(); }

static void wheel_add(uint32_t id, uint64_t due)
{
    uint32_t *slot = &wheel[(due + MS - 1) / MS % WHEEL];
    wheel_next[id] = *slot;
    *slot = id + 1;
}

static void wheel_arm(uint32_t id, uint64_t after_ns) { wheel_add(id, wheel_now + after_ns); }

static void wheel_turn(void)
{
    wheel_refresh();
    for (; wheel_turned <= wheel_now / MS; wheel_turned++) {
        uint32_t *slot = &wheel[wheel_turned % WHEEL], chain = *slot;
        *slot = 0;
        while (chain) {
            uint32_t id = chain - 1;
            chain = wheel_next[id];
            wheel_add(id, beat(id));
        }
    }
}

static void floor_beats(const void *none, double *results)
{
    (void)none;
    wheel = touched_memory(WHEEL, sizeof *wheel);
    wheel_next = touched_memory(size.links, sizeof *wheel_next);
    wheel_turned = clock_now() / MS;
    arm_phases(wheel_refresh, wheel_arm);
    turn_through(wheel_turn, warm_up());
    conclude(results);
}

void w4_of_shards(const void *count, double *results)
{
    static double all[RESULTS];
    turn_ms = 1;
    shards = *(const uint32_t *)count;
    called(NULL, all);
    memcpy(results, all + CPU * WINDOWS, WINDOWS * sizeof *results);
    memcpy(results + WINDOWS, all + P99 * WINDOWS, WINDOWS * sizeof *results);
}

static double middle(const double *values)
{
    double sorted[WINDOWS];
    memcpy(sorted, values, sizeof sorted);
    qsort(sorted, WINDOWS, sizeof *sorted, ascending);
    return sorted[WINDOWS / 2];
}

static void measure(int ten_too)
{
    static const struct {
        const char *name;
        void (*measure)(const void *peer, double *results);
        const timers *peer;
        uint32_t turn_ms;
    } rows[] = {
        { "floor: wheel, 1 ms turns", floor_beats, NULL, 1 },
        { "hbeat: on_send, take, received", called, NULL, 1 },
        { "hbeat: driven, pulled", driven, NULL, 1 },
        { NULL, peer_beats, &plain_heap, 1 },
        { NULL, peer_beats, &libev_again, 1 },
        { NULL, peer_beats, &libevent_plain, 1 },
        { NULL, peer_beats, &libevent_common, 1 },
        { NULL, peer_beats, &libuv, 1 },
        { NULL, peer_beats, &tokio_delayqueue, 1 },
        { "floor: wheel, 10 ms turns", floor_beats, NULL, 10 },
        { "hbeat, 10 ms ticks: on_send", called, NULL, 10 },
        { "hbeat, 10 ms ticks: driven, pulled", driven, NULL, 10 },
    };
    static const column columns[] = {
        { "CPU % of a core", 21, 1 },
        { "ns CPU a beat", 21, 0 },
        { "x floor", 20, 2 },
        { "late p50 ms", 20, 2 },
        { "late p99 ms", 20, 2 },
        { "late p99.9 ms", 20, 2 },
        { "late most ms", 20, 2 },
        { "beats", 8, 0 },
        { "early", 6, 0 },
        { "by up to ms", 11, 2 },
        { "bad", 4, 0 },
        { 0, 0, 0 },
    };
    static double results[RESULTS], floor[RESULTS];
    double cpu[sizeof rows / sizeof *rows], best_peer = 0;
    table("W4", columns, "%u sessions, a beat each %u s at random phases, %d windows of %.1f s", size.links,
        size.period_ms / 1000, WINDOWS, size.window_ms / 1e3);
    for (size_t i = 0; i < sizeof rows / sizeof *rows && (ten_too || rows[i].turn_ms == 1); i++) {
        const char *name = rows[i].name ? rows[i].name : rows[i].peer->name;
        if (rows[i].peer && rows[i].peer->skipped) {
            row_skipped(name, rows[i].peer->skipped);
            continue;
        }
        memset(results, 0, sizeof results);
        turn_ms = rows[i].turn_ms;
        apart(rows[i].measure, rows[i].peer, results, RESULTS);
        cpu[i] = middle(results + CPU * WINDOWS);
        if (rows[i].measure == floor_beats)
            memcpy(floor, results, sizeof floor);
        if (rows[i].peer && (best_peer == 0 || cpu[i] < best_peer))
            best_peer = cpu[i];
        row(name);
        cell(results + CPU * WINDOWS, WINDOWS);
        cell(results + PER_FIRE * WINDOWS, WINDOWS);
        cell_ratios(results + PER_FIRE * WINDOWS, floor + PER_FIRE * WINDOWS, WINDOWS);
        for (int at = P50; at < COLUMNS; at++)
            cell(results + at * WINDOWS, WINDOWS);
        for (int at = BEATS; at < RESULTS; at++)
            cell(results + at, 1);
        row_end();
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows && ten_too && best_peer > 0; i++)
        if (rows[i].turn_ms > 1)
            fact("W4: CPU x that of the best peer at 1 ms: %.2f, %s", cpu[i] / best_peer, rows[i].name);
    if (ten_too)
        fact("W4: x floor: the one with turns as long");
    fact("W4: early: before its time; by the age of a cached clock for libev and libevent, by a millisecond for libuv");
    fact("W4: bad: SUSPECT, DOWN, PAUSE and notices for nothing");
    print_load("after it");
}

void w4(void) { measure(0); }

void w4t(void) { measure(1); }
