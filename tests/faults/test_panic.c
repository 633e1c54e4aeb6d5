/* A bug in hbeat, made on purpose: against a library that was built with the feature fault-injection, which panics once
 * where it is asked to. The engine fails as a whole, the process goes on, every link gets its last event. */
#include "check.h"
#include "story.h"

#include <signal.h>

void hbeat_test_panic(uint32_t point); /* the numbers are those of src/engine/fault.rs */
enum point { POINT_CALL = 1, POINT_TURN, POINT_BEFORE_CALLBACK, POINT_AFTER_CALLBACK, POINT_FEED, POINT_TAKE };

/* The calls, each with arguments that are right but for the panic. */
#define WITH_ENGINE(name, ...)                                                                                         \
    static hbeat_status call_##name(struct world *world, hbeat_link link) {                                            \
        hbeat_engine *engine = world->engine;                                                                          \
        (void)link;                                                                                                    \
        return name(engine, __VA_ARGS__);                                                                              \
    }

static hbeat_policy policy;
static hbeat_backoff backoff;
static hbeat_link_options how;
static hbeat_key key = {sizeof(hbeat_key), 1, "sixteen or more octets", 22};
static hbeat_health health;
static hbeat_info info;
static hbeat_stats stats;
static hbeat_histogram histogram;
static hbeat_event event;
static hbeat_keepalive keepalive;
static hbeat_tcp_info tcp;
static int tcp_socket = -1;
static hbeat_link link_place;
static hbeat_listener_options listening;
static hbeat_listener_info listener;
static hbeat_listener listener_place;
static uint64_t ns;
static uint32_t number;
static int32_t descriptor;
static size_t length;
static char text[512];
static unsigned char frame[HBEAT_FRAME_MAX];

WITH_ENGINE(hbeat_engine_stop, LONG_MS)
WITH_ENGINE(hbeat_engine_quiesce, LONG_MS)
WITH_ENGINE(hbeat_engine_health, &health)
WITH_ENGINE(hbeat_engine_links, 0, &link_place, 1, &number)
WITH_ENGINE(hbeat_engine_now, &ns)
WITH_ENGINE(hbeat_engine_stats, &stats)
WITH_ENGINE(hbeat_engine_histogram, HBEAT_HISTOGRAM_RTT, &histogram)
WITH_ENGINE(hbeat_engine_wait, &event, sizeof event, 1, 0, &number)
WITH_ENGINE(hbeat_engine_fd, &descriptor)
WITH_ENGINE(hbeat_engine_drive, START_NS)
WITH_ENGINE(hbeat_engine_next_deadline, &ns)
WITH_ENGINE(hbeat_engine_advance, START_NS)
WITH_ENGINE(hbeat_link_open, &policy, &how, &link_place)
WITH_ENGINE(hbeat_link_dial, "tcp://127.0.0.1:9", &policy, &how, &link_place)
WITH_ENGINE(hbeat_link_adopt, -1, &policy, &how, &link_place)
WITH_ENGINE(hbeat_listener_open, "tcp://127.0.0.1:0", &policy, &listening, &listener_place)
WITH_ENGINE(hbeat_listener_close, listener_place)
WITH_ENGINE(hbeat_listener_info_get, listener_place, &listener)
WITH_ENGINE(hbeat_link_start, link, 0)
WITH_ENGINE(hbeat_link_pause, link, 0)
WITH_ENGINE(hbeat_link_close, link)
WITH_ENGINE(hbeat_link_received, link, 0)
WITH_ENGINE(hbeat_links_received, &link, 1, 0)
WITH_ENGINE(hbeat_engine_progress, 0)
WITH_ENGINE(hbeat_link_progress, link, 0)
WITH_ENGINE(hbeat_link_sent, link, 0)
WITH_ENGINE(hbeat_link_feed, link, frame, 0, 0)
WITH_ENGINE(hbeat_link_feed_sent, link, frame, 0, 0)
WITH_ENGINE(hbeat_link_beat_sent, link, 1, 0)
WITH_ENGINE(hbeat_link_take, link, &number, 0, frame, sizeof frame, &length)
WITH_ENGINE(hbeat_link_unsent, link, 0)
WITH_ENGINE(hbeat_link_answer_received, link, 1, 0)
WITH_ENGINE(hbeat_link_beat_received, link, 1, 0)
WITH_ENGINE(hbeat_link_report_down, link, HBEAT_CAUSE_RESET, 0)
WITH_ENGINE(hbeat_link_set_policy, link, &policy)
WITH_ENGINE(hbeat_link_set_keys, link, &key, 1)
WITH_ENGINE(hbeat_link_set_data, link, world)
WITH_ENGINE(hbeat_link_set_state, link, "", 0)
WITH_ENGINE(hbeat_link_peer_state, link, frame, sizeof frame, &length)
WITH_ENGINE(hbeat_link_info, link, &info)
static hbeat_status call_hbeat_engine_free(struct world *world, hbeat_link link) {
    (void)link;
    return hbeat_engine_free(world->engine); /* frees nothing when it fails */
}

#define PURE(name, ...)                                                                                                \
    static hbeat_status call_##name(struct world *world, hbeat_link link) {                                            \
        (void)world;                                                                                                   \
        (void)link;                                                                                                    \
        return name(__VA_ARGS__);                                                                                      \
    }

static hbeat_engine *made;
static hbeat_engine_options options_of_new;
PURE(hbeat_engine_new, &options_of_new, &made)
PURE(hbeat_event_text, &event, text, sizeof text, &length)
PURE(hbeat_policy_preset, &policy, sizeof policy, "cmpp")
PURE(hbeat_policy_parse, &policy, sizeof policy, "cmpp tries=3")
PURE(hbeat_policy_print, &policy, text, sizeof text, &length)
PURE(hbeat_keepalive_set, tcp_socket, &keepalive)
PURE(hbeat_keepalive_get, tcp_socket, &keepalive)
PURE(hbeat_policy_keepalive, &policy, &keepalive)
PURE(hbeat_tcp_info_get, tcp_socket, &tcp)
PURE(hbeat_policy_check, &policy)
PURE(hbeat_policy_detection, &policy, &number, &number)
PURE(hbeat_backoff_default, &backoff, sizeof backoff)
PURE(hbeat_backoff_delay, &backoff, 1, 1, &number)
PURE(hbeat_backoff_refused, &backoff, 1, &number)
PURE(hbeat_backoff_reserve, &backoff, &ns, 1, &number)

/* Those that give no status: what they give instead, "" or 0. */
static hbeat_status gives_nothing(const char *given) { return given != NULL && *given == 0 ? HBEAT_ERR_PANIC : HBEAT_OK; }
PURE(gives_nothing, hbeat_version())
#define call_hbeat_version call_gives_nothing
static hbeat_status call_hbeat_now_ns(struct world *world, hbeat_link link) {
    (void)world, (void)link;
    return hbeat_now_ns() == 0 ? HBEAT_ERR_PANIC : HBEAT_OK;
}
#define TEXT_OF(name, argument)                                                                                        \
    static hbeat_status call_##name(struct world *world, hbeat_link link) {                                            \
        (void)world, (void)link;                                                                                       \
        return gives_nothing(name(argument));                                                                          \
    }
TEXT_OF(hbeat_status_name, HBEAT_OK)
TEXT_OF(hbeat_status_text, HBEAT_OK)
TEXT_OF(hbeat_state_name, HBEAT_STATE_UP)
TEXT_OF(hbeat_cause_name, HBEAT_CAUSE_RESET)
TEXT_OF(hbeat_event_name, HBEAT_EVENT_DOWN)

/* Of an engine: refused by one that failed, asked by a watchdog, or ends it and hands out the rest. Of none: gives a
 * status, gives a value. Or there is no body that could panic, and why. */
enum kind { REFUSED, WATCHES, ENDS, STATUS, VALUE, NO_BODY };
struct export_case {
    const char *name;
    enum kind kind;
    hbeat_status (*call)(struct world *world, hbeat_link link);
    const char *reason;
};
#define CASE(name, kind) {#name, kind, call_##name, NULL}
static const struct export_case CASES[] = {
    CASE(hbeat_backoff_default, STATUS),
    CASE(hbeat_backoff_delay, STATUS),
    CASE(hbeat_backoff_refused, STATUS),
    CASE(hbeat_backoff_reserve, STATUS),
    CASE(hbeat_cause_name, VALUE),
    CASE(hbeat_engine_advance, REFUSED),
    CASE(hbeat_engine_drive, REFUSED),
    CASE(hbeat_engine_fd, WATCHES),
    CASE(hbeat_engine_free, ENDS),
    CASE(hbeat_engine_health, WATCHES),
    CASE(hbeat_engine_histogram, WATCHES),
    CASE(hbeat_engine_links, WATCHES),
    CASE(hbeat_engine_new, STATUS),
    CASE(hbeat_engine_next_deadline, REFUSED),
    CASE(hbeat_engine_now, WATCHES),
    CASE(hbeat_engine_progress, WATCHES),
    CASE(hbeat_engine_quiesce, REFUSED),
    CASE(hbeat_engine_stats, WATCHES),
    CASE(hbeat_engine_stop, ENDS),
    CASE(hbeat_engine_wait, ENDS),
    CASE(hbeat_event_name, VALUE),
    CASE(hbeat_event_text, STATUS),
    {"hbeat_last_error", NO_BODY, NULL, "hands out the address of a place that each thread has from its start"},
    CASE(hbeat_keepalive_get, STATUS),
    CASE(hbeat_keepalive_set, STATUS),
    CASE(hbeat_link_adopt, REFUSED),
    CASE(hbeat_link_answer_received, REFUSED),
    CASE(hbeat_link_beat_received, REFUSED),
    CASE(hbeat_link_beat_sent, REFUSED),
    CASE(hbeat_link_close, ENDS),
    CASE(hbeat_link_dial, REFUSED),
    CASE(hbeat_link_feed, REFUSED),
    CASE(hbeat_link_feed_sent, REFUSED),
    CASE(hbeat_link_info, REFUSED),
    CASE(hbeat_link_open, REFUSED),
    CASE(hbeat_link_pause, REFUSED),
    CASE(hbeat_link_peer_state, REFUSED),
    CASE(hbeat_link_progress, REFUSED),
    CASE(hbeat_link_received, WATCHES),
    CASE(hbeat_links_received, WATCHES),
    CASE(hbeat_link_report_down, REFUSED),
    CASE(hbeat_link_sent, WATCHES),
    CASE(hbeat_link_set_data, REFUSED),
    CASE(hbeat_link_set_keys, REFUSED),
    CASE(hbeat_link_set_policy, REFUSED),
    CASE(hbeat_link_set_state, REFUSED),
    CASE(hbeat_link_start, REFUSED),
    CASE(hbeat_link_take, REFUSED),
    CASE(hbeat_link_unsent, REFUSED),
    CASE(hbeat_listener_close, ENDS),
    CASE(hbeat_listener_info_get, REFUSED),
    CASE(hbeat_listener_open, REFUSED),
    CASE(hbeat_now_ns, VALUE),
    CASE(hbeat_policy_check, STATUS),
    CASE(hbeat_policy_detection, STATUS),
    CASE(hbeat_policy_keepalive, STATUS),
    CASE(hbeat_policy_parse, STATUS),
    CASE(hbeat_policy_preset, STATUS),
    CASE(hbeat_policy_print, STATUS),
    CASE(hbeat_state_name, VALUE),
    CASE(hbeat_status_name, VALUE),
    CASE(hbeat_status_text, VALUE),
    CASE(hbeat_tcp_info_get, STATUS),
    CASE(hbeat_version, VALUE),
    {"hbeat_version_number", NO_BODY, NULL, "gives a number that the compiler computed"},
};
enum { CASE_COUNT = sizeof CASES / sizeof CASES[0] };

static void fill_arguments(void) {
    hbeat_link_options usual = HBEAT_LINK_OPTIONS_INIT;
    hbeat_engine_options usual_engine = HBEAT_ENGINE_OPTIONS_INIT;
    policy = policy_of(10000, 2000, 3);
    REQUIRE_OK(hbeat_backoff_default(&backoff, sizeof backoff));
    how = usual;
    options_of_new = usual_engine;
    if (tcp_socket < 0) tcp_socket = socket(AF_INET, SOCK_STREAM, 0);
    keepalive.struct_size = sizeof keepalive;
    tcp.struct_size = sizeof tcp;
    listening.struct_size = sizeof listening;
    listener.struct_size = sizeof listener;
    health.struct_size = sizeof health;
    info.struct_size = sizeof info;
    stats.struct_size = sizeof stats;
    histogram.struct_size = sizeof histogram;
    memset(&event, 0, sizeof event);
    event.struct_size = sizeof event;
    event.type = HBEAT_EVENT_DOWN;
    event.state = HBEAT_STATE_DOWN;
}

TEST(every_export_has_a_case, "K140") {
    char line[256];
    int listed = 0;
    FILE *symbols = fopen(getenv("HBEAT_SYMBOLS") ? getenv("HBEAT_SYMBOLS") : "docs/symbols.txt", "r");
    REQUIRE(symbols != NULL);
    for (; fgets(line, sizeof line, symbols); listed++) {
        int found = 0;
        line[strcspn(line, " \n")] = 0;
        for (int i = 0; i < CASE_COUNT; i++) found += strcmp(CASES[i].name, line) == 0;
        if (found != 1) printf("  %s has %d cases\n", line, found);
        CHECK_EQ(found, 1);
    }
    fclose(symbols);
    CHECK_EQ(listed, CASE_COUNT);
    for (int i = 0; i < CASE_COUNT; i++)
        if (CASES[i].kind == NO_BODY) printf("  %s has no body that could panic: it %s\n", CASES[i].name, CASES[i].reason);
}

/* The engine has failed, says so, and can be ended; each of its links gets its last event, and none a verdict. */
static void has_failed(struct world *world, const hbeat_link *links, int count, int downs) {
    CHECK_EQ(health_of(world).phase, HBEAT_PHASE_FAILED);
    fill_arguments();
    for (int i = 0; i < CASE_COUNT; i++) {
        if (CASES[i].kind != REFUSED && CASES[i].kind != WATCHES) continue;
        hbeat_status found = CASES[i].call(world, links[count - 1]);
        if (CASES[i].kind == REFUSED) CHECK_STATUS(found, HBEAT_ERR_FAILED);
        if (CASES[i].kind == WATCHES) CHECK(found >= 0 || found == HBEAT_ERR_WRONG_MODE);
        if (found != HBEAT_ERR_FAILED && CASES[i].kind == REFUSED) printf("  %s\n", CASES[i].name);
    }
    CHECK_STATUS(hbeat_link_close(world->engine, links[0]), HBEAT_OK);
    CHECK_STATUS(hbeat_link_close(world->engine, links[0]), HBEAT_ERR_NO_LINK);
    world_end(world);
    CHECK_EQ(world_count(world, HBEAT_EVENT_ENGINE_FAILED, 0), 1);
    CHECK_EQ(world_count(world, HBEAT_EVENT_DOWN, 0), downs);
    CHECK_EQ(world_count(world, HBEAT_EVENT_CLOSED, 0), count);
    for (int i = 0; i < count; i++) CHECK_EQ(world_count(world, HBEAT_EVENT_CLOSED, links[i]), 1);
}

TEST(a_panic_in_every_call_of_an_engine, "K140 K141 K142") {
    int calls = 0;
    for (int i = 0; i < CASE_COUNT; i++) {
        if (CASES[i].kind > ENDS) continue;
        for (int way = 0; way < WAY_COUNT; way++) {
            struct world world;
            int before = check_failures;
            fill_arguments();
            world_begin(&world, way);
            hbeat_link links[3];
            for (int n = 0; n < 3; n++) links[n] = open_named(&world, &policy, NULL, "cmpp");
            world_go(&world, 3000);
            hbeat_test_panic(POINT_CALL);
            CHECK_STATUS(CASES[i].call(&world, links[1]), HBEAT_ERR_PANIC);
            CHECK_TEXT(hbeat_last_error(), "a bug in hbeat was caught: Call was asked to panic by a test");
            has_failed(&world, links, 3, 0);
            if (check_failures != before) printf("  %s, %s\n", CASES[i].name, WAYS[way].name);
            calls++;
        }
    }
    printf("  %d panics in calls of an engine\n", calls);
}

TEST(a_panic_in_every_other_call, "K140") {
    for (int i = 0; i < CASE_COUNT; i++) {
        if (CASES[i].kind != STATUS && CASES[i].kind != VALUE) continue;
        fill_arguments();
        hbeat_test_panic(POINT_CALL);
        CHECK_STATUS(CASES[i].call(NULL, 0), HBEAT_ERR_PANIC);
        if (CASES[i].kind == STATUS) CHECK_TEXT(hbeat_last_error(), "a bug in hbeat was caught");
        CHECK_STATUS(CASES[i].call(NULL, 0), HBEAT_OK); /* and the next one works */
        if (made != NULL) CHECK_STATUS(hbeat_engine_free(made), HBEAT_OK);
        made = NULL;
    }
}

static void count_release(void *data) { __atomic_add_fetch((int *)data, 1, __ATOMIC_SEQ_CST); }

TEST(release_comes_for_every_link_of_a_failed_engine, "K142") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        int released = 0;
        hbeat_engine_options options = world_options(&world, way, HBEAT_CLOCK_MANUAL);
        options.release = count_release;
        fill_arguments();
        how.link_data = &released;
        world_open(&world, &options);
        for (int n = 0; n < 5; n++) open_with(&world, &policy, &how);
        hbeat_test_panic(POINT_CALL);
        CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_ERR_PANIC);
        world_end(&world);
        CHECK_EQ(released, 5);
    }
}

/* A panic where no caller is: whoever turns the engine, or waits for it, is told. */
static void turn_until_it_fails(struct world *world) {
    for (int i = 0; i < 100; i++) {
        uint64_t next = 0;
        hbeat_status status = HBEAT_ERR_FAILED;
        if (!world->way.driven) status = hbeat_engine_advance(world->engine, ns_of(11000));
        else if (hbeat_engine_next_deadline(world->engine, &next) == HBEAT_OK) status = hbeat_engine_drive(world->engine, next);
        if (!world->way.on_event) world_pull(world, 0);
        if (status == HBEAT_ERR_FAILED) return;
        CHECK(status == HBEAT_OK || status == HBEAT_INFO_MORE);
        sleep_ms(1);
    }
    REQUIRE(!"it was never told");
}

TEST(a_panic_in_a_turn, "K140 K141 K142") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        fill_arguments();
        world_begin(&world, way);
        hbeat_link links[3];
        for (int n = 0; n < 3; n++) links[n] = open_named(&world, &policy, NULL, "cmpp");
        world_go(&world, 3000);
        hbeat_test_panic(POINT_TURN);
        turn_until_it_fails(&world);
        has_failed(&world, links, 3, 0);
    }
}

TEST(a_panic_in_one_of_several_shards_fails_them_all, "K140 K142") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_MANUAL);
    options.threads = 4;
    fill_arguments();
    world_open(&world, &options);
    hbeat_link links[16];
    for (int n = 0; n < 16; n++) links[n] = open_named(&world, &policy, NULL, "cmpp");
    world_go(&world, 3000);
    hbeat_test_panic(POINT_TURN);
    turn_until_it_fails(&world);
    has_failed(&world, links, 16, 0);
}

TEST(a_panic_around_a_callback, "K140 K142") {
    for (int point = POINT_BEFORE_CALLBACK; point <= POINT_AFTER_CALLBACK; point++) {
        for (int way = 0; way < WAY_COUNT; way++) {
            struct world world;
            int before = check_failures;
            if (!WAYS[way].on_event) continue; /* nothing is called for DOWN */
            fill_arguments();
            world_begin(&world, way);
            hbeat_link links[3];
            for (int n = 0; n < 3; n++) links[n] = open_named(&world, &policy, NULL, "cmpp");
            world_go(&world, 3000);
            hbeat_test_panic((uint32_t)point);
            CHECK_STATUS(hbeat_link_report_down(world.engine, links[2], HBEAT_CAUSE_RESET, 0), HBEAT_OK);
            turn_until_it_fails(&world);
            has_failed(&world, links, 3, point == POINT_AFTER_CALLBACK);
            if (check_failures != before) printf("  %s\n", WAYS[way].name);
        }
    }
}

TEST(a_panic_in_a_desk_while_its_locks_are_held, "K140 K141 K142") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        fill_arguments();
        world_begin(&world, way);
        hbeat_link links[2];
        for (int n = 0; n < 2; n++) links[n] = open_named(&world, &policy, NULL, "cmpp");
        world_go(&world, 3000);
        hbeat_test_panic(POINT_FEED);
        CHECK_STATUS(feed(&world, links[1], CMPP_TEST, 1), HBEAT_ERR_PANIC);
        CHECK_STATUS(feed(&world, links[1], CMPP_TEST, 1), HBEAT_ERR_FAILED);
        has_failed(&world, links, 2, 0);
        world_begin(&world, way);
        for (int n = 0; n < 2; n++) links[n] = open_named(&world, &policy, NULL, "cmpp");
        world_go(&world, 3000);
        CHECK_STATUS(feed(&world, links[1], CMPP_TEST, 1), HBEAT_INFO_SEND);
        hbeat_test_panic(POINT_TAKE);
        CHECK_STATUS(take(&world, links[1]), HBEAT_ERR_PANIC);
        CHECK_STATUS(take(&world, links[1]), HBEAT_ERR_FAILED);
        has_failed(&world, links, 2, 0);
    }
}

static void *wait_for_it(void *data) {
    struct world *world = (struct world *)data;
    uint32_t count = 0;
    hbeat_event one;
    CHECK_STATUS(hbeat_engine_wait(world->engine, &one, sizeof one, 1, HBEAT_FOREVER, &count), HBEAT_OK);
    CHECK_EQ(count, 1);
    CHECK_EQ(one.type, HBEAT_EVENT_ENGINE_FAILED);
    return NULL;
}

TEST(who_waits_is_woken_by_the_failure, "K140") {
    struct world world;
    pthread_t waiter;
    hbeat_engine_options options = world_options(&world, PULLED, HBEAT_CLOCK_SYSTEM);
    fill_arguments();
    policy.interval_ms = 3600000;
    world_open(&world, &options);
    hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
    REQUIRE(pthread_create(&waiter, NULL, wait_for_it, &world) == 0);
    sleep_ms(20);
    hbeat_test_panic(POINT_TURN);
    CHECK_STATUS(hbeat_link_pause(world.engine, link, 0), HBEAT_OK); /* which the shard trips over */
    pthread_join(waiter, NULL);
    world_end(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
}

TEST(data_that_was_set_is_there_in_the_end, "K193") {
    struct world world;
    world_begin(&world, DRIVEN);
    fill_arguments();
    hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
    world_settle(&world);
    hbeat_test_panic(POINT_TURN);
    CHECK_STATUS(hbeat_link_pause(world.engine, link, 0), HBEAT_OK); /* which the next turn trips over */
    CHECK_STATUS(hbeat_link_set_data(world.engine, link, &policy), HBEAT_OK);
    hbeat_engine_drive(world.engine, START_NS);
    CHECK_EQ(health_of(&world).phase, HBEAT_PHASE_FAILED);
    CHECK_STATUS(hbeat_link_set_data(world.engine, link, NULL), HBEAT_ERR_FAILED);
    world_end(&world);
    CHECK(world_event(&world, HBEAT_EVENT_CLOSED, link, 0)->link_data == &policy);
}

TEST(an_engine_that_failed_gives_no_verdict, "K141") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    fill_arguments();
    policy = policy_of(50, 50, 1);
    world_open(&world, &options);
    hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
    hbeat_test_panic(POINT_CALL);
    CHECK_STATUS(take(&world, link), HBEAT_ERR_PANIC);
    int downs = world_count(&world, HBEAT_EVENT_DOWN, 0); /* a slow machine may have been there first */
    sleep_ms(500); /* nobody can take its beat, so a verdict would be a false one */
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), downs);
    world_end(&world);
}

static void fail_within(struct world *world, const hbeat_event *happened) {
    if (happened->type != HBEAT_EVENT_DOWN) return;
    hbeat_test_panic(POINT_CALL);
    CHECK_STATUS(hbeat_link_close(world->engine, happened->link), HBEAT_ERR_PANIC);
    CHECK_STATUS(hbeat_link_close(world->engine, happened->link), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_stop(world->engine, 0), HBEAT_INFO_STOPPING);
    store(&world->flag, 1);
}

TEST(a_panic_in_a_call_from_a_callback, "K140 K142") {
    struct world world;
    fill_arguments();
    world_begin(&world, TWO_LANES);
    world.react = fail_within;
    hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    CHECK(becomes(&world.flag, 1));
    world_end(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_ENGINE_FAILED, 0), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
}

TEST(who_turns_a_failed_engine_gets_what_it_owes, "K140 K142") {
    for (int way = DRIVEN; way <= DRIVEN_ONE_LANE; way++) {
        struct world world;
        world_begin(&world, way);
        policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        hbeat_test_panic(POINT_CALL);
        CHECK_STATUS(feed(&world, link, CMPP_TEST, 1), HBEAT_ERR_PANIC);
        CHECK_STATUS(hbeat_engine_drive(world.engine, START_NS), HBEAT_ERR_FAILED);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_ENGINE_FAILED, 0), 1);
        CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
        CHECK_STATUS(hbeat_engine_drive(world.engine, START_NS), HBEAT_ERR_FAILED);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
        world_end(&world);
    }
}

TEST(on_panic_abort_ends_the_process, "K143") {
    for (int point = POINT_CALL; point <= POINT_TAKE; point++) {
        int status = 0;
        fflush(stdout);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            struct world world;
            hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_MANUAL);
            options.on_panic = HBEAT_ON_PANIC_ABORT;
            fill_arguments();
            world_open(&world, &options);
            hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
            if (point == POINT_TAKE) feed(&world, link, CMPP_TEST, 1);
            world_settle(&world);
            hbeat_test_panic((uint32_t)point);
            feed(&world, link, CMPP_TEST, 1);
            take(&world, link);
            hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0);
            hbeat_engine_quiesce(world.engine, LONG_MS);
            _exit(0); /* it went on */
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        if (!WIFSIGNALED(status)) printf("  point %d\n", point);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}
