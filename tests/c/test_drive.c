/* The application's own loop turns the engine. */
#include "check.h"
#include "story.h"

static uint64_t deadline_of(struct world *world) {
    uint64_t deadline = 77;
    REQUIRE_OK(hbeat_engine_next_deadline(world->engine, &deadline));
    return deadline;
}

TEST(a_loop_of_ones_own, "K46 K47 K48") {
    struct world world;
    world_begin(&world, DRIVEN);
    world.react = take_notices;
    CHECK_EQ(health_of(&world).threads, 0);
    CHECK(deadline_of(&world) == UINT64_MAX);
    hbeat_policy policy = policy_of(180000, 60000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    int turns = 0;
    for (uint64_t now = START_NS; now < ns_of(400000) && turns < 10000; turns++) {
        CHECK_STATUS(hbeat_engine_drive(world.engine, now), HBEAT_OK);
        uint64_t next = deadline_of(&world);
        CHECK(next > now);
        if (next == UINT64_MAX) break;
        /* a millisecond too early nothing happens, and nobody is the wiser */
        int before = world.count;
        if (next - now > 2000000u) {
            CHECK_STATUS(hbeat_engine_drive(world.engine, next - 1000000u), HBEAT_OK);
            CHECK_EQ(world.count, before);
        }
        now = next;
    }
    CHECK(turns < 1000);
    const long beats[] = {180000, 240000, 300000, -1}, doubts[] = {240000, 300000, -1}, end[] = {360000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_SEND, link, beats));
    CHECK(world_times(&world, HBEAT_EVENT_SUSPECT, link, doubts));
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
    for (int i = 0; i < world.count; i++) CHECK_EQ(world.seen[i].thread, thread_id());
    CHECK(deadline_of(&world) > ns_of(3600000)); /* nothing is left to be done for a link that is DOWN */
    world_end(&world);
}

TEST(what_was_told_is_due_at_once, "K49 K4") {
    const int ways[] = {DRIVEN, DRIVEN_PULLED};
    for (int w = 0; w < 2; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        hbeat_policy policy = policy_of(180000, 60000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 1000);
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_CLOSED_BY_PEER, 0), HBEAT_OK);
        CHECK_EQ(world.count, 0); /* told within drive, not within the report */
        CHECK(deadline_of(&world) <= ns_of(1000));
        world_go(&world, 1000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 0);
        CHECK(deadline_of(&world) <= ns_of(1000));
        world_go(&world, 1000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
        CHECK(deadline_of(&world) > ns_of(1000));
        world_end(&world);
    }
}

TEST(drive_says_when_events_wait, "K50") {
    struct world world;
    world_begin(&world, DRIVEN_PULLED);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    open_named(&world, &policy, "a", "cmpp");
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(9000)), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(10000)), HBEAT_INFO_MORE);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(10000)), HBEAT_INFO_MORE);
    world.now_ns = ns_of(10000);
    CHECK_EQ(world_pull(&world, 0), 1);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(10000)), HBEAT_OK);
    world_end(&world);
}

TEST(threads_are_not_driven, "K51") {
    struct world world;
    uint64_t deadline = 77;
    world_begin(&world, TWO_LANES);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(1)), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_engine_next_deadline(world.engine, &deadline), HBEAT_ERR_WRONG_MODE);
    CHECK_EQ(deadline, 77);
    CHECK_TEXT(hbeat_last_error(), "HBEAT_RUN_APPLICATION");
    world_end(&world);
}

static void hold(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_DOWN) return;
    store(&world->flag, 1);
    becomes(&world->flag, 2);
}

static void *drive_it(void *data) {
    struct world *world = (struct world *)data;
    world->status = hbeat_engine_drive(world->engine, ns_of(2000));
    return NULL;
}

TEST(one_thread_drives_another_is_told, "K52") {
    struct world world;
    pthread_t thread;
    world_begin(&world, DRIVEN);
    world.react = hold;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    REQUIRE(pthread_create(&thread, NULL, drive_it, &world) == 0);
    REQUIRE(becomes(&world.flag, 1));
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(3000)), HBEAT_ERR_BUSY);
    CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(3000)), HBEAT_ERR_BUSY);
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK); /* the links are everybody's */
    store(&world.flag, 2);
    pthread_join(thread, NULL);
    CHECK_STATUS(world.status, HBEAT_OK);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(3000)), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
    world_end(&world);
}

TEST(time_never_goes_back, "K53") {
    struct world world;
    world_begin(&world, DRIVEN);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 9000);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(100)), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_drive(world.engine, 0), HBEAT_OK);
    uint64_t now = 0;
    CHECK_STATUS(hbeat_engine_now(world.engine, &now), HBEAT_OK);
    CHECK_EQ(ms_of(now), 9000);
    world_go(&world, 30000);
    const long end[] = {16000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
    world_end(&world);
}

/* The loop of the header: wait, take the time, report all that is ready, then drive; in real time, with poll. */
TEST(a_real_loop_finds_a_silent_peer, "K48 K40 K46") {
    struct world world;
    hbeat_engine_options options = world_options(&world, DRIVEN_ONE_LANE, HBEAT_CLOCK_SYSTEM);
    world.react = take_notices;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(50, 50, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    uint64_t began = hbeat_now_ns(), now = began;
    while (!world_count(&world, HBEAT_EVENT_DOWN, link) && now - began < 10000000000ull) {
        uint64_t next = deadline_of(&world);
        if (next > now) sleep_ms(next == UINT64_MAX ? 5 : (long)((next - now) / 1000000u) + 1);
        now = hbeat_now_ns();
        hbeat_status status = hbeat_engine_drive(world.engine, now);
        CHECK_STATUS(status, HBEAT_OK);
    }
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    CHECK(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->at_ns - began >= 200000000u);
    world_end(&world);
}
