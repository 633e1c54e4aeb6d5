/* The manual clock: a day in a millisecond. */
#include "check.h"
#include "story.h"

static const uint64_t DAY_NS = 86400000000000ull;

static long long now_of(struct world *world) {
    uint64_t now = 0;
    REQUIRE_OK(hbeat_engine_now(world->engine, &now));
    return ms_of(now);
}

TEST(the_clock_stands_where_it_was_put, "K54 K60") {
    const int ways[] = {TWO_LANES, PULLED, APP_TWO_LANES, APP_PULLED};
    for (int w = 0; w < 4; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        CHECK_EQ(now_of(&world), 0);
        sleep_ms(20);
        CHECK_EQ(now_of(&world), 0);
        CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(5000)), HBEAT_OK);
        CHECK_EQ(now_of(&world), 5000);
        CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(4000)), HBEAT_OK);
        CHECK_EQ(now_of(&world), 5000);
        CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(5000)), HBEAT_OK);
        CHECK_EQ(now_of(&world), 5000);
        world_end(&world);
    }
}

TEST(one_long_step_is_as_exact_as_many_short_ones, "K55") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy policy = policy_of(86400000, 3600000, 3); /* a beat a day */
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 400000000);
        const long beats[] = {86400000, 90000000, 93600000, -1}, end[] = {97200000, -1};
        CHECK(world_times(&world, HBEAT_EVENT_SEND, link, beats));
        CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
        world_end(&world);
    }
}

static void dawdle(struct world *world, const hbeat_event *event) {
    sleep_ms(20);
    take_notices(world, event);
    __atomic_add_fetch(&world->turns, 1, __ATOMIC_SEQ_CST);
}

TEST(advance_returns_when_all_is_at_rest, "K56") {
    const int ways[] = {TWO_LANES, ONE_LANE, APP_TWO_LANES};
    for (int w = 0; w < 3; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        world.react = dawdle;
        hbeat_policy policy = policy_of(10000, 2000, 2);
        open_named(&world, &policy, "a", "cmpp");
        CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(10000)), HBEAT_OK);
        CHECK_EQ(load(&world.turns), 1);
        CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(12000)), HBEAT_OK);
        CHECK_EQ(load(&world.turns), 3); /* SUSPECT and the second notice */
        CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(14000)), HBEAT_OK);
        CHECK_EQ(load(&world.turns), 4);
        world.now_ns = ns_of(14000);
        world_end(&world);
    }
}

TEST(advance_stops_where_something_is_to_be_pulled, "K57") {
    const int ways[] = {PULLED, APP_PULLED};
    for (int w = 0; w < 2; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 2);
        open_named(&world, &policy, "a", "cmpp");
        const long stops[] = {10000, 12000, 14000};
        for (int i = 0; i < 3; i++) {
            CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(50000)), HBEAT_INFO_MORE);
            CHECK_EQ(now_of(&world), stops[i]);
            CHECK(world_pull(&world, 0) >= 1);
        }
        CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(50000)), HBEAT_OK);
        CHECK_EQ(now_of(&world), 50000);
        world.now_ns = ns_of(50000);
        world_end(&world);
    }
}

TEST(a_real_clock_is_not_advanced, "K58") {
    const int ways[] = {TWO_LANES, APP_TWO_LANES};
    for (int w = 0; w < 2; w++) {
        struct world world;
        hbeat_engine_options options = world_options(&world, ways[w], HBEAT_CLOCK_SYSTEM);
        world_open(&world, &options);
        CHECK_STATUS(hbeat_engine_advance(world.engine, hbeat_now_ns() + 1000000u), HBEAT_ERR_WRONG_MODE);
        CHECK_TEXT(hbeat_last_error(), "HBEAT_CLOCK_MANUAL");
        uint64_t before = hbeat_now_ns(), now = 0;
        CHECK_STATUS(hbeat_engine_now(world.engine, &now), HBEAT_OK);
        if (world.way.run == HBEAT_RUN_THREADS) CHECK(now >= before);
        world_end(&world);
    }
}

/* A clock that starts 30 days up, so that there is a past to speak of. */
static void world_begin_late(struct world *world, uint32_t events) {
    hbeat_engine_options options = world_options(world, TWO_LANES, HBEAT_CLOCK_MANUAL);
    options.start_ns = 30 * DAY_NS;
    if (events) options.events = events;
    world->react = take_notices;
    world_open(world, &options);
}

TEST(an_old_stamp_is_no_fresh_sign_of_life, "K102 K116") {
    struct world world;
    enum { RECEIVED, FED, BEAT, ANSWER, ABSURD, KINDS };
    hbeat_link links[KINDS], recent;
    unsigned char frame[13];
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    for (int i = 0; i < KINDS; i++) links[i] = open_named(&world, &policy, NULL, "cmpp");
    recent = open_named(&world, &policy, "recent", "cmpp");
    world_go(&world, 13000); /* all are in doubt since 12 s, for what was due at 10 s */
    uint64_t old = ns_of(5000);
    size_t length = cmpp_frame(frame, CMPP_SUBMIT, 1);
    CHECK_STATUS(hbeat_link_received(world.engine, links[RECEIVED], old), HBEAT_OK);
    CHECK_STATUS(hbeat_link_feed(world.engine, links[FED], frame, length, old), HBEAT_OK);
    CHECK_STATUS(hbeat_link_beat_received(world.engine, links[BEAT], 1, old), HBEAT_OK);
    uint32_t sequence = info_of(&world, links[ANSWER]).sequence;
    CHECK_STATUS(hbeat_link_answer_received(world.engine, links[ANSWER], sequence, old), HBEAT_OK);
    CHECK_STATUS(hbeat_link_received(world.engine, links[ABSURD], 1), HBEAT_OK);
    CHECK_STATUS(hbeat_link_received(world.engine, recent, ns_of(10500)), HBEAT_OK); /* 2.5 s ago, and after the beat */
    world_go(&world, 20000);
    const long end[] = {16000, -1};
    for (int i = 0; i < KINDS; i++) CHECK(world_times(&world, HBEAT_EVENT_DOWN, links[i], end));
    CHECK_EQ(info_of(&world, links[ANSWER]).rtt_us, HBEAT_UNKNOWN); /* no answer comes before its beat */
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, recent), 0);
    world_go(&world, 20500);
    CHECK_EQ(ms_of(world_event(&world, HBEAT_EVENT_SEND, recent, world_count(&world, HBEAT_EVENT_SEND, recent) - 1)->at_ns), 20500);
    world_end(&world);
}

TEST(stamps_never_go_back, "K116") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 9000);
    CHECK_STATUS(hbeat_link_received(world.engine, link, ns_of(8000)), HBEAT_OK);
    CHECK_STATUS(hbeat_link_received(world.engine, link, ns_of(3000)), HBEAT_OK); /* another thread was slow */
    CHECK_STATUS(hbeat_link_sent(world.engine, link, ns_of(7000)), HBEAT_OK);
    CHECK_STATUS(hbeat_link_sent(world.engine, link, ns_of(2000)), HBEAT_OK);
    CHECK_EQ(info_of(&world, link).last_received_ms, 1000);
    CHECK_EQ(info_of(&world, link).last_sent_ms, 2000);
    world_go(&world, 18000);
    CHECK_EQ(ms_of(world_event(&world, HBEAT_EVENT_SEND, link, 0)->at_ns), 18000);
    world_end(&world);
}

TEST(what_lies_more_than_six_days_back_proves_nothing, "K116") {
    struct world world;
    world_begin_late(&world, 0);
    const uint64_t now = 30 * DAY_NS + 13000000000ull;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    CHECK_STATUS(hbeat_engine_advance(world.engine, now), HBEAT_OK);
    const uint64_t absurd[] = {1, 1000, DAY_NS, now / 1000000u, now - 7 * DAY_NS}; /* milliseconds by mistake, say */
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        CHECK_STATUS(hbeat_link_received(world.engine, link, absurd[i]), HBEAT_OK);
        CHECK_STATUS(hbeat_link_sent(world.engine, link, absurd[i]), HBEAT_OK);
    }
    CHECK_STATUS(hbeat_engine_advance(world.engine, now + 10000000000ull), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_UP, link), 0);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->at_ns, 30 * DAY_NS + 16000000000ull);
    world_end(&world);
}

TEST(months_of_silence, "K116 K15") {
    struct world world;
    world_begin_late(&world, 1u << HBEAT_EVENT_UP | 1u << HBEAT_EVENT_DOWN);
    hbeat_policy policy = policy_of(43200000, 60000, 3), datagram = policy;
    datagram.up_after = 2; /* tried twice a day, for ever */
    hbeat_link dead = open_named(&world, &datagram, "dead", "cmpp"), paused, idle = open_named(&world, &policy, "idle", "cmpp");
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.start_paused = 1;
    paused = open_with(&world, &policy, &how);
    for (uint64_t day = 1; day <= 120; day++) { /* core time wraps after 49.7 days, and its order turns after 24.9 */
        for (int half = 0; half < 2; half++) {
            const uint64_t now = 30 * DAY_NS + day * DAY_NS + (uint64_t)half * DAY_NS / 2;
            CHECK_STATUS(hbeat_engine_advance(world.engine, now - 1000000000ull), HBEAT_OK);
            CHECK_STATUS(hbeat_link_answer_received(world.engine, idle, 0, 0), HBEAT_OK);
            CHECK_STATUS(hbeat_link_received(world.engine, idle, 0), HBEAT_OK);
        }
        if (day == 40 || day == 80) { /* the first word after 40 days */
            CHECK_STATUS(hbeat_link_received(world.engine, paused, 0), HBEAT_OK);
            CHECK_EQ(info_of(&world, paused).last_received_ms, 0);
        }
    }
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, dead), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_UP, dead), 0);
    CHECK_EQ(info_of(&world, dead).last_received_ms, HBEAT_UNKNOWN);
    world_end(&world);
}

TEST(zero_is_now, "K59 K63 K102") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(180000, 60000, 3);
    hbeat_link zero = open_named(&world, &policy, "zero", "cmpp"), given = open_named(&world, &policy, "given", "cmpp"),
               ahead = open_named(&world, &policy, "ahead", "cmpp"), own = open_named(&world, &policy, "own", "cmpp");
    world_go(&world, 70000);
    CHECK_STATUS(hbeat_link_received(world.engine, zero, 0), HBEAT_OK);
    CHECK_STATUS(hbeat_link_received(world.engine, given, ns_of(69500)), HBEAT_OK);
    CHECK_STATUS(hbeat_link_received(world.engine, ahead, UINT64_MAX), HBEAT_OK);
    CHECK_STATUS(hbeat_link_sent(world.engine, own, 0), HBEAT_OK); /* what we send proves nothing */
    world_go(&world, 260000);
    CHECK_EQ(ms_of(world_event(&world, HBEAT_EVENT_SEND, zero, 0)->at_ns), 250000);
    CHECK_EQ(ms_of(world_event(&world, HBEAT_EVENT_SEND, given, 0)->at_ns), 249500);
    CHECK_EQ(ms_of(world_event(&world, HBEAT_EVENT_SEND, ahead, 0)->at_ns), 250000);
    CHECK_EQ(ms_of(world_event(&world, HBEAT_EVENT_SEND, own, 0)->at_ns), 180000);
    world_end(&world);
}
