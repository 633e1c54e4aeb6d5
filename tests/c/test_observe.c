/* hbeat beside a heartbeat of the application's own: it watches, says what it would have done, and counts. */
#include "check.h"
#include "story.h"

#include <stddef.h>

/* A policy that only observes. */
static hbeat_policy observing(uint32_t interval_ms, uint32_t timeout_ms, uint32_t tries) {
    hbeat_policy policy = policy_of(interval_ms, timeout_ms, tries);
    policy.observe_only = 1;
    return policy;
}

/* The application's own heartbeat writes a test, and shows it. */
static hbeat_status feed_sent(struct world *world, hbeat_link link, uint32_t command, uint32_t sequence) {
    unsigned char frame[13];
    size_t length = cmpp_frame(frame, command, sequence);
    return hbeat_link_feed_sent(world->engine, link, frame, length, 0);
}

static hbeat_stats stats_of(struct world *world) {
    hbeat_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    REQUIRE_OK(hbeat_engine_stats(world->engine, &stats));
    return stats;
}

static hbeat_histogram histogram_of(struct world *world, uint32_t which) {
    hbeat_histogram histogram;
    memset(&histogram, 0, sizeof histogram);
    histogram.struct_size = sizeof histogram;
    REQUIRE_OK(hbeat_engine_histogram(world->engine, which, &histogram));
    CHECK_EQ(histogram.which, which);
    return histogram;
}

TEST(who_observes_says_what_it_would_have_done, "K117 K118 K120") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy policy = observing(180000, 60000, 3);
        hbeat_link link = open_named(&world, &policy, "gd-mt-07", "cmpp");
        for (int beat = 0; beat < 3; beat++) {
            world_go(&world, 180000 + 60000 * beat);
            CHECK_STATUS(feed_sent(&world, link, CMPP_TEST, 7), HBEAT_OK);
        }
        world_go(&world, 900000);
        const long suspect[] = {240000, 300000, -1}, would[] = {360000, -1}, never[] = {-1};
        CHECK(world_times(&world, HBEAT_EVENT_SUSPECT, link, suspect));
        CHECK(world_times(&world, HBEAT_EVENT_WOULD_BE_DOWN, link, would));
        CHECK(world_times(&world, HBEAT_EVENT_SEND, link, never));
        CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, never));
        const hbeat_event *event = world_event(&world, HBEAT_EVENT_WOULD_BE_DOWN, link, 0);
        CHECK(event->cause == HBEAT_CAUSE_NO_ANSWER && event->tries == 3 && event->state == HBEAT_STATE_SUSPECT);
        char line[384];
        CHECK_STATUS(hbeat_event_text(event, line, sizeof line, NULL), HBEAT_OK);
        CHECK_TEXT(line, "WOULD_BE_DOWN gd-mt-07 cause=no_answer tries=3/3 seq=7");
        hbeat_info info = info_of(&world, link);
        CHECK(info.state == HBEAT_STATE_SUSPECT && info.cause == HBEAT_CAUSE_NO_ANSWER);
        CHECK(info.would_be_downs == 1 && info.beats_sent == 3 && info.misses == 3);

        CHECK_STATUS(feed(&world, link, CMPP_TEST, 1), HBEAT_OK); /* a test is not answered, but it is a sign of life */
        world_settle(&world);
        CHECK_STATUS(take(&world, link), HBEAT_OK);
        CHECK_EQ(world.length, 0);
        const long up[] = {900000, -1};
        CHECK(world_times(&world, HBEAT_EVENT_UP, link, up));
        CHECK_EQ(info_of(&world, link).cause, HBEAT_CAUSE_NONE);
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_CLOSED_BY_PEER, 0), HBEAT_OK);
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_INFO_ALREADY_DOWN);
        world_settle(&world);
        CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_CLOSED_BY_PEER);
        world_end(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    }
}

TEST(own_verdict_of_the_application_after_ours, "K120") {
    struct world world;
    world_begin(&world, PULLED);
    hbeat_policy policy = observing(10000, 2000, 1);
    hbeat_link link = open_named(&world, &policy, "a", "none");
    world_go(&world, 10000);
    CHECK_STATUS(hbeat_link_beat_sent(world.engine, link, 5, 0), HBEAT_OK);
    world_go(&world, 15000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_WOULD_BE_DOWN, link), 1);
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_NO_ANSWER, 0), HBEAT_OK);
    world_settle(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    CHECK_EQ(info_of(&world, link).misses, 1); /* the report is no miss */
    world_end(&world);
}

TEST(who_beats_again_when_the_time_is_over_beats_after_the_miss, "K118") {
    struct world world;
    world_begin(&world, DRIVEN_PULLED);
    hbeat_policy policy = observing(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 10000);
    for (int beat = 0; beat < 3; beat++) {
        /* the application's own timer comes first in a loop, hbeat's turn after it */
        if (beat > 0) REQUIRE(hbeat_engine_drive(world.engine, ns_of(10000 + 2000 * beat) - 1) >= 0);
        world.now_ns = ns_of(10000 + 2000 * beat);
        unsigned char frame[13];
        size_t length = cmpp_frame(frame, CMPP_TEST, 7);
        CHECK_STATUS(hbeat_link_feed_sent(world.engine, link, frame, length, world.now_ns), HBEAT_OK);
        world_settle(&world);
    }
    world_go(&world, 60000);
    const long would[] = {16000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_WOULD_BE_DOWN, link, would));
    world_end(&world);
}

TEST(a_try_that_is_not_made_is_not_missed, "K119") {
    struct world world;
    world_begin(&world, PULLED);
    hbeat_policy policy = observing(10000, 2000, 2), hold = observing(0, 2000, 0);
    hold.hold_time_ms = 30000;
    hbeat_link asked = open_named(&world, &policy, "asked once", "cmpp");
    hbeat_link silent = open_named(&world, &policy, "never asked", "cmpp");
    hbeat_link held = open_named(&world, &hold, "held", "cmpp");
    world_go(&world, 10000);
    CHECK_STATUS(feed_sent(&world, asked, CMPP_TEST, 1), HBEAT_OK);
    world_go(&world, 600000);
    CHECK_EQ(info_of(&world, asked).state, HBEAT_STATE_SUSPECT);
    CHECK_EQ(info_of(&world, silent).state, HBEAT_STATE_UP);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_WOULD_BE_DOWN, asked) + world_count(&world, HBEAT_EVENT_WOULD_BE_DOWN, silent), 0);
    const long end[] = {30000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_WOULD_BE_DOWN, held, end));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_WOULD_BE_DOWN, held, 0)->cause, HBEAT_CAUSE_SILENT);
    world_end(&world);
}

TEST(the_operator_lets_hbeat_take_over, "K121 K117") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy watch = observing(10000, 2000, 2), beat = policy_of(10000, 2000, 2);
    hbeat_link link = open_named(&world, &watch, "a", "cmpp");
    world_go(&world, 10000);
    CHECK_STATUS(feed_sent(&world, link, CMPP_TEST, 1), HBEAT_OK);
    world_go(&world, 13000);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_SUSPECT);
    CHECK_STATUS(hbeat_link_set_policy(world.engine, link, &beat), HBEAT_OK);
    world_go(&world, 60000);
    const long up[] = {13000, -1}, sends[] = {13000, 15000, -1}, down[] = {17000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_UP, link, up));
    CHECK(world_times(&world, HBEAT_EVENT_SEND, link, sends));
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, down));
    hbeat_link other = open_named(&world, &beat, "b", "cmpp");
    CHECK_STATUS(feed(&world, other, CMPP_TEST, 2), HBEAT_INFO_SEND);
    CHECK_STATUS(hbeat_link_set_policy(world.engine, other, &watch), HBEAT_OK);
    CHECK_STATUS(feed(&world, other, CMPP_TEST, 3), HBEAT_OK); /* the application answers both */
    CHECK_EQ(info_of(&world, other).answers_dropped, 1);
    world_go(&world, 90000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, other), 0);
    watch.up_after = 1;
    CHECK_STATUS(hbeat_link_set_policy(world.engine, other, &watch), HBEAT_ERR_INVALID);
    CHECK_TEXT(hbeat_last_error(), "up_after");
    watch.up_after = 0;
    watch.observe_only = 2;
    CHECK_STATUS(hbeat_policy_check(&watch), HBEAT_ERR_INVALID);
    CHECK_TEXT(hbeat_last_error(), "observe_only");
    world_end(&world);
}

TEST(what_is_sent_is_shown_in_any_portions, "K122") {
    struct world world;
    unsigned char frames[64];
    world_begin(&world, APP_PULLED);
    hbeat_policy policy = observing(10000, 2000, 3), beating = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    hbeat_link plain = open_named(&world, &beating, "b", "cmpp"), own = open_named(&world, &policy, "c", "none");
    world_go(&world, 5000);
    size_t length = cmpp_frame(frames, CMPP_SUBMIT, 1);
    length += cmpp_frame(frames + length, CMPP_TEST, 2);
    length += cmpp_frame(frames + length, CMPP_ANSWER, 9);
    for (size_t i = 0; i < length; i++) CHECK_STATUS(hbeat_link_feed_sent(world.engine, link, frames + i, 1, 0), HBEAT_OK);
    hbeat_info info = info_of(&world, link);
    CHECK(info.messages_sent == 3 && info.bytes_sent == length && info.beats_sent == 1 && info.answers_sent == 1);
    CHECK_EQ(info.last_sent_ms, 0);
    CHECK_STATUS(hbeat_link_feed_sent(world.engine, link, NULL, 0, 0), HBEAT_OK);
    CHECK_STATUS(hbeat_link_feed_sent(world.engine, link, NULL, 1, 0), HBEAT_ERR_NULL);

    CHECK_STATUS(hbeat_link_feed_sent(world.engine, link, "garbage, as text goes", 21, 0), HBEAT_ERR_DESYNC);
    CHECK_TEXT(hbeat_last_error(), "what was sent");
    CHECK_STATUS(feed_sent(&world, link, CMPP_TEST, 3), HBEAT_ERR_DESYNC);
    world_go(&world, 6000);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_UP); /* the peer is not to blame */
    CHECK_EQ(world_count(&world, HBEAT_EVENT_WOULD_BE_DOWN, 0), 0);

    CHECK_STATUS(feed_sent(&world, plain, CMPP_SUBMIT, 3), HBEAT_OK); /* one that beats may show it, too */
    CHECK_EQ(info_of(&world, plain).messages_sent, 1);
    CHECK_STATUS(hbeat_link_beat_sent(world.engine, plain, 3, 0), HBEAT_ERR_WRONG_MODE);
    CHECK_TEXT(hbeat_last_error(), "observe_only");
    CHECK_STATUS(hbeat_link_beat_sent(world.engine, own, 3, 0), HBEAT_OK);
    CHECK_STATUS(feed_sent(&world, own, CMPP_TEST, 3), HBEAT_ERR_WRONG_MODE);
    CHECK_TEXT(hbeat_last_error(), "none");
    hbeat_link_close(world.engine, own);
    CHECK_STATUS(hbeat_link_beat_sent(world.engine, own, 3, 0), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(feed_sent(&world, own, CMPP_TEST, 3), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(hbeat_link_beat_sent(NULL, link, 3, 0), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_link_feed_sent(NULL, link, frames, 1, 0), HBEAT_ERR_NULL);
    world_end(&world);
}

/* A link that is asked three times, answers once with a round trip of 7 ms, tests us once, and dies. */
static hbeat_link a_life(struct world *world, const char *name) {
    hbeat_policy policy = policy_of(10000, 2000, 2);
    uint64_t now = (world->now_ns - START_NS) / 1000000u;
    hbeat_link link = open_named(world, &policy, name, "cmpp");
    world->sequence = 1;
    world_go(world, now + 10000);
    take(world, link);
    world_go(world, now + 10007);
    CHECK_STATUS(feed(world, link, CMPP_ANSWER, 1), HBEAT_OK);
    CHECK_STATUS(feed(world, link, CMPP_ANSWER, 99), HBEAT_OK);
    CHECK_STATUS(feed(world, link, CMPP_TEST, 5), HBEAT_INFO_SEND);
    take(world, link);
    world_go(world, now + 20007);
    take(world, link);
    world_go(world, now + 22007);
    take(world, link);
    world_go(world, now + 30000);
    return link;
}

TEST(numbers_are_those_of_a_log_and_add_up, "K123 K124 K40") {
    struct world world;
    world_begin(&world, APP_PULLED);
    hbeat_link first = a_life(&world, "first"), second = a_life(&world, "second");
    hbeat_policy policy = policy_of(10000, 2000, 2);
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.start_paused = 1;
    open_with(&world, &policy, &how);
    open_named(&world, &policy, "up", "cmpp");
    hbeat_info info = info_of(&world, first);
    CHECK(info.beats_sent == 3 && info.answers_received == 1 && info.answers_unmatched == 1 && info.beats_received == 1);
    CHECK(info.answers_sent == 1 && info.misses == 2 && info.messages_received == 3 && info.bytes_received == 38);
    CHECK(info.rtt_us == 7000 && info.rtt_count == 1 && info.rtt_sum_us == 7000);
    for (int closed = 0; closed <= 1; closed++) {
        hbeat_stats stats = stats_of(&world);
        CHECK(stats.beats_sent == 6 && stats.answers_received == 2 && stats.answers_unmatched == 2 && stats.beats_received == 2);
        CHECK(stats.answers_sent == 2 && stats.misses == 4 && stats.messages_received == 6 && stats.bytes_received == 76);
        CHECK(stats.beats_due == 6 && stats.suspects == 2 && stats.ups == 0 && stats.would_be_downs == 0 && stats.shards == 1);
        for (int cause = 0; cause < HBEAT_CAUSES_MAX; cause++) CHECK_EQ(stats.downs[cause], cause == HBEAT_CAUSE_NO_ANSWER ? 2 : 0);
        CHECK(stats.opened == 4 && stats.closed == (closed ? 2u : 0u));
        CHECK(stats.links_paused == 1 && stats.links_up == 1 && stats.links_suspect == 0 && stats.links_down == (closed ? 0u : 2u));
        CHECK(stats.turns > 0 && stats.pauses == 0);
        if (!closed) CHECK(hbeat_link_close(world.engine, first) == HBEAT_OK && hbeat_link_close(world.engine, second) == HBEAT_OK);
    }
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    hbeat_stats stats = stats_of(&world); /* also of an engine that was stopped */
    CHECK(stats.closed == 4 && stats.links_up == 0 && stats.links_paused == 0);
    world_pull(&world, 0);
    int32_t fd = -1;
    REQUIRE_OK(hbeat_engine_fd(world.engine, &fd));
    stats_of(&world);
    struct pollfd polled = {fd, POLLIN, 0};
    CHECK_EQ(poll(&polled, 1, 0), 0); /* who only asks wakes nobody */
    world_end(&world);
}

TEST(times_are_counted_as_they_were, "K125") {
    struct world world;
    world_begin(&world, DRIVEN_PULLED);
    a_life(&world, "a");
    hbeat_histogram rtt = histogram_of(&world, HBEAT_HISTOGRAM_RTT);
    CHECK(rtt.count == 1 && rtt.sum_us == 7000);
    CHECK(rtt.below[12] == 0 && rtt.below[13] == 1 && rtt.below[31] == 1); /* 4096 <= 7000 < 8192 */
    CHECK(rtt.p50_us >= 6930 && rtt.p50_us <= 7070 && rtt.max_us >= 6930);
    hbeat_histogram late = histogram_of(&world, HBEAT_HISTOGRAM_LATENESS);
    CHECK(late.count > 0 && late.sum_us == 0 && late.below[0] == late.count); /* a driven manual clock is never late */
    uint64_t next = 0;
    hbeat_policy policy = policy_of(10000, 2000, 2);
    open_named(&world, &policy, "b", "cmpp");
    world_settle(&world);
    REQUIRE_OK(hbeat_engine_next_deadline(world.engine, &next));
    world.now_ns = next + 40000000u;
    hbeat_engine_drive(world.engine, world.now_ns);
    late = histogram_of(&world, HBEAT_HISTOGRAM_LATENESS);
    CHECK_EQ(late.sum_us, 40000);
    CHECK_EQ(late.count - late.below[15], 1); /* 32768 <= 40000 */
    CHECK_STATUS(hbeat_engine_histogram(world.engine, 2, &late), HBEAT_ERR_INVALID);
    CHECK_TEXT(hbeat_last_error(), "HBEAT_HISTOGRAM_LATENESS");
    CHECK_STATUS(hbeat_engine_histogram(world.engine, 0, NULL), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_engine_stats(world.engine, NULL), HBEAT_ERR_NULL);
    late.struct_size = 8;
    CHECK_STATUS(hbeat_engine_histogram(world.engine, 0, &late), HBEAT_ERR_SIZE);
    hbeat_stats stats;
    stats.struct_size = 0;
    CHECK_STATUS(hbeat_engine_stats(world.engine, &stats), HBEAT_ERR_SIZE);
    CHECK_STATUS(hbeat_engine_stats(NULL, &stats), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_engine_histogram(NULL, 0, &late), HBEAT_ERR_NULL);
    world_end(&world);
}

TEST(an_older_policy_struct_takes_only_what_it_can_say, "K126 K91") {
    hbeat_policy policy;
    const size_t old = offsetof(hbeat_policy, observe_only);
    memset(&policy, 0x55, sizeof policy);
    CHECK_STATUS(hbeat_policy_parse(&policy, old, "cmpp observe_only=yes"), HBEAT_ERR_UNSUPPORTED);
    CHECK_TEXT(hbeat_last_error(), "newer hbeat.h");
    CHECK_EQ(policy.struct_size, 0x55555555);
    CHECK_STATUS(hbeat_policy_parse(&policy, old, "cmpp"), HBEAT_OK);
    CHECK(policy.struct_size == old && policy.observe_only == 0x55555555);
    CHECK_STATUS(hbeat_policy_check(&policy), HBEAT_OK); /* what lies behind it is not looked at */
}
