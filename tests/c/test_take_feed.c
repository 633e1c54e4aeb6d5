/* What goes out is taken, what comes in is fed. */
#include "check.h"
#include "story.h"

static int next_at(struct world *world, hbeat_link link, int nth, long long ms) {
    return ms_of(world_event(world, HBEAT_EVENT_SEND, link, nth)->at_ns) == ms;
}

TEST(a_test_is_taken_answered_and_taken_again, "K63 K64 K65 K72 K74") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(180000, 60000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 0); /* nothing is due yet */
    world.sequence = 7;
    world_go(&world, 180000);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 12);
    CHECK(is_frame(world.frame, CMPP_TEST, 7));
    CHECK_EQ(world.sequence, 8);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 0); /* once is enough */
    CHECK_EQ(world.sequence, 8);
    world.sequence = 30; /* the application has sent messages of its own */
    world_go(&world, 240000);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 12);
    CHECK(is_frame(world.frame, CMPP_TEST, 7)); /* the same test again */
    CHECK_EQ(world.sequence, 30);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_SUSPECT);

    world_go(&world, 250000);
    CHECK_STATUS(feed(&world, link, CMPP_ANSWER, 7), HBEAT_OK);
    world_settle(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_UP, link), 1);
    CHECK_EQ(ms_of(world_event(&world, HBEAT_EVENT_UP, link, 0)->at_ns), 250000);
    hbeat_info info = info_of(&world, link);
    CHECK_EQ(info.beats_sent, 2);
    CHECK_EQ(info.answers_received, 1);
    CHECK_EQ(info.tries, 0);
    CHECK_EQ(info.messages_received, 1);
    CHECK_EQ(info.bytes_received, 13);
    CHECK_EQ(info.last_received_ms, 0);
    world_go(&world, 430000); /* C after the answer */
    CHECK(next_at(&world, link, 2, 430000));
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK(is_frame(world.frame, CMPP_TEST, 30)); /* a new test has a new number */
    CHECK_EQ(world.sequence, 31);
    world_end(&world);
}

TEST(without_a_number_of_ours_hbeat_counts, "K65") {
    struct world world;
    unsigned char frame[64];
    uint32_t first = 0;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    for (int i = 0; i < 3; i++) {
        size_t length = 0;
        world_go(&world, 10000u * (unsigned)(i + 1));
        CHECK_STATUS(hbeat_link_take(world.engine, link, NULL, 0, frame, sizeof frame, &length), HBEAT_OK);
        CHECK_EQ(length, 12);
        uint32_t sequence = info_of(&world, link).sequence;
        CHECK(is_frame(frame, CMPP_TEST, sequence));
        if (i == 0) first = sequence;
        CHECK_EQ(sequence, first + (uint32_t)i);
        CHECK_STATUS(feed(&world, link, CMPP_ANSWER, sequence), HBEAT_OK);
    }
    CHECK_EQ(info_of(&world, link).answers_received, 3);
    world_end(&world);
}

TEST(numbers_may_wrap, "K65 K74") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world.sequence = UINT32_MAX;
    world_go(&world, 10000);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK(is_frame(world.frame, CMPP_TEST, UINT32_MAX));
    CHECK_EQ(world.sequence, 0);
    CHECK_STATUS(feed(&world, link, CMPP_ANSWER, UINT32_MAX), HBEAT_OK);
    world_go(&world, 20000);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK(is_frame(world.frame, CMPP_TEST, 0));
    CHECK_EQ(world.sequence, 1);
    CHECK_STATUS(feed(&world, link, CMPP_ANSWER, 0), HBEAT_OK);
    CHECK_EQ(info_of(&world, link).answers_received, 2);
    world_end(&world);
}

TEST(answers_come_first_and_nothing_is_lost_in_a_small_buffer, "K64 K66 K72") {
    struct world world;
    unsigned char frame[64];
    size_t length = 77;
    uint32_t sequence = 100;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    policy.proof = HBEAT_PROOF_ANSWER; /* a peer that only asks is still tested */
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 10000);
    CHECK_STATUS(feed(&world, link, CMPP_TEST, 501), HBEAT_INFO_SEND);
    CHECK_STATUS(feed(&world, link, CMPP_TEST, 502), HBEAT_INFO_SEND);

    CHECK_STATUS(hbeat_link_take(world.engine, link, &sequence, 0, NULL, 0, &length), HBEAT_INFO_MORE);
    CHECK_EQ(length, 0);
    CHECK_STATUS(hbeat_link_take(world.engine, link, &sequence, 0, frame, 12, &length), HBEAT_INFO_MORE);
    CHECK_EQ(length, 0); /* an answer has 13 bytes: half a frame is never given */
    CHECK_STATUS(hbeat_link_take(world.engine, link, &sequence, 0, frame, 20, &length), HBEAT_INFO_MORE);
    CHECK_EQ(length, 13);
    CHECK(is_frame(frame, CMPP_ANSWER, 501));
    CHECK_EQ(sequence, 100);
    CHECK_STATUS(hbeat_link_take(world.engine, link, &sequence, 0, frame, sizeof frame, &length), HBEAT_OK);
    CHECK_EQ(length, 25);
    CHECK(is_frame(frame, CMPP_ANSWER, 502));
    CHECK(is_frame(frame + 13, CMPP_TEST, 100));
    CHECK_EQ(sequence, 101);
    hbeat_info info = info_of(&world, link);
    CHECK_EQ(info.answers_sent, 2);
    CHECK_EQ(info.beats_sent, 1);
    CHECK_EQ(info.beats_received, 2);
    CHECK_EQ(info.answers_dropped, 0);
    world_end(&world);
}

TEST(a_notice_that_a_message_has_overtaken, "K67 K63") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link fed = open_named(&world, &policy, "a", "cmpp"), told = open_named(&world, &policy, "b", "cmpp");
    world_go(&world, 10000); /* the notices are out, the writer slow */
    world_go(&world, 10500);
    CHECK_STATUS(feed(&world, fed, CMPP_SUBMIT, 9), HBEAT_OK); /* tells the shard */
    CHECK_STATUS(hbeat_link_received(world.engine, told, 0), HBEAT_OK); /* wakes nobody: seen when it is looked at next */
    world_settle(&world);
    CHECK_STATUS(take(&world, fed), HBEAT_OK);
    CHECK_EQ(world.length, 0);
    world_go(&world, 12000);
    CHECK_STATUS(take(&world, told), HBEAT_OK);
    CHECK_EQ(world.length, 0);
    CHECK_EQ(world.sequence, 1);
    world_go(&world, 20500);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, 0), 0);
    CHECK(next_at(&world, fed, 1, 20500));
    CHECK(next_at(&world, told, 1, 20500));
    world_end(&world);
}

TEST(the_wait_for_an_answer_runs_from_the_take, "K68") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 10700);
    CHECK_STATUS(take(&world, link), HBEAT_OK); /* 700 ms late */
    CHECK_EQ(world.length, 12);
    world_go(&world, 12600);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, link), 0);
    world_go(&world, 12700);
    const long doubt[] = {12700, -1}, doubts[] = {12700, 14700, -1}, end[] = {16000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_SUSPECT, link, doubt));
    world.react = take_notices;
    take(&world, link);
    world_go(&world, 30000);
    CHECK(world_times(&world, HBEAT_EVENT_SUSPECT, link, doubts));
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end)); /* N·T after the first, not later */
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_NO_ANSWER);
    world_end(&world);
}

TEST(a_writer_that_never_comes, "K69") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 60000);
    const long end[] = {16000, -1};
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 1);
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_SEND_STUCK);
    CHECK_EQ(info_of(&world, link).beats_sent, 0);
    world_end(&world);
}

TEST(a_write_that_failed_is_tried_again, "K70") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy slow = policy_of(100000, 20000, 3), fast = policy_of(10000, 400, 3);
    hbeat_link link = open_named(&world, &slow, "slow", "cmpp"), quick = open_named(&world, &fast, "quick", "cmpp");
    world_go(&world, 10000);
    CHECK_STATUS(take(&world, quick), HBEAT_OK);
    CHECK_EQ(world.length, 12);
    CHECK_STATUS(hbeat_link_unsent(world.engine, quick, 0), HBEAT_OK);
    world_go(&world, 10400);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, quick), 2); /* T is less than a second */
    CHECK_STATUS(hbeat_link_close(world.engine, quick), HBEAT_OK);

    world_go(&world, 100000);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_STATUS(hbeat_link_unsent(world.engine, link, 0), HBEAT_OK);
    CHECK_STATUS(feed(&world, link, CMPP_ANSWER, world.sequence - 1), HBEAT_OK);
    CHECK_EQ(info_of(&world, link).answers_unmatched, 1); /* never sent, never answered */
    world_end(&world);

    world_begin(&world, TWO_LANES);
    link = open_named(&world, &slow, "slow", "cmpp");
    world_go(&world, 100000);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_STATUS(hbeat_link_unsent(world.engine, link, 0), HBEAT_OK);
    world_go(&world, 101000);
    CHECK(next_at(&world, link, 1, 101000));
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 12);
    world_end(&world);
}

TEST(a_protocol_of_ones_own, "K71 K81") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "mine", NULL);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    world.sequence = 41;
    world_go(&world, 10000);
    size_t length = 77;
    CHECK_STATUS(hbeat_link_take(world.engine, link, &world.sequence, 0, NULL, 0, &length), HBEAT_INFO_SEND);
    CHECK_EQ(length, 0);
    CHECK_EQ(world.sequence, 42); /* 41 is the number of the beat that the application writes now */
    CHECK_EQ(info_of(&world, link).sequence, 41);
    CHECK_STATUS(hbeat_link_take(world.engine, link, &world.sequence, 0, NULL, 0, &length), HBEAT_OK);
    world_go(&world, 10300);
    CHECK_STATUS(hbeat_link_answer_received(world.engine, link, 41, 0), HBEAT_OK);
    CHECK_STATUS(hbeat_link_beat_received(world.engine, link, 900, 0), HBEAT_OK);
    hbeat_info info = info_of(&world, link);
    CHECK_EQ(info.answers_received, 1);
    CHECK_EQ(info.beats_received, 1);
    CHECK_EQ(info.rtt_us, 300000);
    world_go(&world, 20300);
    CHECK(next_at(&world, link, 1, 20300));
    CHECK_STATUS(hbeat_link_answer_received(world.engine, link, 41, 0), HBEAT_OK); /* unknown: no credit */
    world_go(&world, 22300);
    CHECK_EQ(info_of(&world, link).answers_unmatched, 1);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_SUSPECT);
    world_end(&world);
}

TEST(bytes_come_as_they_like, "K73") {
    for (size_t piece = 1; piece <= 64; piece += piece < 14 ? 1 : 10) {
        struct world world;
        unsigned char stream[64];
        size_t length = 0;
        int owed = 0;
        world_begin(&world, APP_TWO_LANES);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 10000);
        CHECK_STATUS(take(&world, link), HBEAT_OK);
        length += cmpp_frame(stream, CMPP_TEST, 21);
        length += cmpp_frame(stream + length, CMPP_SUBMIT, 22); /* a message, to hbeat just a proof */
        length += cmpp_frame(stream + length, CMPP_ANSWER, 1);
        length += cmpp_frame(stream + length, CMPP_TEST, 23);
        for (size_t at = 0; at < length; at += piece) {
            size_t part = length - at < piece ? length - at : piece;
            hbeat_status status = hbeat_link_feed(world.engine, link, stream + at, part, 0);
            CHECK(status == HBEAT_OK || status == HBEAT_INFO_SEND);
            owed |= status == HBEAT_INFO_SEND;
        }
        CHECK_EQ(owed, 1);
        CHECK_STATUS(take(&world, link), HBEAT_OK);
        CHECK_EQ(world.length, 26);
        CHECK(is_frame(world.frame, CMPP_ANSWER, 21));
        CHECK(is_frame(world.frame + 13, CMPP_ANSWER, 23));
        world_settle(&world);
        hbeat_info info = info_of(&world, link);
        CHECK_EQ(info.messages_received, 4);
        CHECK_EQ(info.bytes_received, length);
        CHECK_EQ(info.beats_received, 2);
        CHECK_EQ(info.answers_received, 1);
        world_end(&world);
    }
}

TEST(an_answer_to_nothing_is_worth_nothing, "K74") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    for (uint64_t ms = 1000; ms <= 30000; ms += 1000) {
        world_go(&world, ms);
        if (ms < 16000) CHECK_STATUS(feed(&world, link, CMPP_ANSWER, 4000000000u), HBEAT_OK);
    }
    const long end[] = {16000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
    CHECK_EQ(info_of(&world, link).answers_unmatched, 15);
    CHECK_EQ(info_of(&world, link).answers_received, 0);
    world_end(&world);
}

TEST(of_many_unanswered_tests_the_latest_eight_count, "K75") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    for (uint32_t i = 1; i <= 10; i++) CHECK_STATUS(feed(&world, link, CMPP_TEST, i), HBEAT_INFO_SEND);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 8 * 13);
    for (uint32_t i = 0; i < 8; i++) CHECK(is_frame(world.frame + 13 * i, CMPP_ANSWER, 3 + i));
    CHECK_EQ(info_of(&world, link).answers_dropped, 2);
    CHECK_EQ(info_of(&world, link).answers_sent, 8);
    world_end(&world);
}

TEST(a_stream_of_something_else, "K76 K14") {
    const char *http = "HTTP/1.1 400 Bad Request\r\n\r\n";
    const unsigned char too_short[12] = {0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 1};
    for (int kind = 0; kind < 2; kind++) {
        struct world world;
        world_begin(&world, TWO_LANES);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp"), other = open_named(&world, &policy, "b", "cmpp");
        world_go(&world, 1000);
        hbeat_status status = kind ? hbeat_link_feed(world.engine, link, http, strlen(http), 0)
                                   : hbeat_link_feed(world.engine, link, too_short, sizeof too_short, 0);
        CHECK_STATUS(status, HBEAT_ERR_DESYNC);
        world_settle(&world);
        const long end[] = {1000, -1};
        CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
        CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_DESYNC);
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_INFO_ALREADY_DOWN);
        feed(&world, link, CMPP_TEST, 1); /* whatever it says, nothing more comes of it */
        CHECK_STATUS(feed(&world, other, CMPP_TEST, 1), HBEAT_INFO_SEND);
        world_go(&world, 2000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 1);
        world_end(&world);
    }
}

TEST(a_message_that_is_never_finished, "K77") {
    struct world world;
    unsigned char frame[13];
    cmpp_frame(frame, CMPP_SUBMIT, 1);
    frame[3] = 200; /* two hundred bytes are announced */
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 3000);
    CHECK_STATUS(hbeat_link_feed(world.engine, link, frame, 12, 0), HBEAT_OK);
    for (uint64_t ms = 4000; ms <= 60000; ms += 1000) { /* and then a byte a second */
        world_go(&world, ms);
        if (world_count(&world, HBEAT_EVENT_DOWN, link)) break;
        CHECK_STATUS(hbeat_link_feed(world.engine, link, "x", 1, 0), HBEAT_OK);
    }
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PARTIAL_FRAME, link), 1);
    CHECK_EQ(ms_of(world_event(&world, HBEAT_EVENT_PARTIAL_FRAME, link, 0)->at_ns), 5000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    const hbeat_event *down = world_event(&world, HBEAT_EVENT_DOWN, link, 0);
    CHECK_EQ(down->cause, HBEAT_CAUSE_PARTIAL_FRAME);
    CHECK(ms_of(down->at_ns) >= 3000 + 10000 + 3 * 2000);
    CHECK(ms_of(down->at_ns) <= 5000 + 10000 + 3 * 2000); /* the clocks judge from the last byte that counted */
    world_end(&world);
}

TEST(before_login_nothing_is_said, "K78") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    options.protocol = "cmpp";
    options.start_paused = 1;
    hbeat_link link = open_with(&world, &policy, &options);
    world_go(&world, 50000);
    CHECK_EQ(world.count, 0);
    hbeat_status status = feed(&world, link, CMPP_TEST, 31); /* an impatient gateway */
    CHECK(status == HBEAT_OK || status == HBEAT_INFO_SEND);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 0);
    world_go(&world, 100000);
    CHECK_EQ(world.count, 0);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_PAUSED);

    CHECK_STATUS(hbeat_link_start(world.engine, link, 0), HBEAT_OK);
    world_settle(&world);
    CHECK(next_at(&world, link, 0, 100000)); /* the answer that is owed */
    CHECK_EQ(world_event(&world, HBEAT_EVENT_SEND, link, 0)->tries, 0);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 13);
    CHECK(is_frame(world.frame, CMPP_ANSWER, 31));
    CHECK_STATUS(hbeat_link_start(world.engine, link, 0), HBEAT_OK); /* again: changes nothing */
    world_go(&world, 110000);
    CHECK(next_at(&world, link, 1, 110000)); /* C after the start */

    CHECK_STATUS(hbeat_link_pause(world.engine, link, 0), HBEAT_OK); /* TERMINATE is under way */
    int before = world.count;
    world_go(&world, 200000);
    CHECK_EQ(world.count, before);
    CHECK_STATUS(hbeat_link_start(world.engine, link, 0), HBEAT_OK);
    world_go(&world, 210000);
    CHECK(next_at(&world, link, 2, 210000));
    world_end(&world);
}

TEST(the_application_answers_by_itself, "K79") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    policy.answer = 0;
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 1000);
    CHECK_STATUS(feed(&world, link, CMPP_TEST, 1), HBEAT_OK);
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK_EQ(world.length, 0);
    CHECK_EQ(info_of(&world, link).beats_received, 1);
    world_go(&world, 11000);
    CHECK(next_at(&world, link, 0, 11000)); /* it was a proof of life all the same */
    world_end(&world);
}

/* Two readers by mistake: none of them breaks anything. */
struct feeders {
    struct world *world;
    hbeat_link link;
    int fed, busy;
};

static void *feed_a_lot(void *data) {
    struct feeders *feeders = (struct feeders *)data;
    for (uint32_t i = 0; i < 20000; i++) {
        hbeat_status status = feed(feeders->world, feeders->link, CMPP_TEST, i);
        CHECK(status == HBEAT_OK || status == HBEAT_INFO_SEND || status == HBEAT_ERR_BUSY);
        __atomic_add_fetch(status == HBEAT_ERR_BUSY ? &feeders->busy : &feeders->fed, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void *take_a_lot(void *data) {
    struct feeders *feeders = (struct feeders *)data;
    unsigned char frame[HBEAT_FRAME_MAX];
    for (int i = 0; i < 20000; i++) {
        size_t length = 0;
        hbeat_status status = hbeat_link_take(feeders->world->engine, feeders->link, NULL, 0, frame, sizeof frame, &length);
        CHECK(status == HBEAT_OK || status == HBEAT_ERR_BUSY);
        CHECK(length % 13 == 0);
    }
    return NULL;
}

TEST(two_readers_and_two_writers_by_mistake, "K80 K75") {
    struct world world;
    struct feeders feeders;
    pthread_t threads[4];
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    memset(&feeders, 0, sizeof feeders);
    feeders.world = &world;
    feeders.link = open_named(&world, &policy, "a", "cmpp");
    for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, i % 2 ? feed_a_lot : take_a_lot, &feeders) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    world_settle(&world);
    take(&world, feeders.link);
    hbeat_info info = info_of(&world, feeders.link);
    CHECK_EQ(feeders.fed + feeders.busy, 40000);
    CHECK_EQ(info.beats_received, feeders.fed);
    CHECK_EQ(info.answers_sent + info.answers_dropped, feeders.fed);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 0);
    world_end(&world);
}

TEST(a_new_policy_in_the_middle_of_a_probe, "K82") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3), patient = policy_of(10000, 5000, 4), idle = policy_of(20000, 2000, 3);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp"), calm = open_named(&world, &policy, "b", "cmpp");
    world_go(&world, 12500); /* one miss at 12 s, the second try is out */
    CHECK_STATUS(hbeat_link_received(world.engine, calm, ns_of(12500)), HBEAT_OK);
    CHECK_STATUS(hbeat_link_set_policy(world.engine, link, &patient), HBEAT_OK);
    world_go(&world, 14500);
    CHECK_STATUS(hbeat_link_set_policy(world.engine, calm, &idle), HBEAT_OK);
    world_go(&world, 60000);
    const long doubts[] = {12000, 17000, 22000, -1}, end[] = {27000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_SUSPECT, link, doubts));
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->tries_max, 4);
    CHECK(next_at(&world, calm, 2, 32500)); /* the new C after the last message */
    world_end(&world);
}

TEST(a_report_in_every_state, "K86 K87 K88 K14") {
    for (uint32_t state = HBEAT_STATE_PAUSED; state <= HBEAT_STATE_SUSPECT; state++) {
        struct world world;
        if (state == HBEAT_STATE_CONNECTING) continue;
        world_begin(&world, TWO_LANES);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
        options.protocol = "cmpp";
        options.start_paused = state == HBEAT_STATE_PAUSED;
        hbeat_link link = open_with(&world, &policy, &options);
        world_go(&world, state == HBEAT_STATE_SUSPECT ? 13000 : 1000);
        CHECK_EQ(info_of(&world, link).state, state);
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_NONE, 0), HBEAT_ERR_INVALID);
        CHECK_TEXT(hbeat_last_error(), "cause");
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, 15, 0), HBEAT_ERR_INVALID);
        CHECK_TEXT(hbeat_last_error(), "15");
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, UINT32_MAX, 0), HBEAT_ERR_INVALID);
        world_settle(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_REPORTED, 4711), HBEAT_OK);
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 1), HBEAT_INFO_ALREADY_DOWN);
        world_go(&world, 90000);
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 1), HBEAT_INFO_ALREADY_DOWN);
        world_go(&world, 91000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        const hbeat_event *down = world_event(&world, HBEAT_EVENT_DOWN, link, 0);
        CHECK_EQ(down->cause, HBEAT_CAUSE_REPORTED);
        CHECK_EQ(down->detail, 4711);
        CHECK_EQ(ms_of(down->at_ns), state == HBEAT_STATE_SUSPECT ? 13000 : 1000);
        CHECK_EQ(info_of(&world, link).cause, HBEAT_CAUSE_REPORTED);
        CHECK_EQ(info_of(&world, link).detail, 4711);
        world_end(&world);
    }
}

TEST(every_cause_can_be_reported, "K86") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    for (uint32_t cause = HBEAT_CAUSE_NO_ANSWER; cause <= HBEAT_CAUSE_REPORTED; cause++) {
        hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
        CHECK_STATUS(hbeat_link_report_down(world.engine, link, cause, cause), HBEAT_OK);
        world_settle(&world);
        CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, cause);
    }
    world_end(&world);
}

TEST(a_report_after_our_own_verdict, "K87") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 2);
    hbeat_link link = open_named(&world, &policy, "a", "cmpp");
    world_go(&world, 14000);
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_CLOSED_BY_PEER, 0), HBEAT_INFO_ALREADY_DOWN);
    world_go(&world, 20000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    CHECK_EQ(info_of(&world, link).cause, HBEAT_CAUSE_NO_ANSWER);
    world_end(&world);
}
