/*
 The workloads W1, W2, W4 and W5 through the C ABI, beside what a program would use instead, in the same run.

   w [quick] [w1] [w2] [w4] [w5]

 W1  ns a touch ("a packet arrived") of N armed sessions, in the order of a random permutation
 W2  bytes of resident memory an idle armed session, the id that the program keeps included
 W4  N sessions, a beat each period at random phases: CPU of the process, lateness of the beats
 W5  N sessions fall silent within a second (W5b: at once): when the last one is given up, lateness, CPU

 Peers: "floor" is a bound and no product: a bare array of times, and for W4 a wheel of one level and no checks. "heap"
 is a binary heap that moves an entry at each touch. "libev lazy" is the manual's last-activity time, "libev again"
 ev_timer_again. Clocks are read once for 64 touches, as a loop does once a poll, unless the name says otherwise.

 Each measurement runs in a process of its own. W1 lets the peers take turns, round after round.
*/
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_EV
#include <ev.h>
#endif

#include "hbeat.h"

#define ROUNDS 7
#define MEMORY_ROUNDS 3
#define WINDOWS 5
#define CLOCK_EACH 64
#define MS 1000000ull
#define SECOND 1000000000ull

/* What a full run and a quick one differ in. */
static uint32_t links = 1000000;
static uint32_t cmpp_links = 100000;
static uint32_t period_ms = 30000;
static uint32_t window_ms = 2000;

static void die(const char *what)
{
    fprintf(stderr, "w: %s: %s\n", what, errno ? strerror(errno) : hbeat_last_error());
    exit(2);
}

static uint64_t clock_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec time = { (time_t)(at_ns / SECOND), (long)(at_ns % SECOND) };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static uint64_t cpu_now(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND
        + (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

static uint64_t resident(void)
{
    unsigned long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu %lu", &size, &pages) != 2)
        die("/proc/self/statm");
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void *memory(size_t count, size_t size)
{
    void *place = calloc(count, size);
    if (!place)
        die("memory");
    return place;
}

/* Zeroed memory that is resident now: later measurements do not see it. */
static void *touched_memory(size_t count, size_t size)
{
    void *place = memory(count, size);
    memset(place, 1, count * size);
    memset(place, 0, count * size);
    return place;
}

static uint64_t random_state = 88172645463325252ull;

static uint32_t random_below(uint32_t end)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * end >> 32);
}

static uint32_t *permutation(uint32_t count)
{
    uint32_t *order = memory(count, sizeof *order);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = random_below(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

/* ---- Numbers: least, middle and most of a few rounds ---- */

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static const char *spread(const double *values, int count, int digits)
{
    static char texts[8][64];
    static int next;
    double sorted[16];
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, compare);
    char *text = texts[next++ % 8];
    snprintf(text, sizeof texts[0], "%.*f / %.*f / %.*f", digits, sorted[0], digits, sorted[count / 2], digits,
        sorted[count - 1]);
    return text;
}

static const char *ratios(const double *values, const double *base, int count)
{
    double each[16];
    if (!base)
        return "-";
    for (int i = 0; i < count; i++)
        each[i] = values[i] / base[i];
    return spread(each, count, 2);
}

static void print_load(const char *when)
{
    double load[3] = { 0, 0, 0 };
    if (getloadavg(load, 3) == 3)
        printf("load average %s: %.2f %.2f %.2f on %ld cores\n", when, load[0], load[1], load[2],
            sysconf(_SC_NPROCESSORS_ONLN));
    fflush(stdout);
}

/* ---- A measurement in a process of its own, which hands back some numbers ---- */

static void apart(void (*measure)(double *results), double *results, int count)
{
    int ends[2];
    errno = 0;
    fflush(NULL);
    if (pipe(ends) != 0)
        die("pipe");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        alarm(150);
        measure(results);
        ssize_t length = (ssize_t)((size_t)count * sizeof *results);
        _exit(write(ends[1], results, (size_t)length) == length ? 0 : 1);
    }
    close(ends[1]);
    size_t got = 0, wanted = (size_t)count * sizeof *results;
    for (ssize_t n; got < wanted && (n = read(ends[0], (char *)results + got, wanted - got)) > 0;)
        got += (size_t)n;
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (got != wanted || status != 0) {
        errno = 0;
        fprintf(stderr, "w: a measurement failed (status %d)\n", status);
        exit(2);
    }
}

/* ---- hbeat ---- */

static hbeat_engine *engine;
static hbeat_link *ids;
static uint32_t counted_bad;

static uint32_t run = HBEAT_RUN_THREADS;

static void open_engine(hbeat_event_callback on_event, hbeat_event_callback on_send)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.run = run;
    options.on_event = on_event;
    options.on_send = on_send;
    options.max_links = links;
    errno = 0;
    if (hbeat_engine_new(&options, &engine) < 0)
        die("hbeat_engine_new");
}

static void drive(void)
{
    if (hbeat_engine_drive(engine, 0) < 0)
        die("hbeat_engine_drive");
}

/* Until all that was said is done. */
static void come_to_rest(void)
{
    if (run == HBEAT_RUN_APPLICATION)
        drive();
    else if (hbeat_engine_quiesce(engine, 60000) < 0)
        die("hbeat_engine_quiesce");
}

/* Hands out the events that wait. */
static void pull(hbeat_event_callback callback, uint32_t timeout_ms)
{
    static hbeat_event events[1024];
    uint32_t count;
    do {
        if (hbeat_engine_wait(engine, events, sizeof *events, 1024, timeout_ms, &count) < 0)
            die("hbeat_engine_wait");
        for (uint32_t i = 0; i < count; i++)
            callback(NULL, &events[i]);
    } while (count == 1024);
}

static void open_links(uint32_t count, const char *policy_text, const char *protocol, int start_paused)
{
    hbeat_policy policy;
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    errno = 0;
    if (hbeat_policy_parse(&policy, sizeof policy, policy_text) < 0)
        die("hbeat_policy_parse");
    options.protocol = protocol;
    options.start_paused = (uint32_t)start_paused;
    for (uint32_t i = 0; i < count; i++) {
        hbeat_status status;
        options.link_data = (void *)(uintptr_t)i;
        while ((status = hbeat_link_open(engine, &policy, &options, &ids[i])) == HBEAT_ERR_AGAIN)
            if (run == HBEAT_RUN_APPLICATION)
                drive();
            else
                usleep(500);
        if (status < 0)
            die("hbeat_link_open");
    }
    come_to_rest();
}

static void on_event(void *data, const hbeat_event *event)
{
    (void)data;
    if (event->type == HBEAT_EVENT_SUSPECT || event->type == HBEAT_EVENT_DOWN || event->type == HBEAT_EVENT_PAUSE
        || event->type == HBEAT_EVENT_APP_NOT_RESPONDING)
        __atomic_fetch_add(&counted_bad, 1, __ATOMIC_RELAXED);
}

/* ---- A plain heap: a binary one, whose entries know nothing and whose index knows where they are ---- */

typedef struct entry {
    uint64_t due;
    uint32_t id;
} __attribute__((packed, aligned(4))) entry;

static entry *heap;
static uint32_t *heap_at;
static uint32_t heap_count;

static void heap_put(uint32_t at, entry it)
{
    heap[at] = it;
    heap_at[it.id] = at;
}

static void heap_down(uint32_t at, entry it)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= heap_count)
            break;
        if (child + 1 < heap_count && heap[child + 1].due < heap[child].due)
            child++;
        if (heap[child].due >= it.due)
            break;
        heap_put(at, heap[child]);
        at = child;
    }
    heap_put(at, it);
}

static void heap_up(uint32_t at, entry it)
{
    while (at > 0 && heap[(at - 1) / 2].due > it.due) {
        heap_put(at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(at, it);
}

static void heap_add(uint32_t id, uint64_t due)
{
    entry it = { due, id };
    heap_up(heap_count++, it);
}

/* Deadlines only move later. */
static void heap_later(uint32_t id, uint64_t due)
{
    entry it = { due, id };
    heap_down(heap_at[id], it);
}

static void heap_make(void)
{
    heap = memory(links, sizeof *heap);
    heap_at = memory(links, sizeof *heap_at);
    heap_count = 0;
}

/* ---- libev ---- */

#ifdef WITH_EV
typedef struct lazy_session {
    double last_activity;
    ev_timer timer;
} lazy_session;

static struct ev_loop *loop;
static ev_timer *timers;
static lazy_session *lazies;

static void nothing_due(struct ev_loop *in, ev_timer *timer, int events)
{
    (void)in, (void)timer, (void)events;
}

static void arm(ev_timer *timer, void (*due)(struct ev_loop *, ev_timer *, int), double after)
{
    ev_timer_init(timer, due, after, period_ms / 1e3);
    ev_timer_start(loop, timer);
}
#endif

/* ---- W1 ---- */

static uint64_t *stamps;
static uint32_t *order;
/* The ids in the order of the touches: a program has its connection at hand, and the id in it. */
static hbeat_link *ids_in_order;
static uint32_t touches;

static void touch_floor(void)
{
    uint64_t now = 0;
    for (uint32_t i = 0, at = 0; i < touches; i++, at = at + 1 == links ? 0 : at + 1) {
        if (i % CLOCK_EACH == 0)
            now = clock_now();
        __atomic_store_n(&stamps[order[at]], now, __ATOMIC_RELAXED);
    }
}

static void touch_floor_clock(void)
{
    for (uint32_t i = 0, at = 0; i < touches; i++, at = at + 1 == links ? 0 : at + 1)
        __atomic_store_n(&stamps[order[at]], clock_now(), __ATOMIC_RELAXED);
}

/* Early by up to a tick of the kernel: no product may. */
static void touch_floor_coarse(void)
{
    struct timespec time;
    for (uint32_t i = 0, at = 0; i < touches; i++, at = at + 1 == links ? 0 : at + 1) {
        clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
        __atomic_store_n(&stamps[order[at]], (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec, __ATOMIC_RELAXED);
    }
}

static void touch_hbeat(void)
{
    uint64_t now = 0;
    for (uint32_t i = 0, at = 0; i < touches; i++, at = at + 1 == links ? 0 : at + 1) {
        if (i % CLOCK_EACH == 0)
            now = hbeat_now_ns();
        if (hbeat_link_received(engine, ids_in_order[at], now) < 0)
            die("hbeat_link_received");
    }
}

static void touch_hbeat_clock(void)
{
    for (uint32_t i = 0, at = 0; i < touches; i++, at = at + 1 == links ? 0 : at + 1)
        if (hbeat_link_received(engine, ids_in_order[at], 0) < 0)
            die("hbeat_link_received");
}

/* As many at once as share a reading of the clock elsewhere. */
static void touch_hbeat_many(void)
{
    for (uint32_t left = touches, at = 0, count; left > 0; left -= count, at = at + count == links ? 0 : at + count) {
        count = left < CLOCK_EACH ? left : CLOCK_EACH;
        if (count > links - at)
            count = links - at;
        if (hbeat_links_received(engine, ids_in_order + at, count, hbeat_now_ns()) < 0)
            die("hbeat_links_received");
    }
}

static void touch_heap(void)
{
    uint64_t now = 0;
    for (uint32_t i = 0, at = 0; i < touches; i++, at = at + 1 == links ? 0 : at + 1) {
        if (i % CLOCK_EACH == 0)
            now = clock_now();
        heap_later(order[at], now + period_ms * MS);
    }
}

#ifdef WITH_EV
static void touch_lazy(void)
{
    for (uint32_t i = 0, at = 0; i < touches; i++, at = at + 1 == links ? 0 : at + 1) {
        if (i % CLOCK_EACH == 0)
            ev_now_update(loop);
        lazies[order[at]].last_activity = ev_now(loop);
    }
}

static void touch_again(void)
{
    for (uint32_t i = 0, at = 0; i < touches; i++, at = at + 1 == links ? 0 : at + 1) {
        if (i % CLOCK_EACH == 0)
            ev_now_update(loop);
        ev_timer_again(loop, &timers[order[at]]);
    }
}
#endif

enum { FLOOR, FLOOR_CLOCK, FLOOR_COARSE, HBEAT, HBEAT_MANY, HBEAT_CLOCK, HEAP, LAZY, AGAIN, TOUCHERS };

static const struct {
    const char *name;
    void (*touch)(void);
} touchers[TOUCHERS] = {
    { "floor: store to u64[N]", touch_floor },
    { "floor, clock at each touch", touch_floor_clock },
    { "floor, coarse clock at each touch", touch_floor_coarse },
    { "hbeat_link_received, caller's time", touch_hbeat },
    { "hbeat_links_received, 64 at once", touch_hbeat_many },
    { "hbeat_link_received, now_ns = 0", touch_hbeat_clock },
    { "heap, entry moved", touch_heap },
#ifdef WITH_EV
    { "libev lazy (last-activity time)", touch_lazy },
    { "libev again (ev_timer_again)", touch_again },
#else
    { "libev lazy: skipped, no ev.h", NULL },
    { "libev again: skipped, no ev.h", NULL },
#endif
};

static void measure_w1(double *results)
{
    uint64_t now = clock_now();
    touches = links < 2000000 ? 2000000 : links;
    order = permutation(links);
    stamps = touched_memory(links, sizeof *stamps);
    ids = memory(links, sizeof *ids);
    open_engine(on_event, NULL);
    open_links(links, "normal interval=60s timeout=60s", NULL, 0);
    ids_in_order = memory(links, sizeof *ids_in_order);
    for (uint32_t i = 0; i < links; i++)
        ids_in_order[i] = ids[order[i]];
    heap_make();
#ifdef WITH_EV
    loop = ev_loop_new(EVFLAG_AUTO);
    timers = memory(links, sizeof *timers);
    lazies = memory(links, sizeof *lazies);
#endif
    for (uint32_t i = 0; i < links; i++) {
        uint64_t after = period_ms * MS / 2 + period_ms * MS / 2 * i / links;
        heap_add(order[i], now + after);
#ifdef WITH_EV
        arm(&timers[order[i]], nothing_due, (double)after / 1e9);
        arm(&lazies[order[i]].timer, nothing_due, (double)after / 1e9);
#endif
    }
    for (int round = -1; round < ROUNDS; round++)
        for (int peer = 0; peer < TOUCHERS; peer++) {
            if (!touchers[peer].touch)
                continue;
            uint64_t begun = clock_now();
            touchers[peer].touch();
            if (round >= 0)
                results[peer * ROUNDS + round] = (double)(clock_now() - begun) / touches;
        }
    results[TOUCHERS * ROUNDS] = counted_bad;
}

static void w1(void)
{
    static double results[TOUCHERS * ROUNDS + 1];
    printf("\nW1: ns a touch, %u sessions, random permutation, %d rounds\n", links, ROUNDS);
    apart(measure_w1, results, TOUCHERS * ROUNDS + 1);
    printf("%-36s %-26s %-24s %s\n", "", "ns: min / median / max", "x floor", "x libev lazy");
    for (int peer = 0; peer < TOUCHERS; peer++) {
        const double *mine = results + peer * ROUNDS;
        int reads = peer == FLOOR_CLOCK || peer == FLOOR_COARSE || peer == HBEAT_CLOCK;
        const double *base = results + ROUNDS * (reads ? FLOOR_CLOCK : FLOOR);
        if (!touchers[peer].touch) {
            printf("%s\n", touchers[peer].name);
            continue;
        }
        printf("%-36s %-26s %-24s %s\n", touchers[peer].name, spread(mine, ROUNDS, 1), ratios(mine, base, ROUNDS),
            ratios(mine, touchers[LAZY].touch ? results + LAZY * ROUNDS : NULL, ROUNDS));
    }
    printf("(those that read the clock at each touch: x the floor that does, too)\n");
    print_load("after W1");
}

/* ---- W2 ---- */

static void memory_floor(double *results)
{
    uint64_t before = resident();
    stamps = touched_memory(links, sizeof *stamps);
    uint32_t *next = touched_memory(links, sizeof *next);
    (void)next;
    results[0] = (double)(resident() - before) / links;
}

static void memory_heap(double *results)
{
    uint64_t before = resident(), now = clock_now();
    heap_make();
    for (uint32_t i = 0; i < links; i++)
        heap_add(i, now + random_below(period_ms) * MS);
    results[0] = (double)(resident() - before) / links;
}

static void memory_hbeat(double *results, uint32_t count, const char *policy, const char *protocol)
{
    open_engine(on_event, NULL);
    uint64_t before = resident();
    ids = touched_memory(count, sizeof *ids);
    open_links(count, policy, protocol, 0);
    results[0] = (double)(resident() - before) / count;
    malloc_trim(0);
    results[1] = (double)(resident() - before) / count;
}

static void memory_plain(double *results)
{
    memory_hbeat(results, links, "normal interval=180s timeout=60s tries=3 jitter=0%", NULL);
}

static void memory_cmpp(double *results)
{
    memory_hbeat(results, cmpp_links, "cmpp", "cmpp");
}

#ifdef WITH_EV
static void memory_again(double *results)
{
    loop = ev_loop_new(EVFLAG_AUTO);
    uint64_t before = resident();
    timers = memory(links, sizeof *timers);
    for (uint32_t i = 0; i < links; i++)
        arm(&timers[i], nothing_due, random_below(period_ms) / 1e3);
    results[0] = (double)(resident() - before) / links;
}

static void memory_lazy(double *results)
{
    loop = ev_loop_new(EVFLAG_AUTO);
    uint64_t before = resident();
    lazies = memory(links, sizeof *lazies);
    for (uint32_t i = 0; i < links; i++)
        arm(&lazies[i].timer, nothing_due, random_below(period_ms) / 1e3);
    results[0] = (double)(resident() - before) / links;
}
#endif

static void w2(void)
{
    static const struct {
        const char *name;
        void (*measure)(double *results);
        int trims;
    } rows[] = {
        { "floor: time and next", memory_floor, 0 },
        { "hbeat, plain link and its id", memory_plain, 1 },
        { "hbeat, cmpp link and its id", memory_cmpp, 1 },
        { "heap", memory_heap, 0 },
#ifdef WITH_EV
        { "libev lazy", memory_lazy, 0 },
        { "libev again", memory_again, 0 },
#else
        { "libev lazy: skipped, no ev.h", NULL, 0 },
        { "libev again: skipped, no ev.h", NULL, 0 },
#endif
    };
    double floor[MEMORY_ROUNDS];
    printf("\nW2: bytes of resident memory an idle session, %u sessions (cmpp: %u), %d rounds\n", links, cmpp_links,
        MEMORY_ROUNDS);
    printf("%-36s %-26s %-24s %s\n", "", "bytes: min / median / max", "x floor", "after malloc_trim");
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        double bytes[MEMORY_ROUNDS], trimmed[MEMORY_ROUNDS];
        if (!rows[row].measure) {
            printf("%s\n", rows[row].name);
            continue;
        }
        for (int round = 0; round < MEMORY_ROUNDS; round++) {
            double both[2] = { 0, 0 };
            apart(rows[row].measure, both, 2);
            bytes[round] = both[0];
            trimmed[round] = both[1];
        }
        if (row == 0)
            memcpy(floor, bytes, sizeof floor);
        printf("%-36s %-26s %-24s %s\n", rows[row].name, spread(bytes, MEMORY_ROUNDS, 1),
            ratios(bytes, floor, MEMORY_ROUNDS), rows[row].trims ? spread(trimmed, MEMORY_ROUNDS, 1) : "-");
        fflush(stdout);
    }
    print_load("after W2");
}

/* ---- W4 ---- */

enum { CPU, PER_FIRE, P50, P99, P999, MOST, COLUMNS };

static uint64_t *dues;
static double *late_ms[WINDOWS];
static uint32_t late_count[WINDOWS];
static uint32_t late_room;
static int window = -1;
static uint32_t early;
static int64_t earliest;
static uint64_t window_begun, window_cpu, cpu_of[WINDOWS], length_of[WINDOWS];

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
    dues[i] = now + period_ms * MS;
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

static void prepare_w4(void)
{
    late_room = (uint32_t)((uint64_t)links * window_ms / period_ms * 3);
    dues = touched_memory(links, sizeof *dues);
    for (int i = 0; i < WINDOWS; i++)
        late_ms[i] = touched_memory(late_room, sizeof *late_ms[i]);
}

static void conclude_w4(double *results)
{
    usleep(20000);
    for (int i = 0; i < WINDOWS; i++) {
        uint32_t count = late_count[i];
        const double *late = late_ms[i];
        if (count == 0)
            die("nothing fired");
        qsort(late_ms[i], count, sizeof *late, compare);
        results[CPU * WINDOWS + i] = 100.0 * (double)cpu_of[i] / (double)length_of[i];
        results[PER_FIRE * WINDOWS + i] = (double)cpu_of[i] / count;
        results[P50 * WINDOWS + i] = late[count / 2];
        results[P99 * WINDOWS + i] = late[(uint64_t)count * 99 / 100];
        results[P999 * WINDOWS + i] = late[(uint64_t)count * 999 / 1000];
        results[MOST * WINDOWS + i] = late[count - 1];
        results[COLUMNS * WINDOWS] += count;
    }
    results[COLUMNS * WINDOWS + 1] = early;
    results[COLUMNS * WINDOWS + 2] = (double)-earliest / 1e6;
    results[COLUMNS * WINDOWS + 3] = counted_bad;
}

static void on_send(void *data, const hbeat_event *event)
{
    size_t length = 0;
    uint64_t now = fired((uint32_t)(uintptr_t)event->link_data);
    (void)data;
    if (hbeat_link_take(engine, event->link, NULL, now, NULL, 0, &length) != HBEAT_INFO_SEND)
        __atomic_fetch_add(&counted_bad, 1, __ATOMIC_RELAXED);
    hbeat_link_received(engine, event->link, now);
}

static void begin_w4_hbeat(hbeat_event_callback callback, hbeat_event_callback sender)
{
    char policy[96];
    ids = memory(links, sizeof *ids);
    order = permutation(links);
    open_engine(callback, sender);
    /* Jitter comes from the phases: with that of the policy only hbeat would know when a beat was due. */
    snprintf(policy, sizeof policy, "normal interval=%ums timeout=10s tries=3 jitter=0%%", period_ms);
    open_links(links, policy, NULL, 1);
    prepare_w4();
}

static void w4_hbeat(double *results)
{
    begin_w4_hbeat(on_event, on_send);
    /* One period of warm-up, in which all are started at spread phases. */
    uint64_t begun = clock_now();
    for (uint32_t i = 0; i < links; i++) {
        uint64_t at = begun + period_ms * MS * i / links, now = clock_now();
        while (now < at) {
            sleep_until(at + MS);
            now = clock_now();
        }
        dues[order[i]] = now + period_ms * MS;
        if (hbeat_link_start(engine, ids[order[i]], now) < 0)
            die("hbeat_link_start");
    }
    sleep_until(clock_now() + SECOND);
    while (next_window())
        sleep_until(window_begun + window_ms * MS);
    conclude_w4(results);
}

static void on_any(void *data, const hbeat_event *event)
{
    if (event->type == HBEAT_EVENT_SEND)
        on_send(data, event);
    else
        on_event(data, event);
}

/* In the thread of the application, as the other peers are. */
static void w4_driven(double *results)
{
    run = HBEAT_RUN_APPLICATION;
    begin_w4_hbeat(NULL, NULL);
    uint64_t begun = clock_now(), period = period_ms * MS, windows = begun + period + SECOND;
    for (uint32_t i = 0;;) {
        uint64_t now = clock_now();
        for (; i < links && now >= begun + period * i / links; i++) {
            dues[order[i]] = now + period;
            if (hbeat_link_start(engine, ids[order[i]], now) < 0)
                die("hbeat_link_start");
        }
        drive();
        pull(on_any, 0);
        if (now >= windows) {
            if (!next_window())
                break;
            windows = window_begun + window_ms * MS;
        }
        sleep_until((clock_now() / MS + 1) * MS);
    }
    conclude_w4(results);
}

/* The other peers can be armed at any phase; they warm up for a second. */
static void arm_phases(void (*add)(uint32_t, uint64_t))
{
    prepare_w4();
    uint64_t now = clock_now() + SECOND / 4;
    for (uint32_t i = 0; i < links; i++) {
        dues[i] = now + (uint64_t)(random_below(1u << 31) / 2147483648.0 * period_ms * 1e6);
        add(i, dues[i]);
    }
}

/* Calls turn each millisecond through the warm-up and all windows. */
static void turn_through(void (*turn)(uint64_t now))
{
    uint64_t next = clock_now() + SECOND;
    for (;;) {
        uint64_t now = clock_now();
        turn(now);
        if (now >= next) {
            if (!next_window())
                return;
            next = window_begun + window_ms * MS;
        }
        sleep_until((clock_now() / MS + 1) * MS);
    }
}

#define WHEEL 32768

static uint32_t *wheel, *wheel_next;
static uint64_t wheel_now;

static void wheel_add(uint32_t id, uint64_t due)
{
    uint32_t *slot = &wheel[(due + MS - 1) / MS % WHEEL];
    wheel_next[id] = *slot;
    *slot = id + 1;
}

static void wheel_turn(uint64_t now)
{
    for (; wheel_now <= now / MS; wheel_now++) {
        uint32_t *slot = &wheel[wheel_now % WHEEL], chain = *slot;
        *slot = 0;
        while (chain) {
            uint32_t id = chain - 1;
            chain = wheel_next[id];
            wheel_add(id, fired(id) + period_ms * MS);
        }
    }
}

static void w4_floor(double *results)
{
    wheel = touched_memory(WHEEL, sizeof *wheel);
    wheel_next = touched_memory(links, sizeof *wheel_next);
    wheel_now = clock_now() / MS;
    arm_phases(wheel_add);
    turn_through(wheel_turn);
    conclude_w4(results);
}

static void heap_turn(uint64_t now)
{
    while (heap[0].due <= now) {
        uint32_t id = heap[0].id;
        heap_later(id, fired(id) + period_ms * MS);
    }
}

static void w4_heap(double *results)
{
    heap_make();
    arm_phases(heap_add);
    turn_through(heap_turn);
    conclude_w4(results);
}

#ifdef WITH_EV
static void timer_due(struct ev_loop *in, ev_timer *timer, int events)
{
    (void)events;
    fired((uint32_t)(timer - timers));
    ev_timer_again(in, timer);
}

static void window_due(struct ev_loop *in, ev_timer *timer, int events)
{
    (void)events;
    if (!next_window())
        ev_break(in, EVBREAK_ALL);
    timer->repeat = window_ms / 1e3;
    ev_timer_again(in, timer);
}

static void timer_add(uint32_t id, uint64_t due)
{
    ev_now_update(loop);
    arm(&timers[id], timer_due, (double)(int64_t)(due - clock_now()) / 1e9);
}

static void w4_again(double *results)
{
    ev_timer windows;
    loop = ev_loop_new(EVFLAG_AUTO);
    timers = memory(links, sizeof *timers);
    arm_phases(timer_add);
    ev_timer_init(&windows, window_due, 1.25, window_ms / 1e3);
    ev_now_update(loop);
    ev_timer_start(loop, &windows);
    ev_run(loop, 0);
    conclude_w4(results);
}
#endif

static void w4(void)
{
    static const struct {
        const char *name;
        void (*measure)(double *results);
    } rows[] = {
        { "floor: wheel, 1 ms turns", w4_floor },
        { "hbeat: on_send, take, received", w4_hbeat },
        { "hbeat: driven, pulled", w4_driven },
        { "heap, 1 ms turns", w4_heap },
#ifdef WITH_EV
        { "libev again", w4_again },
#else
        { "libev again: skipped, no ev.h", NULL },
#endif
    };
    static double results[COLUMNS * WINDOWS + 4];
    double floor[2 * WINDOWS];
    printf("\nW4: %u sessions, a beat each %u s at random phases, %d windows of %u s; min / median / max of them\n", links,
        period_ms / 1000, WINDOWS, window_ms / 1000);
    printf("%-32s %-21s %-21s %-20s %-20s %-20s %-20s %-20s %s\n", "", "CPU % of a core", "ns CPU a beat", "x floor",
        "late p50 ms", "p99", "p99.9", "most", "beats (early, bad)");
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        if (!rows[row].measure) {
            printf("%s\n", rows[row].name);
            continue;
        }
        memset(results, 0, sizeof results);
        apart(rows[row].measure, results, COLUMNS * WINDOWS + 4);
        if (row == 0)
            memcpy(floor, results, sizeof floor);
        const double *column = results;
        printf("%-32s %-21s ", rows[row].name, spread(column + CPU * WINDOWS, WINDOWS, 1));
        printf("%-21s ", spread(column + PER_FIRE * WINDOWS, WINDOWS, 0));
        printf("%-20s ", ratios(column + PER_FIRE * WINDOWS, floor + PER_FIRE * WINDOWS, WINDOWS));
        for (int i = P50; i < COLUMNS; i++)
            printf("%-20s ", spread(column + i * WINDOWS, WINDOWS, 2));
        column += COLUMNS * WINDOWS;
        printf("%.0f (%.0f by up to %.2f ms, %.0f)\n", column[0], column[1], column[2], column[3]);
        fflush(stdout);
    }
    printf("(early: before its time; libev may be, by the age of its cached clock. bad: SUSPECT, DOWN, PAUSE and notices\n"
           "for nothing)\n");
    print_load("after W4");
}

/* ---- W5 ---- */

enum { DRAIN, DEATH_P50, DEATH_P99, DEATH_MOST, DEATH_CPU, LOST, DOUBLE, EARLY, DEATH_COLUMNS };

#define DEATH_ROUNDS 3

static uint32_t death_ms = 5000;
/* Over so much time all are touched for the last time; 0: as fast as the peer can. */
static uint64_t spread_ns;
static uint8_t *deaths;
static double *death_late_ms;
static uint32_t dead, doubles, early_deaths;
static uint64_t last_due, last_death, death_cpu;

/* Session i was given up. */
static void died(uint32_t i)
{
    last_death = clock_now();
    int64_t late = (int64_t)(last_death - dues[i]);
    early_deaths += late < 0;
    if (deaths[i]++) {
        doubles++;
        return;
    }
    death_late_ms[dead] = (double)late / 1e6;
    __atomic_store_n(&dead, dead + 1, __ATOMIC_RELEASE);
}

static int all_dead(void) { return __atomic_load_n(&dead, __ATOMIC_ACQUIRE) == links; }

static void prepare_w5(void)
{
    order = permutation(links);
    dues = touched_memory(links, sizeof *dues);
    deaths = touched_memory(links, sizeof *deaths);
    death_late_ms = touched_memory(links, sizeof *death_late_ms);
}

/* Touches each session once, in random order; from then on all are silent. */
static void touch_all(void (*touch)(uint32_t id, uint64_t now))
{
    uint64_t begun = clock_now(), now = begun;
    for (uint32_t i = 0; i < links; i++) {
        uint64_t at = begun + spread_ns * i / links;
        if (i % CLOCK_EACH == 0)
            now = clock_now();
        while (now < at) {
            sleep_until(at + MS);
            now = clock_now();
        }
        dues[order[i]] = last_due = now + death_ms * MS;
        touch(order[i], now);
    }
    death_cpu = cpu_now();
}

/* The others are lost by then. */
static int time_is_up(void) { return clock_now() > last_due + 10 * SECOND; }

static void conclude_w5(double *results)
{
    results[DEATH_CPU] = (double)(cpu_now() - death_cpu) / 1e6;
    usleep(300000); /* for those that come twice */
    qsort(death_late_ms, dead, sizeof *death_late_ms, compare);
    if (dead > 0) {
        results[DEATH_P50] = death_late_ms[dead / 2];
        results[DEATH_P99] = death_late_ms[(uint64_t)dead * 99 / 100];
        results[DEATH_MOST] = death_late_ms[dead - 1];
    }
    results[DRAIN] = (double)(int64_t)(last_death - last_due) / 1e6;
    results[LOST] = links - dead;
    results[DOUBLE] = doubles;
    results[EARLY] = early_deaths;
}

static void on_death(void *data, const hbeat_event *event)
{
    (void)data;
    if (event->type == HBEAT_EVENT_DOWN)
        died((uint32_t)(uintptr_t)event->link_data);
}

static void received(uint32_t id, uint64_t now)
{
    if (hbeat_link_received(engine, ids[id], now) < 0)
        die("hbeat_link_received");
}

/* Silence alone is the verdict. */
static void begin_w5_hbeat(hbeat_event_callback callback)
{
    char policy[64];
    prepare_w5();
    ids = memory(links, sizeof *ids);
    open_engine(callback, NULL);
    snprintf(policy, sizeof policy, "interval=0s hold=%ums tries=0", death_ms);
    open_links(links, policy, NULL, 1);
    for (uint32_t i = 0; i < links; i++)
        if (hbeat_link_start(engine, ids[i], 0) < 0)
            die("hbeat_link_start");
    come_to_rest();
    touch_all(received);
}

static void w5_called(double *results)
{
    begin_w5_hbeat(on_death);
    while (!all_dead() && !time_is_up())
        usleep(1000);
    conclude_w5(results);
}

static void w5_pulled(double *results)
{
    begin_w5_hbeat(NULL);
    while (!all_dead() && !time_is_up())
        pull(on_death, 100);
    conclude_w5(results);
}

static void w5_driven(double *results)
{
    run = HBEAT_RUN_APPLICATION;
    begin_w5_hbeat(NULL);
    while (!all_dead() && !time_is_up()) {
        drive();
        pull(on_death, 0);
        sleep_until((clock_now() / MS + 1) * MS);
    }
    conclude_w5(results);
}

static void heap_touch(uint32_t id, uint64_t now) { heap_later(id, now + death_ms * MS); }

static void w5_heap(double *results)
{
    prepare_w5();
    heap_make();
    uint64_t far = clock_now() + death_ms * MS;
    for (uint32_t i = 0; i < links; i++)
        heap_add(i, far + i);
    touch_all(heap_touch);
    while (!all_dead() && !time_is_up()) {
        for (uint64_t now = clock_now(); heap_count > 0 && heap[0].due <= now;) {
            uint32_t id = heap[0].id;
            if (--heap_count > 0)
                heap_down(0, heap[heap_count]);
            died(id);
        }
        sleep_until((clock_now() / MS + 1) * MS);
    }
    conclude_w5(results);
}

#ifdef WITH_EV
static void ended(struct ev_loop *in)
{
    if (all_dead())
        ev_break(in, EVBREAK_ALL);
}

static void again_dies(struct ev_loop *in, ev_timer *timer, int events)
{
    (void)events;
    ev_timer_stop(in, timer);
    died((uint32_t)(timer - timers));
    ended(in);
}

static void again_touch(uint32_t id, uint64_t now)
{
    static uint64_t updated;
    if (now != updated)
        ev_now_update(loop);
    updated = now;
    timers[id].repeat = death_ms / 1e3;
    ev_timer_again(loop, &timers[id]);
}

static void lazy_dies(struct ev_loop *in, ev_timer *timer, int events)
{
    lazy_session *session = (lazy_session *)((char *)timer - offsetof(lazy_session, timer));
    double after = session->last_activity + death_ms / 1e3 - ev_now(in);
    (void)events;
    if (after > 0) {
        timer->repeat = after;
        ev_timer_again(in, timer);
        return;
    }
    ev_timer_stop(in, timer);
    died((uint32_t)(session - lazies));
    ended(in);
}

static void lazy_touch(uint32_t id, uint64_t now)
{
    static uint64_t updated;
    if (now != updated)
        ev_now_update(loop);
    updated = now;
    lazies[id].last_activity = ev_now(loop);
}

static void too_late(struct ev_loop *in, ev_timer *timer, int events)
{
    (void)timer, (void)events;
    ev_break(in, EVBREAK_ALL);
}

static void w5_libev(double *results, void (*touch)(uint32_t, uint64_t))
{
    ev_timer patience;
    prepare_w5();
    loop = ev_loop_new(EVFLAG_AUTO);
    timers = memory(links, sizeof *timers);
    lazies = memory(links, sizeof *lazies);
    for (uint32_t i = 0; i < links; i++)
        if (touch == again_touch)
            arm(&timers[i], again_dies, death_ms / 1e3);
        else
            arm(&lazies[i].timer, lazy_dies, death_ms / 1e3);
    touch_all(touch);
    ev_timer_init(&patience, too_late, death_ms / 1e3 + 12, 0);
    ev_now_update(loop);
    ev_timer_start(loop, &patience);
    ev_run(loop, 0);
    conclude_w5(results);
}

static void w5_again(double *results) { w5_libev(results, again_touch); }

static void w5_lazy(double *results) { w5_libev(results, lazy_touch); }
#endif

static void deaths_of(const char *name)
{
    static const struct {
        const char *name;
        void (*measure)(double *results);
    } rows[] = {
        { "heap, 1 ms turns", w5_heap },
        { "hbeat, on_event", w5_called },
        { "hbeat, pulled 1024 at once", w5_pulled },
        { "hbeat, driven, pulled", w5_driven },
#ifdef WITH_EV
        { "libev again", w5_again },
        { "libev lazy", w5_lazy },
#else
        { "libev: skipped, no ev.h", NULL },
#endif
    };
    printf("\n%s: %u sessions die %u ms after their last touch, all touched within %s, %d rounds\n", name, links, death_ms,
        spread_ns ? "a second" : "as little time as the peer needs", DEATH_ROUNDS);
    printf("%-28s %-26s %-26s %-26s %-26s %-23s %s\n", "", "drained after, ms", "late p50 ms", "p99", "most", "CPU ms", "lost, double, early");
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        double all[DEATH_COLUMNS][DEATH_ROUNDS], one[DEATH_COLUMNS];
        if (!rows[row].measure) {
            printf("%s\n", rows[row].name);
            continue;
        }
        for (int round = 0; round < DEATH_ROUNDS; round++) {
            memset(one, 0, sizeof one);
            apart(rows[row].measure, one, DEATH_COLUMNS);
            for (int i = 0; i < DEATH_COLUMNS; i++)
                all[i][round] = one[i];
        }
        printf("%-28s ", rows[row].name);
        for (int i = DRAIN; i < DEATH_CPU; i++)
            printf("%-26s ", spread(all[i], DEATH_ROUNDS, 1));
        printf("%-23s ", spread(all[DEATH_CPU], DEATH_ROUNDS, 0));
        double sums[3] = { 0, 0, 0 };
        for (int i = 0; i < 3; i++)
            for (int round = 0; round < DEATH_ROUNDS; round++)
                sums[i] += all[LOST + i][round];
        printf("%.0f, %.0f, %.0f\n", sums[0], sums[1], sums[2]);
        fflush(stdout);
    }
    printf("(drained: the last one, after the last deadline; CPU: of the process, from the last touch on)\n");
}

static void w5(void)
{
    spread_ns = SECOND;
    deaths_of("W5");
    spread_ns = 0;
    deaths_of("W5b");
    print_load("after W5");
}

int main(int count, char **words)
{
    int all = 1;
    for (int i = 1; i < count; i++)
        if (strcmp(words[i], "quick") == 0) {
            links = 100000;
            cmpp_links = 20000;
            period_ms = 10000;
            window_ms = 1000;
            death_ms = 2000;
        } else if (strcmp(words[i], "w1") && strcmp(words[i], "w2") && strcmp(words[i], "w4") && strcmp(words[i], "w5")) {
            fprintf(stderr, "usage: w [quick] [w1] [w2] [w4] [w5]\n");
            return 2;
        } else {
            all = 0;
        }
    printf("hbeat %s and its peers, on a machine that others may use, too: only ratios within this run mean anything.\n",
        hbeat_version());
    print_load("before");
#ifdef WITH_EV
    printf("libev %d.%d\n", ev_version_major(), ev_version_minor());
#else
    printf("libev: skipped, ev.h was not found when this was built (Debian: libev-dev)\n");
#endif
    for (int which = 0; which < 4; which++) {
        static const char *const names[] = { "w1", "w2", "w4", "w5" };
        static void (*const runs[])(void) = { w1, w2, w4, w5 };
        int wanted = all;
        for (int i = 1; i < count; i++)
            wanted |= strcmp(words[i], names[which]) == 0;
        if (wanted)
            runs[which]();
    }
    return 0;
}
