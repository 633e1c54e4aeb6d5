/* What the threads, and the callbacks, do to the engine: one function a call of the C face, all at random, and what
 * each of them may return. */
#ifndef OPERATIONS_H
#define OPERATIONS_H
#include "account.h"
#include <sys/socket.h>

enum { ENTRIES = 512, FOREIGN = 8, POLICIES = 12, LISTENERS = 8, KEYS = 3 };

struct way {
    const char *name;
    uint32_t run;
    int on_event, on_send;
};

/* One round: an engine, and what everybody does to it. */
struct world {
    struct way way;
    hbeat_engine *engine;
    struct account account;
    struct record *entries[ENTRIES]; /* the links in use: each thread opens into its own, all use all */
    hbeat_listener listeners[LISTENERS]; /* those that are open, or were */
    pthread_mutex_t pulling;         /* who pulls has dealt with a batch before the next one is pulled */
    int has_release;
    int leaves_rest; /* to free, with release: nobody pulls after the stop */
    int quiet;      /* callbacks only keep the books */
    int stop_begun; /* STOPPED may be returned */
    int stop_here;  /* a thread, or the next callback, stops the engine: enum stopper */
    int ended;
    pthread_barrier_t rest;
};

/* Who acts: a thread, in or out of a callback. */
struct actor {
    uint64_t random;
    int number;
    int inside; /* so many callbacks */
};

static hbeat_engine *bystander; /* another engine, whose links must not be touched by anything here */
static hbeat_link foreign[FOREIGN];
static hbeat_policy policies[POLICIES];
static int observed[2]; /* sockets: one with bytes unread, one without */
static uint64_t operations_done;
static const char *doing[64]; /* by actor, for the watchdog */

static inline uint64_t draw(struct actor *actor) {
    uint64_t mixed = actor->random += 0x9e3779b97f4a7c15ull;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebull;
    return mixed ^ (mixed >> 31);
}

static inline unsigned below(struct actor *actor, unsigned limit) { return (unsigned)(draw(actor) % limit); }

/* Whether a status is among those that a call may return. */
#define ALLOW(status) (1u << (HBEAT_##status + 20))
static inline void expect(struct world *world, const char *call, hbeat_status status, uint32_t allowed) {
    if (status == HBEAT_ERR_STOPPED && !LOAD(world->stop_begun)) fail("%s: STOPPED, and nobody stopped", call);
    if (status < -20 || status > 11 || !(1u << (status + 20) & allowed)) {
        fail("%s: %s (%s)", call, hbeat_status_name(status), hbeat_last_error());
    }
}

/* A link to do something to. */
struct target {
    struct record *record; /* NULL: the id is none that this engine gave */
    hbeat_link link;
    uint32_t allowed;
};

/* A record that is still being filled has no link yet, and nothing else of it may be read. */
static inline struct target target_of(struct record *record) {
    hbeat_link link = record ? LOAD(record->link) : 0;
    struct target target = {link ? record : NULL, link, ALLOW(OK) | ALLOW(ERR_NO_LINK) | ALLOW(ERR_STOPPED)};
    if (target.record && record->carried) target.allowed |= ALLOW(ERR_WRONG_MODE);
    return target;
}

static inline struct target target_pick(struct world *world, struct actor *actor) {
    struct target wrong = {NULL, 0, ALLOW(ERR_NO_LINK) | ALLOW(ERR_STOPPED)};
    unsigned used = account_count(&world->account);
    switch (below(actor, 32)) {
    case 0: wrong.link = draw(actor); break;
    case 1: wrong.link = foreign[below(actor, FOREIGN)]; break;
    case 2: wrong.link = draw(actor) & 0xfff; break;
    case 3:
    case 4:
    case 5: /* most of them are stale */
        if (used > 0) return target_of(&world->account.records[below(actor, used)]);
        break;
    default: return target_of(LOAD(world->entries[below(actor, ENTRIES)]));
    }
    return wrong;
}

static inline uint64_t some_time(struct actor *actor) {
    switch (below(actor, 8)) {
    case 0: return hbeat_now_ns() - below(actor, 1000000000);
    case 1: return hbeat_now_ns() + below(actor, 2000000000);
    case 2: return draw(actor);
    case 3:
    case 4: return 0;
    default: return hbeat_now_ns();
    }
}

static inline void do_close_of(struct world *world, struct target target) {
    hbeat_status status = hbeat_link_close(world->engine, target.link);
    expect(world, "close", status, target.allowed & ~ALLOW(ERR_STOPPED));
    if (status == HBEAT_OK) account_closed(&world->account, target.record);
}

static inline void do_close(struct world *world, struct actor *actor) { do_close_of(world, target_pick(world, actor)); }

/* What stands behind a link that is to be opened. */
static inline struct connection *connect_record(struct world *world, struct record *record) {
    struct connection *connection = (struct connection *)malloc(sizeof *connection);
    connection->account = &world->account;
    connection->record = record;
    connection->lives = LIVES;
    record->connection = connection;
    return connection;
}

/* What came of opening it; one that is open takes the place of another. */
static inline void opened(struct world *world, struct actor *actor, struct record *record, hbeat_status status, hbeat_link link) {
    if (status != HBEAT_OK) {
        free(record->connection);
        ADD(world->account.refused, 1);
        return;
    }
    ADD(world->account.opens, 1);
    STORE(record->link, link);
    struct record **entry = &world->entries[below(actor, ENTRIES / 8) * 8 + (unsigned)actor->number % 8];
    struct record *before = __atomic_exchange_n(entry, record, __ATOMIC_SEQ_CST);
    if (before && below(actor, 32)) do_close_of(world, target_of(before));
}

static inline void do_open(struct world *world, struct actor *actor) {
    static const char *const protocols[] = {"none", "cmpp", "cmpp", "heart"};
    struct record *record = account_record(&world->account);
    if (!record) return;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    char name[32];
    hbeat_link link = 0;
    snprintf(name, sizeof name, "l%u", below(actor, 1000));
    how.name = below(actor, 4) ? name : NULL;
    how.protocol = protocols[below(actor, 4)];
    how.link_data = connect_record(world, record);
    how.start_paused = below(actor, 8) == 0;
    how.events = below(actor, 4) ? 0 : HBEAT_EVENTS_ALL;
    how.fd = below(actor, 4) ? -1 : observed[below(actor, 2)];
    hbeat_status status = hbeat_link_open(world->engine, &policies[below(actor, POLICIES)], &how, &link);
    expect(world, "open", status, ALLOW(OK) | ALLOW(ERR_AGAIN) | ALLOW(ERR_LIMIT) | ALLOW(ERR_STOPPED));
    opened(world, actor, record, status, link);
}

static inline uint32_t only_threads(struct world *world, uint32_t allowed) {
    return world->way.run == HBEAT_RUN_APPLICATION ? ALLOW(ERR_WRONG_MODE) | ALLOW(ERR_STOPPED) : allowed;
}

/* One or two of a few keys. */
static inline size_t some_keys(struct actor *actor, hbeat_key keys[2]) {
    static const unsigned char octets[KEYS][16] = {{1}, {2}, {3}};
    unsigned first = below(actor, KEYS);
    for (unsigned i = 0; i < 2; i++) {
        hbeat_key key = {sizeof key, (first + i) % KEYS, octets[(first + i) % KEYS], sizeof octets[0]};
        keys[i] = key;
    }
    return 1 + below(actor, 2);
}

static inline void do_set_keys(struct world *world, struct actor *actor) {
    hbeat_key keys[2];
    struct target target = target_pick(world, actor);
    size_t count = some_keys(actor, keys);
    hbeat_status status = hbeat_link_set_keys(world->engine, target.link, keys, count);
    expect(world, "set_keys", status, target.allowed | (target.record ? ALLOW(ERR_WRONG_MODE) : 0));
}

/* Both ends of a connection are handed over: two links that beat at each other, sealed or not. */
static inline void do_adopt(struct world *world, struct actor *actor) {
    hbeat_key keys[2];
    int ends[2];
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.key_count = below(actor, 2) ? some_keys(actor, keys) : 0;
    how.keys = how.key_count > 0 ? keys : NULL;
    how.protocol = "heart";
    how.events = below(actor, 4) ? 0 : HBEAT_EVENTS_ALL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
    for (int i = 0; i < 2; i++) {
        struct record *record = account_record(&world->account);
        hbeat_link link = 0;
        hbeat_status status = HBEAT_ERR_LIMIT;
        if (record) {
            record->carried = 1;
            how.link_data = connect_record(world, record);
            status = hbeat_link_adopt(world->engine, ends[i], &policies[below(actor, POLICIES)], &how, &link);
            uint32_t refusals = ALLOW(ERR_AGAIN) | ALLOW(ERR_LIMIT) | ALLOW(ERR_STOPPED) | ALLOW(ERR_INVALID);
            expect(world, "adopt", status, only_threads(world, ALLOW(OK) | refusals));
            opened(world, actor, record, status, link);
        }
        if (status != HBEAT_OK) close(ends[i]);
    }
}

/* One more, in the place of another. Nobody dials it: what it accepted, the books would not know. */
static inline void do_listen(struct world *world, struct actor *actor) {
    static const char *const endpoints[] = {"tcp://127.0.0.1:0", "udp://127.0.0.1:0"};
    hbeat_key keys[2];
    hbeat_listener_options how;
    hbeat_listener listener = 0;
    memset(&how, 0, sizeof how);
    how.struct_size = sizeof how;
    how.key_count = below(actor, 2) ? some_keys(actor, keys) : 0;
    how.keys = how.key_count > 0 ? keys : NULL;
    hbeat_status status =
        hbeat_listener_open(world->engine, endpoints[below(actor, 2)], &policies[below(actor, POLICIES)], &how, &listener);
    expect(world, "listener_open", status, only_threads(world, ALLOW(OK) | ALLOW(ERR_INVALID) | ALLOW(ERR_STOPPED)));
    if (status != HBEAT_OK) return;
    hbeat_listener before = __atomic_exchange_n(&world->listeners[below(actor, LISTENERS)], listener, __ATOMIC_SEQ_CST);
    if (before) expect(world, "listener_close", hbeat_listener_close(world->engine, before), ALLOW(OK) | ALLOW(ERR_NO_LINK));
}

static inline void do_listener(struct world *world, struct actor *actor) {
    hbeat_listener listener = below(actor, 4) ? LOAD(world->listeners[below(actor, LISTENERS)]) : draw(actor);
    hbeat_listener_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    hbeat_status status = hbeat_listener_info_get(world->engine, listener, &info);
    expect(world, "listener_info", status, ALLOW(OK) | ALLOW(ERR_NO_LINK) | ALLOW(ERR_STOPPED));
    if (status == HBEAT_OK && (info.listener != listener || info.accepted > 0)) fail("info of another listener");
    if (below(actor, 4) == 0) expect(world, "listener_close", hbeat_listener_close(world->engine, listener), ALLOW(OK) | ALLOW(ERR_NO_LINK));
}

static inline void do_start(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    expect(world, "start", hbeat_link_start(world->engine, target.link, some_time(actor)), target.allowed);
}

static inline void do_pause(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    expect(world, "pause", hbeat_link_pause(world->engine, target.link, some_time(actor)), target.allowed);
}

static inline void do_received(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    expect(world, "received", hbeat_link_received(world->engine, target.link, some_time(actor)), target.allowed);
}

static inline void do_links_received(struct world *world, struct actor *actor) {
    hbeat_link links[40];
    uint32_t count = below(actor, 41);
    for (uint32_t i = 0; i < count; i++) links[i] = target_pick(world, actor).link;
    hbeat_status status = hbeat_links_received(world->engine, links, count, some_time(actor));
    expect(world, "links_received", status, ALLOW(OK) | ALLOW(ERR_NO_LINK) | ALLOW(ERR_STOPPED));
}

static inline void do_sent(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    expect(world, "sent", hbeat_link_sent(world->engine, target.link, some_time(actor)), target.allowed);
}

static inline void do_progress(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    if (below(actor, 2)) {
        expect(world, "engine_progress", hbeat_engine_progress(world->engine, some_time(actor)), ALLOW(OK) | ALLOW(ERR_STOPPED));
    } else {
        expect(world, "link_progress", hbeat_link_progress(world->engine, target.link, some_time(actor)), target.allowed);
    }
}

/* A frame of CMPP: a test, its answer, or something else. */
static inline size_t cmpp_frame(unsigned char *to, uint32_t command, uint32_t sequence) {
    uint32_t words[3] = {command == 0x80000008u ? 13u : 12u, command, sequence};
    for (int i = 0; i < 12; i++) to[i] = (unsigned char)(words[i / 4] >> (24 - i % 4 * 8));
    to[12] = 0;
    return words[0];
}

/* Some frames in a row, most of them whole; or anything at all. */
static inline size_t some_bytes(struct actor *actor, unsigned char *bytes, size_t capacity) {
    static const uint32_t commands[] = {0x00000008u, 0x80000008u, 0x80000008u, 0x00000004u};
    size_t length = 0;
    if (below(actor, 64) == 0) {
        length = below(actor, (unsigned)capacity);
        for (size_t i = 0; i < length; i++) bytes[i] = (unsigned char)draw(actor);
        return length;
    }
    for (unsigned frames = 1 + below(actor, 3); frames > 0 && length + 13 <= capacity; frames--) {
        length += cmpp_frame(bytes + length, commands[below(actor, 4)], below(actor, 64));
    }
    return below(actor, 8) ? length : below(actor, (unsigned)length + 1);
}

static inline void do_feed_of(struct world *world, struct target target, const unsigned char *bytes, size_t length, uint64_t now_ns) {
    uint32_t fed = ALLOW(INFO_SEND) | ALLOW(ERR_BUSY) | ALLOW(ERR_DESYNC) | ALLOW(ERR_WRONG_MODE);
    hbeat_status status = hbeat_link_feed(world->engine, target.link, bytes, length, now_ns);
    expect(world, "feed", status, target.allowed | (target.record ? fed : 0));
}

/* In one piece, or in two with whatever comes between them. */
static inline void do_feed(struct world *world, struct actor *actor) {
    unsigned char bytes[64];
    struct target target = target_pick(world, actor);
    size_t length = some_bytes(actor, bytes, sizeof bytes), first = below(actor, 2) ? length : below(actor, (unsigned)length + 1);
    do_feed_of(world, target, bytes, first, some_time(actor));
    if (first < length) do_feed_of(world, target, bytes + first, length - first, some_time(actor));
}

/* Writes what was taken to a peer, which mostly answers; some peers are the other links. */
static inline void deliver(struct world *world, struct actor *actor, struct target target, unsigned char *bytes, size_t length, uint32_t sequence) {
    unsigned char answer[13];
    switch (below(actor, 4)) {
    case 0: do_feed_of(world, target_of(LOAD(world->entries[below(actor, ENTRIES)])), bytes, length, 0); break;
    case 1: do_feed_of(world, target, answer, cmpp_frame(answer, 0x80000008u, sequence), 0); break;
    case 2: expect(world, "answer_received", hbeat_link_answer_received(world->engine, target.link, sequence, 0), target.allowed); break;
    default: break;
    }
}

static inline void do_take_of(struct world *world, struct actor *actor, struct target target) {
    unsigned char buffer[256];
    uint32_t sequence = below(actor, 64), used = sequence;
    size_t capacity = below(actor, 4) ? sizeof buffer : below(actor, 40), length = 0;
    uint32_t allowed = target.allowed | (target.record ? ALLOW(INFO_SEND) | ALLOW(INFO_MORE) | ALLOW(ERR_BUSY) : 0);
    hbeat_status status =
        hbeat_link_take(world->engine, target.link, below(actor, 4) ? &sequence : NULL, some_time(actor), buffer, capacity, &length);
    expect(world, "take", status, allowed);
    if (status < 0) return;
    if (length > capacity) fail("take wrote %zu bytes into %zu", length, capacity);
    if (length > 0 || status == HBEAT_INFO_SEND) deliver(world, actor, target, buffer, length, used);
}

static inline void do_take(struct world *world, struct actor *actor) { do_take_of(world, actor, target_pick(world, actor)); }

static inline void do_unsent(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    expect(world, "unsent", hbeat_link_unsent(world->engine, target.link, some_time(actor)), target.allowed);
}

static inline void do_answer_received(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    expect(world, "answer_received", hbeat_link_answer_received(world->engine, target.link, below(actor, 64), some_time(actor)), target.allowed);
}

static inline void do_beat_received(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    expect(world, "beat_received", hbeat_link_beat_received(world->engine, target.link, below(actor, 64), some_time(actor)), target.allowed);
}

static inline void do_report_down(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    uint32_t cause = 1 + below(actor, 14), allowed = target.allowed | (target.record ? ALLOW(INFO_ALREADY_DOWN) : 0);
    hbeat_status status = hbeat_link_report_down(world->engine, target.link, cause, below(actor, 100));
    expect(world, "report_down", status, allowed);
    if (status == HBEAT_OK) account_reported(&world->account, target.record);
}

static inline void do_set_policy(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    uint32_t allowed = target.allowed | (target.record && target.record->carried ? ALLOW(ERR_INVALID) : 0); /* observe_only */
    expect(world, "set_policy", hbeat_link_set_policy(world->engine, target.link, &policies[below(actor, POLICIES)]), allowed);
}

/* A few states over and over, so that some are news and some are not. */
static inline void do_set_state(struct world *world, struct actor *actor) {
    unsigned char state[HBEAT_APP_STATE_MAX + 1];
    struct target target = target_pick(world, actor);
    size_t length = below(actor, 16) ? below(actor, 3) * 500 : sizeof state;
    memset(state, (int)below(actor, 2), sizeof state);
    hbeat_status status = hbeat_link_set_state(world->engine, target.link, state, length);
    expect(world, "set_state", status, target.allowed | (target.record ? ALLOW(ERR_WRONG_MODE) | ALLOW(ERR_INVALID) : 0));
    if (status == HBEAT_OK && length > HBEAT_APP_STATE_MAX) fail("set_state took %zu bytes", length);
}

static inline void do_peer_state(struct world *world, struct actor *actor) {
    unsigned char state[HBEAT_APP_STATE_MAX];
    struct target target = target_pick(world, actor);
    size_t capacity = below(actor, 2) ? sizeof state : below(actor, 600), length = 0;
    uint32_t allowed = target.allowed | (target.record ? ALLOW(ERR_WRONG_MODE) | ALLOW(INFO_MORE) : 0);
    hbeat_status status = hbeat_link_peer_state(world->engine, target.link, state, capacity, &length);
    expect(world, "peer_state", status, allowed);
    if (status >= 0 && (length > capacity) != (status == HBEAT_INFO_MORE)) fail("peer_state gave %zu of %zu", length, capacity);
    for (size_t i = 1; status == HBEAT_OK && i < length; i++)
        if (state[i] != state[0]) fail("peer_state gave parts of two states");
}

/* The same that it has: the books know it by that. */
static inline void do_set_data(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    void *data = target.record ? target.record->connection : NULL;
    expect(world, "set_data", hbeat_link_set_data(world->engine, target.link, data), target.allowed);
}

static inline void do_info(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    hbeat_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    hbeat_status status = hbeat_link_info(world->engine, target.link, &info);
    expect(world, "info", status, target.allowed);
    if (status != HBEAT_OK) return;
    if (info.link != target.link || info.link_data != target.record->connection) fail("info of another link");
}

static inline void do_feed_sent(struct world *world, struct actor *actor) {
    unsigned char bytes[64];
    struct target target = target_pick(world, actor);
    uint32_t fed = ALLOW(ERR_BUSY) | ALLOW(ERR_DESYNC) | ALLOW(ERR_WRONG_MODE);
    size_t length = some_bytes(actor, bytes, sizeof bytes);
    hbeat_status status = hbeat_link_feed_sent(world->engine, target.link, bytes, length, some_time(actor));
    expect(world, "feed_sent", status, target.allowed | (target.record ? fed : 0));
}

static inline void do_beat_sent(struct world *world, struct actor *actor) {
    struct target target = target_pick(world, actor);
    hbeat_status status = hbeat_link_beat_sent(world->engine, target.link, below(actor, 64), some_time(actor));
    expect(world, "beat_sent", status, target.allowed | (target.record ? ALLOW(ERR_WRONG_MODE) : 0));
}

static inline hbeat_stats stats_of(struct world *world) {
    hbeat_stats stats;
    stats.struct_size = sizeof stats;
    expect(world, "stats", hbeat_engine_stats(world->engine, &stats), ALLOW(OK));
    return stats;
}

static inline void do_numbers(struct world *world, struct actor *actor) {
    hbeat_histogram histogram;
    histogram.struct_size = sizeof histogram;
    uint32_t which = below(actor, 2) ? HBEAT_HISTOGRAM_RTT : HBEAT_HISTOGRAM_LATENESS;
    expect(world, "histogram", hbeat_engine_histogram(world->engine, which, &histogram), ALLOW(OK));
    hbeat_stats stats = stats_of(world);
    if (stats.closed > stats.opened) fail("more links were closed than opened");
}

static inline void do_links(struct world *world, struct actor *actor) {
    hbeat_link links[64], after = below(actor, 2) ? 0 : target_pick(world, actor).link;
    uint32_t count = 0, capacity = 1 + below(actor, 64);
    expect(world, "links", hbeat_engine_links(world->engine, after, links, capacity, &count), ALLOW(OK) | ALLOW(INFO_MORE));
    if (count > capacity) fail("links gave %u of %u", count, capacity);
}

static inline void do_health(struct world *world, struct actor *actor) {
    hbeat_health health;
    (void)actor;
    health.struct_size = sizeof health;
    expect(world, "health", hbeat_engine_health(world->engine, &health), ALLOW(OK));
    if (health.phase == HBEAT_PHASE_FAILED) fail("the engine failed");
}

/* What only some ways allow, and callbacks never. */
static inline void do_turn(struct world *world, struct actor *actor) {
    uint64_t deadline_ns;
    int driven = world->way.run == HBEAT_RUN_APPLICATION;
    uint32_t mode = driven ? ALLOW(OK) | ALLOW(INFO_MORE) | ALLOW(ERR_BUSY) : ALLOW(ERR_WRONG_MODE), ends = ALLOW(ERR_STOPPED);
    expect(world, "next_deadline", hbeat_engine_next_deadline(world->engine, &deadline_ns), (driven ? ALLOW(OK) : mode) | ends);
    expect(world, "advance", hbeat_engine_advance(world->engine, 0), ALLOW(ERR_WRONG_MODE) | ends);
    if (actor->inside && driven) mode = ALLOW(ERR_WOULD_DEADLOCK);
    expect(world, "drive", hbeat_engine_drive(world->engine, 0), mode | ends);
}

static inline void do_quiesce(struct world *world, struct actor *actor) {
    uint32_t outside = ALLOW(OK) | ALLOW(ERR_TIMEOUT), inside = ALLOW(ERR_WOULD_DEADLOCK);
    hbeat_status status = hbeat_engine_quiesce(world->engine, below(actor, 3));
    expect(world, "quiesce", status, (actor->inside ? inside : outside) | ALLOW(ERR_STOPPED));
    if (actor->inside) expect(world, "free", hbeat_engine_free(world->engine), inside);
}

/* Pulls one batch and deals with it; how many events it had, -1: there will be no more. */
static inline int pull(struct world *world, struct actor *actor, uint32_t timeout_ms);

static inline void do_wait(struct world *world, struct actor *actor) {
    hbeat_event event;
    uint32_t count = 0;
    if (world->way.on_event) {
        expect(world, "wait", hbeat_engine_wait(world->engine, &event, sizeof event, 1, 0, &count), ALLOW(ERR_WRONG_MODE));
    } else if (!actor->inside) {
        if (pthread_mutex_trylock(&world->pulling) != 0) return;
        pull(world, actor, 0);
        pthread_mutex_unlock(&world->pulling);
    }
}

struct operation {
    const char *name;
    unsigned weight;
    void (*act)(struct world *world, struct actor *actor);
    uint64_t count;
};
static struct operation operations[] = {
    {"received", 22, do_received, 0},
    {"links_received", 2, do_links_received, 0},
    {"feed", 16, do_feed, 0},
    {"feed_sent", 5, do_feed_sent, 0},
    {"take", 9, do_take, 0},
    {"open", 7, do_open, 0},
    {"sent", 7, do_sent, 0},
    {"answer_received", 5, do_answer_received, 0},
    {"beat_received", 5, do_beat_received, 0},
    {"beat_sent", 3, do_beat_sent, 0},
    {"info", 5, do_info, 0},
    {"close", 4, do_close, 0},
    {"start", 4, do_start, 0},
    {"unsent", 3, do_unsent, 0},
    {"set_policy", 3, do_set_policy, 0},
    {"adopt", 2, do_adopt, 0},
    {"listen", 1, do_listen, 0},
    {"listener", 1, do_listener, 0},
    {"set_keys", 2, do_set_keys, 0},
    {"set_state", 3, do_set_state, 0},
    {"peer_state", 3, do_peer_state, 0},
    {"set_data", 1, do_set_data, 0},
    {"progress", 4, do_progress, 0},
    {"pause", 2, do_pause, 0},
    {"report_down", 2, do_report_down, 0},
    {"links", 2, do_links, 0},
    {"numbers", 1, do_numbers, 0},
    {"health", 1, do_health, 0},
    {"turn", 1, do_turn, 0},
    {"wait", 1, do_wait, 0},
    {"quiesce", 1, do_quiesce, 0},
};
enum { OPERATIONS = sizeof operations / sizeof operations[0] };

static inline void act(struct world *world, struct actor *actor) {
    static unsigned total;
    unsigned all = LOAD(total);
    if (all == 0) {
        for (int i = 0; i < OPERATIONS; i++) all += operations[i].weight;
        STORE(total, all);
    }
    unsigned chosen = below(actor, all);
    struct operation *operation = operations;
    while (chosen >= operation->weight) chosen -= (operation++)->weight;
    STORE(doing[actor->number % 64], operation->name);
    operation->act(world, actor);
    STORE(doing[actor->number % 64], "nothing");
    ADD(operation->count, 1);
    ADD(operations_done, 1);
}
#endif
