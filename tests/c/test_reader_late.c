/* A late reader is not a dead peer. */
#include "check.h"
#include "story.h"

struct line_to_peer {
    int ours, peers;
};

static struct line_to_peer connect_peer(void) {
    struct line_to_peer line;
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    line.ours = pair[0];
    line.peers = pair[1];
    return line;
}

static hbeat_link observe(struct world *world, const hbeat_policy *policy, int fd, const char *name) {
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    options.name = name;
    options.protocol = "cmpp";
    options.fd = fd;
    return open_with(world, policy, &options);
}

TEST(unread_bytes_hold_the_verdict_up, "K83 K84 K85") {
    const int ways[] = {TWO_LANES, PULLED, DRIVEN};
    for (int w = 0; w < 3; w++) {
        struct world world;
        struct line_to_peer line = connect_peer();
        unsigned char bytes[64];
        world_begin(&world, ways[w]);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = observe(&world, &policy, line.ours, "a");
        world_go(&world, 10500);
        size_t length = cmpp_frame(bytes, CMPP_ANSWER, info_of(&world, link).sequence);
        REQUIRE(write(line.peers, bytes, length) == (ssize_t)length); /* answered, but our reader is busy elsewhere */
        world_go(&world, 25000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_LOCAL_READER_LATE, link), 1);
        const hbeat_event *late = world_event(&world, HBEAT_EVENT_LOCAL_READER_LATE, link, 0);
        CHECK_EQ(ms_of(late->at_ns), 12000); /* where the first miss would have been */
        CHECK_EQ(late->unread_bytes, (long long)length);
        CHECK_EQ(late->state, HBEAT_STATE_UP);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, link), 0);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
        CHECK_EQ(info_of(&world, link).unread_bytes, (long long)length);

        /* The reader is back: every byte is still there. */
        unsigned char got[64];
        REQUIRE(read(line.ours, got, sizeof got) == (ssize_t)length);
        CHECK(memcmp(got, bytes, length) == 0);
        CHECK_STATUS(hbeat_link_feed(world.engine, link, got, length, 0), HBEAT_OK);
        world_go(&world, 34000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, link), 0);

        /* Then the peer really dies. */
        world_go(&world, 100000);
        const long end[] = {41000, -1};
        CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
        CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_NO_ANSWER);
        CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->unread_bytes, 0);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_LOCAL_READER_LATE, link), 1);
        world_end(&world);
        CHECK(write(line.peers, "x", 1) == 1); /* still open: hbeat closed nothing */
        CHECK(read(line.ours, got, sizeof got) == 1);
        close(line.ours);
        close(line.peers);
    }
}

TEST(bytes_that_are_read_and_prove_nothing, "K84") {
    struct world world;
    struct line_to_peer line = connect_peer();
    char byte;
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = observe(&world, &policy, line.ours, "a");
    world_go(&world, 11000);
    REQUIRE(write(line.peers, "x", 1) == 1);
    world_go(&world, 15000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_LOCAL_READER_LATE, link), 1);
    REQUIRE(read(line.ours, &byte, 1) == 1); /* read, but no message came of it */
    world_go(&world, 60000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    long long at = ms_of(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->at_ns);
    CHECK(at > 16000 && at <= 15000 + 2 * 2000 + 3 * 2000); /* a grace, and then the tries that were left */
    world_end(&world);
    close(line.ours);
    close(line.peers);
}

TEST(bytes_that_nobody_ever_reads, "K83 K84") {
    const uint32_t limits[] = {0, 6000};
    for (int i = 0; i < 2; i++) {
        struct world world;
        struct line_to_peer line = connect_peer();
        world_begin(&world, TWO_LANES);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        policy.late_reader_limit_ms = limits[i];
        hbeat_link link = observe(&world, &policy, line.ours, "a");
        REQUIRE(write(line.peers, "x", 1) == 1);
        uint32_t limit = limits[i] ? limits[i] : 20000;
        world_go(&world, 12000 + limit - 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, link), 0);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 0);
        world_go(&world, 12000 + limit + 3 * 2000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_LOCAL_READER_LATE, link), 1);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        world_end(&world);
        close(line.ours);
        close(line.peers);
    }
}

TEST(a_full_send_queue_is_named, "K69") {
    struct world world;
    struct line_to_peer line = connect_peer();
    char filler[4096];
    memset(filler, 'x', sizeof filler);
    while (send(line.ours, filler, sizeof filler, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
    }
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = observe(&world, &policy, line.ours, "a");
    world_go(&world, 60000);
    const hbeat_event *down = world_event(&world, HBEAT_EVENT_DOWN, link, 0);
    CHECK_EQ(down->cause, HBEAT_CAUSE_SEND_STUCK);
    CHECK_EQ(ms_of(down->at_ns), 16000);
    CHECK(down->send_queue_bytes > 0);
    world_end(&world);
    close(line.ours);
    close(line.peers);
}

TEST(a_descriptor_that_is_closed_behind_our_back, "K85 K101") {
    struct world world;
    struct line_to_peer line = connect_peer(), other = connect_peer();
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link link = observe(&world, &policy, line.ours, "a"), neighbour = observe(&world, &policy, other.ours, "b");
    world_go(&world, 1000);
    close(line.ours);
    char byte;
    CHECK_EQ(recv(line.peers, &byte, 1, MSG_DONTWAIT), 0); /* the peer sees the end: nobody holds a duplicate */
    world_go(&world, 11000);
    CHECK_STATUS(hbeat_link_received(world.engine, neighbour, 0), HBEAT_OK);
    world_go(&world, 20000);
    const long end[] = {16000, -1};
    CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->unread_bytes, -1);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->send_queue_bytes, -1);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, neighbour), 0);
    world_end(&world);
    close(line.peers);
    close(other.ours);
    close(other.peers);
}
