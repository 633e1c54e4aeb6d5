/* An application that gets stuck: ours, for which hbeat must not vouch, and the peer's. */
#include "check.h"
#include "story.h"

enum { HEART = 1, ANSWER = 2, STUCK = 4, HEADER = 28 };

/* Beats each 10 s, three tries of 2 s; the application may be silent for progress_ms. */
static hbeat_policy asks(uint32_t progress_ms, uint32_t on_no_progress) {
    hbeat_policy policy = policy_of(10000, 2000, 3);
    policy.resend = HBEAT_RESEND_NEW;
    policy.progress_ms = progress_ms;
    policy.on_no_progress = on_no_progress;
    return policy;
}

static hbeat_policy quiet(uint32_t progress_ms) {
    hbeat_policy policy = policy_of(3600000, 2000, 3);
    policy.progress_ms = progress_ms;
    return policy;
}

static void mark(struct world *world) { CHECK_STATUS(hbeat_engine_progress(world->engine, 0), HBEAT_OK); }

/* A frame of the peer's arrives. */
static hbeat_status hear(struct world *world, hbeat_link link, unsigned char type, uint32_t sequence, unsigned char flags) {
    unsigned char frame[HEADER] = {'H', 'B', 1};
    frame[3] = type;
    frame[5] = flags;
    frame[7] = HEADER;
    for (int i = 0; i < 4; i++) frame[8 + i] = (unsigned char)(sequence >> (24 - i * 8));
    return hbeat_link_feed(world->engine, link, frame, sizeof frame, 0);
}

static uint64_t turns_of(struct world *world) {
    hbeat_stats stats;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    REQUIRE_OK(hbeat_engine_stats(world->engine, &stats));
    return stats.turns;
}

TEST(an_application_that_stands_still_is_told_of_once, "K170 K171") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        const long at[] = {9000, 35000, -1};
        world_begin(&world, way);
        hbeat_policy policy = quiet(5000), nobody_asks = quiet(0);
        hbeat_link other = open_named(&world, &nobody_asks, "other", "none");
        world_go(&world, 4000);
        mark(&world); /* before the link was opened: it counts from there */
        hbeat_link link = open_named(&world, &policy, "a", "none");
        world_go(&world, 8999);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, 0), 0);
        world_go(&world, 30000);
        mark(&world);
        for (uint64_t ms = 30000; ms < 34000; ms += 10) mark(&world);
        world_go(&world, 60000);
        CHECK(world_times(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link, at));
        CHECK_EQ(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, other), 0);
        const struct seen *seen = world_seen(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link, 0);
        CHECK(seen->event.state == HBEAT_STATE_UP && seen->event.cause == HBEAT_CAUSE_NONE);
        if (way == TWO_LANES || way == ONE_LANE) CHECK(seen->thread != thread_id());
        world_end(&world);
    }
}

/* A worker that takes a lock in each turn of its loop, and marks its progress then. */
struct worker {
    struct world *world;
    pthread_mutex_t lock;
    int turns, asked, over;
};

static void *work(void *argument) {
    struct worker *worker = (struct worker *)argument;
    while (!load(&worker->over)) {
        if (load(&worker->turns) == load(&worker->asked)) {
            sleep_ms(1);
            continue;
        }
        pthread_mutex_lock(&worker->lock);
        mark(worker->world);
        pthread_mutex_unlock(&worker->lock);
        store(&worker->turns, load(&worker->turns) + 1);
    }
    return NULL;
}

TEST(a_worker_that_is_deadlocked_is_found, "K170 K175") {
    struct world world;
    struct worker worker = {&world, PTHREAD_MUTEX_INITIALIZER, 0, 0, 0};
    pthread_t thread;
    const long stuck[] = {19000, -1}, sends[] = {10000, 40000, -1};
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = asks(5000, HBEAT_NO_PROGRESS_STOP);
    hbeat_link link = open_named(&world, &policy, "a", "heart");
    REQUIRE(pthread_create(&thread, NULL, work, &worker) == 0);
    for (int second = 1; second <= 14; second++) {
        world_go(&world, (uint64_t)second * 1000);
        store(&worker.asked, second);
        REQUIRE(becomes(&worker.turns, second));
        if (second != 10) continue;
        CHECK_STATUS(take(&world, link), HBEAT_OK);
        CHECK_STATUS(hear(&world, link, ANSWER, world.sequence - 1, 0), HBEAT_OK);
    }
    pthread_mutex_lock(&worker.lock); /* whoever has it waits for something the worker has */
    store(&worker.asked, 15);
    world_go(&world, 40000);
    CHECK(world_times(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link, stuck));
    CHECK(world_seen(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link, 0)->thread != thread_id());
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 1); /* nobody vouches for it */
    pthread_mutex_unlock(&worker.lock);
    REQUIRE(becomes(&worker.turns, 15));
    world_settle(&world);
    CHECK(world_times(&world, HBEAT_EVENT_SEND, link, sends));
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, link), 0);
    store(&worker.over, 1);
    pthread_join(thread, NULL);
    world_end(&world);
}

TEST(a_mark_wakes_nobody_who_does_not_wait_for_it, "K171") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = quiet(0);
    open_named(&world, &policy, "a", "none");
    world_go(&world, 1000);
    uint64_t turns = turns_of(&world);
    for (int i = 0; i < 1000; i++) mark(&world);
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    CHECK(turns_of(&world) < turns + 20); /* to be asked wakes it, too */

    policy = quiet(5000);
    hbeat_link link = open_named(&world, &policy, "b", "none");
    world_go(&world, 10000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link), 1);
    turns = turns_of(&world);
    for (int i = 0; i < 1000; i++) mark(&world); /* the first one of them is news */
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    CHECK(turns_of(&world) < turns + 20);
    world_end(&world);
}

TEST(a_link_that_is_marked_itself_counts_by_itself, "K172") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        const long at_own[] = {13000, 32000, -1}, at_other[] = {5000, -1};
        world_begin(&world, way);
        hbeat_policy policy = quiet(5000);
        hbeat_link own = open_named(&world, &policy, "own", "none"), other = open_named(&world, &policy, "other", "none");
        for (uint64_t ms = 4000; ms <= 8000; ms += 4000) {
            world_go(&world, ms);
            CHECK_STATUS(hbeat_link_progress(world.engine, own, 0), HBEAT_OK);
        }
        CHECK_STATUS(hbeat_link_progress(world.engine, own, ns_of(1000)), HBEAT_OK); /* never back */
        world_go(&world, 27000);
        for (uint64_t ms = 27000; ms <= 60000; ms += 3000) {
            world_go(&world, ms);
            mark(&world);
            if (ms == 27000) CHECK_STATUS(hbeat_link_progress(world.engine, own, 0), HBEAT_OK);
        }
        CHECK(world_times(&world, HBEAT_EVENT_APP_NOT_RESPONDING, own, at_own));
        CHECK(world_times(&world, HBEAT_EVENT_APP_NOT_RESPONDING, other, at_other));

        /* Whoever comes after it in the same place has no mark of its own. */
        CHECK_STATUS(hbeat_link_close(world.engine, own), HBEAT_OK);
        world_go(&world, 62000);
        hbeat_link next = open_named(&world, &policy, "next", "none");
        world_go(&world, 64000);
        mark(&world);
        world_go(&world, 68999);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, next), 0);
        world_go(&world, 69000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, next), 1);
        world_end(&world);
    }
}

TEST(beats_go_on_or_say_so, "K173 K174") {
    for (int way = 0; way < WAY_COUNT; way++) {
        for (uint32_t how = HBEAT_NO_PROGRESS_GO_ON; how <= HBEAT_NO_PROGRESS_FLAG; how++) {
            struct world world;
            unsigned char expected = how == HBEAT_NO_PROGRESS_FLAG ? STUCK : 0;
            world_begin(&world, way);
            hbeat_policy policy = asks(8000, how);
            hbeat_link link = open_named(&world, &policy, "a", "heart"), cmpp = open_named(&world, &policy, "b", "cmpp");
            world_go(&world, 7999);
            CHECK_STATUS(hear(&world, link, HEART, 1, 0), HBEAT_INFO_SEND);
            CHECK_STATUS(take(&world, link), HBEAT_OK);
            CHECK(world.length == HEADER && world.frame[3] == ANSWER && world.frame[5] == 0);
            world_go(&world, 8000);
            CHECK_STATUS(hear(&world, link, HEART, 2, 0), HBEAT_INFO_SEND);
            CHECK_STATUS(take(&world, link), HBEAT_OK);
            CHECK(world.length == HEADER && world.frame[3] == ANSWER && world.frame[5] == expected);
            world_go(&world, 18000);
            CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 1);
            CHECK_STATUS(take(&world, link), HBEAT_OK);
            CHECK(world.length == HEADER && world.frame[3] == HEART && world.frame[5] == expected);
            CHECK_STATUS(take(&world, cmpp), HBEAT_OK);
            CHECK_EQ(world.length, 12); /* which has no place for it */
            CHECK_STATUS(hear(&world, link, ANSWER, 1, 0), HBEAT_OK);

            mark(&world);
            world_settle(&world);
            CHECK_STATUS(hear(&world, link, HEART, 3, 0), HBEAT_INFO_SEND);
            CHECK_STATUS(take(&world, link), HBEAT_OK);
            CHECK(world.length == HEADER && world.frame[3] == ANSWER && world.frame[5] == 0);
            CHECK_EQ(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link), 1);
            world_end(&world);
        }
    }
}

TEST(or_beats_and_answers_stop, "K175") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        const long sends[] = {30000, -1};
        world_begin(&world, way);
        hbeat_policy policy = asks(8000, HBEAT_NO_PROGRESS_STOP);
        hbeat_link link = open_named(&world, &policy, "a", "heart");
        world_go(&world, 9000);
        CHECK_STATUS(hear(&world, link, HEART, 7, 0), HBEAT_OK); /* an answer is owed, and not asked for */
        CHECK_STATUS(take(&world, link), HBEAT_OK);
        CHECK_EQ(world.length, 0);
        world_go(&world, 30000); /* a beat was due at 19 s */
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 0);
        CHECK_STATUS(take(&world, link), HBEAT_OK);
        CHECK_EQ(world.length, 0);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, link), 0); /* what was not handed out is no try */

        mark(&world);
        world_settle(&world);
        CHECK(world_times(&world, HBEAT_EVENT_SEND, link, sends));
        CHECK_EQ(world_event(&world, HBEAT_EVENT_SEND, link, 0)->tries, 1);
        CHECK_STATUS(take(&world, link), HBEAT_OK);
        CHECK_EQ(world.length, 2 * HEADER);
        CHECK(world.frame[3] == ANSWER && world.frame[11] == 7 && world.frame[HEADER + 3] == HEART);
        world_go(&world, 30500);
        CHECK_STATUS(hear(&world, link, ANSWER, 1, 0), HBEAT_OK);
        world_settle(&world);
        CHECK_EQ(info_of(&world, link).answers_received, 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link), 1);
        world_end(&world);
    }
}

TEST(another_policy_lets_beats_go_on_at_once, "K175") {
    struct world world;
    const long sends[] = {15000, -1};
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = asks(8000, HBEAT_NO_PROGRESS_STOP);
    hbeat_link link = open_named(&world, &policy, "a", "heart");
    world_go(&world, 15000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 0);
    policy.on_no_progress = HBEAT_NO_PROGRESS_FLAG;
    CHECK_STATUS(hbeat_link_set_policy(world.engine, link, &policy), HBEAT_OK);
    world_settle(&world);
    CHECK(world_times(&world, HBEAT_EVENT_SEND, link, sends));
    CHECK_STATUS(take(&world, link), HBEAT_OK);
    CHECK(world.length == HEADER && world.frame[5] == STUCK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link), 1);
    world_end(&world);
}

TEST(who_is_blocked_after_the_last_try_loses_no_link, "K176") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        const long down[] = {16000, -1}, late[] = {16000, -1};
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy asked = asks(2000, HBEAT_NO_PROGRESS_GO_ON), plain = asks(0, HBEAT_NO_PROGRESS_GO_ON);
        hbeat_link link = open_named(&world, &asked, "a", "heart"), other = open_named(&world, &plain, "b", "heart");
        for (uint64_t ms = 1000; ms <= 14000; ms += 1000) {
            world_go(&world, ms);
            mark(&world);
        }
        /* The answer to the third try arrives, and the loop that would read it stands still for 11 s. */
        world_go(&world, 25000);
        CHECK(world_times(&world, HBEAT_EVENT_DOWN, other, down));
        CHECK(world_times(&world, HBEAT_EVENT_LOCAL_READER_LATE, link, late));
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
        mark(&world);
        CHECK_STATUS(hear(&world, link, ANSWER, info_of(&world, link).sequence, 0), HBEAT_OK);
        world_settle(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_UP, link), 1);
        CHECK_EQ(info_of(&world, link).answers_received, 1);
        world_end(&world);
    }
}

TEST(a_dead_peer_is_found_all_the_same, "K176") {
    struct world world;
    const long down[] = {36000, -1}, capped[] = {22000, -1}, in_time[] = {16000, -1};
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = asks(2000, HBEAT_NO_PROGRESS_GO_ON), soon = policy, later = asks(20000, HBEAT_NO_PROGRESS_GO_ON);
    soon.late_reader_limit_ms = 6000;
    hbeat_link link = open_named(&world, &policy, "a", "heart"), sooner = open_named(&world, &soon, "b", "heart");
    hbeat_link fresh = open_named(&world, &later, "c", "heart"); /* whose limit is not over by then */
    world_go(&world, 60000);
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, down)); /* the first miss waits from 12 s to 32 s */
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, sooner, capped));
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, fresh, in_time));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_NO_ANSWER);
    world_end(&world);
}

TEST(a_process_that_stood_still_is_not_blamed_as_it_wakes, "K177") {
    struct world world;
    const long at[] = {70000, -1};
    world_begin(&world, DRIVEN);
    hbeat_policy policy = quiet(5000);
    hbeat_link link = open_named(&world, &policy, "a", "none");
    world_go(&world, 3000);
    mark(&world);
    world.now_ns = ns_of(65000); /* as after a suspend */
    CHECK_STATUS(hbeat_engine_drive(world.engine, world.now_ns), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_PAUSE, 0), 1);
    world_go(&world, 80000);
    CHECK(world_times(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link, at));
    world_end(&world);
}

TEST(pausing_and_starting_begin_anew, "K170") {
    struct world world;
    const long at[] = {5000, 25000, -1};
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = quiet(5000);
    hbeat_link link = open_named(&world, &policy, "a", "none");
    world_go(&world, 6000);
    CHECK_STATUS(hbeat_link_pause(world.engine, link, 0), HBEAT_OK);
    world_go(&world, 20000);
    CHECK_STATUS(hbeat_link_start(world.engine, link, 0), HBEAT_OK);
    world_go(&world, 30000);
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    world_go(&world, 60000);
    CHECK(world_times(&world, HBEAT_EVENT_APP_NOT_RESPONDING, link, at));
    world_end(&world);
}

TEST(a_peer_that_says_it_is_stuck_proves_nothing, "K178") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        const long suspect[] = {12000, 14000, -1}, down[] = {16000, -1};
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy policy = asks(0, HBEAT_NO_PROGRESS_GO_ON);
        hbeat_link link = open_named(&world, &policy, "a", "heart");
        for (uint64_t ms = 10500; ms <= 14500; ms += 2000) {
            world_go(&world, ms);
            CHECK_STATUS(hear(&world, link, ANSWER, info_of(&world, link).sequence, STUCK), HBEAT_OK);
            CHECK_STATUS(hear(&world, link, HEART, 9, STUCK), HBEAT_INFO_SEND); /* answered all the same */
            take(&world, link);
            CHECK(world.length == HEADER && world.frame[3] == ANSWER);
        }
        world_go(&world, 30000);
        CHECK(world_times(&world, HBEAT_EVENT_SUSPECT, link, suspect) && world_times(&world, HBEAT_EVENT_DOWN, link, down));
        CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_PEER_APP_NOT_RESPONDING);
        hbeat_info info = info_of(&world, link);
        CHECK(info.answers_received == 0 && info.answers_unmatched == 0 && info.beats_received == 3);
        CHECK_EQ(info.last_received_ms, HBEAT_UNKNOWN);
        world_end(&world);
    }
}

TEST(a_later_sign_of_life_forgets_it, "K178") {
    struct world world;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = asks(0, HBEAT_NO_PROGRESS_GO_ON);
    hbeat_link link = open_named(&world, &policy, "a", "heart");
    world_go(&world, 12500);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_SUSPECT);
    CHECK_STATUS(hear(&world, link, HEART, 1, STUCK), HBEAT_INFO_SEND);
    world_go(&world, 13000);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_SUSPECT);
    CHECK_STATUS(hear(&world, link, HEART, 2, 0), HBEAT_INFO_SEND);
    world_settle(&world);
    CHECK_EQ(info_of(&world, link).state, HBEAT_STATE_UP);
    world_go(&world, 60000);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_NO_ANSWER);
    world_end(&world);
}

TEST(the_peer_of_a_stuck_application_hears_of_it, "K174 K178") {
    struct world world;
    const long down[] = {16000, -1};
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = asks(5000, HBEAT_NO_PROGRESS_FLAG), peers = asks(0, HBEAT_NO_PROGRESS_GO_ON);
    policy.interval_ms = 3600000;
    hbeat_link stuck = open_named(&world, &policy, "stuck", "heart"), peer = open_named(&world, &peers, "peer", "heart");
    for (uint64_t ms = 10000; ms <= 14000; ms += 2000) {
        world_go(&world, ms);
        CHECK_STATUS(take(&world, peer), HBEAT_OK);
        CHECK_STATUS(hbeat_link_feed(world.engine, stuck, world.frame, world.length, 0), HBEAT_INFO_SEND);
        CHECK_STATUS(take(&world, stuck), HBEAT_OK);
        CHECK_STATUS(hbeat_link_feed(world.engine, peer, world.frame, world.length, 0), HBEAT_OK);
    }
    world_go(&world, 20000);
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, peer, down));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, peer, 0)->cause, HBEAT_CAUSE_PEER_APP_NOT_RESPONDING);
    world_end(&world);
}

/* A frame, of which the header is kept; terms may follow it. */
static void read_frame(int peer, unsigned char frame[HEADER]) {
    unsigned char rest[256];
    CHECK_EQ(recv(peer, frame, HEADER, MSG_WAITALL), HEADER);
    REQUIRE(frame[6] == 0 && frame[7] >= HEADER);
    if (frame[7] > HEADER) CHECK_EQ(recv(peer, rest, (size_t)frame[7] - HEADER, MSG_WAITALL), frame[7] - HEADER);
}

TEST(links_that_hbeat_carries_say_so_too, "K174 K175") {
    struct world world;
    int sockets[2][2];
    unsigned char heart[HEADER];
    hbeat_link links[2];
    world_begin(&world, TWO_LANES);
    for (int i = 0; i < 2; i++) {
        hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
        hbeat_policy policy = asks(5000, i ? HBEAT_NO_PROGRESS_STOP : HBEAT_NO_PROGRESS_FLAG);
        options.protocol = "heart";
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets[i]) == 0);
        REQUIRE_OK(hbeat_link_adopt(world.engine, sockets[i][0], &policy, &options, &links[i]));
        read_frame(sockets[i][1], heart);
        CHECK(heart[3] == HEART && heart[5] == 0);
        heart[3] = ANSWER;
        heart[7] = HEADER;
        CHECK_EQ(send(sockets[i][1], heart, HEADER, MSG_NOSIGNAL), HEADER);
        REQUIRE(world_sees(&world, HBEAT_EVENT_UP, links[i], 1));
    }
    world_go(&world, 10000);
    read_frame(sockets[0][1], heart);
    CHECK(heart[3] == HEART && heart[5] == STUCK);
    CHECK_EQ(recv(sockets[1][1], heart, HEADER, MSG_DONTWAIT), -1);
    mark(&world);
    read_frame(sockets[1][1], heart);
    CHECK(heart[3] == HEART && heart[5] == 0);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 0);
    world_end(&world);
    for (int i = 0; i < 2; i++) close(sockets[i][1]);
}

TEST(marks_that_come_too_late_are_refused, "K183") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = quiet(5000);
    hbeat_link link = open_named(&world, &policy, "a", "none");
    CHECK_STATUS(hbeat_engine_progress(NULL, 0), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_link_progress(NULL, link, 0), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_link_progress(world.engine, 0, 0), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(hbeat_link_progress(world.engine, link ^ 1, 0), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(hbeat_engine_progress(world.engine, UINT64_MAX), HBEAT_OK); /* ahead is now */
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    CHECK_STATUS(hbeat_link_progress(world.engine, link, 0), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_progress(world.engine, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_link_progress(world.engine, link, 0), HBEAT_ERR_STOPPED);
    world_end(&world);
}
