/* Structs of every size that a caller could have, in and out, each in a block of exactly that size. */
#include "check.h"
#include "story.h"

#include <sys/mman.h>

static const uint32_t LARGEST = 4096;

/* A place that ends where a page ends that may not be touched: one byte too far is a crash, in every build. */
static unsigned char *edge;

static unsigned char *place_of(size_t size) {
    const size_t page = 4096, room = 2 * page;
    if (edge == NULL) {
        unsigned char *map = (unsigned char *)mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(map != MAP_FAILED);
        REQUIRE(mprotect(map + room, page, PROT_NONE) == 0);
        edge = map + room;
    }
    memset(edge - room, 0x5a, room);
    return edge - size;
}

/* A struct as it would stand in a program: what it has, then zeros, and its size in its first field. */
static unsigned char *struct_of(const void *known, size_t whole, uint32_t size) {
    size_t room = size > LARGEST ? LARGEST : size < 4 ? 4 : size;
    unsigned char *at = place_of(room);
    memset(at, 0, room);
    memcpy(at, known, room < whole ? room : whole);
    memcpy(at, &size, sizeof size);
    return at;
}

static hbeat_engine_options options;
static hbeat_link_options how;
static hbeat_policy policy;
static hbeat_backoff backoff;
static hbeat_event event;
static struct world world;
static hbeat_link link_of_ours;
static char line[512];

static hbeat_status new_and_free(void *at) {
    hbeat_engine *engine = NULL;
    hbeat_status status = hbeat_engine_new((const hbeat_engine_options *)at, &engine);
    CHECK((engine != NULL) == (status == HBEAT_OK));
    if (engine) CHECK_STATUS(hbeat_engine_free(engine), HBEAT_OK);
    return status;
}

static hbeat_status open_and_close(const hbeat_policy *rules, const hbeat_link_options *with) {
    hbeat_link link = 0;
    hbeat_status status = hbeat_link_open(world.engine, rules, with, &link);
    CHECK((link != 0) == (status == HBEAT_OK));
    if (link) CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    if (link) world_settle(&world);
    world.count = 0;
    return status;
}

static hbeat_status open_how(void *at) { return open_and_close(&policy, (const hbeat_link_options *)at); }
static hbeat_status open_policy(void *at) { return open_and_close((const hbeat_policy *)at, &how); }
static hbeat_status set_policy(void *at) { return hbeat_link_set_policy(world.engine, link_of_ours, (const hbeat_policy *)at); }
static hbeat_status check_policy(void *at) { return hbeat_policy_check((const hbeat_policy *)at); }
static hbeat_status print_policy(void *at) { return hbeat_policy_print((const hbeat_policy *)at, line, sizeof line, NULL); }
static hbeat_status detection(void *at) {
    uint32_t earliest, latest;
    return hbeat_policy_detection((const hbeat_policy *)at, &earliest, &latest);
}
static hbeat_status delay(void *at) {
    uint32_t ms;
    return hbeat_backoff_delay((const hbeat_backoff *)at, 1, 1, &ms);
}
static hbeat_status refused(void *at) {
    uint32_t ms;
    return hbeat_backoff_refused((const hbeat_backoff *)at, 1, &ms);
}
static hbeat_status reserve(void *at) {
    uint32_t ms;
    uint64_t free_from = 0;
    return hbeat_backoff_reserve((const hbeat_backoff *)at, &free_from, 1, &ms);
}
static hbeat_status event_line(void *at) { return hbeat_event_text((const hbeat_event *)at, line, sizeof line, NULL); }

struct incoming {
    const char *name;
    const void *known;
    uint32_t first; /* its size in the first version */
    size_t whole;   /* and in this one */
    hbeat_status (*call)(void *at);
};

/* Sizes as they were in 0.1.0 on 64 bits: they never change, whatever is appended. */
enum { FIRST_OPTIONS = 104, FIRST_HOW = 40, FIRST_POLICY = 60, FIRST_BACKOFF = 32, FIRST_EVENT = 144, FIRST_HEALTH = 36, FIRST_INFO = 224, FIRST_STATS = 344, FIRST_HISTOGRAM = 328 };

TEST(structs_that_go_in_have_any_size, "K90 K91 K145") {
    const struct incoming calls[] = {
        {"engine_new", &options, FIRST_OPTIONS, sizeof options, new_and_free},
        {"link_open, options", &how, FIRST_HOW, sizeof how, open_how},
        {"link_open, policy", &policy, FIRST_POLICY, sizeof policy, open_policy},
        {"link_set_policy", &policy, FIRST_POLICY, sizeof policy, set_policy},
        {"policy_check", &policy, FIRST_POLICY, sizeof policy, check_policy},
        {"policy_print", &policy, FIRST_POLICY, sizeof policy, print_policy},
        {"policy_detection", &policy, FIRST_POLICY, sizeof policy, detection},
        {"backoff_delay", &backoff, FIRST_BACKOFF, sizeof backoff, delay},
        {"backoff_refused", &backoff, FIRST_BACKOFF, sizeof backoff, refused},
        {"backoff_reserve", &backoff, FIRST_BACKOFF, sizeof backoff, reserve},
        {"event_text", &event, FIRST_EVENT, sizeof event, event_line},
    };
    const uint32_t beyond[] = {LARGEST + 1, LARGEST + 8, 65536, 0x7fffffff, 0x80000000u, UINT32_MAX};
    if (sizeof(void *) != 8) SKIP("the sizes are those of 64 bits");
    options = world_options(&world, APP_PULLED, HBEAT_CLOCK_MANUAL);
    world_open(&world, &options);
    hbeat_link_options usual = HBEAT_LINK_OPTIONS_INIT;
    how = usual;
    policy = policy_of(180000, 60000, 3);
    link_of_ours = open_named(&world, &policy, "bystander", "cmpp");
    CHECK_STATUS(hbeat_backoff_default(&backoff, sizeof backoff), HBEAT_OK);
    event.type = HBEAT_EVENT_DOWN;
    event.state = HBEAT_STATE_DOWN;
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        const struct incoming *one = &calls[c];
        int before = check_failures;
        for (uint32_t size = 0; size <= LARGEST; size++) {
            hbeat_status expected = size < one->first ? HBEAT_ERR_SIZE : HBEAT_OK;
            CHECK_STATUS(one->call(struct_of(one->known, one->whole, size)), expected);
            if (size <= one->whole) continue;
            for (int n = 0; n < 2; n++) { /* a field that we do not know, at either end of what we do not know */
                unsigned char *at = struct_of(one->known, one->whole, size);
                at[n ? size - 1 : one->whole] = 1;
                CHECK_STATUS(one->call(at), HBEAT_ERR_UNSUPPORTED);
            }
        }
        for (size_t n = 0; n < sizeof beyond / sizeof beyond[0]; n++)
            CHECK_STATUS(one->call(struct_of(one->known, one->whole, beyond[n])), HBEAT_ERR_SIZE);
        if (check_failures != before) printf("  %s\n", one->name);
    }
    CHECK_EQ(info_of(&world, link_of_ours).state, HBEAT_STATE_UP);
    world_end(&world);
}

static hbeat_status health_into(void *at, uint32_t size) {
    memcpy(at, &size, sizeof size);
    return hbeat_engine_health(world.engine, (hbeat_health *)at);
}
static hbeat_status info_into(void *at, uint32_t size) {
    memcpy(at, &size, sizeof size);
    return hbeat_link_info(world.engine, link_of_ours, (hbeat_info *)at);
}
static hbeat_status stats_into(void *at, uint32_t size) {
    memcpy(at, &size, sizeof size);
    return hbeat_engine_stats(world.engine, (hbeat_stats *)at);
}
static hbeat_status histogram_into(void *at, uint32_t size) {
    memcpy(at, &size, sizeof size);
    return hbeat_engine_histogram(world.engine, HBEAT_HISTOGRAM_RTT, (hbeat_histogram *)at);
}
static hbeat_status preset_into(void *at, uint32_t size) { return hbeat_policy_preset((hbeat_policy *)at, size, "cmpp"); }
static hbeat_status parse_into(void *at, uint32_t size) { return hbeat_policy_parse((hbeat_policy *)at, size, "cmpp"); }
static hbeat_status default_into(void *at, uint32_t size) { return hbeat_backoff_default((hbeat_backoff *)at, size); }
static hbeat_status wait_into(void *at, uint32_t size) {
    uint32_t count = 0;
    int fresh = size >= FIRST_EVENT && size <= LARGEST;
    if (fresh) CHECK_STATUS(hbeat_link_pause(world.engine, link_of_ours, 0), HBEAT_OK);
    if (fresh) CHECK_STATUS(hbeat_link_start(world.engine, link_of_ours, 0), HBEAT_OK);
    if (fresh) CHECK_STATUS(hbeat_link_beat_received(world.engine, link_of_ours, 1, 0), HBEAT_OK); /* is asked for below */
    if (fresh) CHECK(hbeat_engine_advance(world.engine, START_NS) >= 0);
    hbeat_status status = hbeat_engine_wait(world.engine, (hbeat_event *)at, size, 1, 0, &count);
    CHECK_EQ(count, fresh);
    return status;
}

struct outgoing {
    const char *name;
    uint32_t first;
    size_t whole;
    hbeat_status (*call)(void *at, uint32_t size);
};

TEST(structs_that_come_out_have_any_size, "K90 K91 K44 K98 K145") {
    const struct outgoing calls[] = {
        {"engine_health", FIRST_HEALTH, sizeof(hbeat_health), health_into},
        {"link_info", FIRST_INFO, sizeof(hbeat_info), info_into},
        {"engine_stats", FIRST_STATS, sizeof(hbeat_stats), stats_into},
        {"engine_histogram", FIRST_HISTOGRAM, sizeof(hbeat_histogram), histogram_into},
        {"policy_preset", FIRST_POLICY, sizeof(hbeat_policy), preset_into},
        {"policy_parse", FIRST_POLICY, sizeof(hbeat_policy), parse_into},
        {"backoff_default", FIRST_BACKOFF, sizeof(hbeat_backoff), default_into},
        {"engine_wait", FIRST_EVENT, sizeof(hbeat_event), wait_into},
    };
    const uint32_t beyond[] = {LARGEST + 1, LARGEST + 8, 65536, 0x7fffffff, 0x80000000u, UINT32_MAX};
    if (sizeof(void *) != 8) SKIP("the sizes are those of 64 bits");
    options = world_options(&world, APP_PULLED, HBEAT_CLOCK_MANUAL);
    options.events = 1u << HBEAT_EVENT_BEAT_RECEIVED;
    world_open(&world, &options);
    policy = policy_of(180000, 60000, 3);
    link_of_ours = open_named(&world, &policy, "bystander", "none");
    for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++) {
        const struct outgoing *one = &calls[c];
        int before = check_failures;
        for (uint32_t size = 0; size <= LARGEST; size++) {
            size_t room = size < 4 ? 4 : size;
            unsigned char *at = place_of(room);
            int right = size >= one->first;
            CHECK_STATUS(one->call(at, size), right ? HBEAT_OK : HBEAT_ERR_SIZE);
            CHECK_EQ(at[-1], 0x5a);
            uint32_t filled = 0;
            memcpy(&filled, at, sizeof filled);
            if (right) CHECK_EQ(filled, size < one->whole ? size : one->whole);
            for (size_t n = right ? one->whole : 4; n < size; n++) CHECK_EQ(at[n], right ? 0 : 0x5a);
        }
        for (size_t n = 0; n < sizeof beyond / sizeof beyond[0]; n++) {
            unsigned char *at = place_of(LARGEST);
            CHECK_STATUS(one->call(at, beyond[n]), HBEAT_ERR_SIZE);
            for (size_t b = 4; b < LARGEST; b++) CHECK_EQ(at[b], 0x5a);
        }
        if (check_failures != before) printf("  %s\n", one->name);
    }
    world_end(&world);
}
