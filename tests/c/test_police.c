/* A peer that beats too often. */
#include "check.h"
#include "story.h"

/* What may come at once under `limits`: the beats of 36 s of silence at three quarters of a second, the one that is due, and
 * three retries. */
enum { AT_ONCE = 52 };

/* Given up after 16 s of silence, or 20 s later where our own reader is late. */
static hbeat_policy limits(uint32_t least_ms) {
    hbeat_policy policy = policy_of(10000, 2000, 3);
    policy.least_ms = least_ms;
    return policy;
}

/* The peer beats, in whichever protocol. */
static void beat(struct world *world, hbeat_link link, int fed) {
    if (fed) {
        CHECK_STATUS(feed(world, link, CMPP_TEST, 1), HBEAT_INFO_SEND);
        take(world, link);
    } else {
        CHECK_STATUS(hbeat_link_beat_received(world->engine, link, 1, 0), HBEAT_OK);
    }
    world_settle(world);
}

static hbeat_stats stats_of(struct world *world) {
    hbeat_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    REQUIRE_OK(hbeat_engine_stats(world->engine, &stats));
    return stats;
}

TEST(a_flood_gets_strikes_and_then_the_verdict, "K179") {
    for (int way = 0; way < WAY_COUNT; way++) {
        for (int fed = 0; fed <= 1; fed++) {
            struct world world;
            const long strikes[] = {1000, 1000, 1000, -1}, down[] = {1000, -1};
            world_begin(&world, way);
            hbeat_policy policy = limits(1000), any = limits(0);
            hbeat_link link = open_named(&world, &policy, "a", fed ? "cmpp" : "none");
            hbeat_link free = open_named(&world, &any, "b", fed ? "cmpp" : "none");
            world_go(&world, 1000);
            for (int i = 0; i < AT_ONCE; i++) beat(&world, link, fed);
            CHECK_EQ(world_count(&world, HBEAT_EVENT_STRIKE, link), 0);
            for (int i = 0; i < 4; i++) beat(&world, link, fed);
            CHECK(world_times(&world, HBEAT_EVENT_STRIKE, link, strikes) && world_times(&world, HBEAT_EVENT_DOWN, link, down));
            for (int i = 0; i < 3; i++) {
                const hbeat_event *event = world_event(&world, HBEAT_EVENT_STRIKE, link, i);
                CHECK(event->detail == (uint32_t)i + 1 && event->state == HBEAT_STATE_UP && event->cause == HBEAT_CAUSE_NONE);
            }
            CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_POLICED);
            CHECK_EQ(info_of(&world, link).strikes, 3);
            CHECK_EQ(info_of(&world, link).beats_received, AT_ONCE + 4);
            for (int i = 0; i < 3 * AT_ONCE; i++) beat(&world, free, fed);
            CHECK_EQ(info_of(&world, free).strikes, 0);
            hbeat_stats stats = stats_of(&world);
            CHECK(stats.strikes == 3 && stats.downs[HBEAT_CAUSE_POLICED] == 1);
            world_end(&world);
        }
    }
}

TEST(how_many_strikes_is_for_the_policy_to_say, "K179") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = limits(1000);
    policy.strikes = 7;
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    for (int i = 0; i < AT_ONCE + 7; i++) beat(&world, link, 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_STRIKE, link), 7);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_UP);
    beat(&world, link, 1);
    CHECK_EQ(info_of(&world, link).cause, HBEAT_CAUSE_POLICED);
    for (int i = 0; i < 5; i++) beat(&world, link, 1); /* nobody polices a link that was given up */
    CHECK_EQ(info_of(&world, link).strikes, 7);
    world_end(&world);
}

TEST(at_the_limit_with_jitter_nobody_is_caught, "K180") {
    const uint32_t percents[] = {100, 75, 88};
    for (int i = 0; i < 3; i++) {
        struct world world;
        world_begin(&world, TWO_LANES);
        hbeat_policy policy = limits(1000);
        hbeat_link link = open_named(&world, &policy, "a", "none");
        uint64_t ms = 0;
        for (int n = 0; n < 400; n++) {
            ms += (n % 2 ? percents[i] : 75) * 10; /* BFD's jitter, and as early as it may be each time */
            world_go(&world, ms);
            beat(&world, link, 0);
        }
        CHECK_EQ(info_of(&world, link).strikes, 0);
        CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_UP);
        world_end(&world);
    }
}

TEST(what_the_network_held_up_may_come_at_once, "K180") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = limits(1000);
    hbeat_link link = open_named(&world, &policy, "a", "none");
    for (uint64_t round = 1; round <= 20; round++) {
        world_go(&world, round * 15900); /* a moment before the verdict */
        for (int i = 0; i < 15900 / 750; i++) beat(&world, link, 0);
    }
    CHECK_EQ(info_of(&world, link).strikes, 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
    world_end(&world);
}

TEST(what_we_held_up_ourselves_may_too, "K181") {
    struct world world;
    world_begin(&world, DRIVEN);
    hbeat_policy policy = limits(1000);
    hbeat_link link = open_named(&world, &policy, "a", "none");
    world_go(&world, 1000);
    beat(&world, link, 0);
    world.now_ns = ns_of(301000); /* five minutes in which nothing of ours ran */
    for (int i = 0; i < 300000 / 750; i++) CHECK_STATUS(hbeat_link_beat_received(world.engine, link, 1, ns_of(301000)), HBEAT_OK);
    world_settle(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PAUSE, 0), 1);
    CHECK_EQ(info_of(&world, link).strikes, 0);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_UP);
    world_end(&world);
}

TEST(real_data_forgive, "K182") {
    for (int fed = 0; fed <= 1; fed++) {
        struct world world;
        world_begin(&world, TWO_LANES);
        hbeat_policy policy = limits(1000);
        hbeat_link link = open_named(&world, &policy, "a", fed ? "cmpp" : "none");
        for (int i = 0; i < AT_ONCE; i++) beat(&world, link, fed);
        for (int i = 0; i < 10; i++) {
            for (uint32_t n = 1; n <= 2; n++) {
                beat(&world, link, fed);
                CHECK_EQ(world_event(&world, HBEAT_EVENT_STRIKE, link, 2 * i + (int)n - 1)->detail, n);
            }
            world_go(&world, 2 * (uint64_t)i + 1);
            if (fed) CHECK_STATUS(feed(&world, link, CMPP_SUBMIT, 2), HBEAT_OK);
            else CHECK_STATUS(hbeat_link_received(world.engine, link, 0), HBEAT_OK);
            world_go(&world, 2 * (uint64_t)i + 2);
        }
        CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_UP);

        /* Answers are none: four more, and it is over. */
        for (int i = 0; i < 4; i++) {
            beat(&world, link, fed);
            if (fed) CHECK_STATUS(feed(&world, link, CMPP_ANSWER, 4711), HBEAT_OK);
            else CHECK_STATUS(hbeat_link_answer_received(world.engine, link, 4711, 0), HBEAT_OK);
        }
        CHECK_EQ(info_of(&world, link).cause, HBEAT_CAUSE_POLICED);
        world_end(&world);
    }
}

TEST(an_answer_of_our_own_beat_is_no_real_data, "K182") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = limits(1000);
    hbeat_link link = open_named(&world, &policy, "a", "none");
    for (int i = 0; i < AT_ONCE + 2; i++) beat(&world, link, 0);
    CHECK_EQ(info_of(&world, link).strikes, 2);
    world_go(&world, 10000); /* our beat is due; 10 s fill 13 beats up */
    CHECK_STATUS(hbeat_link_answer_received(world.engine, link, info_of(&world, link).sequence, 0), HBEAT_OK);
    world_go(&world, 10001);
    CHECK_EQ(info_of(&world, link).answers_received, 1);
    for (int i = 0; i < 13; i++) beat(&world, link, 0);
    CHECK_EQ(info_of(&world, link).strikes, 2);
    beat(&world, link, 0);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_STRIKE, link, 2)->detail, 3);
    world_end(&world);
}

TEST(what_is_only_observed_would_be_given_up, "K179") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = limits(1000);
    policy.observe_only = 1;
    hbeat_link link = open_named(&world, &policy, "a", "none");
    for (int i = 0; i < AT_ONCE + 4; i++) beat(&world, link, 0);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_WOULD_BE_DOWN, link, 0)->cause, HBEAT_CAUSE_POLICED);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
    world_go(&world, 1000);
    beat(&world, link, 0);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_UP);
    world_end(&world);
}
