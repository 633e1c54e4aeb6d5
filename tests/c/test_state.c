/* What the applications at both ends tell each other in beats and answers, and what a link carries for its own. Frames
 * are carried from one link to the other by the story, or written by hand. docs/heart-frame.md is their layout. */
#include "check.h"
#include "story.h"

enum { HEART = 1, ANSWER = 2, HEADER = 28, STATE = 1, STATE_LEFT_OUT = 0x0002 };

static hbeat_link open_heart(struct world *world, const char *name) {
    hbeat_policy policy = policy_of(10000, 2000, 3);
    return open_named(world, &policy, name, "heart");
}

static void set_state(struct world *world, hbeat_link link, const char *state) {
    CHECK_STATUS(hbeat_link_set_state(world->engine, link, state, strlen(state)), HBEAT_OK);
}

static int peer_tells(struct world *world, hbeat_link link, const char *state) {
    unsigned char told[HBEAT_APP_STATE_MAX];
    size_t length = 7777;
    CHECK_STATUS(hbeat_link_peer_state(world->engine, link, told, sizeof told, &length), HBEAT_OK);
    return length == strlen(state) && memcmp(told, state, length) == 0;
}

/* All that one link has to write arrives at the other. */
static void carry(struct world *world, hbeat_link from, hbeat_link to) {
    CHECK_STATUS(take(world, from), HBEAT_OK);
    CHECK(world->length > 0);
    CHECK(hbeat_link_feed(world->engine, to, world->frame, world->length, 0) >= 0);
    world_settle(world);
}

static unsigned char *put16(unsigned char *at, uint32_t value) {
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
    return at + 2;
}

static unsigned char *put_field(unsigned char *at, uint32_t number, const char *value) {
    at = put16(put16(at, number), (uint32_t)strlen(value));
    memcpy(at, value, strlen(value));
    return at + strlen(value);
}

/* A frame whose fields end at `end` gets its header. */
static size_t finish(unsigned char *frame, const unsigned char *end, unsigned char type, uint32_t flags) {
    memset(frame, 0, HEADER);
    memcpy(frame, "HB", 2);
    frame[2] = 1;
    frame[3] = type;
    put16(frame + 4, flags);
    put16(frame + 6, (uint32_t)(end - frame));
    frame[11] = 77; /* its number */
    return (size_t)(end - frame);
}

static size_t frame_with(unsigned char *frame, unsigned char type, const char *state) {
    return finish(frame, *state ? put_field(frame + HEADER, STATE, state) : frame + HEADER, type, 0);
}

static void hear(struct world *world, hbeat_link link, unsigned char type, const char *state) {
    unsigned char frame[HEADER + 64];
    CHECK(hbeat_link_feed(world->engine, link, frame, frame_with(frame, type, state), 0) >= 0);
}

TEST(a_state_goes_both_ways, "K185 K187 K189") {
    struct world world;
    char mine[] = "leads, 7 wait";
    const long at_b[] = {10000, -1}, at_a[] = {10040, -1};
    world_begin(&world, TWO_LANES);
    hbeat_policy quiet = policy_of(3600000, 2000, 3);
    hbeat_link a = open_heart(&world, "a"), b = open_named(&world, &quiet, "b", "heart");
    CHECK(peer_tells(&world, a, "") && peer_tells(&world, b, "")); /* nobody has said anything */
    set_state(&world, a, mine);
    memset(mine, 'x', sizeof mine); /* hbeat has a copy */
    set_state(&world, b, "follows");
    world_go(&world, 9999);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, 0), 0); /* nothing is sent for it */
    world_go(&world, 10000);
    carry(&world, a, b);
    CHECK(peer_tells(&world, b, "leads, 7 wait"));
    const hbeat_event *event = world_event(&world, HBEAT_EVENT_PEER_STATE, b, 0);
    CHECK_EQ(event->detail, 13);
    CHECK_EQ(event->count, 1);
    CHECK_EQ(event->state, HBEAT_STATE_UP);
    CHECK_EQ(event->last_received_ms, 0);
    CHECK(event->link_data == &world && strcmp(event->name, "b") == 0);
    world_go(&world, 10040);
    carry(&world, b, a);
    CHECK(peer_tells(&world, a, "follows"));
    CHECK(world_times(&world, HBEAT_EVENT_PEER_STATE, b, at_b) && world_times(&world, HBEAT_EVENT_PEER_STATE, a, at_a));
    CHECK_EQ(info_of(&world, a).answers_received, 1);

    set_state(&world, a, ""); /* what is told no more is gone with the next beat */
    world_go(&world, 20040);
    carry(&world, a, b);
    CHECK_EQ(world.length, HEADER);
    CHECK(peer_tells(&world, b, ""));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_PEER_STATE, b, 1)->detail, 0);
    set_state(&world, b, "leads");
    carry(&world, b, a); /* the answer is built when it is taken */
    CHECK(peer_tells(&world, a, "leads"));
    world_end(&world);
}

TEST(the_same_state_again_is_no_news, "K187") {
    struct world world;
    world_begin(&world, ONE_LANE);
    hbeat_link_options deaf = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    deaf.protocol = "heart";
    deaf.events = HBEAT_EVENTS_ALL & ~(1u << HBEAT_EVENT_PEER_STATE);
    hbeat_link a = open_heart(&world, "a"), b = open_with(&world, &policy, &deaf);
    for (int i = 0; i < 5; i++) {
        hear(&world, a, i % 2 ? ANSWER : HEART, "busy"); /* whether in a beat or in an answer, and one that matches none */
        hear(&world, b, HEART, i % 2 ? "busy" : "idle");
        world_settle(&world);
    }
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PEER_STATE, a), 1);
    hear(&world, a, ANSWER, "busz");
    world_settle(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PEER_STATE, a), 2);
    CHECK(peer_tells(&world, a, "busz"));
    CHECK_EQ(info_of(&world, a).answers_unmatched, 3);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PEER_STATE, b), 0); /* not asked for, and still known */
    CHECK(peer_tells(&world, b, "idle"));
    world_end(&world);
}

TEST(of_many_changes_the_latest_is_handed_out, "K188") {
    struct world world;
    unsigned char frames[3 * (HEADER + 64)];
    world_begin(&world, PULLED);
    hbeat_link link = open_heart(&world, "a");
    hear(&world, link, HEART, "one");
    info_of(&world, link); /* a turn: its event waits by now */
    size_t length = frame_with(frames, HEART, "two");
    length += frame_with(frames + length, ANSWER, "three");
    length += frame_with(frames + length, HEART, "three");
    CHECK_STATUS(hbeat_link_feed(world.engine, link, frames, length, 0), HBEAT_INFO_SEND);
    hear(&world, link, HEART, "fifth");
    world_settle(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PEER_STATE, link), 1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_PEER_STATE, link, 0)->count, 4);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_PEER_STATE, link, 0)->detail, 5);
    CHECK(peer_tells(&world, link, "fifth"));
    world_end(&world);
}

TEST(a_state_is_as_long_as_allowed_and_no_longer, "K186 K189") {
    struct world world;
    unsigned char longest[HBEAT_APP_STATE_MAX + 1], told[HBEAT_APP_STATE_MAX];
    size_t length = 0;
    world_begin(&world, TWO_LANES);
    hbeat_link a = open_heart(&world, "a"), b = open_heart(&world, "b");
    for (size_t i = 0; i < sizeof longest; i++) longest[i] = (unsigned char)i; /* any bytes, NUL too */
    CHECK_EQ(HBEAT_APP_STATE_MAX, 1024);
    CHECK_STATUS(hbeat_link_set_state(world.engine, a, longest, 1024), HBEAT_OK);
    CHECK_STATUS(hbeat_link_set_state(world.engine, a, longest + 1, 1025), HBEAT_ERR_INVALID);
    CHECK_TEXT(hbeat_last_error(), "length is 1025, allowed is a state of 0 to 1024 bytes");
    CHECK_STATUS(hbeat_link_set_state(world.engine, a, NULL, 1), HBEAT_ERR_NULL);
    world_go(&world, 10000);
    unsigned char small[HEADER + 4 + 1023];
    CHECK_STATUS(hbeat_link_take(world.engine, a, NULL, 0, small, sizeof small, &length), HBEAT_INFO_MORE);
    CHECK_EQ(length, 0);
    carry(&world, a, b); /* nothing is lost, nothing was changed by what was refused */
    CHECK_EQ(world.length, HEADER + 4 + 1024);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_PEER_STATE, b, 0)->detail, 1024);
    CHECK_STATUS(hbeat_link_peer_state(world.engine, b, told, 1024, &length), HBEAT_OK);
    CHECK(length == 1024 && memcmp(told, longest, 1024) == 0);

    memset(told, 0x5a, sizeof told);
    CHECK_STATUS(hbeat_link_peer_state(world.engine, b, told, 1023, &length), HBEAT_INFO_MORE);
    CHECK_EQ(length, 1024);
    for (size_t i = 0; i < sizeof told; i++) REQUIRE(told[i] == 0x5a);
    CHECK_STATUS(hbeat_link_peer_state(world.engine, b, NULL, 0, &length), HBEAT_INFO_MORE);
    CHECK_EQ(length, 1024);
    CHECK_STATUS(hbeat_link_peer_state(world.engine, a, NULL, 0, &length), HBEAT_OK);
    CHECK_EQ(length, 0);
    CHECK_STATUS(hbeat_link_set_state(world.engine, a, NULL, 0), HBEAT_OK);
    world_end(&world);
}

TEST(it_is_known_until_the_link_is_closed, "K189") {
    struct world world;
    unsigned char told[64];
    size_t length = 77;
    world_begin(&world, TWO_LANES);
    hbeat_link link = open_heart(&world, "a");
    hear(&world, link, HEART, "last words");
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    world_settle(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    CHECK(peer_tells(&world, link, "last words"));
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    CHECK_STATUS(hbeat_link_peer_state(world.engine, link, told, sizeof told, &length), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(hbeat_link_set_state(world.engine, link, "me too", 6), HBEAT_ERR_NO_LINK);
    CHECK_EQ(length, 77);
    world_settle(&world);
    hbeat_link next = open_heart(&world, "next"); /* maybe in the same place */
    CHECK(peer_tells(&world, next, ""));
    world_end(&world);
}

/* Fields that get a frame rejected, each behind a state that would be news. */
static unsigned char *spoil(unsigned char *at, int how) {
    static const char *const TOO_LONG = "1025 bytes";
    switch (how) {
    case 0: return put_field(at, STATE, "again");
    case 1: return put_field(at, 0x8000 | 99, "must be understood");
    case 2: return put16(put16(at, STATE), 200); /* runs past the end */
    case 3: return put16(at, 0);
    default:
        put_field(at - 8, STATE, TOO_LONG);
        put16(at - 6, 1025);
        return at - 4 + 1025;
    }
}

TEST(only_a_whole_and_valid_frame_tells_a_state, "K190") {
    struct world world;
    unsigned char frame[1200];
    world_begin(&world, TWO_LANES);
    hbeat_link link = open_heart(&world, "a");
    size_t length = frame_with(frame, HEART, "known");
    for (size_t i = 0; i < length; i++) {
        CHECK(peer_tells(&world, link, ""));
        CHECK_STATUS(hbeat_link_feed(world.engine, link, frame + i, 1, 0), i + 1 < length ? HBEAT_OK : HBEAT_INFO_SEND);
    }
    CHECK(peer_tells(&world, link, "known"));
    world_settle(&world);
    for (int how = 0; how < 5; how++) {
        memset(frame, 0, sizeof frame);
        length = finish(frame, spoil(put_field(frame + HEADER, STATE, "news"), how), HEART, 0);
        CHECK(hbeat_link_feed(world.engine, link, frame, length, 0) >= 0);
        CHECK(peer_tells(&world, link, "known"));
    }
    length = frame_with(frame, ANSWER, "news");
    frame[2] = 9; /* of a version that nobody knows */
    CHECK(hbeat_link_feed(world.engine, link, frame, length, 0) >= 0);
    length = finish(frame, put_field(frame + HEADER, STATE, "news"), HEART, 0x0100); /* a flag that must be understood */
    CHECK(hbeat_link_feed(world.engine, link, frame, length, 0) >= 0);
    length = finish(frame, put_field(frame + HEADER, STATE, "news"), 9, 0); /* neither beat nor answer */
    CHECK(hbeat_link_feed(world.engine, link, frame, length, 0) >= 0);
    world_settle(&world);
    CHECK(peer_tells(&world, link, "known"));
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PEER_STATE, link), 1);
    CHECK_EQ(info_of(&world, link).beats_received, 1);
    hear(&world, link, HEART, "news"); /* the stream has gone on */
    CHECK(peer_tells(&world, link, "news"));
    world_end(&world);
}

TEST(a_frame_without_room_for_the_state_leaves_it_as_it_was, "K191") {
    struct world world;
    unsigned char frame[HEADER];
    world_begin(&world, TWO_LANES);
    hbeat_link link = open_heart(&world, "a");
    hear(&world, link, HEART, "known");
    world_settle(&world);
    CHECK_EQ(info_of(&world, link).peer_states_left_out, 0);
    CHECK(hbeat_link_feed(world.engine, link, frame, finish(frame, frame + HEADER, ANSWER, STATE_LEFT_OUT), 0) >= 0);
    world_settle(&world);
    CHECK_EQ(info_of(&world, link).peer_states_left_out, 1);
    CHECK(peer_tells(&world, link, "known"));
    hear(&world, link, HEART, "known");
    world_settle(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PEER_STATE, link), 1);
    CHECK_EQ(info_of(&world, link).peer_states_left_out, 1);
    world_end(&world);
}

TEST(other_protocols_carry_no_state, "K192") {
    static const char *const PROTOCOLS[] = {"none", "cmpp"};
    struct world world;
    unsigned char told[64];
    size_t length = 77;
    world_begin(&world, TWO_LANES);
    for (int i = 0; i < 2; i++) {
        char sentence[64];
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, PROTOCOLS[i], PROTOCOLS[i]);
        snprintf(sentence, sizeof sentence, "protocol is \"%s\": only frames of \"heart\" carry a state", PROTOCOLS[i]);
        CHECK_STATUS(hbeat_link_set_state(world.engine, link, "state", 5), HBEAT_ERR_WRONG_MODE);
        CHECK_TEXT(hbeat_last_error(), sentence);
        CHECK_STATUS(hbeat_link_peer_state(world.engine, link, told, sizeof told, &length), HBEAT_ERR_WRONG_MODE);
        CHECK_TEXT(hbeat_last_error(), sentence);
        CHECK_EQ(length, 77);
        CHECK_EQ(info_of(&world, link).peer_states_left_out, 0);
    }
    world_end(&world);
}

TEST(a_link_may_be_given_other_data, "K193") {
    struct world world;
    int first, second;
    world_begin(&world, PULLED);
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    options.protocol = "heart";
    hbeat_link link = open_with(&world, &policy, &options); /* with none */
    CHECK(info_of(&world, link).link_data == NULL);
    CHECK_STATUS(hbeat_link_set_data(world.engine, link, &first), HBEAT_OK);
    CHECK(info_of(&world, link).link_data == &first);
    hear(&world, link, HEART, "one");
    CHECK_STATUS(hbeat_link_set_data(world.engine, link, &second), HBEAT_OK);
    CHECK(info_of(&world, link).link_data == &second);
    world_settle(&world);
    hear(&world, link, HEART, "two");
    world_settle(&world);
    CHECK(world_event(&world, HBEAT_EVENT_PEER_STATE, link, 0)->link_data == &first); /* it happened before */
    CHECK(world_event(&world, HBEAT_EVENT_PEER_STATE, link, 1)->link_data == &second);
    CHECK_STATUS(hbeat_link_set_data(world.engine, link, &first), HBEAT_OK);
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    CHECK_STATUS(hbeat_link_set_data(world.engine, link, &second), HBEAT_ERR_NO_LINK);
    world_settle(&world);
    CHECK(world_event(&world, HBEAT_EVENT_CLOSED, link, 0)->link_data == &first);
    world_end(&world);
}

static int mine, released, released_wrong;

static void note_release(void *data) {
    __atomic_add_fetch(data == &mine ? &released : &released_wrong, 1, __ATOMIC_SEQ_CST);
}

TEST(release_gets_the_data_that_was_set_last, "K193") {
    struct world world;
    for (int way = 0; way < WAY_COUNT; way++) {
        hbeat_engine_options options = world_options(&world, way, HBEAT_CLOCK_MANUAL);
        options.release = note_release;
        world_open(&world, &options);
        released = released_wrong = 0;
        hbeat_link closed = open_heart(&world, "closed"), stopped = open_heart(&world, "stopped");
        CHECK_STATUS(hbeat_link_set_data(world.engine, closed, &mine), HBEAT_OK);
        CHECK_STATUS(hbeat_link_close(world.engine, closed), HBEAT_OK);
        CHECK_STATUS(hbeat_link_set_data(world.engine, stopped, NULL), HBEAT_OK);
        CHECK_STATUS(hbeat_link_set_data(world.engine, stopped, &mine), HBEAT_OK);
        world_end(&world); /* with the last word not yet heard, maybe */
        CHECK_EQ(load(&released), 2);
        CHECK_EQ(load(&released_wrong), 0);
    }
}

TEST(after_stop_state_and_data_are_refused, "K29 K193") {
    struct world world;
    world_begin(&world, PULLED);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "stopped", "heart");
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    CHECK_STATUS(hbeat_link_set_data(world.engine, link, NULL), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_set_state(world.engine, link, "state", 5), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_peer_state(world.engine, link, world.frame, sizeof world.frame, &world.length), HBEAT_ERR_STOPPED);
    world_end(&world);
}
