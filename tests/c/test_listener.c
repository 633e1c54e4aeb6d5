/* Listeners: who is let in, who is not, and what becomes of them, over sockets of the loopback. */
#include "check.h"
#include "story.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>

enum { HEART_LENGTH = 28 };
static const unsigned char HEART[HEART_LENGTH] = {'H', 'B', 1, 1, 0, 0, 0, HEART_LENGTH, 0, 0, 0, 7};

static hbeat_listener_options usual(void) {
    hbeat_listener_options how;
    memset(&how, 0, sizeof how);
    how.struct_size = sizeof how;
    how.name = "devices";
    return how;
}

static hbeat_policy calm(void) {
    hbeat_policy policy;
    REQUIRE_OK(hbeat_policy_parse(&policy, sizeof policy, "interval=10s timeout=1s tries=3 jitter=0%"));
    return policy;
}

static hbeat_listener listening(struct world *world, const hbeat_listener_options *how) {
    hbeat_policy policy = calm();
    hbeat_listener listener = 0;
    REQUIRE_OK(hbeat_listener_open(world->engine, "tcp://127.0.0.1:0", &policy, how, &listener));
    return listener;
}

static hbeat_listener_info listener_of(struct world *world, hbeat_listener listener) {
    hbeat_listener_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    REQUIRE_OK(hbeat_listener_info_get(world->engine, listener, &info));
    return info;
}

static int connected(struct world *world, hbeat_listener listener) {
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)listener_of(world, listener).port);
    REQUIRE(peer >= 0 && connect(peer, (struct sockaddr *)&address, sizeof address) == 0);
    return peer;
}

static void greet(int peer) { CHECK_EQ(send(peer, HEART, HEART_LENGTH, MSG_NOSIGNAL), HEART_LENGTH); }

/* Its end, or the reset that comes instead where something lay unread. */
static int is_closed(int peer) {
    char bytes[256];
    ssize_t count;
    while ((count = recv(peer, bytes, sizeof bytes, 0)) > 0) {
    }
    return count == 0 || errno == ECONNRESET;
}

/* Real time passes until so many links, and so many that were not heard, are there; the manual clock stands. */
static int comes_to(struct world *world, hbeat_listener listener, uint32_t links, uint32_t greeting) {
    for (uint32_t waited = 0; waited < LONG_MS; waited += 5) {
        hbeat_listener_info info = listener_of(world, listener);
        if (info.links == links && info.greeting == greeting) return 1;
        usleep(5000);
    }
    return 0;
}

/* The nth link that was accepted; waits in real time for it. */
static hbeat_event accepted_of(struct world *world, int nth) {
    REQUIRE(world_sees(world, HBEAT_EVENT_ACCEPTED, 0, nth + 1));
    hbeat_event found;
    memset(&found, 0, sizeof found);
    pthread_mutex_lock(&world->lock);
    for (int i = 0; i < world->count && nth >= 0; i++)
        if (world->seen[i].event.type == HBEAT_EVENT_ACCEPTED && nth-- == 0) found = world->seen[i].event;
    pthread_mutex_unlock(&world->lock);
    return found;
}

TEST(a_peer_is_accepted_once_it_was_heard, "K202 K203") {
    for (int way = TWO_LANES; way <= NOTICES_CALLED; way++) {
        struct world world;
        world_begin(&world, way);
        hbeat_listener_options how = usual();
        hbeat_listener listener = listening(&world, &how);
        CHECK_TEXT(listener_of(&world, listener).endpoint, "tcp://127.0.0.1:");
        int heard = connected(&world, listener), mute = connected(&world, listener);
        CHECK(comes_to(&world, listener, 0, 2));
        hbeat_link links[4];
        uint32_t count = 9;
        CHECK_STATUS(hbeat_engine_links(world.engine, 0, links, 4, &count), HBEAT_OK);
        CHECK_EQ(count, 0);
        greet(heard);
        CHECK(comes_to(&world, listener, 1, 1));
        if (!WAYS[way].on_event) world_go(&world, 1);
        hbeat_event accepted = accepted_of(&world, 0);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_ACCEPTED, 0), 1);
        CHECK(accepted.listener == listener && accepted.link != 0 && accepted.state == HBEAT_STATE_UP && accepted.link_data == NULL);
        CHECK(strncmp(accepted.name, "devices/127.0.0.1:", 18) == 0);
        char line[384];
        CHECK_STATUS(hbeat_event_text(&accepted, line, sizeof line, NULL), HBEAT_OK);
        CHECK_TEXT(line, "ACCEPTED devices/127.0.0.1:");
        CHECK_STATUS(hbeat_link_set_data(world.engine, accepted.link, &how), HBEAT_OK);
        hbeat_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        CHECK_STATUS(hbeat_link_info(world.engine, accepted.link, &info), HBEAT_OK);
        CHECK(info.listener == listener && info.protocol == 2 && info.link_data == &how && info.beats_received == 1);
        CHECK_STATUS(hbeat_link_received(world.engine, accepted.link, 0), HBEAT_OK);
        CHECK_STATUS(hbeat_link_start(world.engine, accepted.link, 0), HBEAT_ERR_WRONG_MODE);
        /* Who was not heard is closed, and nobody is told. */
        world_go(&world, 20000);
        CHECK(is_closed(mute) && comes_to(&world, listener, 1, 0));
        CHECK_EQ(listener_of(&world, listener).never_heard, 1);
        close(heard);
        for (int waited = 0; waited < 2000 && world_count(&world, HBEAT_EVENT_DOWN, accepted.link) == 0; waited++) {
            world_go(&world, 20000);
            usleep(1000);
        }
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, accepted.link), 1);
        CHECK(world_event(&world, HBEAT_EVENT_DOWN, accepted.link, 0)->link_data == &how);
        world_go(&world, 60000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CONNECTING, 0), 0);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 0);
        CHECK_STATUS(hbeat_link_close(world.engine, accepted.link), HBEAT_OK);
        close(mute);
        world_end(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 1);
    }
}

TEST(limits_hold_and_are_told_once_a_second, "K204") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_listener_options how = usual();
    how.max_per_source = 3;
    how.max_greeting = 1;
    hbeat_listener listener = listening(&world, &how);
    int peers[3];
    for (int i = 0; i < 3; i++) {
        peers[i] = connected(&world, listener);
        CHECK(comes_to(&world, listener, (uint32_t)i, 1));
        if (i == 0) {
            int second = connected(&world, listener);
            CHECK(is_closed(second));
            close(second);
        }
        greet(peers[i]);
        CHECK(comes_to(&world, listener, (uint32_t)i + 1, 0));
    }
    for (int i = 0; i < 5; i++) {
        int more = connected(&world, listener);
        CHECK(is_closed(more));
        close(more);
    }
    hbeat_listener_info info = listener_of(&world, listener);
    CHECK(info.refused_greeting == 1 && info.refused_source == 5 && info.refused_links == 0 && info.refused_system == 0);
    CHECK(info.accepted == 3 && info.never_heard == 0);
    world_go(&world, 2000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_LISTENER_LIMIT, 0), 2);
    const hbeat_event *first = world_event(&world, HBEAT_EVENT_LISTENER_LIMIT, 0, 0);
    CHECK(first->listener == listener && first->link == 0 && first->state == 0 && first->detail == 0 && first->count == 1);
    CHECK(strcmp(first->name, "devices") == 0);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_LISTENER_LIMIT, 0, 1)->count, 5);
    for (int i = 0; i < 3; i++) close(peers[i]);
    world_end(&world);
}

TEST(without_descriptors_links_live_on_and_who_connects_waits, "K205") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_listener_options how = usual();
    hbeat_listener listener = listening(&world, &how);
    int first = connected(&world, listener);
    greet(first);
    CHECK(comes_to(&world, listener, 1, 0));
    /* A socket of ours is made before none is left. */
    int waiting = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)listener_of(&world, listener).port);
    struct rlimit limit, none;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    none = limit;
    none.rlim_cur = (rlim_t)waiting + 1;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    REQUIRE(fcntl(first, F_DUPFD, 0) < 0 && errno == EMFILE);
    REQUIRE(connect(waiting, (struct sockaddr *)&address, sizeof address) == 0);
    greet(waiting);
    for (int waited = 0; waited < 2000 && listener_of(&world, listener).refused_system == 0; waited++) usleep(5000);
    CHECK(comes_to(&world, listener, 1, 0) && listener_of(&world, listener).refused_system == 1);
    world_go(&world, 900);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_LISTENER_LIMIT, 0), 1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_LISTENER_LIMIT, 0, 0)->detail, EMFILE);
    hbeat_link link = accepted_of(&world, 0).link;
    greet(first);
    hbeat_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    for (int waited = 0; waited < 2000 && info.beats_received < 2; waited++) {
        CHECK_STATUS(hbeat_link_info(world.engine, link, &info), HBEAT_OK);
        usleep(5000);
    }
    CHECK(info.state == HBEAT_STATE_UP && info.beats_received == 2);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    world_go(&world, 1100);
    CHECK(comes_to(&world, listener, 2, 0));
    close(first);
    close(waiting);
    world_end(&world);
}

TEST(a_listener_is_closed_and_its_links_stay, "K206") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_listener_options how = usual();
    hbeat_listener listener = listening(&world, &how), again = 0;
    hbeat_listener_info info = listener_of(&world, listener);
    int peer = connected(&world, listener);
    greet(peer);
    CHECK(comes_to(&world, listener, 1, 0));
    CHECK_STATUS(hbeat_listener_close(world.engine, listener), HBEAT_OK);
    CHECK_STATUS(hbeat_listener_close(world.engine, listener), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(hbeat_listener_info_get(world.engine, listener, &info), HBEAT_ERR_NO_LINK);
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    hbeat_policy policy = calm();
    CHECK_STATUS(hbeat_listener_open(world.engine, info.endpoint, &policy, &how, &again), HBEAT_OK);
    CHECK(again != listener && again != 0);
    hbeat_link link = accepted_of(&world, 0).link;
    CHECK_STATUS(hbeat_link_received(world.engine, link, 0), HBEAT_OK);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, 0), 0);
    world_end(&world);
    CHECK(is_closed(peer));
    close(peer);
}

TEST(what_cannot_be_listened_at, "K207") {
    struct world world;
    hbeat_listener listener = 77, taken;
    hbeat_listener_info info;
    hbeat_listener_options how = usual();
    hbeat_policy policy = calm();
    world_begin(&world, PULLED);
    taken = listening(&world, &how);
    info = listener_of(&world, taken);
    FAILS(hbeat_listener_open(NULL, "tcp://[::]:0", &policy, &how, &listener), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_listener_open(world.engine, NULL, &policy, &how, &listener), HBEAT_ERR_NULL, "endpoint");
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", NULL, &how, &listener), HBEAT_ERR_NULL, "policy");
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, NULL, &listener), HBEAT_ERR_NULL, "options");
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, &how, NULL), HBEAT_ERR_NULL, "listener");
    FAILS(hbeat_listener_open(world.engine, "tcp://localhost:0", &policy, &how, &listener), HBEAT_ERR_INVALID, "not in numbers");
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]", &policy, &how, &listener), HBEAT_ERR_INVALID, "no port");
    FAILS(hbeat_listener_open(world.engine, info.endpoint, &policy, &how, &listener), HBEAT_ERR_SYSTEM, "cannot be listened at");
    FAILS(hbeat_listener_open(world.engine, "tcp://192.0.2.1:0", &policy, &how, &listener), HBEAT_ERR_SYSTEM, "tcp://192.0.2.1:0");
    FAILS(hbeat_listener_open(world.engine, "unix:///no/such/folder/x", &policy, &how, &listener), HBEAT_ERR_SYSTEM, "unix:///no");
    how.events = 1;
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, &how, &listener), HBEAT_ERR_INVALID, "events");
    how.events = 0;
    how.max_links = UINT32_MAX;
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, &how, &listener), HBEAT_ERR_INVALID, "max_links");
    how = usual();
    how.reserved = 1;
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, &how, &listener), HBEAT_ERR_INVALID, "reserved");
    how = usual();
    how.struct_size = 4;
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, &how, &listener), HBEAT_ERR_SIZE, "options.struct_size");
    how = usual();
    how.name = "a name of more than sixty-three bytes, which is one more than any link may have here";
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, &how, &listener), HBEAT_ERR_INVALID, "name");
    how = usual();
    policy.observe_only = 1;
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, &how, &listener), HBEAT_ERR_INVALID, "observe_only");
    policy = calm();
    FAILS(hbeat_listener_close(NULL, taken), HBEAT_ERR_NULL, "engine");
    FAILS(hbeat_listener_close(world.engine, 0), HBEAT_ERR_NO_LINK, "listener");
    FAILS(hbeat_listener_info_get(world.engine, taken + 1, &info), HBEAT_ERR_NO_LINK, "listener");
    FAILS(hbeat_listener_info_get(world.engine, taken, NULL), HBEAT_ERR_NULL, "info");
    info.struct_size = 4;
    FAILS(hbeat_listener_info_get(world.engine, taken, &info), HBEAT_ERR_SIZE, "info.struct_size");
    CHECK_EQ(listener, 77);
    world_end(&world);
    world_begin(&world, DRIVEN);
    FAILS(hbeat_listener_open(world.engine, "tcp://[::]:0", &policy, &how, &listener), HBEAT_ERR_WRONG_MODE, "HBEAT_RUN_APPLICATION");
    world_end(&world);
}

static int datagram_socket(struct world *world, hbeat_listener listener) {
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    int peer = socket(AF_INET, SOCK_DGRAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)listener_of(world, listener).port);
    REQUIRE(peer >= 0 && connect(peer, (struct sockaddr *)&address, sizeof address) == 0);
    struct timeval patience = {LONG_MS / 1000, 0};
    REQUIRE(setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    return peer;
}

/* A heart of 48 octets, with a session. */
static void heart_with(unsigned char heart[48], unsigned char mine, const unsigned char *yours) {
    memset(heart, 0, 48);
    memcpy(heart, HEART, HEART_LENGTH);
    heart[7] = 48;
    heart[28] = 0x80; /* critical */
    heart[29] = 2;
    heart[31] = 16;
    heart[39] = mine;
    if (yours) memcpy(heart + 40, yours, 8);
}

TEST(an_address_is_proved_before_it_is_a_link, "K208 K209") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_policy policy = calm();
    hbeat_listener_options how = usual();
    hbeat_listener listener = 0;
    REQUIRE_OK(hbeat_listener_open(world.engine, "udp://127.0.0.1:0", &policy, &how, &listener));
    CHECK_TEXT(listener_of(&world, listener).endpoint, "udp://127.0.0.1:");
    int peer = datagram_socket(&world, listener), other = datagram_socket(&world, listener);
    unsigned char heart[48], challenge[256];
    heart_with(heart, 7, NULL);
    CHECK_EQ(send(peer, HEART, HEART_LENGTH, 0), HEART_LENGTH); /* no session: nothing comes back */
    CHECK_EQ(send(peer, heart, 48, 0), 48);
    CHECK_EQ(recv(peer, challenge, sizeof challenge, 0), 48);
    CHECK(challenge[3] == 3 && memcmp(challenge + 8, heart + 8, 12) == 0 && challenge[47] == 7);
    CHECK(listener_of(&world, listener).challenged == 1 && listener_of(&world, listener).greeting == 0);
    /* The cookie is of no use from elsewhere. */
    heart_with(heart, 7, challenge + 32);
    CHECK_EQ(send(other, heart, 48, 0), 48);
    CHECK_EQ(recv(other, challenge, sizeof challenge, 0), 48);
    CHECK(challenge[3] == 3 && memcmp(challenge + 32, heart + 40, 8) != 0);
    CHECK_EQ(send(peer, heart, 48, 0), 48);
    hbeat_event accepted = accepted_of(&world, 0);
    CHECK(accepted.listener == listener && comes_to(&world, listener, 1, 0));
    CHECK_STATUS(hbeat_link_close(world.engine, accepted.link), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_quiesce(world.engine, LONG_MS), HBEAT_OK);
    world_go(&world, 5000);
    CHECK_EQ(send(other, heart, 48, 0), 48);
    CHECK_EQ(recv(other, challenge, sizeof challenge, 0), 48);
    CHECK(comes_to(&world, listener, 0, 0) && listener_of(&world, listener).accepted == 1);
    close(peer);
    close(other);
    world_end(&world);
}

TEST(a_listener_that_forgot_and_nobody_at_all, "K210") {
    struct world world;
    hbeat_listener_options how = usual();
    hbeat_link_options dialling = HBEAT_LINK_OPTIONS_INIT;
    hbeat_listener listener = 0;
    hbeat_link link = 0, lost = 0;
    hbeat_policy policy;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    REQUIRE_OK(hbeat_policy_parse(&policy, sizeof policy, "interval=50ms timeout=5s tries=3"));
    world_open(&world, &options);
    REQUIRE_OK(hbeat_listener_open(world.engine, "udp://127.0.0.1:0", &policy, &how, &listener));
    REQUIRE_OK(hbeat_link_dial(world.engine, listener_of(&world, listener).endpoint, &policy, &dialling, &link));
    hbeat_link accepted = accepted_of(&world, 0).link;
    CHECK(world_sees(&world, HBEAT_EVENT_UP, link, 1));
    CHECK_STATUS(hbeat_link_close(world.engine, accepted), HBEAT_OK);
    CHECK(world_sees(&world, HBEAT_EVENT_DOWN, link, 1));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_RESET);
    CHECK(world_sees(&world, HBEAT_EVENT_UP, link, 2));
    dialling.reconnect = HBEAT_RECONNECT_NO;
    REQUIRE_OK(hbeat_link_dial(world.engine, "udp://127.0.0.1:9", &policy, &dialling, &lost));
    CHECK(world_sees(&world, HBEAT_EVENT_DOWN, lost, 1));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, lost, 0)->cause, HBEAT_CAUSE_REFUSED);
    world_end(&world);
}
