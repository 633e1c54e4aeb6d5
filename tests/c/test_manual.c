/* The manual clock: a day in a millisecond. */
#include "check.h"
#include "story.h"

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
