/* Callbacks that hang, in real time: who is harmed, and who must not be. */
#include "check.h"
#include "story.h"

static pthread_mutex_t writer = PTHREAD_MUTEX_INITIALIZER; /* the mutex of a writer that is stuck in send() */

static void log_with_the_writers_mutex(struct world *world, const hbeat_event *event) {
    if (event->type == HBEAT_EVENT_SEND) {
        unsigned char frame[64];
        size_t length = 0;
        hbeat_link_take(world->engine, event->link, NULL, 0, frame, sizeof frame, &length);
    } else if (event->type == HBEAT_EVENT_DOWN) {
        __atomic_add_fetch(&world->flag, 1, __ATOMIC_SEQ_CST);
        pthread_mutex_lock(&writer);
        pthread_mutex_unlock(&writer);
    }
}

TEST(on_event_hangs_and_everything_else_goes_on, "K5 K11 K14") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    world.react = log_with_the_writers_mutex;
    world_open(&world, &options);
    hbeat_policy calm = policy_of(60000, 60000, 3), quick = policy_of(50, 50, 3);
    hbeat_link first = open_named(&world, &calm, "first", "cmpp"), dying[3];
    CHECK_EQ(health_of(&world).on_event_ms, 0);

    pthread_mutex_lock(&writer);
    CHECK_STATUS(hbeat_link_report_down(world.engine, first, HBEAT_CAUSE_CLOSED_BY_PEER, 0), HBEAT_OK);
    REQUIRE(becomes(&world.flag, 1)); /* on_event hangs from here on */
    for (int i = 0; i < 3; i++) dying[i] = open_named(&world, &quick, NULL, "cmpp");
    for (int i = 0; i < 3; i++) CHECK(world_sees(&world, HBEAT_EVENT_SEND, dying[i], 3)); /* notices go out */
    for (int i = 0; i < 3; i++) { /* and the shard judges */
        int down = 0;
        for (int n = 0; n < 5000 && !down; n++, sleep_ms(2)) down = info_of(&world, dying[i]).state == HBEAT_STATE_DOWN;
        CHECK(down);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, dying[i]), 0);
    }
    for (int n = 0; n < 5000 && health_of(&world).on_event_ms < 100; n++) sleep_ms(2);
    hbeat_health health = health_of(&world);
    CHECK(health.on_event_ms >= 100);
    CHECK_EQ(health.on_send_ms, 0);
    CHECK(health.turn_age_ms < 5000);
    CHECK(health.waiting >= 3); /* events, not links: the doubts wait beside the verdicts */
    uint64_t released = hbeat_now_ns();
    pthread_mutex_unlock(&writer);

    for (int i = 0; i < 3; i++) {
        CHECK(world_sees(&world, HBEAT_EVENT_DOWN, dying[i], 1));
        const hbeat_event *down = world_event(&world, HBEAT_EVENT_DOWN, dying[i], 0);
        CHECK_EQ(down->cause, HBEAT_CAUSE_NO_ANSWER);
        CHECK(down->at_ns < released); /* when it happened, not when it could be told */
    }
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    CHECK_EQ(health_of(&world).on_event_ms, 0);
    world_end(&world);
    for (int i = 0; i < 3; i++) CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, dying[i]), 1);
}

/* The first notice hangs until flag is 2; then each one is taken and the peer answers at once. */
static void hang_in_notice(struct world *world, const hbeat_event *event) {
    unsigned char frame[64];
    size_t length = 0;
    if (event->type != HBEAT_EVENT_SEND) return;
    if (load(&world->flag) == 0) store(&world->flag, 1);
    if (load(&world->flag) == 1) becomes(&world->flag, 2);
    if (hbeat_link_take(world->engine, event->link, NULL, 0, frame, sizeof frame, &length) == HBEAT_OK && length == 12)
        hbeat_link_received(world->engine, event->link, 0);
}

TEST(on_send_hangs_and_no_link_is_blamed, "K6 K11") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    world.react = hang_in_notice;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(100, 200, 2);
    hbeat_link links[5];
    for (int i = 0; i < 5; i++) links[i] = open_named(&world, &policy, NULL, "cmpp");
    REQUIRE(becomes(&world.flag, 1));
    CHECK(world_sees(&world, HBEAT_EVENT_APP_NOT_RESPONDING, 0, 4)); /* those behind the one that hangs */
    sleep_ms(800);                                                  /* two verdicts long */
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, 0), 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, 0), 1);
    hbeat_health health = health_of(&world);
    CHECK(health.on_send_ms >= 500);
    CHECK_EQ(health.on_event_ms, 0);
    CHECK(health.turn_age_ms < 5000);
    for (int i = 0; i < 5; i++) CHECK(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, links[i]) <= 1);
    CHECK_STATUS(hbeat_link_report_down(world.engine, links[4], HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    CHECK(world_sees(&world, HBEAT_EVENT_DOWN, links[4], 1)); /* what is known is told */

    store(&world.flag, 2);
    for (int i = 0; i < 4; i++) CHECK(world_sees(&world, HBEAT_EVENT_SEND, links[i], 3));
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 1);
    world_end(&world);
}

static void hang_in_down(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_DOWN) return;
    __atomic_add_fetch(&world->flag, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&writer);
    pthread_mutex_unlock(&writer);
}

TEST(links_can_be_opened_and_closed_while_on_event_hangs, "K5 K17 K20") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    world.react = hang_in_down;
    world_open(&world, &options);
    hbeat_policy calm = policy_of(60000, 60000, 3);
    hbeat_link first = open_named(&world, &calm, "first", "cmpp"), links[100];
    pthread_mutex_lock(&writer);
    CHECK_STATUS(hbeat_link_report_down(world.engine, first, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    REQUIRE(becomes(&world.flag, 1));
    for (int i = 0; i < 100; i++) {
        links[i] = open_named(&world, &calm, NULL, "cmpp");
        if (i % 2) CHECK_STATUS(hbeat_link_report_down(world.engine, links[i], HBEAT_CAUSE_RESET, 0), HBEAT_OK);
        CHECK_STATUS(hbeat_link_close(world.engine, links[i]), HBEAT_OK);
    }
    CHECK_STATUS(hbeat_link_close(world.engine, first), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 0);
    pthread_mutex_unlock(&writer);
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 101);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 1);
    world_end(&world);
}
