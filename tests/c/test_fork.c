/* fork, at every moment of an engine's life and from every thread: the child gets errors at once, never a hang, and goes
 * its way; the parent has noticed nothing. */
#include "check.h"
#include "story.h"

#include <dirent.h>

static struct world world;
static hbeat_link link_of_ours;
static int done;

/* Every call that could wait or lock, in the child. */
static void try_as_child(void) {
    hbeat_engine *engine = world.engine;
    hbeat_policy policy = policy_of(180000, 60000, 3);
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    const hbeat_key key = {sizeof key, 1, "sixteen or more octets", 22};
    hbeat_link other = 0;
    hbeat_event event;
    hbeat_health health;
    hbeat_info info;
    uint32_t count = 0;
    uint64_t ns = 0;
    int32_t fd = 0;
    health.struct_size = sizeof health;
    info.struct_size = sizeof info;
    CHECK_STATUS(hbeat_engine_health(engine, &health), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_links(engine, 0, &other, 1, &count), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_wait(engine, &event, sizeof event, 1, HBEAT_FOREVER, &count), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_fd(engine, &fd), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_next_deadline(engine, &ns), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_drive(engine, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_advance(engine, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_quiesce(engine, HBEAT_FOREVER), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_open(engine, &policy, &how, &other), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_start(engine, link_of_ours, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_pause(engine, link_of_ours, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(feed(&world, link_of_ours, CMPP_TEST, 1), HBEAT_ERR_FORKED);
    CHECK_STATUS(take(&world, link_of_ours), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_unsent(engine, link_of_ours, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_answer_received(engine, link_of_ours, 1, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_beat_received(engine, link_of_ours, 1, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_report_down(engine, link_of_ours, HBEAT_CAUSE_RESET, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_set_policy(engine, link_of_ours, &policy), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_set_keys(engine, link_of_ours, &key, 1), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_set_data(engine, link_of_ours, NULL), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_set_state(engine, link_of_ours, "state", 5), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_peer_state(engine, link_of_ours, world.frame, sizeof world.frame, &world.length), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_info(engine, link_of_ours, &info), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_close(engine, link_of_ours), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_progress(engine, link_of_ours, 0), HBEAT_ERR_FORKED);
    hbeat_engine_progress(engine, 0); /* these three may say what they like */
    hbeat_link_received(engine, link_of_ours, 0);
    hbeat_link_sent(engine, link_of_ours, 0);
    CHECK_STATUS(hbeat_engine_stop(engine, HBEAT_FOREVER), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_free(engine), HBEAT_ERR_FORKED);
}

/* The address sanitizer's allocator does not come through a fork while other threads use it: its locks may stay held in
 * the child, which must not begin threads of its own there. */
static void own_engine(void) {
#ifndef __SANITIZE_ADDRESS__
    static struct world own;
    hbeat_policy policy = policy_of(180000, 60000, 3);
    world_begin(&own, TWO_LANES);
    hbeat_link mine = open_named(&own, &policy, NULL, "cmpp");
    CHECK_STATUS(hbeat_link_report_down(own.engine, mine, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
    world_settle(&own);
    CHECK_EQ(world_count(&own, HBEAT_EVENT_DOWN, mine), 1);
    world_end(&own);
#endif
}

static void bid_farewell(void) { store(&done, 1); }

/* Forks here and now. The child tries all calls, makes an engine of its own and leaves through exit, with its handlers.
 * The leak check of a sanitizer would find the parent's engine, which the child cannot free: it is left out there. */
static void fork_now(void) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        alarm(30);
        if (world.engine) try_as_child();
        own_engine();
        atexit(bid_farewell);
#ifdef __SANITIZE_ADDRESS__
        check_leave(check_failures ? 1 : 0);
#else
        exit(check_failures ? 1 : 0);
#endif
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) printf("  the child was killed by signal %d\n", WTERMSIG(status));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *fork_elsewhere(void *data) {
    (void)data;
    fork_now();
    return NULL;
}

static void fork_from_another_thread(void) {
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, fork_elsewhere, NULL) == 0);
    pthread_join(thread, NULL);
}

/* Here, and from another thread. */
static void fork_twice(void) {
    fork_now();
    fork_from_another_thread();
}

TEST(fork_before_between_and_after, "K114 K149") {
    fork_twice(); /* before there is an engine */
    for (int way = 0; way < WAY_COUNT; way++) {
        world_begin(&world, way);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        link_of_ours = 0;
        fork_twice(); /* nothing is open yet */
        link_of_ours = open_named(&world, &policy, NULL, "cmpp");
        world.react = take_notices;
        world_go(&world, 5000);
        fork_twice(); /* it runs */
        world_go(&world, 60000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link_of_ours), 1);
        CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
        fork_twice(); /* it was stopped */
        if (!world.way.on_event) world_pull(&world, 0);
        CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
        world.engine = NULL;
        fork_twice(); /* it is gone */
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link_of_ours), 1);
    }
}

static void fork_within(struct world *w, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_SEND && event->type != HBEAT_EVENT_DOWN && event->type != HBEAT_EVENT_CLOSED) return;
    if (event->type == HBEAT_EVENT_SEND) take(w, event->link);
    fork_now();
    __atomic_add_fetch(&w->turns, 1, __ATOMIC_SEQ_CST);
}

TEST(fork_inside_a_callback, "K114 K149") {
    for (int way = 0; way < WAY_COUNT; way++) {
        world_begin(&world, way);
        world.react = fork_within;
        hbeat_policy policy = policy_of(10000, 2000, 1);
        link_of_ours = open_named(&world, &policy, NULL, "cmpp");
        world_go(&world, 12000);
        world_end(&world);
        CHECK_EQ(load(&world.turns), 3); /* its notice, its verdict, its end */
    }
}

static void hold(struct world *w, const hbeat_event *event) {
    if (event->type != HBEAT_EVENT_DOWN) return;
    store(&w->flag, 1);
    becomes(&w->flag, 2);
}

static void *stop_it(void *data) {
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    return data;
}

TEST(fork_while_another_thread_is_in_a_callback_and_during_stop, "K114 K149") {
    for (int way = TWO_LANES; way <= ONE_LANE; way++) {
        pthread_t stopper;
        hbeat_engine_options options = world_options(&world, way, HBEAT_CLOCK_SYSTEM);
        world.react = hold;
        world_open(&world, &options);
        hbeat_policy policy = policy_of(180000, 60000, 3);
        link_of_ours = open_named(&world, &policy, NULL, "cmpp");
        CHECK_STATUS(hbeat_link_report_down(world.engine, link_of_ours, HBEAT_CAUSE_RESET, 0), HBEAT_OK);
        REQUIRE(becomes(&world.flag, 1));
        fork_twice(); /* a lane is inside */
        REQUIRE(pthread_create(&stopper, NULL, stop_it, NULL) == 0);
        for (int i = 0; i < 5000 && health_of(&world).phase != HBEAT_PHASE_STOPPING; i++) sleep_ms(1);
        fork_twice(); /* a thread is in stop, and a lane inside */
        store(&world.flag, 2);
        pthread_join(stopper, NULL);
        world_end(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link_of_ours), 1);
    }
}

#ifndef __SANITIZE_ADDRESS__ /* see own_engine */
/* Two threads keep every lock busy while a third one forks again and again. */
static void *keep_busy(void *data) {
    hbeat_policy policy = policy_of(5, 60000, 3);
    while (!load(&world.flag)) {
        hbeat_link link = open_named(&world, &policy, "busy", "cmpp");
        feed(&world, link, CMPP_TEST, 1);
        hbeat_link_info(world.engine, link, (hbeat_info *)data);
        hbeat_link_close(world.engine, link);
    }
    return NULL;
}

TEST(fork_while_every_lock_is_busy, "K114 K149") {
    pthread_t threads[2];
    hbeat_info infos[2];
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    world_open(&world, &options);
    hbeat_policy policy = policy_of(180000, 60000, 3);
    link_of_ours = open_named(&world, &policy, NULL, "cmpp");
    for (int i = 0; i < 2; i++) {
        infos[i].struct_size = sizeof infos[i];
        REQUIRE(pthread_create(&threads[i], NULL, keep_busy, &infos[i]) == 0);
    }
    for (int i = 0; i < 30; i++) fork_now();
    store(&world.flag, 1);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(info_of(&world, link_of_ours).state, HBEAT_STATE_UP);
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
}

#endif

TEST(a_daemon_makes_its_engine_after_daemon, "K114 K149") {
    int status = 0, told[2];
    char word = 0;
    fflush(stdout);
    REQUIRE(pipe(told) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        world_begin(&world, TWO_LANES);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        link_of_ours = open_named(&world, &policy, NULL, "cmpp");
        world_settle(&world);
        if (daemon(0, 1) != 0) _exit(2); /* the parent, and hbeat's threads with it, are gone */
        alarm(30);
        try_as_child();
        own_engine();
        word = check_failures ? 'n' : 'y';
        _exit(write(told[1], &word, 1) == 1 ? 0 : 3);
    }
    close(told[1]);
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0); /* the parent that daemon ended left quietly */
    CHECK_EQ(read(told[0], &word, 1), 1);
    CHECK_EQ(word, 'y');
    close(told[0]);
}

TEST(a_program_that_is_executed_inherits_no_descriptor, "K110 K149") {
    for (int way = 0; way < WAY_COUNT; way++) {
        int status = 0, before = 0, listed[2];
        char names[4096] = "";
        size_t at = 0;
        DIR *directory = opendir("/proc/self/fd");
        REQUIRE(directory != NULL);
        for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) before += entry->d_name[0] != '.';
        closedir(directory);
        world_begin(&world, way);
        int32_t fd = -1;
        if (!world.way.on_event) CHECK_STATUS(hbeat_engine_fd(world.engine, &fd), HBEAT_OK);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        link_of_ours = open_named(&world, &policy, NULL, "cmpp");
        world_go(&world, 11000);
        fflush(stdout);
        REQUIRE(pipe(listed) == 0);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            dup2(listed[1], 1);
            close(listed[0]);
            close(listed[1]);
            execl("/bin/ls", "ls", "/proc/self/fd", (char *)NULL);
            _exit(127);
        }
        close(listed[1]);
        for (ssize_t got = 1; got > 0 && at < sizeof names - 1; at += got > 0 ? (size_t)got : 0) got = read(listed[0], names + at, sizeof names - 1 - at);
        close(listed[0]);
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        int lines = 0;
        for (const char *c = names; *c; c++) lines += *c == '\n';
        CHECK_EQ(lines, before); /* ours, and the one of the directory that is listed, as it was here */
        world_end(&world);
    }
}
