/* Callers whose clocks are wrong: a second or a year behind, or a year ahead. What one such time does to one link is in
 * test_manual.c and test_errors.c; here a thousand links are told it at once. */
#include "check.h"
#include "story.h"

static const uint64_t SECOND_NS = 1000000000ull, YEAR_NS = 31557600ull * 1000000000ull;

/* What each group of links is told at 5 s, by every call that takes a time. */
enum { BEHIND, YEAR_BEHIND, YEAR_AHEAD, ALL_OF_THEM, GROUPS };
enum { EACH = 250, DEAD = 5, LINKS = GROUPS * EACH }; /* of each group the first few are dead */

struct fleet {
    struct world world; /* first: it is the engine's data */
    hbeat_link links[LINKS];
    int suspects[LINKS], downs[LINKS];
    uint64_t down_at_ns[LINKS];
};
static struct fleet fleet;

static int group_of(int i) { return i / EACH; }
static int is_dead(int i) { return i % EACH < DEAD; }

static void on_any(void *data, const hbeat_event *event) {
    if (event->link == 0) return; /* of the engine */
    long i = (int *)event->link_data - fleet.suspects;
    take_notices((struct world *)data, event);
    if (event->type == HBEAT_EVENT_SUSPECT) fleet.suspects[i]++;
    if (event->type == HBEAT_EVENT_DOWN) {
        fleet.downs[i]++;
        fleet.down_at_ns[i] = event->at_ns;
    }
}

/* The machine has been up for longer than a year: there is a moment a year ago. Stories begin at 0 ms all the same. */
static uint64_t began_ns;

static void fleet_begin(int way, uint32_t clock) {
    memset(&fleet, 0, sizeof fleet);
    hbeat_engine_options options = world_options(&fleet.world, way, clock);
    began_ns = options.start_ns = clock == HBEAT_CLOCK_MANUAL ? 2 * YEAR_NS : 0;
    options.on_event = on_any;
    options.on_send = on_any;
    world_open(&fleet.world, &options);
}

static void fleet_open(const hbeat_policy *policy) {
    for (int i = 0; i < LINKS; i++) {
        hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
        how.link_data = &fleet.suspects[i];
        fleet.links[i] = open_with(&fleet.world, policy, &how);
    }
}

static uint64_t at(uint64_t ms) { return began_ns + ms * 1000000u; }

/* To a moment of the story, from deadline to deadline. */
static void go(uint64_t ms) {
    uint64_t next = 0;
    while (fleet.world.way.driven) {
        REQUIRE_OK(hbeat_engine_next_deadline(fleet.world.engine, &next));
        if (next >= at(ms)) break;
        REQUIRE_OK(hbeat_engine_drive(fleet.world.engine, next));
    }
    if (fleet.world.way.driven) REQUIRE_OK(hbeat_engine_drive(fleet.world.engine, at(ms)));
    else REQUIRE_OK(hbeat_engine_advance(fleet.world.engine, at(ms)));
}

static uint64_t now_of(void) {
    uint64_t now = 0;
    REQUIRE_OK(hbeat_engine_now(fleet.world.engine, &now));
    return now;
}

/* A link that runs is told a time in every call that takes one and is no sign of a beat. */
static void tell(hbeat_link link, uint64_t wrong_ns) {
    hbeat_engine *engine = fleet.world.engine;
    hbeat_link twice[2] = {link, link};
    CHECK_STATUS(hbeat_link_received(engine, link, wrong_ns), HBEAT_OK);
    CHECK_STATUS(hbeat_links_received(engine, twice, 2, wrong_ns), HBEAT_OK);
    CHECK_STATUS(hbeat_link_sent(engine, link, wrong_ns), HBEAT_OK);
    CHECK_STATUS(hbeat_link_beat_received(engine, link, 1, wrong_ns), HBEAT_OK);
    CHECK_STATUS(hbeat_link_answer_received(engine, link, 99, wrong_ns), HBEAT_OK);
}
enum { TOLD = 6 };

/* The times of a group, and how many of them there are. */
static int times_of(int group, uint64_t now_ns, uint64_t times[3]) {
    const uint64_t wrong[] = {now_ns - SECOND_NS, now_ns - YEAR_NS, now_ns + YEAR_NS};
    for (int i = 0; i < 3; i++) times[i] = wrong[group == ALL_OF_THEM ? i : group];
    return group == ALL_OF_THEM ? 3 : 1;
}

static void the_engine_is_turned_back(void) {
    const uint64_t back[] = {now_of() - SECOND_NS, now_of() - YEAR_NS, 1};
    for (int i = 0; i < 3; i++) {
        uint64_t before = now_of();
        CHECK_STATUS(hbeat_engine_advance(fleet.world.engine, back[i]), HBEAT_OK);
        if (fleet.world.way.run == HBEAT_RUN_APPLICATION) CHECK_STATUS(hbeat_engine_drive(fleet.world.engine, back[i]), HBEAT_OK);
        CHECK_EQ(now_of() - before, 0);
    }
}

static void hear_from(int group) {
    for (int i = group * EACH; i < (group + 1) * EACH; i++)
        if (!is_dead(i)) CHECK_STATUS(hbeat_link_received(fleet.world.engine, fleet.links[i], 0), HBEAT_OK);
}

/* The last sign of life that counts, at 5 s: a second before, none but the opening, and that very moment. */
static const uint32_t HEARD_MS[GROUPS] = {4000, 0, 5000, 5000};

TEST(a_thousand_links_and_callers_whose_clocks_are_wrong, "K251 K53 K60 K102 K116") {
    const int ways[] = {TWO_LANES, APP_TWO_LANES, DRIVEN};
    for (int w = 0; w < 3; w++) {
        fleet_begin(ways[w], HBEAT_CLOCK_MANUAL);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        fleet_open(&policy);
        go(5000);
        for (int i = 0; i < LINKS; i++) {
            uint64_t times[3];
            for (int n = times_of(group_of(i), at(5000), times); n > 0; n--) tell(fleet.links[i], times[n - 1]);
        }
        CHECK_EQ(health_of(&fleet.world).doubtful_times, 2 * EACH * TOLD);
        for (int i = 0; i < LINKS; i++) {
            uint32_t age_ms = info_of(&fleet.world, fleet.links[i]).last_received_ms;
            CHECK_EQ(age_ms, HEARD_MS[group_of(i)] ? 5000 - HEARD_MS[group_of(i)] : HBEAT_UNKNOWN);
        }
        the_engine_is_turned_back();
        go(11000);
        the_engine_is_turned_back();
        hear_from(YEAR_BEHIND); /* their beats were due at 10 s */
        go(15500);
        for (int group = 0; group < GROUPS; group++) hear_from(group);
        go(25000);
        for (int i = 0; i < LINKS; i++) {
            CHECK_EQ(fleet.downs[i], is_dead(i));
            CHECK_EQ(fleet.suspects[i], is_dead(i) ? 2 : 0);
            if (is_dead(i)) CHECK_EQ((fleet.down_at_ns[i] - began_ns) / 1000000u, HEARD_MS[group_of(i)] + 16000);
        }
        CHECK_EQ(health_of(&fleet.world).doubtful_times, 2 * EACH * TOLD);
        world_end(&fleet.world);
    }
}

TEST(a_start_of_another_year_is_one_of_now, "K116 K251") {
    const int ways[] = {TWO_LANES, DRIVEN};
    for (int w = 0; w < 2; w++) {
        fleet_begin(ways[w], HBEAT_CLOCK_MANUAL);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        fleet_open(&policy);
        for (int i = 0; i < LINKS; i++) CHECK_STATUS(hbeat_link_pause(fleet.world.engine, fleet.links[i], 0), HBEAT_OK);
        go(5000);
        for (int i = 0; i < LINKS; i++) {
            uint64_t times[3];
            int count = times_of(group_of(i), at(5000), times);
            CHECK_STATUS(hbeat_link_start(fleet.world.engine, fleet.links[i], times[count - 1]), HBEAT_OK);
        }
        go(30000);
        for (int i = 0; i < LINKS; i++) {
            CHECK_EQ(fleet.downs[i], 1);
            CHECK_EQ((fleet.down_at_ns[i] - began_ns) / 1000000u, group_of(i) == BEHIND ? 20000 : 21000);
        }
        CHECK_EQ(health_of(&fleet.world).doubtful_times, EACH);
        world_end(&fleet.world);
    }
}

/* Under the system's clock: the loop hands over a time of next year, or of none, and so do all that tell something. */
TEST(the_system_has_the_last_word_on_the_time, "K53 K102") {
    fleet_begin(DRIVEN, HBEAT_CLOCK_SYSTEM);
    hbeat_policy policy = policy_of(300000, 60000, 3), brief = policy_of(50, 50, 2);
    fleet_open(&policy);
    sleep_ms(5); /* what is received in the very moment of the opening cannot be told from it */
    uint64_t began = hbeat_now_ns(), wrong[] = {began + YEAR_NS, 1};
    for (int n = 0; n < 2; n++) {
        uint64_t now = 0, next = 0;
        for (int i = 0; i < LINKS; i++) tell(fleet.links[i], wrong[n]);
        CHECK_STATUS(hbeat_engine_drive(fleet.world.engine, wrong[n]), HBEAT_OK);
        REQUIRE_OK(hbeat_engine_now(fleet.world.engine, &now));
        CHECK(now >= began && now < began + 100 * SECOND_NS);
        REQUIRE_OK(hbeat_engine_next_deadline(fleet.world.engine, &next));
        CHECK(next < began + 1000 * SECOND_NS);
    }
    for (int i = 0; i < LINKS; i++) {
        CHECK(info_of(&fleet.world, fleet.links[i]).last_received_ms < 100000);
        CHECK_EQ(fleet.suspects[i] + fleet.downs[i], 0);
    }
    /* One that is dead is found, whatever was told of it. */
    CHECK_STATUS(hbeat_link_set_policy(fleet.world.engine, fleet.links[0], &brief), HBEAT_OK);
    CHECK_STATUS(hbeat_link_received(fleet.world.engine, fleet.links[0], wrong[0]), HBEAT_OK);
    for (int i = 0; i < 5000 && !fleet.downs[0]; i++) {
        CHECK_STATUS(hbeat_engine_drive(fleet.world.engine, wrong[0]), HBEAT_OK);
        sleep_ms(2);
    }
    CHECK_EQ(fleet.downs[0], 1);
    for (int i = 1; i < LINKS; i++) CHECK_EQ(fleet.suspects[i] + fleet.downs[i], 0);
    world_end(&fleet.world);
}
