/* Closing a link: anywhere, at any moment, once. */
#include "check.h"
#include "story.h"

TEST(closing_is_silent_but_for_closed, "K20 K21") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 13000); /* in the middle of a probe */
        int before = world.count;
        CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
        world_go(&world, 60000);
        CHECK_EQ(world.count, before + 1);
        const hbeat_event *closed = world_event(&world, HBEAT_EVENT_CLOSED, link, 0);
        CHECK(closed->link_data == &world);
        CHECK_EQ(ms_of(closed->at_ns), 13000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
        world_end(&world);
        CHECK_EQ(world.count, before + 1);
    }
}

TEST(what_waited_is_dropped_by_close, "K20 K42") {
    struct world world;
    world_begin(&world, PULLED);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    CHECK_STATUS(hbeat_engine_advance(world.engine, ns_of(10000)), HBEAT_INFO_MORE); /* a notice waits */
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    world_go(&world, 10000);
    CHECK_EQ(world.count, 1);
    CHECK_EQ(world.seen[0].event.type, HBEAT_EVENT_CLOSED);
    world_end(&world);
}

TEST(closed_comes_in_a_later_batch_than_what_went_before, "K42") {
    struct world world;
    world_begin(&world, PULLED);
    hbeat_policy policy = policy_of(10000, 2000, 1);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 20000);
    int batch = world_seen(&world, HBEAT_EVENT_DOWN, link, 0)->batch;
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    world_go(&world, 20000);
    CHECK(world_seen(&world, HBEAT_EVENT_CLOSED, link, 0)->batch > batch);
    world_end(&world);
}

static void close_within(struct world *world, const hbeat_event *event) {
    if (event->type == HBEAT_EVENT_CLOSED) return;
    CHECK_STATUS(hbeat_link_close(world->engine, event->link), HBEAT_OK);
    CHECK_STATUS(hbeat_link_close(world->engine, event->link), HBEAT_ERR_NO_LINK);
    sleep_ms(50); /* long enough for the other lane to be rash */
    CHECK_EQ(world_count(world, HBEAT_EVENT_CLOSED, event->link), 0);
    CHECK(event->link_data == world); /* still ours */
    store(&world->flag, 1);
}

TEST(closed_waits_until_no_callback_of_the_link_runs, "K17 K22") {
    const int ways[] = {TWO_LANES, ONE_LANE, APP_TWO_LANES};
    for (int w = 0; w < 3; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        world.react = close_within;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 10000); /* the notice's callback closes its link, while on_event has nothing to do */
        CHECK_EQ(load(&world.flag), 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
        world_end(&world);
    }
}

static void hold_in_notice(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_SEND) return;
    store(&world->flag, 1);
    becomes(&world->flag, 2);
    CHECK_EQ(world_count(world, HBEAT_EVENT_CLOSED, event->link), 0);
}

TEST(close_from_elsewhere_while_a_callback_runs, "K17 K19 K22") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    world.react = hold_in_notice;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(20, 60000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    REQUIRE(becomes(&world.flag, 1)); /* on_send is inside */
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    CHECK_STATUS(take(&world, link), HBEAT_ERR_NO_LINK);
    sleep_ms(100);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 0);
    store(&world.flag, 2);
    CHECK(world_sees(&world, HBEAT_EVENT_CLOSED, link, 1));
    world_end(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
}

/* Four threads close the same links. */
struct closers {
    struct world *world;
    hbeat_link links[200];
    int closed, refused;
};

static void *close_all(void *data) {
    struct closers *closers = (struct closers *)data;
    for (int i = 0; i < 200; i++) {
        hbeat_status status = hbeat_link_close(closers->world->engine, closers->links[i]);
        CHECK(status == HBEAT_OK || status == HBEAT_ERR_NO_LINK);
        __atomic_add_fetch(status == HBEAT_OK ? &closers->closed : &closers->refused, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

TEST(exactly_one_closer_wins, "K18 K21") {
    struct world world;
    struct closers closers;
    pthread_t threads[4];
    world_begin(&world, TWO_LANES);
    memset(&closers, 0, sizeof closers);
    closers.world = &world;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    for (int i = 0; i < 200; i++) closers.links[i] = open_named(&world, &policy, NULL, "cmpp");
    for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, close_all, &closers) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(closers.closed, 200);
    CHECK_EQ(closers.refused, 600);
    world_settle(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 200);
    for (int i = 0; i < 200; i++) CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, closers.links[i]), 1);
    world_end(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 200);
}

TEST(the_id_is_stale_at_once_and_for_ever, "K19 K24 K92") {
    const int ways[] = {TWO_LANES, APP_PULLED};
    for (int w = 0; w < 2; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link first = open_named(&world, &policy, "first", "cmpp"), link = first;
        CHECK_STATUS(hbeat_link_close(world.engine, first), HBEAT_OK);
        for (int i = 0; i < 1000; i++) {
            hbeat_info info;
            info.struct_size = sizeof info;
            hbeat_link before = link;
            CHECK_STATUS(hbeat_link_received(world.engine, first, 0), HBEAT_ERR_NO_LINK);
            CHECK_STATUS(hbeat_link_info(world.engine, first, &info), HBEAT_ERR_NO_LINK);
            link = open_named(&world, &policy, "next", "cmpp");
            CHECK(link != 0 && link != first && link != before);
            CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
            CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_ERR_NO_LINK);
            CHECK_STATUS(hbeat_link_sent(world.engine, link, 0), HBEAT_ERR_NO_LINK);
            if (i % 100 == 0) world_settle(&world);
        }
        world_go(&world, 5000); /* freed places rest; then they are used again */
        hbeat_link later = open_named(&world, &policy, "later", "cmpp");
        CHECK(later != first && later != link);
        CHECK_STATUS(hbeat_link_received(world.engine, first, 0), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_ERR_NO_LINK);
        CHECK_STATUS(hbeat_link_received(world.engine, later, 0), HBEAT_OK);
        world_end(&world);
    }
}

/* release stands for CLOSED. It has no engine_data: the connection knows its world. */
struct connection {
    struct world *world;
    int alive;
};
static int releases_of_null;

static void release_connection(void *data) {
    struct connection *connection = (struct connection *)data;
    if (!connection) {
        __atomic_add_fetch(&releases_of_null, 1, __ATOMIC_SEQ_CST);
        return;
    }
    CHECK_EQ(connection->alive, 1);
    connection->alive = 0;
    connection->world->release_thread = thread_id();
    __atomic_add_fetch(&connection->world->releases, 1, __ATOMIC_SEQ_CST);
    free(connection); /* a second release, or a late event, is found by the sanitizer */
}

static hbeat_link open_connection(struct world *world, const hbeat_policy *policy) {
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    struct connection *connection = (struct connection *)malloc(sizeof *connection);
    connection->world = world;
    connection->alive = 1;
    options.protocol = "cmpp";
    options.link_data = connection;
    return open_with(world, policy, &options);
}

static void touch_connection(struct world *world, const hbeat_event *event) {
    struct connection *connection = (struct connection *)event->link_data;
    CHECK_EQ(connection->alive, 1);
    if (event->type == HBEAT_EVENT_SEND) take(world, event->link);
    CHECK_EQ(connection->alive, 1);
}

TEST(release_comes_once_a_link_in_place_of_closed, "K21 K23 K45 K25") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        hbeat_engine_options options = world_options(&world, way, HBEAT_CLOCK_MANUAL);
        options.release = release_connection;
        world.react = touch_connection;
        world_open(&world, &options);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link closed = open_connection(&world, &policy), down = open_connection(&world, &policy);
        open_connection(&world, &policy); /* left to stop */
        world_go(&world, 12000);
        CHECK_STATUS(hbeat_link_close(world.engine, closed), HBEAT_OK);
        world_go(&world, 12000);
        CHECK_EQ(load(&world.releases), 1);
        if (!world.way.on_event || world.way.run == HBEAT_RUN_APPLICATION) CHECK_EQ(world.release_thread, thread_id());
        if (world.way.on_event && world.way.run == HBEAT_RUN_THREADS) CHECK(world.release_thread != thread_id());
        world_go(&world, 30000);
        CHECK_EQ(load(&world.releases), 1); /* DOWN is not the end of a link */
        CHECK_STATUS(hbeat_link_close(world.engine, down), HBEAT_OK);
        world_end(&world);
        CHECK_EQ(load(&world.releases), 3);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 0);
    }
}

TEST(release_comes_for_a_link_without_data, "K23") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_MANUAL);
    hbeat_link_options none = HBEAT_LINK_OPTIONS_INIT;
    options.release = release_connection;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    CHECK_STATUS(hbeat_link_close(world.engine, open_with(&world, &policy, &none)), HBEAT_OK);
    world_settle(&world);
    CHECK_EQ(load(&releases_of_null), 1);
    world_end(&world);
    CHECK_EQ(load(&releases_of_null), 1);
}

/* Links come and go on two threads while beats fall due each few milliseconds, in real time. */
static void *open_and_close(void *data) {
    struct world *world = (struct world *)data;
    hbeat_policy policy = policy_of(2, 60000, 3);
    hbeat_link links[16] = {0};
    for (int i = 0; i < 2000; i++) {
        int at = i * 7 % 16;
        if (links[at]) CHECK_STATUS(hbeat_link_close(world->engine, links[at]), HBEAT_OK);
        links[at] = open_connection(world, &policy);
        __atomic_add_fetch(&world->turns, 1, __ATOMIC_SEQ_CST);
        if (i % 100 == 0) sleep_ms(3);
    }
    return NULL;
}

static void touch_and_take(struct world *world, const hbeat_event *event) {
    struct connection *connection = (struct connection *)event->link_data;
    unsigned char frame[64];
    size_t length = 0;
    if (!connection) return; /* an event of the engine: PAUSE on a busy machine */
    CHECK_EQ(connection->alive, 1);
    if (event->type == HBEAT_EVENT_SEND) {
        hbeat_status status = hbeat_link_take(world->engine, event->link, NULL, 0, frame, sizeof frame, &length);
        /* The link was closed meanwhile, or, at the end, the engine stopped (K29). */
        CHECK(status == HBEAT_OK || status == HBEAT_ERR_NO_LINK || status == HBEAT_ERR_STOPPED);
    }
    CHECK_EQ(connection->alive, 1);
}

TEST(no_event_ever_comes_after_release_in_a_storm_of_closes, "K20 K21 K22 K23") {
    struct world world;
    pthread_t threads[2];
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    options.release = release_connection;
    world.react = touch_and_take;
    world_open(&world, &options);
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, open_and_close, &world) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    world_end(&world);
    CHECK_EQ(load(&world.turns), 4000);
    CHECK_EQ(load(&world.releases), 4000);
}
