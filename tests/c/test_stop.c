/* stop, quiesce, free. */
#include "check.h"
#include "story.h"

#include <dirent.h>

static int threads_of_process(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    REQUIRE(tasks != NULL);
    for (struct dirent *entry = readdir(tasks); entry; entry = readdir(tasks)) count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

/* A joined thread may still be listed for a moment. */
static int threads_are(int expected) {
    for (int i = 0; i < 1000 && threads_of_process() != expected; i++) sleep_ms(2);
    return threads_of_process() == expected;
}

TEST(stop_closes_every_link_and_ends_every_thread, "K21 K25 K26 K30") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        int before = threads_of_process();
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link links[10];
        for (int i = 0; i < 10; i++) links[i] = open_named(&world, &policy, NULL, "cmpp");
        world_go(&world, 13000);
        CHECK_EQ(health_of(&world).phase, HBEAT_PHASE_RUNNING);
        CHECK_EQ(health_of(&world).links, 10);
        CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
        CHECK(threads_are(before));
        CHECK_EQ(health_of(&world).phase, HBEAT_PHASE_STOPPED);
        CHECK_EQ(health_of(&world).threads, 0);
        /* a link counts until its last event was handed out */
        CHECK_EQ(health_of(&world).links, world.way.on_event ? 0 : 10);
        if (!world.way.on_event) CHECK(world_pull(&world, 0) >= 10);
        CHECK_EQ(health_of(&world).links, 0);
        CHECK_EQ(health_of(&world).waiting, 0);
        if (world.way.on_event) CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 10);
        int settled = world.count;
        CHECK_STATUS(hbeat_engine_stop(world.engine, 0), HBEAT_OK);
        CHECK_EQ(world.count, settled);
        world_end(&world);
        for (int i = 0; i < 10; i++) CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, links[i]), 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 0);
    }
}

static void check_stopped(struct world *world, hbeat_link link) {
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    hbeat_info info;
    hbeat_link other = 0;
    hbeat_engine *engine = world->engine;
    info.struct_size = sizeof info;
    CHECK_STATUS(hbeat_link_open(engine, &policy, &options, &other), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_start(engine, link, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_pause(engine, link, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_received(engine, link, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_sent(engine, link, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(feed(world, link, CMPP_TEST, 1), HBEAT_ERR_STOPPED);
    CHECK_STATUS(take(world, link), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_unsent(engine, link, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_answer_received(engine, link, 1, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_beat_received(engine, link, 1, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_report_down(engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_set_policy(engine, link, &policy), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_info(engine, link, &info), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_close(engine, link), HBEAT_ERR_NO_LINK);
}

TEST(after_stop_every_link_call_says_so, "K29") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
        check_stopped(&world, link);
        world_end(&world);
    }
}

static void hang(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_DOWN) return;
    store(&world->flag, 1);
    becomes(&world->flag, 2);
}

TEST(stop_waits_for_a_hanging_callback_as_long_as_told, "K27 K29 K32 K26") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    world.react = hang;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(60000, 60000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp"), other = open_named(&world, &policy, "b", "cmpp");
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    REQUIRE(becomes(&world.flag, 1));
    CHECK_STATUS(hbeat_engine_stop(world.engine, 0), HBEAT_ERR_TIMEOUT);
    CHECK_STATUS(hbeat_engine_stop(world.engine, 50), HBEAT_ERR_TIMEOUT);
    CHECK_EQ(health_of(&world).phase, HBEAT_PHASE_STOPPING);
    CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_ERR_BUSY);
    check_stopped(&world, other);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 0);
    store(&world.flag, 2);
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, other), 1);
    CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
}

static void stop_within(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_DOWN) return;
    CHECK_STATUS(hbeat_engine_stop(world->engine, HBEAT_FOREVER), HBEAT_INFO_STOPPING);
    CHECK_STATUS(hbeat_engine_stop(world->engine, HBEAT_FOREVER), HBEAT_INFO_STOPPING);
    check_stopped(world, event->link);
    CHECK_EQ(world_count(world, HBEAT_EVENT_CLOSED, event->link), 0);
    store(&world->flag, 1);
}

TEST(stop_within_a_callback_does_not_wait, "K28 K29") {
    const int ways[] = {TWO_LANES, ONE_LANE, DRIVEN};
    for (int w = 0; w < 3; w++) {
        struct world world;
        hbeat_engine_options options = world_options(&world, ways[w], HBEAT_CLOCK_SYSTEM);
        world.react = stop_within;
        world_open(&world, &options);
        hbeat_policy policy = policy_of(60000, 60000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
        if (world.way.driven) hbeat_engine_drive(world.engine, hbeat_now_ns());
        REQUIRE(becomes(&world.flag, 1));
        CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
        CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
    }
}

static void deadlock(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_DOWN && event->type != HBEAT_EVENT_SEND) return;
    CHECK_STATUS(hbeat_engine_quiesce(world->engine, HBEAT_FOREVER), HBEAT_ERR_WOULD_DEADLOCK);
    CHECK_STATUS(hbeat_engine_free(world->engine), HBEAT_ERR_WOULD_DEADLOCK);
    CHECK_STATUS(hbeat_engine_advance(world->engine, ns_of(99000)), HBEAT_ERR_WOULD_DEADLOCK);
    if (world->way.run == HBEAT_RUN_APPLICATION)
        CHECK_STATUS(hbeat_engine_drive(world->engine, ns_of(99000)), HBEAT_ERR_WOULD_DEADLOCK);
    __atomic_add_fetch(&world->turns, 1, __ATOMIC_SEQ_CST);
}

TEST(what_would_deadlock_in_a_callback_is_refused, "K35") {
    const int ways[] = {TWO_LANES, ONE_LANE, APP_TWO_LANES, DRIVEN};
    for (int w = 0; w < 4; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        world.react = deadlock;
        hbeat_policy policy = policy_of(10000, 2000, 1);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 15000);
        CHECK_EQ(load(&world.turns), 2);
        uint64_t now = 0;
        CHECK_STATUS(hbeat_engine_now(world.engine, &now), HBEAT_OK);
        CHECK_EQ(ms_of(now), 15000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        world_end(&world);
    }
}

TEST(quiesce_returns_when_all_is_handed_out, "K34") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    world_open(&world, &options);
    hbeat_policy policy = policy_of(60000, 60000, 3);
    for (int i = 0; i < 200; i++) {
        hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
        if (i % 2) CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
        if (i % 2) CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    }
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 200);

    world.react = hang;
    hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    REQUIRE(becomes(&world.flag, 1));
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, 50), HBEAT_ERR_TIMEOUT);
    store(&world.flag, 2);
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    world_end(&world);
}

TEST(quiesce_waits_for_who_pulls, "K34") {
    struct world world;
    hbeat_engine_options options = world_options(&world, PULLED, HBEAT_CLOCK_SYSTEM);
    world_open(&world, &options);
    hbeat_policy policy = policy_of(60000, 60000, 3);
    hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, 20), HBEAT_ERR_TIMEOUT);
    CHECK_EQ(world_pull(&world, LONG_MS), 1);
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    world_end(&world);
}

TEST(free_alone_stops, "K31 K33 K62") {
    CHECK_STATUS(hbeat_engine_free(NULL), HBEAT_OK);
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        int before = threads_of_process();
        world_begin(&world, way);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        for (int i = 0; i < 5; i++) open_named(&world, &policy, NULL, "cmpp");
        CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
        CHECK(threads_are(before));
        if (world.way.on_event) CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 5);
    }
}

TEST(an_engine_that_nobody_used, "K26 K31") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
        world_begin(&world, way);
        world_end(&world);
        CHECK_EQ(world.count, 0);
    }
}

static int releases;
static void count_release(void *data) {
    CHECK(data == &releases);
    __atomic_add_fetch(&releases, 1, __ATOMIC_SEQ_CST);
}

TEST(a_release_that_nobody_pulled_comes_in_free, "K36 K43") {
    const int ways[] = {PULLED, APP_PULLED};
    for (int w = 0; w < 2; w++) {
        struct world world;
        hbeat_engine_options options = world_options(&world, ways[w], HBEAT_CLOCK_MANUAL);
        hbeat_link_options data = HBEAT_LINK_OPTIONS_INIT;
        options.release = count_release;
        releases = 0;
        world_open(&world, &options);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        data.link_data = &releases;
        for (int i = 0; i < 5; i++) open_with(&world, &policy, &data);
        CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
        CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
        CHECK_EQ(releases, 5);
    }
}

TEST(application_and_callbacks_stop_calls_them_here, "K62 K47") {
    struct world world;
    world_begin(&world, DRIVEN);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    CHECK_EQ(world_seen(&world, HBEAT_EVENT_CLOSED, link, 0)->thread, thread_id());
    CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
}

struct stoppers {
    struct world *world;
    int ok;
};

static void *stop_it(void *data) {
    struct stoppers *stoppers = (struct stoppers *)data;
    CHECK_STATUS(hbeat_engine_stop(stoppers->world->engine, LONG_MS), HBEAT_OK);
    __atomic_add_fetch(&stoppers->ok, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

TEST(several_threads_may_stop_the_same_engine, "K26 K30 K25") {
    struct world world;
    struct stoppers stoppers;
    pthread_t threads[3];
    world_begin(&world, TWO_LANES);
    stoppers.world = &world;
    stoppers.ok = 0;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    for (int i = 0; i < 50; i++) open_named(&world, &policy, NULL, "cmpp");
    for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, stop_it, &stoppers) == 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(stoppers.ok, 3);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 50);
    CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
}
