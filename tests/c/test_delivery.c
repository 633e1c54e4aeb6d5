/* Lanes, callbacks, and the order in which things are told. */
#include "check.h"
#include "story.h"

TEST(a_silent_gateway_is_given_up_after_360_seconds, "K1 K8 K12 K14 K63") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(180000, 60000, 3);
    hbeat_link link = open_named(&world, &policy, "gd-mt-07", "cmpp");
    world_go(&world, 1000000);

    const long beats[] = {180000, 240000, 300000, -1}, doubts[] = {240000, 300000, -1}, end[] = {360000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_SEND, link, beats));
    CHECK(world_times(&world, HBEAT_EVENT_SUSPECT, link, doubts));
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
    for (int i = 0; i < world.count; i++) {
        const hbeat_event *event = &world.seen[i].event;
        CHECK_EQ(world.seen[i].lane, event->type == HBEAT_EVENT_SEND ? LANE_SEND : LANE_EVENT);
        CHECK(event->link == link && event->link_data == &world);
        CHECK_EQ(event->struct_size, sizeof *event);
        CHECK_EQ(event->tries_max, 3);
        CHECK(strcmp(event->name, "gd-mt-07") == 0);
        CHECK(event->count >= 1);
    }
    for (uint32_t i = 0; i < 3; i++) CHECK_EQ(world_event(&world, HBEAT_EVENT_SEND, link, (int)i)->tries, i + 1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_SUSPECT, link, 0)->tries, 1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_SUSPECT, link, 1)->tries, 2);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_SUSPECT, link, 1)->state, HBEAT_STATE_SUSPECT);
    const hbeat_event *down = world_event(&world, HBEAT_EVENT_DOWN, link, 0);
    CHECK_EQ(down->cause, HBEAT_CAUSE_NO_ANSWER);
    CHECK_EQ(down->state, HBEAT_STATE_DOWN);
    CHECK_EQ(down->tries, 3);
    CHECK_EQ(down->sequence, 1);
    CHECK_EQ(down->unread_bytes, -1);

    char text[256];
    size_t length = 0;
    CHECK_STATUS(hbeat_event_text(down, text, sizeof text, &length), HBEAT_OK);
    CHECK_EQ(length, strlen(text));
    CHECK_TEXT(text, "DOWN gd-mt-07 cause=no_answer tries=3/3 seq=1");
    world_end(&world);
}

TEST(without_on_send_everything_comes_one_way_and_in_order, "K1 K2 K12") {
    const int ways[] = {ONE_LANE, PULLED};
    for (int w = 0; w < 2; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 30000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 3);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        for (int i = 1; i < world.count; i++) {
            CHECK(world.seen[i].lane == world.seen[0].lane);
            CHECK(world.seen[i].event.at_ns >= world.seen[i - 1].event.at_ns);
        }
        CHECK_EQ(world.seen[world.count - 1].event.type, HBEAT_EVENT_DOWN);
        world_end(&world);
    }
}

TEST(notices_by_callback_the_rest_pulled, "K2") {
    struct world world;
    world_begin(&world, NOTICES_CALLED);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 30000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 3);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    for (int i = 0; i < world.count; i++)
        CHECK_EQ(world.seen[i].lane, world.seen[i].event.type == HBEAT_EVENT_SEND ? LANE_SEND : LANE_PULLED);
    world_end(&world);
}

static void overlap_notices(struct world *world, const hbeat_event *event) {
    int *inside = event->type == HBEAT_EVENT_SEND ? &world->turns : &world->flag;
    CHECK_EQ(__atomic_add_fetch(inside, 1, __ATOMIC_SEQ_CST), 1);
    sleep_ms(2);
    __atomic_sub_fetch(inside, 1, __ATOMIC_SEQ_CST);
    if (event->type == HBEAT_EVENT_SEND) take(world, event->link);
}

TEST(a_lane_is_never_in_two_callbacks_and_never_on_our_thread, "K3 K4") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_MANUAL);
    options.threads = 2; /* two shards, still one thread a lane */
    world.react = overlap_notices;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(10000, 2000, 2);
    for (int i = 0; i < 20; i++) open_named(&world, &policy, NULL, "cmpp");
    world_go(&world, 30000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 20);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, 0), 40);
    long threads[2] = {0, 0};
    for (int i = 0; i < world.count; i++) {
        long *of_lane = &threads[world.seen[i].lane];
        if (*of_lane == 0) *of_lane = world.seen[i].thread;
        CHECK_EQ(world.seen[i].thread, *of_lane);
        CHECK(world.seen[i].thread != thread_id());
    }
    CHECK(threads[0] != threads[1]);
    world_end(&world);
}

/* An application that does everything in its callbacks. */
static void busy_callbacks(struct world *world, const hbeat_event *event) {
    hbeat_engine *engine = world->engine;
    hbeat_link link = event->link, other = 0;
    hbeat_info info;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    uint64_t now = 0;
    uint32_t count = 0;
    if (event->type == HBEAT_EVENT_CLOSED) return;
    if (event->type == HBEAT_EVENT_SEND && event->tries > 1) return; /* on_event may be closing the link just now */
    info.struct_size = sizeof info;
    CHECK_STATUS(hbeat_link_info(engine, link, &info), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_now(engine, &now), HBEAT_OK);
    if (event->type == HBEAT_EVENT_SEND) {
        CHECK_STATUS(take(world, link), HBEAT_OK);
        CHECK_STATUS(hbeat_link_sent(engine, link, 0), HBEAT_OK);
        return;
    }
    if (event->type != HBEAT_EVENT_SUSPECT || __atomic_add_fetch(&world->turns, 1, __ATOMIC_SEQ_CST) != 1) return;
    options.protocol = "cmpp";
    CHECK_STATUS(hbeat_link_open(engine, &policy, &options, &other), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_links(engine, 0, &other, 1, &count), HBEAT_INFO_MORE);
    CHECK_STATUS(hbeat_link_received(engine, link, 0), HBEAT_OK);
    CHECK_STATUS(feed(world, link, CMPP_TEST, 5), HBEAT_INFO_SEND);
    CHECK_STATUS(hbeat_link_pause(engine, link, 0), HBEAT_OK);
    CHECK_STATUS(hbeat_link_start(engine, link, 0), HBEAT_OK);
    CHECK_STATUS(hbeat_link_set_policy(engine, link, &policy), HBEAT_OK);
    CHECK_STATUS(hbeat_link_report_down(engine, link, HBEAT_CAUSE_RESET, 104), HBEAT_OK);
    CHECK_STATUS(hbeat_link_close(engine, link), HBEAT_OK);
    store(&world->flag, 1);
}

TEST(every_link_call_is_allowed_in_a_callback, "K7 K17") {
    const int ways[] = {TWO_LANES, APP_TWO_LANES, DRIVEN_ONE_LANE};
    for (int w = 0; w < 3; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        world.react = busy_callbacks;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 13000);
        CHECK_EQ(load(&world.flag), 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
        world_go(&world, 60000); /* the link that the callback opened lives its own life */
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
        world_end(&world);
    }
}

TEST(only_what_was_asked_for_is_told, "K9") {
    struct world world;
    hbeat_engine_options options = world_options(&world, ONE_LANE, HBEAT_CLOCK_MANUAL);
    options.events = 1u << HBEAT_EVENT_DOWN | 1u << HBEAT_EVENT_SEND;
    world.react = take_notices;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(10000, 2000, 2);
    hbeat_link_options all = HBEAT_LINK_OPTIONS_INIT;
    all.protocol = "cmpp";
    all.events = HBEAT_EVENTS_ALL;
    hbeat_link quiet = open_named(&world, &policy, "quiet", "cmpp");
    hbeat_link chatty = open_with(&world, &policy, &all);

    world_go(&world, 10000);
    for (int i = 0; i < 2; i++) {
        hbeat_link link = i ? chatty : quiet;
        CHECK_STATUS(feed(&world, link, CMPP_ANSWER, info_of(&world, link).sequence), HBEAT_OK);
        CHECK_STATUS(feed(&world, link, CMPP_TEST, 9), HBEAT_INFO_SEND);
        CHECK_STATUS(take(&world, link), HBEAT_OK);
    }
    world_go(&world, 60000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_ANSWER, quiet), 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_BEAT_RECEIVED, quiet), 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, quiet), 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, quiet), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_ANSWER, chatty), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_BEAT_RECEIVED, chatty), 1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_BEAT_RECEIVED, chatty, 0)->sequence, 9);
    CHECK(world_event(&world, HBEAT_EVENT_ANSWER, chatty, 0)->rtt_us != HBEAT_UNKNOWN);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, chatty), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, chatty), 1);
    world_end(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, quiet), 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, chatty), 1);
}

TEST(by_default_answers_are_counted_but_not_told, "K9") {
    struct world world;
    world_begin(&world, ONE_LANE);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 2);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 10000);
    CHECK_STATUS(feed(&world, link, CMPP_ANSWER, 1), HBEAT_OK);
    world_settle(&world);
    CHECK_EQ(world.count, 1); /* the notice */
    CHECK_EQ(info_of(&world, link).answers_received, 1);
    world_end(&world);
}

static void write_log(void *data, uint32_t level, const char *line) {
    struct world *world = (struct world *)data;
    CHECK(level == HBEAT_LOG_INFO || level == HBEAT_LOG_WARNING);
    CHECK(strchr(line, '\n') == NULL);
    pthread_mutex_lock(&world->lock);
    if (strlen(world->log) + strlen(line) + 2 < sizeof world->log) {
        strcat(world->log, line);
        strcat(world->log, "\n");
    }
    pthread_mutex_unlock(&world->lock);
}

TEST(one_log_line_a_change_of_state, "K10") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_MANUAL);
    options.on_log = write_log;
    world.react = take_notices;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(180000, 60000, 3);
    open_named(&world, &policy, "gd-mt-07", "cmpp");
    world_go(&world, 400000);
    world_end(&world);
    int suspects = 0, downs = 0;
    for (char *line = strtok(world.log, "\n"); line; line = strtok(NULL, "\n")) {
        if (!strstr(line, "gd-mt-07")) continue;
        suspects += strstr(line, "SUSPECT") != NULL;
        if (strstr(line, "DOWN")) {
            downs++;
            CHECK_TEXT(line, "DOWN gd-mt-07 cause=no_answer");
        }
    }
    CHECK_EQ(suspects, 2);
    CHECK_EQ(downs, 1);
}

/* A gateway that flaps a hundred times while nobody pulls. */
TEST(a_late_application_reads_the_latest_state_and_a_count, "K13 K14 K50") {
    struct world world;
    world_begin(&world, DRIVEN_PULLED);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "flapping", "cmpp");
    hbeat_status status = HBEAT_OK;
    int suspected = 0;
    for (uint64_t ms = 0; ms <= 1302400; ms += 100) { /* 13 s a round: beat, miss, a message one second later */
        status = hbeat_engine_drive(world.engine, ns_of(ms));
        REQUIRE(status == HBEAT_OK || status == HBEAT_INFO_MORE);
        if (ms % 13000 == 10000 || ms % 13000 == 12000) CHECK_STATUS(take(&world, link), HBEAT_OK);
        if (ms % 13000 == 12500) suspected += info_of(&world, link).state == HBEAT_STATE_SUSPECT;
        if (ms % 13000 == 0) CHECK_STATUS(hbeat_link_received(world.engine, link, ns_of(ms)), HBEAT_OK);
    }
    CHECK_EQ(suspected, 100);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(1302500)), HBEAT_INFO_MORE);
    world.now_ns = ns_of(1302500);
    CHECK(health_of(&world).waiting >= 1 && health_of(&world).waiting <= 2);
    world_pull(&world, 0);
    CHECK_EQ(health_of(&world).waiting, 0);
    CHECK(world.count <= 2); /* at most a notice beside it */
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, link), 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_UP, link), 1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_UP, link, 0)->count, 200);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(1302500)), HBEAT_OK);

    /* SUSPECT and then a report, again unpulled: the verdict stays an event of its own, and the last one. */
    for (uint64_t ms = 1302600; ms <= 1312500; ms += 100) {
        hbeat_engine_drive(world.engine, ns_of(ms));
        if (ms == 1310000 || ms == 1312000) CHECK_STATUS(take(&world, link), HBEAT_OK);
    }
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 104), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_drive(world.engine, ns_of(1312500)), HBEAT_INFO_MORE);
    world.now_ns = ns_of(1312500);
    world_pull(&world, 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->count, 1);
    CHECK_EQ(world.seen[world.count - 1].event.type, HBEAT_EVENT_DOWN);
    world_end(&world);
}

TEST(many_notices_in_a_backlog_are_one, "K13") {
    struct world world;
    world_begin(&world, DRIVEN_PULLED);
    hbeat_policy policy = policy_of(1000, 1000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    for (uint64_t ms = 0; ms <= 60000; ms += 250) {
        hbeat_engine_drive(world.engine, ns_of(ms));
        if (ms % 1000 == 0) take(&world, link);
        if (ms % 1000 == 500) CHECK_STATUS(hbeat_link_received(world.engine, link, ns_of(ms)), HBEAT_OK);
    }
    world.now_ns = ns_of(60000);
    world_pull(&world, 0);
    CHECK(world_count(&world, HBEAT_EVENT_SEND, link) <= 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
    world_end(&world);
}

TEST(down_is_final, "K15 K16") {
    struct world world;
    world_begin(&world, ONE_LANE);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 2);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 14000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    int before = world.count;
    CHECK_STATUS(hbeat_link_received(world.engine, link, 0), HBEAT_OK); /* a late reader */
    world_go(&world, 15000);
    CHECK_STATUS(hbeat_link_start(world.engine, link, 0), HBEAT_OK);
    world_go(&world, 100000);
    CHECK_EQ(world.count, before);
    hbeat_info info = info_of(&world, link);
    CHECK_EQ(info.state, HBEAT_STATE_DOWN);
    CHECK_EQ(info.cause, HBEAT_CAUSE_NO_ANSWER);
    CHECK_EQ(info.tries, 2);
    CHECK_EQ(info.tries_max, 2);
    CHECK_EQ(info.beats_sent, 2);
    CHECK_EQ(info.misses, 2);
    CHECK_EQ(info.in_state_ms, 86000);
    CHECK(info.link == link && info.link_data == &world && strcmp(info.name, "a") == 0);
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    CHECK_STATUS(hbeat_link_info(world.engine, link, &info), HBEAT_ERR_NO_LINK);
    world_end(&world);
}

TEST(a_link_can_be_looked_at_as_soon_as_it_is_open, "K16") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        hbeat_policy policy = policy_of(10000, 2000, 2);
        hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
        options.name = "b";
        options.start_paused = 1;
        hbeat_link up = open_named(&world, &policy, "a", "cmpp"), paused = open_with(&world, &policy, &options);
        CHECK_EQ(info_of(&world, up).state, HBEAT_STATE_UP);
        CHECK_EQ(info_of(&world, paused).state, HBEAT_STATE_PAUSED);
        CHECK(strcmp(info_of(&world, up).name, "a") == 0);
        world_end(&world);
    }
}
