/* What the stories share: a world with one engine, turned in any way to run, that writes down what it is told. */
#ifndef STORY_H
#define STORY_H
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

/* Where manual clocks start: not at zero, so that nobody mistakes an age for a time. */
static const uint64_t START_NS = 1000000000000ull;
static const uint32_t LONG_MS = 10000; /* longer than anything here takes, also on a noisy machine */

enum lane { LANE_EVENT, LANE_SEND, LANE_PULLED };

struct way {
    const char *name;
    uint32_t run;
    int on_event, on_send; /* which callbacks are set */
    int driven;            /* by drive and next_deadline, not by advance */
};

static const struct way WAYS[] = {
    {"threads, two lanes", HBEAT_RUN_THREADS, 1, 1, 0},
    {"threads, one lane", HBEAT_RUN_THREADS, 1, 0, 0},
    {"threads, pulled", HBEAT_RUN_THREADS, 0, 0, 0},
    {"threads, notices called, the rest pulled", HBEAT_RUN_THREADS, 0, 1, 0},
    {"application, two lanes, advanced", HBEAT_RUN_APPLICATION, 1, 1, 0},
    {"application, pulled, advanced", HBEAT_RUN_APPLICATION, 0, 0, 0},
    {"application, two lanes, driven", HBEAT_RUN_APPLICATION, 1, 1, 1},
    {"application, one lane, driven", HBEAT_RUN_APPLICATION, 1, 0, 1},
    {"application, pulled, driven", HBEAT_RUN_APPLICATION, 0, 0, 1},
};
enum { TWO_LANES, ONE_LANE, PULLED, NOTICES_CALLED, APP_TWO_LANES, APP_PULLED, DRIVEN, DRIVEN_ONE_LANE, DRIVEN_PULLED, WAY_COUNT };

struct seen {
    hbeat_event event;
    enum lane lane;
    long thread;
    int batch; /* which call of wait handed it out */
};

struct world {
    struct way way;
    hbeat_engine *engine;
    uint64_t now_ns;
    void (*react)(struct world *world, const hbeat_event *event); /* the application, in whichever lane */
    pthread_mutex_t lock;
    struct seen seen[1024];
    int count, batches, releases;
    void *released[64];
    long release_thread;
    char log[8192];
    /* for the stories' own use */
    hbeat_link link;
    uint32_t sequence;
    unsigned char frame[HBEAT_FRAME_MAX];
    size_t length;
    hbeat_status status;
    int flag, turns;
};

static inline long thread_id(void) { return syscall(SYS_gettid); }

static inline uint64_t ns_of(uint64_t ms) { return START_NS + ms * 1000000u; }

/* Milliseconds since the start of the story; -1 for a time that is not a whole one. */
static inline long long ms_of(uint64_t at_ns) {
    uint64_t since = at_ns - START_NS;
    return at_ns >= START_NS && since % 1000000u == 0 ? (long long)(since / 1000000u) : -1;
}

static inline void sleep_ms(long ms) {
    struct timespec pause;
    pause.tv_sec = ms / 1000;
    pause.tv_nsec = ms % 1000 * 1000000;
    nanosleep(&pause, NULL);
}

static inline int load(int *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static inline void store(int *word, int value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }

/* Waits in real time until a word has a value, or 10 s. */
static inline int becomes(int *word, int value) {
    for (int i = 0; i < 5000 && load(word) != value; i++) sleep_ms(2);
    return load(word) == value;
}

static inline void world_note(struct world *world, const hbeat_event *event, enum lane lane) {
    pthread_mutex_lock(&world->lock);
    if (world->count < 1024) {
        struct seen *slot = &world->seen[world->count];
        slot->event = *event;
        slot->lane = lane;
        slot->thread = thread_id();
        slot->batch = world->batches;
        __atomic_store_n(&world->count, world->count + 1, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&world->lock);
    if (world->react) world->react(world, event);
}

static inline void world_on_event(void *data, const hbeat_event *event) {
    world_note((struct world *)data, event, LANE_EVENT);
}

static inline void world_on_send(void *data, const hbeat_event *event) {
    world_note((struct world *)data, event, LANE_SEND);
}

/* The engine's options for a way to run; stories change what they are about before world_open. */
static inline hbeat_engine_options world_options(struct world *world, int way, uint32_t clock) {
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    memset(world, 0, sizeof *world);
    pthread_mutex_init(&world->lock, NULL);
    world->way = WAYS[way];
    world->now_ns = START_NS;
    world->sequence = 1;
    options.run = world->way.run;
    options.clock = clock;
    options.start_ns = clock == HBEAT_CLOCK_MANUAL ? START_NS : 0;
    options.engine_data = world;
    options.on_event = world->way.on_event ? world_on_event : NULL;
    options.on_send = world->way.on_send ? world_on_send : NULL;
    return options;
}

static inline void world_open(struct world *world, const hbeat_engine_options *options) {
    REQUIRE_OK(hbeat_engine_new(options, &world->engine));
    REQUIRE(world->engine != NULL);
}

/* A world under the manual clock. */
static inline void world_begin(struct world *world, int way) {
    hbeat_engine_options options = world_options(world, way, HBEAT_CLOCK_MANUAL);
    world_open(world, &options);
}

/* Pulls all that waits; how many events that were. */
static inline int world_pull(struct world *world, uint32_t timeout_ms) {
    int all = 0;
    for (;;) {
        hbeat_event events[8];
        uint32_t count = 77;
        hbeat_status status = hbeat_engine_wait(world->engine, events, sizeof events[0], 8, timeout_ms, &count);
        if (status == HBEAT_INFO_END) {
            CHECK_EQ(count, 0);
            return all;
        }
        REQUIRE_OK(status);
        REQUIRE(count <= 8);
        if (count == 0) return all;
        world->batches++;
        for (uint32_t i = 0; i < count; i++) world_note(world, &events[i], LANE_PULLED);
        all += (int)count;
        timeout_ms = 0;
    }
}

/* On to `ms` after the start, reacting to all that happens on the way. */
static inline void world_go(struct world *world, uint64_t ms) {
    uint64_t target = ns_of(ms);
    for (int turns = 0; turns < 100000; turns++) {
        hbeat_status status;
        uint64_t next = target;
        if (world->way.driven) {
            REQUIRE_OK(hbeat_engine_next_deadline(world->engine, &next));
            if (next > target) next = target;
            if (next > world->now_ns) world->now_ns = next;
            status = hbeat_engine_drive(world->engine, world->now_ns);
        } else {
            status = hbeat_engine_advance(world->engine, target);
        }
        REQUIRE(status == HBEAT_OK || status == HBEAT_INFO_MORE);
        int pulled = !world->way.on_event ? world_pull(world, 0) : 0;
        if (status == HBEAT_INFO_MORE && world->way.on_event) REQUIRE(!"MORE although nothing is pulled");
        if (world->way.driven) {
            uint64_t later = 0;
            REQUIRE_OK(hbeat_engine_next_deadline(world->engine, &later));
            if (world->now_ns == target && later > target && !pulled) return;
        } else if (status == HBEAT_OK && !pulled) {
            world->now_ns = target;
            return;
        }
    }
    REQUIRE(!"the engine never comes to rest");
}

/* Lets all that was told be handed out, without time going by. */
static inline void world_settle(struct world *world) { world_go(world, (world->now_ns - START_NS) / 1000000u); }

/* Stops and frees; what is left is handed out first. */
static inline void world_end(struct world *world) {
    CHECK_STATUS(hbeat_engine_stop(world->engine, LONG_MS), HBEAT_OK);
    if (!world->way.on_event) world_pull(world, 0);
    CHECK_STATUS(hbeat_engine_free(world->engine), HBEAT_OK);
    world->engine = NULL;
    pthread_mutex_destroy(&world->lock);
}

/* How many events of a type one link (0: all) had. */
static inline int world_count(struct world *world, uint32_t type, hbeat_link link) {
    int found = 0;
    pthread_mutex_lock(&world->lock);
    for (int i = 0; i < world->count; i++)
        found += world->seen[i].event.type == type && (link == 0 || world->seen[i].event.link == link);
    pthread_mutex_unlock(&world->lock);
    return found;
}

/* Waits in real time until a link had `least` events of a type, or 10 s. */
static inline int world_sees(struct world *world, uint32_t type, hbeat_link link, int least) {
    for (int i = 0; i < 5000 && world_count(world, type, link) < least; i++) sleep_ms(2);
    return world_count(world, type, link) >= least;
}

/* The nth event (from 0) of a type of a link; the story ends if there is none. */
static inline const struct seen *world_seen(struct world *world, uint32_t type, hbeat_link link, int nth) {
    const struct seen *found = NULL;
    pthread_mutex_lock(&world->lock);
    for (int i = 0; i < world->count && !found; i++)
        if (world->seen[i].event.type == type && world->seen[i].event.link == link && nth-- == 0) found = &world->seen[i];
    pthread_mutex_unlock(&world->lock);
    if (!found) printf("  no such event: %s\n", hbeat_event_name(type));
    REQUIRE(found != NULL);
    return found;
}

static inline const hbeat_event *world_event(struct world *world, uint32_t type, hbeat_link link, int nth) {
    return &world_seen(world, type, link, nth)->event;
}

/* Was it so that the events of a type came at exactly these times (ends with -1)? */
static inline int world_times(struct world *world, uint32_t type, hbeat_link link, const long *times) {
    int n = 0;
    for (; times[n] >= 0; n++) {
        if (world_count(world, type, link) <= n) {
            printf("  %s: only %d came, expected one at %ld ms\n", hbeat_event_name(type), n, times[n]);
            return 0;
        }
        long long at = ms_of(world_event(world, type, link, n)->at_ns);
        if (at != times[n]) {
            printf("  %s %d came at %lld ms, expected %ld ms\n", hbeat_event_name(type), n, at, times[n]);
            return 0;
        }
    }
    if (world_count(world, type, link) != n) printf("  %s: %d came, expected %d\n", hbeat_event_name(type), world_count(world, type, link), n);
    return world_count(world, type, link) == n;
}

/* CMPP's rules with the numbers that a story wants. */
static inline hbeat_policy policy_of(uint32_t interval_ms, uint32_t timeout_ms, uint32_t tries) {
    hbeat_policy policy;
    memset(&policy, 0, sizeof policy);
    REQUIRE_OK(hbeat_policy_preset(&policy, sizeof policy, "cmpp"));
    policy.interval_ms = interval_ms;
    policy.timeout_ms = timeout_ms;
    policy.tries = tries;
    return policy;
}

static inline hbeat_link open_with(struct world *world, const hbeat_policy *policy, const hbeat_link_options *options) {
    hbeat_link link = 0;
    REQUIRE_OK(hbeat_link_open(world->engine, policy, options, &link));
    REQUIRE(link != 0);
    return link;
}

static inline hbeat_link open_named(struct world *world, const hbeat_policy *policy, const char *name, const char *protocol) {
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    options.name = name;
    options.protocol = protocol;
    options.link_data = world;
    return open_with(world, policy, &options);
}

static inline hbeat_info info_of(struct world *world, hbeat_link link) {
    hbeat_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    REQUIRE_OK(hbeat_link_info(world->engine, link, &info));
    return info;
}

static inline hbeat_health health_of(struct world *world) {
    hbeat_health health;
    memset(&health, 0, sizeof health);
    health.struct_size = sizeof health;
    REQUIRE_OK(hbeat_engine_health(world->engine, &health));
    return health;
}

/* Takes into world->frame, with the application's counter world->sequence. */
static inline hbeat_status take(struct world *world, hbeat_link link) {
    world->length = 7777;
    return hbeat_link_take(world->engine, link, &world->sequence, 0, world->frame, sizeof world->frame, &world->length);
}

/* The usual application: a notice is taken (and written, the story goes). */
static inline void take_notices(struct world *world, const hbeat_event *event) {
    if (event->type == HBEAT_EVENT_SEND) take(world, event->link);
}

/* CMPP frames: 12 bytes, an answer has one more. */
enum { CMPP_TEST = 0x00000008, CMPP_SUBMIT = 0x00000004 };
static const uint32_t CMPP_ANSWER = 0x80000008u;

static inline size_t cmpp_frame(unsigned char *to, uint32_t command, uint32_t sequence) {
    uint32_t length = command == CMPP_ANSWER ? 13 : 12, words[3];
    words[0] = length;
    words[1] = command;
    words[2] = sequence;
    for (int i = 0; i < 12; i++) to[i] = (unsigned char)(words[i / 4] >> (24 - i % 4 * 8));
    to[12] = 0;
    return length;
}

static inline int is_frame(const unsigned char *at, uint32_t command, uint32_t sequence) {
    unsigned char wanted[13];
    return memcmp(at, wanted, cmpp_frame(wanted, command, sequence)) == 0;
}

/* The peer's frame arrives and is fed. */
static inline hbeat_status feed(struct world *world, hbeat_link link, uint32_t command, uint32_t sequence) {
    unsigned char frame[13];
    size_t length = cmpp_frame(frame, command, sequence);
    return hbeat_link_feed(world->engine, link, frame, length, 0);
}
#endif
