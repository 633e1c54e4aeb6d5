/* Callbacks that do what they please: they block, close, open, stop, wait, drive, free, and stop each other's engines. */
#include "check.h"
#include "story.h"

#include <signal.h>

static hbeat_policy calm(void) { return policy_of(180000, 60000, 3); }

/* Two links whose callbacks close each other's link, at the same time in two lanes. */
static hbeat_link pair_of[2];
static int entered;

static void close_the_other(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_SEND && event->type != HBEAT_EVENT_DOWN) return;
    hbeat_link other = event->link == pair_of[0] ? pair_of[1] : pair_of[0];
    __atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
    becomes(&entered, 2); /* both lanes are inside, each in the other's link */
    CHECK_STATUS(hbeat_link_close(world->engine, other), HBEAT_OK);
    CHECK_STATUS(hbeat_link_close(world->engine, other), HBEAT_ERR_NO_LINK);
    CHECK_EQ(world_count(world, HBEAT_EVENT_CLOSED, event->link), 0); /* ours is still used here */
}

TEST(two_callbacks_close_each_others_links, "K17 K21 K22 K147") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    hbeat_policy quick = policy_of(30, 60000, 3), slow = calm();
    world.react = close_the_other;
    world_open(&world, &options);
    pair_of[1] = open_named(&world, &slow, "down", "cmpp");
    pair_of[0] = open_named(&world, &quick, "send", "cmpp");
    CHECK_STATUS(hbeat_link_report_down(world.engine, pair_of[1], HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    for (int i = 0; i < 2; i++) CHECK(world_sees(&world, HBEAT_EVENT_CLOSED, pair_of[i], 1));
    world_end(&world);
    CHECK_EQ(entered, 2);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 2);
}

/* A DOWN opens the next connection's link, closes its own, and so on, a hundred times. */
static void open_the_next(struct world *world, const hbeat_event *event) {
    hbeat_policy policy = calm();
    hbeat_link next = 0;
    if (event->type != HBEAT_EVENT_DOWN || world->turns == 100) return;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    CHECK_STATUS(hbeat_link_open(world->engine, &policy, &how, &next), HBEAT_OK);
    CHECK_STATUS(hbeat_link_close(world->engine, event->link), HBEAT_OK);
    CHECK_STATUS(hbeat_link_report_down(world->engine, next, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    CHECK_STATUS(hbeat_link_report_down(world->engine, next, HBEAT_CAUSE_RESET, 0), HBEAT_INFO_ALREADY_DOWN);
    __atomic_add_fetch(&world->turns, 1, __ATOMIC_SEQ_CST);
}

TEST(a_callback_opens_the_next_link, "K7 K14 K21 K147") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        world.react = open_the_next;
        hbeat_policy policy = calm();
        hbeat_link first = open_named(&world, &policy, NULL, "none");
        CHECK_STATUS(hbeat_link_report_down(world.engine, first, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
        for (int i = 0; i < 5000 && load(&world.turns) < 100; i++) world_settle(&world);
        CHECK_EQ(world.turns, 100);
        world_end(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 101);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 101);
    }
}

/* Everything that waits, or frees, from inside: each call says what it makes of it, and returns. */
static void try_everything(struct world *world, const hbeat_event *event) {
    hbeat_event other;
    uint32_t count = 77;
    int32_t fd = -1;
    uint64_t next = 0;
    hbeat_engine *engine = world->engine;
    if (event->type != HBEAT_EVENT_SEND && event->type != HBEAT_EVENT_DOWN) return;
    int pulls = !world->way.on_event, turned = world->way.run == HBEAT_RUN_APPLICATION;
    CHECK_STATUS(hbeat_engine_quiesce(engine, HBEAT_FOREVER), HBEAT_ERR_WOULD_DEADLOCK);
    CHECK_STATUS(hbeat_engine_advance(engine, ns_of(99000)), HBEAT_ERR_WOULD_DEADLOCK);
    CHECK_STATUS(hbeat_engine_drive(engine, ns_of(99000)), turned ? HBEAT_ERR_WOULD_DEADLOCK : HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_engine_next_deadline(engine, &next), turned ? HBEAT_OK : HBEAT_ERR_WRONG_MODE);
    hbeat_status waited = hbeat_engine_wait(engine, &other, sizeof other, 1, 0, &count);
    CHECK(waited == (pulls ? HBEAT_OK : HBEAT_ERR_WRONG_MODE) || waited == HBEAT_ERR_BUSY); /* the story itself may be pulling */
    CHECK_STATUS(hbeat_engine_fd(engine, &fd), pulls || turned ? HBEAT_OK : HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_engine_free(engine), HBEAT_ERR_WOULD_DEADLOCK);
    health_of(world);
    CHECK_STATUS(hbeat_link_close(engine, event->link), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_stop(engine, HBEAT_FOREVER), HBEAT_INFO_STOPPING);
    CHECK_STATUS(hbeat_engine_free(engine), HBEAT_ERR_WOULD_DEADLOCK);
    CHECK_STATUS(hbeat_engine_quiesce(engine, HBEAT_FOREVER), HBEAT_ERR_STOPPED);
    __atomic_add_fetch(&world->turns, 1, __ATOMIC_SEQ_CST);
}

TEST(whatever_waits_is_refused_in_a_callback, "K28 K35 K41 K51 K147") {
    const int ways[] = {TWO_LANES, ONE_LANE, NOTICES_CALLED, APP_TWO_LANES, DRIVEN, DRIVEN_ONE_LANE};
    for (int w = 0; w < 6; w++) {
        struct world world;
        world_begin(&world, ways[w]);
        world.react = try_everything;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
        uint64_t due = ns_of(10000);
        hbeat_status status = world.way.driven ? hbeat_engine_drive(world.engine, due) : hbeat_engine_advance(world.engine, due);
        CHECK(status == HBEAT_OK || status == HBEAT_INFO_MORE || status == HBEAT_ERR_STOPPED);
        REQUIRE(becomes(&world.turns, 1));
        world_end(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
        CHECK_EQ(world.turns, 1);
    }
}

/* Each of two engines is stopped from a callback of the other one, both at once. */
static struct world crossed[2];
static int inside;

static void stop_the_other(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_DOWN) return;
    struct world *other = world == &crossed[0] ? &crossed[1] : &crossed[0];
    __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    becomes(&inside, 2);
    /* The other's callback waits likewise: neither can end first, and the time given is what ends it. */
    world->status = hbeat_engine_stop(other->engine, 100);
    store(&world->flag, 1);
}

TEST(two_engines_stop_each_other, "K26 K27 K147") {
    for (int way = TWO_LANES; way <= ONE_LANE; way++) {
        inside = 0;
        for (int i = 0; i < 2; i++) {
            hbeat_policy policy = calm();
            world_begin(&crossed[i], way);
            crossed[i].react = stop_the_other;
            crossed[i].link = open_named(&crossed[i], &policy, NULL, "cmpp");
        }
        for (int i = 0; i < 2; i++) CHECK_STATUS(hbeat_link_report_down(crossed[i].engine, crossed[i].link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
        for (int i = 0; i < 2; i++) REQUIRE(becomes(&crossed[i].flag, 1));
        /* at least one had to give up; the other may have seen it return */
        CHECK(crossed[0].status == HBEAT_ERR_TIMEOUT || crossed[1].status == HBEAT_ERR_TIMEOUT);
        for (int i = 0; i < 2; i++) CHECK(crossed[i].status == HBEAT_OK || crossed[i].status == HBEAT_ERR_TIMEOUT);
        for (int i = 0; i < 2; i++) {
            world_end(&crossed[i]);
            CHECK_EQ(world_count(&crossed[i], HBEAT_EVENT_CLOSED, crossed[i].link), 1);
        }
    }
}

/* A callback of one engine frees another one, with what that takes: stop and wait for its callbacks. */
static void free_the_other(struct world *world, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_DOWN) return;
    CHECK_STATUS(hbeat_engine_free(crossed[1].engine), HBEAT_OK);
    store(&world->flag, 1);
}

TEST(a_callback_frees_another_engine, "K31 K147") {
    hbeat_policy policy = calm();
    for (int i = 0; i < 2; i++) world_begin(&crossed[i], TWO_LANES);
    crossed[0].react = free_the_other;
    for (int i = 0; i < 2; i++) crossed[i].link = open_named(&crossed[i], &policy, NULL, "cmpp");
    CHECK_STATUS(hbeat_link_report_down(crossed[0].engine, crossed[0].link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    REQUIRE(becomes(&crossed[0].flag, 1));
    CHECK_EQ(world_count(&crossed[1], HBEAT_EVENT_CLOSED, crossed[1].link), 1);
    world_end(&crossed[0]);
}

/* release is a callback, too, and the last one: it may open the successor. */
static struct world *of_release;

static void open_in_release(void *data) {
    hbeat_policy policy = calm();
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link next = 0;
    (void)data;
    hbeat_status status = hbeat_link_open(of_release->engine, &policy, &how, &next);
    CHECK(status == HBEAT_OK || status == HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_engine_free(of_release->engine), HBEAT_ERR_WOULD_DEADLOCK);
    CHECK_STATUS(hbeat_engine_quiesce(of_release->engine, 0), status == HBEAT_OK ? HBEAT_ERR_WOULD_DEADLOCK : HBEAT_ERR_STOPPED);
    __atomic_add_fetch(&of_release->releases, 1, __ATOMIC_SEQ_CST);
}

TEST(release_opens_the_successor, "K7 K23 K147") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        hbeat_engine_options options = world_options(&world, way, HBEAT_CLOCK_MANUAL);
        hbeat_policy policy = calm();
        of_release = &world;
        options.release = open_in_release;
        world_open(&world, &options);
        hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
        CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
        world_settle(&world);
        CHECK_EQ(load(&world.releases), 1);
        CHECK_EQ(health_of(&world).links, 1);
        world_end(&world);
        CHECK_EQ(load(&world.releases), 2);
    }
}

/* The ids of one engine in every call of another, and 10^5 ids that nobody made. */
TEST(a_hundred_thousand_random_handles, "K92 K101") {
    struct world world, foreign;
    uint64_t random = 88172645463325252ull;
    hbeat_policy policy = calm();
    hbeat_info info;
    info.struct_size = sizeof info;
    world_begin(&world, PULLED);
    world_begin(&foreign, PULLED);
    hbeat_link ours = open_named(&world, &policy, "ours", "cmpp"), theirs = open_named(&foreign, &policy, "theirs", "cmpp");
    for (int i = 0; i < 100000; i++) {
        hbeat_engine *engine = world.engine;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        /* all of it random, or only its generation, its slot, its shard; now and then the other engine's */
        const hbeat_link kinds[] = {random, ours ^ (random & 0x00fffffff0000000ull), ours ^ (random & 0x0fffffff), ours ^ (random & 0xff00000000000000ull), theirs};
        hbeat_link link = kinds[i % 5];
        if (link == ours) continue;
        switch (i / 5 % 13) {
        case 0: CHECK_STATUS(hbeat_link_start(engine, link, 0), HBEAT_ERR_NO_LINK); break;
        case 1: CHECK_STATUS(hbeat_link_pause(engine, link, 0), HBEAT_ERR_NO_LINK); break;
        case 2: CHECK_STATUS(hbeat_link_close(engine, link), HBEAT_ERR_NO_LINK); break;
        case 3: CHECK_STATUS(hbeat_link_received(engine, link, 0), HBEAT_ERR_NO_LINK); break;
        case 4: CHECK_STATUS(hbeat_link_sent(engine, link, 0), HBEAT_ERR_NO_LINK); break;
        case 5: CHECK_STATUS(feed(&world, link, CMPP_TEST, 1), HBEAT_ERR_NO_LINK); break;
        case 6: CHECK_STATUS(take(&world, link), HBEAT_ERR_NO_LINK); break;
        case 7: CHECK_STATUS(hbeat_link_unsent(engine, link, 0), HBEAT_ERR_NO_LINK); break;
        case 8: CHECK_STATUS(hbeat_link_answer_received(engine, link, 1, 0), HBEAT_ERR_NO_LINK); break;
        case 9: CHECK_STATUS(hbeat_link_beat_received(engine, link, 1, 0), HBEAT_ERR_NO_LINK); break;
        case 10: CHECK_STATUS(hbeat_link_report_down(engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_ERR_NO_LINK); break;
        case 11: CHECK_STATUS(hbeat_link_set_policy(engine, link, &policy), HBEAT_ERR_NO_LINK); break;
        default: CHECK_STATUS(hbeat_link_info(engine, link, &info), HBEAT_ERR_NO_LINK); break;
        }
        if (check_failures > 20) REQUIRE(!"too many");
    }
    world_settle(&world);
    world_settle(&foreign);
    CHECK_EQ(info_of(&world, ours).state, HBEAT_STATE_UP);
    CHECK_EQ(info_of(&foreign, theirs).state, HBEAT_STATE_UP);
    CHECK_EQ(world.count, 0);
    CHECK_EQ(foreign.count, 0);
    world_end(&world);
    world_end(&foreign);
}

/* What unwinds out of a callback ends the process, with a line that says why. */
static void leave_by_exit(struct world *world, const hbeat_event *event) {
    (void)world;
    if (event->type == HBEAT_EVENT_DOWN) pthread_exit(NULL); /* a forced unwinding */
}
#ifdef __cplusplus
static void leave_by_throw(struct world *world, const hbeat_event *event) {
    (void)world;
    if (event->type == HBEAT_EVENT_DOWN) throw 1;
}
#endif

static void dies_of(void (*react)(struct world *world, const hbeat_event *event), int way) {
    int said[2], status = 0;
    char words[4096] = "";
    fflush(stdout);
    REQUIRE(pipe(said) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        struct world world;
        dup2(said[1], 2);
        alarm(30);
        world_begin(&world, way);
        world.react = react;
        hbeat_policy policy = calm();
        hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
        hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0);
        if (world.way.driven) hbeat_engine_drive(world.engine, START_NS);
        sleep_ms(LONG_MS);
        _exit(0); /* it went on */
    }
    close(said[1]);
    size_t at = 0;
    for (ssize_t got = 1; got > 0 && at + 1 < sizeof words; at += got > 0 ? (size_t)got : 0) got = read(said[0], words + at, sizeof words - 1 - at);
    close(said[0]);
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK_TEXT(words, "hbeat: an exception or a forced unwinding left a callback");
}

TEST(what_unwinds_out_of_a_callback_ends_the_process, "K148") {
    dies_of(leave_by_exit, TWO_LANES);
    dies_of(leave_by_exit, DRIVEN);
#ifdef __cplusplus
    dies_of(leave_by_throw, TWO_LANES);
    dies_of(leave_by_throw, DRIVEN);
#endif
}
