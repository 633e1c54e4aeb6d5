/* Links that hbeat carries itself: their connection, their beats and their end, over sockets of the loopback. */
#include "check.h"
#include "story.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/un.h>

enum { HEART_LENGTH = 28, TERMS_LENGTH = 24 };
static const uint64_t MS = 1000000;

static int listening(char endpoint[64]) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 8) == 0);
    REQUIRE(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    snprintf(endpoint, 64, "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    return listener;
}

static void read_heart(int peer, unsigned char heart[HEART_LENGTH]) {
    unsigned char terms[TERMS_LENGTH];
    CHECK_EQ(recv(peer, heart, HEART_LENGTH, MSG_WAITALL), HEART_LENGTH);
    CHECK(memcmp(heart, "HB\1\1", 4) == 0 && heart[7] == HEART_LENGTH + TERMS_LENGTH);
    CHECK_EQ(recv(peer, terms, TERMS_LENGTH, MSG_WAITALL), TERMS_LENGTH);
}

static void answer(int peer) {
    unsigned char heart[HEART_LENGTH];
    read_heart(peer, heart);
    heart[3] = 2; /* an answer repeats sequence and send time of its heart */
    heart[7] = HEART_LENGTH;
    CHECK_EQ(send(peer, heart, sizeof heart, MSG_NOSIGNAL), HEART_LENGTH);
}

/* Real time passes until the link is in that state; the manual clock stands. */
static int comes_to(struct world *world, hbeat_link link, uint32_t state, hbeat_info *info) {
    for (uint32_t waited = 0; waited < LONG_MS; waited += 5) {
        memset(info, 0, sizeof *info);
        info->struct_size = sizeof *info;
        if (hbeat_link_info(world->engine, link, info) == HBEAT_OK && info->state == state) return 1;
        usleep(5000);
    }
    return 0;
}

static hbeat_link dial(struct world *world, const char *endpoint, const hbeat_link_options *how) {
    hbeat_policy policy;
    hbeat_link link = 0;
    REQUIRE_OK(hbeat_policy_parse(&policy, sizeof policy, "interval=10s timeout=1s tries=3 jitter=0%"));
    REQUIRE_OK(hbeat_link_dial(world->engine, endpoint, &policy, how, &link));
    return link;
}

static hbeat_backoff steady(void) {
    hbeat_backoff backoff;
    REQUIRE_OK(hbeat_backoff_default(&backoff, sizeof backoff));
    backoff.least_ms = backoff.first_ms = backoff.cap_ms = 700;
    return backoff;
}

TEST(dialled_lost_and_dialled_again, "K195 K196 K197") {
    for (int way = TWO_LANES; way <= NOTICES_CALLED; way++) {
        struct world world;
        world_begin(&world, way);
        char endpoint[64];
        int listener = listening(endpoint);
        hbeat_backoff backoff = steady();
        hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
        how.backoff = &backoff;
        hbeat_link link = dial(&world, endpoint, &how);
        int peer = accept(listener, NULL, NULL);
        hbeat_info info;
        CHECK(comes_to(&world, link, HBEAT_STATE_CONNECTING, &info));
        CHECK(info.attempt == 1 && info.next_ms == HBEAT_UNKNOWN && info.protocol == 2);
        answer(peer);
        CHECK(comes_to(&world, link, HBEAT_STATE_UP, &info));
        CHECK(info.attempt == 0 && info.cause == 0 && info.beats_sent == 1 && info.answers_received == 1);
        world_go(&world, 10000);
        answer(peer);
        close(peer);
        CHECK(comes_to(&world, link, HBEAT_STATE_CONNECTING, &info));
        CHECK(info.attempt == 1 && info.next_ms == 700 && info.cause == HBEAT_CAUSE_CLOSED_BY_PEER);
        /* The second time nobody answers. */
        world_go(&world, 10700);
        peer = accept(listener, NULL, NULL);
        unsigned char heart[HEART_LENGTH];
        read_heart(peer, heart);
        world_go(&world, 13699);
        CHECK(comes_to(&world, link, HBEAT_STATE_CONNECTING, &info));
        CHECK_EQ(info.attempt, 1);
        world_go(&world, 13700);
        CHECK(comes_to(&world, link, HBEAT_STATE_CONNECTING, &info));
        CHECK(info.attempt == 2 && info.next_ms == 700 && info.cause == HBEAT_CAUSE_NO_ANSWER);
        close(peer);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_UP, link), 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_CLOSED_BY_PEER);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, link), 0);
        const hbeat_event *last = world_event(&world, HBEAT_EVENT_CONNECTING, link, world_count(&world, HBEAT_EVENT_CONNECTING, link) - 1);
        CHECK(last->attempt == 2 && last->next_ms == 700 && last->cause == HBEAT_CAUSE_NO_ANSWER);
        CHECK(last->state == HBEAT_STATE_CONNECTING && last->at_ns == START_NS + 13700 * MS);
        char line[384];
        CHECK_STATUS(hbeat_event_text(last, line, sizeof line, NULL), HBEAT_OK);
        CHECK_TEXT(line, "cause=no_answer attempt=2 next=0.7s");
        close(listener);
        world_end(&world);
    }
}

TEST(attempts_come_to_an_end, "K197 K198") {
    struct world world;
    world_begin(&world, TWO_LANES);
    char endpoint[64];
    close(listening(endpoint)); /* nobody listens there any more */
    hbeat_backoff backoff = steady();
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.backoff = &backoff;
    how.attempts = 2;
    hbeat_link twice = dial(&world, endpoint, &how);
    how.attempts = 0;
    how.reconnect = HBEAT_RECONNECT_NO;
    hbeat_link once = dial(&world, endpoint, &how);
    hbeat_info info;
    CHECK(comes_to(&world, once, HBEAT_STATE_DOWN, &info));
    CHECK(info.cause == HBEAT_CAUSE_REFUSED && info.detail == ECONNREFUSED);
    for (int waited = 0; waited < 2000 && !(comes_to(&world, twice, HBEAT_STATE_CONNECTING, &info) && info.attempt == 2); waited++) usleep(1000);
    CHECK(info.attempt == 2 && info.cause == HBEAT_CAUSE_REFUSED);
    world_go(&world, 700);
    CHECK(comes_to(&world, twice, HBEAT_STATE_DOWN, &info));
    world_go(&world, 60000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, twice), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, once), 1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_UP, 0), 0);
    CHECK_STATUS(hbeat_link_close(world.engine, once), HBEAT_OK);
    world_end(&world);
}

TEST(a_socket_is_handed_over, "K198 K199 K200") {
    struct world world;
    world_begin(&world, TWO_LANES);
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    hbeat_policy policy;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link link = 0;
    REQUIRE_OK(hbeat_policy_preset(&policy, sizeof policy, "normal"));
    how.protocol = "none";
    CHECK_STATUS(hbeat_link_adopt(world.engine, pair[0], &policy, &how, &link), HBEAT_ERR_INVALID);
    CHECK(fcntl(pair[0], F_GETFD) >= 0); /* still the caller's */
    how.protocol = NULL;
    REQUIRE_OK(hbeat_link_adopt(world.engine, pair[0], &policy, &how, &link));
    answer(pair[1]);
    hbeat_info info;
    CHECK(comes_to(&world, link, HBEAT_STATE_UP, &info));
    unsigned char frame[64];
    size_t length;
    CHECK_STATUS(hbeat_link_start(world.engine, link, 0), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_link_pause(world.engine, link, 0), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_link_feed(world.engine, link, frame, 0, 0), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_link_feed_sent(world.engine, link, frame, 0, 0), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_link_take(world.engine, link, NULL, 0, frame, sizeof frame, &length), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_link_unsent(world.engine, link, 0), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_link_answer_received(world.engine, link, 1, 0), HBEAT_ERR_WRONG_MODE);
    CHECK_STATUS(hbeat_link_beat_received(world.engine, link, 1, 0), HBEAT_ERR_WRONG_MODE);
    CHECK_TEXT(hbeat_last_error(), "hbeat carries this link");
    CHECK_STATUS(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_REPORTED, 9), HBEAT_OK);
    CHECK(comes_to(&world, link, HBEAT_STATE_DOWN, &info));
    CHECK(info.cause == HBEAT_CAUSE_REPORTED && info.detail == 9);
    CHECK_EQ(recv(pair[1], frame, 1, 0), 0); /* the connection ended */
    CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
    close(pair[1]);
    world_end(&world);
}

/* That a call fails, with a sentence that says so. */
#define REFUSED(call, part)                                                                                            \
    do {                                                                                                               \
        CHECK_STATUS(call, HBEAT_ERR_INVALID);                                                                         \
        CHECK_TEXT(hbeat_last_error(), part);                                                                          \
    } while (0)

TEST(what_cannot_be_carried, "K199 K200 K201") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_engine *engine = world.engine;
    hbeat_policy policy;
    hbeat_link link = 0;
    REQUIRE_OK(hbeat_policy_preset(&policy, sizeof policy, "normal"));
    const hbeat_link_options usual = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link_options how = usual;
    REFUSED(hbeat_link_dial(engine, "127.0.0.1:80", &policy, &how, &link), "allowed is tcp://name:port");
    REFUSED(hbeat_link_dial(engine, "tcp://gw:70000", &policy, &how, &link), "port is not 1 to 65535");
    CHECK_STATUS(hbeat_link_dial(engine, NULL, &policy, &how, &link), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_link_dial(engine, "tcp://gw:7", &policy, &how, NULL), HBEAT_ERR_NULL);
    how.protocol = "cmpp";
    REFUSED(hbeat_link_dial(engine, "tcp://gw:7", &policy, &how, &link), "protocol is \"cmpp\"");
    how = usual;
    how.reconnect = 3;
    REFUSED(hbeat_link_dial(engine, "tcp://gw:7", &policy, &how, &link), "reconnect is 3");
    how = usual;
    how.start_paused = 1;
    REFUSED(hbeat_link_dial(engine, "tcp://gw:7", &policy, &how, &link), "start_paused must be 0");
    how = usual;
    how.fd = 1000000;
    CHECK_STATUS(hbeat_link_dial(engine, "tcp://gw:7", &policy, &how, &link), HBEAT_ERR_INVALID);
    hbeat_backoff backoff = steady();
    backoff.cap_ms = 0;
    how = usual;
    how.backoff = &backoff;
    REFUSED(hbeat_link_dial(engine, "tcp://gw:7", &policy, &how, &link), "cap_ms");
    how = usual;
    REFUSED(hbeat_link_adopt(engine, -1, &policy, &how, &link), "must be a connected stream socket");
    int file = open("/dev/null", O_RDONLY), datagrams = socket(AF_INET, SOCK_DGRAM, 0), alone = socket(AF_INET, SOCK_STREAM, 0);
    REFUSED(hbeat_link_adopt(engine, file, &policy, &how, &link), "must be a connected stream socket");
    REFUSED(hbeat_link_adopt(engine, datagrams, &policy, &how, &link), "must be a connected stream socket");
    REFUSED(hbeat_link_adopt(engine, alone, &policy, &how, &link), "must be a connected stream socket");
    CHECK(fcntl(file, F_GETFD) >= 0 && fcntl(datagrams, F_GETFD) >= 0 && fcntl(alone, F_GETFD) >= 0);
    close(file), close(datagrams), close(alone);
    how.reconnect = HBEAT_RECONNECT_YES;
    REFUSED(hbeat_link_open(engine, &policy, &how, &link), "reconnect and attempts must be 0");
    how = usual;
    policy.observe_only = 1;
    REFUSED(hbeat_link_dial(engine, "tcp://gw:7", &policy, &how, &link), "observe_only");
    CHECK_EQ(link, 0);
    world_end(&world);
    world_begin(&world, APP_PULLED);
    policy.observe_only = 0;
    CHECK_STATUS(hbeat_link_dial(world.engine, "tcp://gw:7", &policy, &how, &link), HBEAT_ERR_WRONG_MODE);
    CHECK_TEXT(hbeat_last_error(), "HBEAT_RUN_APPLICATION");
    world_end(&world);
}
