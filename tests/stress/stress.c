/* Eight threads, and the callbacks, do to an engine at random whatever the header allows, and some of what it forbids;
 * the engine is stopped in the midst of it. Round after round in each way to run, and after each round the books must
 * balance: see account.h. Arguments, all with a number: --operations, --rounds, --seed, --patience (seconds without
 * progress after which it is a deadlock). --seed-race does nothing but a data race inside the library, which
 * ThreadSanitizer must see. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "operations.h"

enum { WORKERS = 8, MAIN = 8, TURNER, LANES, LONG_MS = 600000 };
enum stopper { NOBODY, A_CALLBACK, A_WORKER };

static const struct way WAYS[] = {
    {"threads, two lanes", HBEAT_RUN_THREADS, 1, 1},
    {"threads, pulled", HBEAT_RUN_THREADS, 0, 0},
    {"application, two lanes", HBEAT_RUN_APPLICATION, 1, 1},
    {"threads, one lane", HBEAT_RUN_THREADS, 1, 0},
    {"application, pulled", HBEAT_RUN_APPLICATION, 0, 0},
    {"threads, notices called, the rest pulled", HBEAT_RUN_THREADS, 0, 1},
};
enum { WAY_COUNT = sizeof WAYS / sizeof WAYS[0] };

static uint64_t operations_wanted = 10000000;
static unsigned rounds_wanted = 12, patience_s = 60;
static uint64_t steps, shares_done; /* progress, for the watchdog: of the main thread, and of the workers' shares */
static uint64_t all_opens, all_refused, all_closes, all_reports, all_downs, all_carried_ups, all_events;

static void sleep_us(unsigned us) {
    struct timespec pause = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&pause, NULL);
}

static struct actor actor_of(int number) {
    struct actor actor = {seed * 1000003u + (uint64_t)LOAD(round_number) * 101u + (uint64_t)number, number, 0};
    draw(&actor);
    return actor;
}

/* The actor that this thread is; a lane's thread becomes one with its first callback. */
static __thread struct actor *me;

static struct actor *myself(void) {
    static __thread struct actor lane;
    if (!me) {
        lane = actor_of(LANES);
        me = &lane;
    }
    return me;
}

/* ---- What the engine calls ---- */

static void stop_inside(struct world *world, struct actor *actor) {
    int wanted = A_CALLBACK;
    if (!actor->inside || !__atomic_compare_exchange_n(&world->stop_here, &wanted, NOBODY, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
    STORE(world->stop_begun, 1);
    expect(world, "stop", hbeat_engine_stop(world->engine, HBEAT_FOREVER), ALLOW(INFO_STOPPING));
}

/* What the application does about an event, and besides. */
static void react(struct world *world, struct actor *actor, const hbeat_event *event, struct record *record) {
    if (LOAD(world->quiet)) return;
    if (record && event->type == HBEAT_EVENT_SEND && below(actor, 4)) do_take_of(world, actor, target_of(record));
    if (record && event->type == HBEAT_EVENT_DOWN && below(actor, 2)) do_close_of(world, target_of(record));
    stop_inside(world, actor);
    if (below(actor, 4) == 0) act(world, actor);
}

static void called(struct world *world, const hbeat_event *event, int lane) {
    struct actor *actor = myself();
    actor->inside++;
    struct record *record = account_event(&world->account, event, LOAD(world->account.ends[lane]));
    react(world, actor, event, record);
    if (record && LOAD(record->ends) != 0) fail("a link ended while a callback of it ran");
    STORE(world->account.ends[lane], ADD(world->account.tickets, 1));
    actor->inside--;
}

static void on_event(void *world, const hbeat_event *event) { called((struct world *)world, event, 0); }

static void on_send(void *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_SEND) fail("%s through on_send", hbeat_event_name(event->type));
    called((struct world *)world, event, 1);
}

static struct world *released_world;

static void release(void *link_data) {
    struct actor *actor = myself();
    actor->inside++;
    account_end((struct connection *)link_data);
    if (!LOAD(released_world->quiet)) {
        stop_inside(released_world, actor);
        if (below(actor, 8) == 0) act(released_world, actor);
    }
    actor->inside--;
}

static void on_log(void *data, uint32_t level, const char *line) {
    struct world *world = (struct world *)data;
    struct actor *actor = myself();
    actor->inside++;
    if (strlen(line) == 0 || level < HBEAT_LOG_INFO || level > HBEAT_LOG_WARNING) fail("a log line of level %u", level);
    if (!LOAD(world->quiet) && below(actor, 32) == 0) act(world, actor);
    actor->inside--;
}

static inline int pull(struct world *world, struct actor *actor, uint32_t timeout_ms) {
    hbeat_event events[16];
    uint32_t count = 0, capacity = 1 + below(actor, 16);
    uint64_t since = ADD(world->account.tickets, 1);
    hbeat_status status = hbeat_engine_wait(world->engine, events, sizeof events[0], capacity, timeout_ms, &count);
    expect(world, "wait", status, ALLOW(OK) | ALLOW(INFO_END));
    if (count > capacity || (status == HBEAT_INFO_END && count > 0)) fail("wait gave %u of %u", count, capacity);
    for (uint32_t i = 0; i < count; i++) {
        struct record *record = account_event(&world->account, &events[i], since);
        react(world, actor, &events[i], record);
    }
    return status == HBEAT_INFO_END ? -1 : (int)count;
}

/* ---- The threads ---- */

struct worker {
    struct world *world;
    int number;
    uint64_t share;
    pthread_t thread;
};

static void *work(void *data) {
    struct worker *worker = (struct worker *)data;
    struct world *world = worker->world;
    struct actor actor = actor_of(worker->number);
    me = &actor;
    for (uint64_t i = 0; i < worker->share; i++) {
        act(world, &actor);
        ADD(shares_done, 1);
    }
    pthread_barrier_wait(&world->rest); /* the main thread looks whether all is at rest */
    pthread_barrier_wait(&world->rest);
    while (!LOAD(world->ended)) {
        int wanted = A_WORKER;
        act(world, &actor);
        if (__atomic_compare_exchange_n(&world->stop_here, &wanted, NOBODY, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            STORE(world->stop_begun, 1);
            expect(world, "stop", hbeat_engine_stop(world->engine, below(&actor, 3)), ALLOW(OK) | ALLOW(ERR_TIMEOUT));
        }
    }
    return NULL;
}

/* Pulls until the end, or until the stop where the rest is left to free. */
static int pull_some(struct world *world, struct actor *actor, uint32_t timeout_ms) {
    if (world->leaves_rest && LOAD(world->stop_begun)) return -1;
    pthread_mutex_lock(&world->pulling);
    int count = pull(world, actor, timeout_ms);
    pthread_mutex_unlock(&world->pulling);
    return count;
}

/* The thread that pulls, drives, or both. */
static void *turn(void *data) {
    struct world *world = (struct world *)data;
    struct actor actor = actor_of(TURNER);
    int driven = world->way.run == HBEAT_RUN_APPLICATION, pulled = !world->way.on_event, fd = -1;
    me = &actor;
    expect(world, "fd", hbeat_engine_fd(world->engine, &fd), ALLOW(OK));
    for (int more = 0; more >= 0 && !(driven && !pulled && LOAD(world->ended));) {
        static const uint32_t timeouts[] = {0, 1, 20, HBEAT_FOREVER};
        if (driven || below(&actor, 4) == 0) {
            struct pollfd ready = {fd, POLLIN, 0};
            poll(&ready, 1, 1); /* beats and verdicts are due each millisecond or so */
        }
        if (driven) {
            uint32_t turned = ALLOW(OK) | ALLOW(INFO_MORE) | ALLOW(ERR_BUSY) | ALLOW(ERR_STOPPED);
            expect(world, "drive", hbeat_engine_drive(world->engine, 0), turned);
        }
        if (pulled) more = pull_some(world, &actor, timeouts[below(&actor, 4)]);
    }
    return NULL;
}

/* Calls abort, so that a debugger finds every thread where it hangs. */
static void *watch(void *data) {
    uint64_t seen = 0;
    unsigned still_s = 0;
    for (;; still_s++) {
        uint64_t now = LOAD(steps) + LOAD(shares_done);
        if (now != seen) still_s = 0;
        seen = now;
        if (still_s > patience_s) {
            printf("FAILED in round %d, seed %llu: no progress for %u s\n", LOAD(round_number), (unsigned long long)seed, patience_s);
            for (int i = 0; i <= LANES; i++) printf("  actor %d is in: %s\n", i, LOAD(doing[i]) ? LOAD(doing[i]) : "nothing");
            printf("0 passed, 1 failed, 0 skipped\n");
            fflush(stdout);
            abort();
        }
        sleep_us(1000000);
    }
    return data;
}

/* ---- A round ---- */

static int entries_of(const char *path) {
    int count = 0;
    DIR *directory = opendir(path);
    while (directory && readdir(directory)) count++;
    if (directory) closedir(directory);
    return count;
}

/* Threads and descriptors of this process are again as many as before; a thread that ended may still be seen for a moment. */
static void expect_none_left(const char *path, int before) {
    for (int i = 0; i < 5000 && entries_of(path) != before; i++) sleep_us(1000);
    if (entries_of(path) != before) fail("%s: %d before, %d after", path, before, entries_of(path));
}

static void begin(struct world *world, struct actor *actor) {
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.run = world->way.run;
    options.threads = 1 + below(actor, 2);
    options.max_links = 65536;
    options.events = below(actor, 2) ? 0 : HBEAT_EVENTS_ALL;
    options.engine_data = world;
    options.on_event = world->way.on_event ? on_event : NULL;
    options.on_send = world->way.on_send ? on_send : NULL;
    world->has_release = (int)below(actor, 2);
    world->leaves_rest = world->has_release && !world->way.on_event && below(actor, 2);
    options.release = world->has_release ? release : NULL;
    options.on_log = below(actor, 2) ? on_log : NULL;
    pthread_mutex_init(&world->pulling, NULL);
    pthread_barrier_init(&world->rest, NULL, WORKERS + 1);
    world->account.records = (struct record *)calloc(RECORDS, sizeof(struct record));
    if (hbeat_engine_new(&options, &world->engine) != HBEAT_OK) fail("new: %s", hbeat_last_error());
    released_world = world;
}

static int links_listed(struct world *world) {
    hbeat_link page[100], after = 0;
    uint32_t count = 0;
    int all = 0;
    hbeat_status status;
    do {
        status = hbeat_engine_links(world->engine, after, page, 100, &count);
        expect(world, "links", status, ALLOW(OK) | ALLOW(INFO_MORE));
        if (count > 0) after = page[count - 1];
        all += (int)count;
    } while (status == HBEAT_INFO_MORE);
    return all;
}

/* The threads rest: all that was told is handed out, and the books agree with the engine. */
static void look_at_rest(struct world *world) {
    int open = -1;
    STORE(world->quiet, 1);
    expect(world, "quiesce", hbeat_engine_quiesce(world->engine, LONG_MS), ALLOW(OK));
    /* Who pulls may still deal with his last batch. */
    for (int i = 0; i < 30000 && (open < 0 || open != links_listed(world)); i++) {
        if (open >= 0) sleep_us(1000);
        open = account_at_rest(&world->account);
        if (open < 0) sleep_us(1000);
    }
    if (open < 0) fail("a report was never told of");
    if (open != links_listed(world)) fail("%d links are open, %d are listed", open, links_listed(world));
    hbeat_stats stats = stats_of(world);
    if (stats.opened != LOAD(world->account.opens) || stats.closed != LOAD(world->account.closes)) {
        fail("counted are %llu opens, %llu closes", (unsigned long long)stats.opened, (unsigned long long)stats.closed);
    }
    STORE(world->quiet, 0);
}

/* Stops in the midst of it: first perhaps a callback or a thread, in the end the main thread. */
static void stop(struct world *world, struct actor *actor) {
    STORE(world->stop_here, (int)below(actor, 3));
    for (unsigned i = 0; i < 200 && LOAD(world->stop_here) != NOBODY; i++) sleep_us(1000);
    sleep_us(below(actor, 2000));
    STORE(world->stop_begun, 1);
    expect(world, "stop", hbeat_engine_stop(world->engine, LONG_MS), ALLOW(OK));
    STORE(world->stop_here, NOBODY);
    expect(world, "stop", hbeat_engine_stop(world->engine, 0), ALLOW(OK));
}

static void expect_stopped(struct world *world) {
    hbeat_health health;
    health.struct_size = sizeof health;
    expect(world, "health", hbeat_engine_health(world->engine, &health), ALLOW(OK));
    if (health.phase != HBEAT_PHASE_STOPPED || health.threads != 0) fail("phase %u, %u threads after stop", health.phase, health.threads);
    if (!world->leaves_rest && (health.links != 0 || health.waiting != 0)) fail("%u links, %u events after the end", health.links, health.waiting);
}

static void add_up(struct account *account) {
    all_opens += account->opens;
    all_refused += account->refused;
    all_closes += account->closes;
    all_reports += account->reports;
    all_downs += account->downs;
    all_carried_ups += account->carried_ups;
    all_events += account->events + account->last_events;
}

static void run_round(const struct way *way, uint64_t share) {
    int threads = entries_of("/proc/self/task"), descriptors = entries_of("/proc/self/fd");
    struct world *world = (struct world *)calloc(1, sizeof *world);
    struct worker workers[WORKERS];
    struct actor actor = actor_of(MAIN);
    pthread_t turner;
    int turns = way->run == HBEAT_RUN_APPLICATION || !way->on_event;
    me = &actor;
    world->way = *way;
    begin(world, &actor);
    for (int i = 0; i < WORKERS; i++) {
        struct worker worker = {world, i, share, 0};
        workers[i] = worker;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    if (turns) pthread_create(&turner, NULL, turn, world);
    pthread_barrier_wait(&world->rest);
    ADD(steps, 1);
    look_at_rest(world);
    ADD(steps, 1);
    pthread_barrier_wait(&world->rest);
    sleep_us(below(&actor, 20000));
    stop(world, &actor);
    ADD(steps, 1);
    STORE(world->ended, 1);
    for (int i = 0; i < WORKERS; i++) pthread_join(workers[i].thread, NULL);
    if (turns) pthread_join(turner, NULL);
    expect_stopped(world);
    expect(world, "free", hbeat_engine_free(world->engine), ALLOW(OK));
    account_balance(&world->account);
    expect_none_left("/proc/self/task", threads);
    expect_none_left("/proc/self/fd", descriptors);
    printf("round %2d, %s: %llu opens, %llu closes, %llu DOWN, %llu events\n", round_number, way->name,
           (unsigned long long)world->account.opens, (unsigned long long)world->account.closes,
           (unsigned long long)world->account.downs, (unsigned long long)world->account.events);
    add_up(&world->account);
    me = NULL;
    pthread_barrier_destroy(&world->rest);
    pthread_mutex_destroy(&world->pulling);
    free(world->account.records);
    free(world);
    ADD(steps, 1);
}

/* ---- What is there for all rounds ---- */

static void set_up(void) {
    static const char *const texts[POLICIES] = {
        "cmpp interval=2ms timeout=1ms tries=3",
        "cmpp interval=5ms timeout=2ms tries=2",
        "normal interval=3ms timeout=3ms tries=1",
        "normal strategy=periodic interval=4ms timeout=2ms tries=3 jitter=10%",
        "passive hold=4ms timeout=2ms tries=2",
        "normal proof=answer interval=20ms timeout=10ms tries=3",
        "normal",
        "cmpp",
        "cmpp interval=4ms timeout=2ms tries=2 observe_only=yes",
        "cmpp observe_only=yes",
        "cmpp interval=3ms timeout=2ms tries=2 progress=5ms on_no_progress=stop least=1ms",
        "normal interval=4ms timeout=3ms tries=3 progress=1ms on_no_progress=flag least=100ms strikes=1",
    };
    for (int i = 0; i < POLICIES; i++) {
        if (hbeat_policy_parse(&policies[i], sizeof policies[i], texts[i]) != HBEAT_OK) fail("%s: %s", texts[i], hbeat_last_error());
    }
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.start_paused = 1; /* nothing is due, so any event of it comes from what others did */
    if (hbeat_engine_new(&options, &bystander) != HBEAT_OK) fail("new: %s", hbeat_last_error());
    for (int i = 0; i < FOREIGN; i++) {
        if (hbeat_link_open(bystander, &policies[0], &how, &foreign[i]) != HBEAT_OK) fail("open: %s", hbeat_last_error());
    }
    int unread[2], read[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, unread) || socketpair(AF_UNIX, SOCK_STREAM, 0, read)) fail("socketpair: %s", strerror(errno));
    if (write(unread[1], "unread", 6) != 6) fail("write: %s", strerror(errno));
    observed[0] = unread[0];
    observed[1] = read[0];
}

/* The other engine's links were used in every call, and nothing has happened to them. */
static void look_at_bystander(void) {
    hbeat_event event;
    uint32_t count = 0;
    hbeat_link links[FOREIGN + 1];
    if (hbeat_engine_wait(bystander, &event, sizeof event, 1, 0, &count) != HBEAT_OK || count != 0) fail("another engine had an event");
    if (hbeat_engine_links(bystander, 0, links, FOREIGN + 1, &count) != HBEAT_OK || count != FOREIGN) fail("another engine lost a link");
    if (hbeat_engine_stop(bystander, 1000) != HBEAT_OK || hbeat_engine_free(bystander) != HBEAT_OK) fail("%s", hbeat_last_error());
}

/* Two threads let the library write to one variable of theirs. */
static void *race(void *shared) {
    for (int i = 0; i < 1000; i++) hbeat_engine_now(bystander, (uint64_t *)shared);
    return NULL;
}

static int seed_race(void) {
    pthread_t threads[2];
    uint64_t shared = 0;
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, race, &shared);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    look_at_bystander();
    return 0;
}

static int read_arguments(int count, char **words) {
    int races = 0;
    seed = hbeat_now_ns() ^ (uint64_t)getpid() << 32;
    for (int i = 1; i < count; i++) {
        const char *value = i + 1 < count ? words[i + 1] : "";
        if (strcmp(words[i], "--seed-race") == 0) {
            races = 1;
            continue;
        }
        if (strcmp(words[i], "--operations") == 0) operations_wanted = strtoull(value, NULL, 10);
        else if (strcmp(words[i], "--rounds") == 0) rounds_wanted = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(words[i], "--seed") == 0) seed = strtoull(value, NULL, 10);
        else if (strcmp(words[i], "--patience") == 0) patience_s = (unsigned)strtoul(value, NULL, 10);
        else fail("%s: known are --operations, --rounds, --seed, --patience, --seed-race", words[i]);
        i++;
    }
    if (rounds_wanted == 0) fail("--rounds 0: there must be one at least");
    return races;
}

int main(int count, char **words) {
    pthread_t watchdog;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int races = read_arguments(count, words);
    set_up();
    if (races) return seed_race();
    printf("seed %llu\n", (unsigned long long)seed);
    pthread_create(&watchdog, NULL, watch, NULL);
    pthread_detach(watchdog);
    for (unsigned i = 0; i < rounds_wanted; i++) {
        STORE(round_number, (int)i + 1);
        run_round(&WAYS[i % WAY_COUNT], operations_wanted / rounds_wanted / WORKERS + 1);
    }
    look_at_bystander();
    if (all_carried_ups == 0) fail("no link that hbeat carries came UP");
    for (int i = 0; i < OPERATIONS; i++) printf("%s%llu %s", i ? ", " : "", (unsigned long long)operations[i].count, operations[i].name);
    printf("\n%llu operations, %llu of them before the stops, those of callbacks not counted\n",
           (unsigned long long)operations_done, (unsigned long long)shares_done);
    printf("%llu opens (%llu refused), %llu closes, %llu reports, %llu DOWN, %llu UP of links that hbeat carries, %llu events\n",
           (unsigned long long)all_opens, (unsigned long long)all_refused, (unsigned long long)all_closes, (unsigned long long)all_reports, (unsigned long long)all_downs,
           (unsigned long long)all_carried_ups, (unsigned long long)all_events);
    printf("%u passed, 0 failed, 0 skipped\n", rounds_wanted);
    return 0;
}
