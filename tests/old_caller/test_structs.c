/* A program that uses every struct in each direction, and was compiled with another header than the library's: the frozen
 * one, or (GROWN) one of a later version, whose structs have two more numbers at their end. Behind each struct lie bytes
 * that are not zero: they are the program's own, neither to be read nor written. */
#include "check.h"
#include "story.h"

#define GUARDED(type, name)                                                                                            \
    struct {                                                                                                           \
        type it;                                                                                                       \
        unsigned char behind[64];                                                                                      \
    } name;                                                                                                            \
    memset(&name, 0xa5, sizeof name)
#define CHECK_GUARD(name)                                                                                              \
    for (size_t byte = 0; byte < sizeof name.behind; byte++) CHECK_EQ(name.behind[byte], 0xa5)

#ifdef GROWN
/* What is newer than the library comes out as 0, goes in as 0, and is refused when it asks for something. */
#define CHECK_OUT(name) CHECK(name.it.grown[0] == 0 && name.it.grown[1] == 0 && name.it.struct_size == sizeof name.it - 8)
#define CHECK_IN(name, call)                                                                                           \
    do {                                                                                                               \
        name.it.struct_size = sizeof name.it;                                                                          \
        name.it.grown[0] = name.it.grown[1] = 0;                                                                       \
        CHECK_STATUS(call, HBEAT_OK);                                                                                  \
        name.it.grown[1] = 1;                                                                                          \
        CHECK_STATUS(call, HBEAT_ERR_UNSUPPORTED);                                                                     \
        name.it.grown[1] = 0;                                                                                          \
    } while (0)
#else
#define CHECK_OUT(name) CHECK_EQ(name.it.struct_size, sizeof name.it)
#define CHECK_IN(name, call) CHECK_STATUS(call, HBEAT_OK)
#endif

static struct world world;

static hbeat_status new_and_free(const hbeat_engine_options *options) {
    hbeat_engine *engine = NULL;
    hbeat_status status = hbeat_engine_new(options, &engine);
    if (status == HBEAT_OK) CHECK_STATUS(hbeat_engine_free(engine), HBEAT_OK);
    return status;
}

static hbeat_status open_and_close(const hbeat_policy *policy, const hbeat_link_options *how) {
    hbeat_link link = 0;
    hbeat_status status = hbeat_link_open(world.engine, policy, how, &link);
    if (status == HBEAT_OK) CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    return status;
}

TEST(structs_that_go_in, "K91 K145") {
    GUARDED(hbeat_engine_options, options);
    GUARDED(hbeat_link_options, how);
    GUARDED(hbeat_policy, policy);
    hbeat_link_options usual = HBEAT_LINK_OPTIONS_INIT;
    hbeat_engine_options usual_engine = HBEAT_ENGINE_OPTIONS_INIT;
    options.it = usual_engine;
    how.it = usual;
    how.it.name = "gd-mt-07";
    how.it.protocol = "cmpp";
    CHECK_IN(options, new_and_free(&options.it));
    world_begin(&world, APP_PULLED);
    CHECK_STATUS(hbeat_policy_preset(&policy.it, sizeof policy.it, "cmpp"), HBEAT_OK);
    CHECK_OUT(policy);
    CHECK_IN(policy, hbeat_policy_check(&policy.it));
    CHECK_IN(policy, open_and_close(&policy.it, &how.it));
    CHECK_IN(how, open_and_close(&policy.it, &how.it));
    hbeat_link link = open_with(&world, &policy.it, &how.it);
    CHECK_IN(policy, hbeat_link_set_policy(world.engine, link, &policy.it));
    CHECK_GUARD(options);
    CHECK_GUARD(how);
    CHECK_GUARD(policy);
    world_end(&world);
}

TEST(policies_and_delays, "K91 K145") {
    GUARDED(hbeat_policy, policy);
    GUARDED(hbeat_backoff, backoff);
    char line[512];
    size_t length = 0;
    uint32_t earliest = 0, latest = 0, ms = 0;
    uint64_t free_from = 0;
    CHECK_STATUS(hbeat_policy_parse(&policy.it, sizeof policy.it, "cmpp interval=60s timeout=20s tries=3"), HBEAT_OK);
    CHECK_OUT(policy);
    CHECK(policy.it.interval_ms == 60000 && policy.it.timeout_ms == 20000 && policy.it.tries == 3);
    CHECK_IN(policy, hbeat_policy_print(&policy.it, line, sizeof line, &length));
    CHECK_TEXT(line, "timeout=20s");
    CHECK_IN(policy, hbeat_policy_detection(&policy.it, &earliest, &latest));
    CHECK(earliest > 0 && latest >= earliest);
    CHECK_STATUS(hbeat_backoff_default(&backoff.it, sizeof backoff.it), HBEAT_OK);
    CHECK_OUT(backoff);
    CHECK_IN(backoff, hbeat_backoff_delay(&backoff.it, 1, 1, &ms));
    CHECK_IN(backoff, hbeat_backoff_refused(&backoff.it, 1, &ms));
    CHECK_IN(backoff, hbeat_backoff_reserve(&backoff.it, &free_from, 1, &ms));
    CHECK_GUARD(policy);
    CHECK_GUARD(backoff);
}

TEST(health_and_info, "K91 K145") {
    GUARDED(hbeat_health, health);
    GUARDED(hbeat_info, info);
    world_begin(&world, APP_PULLED);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "gd-mt-07", "cmpp");
    world_go(&world, 3000);
    health.it.struct_size = sizeof health.it;
    info.it.struct_size = sizeof info.it;
    CHECK_STATUS(hbeat_engine_health(world.engine, &health.it), HBEAT_OK);
    CHECK_STATUS(hbeat_link_info(world.engine, link, &info.it), HBEAT_OK);
    CHECK_OUT(health);
    CHECK_OUT(info);
    CHECK_EQ(health.it.phase, HBEAT_PHASE_RUNNING);
    CHECK_EQ(health.it.links, 1);
    CHECK(info.it.link == link && info.it.link_data == &world && strcmp(info.it.name, "gd-mt-07") == 0);
    CHECK_EQ(info.it.state, HBEAT_STATE_UP);
    CHECK_GUARD(health);
    CHECK_GUARD(info);
    world_end(&world);
}

TEST(events_lie_as_far_apart_as_the_program_thinks, "K44 K91 K145") {
    struct {
        hbeat_event it[5];
        unsigned char behind[64];
    } events;
    uint32_t count = 0;
    char line[512];
    size_t length = 0;
    hbeat_link links[5];
    memset(&events, 0xa5, sizeof events);
    world_begin(&world, APP_PULLED);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "gd-mt-%02d", i);
        links[i] = open_named(&world, &policy, name, "cmpp");
        CHECK_STATUS(hbeat_link_report_down(world.engine, links[i], HBEAT_CAUSE_RESET, (uint32_t)i), HBEAT_OK);
    }
    CHECK_STATUS(hbeat_engine_advance(world.engine, START_NS), HBEAT_INFO_MORE);
    CHECK_STATUS(hbeat_engine_wait(world.engine, events.it, sizeof events.it[0], 5, 0, &count), HBEAT_OK);
    CHECK_EQ(count, 5);
    for (int i = 0; i < 5; i++) {
        char name[16];
        GUARDED(hbeat_event, event);
        event.it = events.it[i];
        snprintf(name, sizeof name, "gd-mt-%02d", i);
        CHECK_EQ(event.it.type, HBEAT_EVENT_DOWN);
        CHECK(event.it.link == links[i] && event.it.detail == (uint32_t)i && strcmp(event.it.name, name) == 0);
        CHECK_OUT(event);
        CHECK_IN(event, hbeat_event_text(&event.it, line, sizeof line, &length));
        CHECK_TEXT(line, name);
        CHECK_GUARD(event);
    }
    CHECK_GUARD(events);
    world_end(&world);
}

static void check_event(struct world *w, const hbeat_event *event) {
    (void)w;
    CHECK(event->struct_size >= 144); /* as large as the library's, at least as it was first */
    if (event->link) CHECK(strcmp(event->name, "gd-mt-07") == 0);
}

TEST(a_gateway_is_given_up_as_ever, "K14 K63") {
    for (int way = 0; way < WAY_COUNT; way++) {
        world_begin(&world, way);
        world.react = check_event;
        hbeat_policy policy = policy_of(180000, 60000, 1);
        hbeat_link link = open_named(&world, &policy, "gd-mt-07", "cmpp");
        world_go(&world, 400000);
        world_end(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
    }
}
