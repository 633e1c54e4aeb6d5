/* The kernel's own keepalive, and what it knows of a connection. */
#include "check.h"
#include "story.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

static int tcp_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(fd >= 0);
    return fd;
}

/* Both ends of a connection over the loopback. */
static void connected(int *client, int *server) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = tcp_socket();
    REQUIRE(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
    REQUIRE(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    *client = tcp_socket();
    REQUIRE(connect(*client, (struct sockaddr *)&address, sizeof address) == 0);
    *server = accept(listener, NULL, NULL);
    REQUIRE(*server >= 0);
    close(listener);
}

static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    REQUIRE(getsockopt(fd, level, name, &value, &length) == 0);
    return value;
}

static hbeat_keepalive keepalive(uint32_t idle_ms, uint32_t interval_ms, uint32_t count) {
    hbeat_keepalive how;
    memset(&how, 0, sizeof how);
    how.struct_size = sizeof how;
    how.enabled = 1;
    how.idle_ms = idle_ms;
    how.interval_ms = interval_ms;
    how.count = count;
    return how;
}

TEST(the_kernel_uses_what_was_set, "K160 K161") {
    int fd = tcp_socket();
    hbeat_keepalive how = keepalive(9001, 500, 3), found = keepalive(1, 1, 1);
    CHECK_STATUS(hbeat_keepalive_set(fd, &how), HBEAT_OK);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 10);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 1);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 13000);
    CHECK_STATUS(hbeat_keepalive_get(fd, &found), HBEAT_OK);
    CHECK(found.enabled == 1 && found.idle_ms == 10000 && found.interval_ms == 1000 && found.count == 3);
    CHECK_EQ(found.user_timeout_ms, 13000);
    how.user_timeout_ms = 77;
    CHECK_STATUS(hbeat_keepalive_set(fd, &how), HBEAT_OK);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 77);
    how.user_timeout_ms = HBEAT_FOREVER;
    CHECK_STATUS(hbeat_keepalive_set(fd, &how), HBEAT_OK);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    CHECK_STATUS(hbeat_keepalive_get(fd, &found), HBEAT_OK);
    CHECK_EQ(found.user_timeout_ms, HBEAT_FOREVER);
    how.user_timeout_ms = 0;
    how.enabled = 0;
    CHECK_STATUS(hbeat_keepalive_set(fd, &how), HBEAT_OK);
    CHECK_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    CHECK_STATUS(hbeat_keepalive_get(fd, &found), HBEAT_OK);
    CHECK(found.enabled == 0 && found.idle_ms == 0 && found.user_timeout_ms == HBEAT_FOREVER);
    close(fd);
}

TEST(a_policy_has_its_keepalive, "K162") {
    const struct {
        const char *policy;
        uint32_t idle_ms, interval_ms, count;
    } cases[] = {
        {"cmpp", 180000, 60000, 3},
        {"fast", 3000, 2000, 3},
        {"passive", 30000, 5000, 3},
        {"strategy=periodic interval=8s timeout=1s tries=2", 10000, 1000, 2},
        {"passive tries=0", 30000, 5000, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hbeat_policy policy;
        hbeat_keepalive how = keepalive(0, 0, 0);
        uint32_t earliest, latest;
        REQUIRE_OK(hbeat_policy_parse(&policy, sizeof policy, cases[i].policy));
        CHECK_STATUS(hbeat_policy_keepalive(&policy, &how), HBEAT_OK);
        CHECK(how.enabled == 1 && how.idle_ms == cases[i].idle_ms && how.interval_ms == cases[i].interval_ms);
        CHECK(how.count == cases[i].count && how.user_timeout_ms == how.idle_ms + how.interval_ms * how.count);
        CHECK_STATUS(hbeat_policy_detection(&policy, &earliest, &latest), HBEAT_OK);
        CHECK(how.user_timeout_ms >= latest);
        int fd = tcp_socket();
        CHECK_STATUS(hbeat_keepalive_set(fd, &how), HBEAT_OK);
        close(fd);
    }
}

TEST(a_look_at_a_connection, "K163") {
    int fd = tcp_socket();
    hbeat_tcp_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    CHECK_STATUS(hbeat_tcp_info_get(fd, &info), HBEAT_OK);
    CHECK(info.state == 7 && info.unacked == 0 && info.retransmits == 0 && info.struct_size == sizeof info);
    CHECK_EQ(listen(fd, 1), 0);
    CHECK_STATUS(hbeat_tcp_info_get(fd, &info), HBEAT_OK);
    CHECK_EQ(info.state, 10);
    int client, server;
    connected(&client, &server);
    CHECK_EQ(send(server, "12345", 5, 0), 5);
    for (int waited = 0; waited < 1000 && info.unread_bytes != 5; waited++) {
        usleep(1000);
        CHECK_STATUS(hbeat_tcp_info_get(client, &info), HBEAT_OK);
    }
    CHECK(info.state == 1 && info.unread_bytes == 5 && info.send_queue_bytes == 0);
    CHECK(info.rtt_us > 0 && info.rtt_us != HBEAT_UNKNOWN && info.last_ack_ms != HBEAT_UNKNOWN);
    char read_[5];
    CHECK_EQ(recv(client, read_, 5, 0), 5);
    close(fd), close(client), close(server);
}

/* Nobody answers: SUSPECT, and then DOWN or, where it only watches, WOULD_BE_DOWN. */
TEST(a_verdict_carries_what_the_kernel_knew, "K240 K241 K242") {
    const struct {
        int tcp;
        uint32_t observe_only, verdict;
    } cases[] = {{1, 0, HBEAT_EVENT_DOWN}, {1, 1, HBEAT_EVENT_WOULD_BE_DOWN}, {0, 0, HBEAT_EVENT_DOWN}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world world;
        int pair[2];
        if (cases[i].tcp)
            connected(&pair[0], &pair[1]);
        else
            REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        world_begin(&world, TWO_LANES);
        hbeat_policy policy = policy_of(10000, 1000, 2);
        policy.observe_only = cases[i].observe_only;
        hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
        how.fd = pair[0];
        hbeat_link link = open_with(&world, &policy, &how);
        world_go(&world, 10000);
        for (uint32_t probe = 0; probe < 2; probe++) {
            if (cases[i].observe_only)
                REQUIRE_OK(hbeat_link_beat_sent(world.engine, link, 1 + probe, 0));
            else
                CHECK_STATUS(take(&world, link), HBEAT_INFO_SEND);
            if (probe == 1) close(pair[1]); /* what a look at DOWN shows, one at SUSPECT could not */
            world_go(&world, 11000 + 1000 * probe);
        }
        REQUIRE(world_sees(&world, cases[i].verdict, link, 1));
        const hbeat_event *suspect = world_event(&world, HBEAT_EVENT_SUSPECT, link, 0);
        const hbeat_event *verdict = world_event(&world, cases[i].verdict, link, 0);
        char line[384];
        CHECK_STATUS(hbeat_event_text(verdict, line, sizeof line, NULL), HBEAT_OK);
        if (cases[i].tcp) {
            CHECK(suspect->tcp_state == 1 && suspect->tcp_unacked == 0 && suspect->tcp_retransmits == 0);
            CHECK(suspect->tcp_rtt_us > 0 && suspect->tcp_last_ack_ms < LONG_MS);
            CHECK_EQ(verdict->tcp_state, 8);
            CHECK_TEXT(line, " tcp=close_wait unacked=0 retrans=0 last_ack=");
        } else {
            CHECK(suspect->tcp_state == HBEAT_UNKNOWN && verdict->tcp_last_data_received_ms == HBEAT_UNKNOWN);
            CHECK(strstr(line, "tcp=") == NULL);
        }
        CHECK_STATUS(hbeat_link_close(world.engine, link), HBEAT_OK);
        REQUIRE(world_sees(&world, HBEAT_EVENT_CLOSED, link, 1));
        const hbeat_event *closed = world_event(&world, HBEAT_EVENT_CLOSED, link, 0);
        CHECK(closed->tcp_state == HBEAT_UNKNOWN && closed->tcp_unacked == HBEAT_UNKNOWN);
        world_end(&world);
        close(pair[0]);
    }
}

/* That a call fails, with a sentence that says so. */
#define REFUSED(call, part)                                                                                            \
    do {                                                                                                               \
        CHECK_STATUS(call, HBEAT_ERR_INVALID);                                                                         \
        CHECK_TEXT(hbeat_last_error(), part);                                                                          \
    } while (0)

TEST(what_the_kernel_is_not_asked, "K160 K164") {
    int fd = tcp_socket();
    const int before = option(fd, IPPROTO_TCP, TCP_KEEPIDLE);
    hbeat_keepalive how = keepalive(0, 1000, 3);
    REFUSED(hbeat_keepalive_set(fd, &how), "idle_ms is 0, allowed is 1 to 32767000");
    how = keepalive(1000, 32767001, 3);
    REFUSED(hbeat_keepalive_set(fd, &how), "interval_ms is 32767001");
    how = keepalive(1000, 1000, 128);
    REFUSED(hbeat_keepalive_set(fd, &how), "count is 128, allowed is 1 to 127");
    how = keepalive(1000, 1000, 3);
    how.user_timeout_ms = 0x80000000u;
    REFUSED(hbeat_keepalive_set(fd, &how), "user_timeout_ms is 2147483648");
    how.user_timeout_ms = 0;
    how.enabled = 2;
    REFUSED(hbeat_keepalive_set(fd, &how), "enabled is 2");
    CHECK_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    CHECK_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), before);
    how.enabled = 1;
    hbeat_tcp_info info;
    info.struct_size = sizeof info;
    int pair[2], others[5] = {-1, 1 << 20, open("/dev/null", O_RDONLY), socket(AF_INET, SOCK_DGRAM, 0), -1};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    others[4] = pair[0];
    for (int i = 0; i < 5; i++) {
        REFUSED(hbeat_keepalive_set(others[i], &how), "allowed is an open TCP socket");
        REFUSED(hbeat_keepalive_get(others[i], &how), "allowed is an open TCP socket");
        REFUSED(hbeat_tcp_info_get(others[i], &info), "allowed is an open TCP socket");
    }
    hbeat_policy policy;
    REQUIRE_OK(hbeat_policy_preset(&policy, sizeof policy, "normal"));
    policy.timeout_ms = 0;
    REFUSED(hbeat_policy_keepalive(&policy, &how), "timeout_ms");
    CHECK_STATUS(hbeat_policy_keepalive(NULL, &how), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_keepalive_set(fd, NULL), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_keepalive_get(fd, NULL), HBEAT_ERR_NULL);
    CHECK_STATUS(hbeat_tcp_info_get(fd, NULL), HBEAT_ERR_NULL);
    how.struct_size = 4;
    CHECK_STATUS(hbeat_keepalive_get(fd, &how), HBEAT_ERR_SIZE);
    close(fd), close(others[2]), close(others[3]), close(pair[0]), close(pair[1]);
}
