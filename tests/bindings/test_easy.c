/* hbeat_easy.h: the four calls, what comes back, and when it may be freed. Compiled also over hbeat_load.h (LOADED), and
 * linked with other_unit.c, a second translation unit of the same program. */
#ifdef LOADED
#define _GNU_SOURCE 1
#include "hbeat_load.h"
#endif
#include "check.h"
#include "story.h"
#include "hbeat_easy.h"

#ifdef __cplusplus
extern "C" {
#endif
hbeat_engine *other_units_engine(void);
hbeat_status other_unit_watches(hbeat_easy_callback callback, void *data, hbeat_link *link);
#ifdef __cplusplus
}
#endif

#ifdef LOADED
__attribute__((constructor)) static void load_first(void) {
    if (hbeat_load(NULL) != HBEAT_OK) {
        puts(hbeat_load_error());
        exit(1);
    }
}
#endif

/* A connection of the application's, which is allocated, and freed in CLOSED as the header wants it. */
struct connection {
    struct seen_of {
        hbeat_event event;
        void *data;
    } seen[64];
    int count;
    int *closed; /* how many were */
    int close_on_down;
};

static void happened(void *data, const hbeat_event *event) {
    struct connection *c = (struct connection *)data;
    if (c->count < 64) c->seen[c->count].event = *event;
    __atomic_add_fetch(&c->count, 1, __ATOMIC_SEQ_CST);
    if (event->type == HBEAT_EVENT_SEND && c->close_on_down >= 0) {
        unsigned char frames[HBEAT_FRAME_MAX];
        size_t length = 77;
        CHECK_STATUS(hbeat_easy_take(event->link, frames, sizeof frames, &length), HBEAT_OK);
        CHECK_EQ(length, 12);
    }
    if (event->type == HBEAT_EVENT_DOWN && c->close_on_down) CHECK_STATUS(hbeat_easy_unwatch(event->link), HBEAT_OK);
    if (event->type == HBEAT_EVENT_CLOSED) {
        int *closed = c->closed;
        free(c);
        __atomic_add_fetch(closed, 1, __ATOMIC_SEQ_CST);
    }
}

static struct connection *new_connection(int *closed) {
    struct connection *c = (struct connection *)calloc(1, sizeof *c);
    REQUIRE(c != NULL);
    c->closed = closed;
    return c;
}

static int count_of(struct connection *c, uint32_t type) {
    int found = 0;
    for (int i = 0; i < load(&c->count); i++) found += c->seen[i].event.type == type;
    return found;
}

/* Puts an engine under the manual clock where the header keeps the process's own. */
static void manual_engine(void) {
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    options.clock = HBEAT_CLOCK_MANUAL;
    options.start_ns = START_NS;
    options.on_event = hbeat_easy_hand_on;
    options.engine_data = hbeat_easy_new_watcher(NULL, NULL);
    REQUIRE_OK(hbeat_engine_new(&options, &hbeat_easy_process_engine));
}

static void go(uint64_t ms) { CHECK_STATUS(hbeat_engine_advance(hbeat_easy_engine(), ns_of(ms)), HBEAT_OK); }

static void stop(void) { CHECK_STATUS(hbeat_engine_stop(hbeat_easy_engine(), LONG_MS), HBEAT_OK); }

TEST(down_comes_at_its_millisecond, "K55 K14") {
    hbeat_link link = 0;
    int closed = 0;
    struct connection *c = new_connection(&closed);
    manual_engine();
    REQUIRE_OK(hbeat_easy_watch(-1, "gd-mt-07", "cmpp interval=180s timeout=60s tries=3", "cmpp", happened, c, &link));
    go(359999);
    CHECK_EQ(count_of(c, HBEAT_EVENT_SEND), 3);
    CHECK_EQ(count_of(c, HBEAT_EVENT_SUSPECT), 2);
    CHECK_EQ(count_of(c, HBEAT_EVENT_DOWN), 0);
    go(360000);
    REQUIRE(count_of(c, HBEAT_EVENT_DOWN) == 1);
    const hbeat_event *down = &c->seen[load(&c->count) - 1].event;
    CHECK_EQ(ms_of(down->at_ns), 360000);
    CHECK_EQ(down->cause, HBEAT_CAUSE_NO_ANSWER);
    CHECK(down->link == link);
    CHECK(down->link_data == c);
    CHECK(strcmp(down->name, "gd-mt-07") == 0);
    CHECK_STATUS(hbeat_easy_unwatch(link), HBEAT_OK);
    go(360000);
    CHECK_EQ(load(&closed), 1);
    CHECK_STATUS(hbeat_easy_unwatch(link), HBEAT_ERR_NO_LINK);
    stop();
}

TEST(what_is_read_keeps_it_up_and_gets_its_answer, "K72 K81") {
    unsigned char frame[13], frames[64];
    hbeat_link link = 0;
    size_t length;
    int closed = 0;
    struct connection *c = new_connection(&closed);
    manual_engine();
    REQUIRE_OK(hbeat_easy_watch(-1, NULL, "cmpp", "cmpp", happened, c, &link));
    go(170000);
    CHECK_STATUS(hbeat_easy_received(link, frame, cmpp_frame(frame, CMPP_TEST, 99)), HBEAT_INFO_SEND);
    CHECK_STATUS(hbeat_easy_take(link, frames, sizeof frames, &length), HBEAT_OK);
    CHECK_EQ(length, 13);
    CHECK(is_frame(frames, CMPP_ANSWER, 99));
    go(349999);
    CHECK_EQ(count_of(c, HBEAT_EVENT_SEND), 0);
    go(350000);
    CHECK_EQ(count_of(c, HBEAT_EVENT_SEND), 1);
    CHECK_STATUS(hbeat_easy_received(link, frame, cmpp_frame(frame, CMPP_SUBMIT, 1)), HBEAT_OK);
    CHECK_STATUS(hbeat_easy_received(link, frame, 0), HBEAT_OK);
    memset(frame, 0xff, sizeof frame);
    CHECK_STATUS(hbeat_easy_received(link, frame, sizeof frame), HBEAT_ERR_DESYNC);
    go(350000);
    CHECK_EQ(count_of(c, HBEAT_EVENT_DOWN), 1);
    stop();
    CHECK_EQ(load(&closed), 1);
}

TEST(a_protocol_of_the_applications_own, "K71") {
    unsigned char bytes[64];
    hbeat_link link = 0;
    size_t length = 77;
    int closed = 0;
    struct connection *c = new_connection(&closed);
    c->close_on_down = -1; /* takes below */
    manual_engine();
    REQUIRE_OK(hbeat_easy_watch(-1, NULL, "interval=10s timeout=5s tries=2 jitter=0%", "none", happened, c, &link));
    go(9000);
    CHECK_STATUS(hbeat_easy_received(link, "any message", 11), HBEAT_OK);
    go(18000);
    CHECK_STATUS(hbeat_easy_received(link, NULL, 0), HBEAT_OK); /* nothing was read: it proves nothing */
    go(19000);
    CHECK_EQ(count_of(c, HBEAT_EVENT_SEND), 1);
    CHECK_STATUS(hbeat_easy_take(link, bytes, sizeof bytes, &length), HBEAT_INFO_SEND);
    CHECK_EQ(length, 0);
    CHECK_STATUS(hbeat_easy_take(link, bytes, sizeof bytes, &length), HBEAT_OK);
    stop();
    CHECK_EQ(load(&closed), 1);
}

TEST(bad_input_is_refused_with_a_sentence, "K89 K93 K95") {
    hbeat_link link = 0;
    size_t length = 77;
    int closed = 0;
    struct connection *c = new_connection(&closed);
    unsigned char bytes[4] = {0};
    CHECK_STATUS(hbeat_easy_unwatch(1), HBEAT_ERR_NULL); /* before the first watch */
    CHECK(hbeat_easy_engine() == NULL);
    CHECK_STATUS(hbeat_easy_take(1, bytes, 4, &length), HBEAT_ERR_NULL);
    CHECK_EQ(length, 0);
    CHECK_STATUS(hbeat_easy_received(1, bytes, 4), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_easy_watch(-1, "a", "cmpp intervall=1s", "cmpp", happened, c, &link), HBEAT_ERR_INVALID);
    CHECK_TEXT(hbeat_easy_error(), "intervall=1s");
    CHECK_STATUS(hbeat_easy_watch(-1, "a", NULL, "cmpp", happened, c, &link), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_easy_watch(-1, "a", "cmpp", "smpp", happened, c, &link), HBEAT_ERR_INVALID);
    CHECK_TEXT(hbeat_easy_error(), "smpp");
    CHECK_STATUS(hbeat_easy_watch(99999, "a", "cmpp", "cmpp", happened, c, &link), HBEAT_ERR_INVALID);
    CHECK_STATUS(hbeat_easy_watch(-1, "a", "cmpp", "cmpp", happened, c, NULL), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_easy_received(12345, bytes, 4), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(hbeat_easy_take(12345, bytes, 4, NULL), HBEAT_ERR_NULL);
    stop();
    CHECK_EQ(load(&closed), 0); /* nothing was watched, so nothing comes to an end */
    CHECK_EQ(load(&c->count), 0);
    CHECK_STATUS(hbeat_easy_watch(-1, "a", "cmpp", "cmpp", happened, c, &link), HBEAT_ERR_STOPPED);
    free(c);
}

TEST(a_link_without_a_callback_works, "K21") {
    hbeat_link link = 0;
    manual_engine();
    REQUIRE_OK(hbeat_easy_watch(-1, "a", "cmpp", "cmpp", NULL, NULL, &link));
    go(400000);
    CHECK_STATUS(hbeat_easy_unwatch(link), HBEAT_OK);
    stop();
}

TEST(one_engine_for_all_units_of_the_program, "K113") {
    hbeat_link link = 0;
    int closed = 0;
    struct connection *c = new_connection(&closed);
    CHECK(other_units_engine() == NULL);
    REQUIRE_OK(other_unit_watches(happened, c, &link));
    CHECK(hbeat_easy_engine() != NULL);
    CHECK(other_units_engine() == hbeat_easy_engine());
    CHECK_STATUS(hbeat_easy_unwatch(link), HBEAT_OK); /* what one unit watches, another ends */
    CHECK(becomes(&closed, 1));
    stop();
}

static int engine_events;
static void engine_event(void *data, const hbeat_event *event) {
    CHECK(data == &engine_events);
    CHECK(event->link == 0 && event->link_data == data);
    store(&engine_events, load(&engine_events) + 1);
}

TEST(the_engines_own_events_go_to_who_started_it, "K8") {
    hbeat_event pause;
    REQUIRE_OK(hbeat_easy_start(engine_event, &engine_events));
    hbeat_engine *engine = hbeat_easy_engine();
    REQUIRE_OK(hbeat_easy_start(NULL, NULL)); /* changes nothing */
    CHECK(hbeat_easy_engine() == engine);
    memset(&pause, 0, sizeof pause);
    pause.struct_size = sizeof pause;
    pause.type = HBEAT_EVENT_PAUSE;
    struct hbeat_easy_watcher watcher = {engine_event, &engine_events};
    hbeat_easy_hand_on(&watcher, &pause); /* as the engine would */
    CHECK_EQ(load(&engine_events), 1);
    stop();
}

TEST(an_event_of_a_smaller_and_of_a_larger_library, "K44") {
    static struct {
        hbeat_event known;
        char later[64];
    } larger;
    int closed = 0;
    struct connection *c = new_connection(&closed);
    struct hbeat_easy_watcher watcher = {happened, c};
    larger.known.link = 5;
    larger.known.link_data = &watcher;
    larger.known.type = HBEAT_EVENT_UP;
    larger.known.count = 7;
    larger.known.struct_size = sizeof larger;
    hbeat_easy_hand_on(NULL, &larger.known);
    CHECK_EQ(c->seen[0].event.struct_size, sizeof(hbeat_event));
    larger.known.struct_size = 48; /* ends before count */
    hbeat_easy_hand_on(NULL, &larger.known);
    CHECK_EQ(c->seen[1].event.struct_size, 48);
    CHECK_EQ(c->seen[0].event.count, 7);
    CHECK_EQ(offsetof(hbeat_event, count) >= 48 ? c->seen[1].event.count : 0, 0);
    free(c);
}

/* Two threads are the first at once, and go on watching, reading and taking, also of the same link. */
struct users {
    pthread_barrier_t start;
    int closed, opened;
    hbeat_link shared;
};

static void *use(void *data) {
    struct users *users = (struct users *)data;
    unsigned char frame[13], frames[HBEAT_FRAME_MAX];
    size_t length;
    pthread_barrier_wait(&users->start);
    for (int i = 0; i < 300; i++) {
        hbeat_link link = 0;
        struct connection *c = new_connection(&users->closed);
        c->close_on_down = 1;
        REQUIRE_OK(hbeat_easy_watch(-1, NULL, "cmpp interval=1h", "cmpp", happened, c, &link));
        __atomic_add_fetch(&users->opened, 1, __ATOMIC_SEQ_CST);
        CHECK_STATUS(hbeat_easy_received(link, frame, cmpp_frame(frame, CMPP_TEST, 1)), HBEAT_INFO_SEND);
        CHECK_STATUS(hbeat_easy_take(link, frames, sizeof frames, &length), HBEAT_OK);
        CHECK_EQ(length, 13);
        if (users->shared != 0) CHECK_STATUS(hbeat_easy_take(users->shared, frames, sizeof frames, &length), HBEAT_OK);
        if (i % 2)
            CHECK_STATUS(hbeat_easy_unwatch(link), HBEAT_OK);
        else
            CHECK_STATUS(hbeat_link_report_down(hbeat_easy_engine(), link, HBEAT_CAUSE_RESET, 104), HBEAT_OK);
    }
    return NULL;
}

TEST(from_two_threads_at_once, "K18 K21 K80") {
    static struct users users;
    pthread_t threads[2];
    pthread_barrier_init(&users.start, NULL, 2);
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, use, &users) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    REQUIRE_OK(other_unit_watches(NULL, NULL, &users.shared));
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, use, &users) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK(becomes(&users.closed, 1200));
    stop();
    CHECK_EQ(load(&users.closed), load(&users.opened));
}

TEST(a_fork_makes_an_engine_of_its_own, "K114") {
    hbeat_link link = 0, own = 0;
    int closed = 0, status = 0;
    struct connection *c = new_connection(&closed);
    REQUIRE_OK(hbeat_easy_watch(-1, NULL, "cmpp", "cmpp", happened, c, &link));
    hbeat_engine *parents = hbeat_easy_engine();
    CHECK_STATUS(hbeat_engine_quiesce(parents, LONG_MS), HBEAT_OK); /* a sanitizer's own locks are not those of a fork */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(30);
        int closed_here = 0;
        CHECK_STATUS(hbeat_easy_unwatch(link), HBEAT_ERR_FORKED);
        REQUIRE_OK(hbeat_easy_watch(-1, NULL, "cmpp", "cmpp", happened, new_connection(&closed_here), &own));
        CHECK(hbeat_easy_engine() != parents);
        CHECK_STATUS(hbeat_easy_unwatch(own), HBEAT_OK);
        CHECK(becomes(&closed_here, 1));
        stop();
        check_leave(check_failures ? 1 : 0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_STATUS(hbeat_easy_unwatch(link), HBEAT_OK);
    CHECK(becomes(&closed, 1));
    stop();
}
