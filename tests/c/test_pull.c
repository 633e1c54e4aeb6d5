/* Pulling events: wait, and the descriptor for loops. */
#include "check.h"
#include "story.h"

static hbeat_link reported(struct world *world) {
    hbeat_policy policy = policy_of(60000, 60000, 3);
    hbeat_link link = open_named(world, &policy, NULL, "cmpp");
    CHECK_STATUS(hbeat_link_report_down(world->engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    return link;
}

static int readable(int fd, int timeout_ms) {
    struct pollfd one;
    one.fd = fd;
    one.events = POLLIN;
    one.revents = 0;
    return poll(&one, 1, timeout_ms) == 1 && (one.revents & POLLIN);
}

TEST(nothing_in_time_is_ok_with_none, "K37") {
    struct world world;
    hbeat_engine_options options = world_options(&world, PULLED, HBEAT_CLOCK_SYSTEM);
    world_open(&world, &options);
    hbeat_event event;
    uint32_t count = 77;
    CHECK_STATUS(hbeat_engine_wait(world.engine, &event, sizeof event, 1, 0, &count), HBEAT_OK);
    CHECK_EQ(count, 0);
    uint64_t before = hbeat_now_ns();
    count = 77;
    CHECK_STATUS(hbeat_engine_wait(world.engine, &event, sizeof event, 1, 50, &count), HBEAT_OK);
    CHECK_EQ(count, 0);
    CHECK(hbeat_now_ns() - before >= 50000000u);
    world_end(&world);
}

TEST(a_batch_holds_what_fits_and_the_next_one_the_rest, "K37 K12") {
    struct world world;
    hbeat_event events[3];
    uint32_t count = 0;
    int got[10] = {0};
    hbeat_link links[10];
    world_begin(&world, PULLED);
    for (int i = 0; i < 10; i++) links[i] = reported(&world);
    CHECK_STATUS(hbeat_engine_advance(world.engine, START_NS), HBEAT_INFO_MORE);
    for (int batch = 0; batch < 4; batch++) {
        CHECK_STATUS(hbeat_engine_wait(world.engine, events, sizeof events[0], 3, 0, &count), HBEAT_OK);
        CHECK_EQ(count, batch < 3 ? 3 : 1);
        for (uint32_t i = 0; i < count && i < 3; i++)
            for (int n = 0; n < 10; n++) got[n] += events[i].link == links[n] && events[i].type == HBEAT_EVENT_DOWN;
    }
    for (int n = 0; n < 10; n++) CHECK_EQ(got[n], 1);
    CHECK_STATUS(hbeat_engine_advance(world.engine, START_NS), HBEAT_OK);
    world_end(&world);
}

/* A larger struct, as a later version may have it. */
struct wide_event {
    hbeat_event known;
    unsigned char later[40];
};

TEST(events_lie_a_stride_apart, "K44") {
    struct world world;
    struct wide_event events[4];
    uint32_t count = 0;
    world_begin(&world, PULLED);
    hbeat_link first = reported(&world), second = reported(&world);
    memset(events, 0xa5, sizeof events);
    CHECK_STATUS(hbeat_engine_advance(world.engine, START_NS), HBEAT_INFO_MORE);
    CHECK_STATUS(hbeat_engine_wait(world.engine, &events[0].known, sizeof events[0], 4, 0, &count), HBEAT_OK);
    CHECK_EQ(count, 2);
    CHECK((events[0].known.link == first && events[1].known.link == second) || (events[0].known.link == second && events[1].known.link == first));
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(events[i].known.type, HBEAT_EVENT_DOWN);
        for (int n = 0; n < 40; n++) CHECK_EQ(events[i].later[n], 0);
    }
    CHECK_EQ(events[2].known.type, 0xa5a5a5a5u); /* not a byte behind the last one */
    world_end(&world);
}

TEST(nobody_waits_for_an_engine_that_nobody_turns, "K37") {
    struct world world;
    hbeat_event event;
    uint32_t count = 77;
    world_begin(&world, APP_PULLED);
    reported(&world);
    CHECK_STATUS(hbeat_engine_wait(world.engine, &event, sizeof event, 1, HBEAT_FOREVER, &count), HBEAT_OK);
    CHECK_EQ(count, 0);
    world_settle(&world);
    CHECK_EQ(world.count, 1);
    world_end(&world);
}

static void *wait_for_ever(void *data) {
    struct world *world = (struct world *)data;
    hbeat_event event;
    uint32_t count = 0;
    hbeat_status status;
    do {
        status = hbeat_engine_wait(world->engine, &event, sizeof event, 1, HBEAT_FOREVER, &count);
        if (status == HBEAT_OK && count == 1) world_note(world, &event, LANE_PULLED);
    } while (status == HBEAT_OK || status == HBEAT_ERR_BUSY);
    CHECK_STATUS(status, HBEAT_INFO_END);
    CHECK_EQ(count, 0);
    store(&world->flag, 1);
    return NULL;
}

TEST(a_waiting_thread_wakes_for_events_and_for_stop, "K38 K43") {
    struct world world;
    pthread_t thread;
    hbeat_engine_options options = world_options(&world, PULLED, HBEAT_CLOCK_SYSTEM);
    world_open(&world, &options);
    REQUIRE(pthread_create(&thread, NULL, wait_for_ever, &world) == 0);
    sleep_ms(20);
    hbeat_link link = reported(&world);
    CHECK(world_sees(&world, HBEAT_EVENT_DOWN, link, 1));
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    pthread_join(thread, NULL);
    CHECK_EQ(load(&world.flag), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
    CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
}

TEST(one_thread_waits_another_is_told, "K39") {
    struct world world;
    pthread_t thread;
    hbeat_engine_options options = world_options(&world, PULLED, HBEAT_CLOCK_SYSTEM);
    world_open(&world, &options);
    REQUIRE(pthread_create(&thread, NULL, wait_for_ever, &world) == 0);
    hbeat_status status = HBEAT_OK;
    for (int i = 0; i < 5000 && status == HBEAT_OK; i++) {
        hbeat_event event;
        uint32_t count = 0;
        status = hbeat_engine_wait(world.engine, &event, sizeof event, 1, 0, &count);
        sleep_ms(2);
    }
    CHECK_STATUS(status, HBEAT_ERR_BUSY);
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    pthread_join(thread, NULL);
    CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
}

TEST(the_descriptor_is_readable_while_events_wait, "K40") {
    const int ways[] = {PULLED, APP_PULLED, NOTICES_CALLED};
    for (int w = 0; w < 3; w++) {
        struct world world;
        int32_t fd = -1, again = -1;
        world_begin(&world, ways[w]);
        CHECK_STATUS(hbeat_engine_fd(world.engine, &fd), HBEAT_OK);
        REQUIRE(fd >= 0);
        CHECK(!readable(fd, 0));
        for (int round = 0; round < 3; round++) {
            reported(&world);
            reported(&world);
            CHECK_STATUS(hbeat_engine_advance(world.engine, START_NS), HBEAT_INFO_MORE);
            CHECK(readable(fd, 5000));
            CHECK(readable(fd, 5000)); /* and stays so, read or not */
            hbeat_event event;
            uint32_t count = 0;
            CHECK_STATUS(hbeat_engine_wait(world.engine, &event, sizeof event, 1, 0, &count), HBEAT_OK);
            CHECK_EQ(count, 1);
            CHECK(readable(fd, 5000)); /* one is left */
            CHECK_EQ(world_pull(&world, 0), 1);
            CHECK(!readable(fd, 0));
            CHECK_STATUS(hbeat_engine_fd(world.engine, &again), HBEAT_OK);
            CHECK_EQ(again, fd);
        }
        world_end(&world);
    }
}

TEST(the_descriptor_wakes_a_loop, "K40 K38") {
    struct world world;
    int32_t fd = -1;
    hbeat_engine_options options = world_options(&world, PULLED, HBEAT_CLOCK_SYSTEM);
    world_open(&world, &options);
    CHECK_STATUS(hbeat_engine_fd(world.engine, &fd), HBEAT_OK);
    hbeat_policy policy = policy_of(20, 20, 2);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world.react = take_notices;
    for (int i = 0; i < 1000 && !world_count(&world, HBEAT_EVENT_DOWN, link); i++) {
        CHECK(readable(fd, LONG_MS));
        world_pull(&world, 0);
    }
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_NO_ANSWER);
    world_end(&world);
}

TEST(who_set_on_event_does_not_pull, "K41") {
    struct world world;
    hbeat_event event;
    uint32_t count = 0;
    int32_t fd = -1;
    world_begin(&world, TWO_LANES);
    CHECK_STATUS(hbeat_engine_wait(world.engine, &event, sizeof event, 1, 0, &count), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_engine_fd(world.engine, &fd), HBEAT_ERR_WRONG_MODE);
    CHECK_EQ(fd, -1);
    world_end(&world);
}

TEST(after_stop_the_rest_and_then_the_end, "K40 K43 K21 K25") {
    const int ways[] = {PULLED, APP_PULLED, NOTICES_CALLED};
    for (int w = 0; w < 3; w++) {
        struct world world;
        hbeat_event events[4];
        uint32_t count = 0;
        int closed = 0;
        int32_t fd = -1;
        world_begin(&world, ways[w]);
        CHECK_STATUS(hbeat_engine_fd(world.engine, &fd), HBEAT_OK);
        for (int i = 0; i < 10; i++) reported(&world);
        CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
        hbeat_status status = HBEAT_OK;
        for (int i = 0; i < 100 && status == HBEAT_OK; i++) {
            count = 77;
            CHECK(readable(fd, 0)); /* a loop comes back until it was told the end */
            status = hbeat_engine_wait(world.engine, events, sizeof events[0], 4, HBEAT_FOREVER, &count);
            REQUIRE(count <= 4);
            for (uint32_t n = 0; n < count; n++) closed += events[n].type == HBEAT_EVENT_CLOSED;
        }
        CHECK_STATUS(status, HBEAT_INFO_END);
        CHECK_EQ(count, 0);
        CHECK_EQ(closed, 10);
        CHECK(!readable(fd, 0)); /* and does not spin after it */
        CHECK_STATUS(hbeat_engine_wait(world.engine, events, sizeof events[0], 4, HBEAT_FOREVER, &count), HBEAT_INFO_END);
        CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
    }
}
