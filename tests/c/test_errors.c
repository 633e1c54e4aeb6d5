/* Misuse: each one is a status and a sentence, and the engine and the other links go on. */
#include "check.h"
#include "story.h"

#include <stddef.h>

static hbeat_policy cmpp(void) { return policy_of(180000, 60000, 3); }

/* What must still be so after any misuse. */
static void goes_on(struct world *world, hbeat_link bystander) {
    world_settle(world);
    CHECK_EQ(health_of(world).phase, HBEAT_PHASE_RUNNING);
    CHECK_EQ(info_of(world, bystander).state, HBEAT_STATE_UP);
    CHECK_EQ(world_count(world, HBEAT_EVENT_ENGINE_FAILED, 0), 0);
    CHECK_EQ(world_count(world, HBEAT_EVENT_DOWN, bystander), 0);
}

TEST(null_in_every_place_of_the_pure_calls, "K89 K98") {
    hbeat_policy policy = cmpp();
    hbeat_backoff backoff;
    hbeat_event event;
    char text[256];
    size_t length = 77;
    uint64_t free_from = 77;
    uint32_t one = 77, two = 77;
    memset(&event, 0, sizeof event);
    event.struct_size = sizeof event;
    event.type = HBEAT_EVENT_DOWN;
    FAILS(hbeat_event_text(NULL, text, sizeof text, &length), HBEAT_ERR_NULL, "event");
    FAILS(hbeat_event_text(&event, NULL, sizeof text, &length), HBEAT_ERR_NULL, "buffer");
    CHECK_STATUS(hbeat_event_text(&event, text, sizeof text, NULL), HBEAT_OK); /* nobody needs the length */
    FAILS(hbeat_policy_preset(NULL, sizeof policy, "cmpp"), HBEAT_ERR_NULL, "policy");
    FAILS(hbeat_policy_preset(&policy, sizeof policy, NULL), HBEAT_ERR_NULL, "name");
    FAILS(hbeat_policy_parse(NULL, sizeof policy, "cmpp"), HBEAT_ERR_NULL, "policy");
    FAILS(hbeat_policy_parse(&policy, sizeof policy, NULL), HBEAT_ERR_NULL, "text");
    FAILS(hbeat_policy_print(NULL, text, sizeof text, &length), HBEAT_ERR_NULL, "policy");
    FAILS(hbeat_policy_print(&policy, NULL, sizeof text, &length), HBEAT_ERR_NULL, "buffer");
    CHECK_STATUS(hbeat_policy_print(&policy, text, sizeof text, NULL), HBEAT_OK);
    FAILS(hbeat_policy_check(NULL), HBEAT_ERR_NULL, "policy");
    FAILS(hbeat_policy_detection(NULL, &one, &two), HBEAT_ERR_NULL, "policy");
    FAILS(hbeat_policy_detection(&policy, NULL, &two), HBEAT_ERR_NULL, "earliest_ms");
    FAILS(hbeat_policy_detection(&policy, &one, NULL), HBEAT_ERR_NULL, "latest_ms");
    FAILS(hbeat_backoff_default(NULL, sizeof backoff), HBEAT_ERR_NULL, "backoff");
    CHECK_STATUS(hbeat_backoff_default(&backoff, sizeof backoff), HBEAT_OK);
    FAILS(hbeat_backoff_delay(NULL, 1, 1, &one), HBEAT_ERR_NULL, "backoff");
    FAILS(hbeat_backoff_delay(&backoff, 1, 1, NULL), HBEAT_ERR_NULL, "delay_ms");
    FAILS(hbeat_backoff_refused(NULL, 1, &one), HBEAT_ERR_NULL, "backoff");
    FAILS(hbeat_backoff_refused(&backoff, 1, NULL), HBEAT_ERR_NULL, "delay_ms");
    FAILS(hbeat_backoff_reserve(NULL, &free_from, 1, &one), HBEAT_ERR_NULL, "backoff");
    FAILS(hbeat_backoff_reserve(&backoff, NULL, 1, &one), HBEAT_ERR_NULL, "free_from_ms");
    FAILS(hbeat_backoff_reserve(&backoff, &free_from, 1, NULL), HBEAT_ERR_NULL, "wait_ms");
    CHECK(one == 77 && two == 77 && length == 77 && free_from == 77);
}

TEST(null_in_every_place_of_the_engine_calls, "K89 K98 K101") {
    struct world world;
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_engine *engine = NULL;
    hbeat_health health;
    hbeat_event event;
    hbeat_link links[2] = {77, 77};
    uint32_t count = 77;
    uint64_t ns = 77;
    int32_t fd = 77;
    health.struct_size = sizeof health;
    FAILS(hbeat_engine_new(NULL, &engine), HBEAT_ERR_NULL, "options");
    FAILS(hbeat_engine_new(&options, NULL), HBEAT_ERR_NULL, "engine");
    CHECK(engine == NULL);
    FAILS(hbeat_engine_stop(NULL, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_quiesce(NULL, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_health(NULL, &health), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_links(NULL, 0, links, 2, &count), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_now(NULL, &ns), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_wait(NULL, &event, sizeof event, 1, 0, &count), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_fd(NULL, &fd), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_drive(NULL, 1), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_next_deadline(NULL, &ns), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_advance(NULL, 1), HBEAT_ERR_NULL, "engine");

    world_begin(&world, APP_PULLED);
    hbeat_policy policy = cmpp();
    hbeat_link bystander = open_named(&world, &policy, "bystander", "cmpp");
    FAILS(hbeat_engine_health(world.engine, NULL), HBEAT_ERR_NULL, "health");
    FAILS(hbeat_engine_links(world.engine, 0, NULL, 2, &count), HBEAT_ERR_NULL, "links");
    FAILS(hbeat_engine_links(world.engine, 0, links, 2, NULL), HBEAT_ERR_NULL, "count");
    FAILS(hbeat_engine_now(world.engine, NULL), HBEAT_ERR_NULL, "now_ns");
    FAILS(hbeat_engine_wait(world.engine, NULL, sizeof event, 1, 0, &count), HBEAT_ERR_NULL, "events");
    FAILS(hbeat_engine_wait(world.engine, &event, sizeof event, 1, 0, NULL), HBEAT_ERR_NULL, "count");
    FAILS(hbeat_engine_fd(world.engine, NULL), HBEAT_ERR_NULL, "fd");
    FAILS(hbeat_engine_next_deadline(world.engine, NULL), HBEAT_ERR_NULL, "deadline_ns");
    CHECK(count == 77 && ns == 77 && fd == 77 && links[0] == 77);
    goes_on(&world, bystander);
    world_end(&world);
}

static const hbeat_key key = {sizeof(hbeat_key), 1, "sixteen or more octets", 22};

TEST(null_in_every_place_of_the_link_calls, "K89 K98 K101") {
    struct world world;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy = cmpp();
    hbeat_info info;
    unsigned char bytes[64] = {0};
    size_t length = 77;
    uint32_t sequence = 77;
    hbeat_link none = 77;
    info.struct_size = sizeof info;
    world_begin(&world, TWO_LANES);
    hbeat_engine *engine = world.engine;
    hbeat_link link = open_named(&world, &policy, "bystander", "cmpp");
    FAILS(hbeat_link_open(NULL, &policy, &how, &none), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_open(engine, NULL, &how, &none), HBEAT_ERR_NULL, "policy");
    FAILS(hbeat_link_open(engine, &policy, NULL, &none), HBEAT_ERR_NULL, "options");
    FAILS(hbeat_link_open(engine, &policy, &how, NULL), HBEAT_ERR_NULL, "link");
    CHECK_EQ(none, 77);
    CHECK_EQ(health_of(&world).links, 1);
    FAILS(hbeat_link_start(NULL, link, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_pause(NULL, link, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_close(NULL, link), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_received(NULL, link, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_links_received(NULL, &link, 1, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_links_received(engine, NULL, 1, 0), HBEAT_ERR_NULL, "links");
    CHECK_STATUS(hbeat_links_received(engine, NULL, 0, 0), HBEAT_OK);
    FAILS(hbeat_link_sent(NULL, link, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_engine_progress(NULL, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_progress(NULL, link, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_feed(NULL, link, bytes, 1, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_feed(engine, link, NULL, 1, 0), HBEAT_ERR_NULL, "bytes");
    CHECK_STATUS(hbeat_link_feed(engine, link, NULL, 0, 0), HBEAT_OK); /* nothing was read */
    FAILS(hbeat_link_take(NULL, link, &sequence, 0, bytes, sizeof bytes, &length), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_take(engine, link, &sequence, 0, NULL, 1, &length), HBEAT_ERR_NULL, "buffer");
    FAILS(hbeat_link_take(engine, link, &sequence, 0, bytes, sizeof bytes, NULL), HBEAT_ERR_NULL, "length");
    CHECK(length == 77 && sequence == 77);
    FAILS(hbeat_link_unsent(NULL, link, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_answer_received(NULL, link, 1, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_beat_received(NULL, link, 1, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_report_down(NULL, link, HBEAT_CAUSE_RESET, 0), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_set_policy(NULL, link, &policy), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_set_policy(engine, link, NULL), HBEAT_ERR_NULL, "policy");
    FAILS(hbeat_link_set_keys(NULL, link, &key, 1), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_set_keys(engine, link, NULL, 1), HBEAT_ERR_NULL, "keys");
    FAILS(hbeat_link_set_data(NULL, link, &world), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_set_state(NULL, link, bytes, 1), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_set_state(engine, link, NULL, 1), HBEAT_ERR_NULL, "bytes");
    FAILS(hbeat_link_peer_state(NULL, link, bytes, sizeof bytes, &length), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_peer_state(engine, link, NULL, 1, &length), HBEAT_ERR_NULL, "buffer");
    FAILS(hbeat_link_peer_state(engine, link, bytes, sizeof bytes, NULL), HBEAT_ERR_NULL, "length");
    FAILS(hbeat_link_info(NULL, link, &info), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_link_info(engine, link, NULL), HBEAT_ERR_NULL, "info");
    goes_on(&world, link);
    world_end(&world);
}

static const uint32_t SHORT_BY[] = {0, 1, 4}; /* 0 stands for a size of 0 */
static uint32_t short_size(size_t whole, int i) { return SHORT_BY[i] ? (uint32_t)whole - SHORT_BY[i] : 0; }

/* What these had in the first version. */
enum {
    FIRST_POLICY = offsetof(hbeat_policy, observe_only),
    FIRST_INFO = offsetof(hbeat_info, messages_sent),
    FIRST_EVENT = offsetof(hbeat_event, attempt),
    FIRST_HOW = offsetof(hbeat_link_options, backoff)
};

TEST(structs_that_are_too_small, "K90 K98") {
    struct world world;
    world_begin(&world, APP_PULLED);
    hbeat_policy good = cmpp();
    hbeat_link link = open_named(&world, &good, "bystander", "cmpp"), none = 0;
    for (int i = 0; i < 3; i++) {
        hbeat_engine *engine = NULL;
        hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
        hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
        hbeat_policy policy = cmpp(), out;
        hbeat_backoff backoff;
        hbeat_event event;
        hbeat_health health;
        hbeat_info info;
        uint32_t delay = 0, later = 0, count = 0;
        char text[256];
        size_t length = 0;
        CHECK_STATUS(hbeat_backoff_default(&backoff, sizeof backoff), HBEAT_OK);
        memset(&event, 0, sizeof event);
        memset(&info, 0x5a, sizeof info);
        options.struct_size = short_size(sizeof options, i);
        how.struct_size = short_size(FIRST_HOW, i);
        policy.struct_size = short_size(FIRST_POLICY, i);
        backoff.struct_size = short_size(sizeof backoff, i);
        event.struct_size = short_size(FIRST_EVENT, i);
        health.struct_size = short_size(sizeof health, i);
        info.struct_size = short_size(FIRST_INFO, i);
        FAILS(hbeat_engine_new(&options, &engine), HBEAT_ERR_SIZE, "struct_size");
        CHECK(engine == NULL);
        FAILS(hbeat_link_open(world.engine, &good, &how, &none), HBEAT_ERR_SIZE, "struct_size");
        how.struct_size = sizeof how;
        FAILS(hbeat_link_open(world.engine, &policy, &how, &none), HBEAT_ERR_SIZE, "struct_size");
        FAILS(hbeat_link_set_policy(world.engine, link, &policy), HBEAT_ERR_SIZE, "struct_size");
        FAILS(hbeat_policy_check(&policy), HBEAT_ERR_SIZE, "struct_size");
        FAILS(hbeat_policy_print(&policy, text, sizeof text, &length), HBEAT_ERR_SIZE, "struct_size");
        FAILS(hbeat_policy_detection(&policy, &delay, &later), HBEAT_ERR_SIZE, "struct_size");
        FAILS(hbeat_policy_preset(&out, short_size(FIRST_POLICY, i), "cmpp"), HBEAT_ERR_SIZE, "policy_size");
        FAILS(hbeat_policy_parse(&out, short_size(FIRST_POLICY, i), "cmpp"), HBEAT_ERR_SIZE, "policy_size");
        FAILS(hbeat_backoff_default(&backoff, short_size(sizeof backoff, i)), HBEAT_ERR_SIZE, "backoff_size");
        FAILS(hbeat_backoff_delay(&backoff, 1, 1, &delay), HBEAT_ERR_SIZE, "struct_size");
        FAILS(hbeat_event_text(&event, text, sizeof text, &length), HBEAT_ERR_SIZE, "struct_size");
        FAILS(hbeat_engine_health(world.engine, &health), HBEAT_ERR_SIZE, "struct_size");
        FAILS(hbeat_link_info(world.engine, link, &info), HBEAT_ERR_SIZE, "struct_size");
        CHECK_EQ(info.state, 0x5a5a5a5a);
        FAILS(hbeat_engine_wait(world.engine, &event, short_size(FIRST_EVENT, i), 1, 0, &count), HBEAT_ERR_SIZE, "event_size");
    }
    CHECK_EQ(none, 0);
    goes_on(&world, link);
    world_end(&world);
}

/* What a program built against a later header would hand over. */
#define LATER(type)                                                                                                    \
    struct {                                                                                                           \
        type known;                                                                                                    \
        uint32_t later[8];                                                                                             \
    }

TEST(structs_of_a_later_version, "K91") {
    struct world world;
    LATER(hbeat_engine_options) options;
    LATER(hbeat_link_options) how;
    LATER(hbeat_policy) policy;
    LATER(hbeat_backoff) backoff;
    LATER(hbeat_health) health;
    LATER(hbeat_info) info;
    hbeat_engine *engine = NULL;
    hbeat_link link = 0, none = 0;
    uint32_t delay = 0;
    hbeat_link_options plain = HBEAT_LINK_OPTIONS_INIT;

    memset(&policy, 0xa5, sizeof policy);
    CHECK_STATUS(hbeat_policy_preset(&policy.known, sizeof policy, "cmpp"), HBEAT_OK);
    for (int i = 0; i < 8; i++) CHECK_EQ(policy.later[i], 0);
    CHECK_STATUS(hbeat_policy_check(&policy.known), HBEAT_OK);
    policy.known.struct_size = sizeof policy;
    CHECK_STATUS(hbeat_policy_check(&policy.known), HBEAT_OK);
    memset(&backoff, 0xa5, sizeof backoff);
    CHECK_STATUS(hbeat_backoff_default(&backoff.known, sizeof backoff), HBEAT_OK);
    backoff.known.struct_size = sizeof backoff;
    CHECK_STATUS(hbeat_backoff_delay(&backoff.known, 1, 1, &delay), HBEAT_OK);

    memset(&options, 0, sizeof options);
    options.known = world_options(&world, APP_PULLED, HBEAT_CLOCK_MANUAL);
    options.known.struct_size = sizeof options;
    options.later[7] = 1;
    FAILS(hbeat_engine_new(&options.known, &engine), HBEAT_ERR_UNSUPPORTED, "options");
    CHECK(engine == NULL);
    options.later[7] = 0;
    world_open(&world, &options.known);

    memset(&how, 0, sizeof how);
    how.known = plain;
    how.known.struct_size = sizeof how;
    CHECK_STATUS(hbeat_link_open(world.engine, &policy.known, &how.known, &link), HBEAT_OK);
    how.later[0] = 1;
    FAILS(hbeat_link_open(world.engine, &policy.known, &how.known, &none), HBEAT_ERR_UNSUPPORTED, "options");
    policy.later[3] = 1;
    FAILS(hbeat_link_open(world.engine, &policy.known, &plain, &none), HBEAT_ERR_UNSUPPORTED, "policy");
    FAILS(hbeat_link_set_policy(world.engine, link, &policy.known), HBEAT_ERR_UNSUPPORTED, "policy");
    FAILS(hbeat_policy_check(&policy.known), HBEAT_ERR_UNSUPPORTED, "policy");
    backoff.later[3] = 1;
    FAILS(hbeat_backoff_delay(&backoff.known, 1, 1, &delay), HBEAT_ERR_UNSUPPORTED, "backoff");
    CHECK_EQ(none, 0);

    memset(&health, 0xa5, sizeof health); /* these come out: what we do not know reads as zero */
    memset(&info, 0xa5, sizeof info);
    health.known.struct_size = sizeof health;
    info.known.struct_size = sizeof info;
    CHECK_STATUS(hbeat_engine_health(world.engine, &health.known), HBEAT_OK);
    CHECK_STATUS(hbeat_link_info(world.engine, link, &info.known), HBEAT_OK);
    for (int i = 0; i < 8; i++) CHECK(health.later[i] == 0 && info.later[i] == 0);
    goes_on(&world, link);
    world_end(&world);
}

TEST(ids_that_are_no_link, "K92 K98") {
    struct world world, foreign;
    world_begin(&world, TWO_LANES);
    world_begin(&foreign, TWO_LANES);
    hbeat_policy policy = cmpp();
    hbeat_link bystander = open_named(&world, &policy, "bystander", "cmpp"), closed = open_named(&world, &policy, "closed", "cmpp");
    CHECK_STATUS(hbeat_link_close(world.engine, closed), HBEAT_OK);
    const hbeat_link wrong[] = {0, 1, closed, open_named(&foreign, &policy, "foreign", "cmpp"), bystander ^ 1, bystander ^ 1ull << 63,
                                bystander ^ 1ull << 30, UINT64_MAX, 0xdeadbeefcafef00dull, 0x00ffffffffffffffull};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        hbeat_link link = wrong[i];
        hbeat_engine *engine = world.engine;
        hbeat_info info;
        unsigned char bytes[64] = {0};
        size_t length = 77;
        uint32_t sequence = 77;
        memset(&info, 0x5a, sizeof info);
        info.struct_size = sizeof info;
        FAILS(hbeat_link_start(engine, link, 0), HBEAT_ERR_NO_LINK, "link");
        CHECK_STATUS(hbeat_link_pause(engine, link, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_close(engine, link), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_received(engine, link, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_links_received(engine, &link, 1, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_received(engine, link, UINT64_MAX), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_sent(engine, link, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_progress(engine, link, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_feed(engine, link, bytes, 12, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_take(engine, link, &sequence, 0, bytes, sizeof bytes, &length), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_unsent(engine, link, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_answer_received(engine, link, 1, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_beat_received(engine, link, 1, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_report_down(engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_set_policy(engine, link, &policy), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_set_keys(engine, link, &key, 1), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_set_data(engine, link, NULL), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_set_state(engine, link, "state", 5), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_peer_state(engine, link, bytes, sizeof bytes, &length), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_info(engine, link, &info), HBEAT_ERR_NO_LINK);
        CHECK(info.state == 0x5a5a5a5a && length == 77 && sequence == 77);
    }
    goes_on(&world, bystander);
    CHECK_EQ(info_of(&foreign, wrong[3]).state, HBEAT_STATE_UP);
    world_end(&world);
    world_end(&foreign);
}

TEST(a_storm_of_made_up_ids, "K92 K101") {
    struct world world;
    uint64_t random = 88172645463325252ull;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = cmpp();
    hbeat_link bystander = open_named(&world, &policy, "bystander", "cmpp");
    for (int i = 0; i < 100000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if (random == bystander) continue;
        CHECK_STATUS(hbeat_link_received(world.engine, random, 0), HBEAT_ERR_NO_LINK);
        if (i % 10 == 0) CHECK_STATUS(hbeat_link_close(world.engine, random), HBEAT_ERR_NO_LINK);
    }
    goes_on(&world, bystander);
    world_end(&world);
}


/* One field out of range: no engine is made, and the sentence names field, value and limit. */
#define BAD_OPTION(member, number, text, limit_text)                                                                   \
    do {                                                                                                               \
        hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;                                                      \
        hbeat_engine *engine = NULL;                                                                                   \
        options.member = number;                                                                                       \
        FAILS(hbeat_engine_new(&options, &engine), HBEAT_ERR_INVALID, #member);                                        \
        CHECK_TEXT(hbeat_last_error(), text);                                                                          \
        CHECK_TEXT(hbeat_last_error(), limit_text);                                                                    \
        CHECK(engine == NULL);                                                                                         \
    } while (0)

TEST(engine_options_out_of_range, "K93 K96 K98") {
    BAD_OPTION(run, 2, "2", "1");
    BAD_OPTION(clock, 7, "7", "1");
    BAD_OPTION(threads, 65, "65", "64");
    BAD_OPTION(threads, UINT32_MAX, "4294967295", "64");
    BAD_OPTION(tick_ms, 1001, "1001", "1000");
    BAD_OPTION(events, 1u << 31, "0x80000000", "HBEAT_EVENTS_ALL");
    BAD_OPTION(events, 1u, "0x1", "HBEAT_EVENTS_ALL"); /* there is no event 0 */
    BAD_OPTION(max_links, UINT32_MAX, "4294967295", "268435456");
    BAD_OPTION(on_panic, 2, "2", "1");
    BAD_OPTION(nice, 20, "20", "19");
    BAD_OPTION(nice, -21, "-21", "-20");
    BAD_OPTION(thread_name, "elevenbytes", "elevenbytes", "10");
    BAD_OPTION(thread_name, "\xff\xfe", "thread_name", "UTF-8");
}

#define BAD_POLICY(member, number, text)                                                                               \
    do {                                                                                                               \
        hbeat_policy policy = cmpp();                                                                                  \
        policy.member = number;                                                                                        \
        refused(&policy, #member, text);                                                                               \
    } while (0)

static void refused(const hbeat_policy *policy, const char *field, const char *value) {
    struct world world;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link none = 0;
    uint32_t earliest = 77, latest = 77;
    FAILS(hbeat_policy_check(policy), HBEAT_ERR_INVALID, field);
    CHECK_TEXT(hbeat_last_error(), value);
    CHECK_STATUS(hbeat_policy_detection(policy, &earliest, &latest), HBEAT_ERR_INVALID);
    CHECK(earliest == 77 && latest == 77);
    world_begin(&world, APP_PULLED);
    hbeat_policy good = cmpp();
    hbeat_link link = open_named(&world, &good, "bystander", "cmpp");
    FAILS(hbeat_link_open(world.engine, policy, &how, &none), HBEAT_ERR_INVALID, field);
    CHECK_EQ(none, 0);
    FAILS(hbeat_link_set_policy(world.engine, link, policy), HBEAT_ERR_INVALID, field);
    goes_on(&world, link);
    world_go(&world, 200000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 1); /* by its old policy */
    world_end(&world);
}

TEST(policies_out_of_range, "K93") {
    BAD_POLICY(interval_ms, UINT32_MAX, "4294967295");
    BAD_POLICY(interval_ms, (1u << 29) + 1, "536870913");
    BAD_POLICY(timeout_ms, 0, "0");
    BAD_POLICY(timeout_ms, UINT32_MAX, "4294967295");
    BAD_POLICY(tries, UINT32_MAX, "4294967295");
    BAD_POLICY(strategy, 2, "2");
    BAD_POLICY(idle_on, 2, "2");
    BAD_POLICY(proof, 2, "2");
    BAD_POLICY(answer_expected, 2, "2");
    BAD_POLICY(answer, 99, "99");
    BAD_POLICY(resend, 2, "2");
    BAD_POLICY(hold_time_ms, UINT32_MAX, "4294967295");
    BAD_POLICY(jitter_percent, 26, "26");
    BAD_POLICY(jitter_percent, 26, "25"); /* what is allowed */
    BAD_POLICY(partial_ms, UINT32_MAX, "4294967295");
    BAD_POLICY(late_reader_limit_ms, UINT32_MAX, "4294967295");
    BAD_POLICY(up_after, UINT32_MAX, "4294967295");
    BAD_POLICY(least_ms, UINT32_MAX, "4294967295");
    BAD_POLICY(strikes, 256, "256");
    BAD_POLICY(progress_ms, UINT32_MAX, "4294967295");
    BAD_POLICY(on_no_progress, 3, "3");
}

TEST(policies_that_contradict_themselves, "K94") {
    hbeat_policy policy = cmpp();
    policy.tries = 0; /* beats are answered, and never judged */
    refused(&policy, "tries", "0");
    policy = cmpp();
    policy.answer_expected = 0;
    refused(&policy, "hold_time_ms", "answer_expected"); /* nothing is expected, and silence is never judged */
    policy.hold_time_ms = 1000;
    policy.proof = HBEAT_PROOF_ANSWER; /* only an answer proves life, and none is expected */
    refused(&policy, "proof", "answer_expected");
    policy = cmpp();
    policy.interval_ms = 0; /* neither beats nor a hold time: nothing would ever happen */
    policy.hold_time_ms = 0;
    refused(&policy, "interval_ms", "hold_time_ms");
    policy = cmpp();
    policy.strikes = 1; /* nothing is policed */
    refused(&policy, "strikes", "least_ms");
    policy = cmpp();
    policy.on_no_progress = HBEAT_NO_PROGRESS_STOP; /* nobody asks for progress */
    refused(&policy, "on_no_progress", "progress_ms");
    memset(&policy, 0, sizeof policy);
    policy.struct_size = sizeof policy;
    refused(&policy, "timeout_ms", "0");
}

static void refused_text(const char *text, const char *word) {
    hbeat_policy policy, before;
    memset(&policy, 0x5a, sizeof policy);
    before = policy;
    CHECK_STATUS(hbeat_policy_parse(&policy, sizeof policy, text), HBEAT_ERR_INVALID);
    CHECK_TEXT(hbeat_last_error(), word);
    CHECK(memcmp(&policy, &before, sizeof policy) == 0);
}

TEST(policy_texts_that_say_nothing_known, "K95 K93 K98") {
    static char endless[100001];
    hbeat_policy policy;
    memset(endless, 'a', sizeof endless - 1);
    FAILS(hbeat_policy_preset(&policy, sizeof policy, "cmpq"), HBEAT_ERR_INVALID, "cmpq");
    CHECK_TEXT(hbeat_last_error(), "cmpp"); /* what there is */
    CHECK_STATUS(hbeat_policy_preset(&policy, sizeof policy, ""), HBEAT_ERR_INVALID);
    CHECK_STATUS(hbeat_policy_preset(&policy, sizeof policy, "\xc3\x28"), HBEAT_ERR_INVALID);
    CHECK_STATUS(hbeat_policy_preset(&policy, sizeof policy, endless), HBEAT_ERR_INVALID);
    CHECK(strlen(hbeat_last_error()) < 1000);
    refused_text("cmpq", "cmpq");
    refused_text("cmpp intervall=60s", "intervall");
    refused_text("cmpp interval=60parsecs", "60parsecs");
    refused_text("cmpp interval=abc", "abc");
    refused_text("cmpp interval=", "interval");
    refused_text("cmpp interval", "interval");
    refused_text("cmpp interval=-1s", "-1s");
    refused_text("cmpp interval=99999999999999999999s", "interval");
    refused_text("cmpp tries=0", "tries");
    refused_text("cmpp tries=3.5", "3.5");
    refused_text("cmpp jitter=26%", "25");
    refused_text("cmpp tries=3 tries=4", "tries");
    refused_text("cmpp interval=60s \xff", "UTF-8");
    refused_text(endless, "a");
    CHECK(strlen(hbeat_last_error()) < 1000);
}

TEST(policies_as_text, "K106 K105") {
    const char *texts[] = {"cmpp", "normal", "fast", "passive", "cmpp interval=60s timeout=20s tries=3", "cmpp jitter=25%"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        hbeat_policy policy, again;
        char text[1024], small[8];
        size_t length = 0, measured = 0;
        memset(&again, 0x5a, sizeof again);
        CHECK_STATUS(hbeat_policy_parse(&policy, sizeof policy, texts[i]), HBEAT_OK);
        CHECK_EQ(policy.struct_size, sizeof policy);
        CHECK_STATUS(hbeat_policy_print(&policy, NULL, 0, &measured), HBEAT_OK);
        CHECK_STATUS(hbeat_policy_print(&policy, text, sizeof text, &length), HBEAT_OK);
        CHECK_EQ(length, strlen(text));
        CHECK_EQ(length, measured);
        CHECK_STATUS(hbeat_policy_parse(&again, sizeof again, text), HBEAT_OK);
        CHECK(memcmp(&policy, &again, sizeof policy) == 0);
        memset(small, 0x5a, sizeof small);
        CHECK_STATUS(hbeat_policy_print(&policy, small, 4, &length), HBEAT_OK);
        CHECK_EQ(length, measured);
        CHECK(memcmp(small, text, 3) == 0 && small[3] == 0 && small[4] == 0x5a);
    }
    hbeat_policy policy;
    CHECK_STATUS(hbeat_policy_parse(&policy, sizeof policy, "cmpp interval=60s timeout=20s tries=2 jitter=25%"), HBEAT_OK);
    CHECK(policy.interval_ms == 60000 && policy.timeout_ms == 20000 && policy.tries == 2 && policy.jitter_percent == 25);
}

TEST(detection_times_of_the_presets, "K106") {
    const struct {
        const char *name;
        uint32_t earliest, latest;
    } presets[] = {{"cmpp", 180000, 360000}, {"normal", 30000, 39000}, {"fast", 6000, 8500}};
    for (size_t i = 0; i < 3; i++) {
        hbeat_policy policy;
        uint32_t earliest = 0, latest = 0;
        CHECK_STATUS(hbeat_policy_preset(&policy, sizeof policy, presets[i].name), HBEAT_OK);
        CHECK_STATUS(hbeat_policy_check(&policy), HBEAT_OK);
        CHECK_STATUS(hbeat_policy_detection(&policy, &earliest, &latest), HBEAT_OK);
        CHECK_EQ(earliest, presets[i].earliest);
        CHECK_EQ(latest, presets[i].latest);
    }
}

TEST(names, "K96 K98") {
    struct world world;
    char longest[64], too_long[65], name[64];
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = cmpp();
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link link = 0, bystander = open_named(&world, &policy, "bystander", "cmpp");
    memset(longest, 'n', 63);
    longest[63] = 0;
    memset(too_long, 'n', 64);
    too_long[64] = 0;
    const char *wrong[] = {too_long, "\xff", "caf\xc3", "\xed\xa0\x80"};
    for (size_t i = 0; i < 4; i++) {
        how.name = wrong[i];
        FAILS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_ERR_INVALID, "name");
        CHECK_TEXT(hbeat_last_error(), i ? "UTF-8" : "63");
        CHECK_EQ(link, 0);
    }
    how.name = longest;
    CHECK_STATUS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_OK);
    CHECK(strcmp(info_of(&world, link).name, longest) == 0);
    how.name = "\xe5\xb9\xbf\xe4\xb8\x9c-07";
    CHECK_STATUS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_OK);
    CHECK(strcmp(info_of(&world, link).name, how.name) == 0);
    how.name = NULL;
    CHECK_STATUS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_OK);
    snprintf(name, sizeof name, "link-%llx", (unsigned long long)link);
    CHECK(strcmp(info_of(&world, link).name, name) == 0);
    goes_on(&world, bystander);
    world_end(&world);
}

TEST(descriptors, "K97 K85") {
    struct world world;
    int pipes[2];
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = cmpp();
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link link = 0, bystander = open_named(&world, &policy, "bystander", "cmpp");
    REQUIRE(pipe(pipes) == 0);
    int32_t closed = dup(pipes[0]);
    close(closed);
    const int32_t wrong[] = {closed, pipes[0], pipes[1], INT32_MAX, -2, -1000, INT32_MIN};
    for (int i = 0; i < 7; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", wrong[i]);
        how.fd = wrong[i];
        FAILS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_ERR_INVALID, "fd");
        CHECK_TEXT(hbeat_last_error(), number);
        CHECK_EQ(link, 0);
    }
    const int32_t none[] = {0, -1};
    for (int i = 0; i < 2; i++) {
        how.fd = none[i];
        CHECK_STATUS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_OK);
        CHECK_EQ(info_of(&world, link).unread_bytes, -1);
        CHECK_EQ(info_of(&world, link).send_queue_bytes, -1);
    }
    goes_on(&world, bystander);
    world_end(&world);
    CHECK(fcntl(pipes[0], F_GETFD) >= 0);
    close(pipes[0]);
    close(pipes[1]);
}

TEST(link_options_out_of_range, "K93 K95 K98") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = cmpp();
    hbeat_link link = 0, bystander = open_named(&world, &policy, "bystander", "cmpp");
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.protocol = "smoke-signals";
    FAILS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_ERR_INVALID, "smoke-signals");
    CHECK_TEXT(hbeat_last_error(), "cmpp");
    how.protocol = "\xff";
    FAILS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_ERR_INVALID, "protocol");
    how.protocol = "";
    FAILS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_ERR_INVALID, "protocol");
    how.protocol = "none";
    how.start_paused = 2;
    FAILS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_ERR_INVALID, "start_paused");
    how.start_paused = 0;
    how.events = 1u << 20;
    FAILS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_ERR_INVALID, "events");
    CHECK_EQ(link, 0);
    goes_on(&world, bystander);
    world_end(&world);
}

TEST(no_room_for_events, "K93") {
    struct world world;
    hbeat_event event;
    hbeat_link links[1];
    uint32_t count = 77;
    world_begin(&world, APP_PULLED);
    FAILS(hbeat_engine_wait(world.engine, &event, sizeof event, 0, 0, &count), HBEAT_ERR_INVALID, "capacity");
    FAILS(hbeat_engine_links(world.engine, 0, links, 0, &count), HBEAT_ERR_INVALID, "capacity");
    CHECK_EQ(count, 77);
    world_end(&world);
}

TEST(absurd_times, "K101 K102 K93") {
    const uint64_t times[] = {1, START_NS - 1, START_NS, UINT64_MAX, UINT64_MAX - 1, 1ull << 63, (1ull << 63) - 1};
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link bystander = open_named(&world, &policy, "bystander", "cmpp"), link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 5000);
        FAILS(hbeat_engine_advance(world.engine, UINT64_MAX), HBEAT_ERR_INVALID, "now_ns");
        if (world.way.run == HBEAT_RUN_APPLICATION) FAILS(hbeat_engine_drive(world.engine, UINT64_MAX), HBEAT_ERR_INVALID, "now_ns");
        for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
            uint64_t at = times[i];
            unsigned char frame[64];
            size_t length = cmpp_frame(frame, CMPP_TEST, 1);
            CHECK_STATUS(hbeat_link_received(world.engine, link, at), HBEAT_OK);
            CHECK_STATUS(hbeat_link_sent(world.engine, link, at), HBEAT_OK);
            CHECK_STATUS(hbeat_link_feed(world.engine, link, frame, length, at), HBEAT_INFO_SEND);
            CHECK_STATUS(hbeat_link_take(world.engine, link, NULL, at, frame, sizeof frame, &length), HBEAT_OK);
            CHECK_STATUS(hbeat_link_unsent(world.engine, link, at), HBEAT_OK);
            CHECK_STATUS(hbeat_link_answer_received(world.engine, link, 99, at), HBEAT_OK);
            CHECK_STATUS(hbeat_link_beat_received(world.engine, link, 99, at), HBEAT_OK);
            CHECK_STATUS(hbeat_link_pause(world.engine, link, at), HBEAT_OK);
            CHECK_STATUS(hbeat_link_start(world.engine, link, at), HBEAT_OK);
        }
        goes_on(&world, bystander);
        world_go(&world, 60000);
        const long end[] = {16000, -1}, later[] = {21000, -1};
        CHECK(world_times(&world, HBEAT_EVENT_DOWN, bystander, end));
        CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, later)); /* the last start was at 5 s, whatever it said */
        world_end(&world);
    }
}

TEST(random_bytes, "K101 K76") {
    struct world world;
    uint64_t random = 2463534242ull;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = cmpp();
    hbeat_link bystander = open_named(&world, &policy, "bystander", "cmpp");
    const char *protocols[] = {"cmpp", "heart", "none"};
    for (int i = 0; i < 600; i++) {
        unsigned char bytes[512], *exact;
        hbeat_link link = open_named(&world, &policy, NULL, protocols[i % 3]);
        for (int piece = 0; piece < 8; piece++) {
            for (size_t n = 0; n < sizeof bytes; n++) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                bytes[n] = (unsigned char)random;
            }
            if (i % 2) memset(bytes, 0, 3); /* a length that could be one */
            size_t length = bytes[500] * 2u;
            exact = (unsigned char *)malloc(length + 1); /* of its own size: a read beyond it is found */
            memcpy(exact, bytes, length);
            hbeat_status status = hbeat_link_feed(world.engine, link, exact, length, 0);
            free(exact);
            if (i % 3 == 2)
                CHECK(status == HBEAT_OK || status == HBEAT_ERR_WRONG_MODE);
            else
                CHECK(status == HBEAT_OK || status == HBEAT_INFO_SEND || status == HBEAT_ERR_DESYNC);
            CHECK_STATUS(take(&world, link), HBEAT_OK);
        }
        CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    }
    goes_on(&world, bystander);
    world_end(&world);
}

static void *fail_elsewhere(void *data) {
    struct world *world = (struct world *)data;
    FAILS(hbeat_policy_check(NULL), HBEAT_ERR_NULL, "policy");
    world->flag = 1;
    return NULL;
}

TEST(the_last_error_is_ones_own, "K99") {
    struct world world;
    pthread_t thread;
    memset(&world, 0, sizeof world);
    CHECK(hbeat_last_error() != NULL); /* nothing has failed yet */
    hbeat_policy policy = cmpp();
    policy.jitter_percent = 99;
    FAILS(hbeat_policy_check(&policy), HBEAT_ERR_INVALID, "jitter_percent");
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", hbeat_last_error());
    REQUIRE(pthread_create(&thread, NULL, fail_elsewhere, &world) == 0);
    pthread_join(thread, NULL);
    CHECK_EQ(world.flag, 1);
    policy = cmpp();
    CHECK_STATUS(hbeat_policy_check(&policy), HBEAT_OK);
    CHECK(strcmp(hbeat_last_error(), sentence) == 0);
    FAILS(hbeat_policy_check(NULL), HBEAT_ERR_NULL, "policy");
    CHECK(strstr(hbeat_last_error(), "jitter_percent") == NULL);
}

TEST(names_for_any_number, "K100") {
    const hbeat_status codes[] = {HBEAT_OK, HBEAT_INFO_SEND, HBEAT_INFO_MORE, HBEAT_INFO_ALREADY_DOWN, HBEAT_INFO_STOPPING, HBEAT_INFO_END};
    CHECK(strcmp(hbeat_status_name(HBEAT_ERR_NO_LINK), "HBEAT_ERR_NO_LINK") == 0);
    CHECK(strcmp(hbeat_status_name(HBEAT_OK), "HBEAT_OK") == 0);
    CHECK(strcmp(hbeat_status_name(HBEAT_INFO_END), "HBEAT_INFO_END") == 0);
    CHECK(strcmp(hbeat_state_name(HBEAT_STATE_SUSPECT), "suspect") == 0);
    CHECK(strcmp(hbeat_cause_name(HBEAT_CAUSE_NO_ANSWER), "no_answer") == 0);
    CHECK(strcmp(hbeat_event_name(HBEAT_EVENT_DOWN), "DOWN") == 0);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        CHECK_TEXT(hbeat_status_name(codes[i]), "HBEAT_");
        CHECK(strlen(hbeat_status_text(codes[i])) > 5);
    }
    for (hbeat_status one = -1; one >= -18; one--) {
        CHECK_TEXT(hbeat_status_name(one), "HBEAT_ERR_");
        CHECK(strlen(hbeat_status_text(one)) > 5);
        for (hbeat_status other = one - 1; other >= -18; other--) CHECK(strcmp(hbeat_status_name(one), hbeat_status_name(other)) != 0);
    }
    const uint32_t odd[] = {0, 13, 15, 99, 0x7fffffff, UINT32_MAX};
    for (size_t i = 0; i < 6; i++) {
        CHECK(hbeat_status_name((hbeat_status)odd[i]) != NULL && strlen(hbeat_status_text((hbeat_status)odd[i])) > 5);
        CHECK(hbeat_state_name(odd[i]) != NULL && hbeat_cause_name(odd[i]) != NULL && hbeat_event_name(odd[i]) != NULL);
    }
    CHECK(strcmp(hbeat_status_name(INT32_MIN), "unknown") == 0);
    CHECK_TEXT(hbeat_status_text(INT32_MIN), "no status of hbeat");
    CHECK_TEXT(hbeat_status_text(99), "no status of hbeat");
}

TEST(the_version_in_words_and_numbers, "K100") {
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", HBEAT_VERSION_MAJOR, HBEAT_VERSION_MINOR, HBEAT_VERSION_PATCH);
    CHECK(strcmp(hbeat_version(), version) == 0);
    CHECK_EQ(hbeat_version_number(), HBEAT_VERSION_MAJOR * 1000000 + HBEAT_VERSION_MINOR * 1000 + HBEAT_VERSION_PATCH);
}

TEST(an_event_as_a_line, "K105 K101 K93 K98") {
    hbeat_event event;
    char text[512], small[16];
    size_t length = 0, measured = 0;
    memset(&event, 0, sizeof event);
    event.struct_size = sizeof event;
    event.type = HBEAT_EVENT_DOWN;
    event.link = 1;
    event.state = HBEAT_STATE_DOWN;
    event.cause = HBEAT_CAUSE_NO_ANSWER;
    event.tries = event.tries_max = 3;
    event.sequence = 4711;
    event.count = 1;
    event.rtt_us = 18000;
    event.last_received_ms = 360000;
    event.last_sent_ms = HBEAT_UNKNOWN;
    strcpy(event.name, "gd-mt-07");
    CHECK_STATUS(hbeat_event_text(&event, text, sizeof text, &length), HBEAT_OK);
    CHECK(strcmp(text, "DOWN gd-mt-07 cause=no_answer tries=3/3 seq=4711 last_rx=360.0s unread=0 sendq=0 rtt=18ms") == 0);
    CHECK_EQ(length, strlen(text));
    CHECK_STATUS(hbeat_event_text(&event, NULL, 0, &measured), HBEAT_OK);
    CHECK_EQ(measured, length);
    memset(small, 0x5a, sizeof small);
    CHECK_STATUS(hbeat_event_text(&event, small, 8, &length), HBEAT_OK);
    CHECK(strcmp(small, "DOWN gd") == 0 && small[8] == 0x5a);
    CHECK_EQ(length, measured);
    CHECK_STATUS(hbeat_event_text(&event, small, 1, &length), HBEAT_OK);
    CHECK_EQ(small[0], 0);

    struct { uint32_t *member, value; const char *name, *allowed; } odd[] = {
        {&event.type, 0, "event.type", "HBEAT_EVENT_"},
        {&event.type, 99, "event.type", "HBEAT_EVENT_"},
        {&event.state, 99, "event.state", "HBEAT_STATE_"},
        {&event.cause, UINT32_MAX, "event.cause", "HBEAT_CAUSE_"},
    };
    strcpy(text, "untouched");
    length = 77;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char number[16];
        uint32_t good = *odd[i].member;
        snprintf(number, sizeof number, "%u", odd[i].value);
        *odd[i].member = odd[i].value;
        FAILS(hbeat_event_text(&event, text, sizeof text, &length), HBEAT_ERR_INVALID, odd[i].name);
        CHECK_TEXT(hbeat_last_error(), number);
        CHECK_TEXT(hbeat_last_error(), odd[i].allowed);
        *odd[i].member = good;
    }
    memset(event.name, 'x', sizeof event.name); /* it has no end */
    FAILS(hbeat_event_text(&event, text, sizeof text, &length), HBEAT_ERR_INVALID, "event.name");
    memset(&event, 0xff, sizeof event); /* nothing in it is sane */
    event.struct_size = sizeof event;
    event.link_data = NULL;
    CHECK_STATUS(hbeat_event_text(&event, text, sizeof text, &length), HBEAT_ERR_INVALID);
    CHECK(strcmp(text, "untouched") == 0 && length == 77);
}

TEST(no_more_than_max_links, "K103") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        hbeat_engine_options options = world_options(&world, way, HBEAT_CLOCK_MANUAL);
        hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
        hbeat_link links[4] = {0};
        options.max_links = 3;
        world_open(&world, &options);
        hbeat_policy policy = cmpp();
        for (int i = 0; i < 3; i++) CHECK_STATUS(hbeat_link_open(world.engine, &policy, &how, &links[i]), HBEAT_OK);
        FAILS(hbeat_link_open(world.engine, &policy, &how, &links[3]), HBEAT_ERR_LIMIT, "3");
        CHECK_EQ(links[3], 0);
        CHECK_STATUS(hbeat_link_close(world.engine, links[1]), HBEAT_OK);
        world_go(&world, 2000); /* freed places rest for a moment */
        CHECK_STATUS(hbeat_link_open(world.engine, &policy, &how, &links[3]), HBEAT_OK);
        world_end(&world);
    }
}

TEST(more_opens_than_the_queue_holds, "K104") {
    struct world world;
    hbeat_engine_options options = world_options(&world, DRIVEN, HBEAT_CLOCK_MANUAL); /* nobody drives: the queue fills */
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    options.open_queue = 8;
    world_open(&world, &options);
    hbeat_policy policy = cmpp();
    hbeat_link link = 0, first = 0;
    hbeat_status status = HBEAT_OK;
    int opened = 0;
    while (opened < 100 && status == HBEAT_OK) {
        status = hbeat_link_open(world.engine, &policy, &how, &link);
        if (status == HBEAT_OK && opened++ == 0) first = link;
    }
    CHECK_STATUS(status, HBEAT_ERR_AGAIN);
    CHECK_EQ(opened, 8);
    CHECK_EQ(health_of(&world).links, 8);
    CHECK_STATUS(hbeat_link_report_down(world.engine, first, HBEAT_CAUSE_RESET, 0), HBEAT_OK); /* never lacks room */
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    world_settle(&world);
    CHECK_STATUS(hbeat_link_open(world.engine, &policy, &how, &link), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, first), 1);
    world_end(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 9);
}

TEST(reconnect_delays, "K107 K93") {
    hbeat_backoff backoff;
    uint32_t delay = 0, again = 0, spread = 0;
    CHECK_STATUS(hbeat_backoff_default(&backoff, sizeof backoff), HBEAT_OK);
    CHECK_EQ(backoff.struct_size, sizeof backoff);
    FAILS(hbeat_backoff_delay(&backoff, 0, 1, &delay), HBEAT_ERR_INVALID, "attempt");
    for (uint32_t attempt = 1; attempt != 0; attempt = attempt < 40 ? attempt + 1 : attempt < UINT32_MAX / 2 ? attempt * 2 : 0) {
        for (uint64_t random = 1; random < 50; random++) {
            uint64_t bits = random * 0x9e3779b97f4a7c15ull;
            CHECK_STATUS(hbeat_backoff_delay(&backoff, attempt, bits, &delay), HBEAT_OK);
            CHECK_STATUS(hbeat_backoff_delay(&backoff, attempt, bits, &again), HBEAT_OK);
            CHECK_EQ(delay, again);
            CHECK(delay <= backoff.cap_ms);
            spread |= delay;
        }
        CHECK_STATUS(hbeat_backoff_delay(&backoff, attempt, 0, &delay), HBEAT_OK);
        CHECK(delay <= backoff.cap_ms);
    }
    CHECK(spread > 0);
    CHECK_STATUS(hbeat_backoff_delay(&backoff, UINT32_MAX, UINT64_MAX, &delay), HBEAT_OK);
    CHECK(delay <= backoff.cap_ms);
    backoff.first_ms = UINT32_MAX;
    CHECK_STATUS(hbeat_backoff_delay(&backoff, 1, 1, &delay), HBEAT_ERR_INVALID);
}

TEST(every_open_link_page_by_page, "K108") {
    for (int way = 0; way < WAY_COUNT; way += 4) {
        struct world world;
        hbeat_link links[25], page[7], after = 0;
        int found[25] = {0}, pages = 0;
        hbeat_engine_options options = world_options(&world, way, HBEAT_CLOCK_MANUAL);
        if (options.run == HBEAT_RUN_THREADS) options.threads = 3;
        world_open(&world, &options);
        hbeat_policy policy = cmpp();
        uint32_t count = 77;
        CHECK_STATUS(hbeat_engine_links(world.engine, 0, page, 7, &count), HBEAT_OK);
        CHECK_EQ(count, 0);
        for (int i = 0; i < 25; i++) links[i] = open_named(&world, &policy, NULL, "cmpp");
        CHECK_STATUS(hbeat_link_close(world.engine, links[11]), HBEAT_OK);
        CHECK(health_of(&world).links >= 24); /* CLOSED may be on its way */
        world_settle(&world);
        CHECK_EQ(health_of(&world).links, 24);
        hbeat_status status = HBEAT_INFO_MORE;
        while (status == HBEAT_INFO_MORE && pages++ < 20) {
            status = hbeat_engine_links(world.engine, after, page, 7, &count);
            REQUIRE(count <= 7 && (count > 0 || status == HBEAT_OK));
            for (uint32_t n = 0; n < count; n++) {
                for (int i = 0; i < 25; i++) found[i] += page[n] == links[i];
                after = page[n];
            }
        }
        CHECK_STATUS(status, HBEAT_OK);
        for (int i = 0; i < 25; i++) CHECK_EQ(found[i], i == 11 ? 0 : 1);
        world_end(&world);
    }
}
