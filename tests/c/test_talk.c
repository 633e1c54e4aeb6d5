/* What both ends of a carried link agree on, and the seal of their frames. A relay between them hands on, keeps, copies and
 * drops what they say. */
#include "check.h"
#include "story.h"

static const char SECRET[] = "sixteen or more octets", OTHER[] = "another secret, as long";

static hbeat_key key(uint32_t id, const char *secret) {
    hbeat_key made = HBEAT_KEY_INIT;
    made.id = id;
    made.bytes = secret;
    made.length = strlen(secret);
    return made;
}

static hbeat_policy parsed(const char *text) {
    hbeat_policy policy;
    REQUIRE_OK(hbeat_policy_parse(&policy, sizeof policy, text));
    return policy;
}

/* Two links of one world, and what stands between them. */
struct relay {
    struct world *world;
    hbeat_link link[2];
    int ours[2];
    unsigned char last[2][4096]; /* what the link of that number said last, at once */
    size_t length[2];
};

static hbeat_link adopt(struct world *world, int fd, const char *policy, const hbeat_key *keys, size_t count) {
    hbeat_policy parsed_policy = parsed(policy);
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link link = 0;
    how.keys = keys;
    how.key_count = count;
    REQUIRE_OK(hbeat_link_adopt(world->engine, fd, &parsed_policy, &how, &link));
    return link;
}

static void begin(struct relay *relay, struct world *world, const char *const policy[2], const hbeat_key *const keys[2]) {
    memset(relay, 0, sizeof *relay);
    relay->world = world;
    world_begin(world, TWO_LANES);
    for (int side = 0; side < 2; side++) {
        int pair[2];
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        relay->ours[side] = pair[0];
        relay->link[side] = adopt(world, pair[1], policy[side], keys[side], keys[side] != NULL);
    }
}

static void end(struct relay *relay) {
    close(relay->ours[0]), close(relay->ours[1]);
    world_end(relay->world);
}

/* Takes what a link has said; 0: nothing. */
static size_t listen_to(struct relay *relay, int side) {
    ssize_t count = recv(relay->ours[side], relay->last[side], sizeof relay->last[side], MSG_DONTWAIT);
    return count > 0 ? relay->length[side] = (size_t)count : 0;
}

static void say(struct relay *relay, int side, const void *bytes, size_t length) {
    CHECK_EQ(send(relay->ours[side], bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

static void hand_on(struct relay *relay, int from) {
    if (listen_to(relay, from)) say(relay, !from, relay->last[from], relay->length[from]);
}

static hbeat_info of(struct relay *relay, int side) { return info_of(relay->world, relay->link[side]); }

/* Until it is so, in real time; the manual clock stands. */
#define UNTIL(condition, meanwhile)                                                                                    \
    do {                                                                                                               \
        int so = 0;                                                                                                    \
        for (uint32_t waited = 0; waited < LONG_MS && !(so = (condition)); waited += 2) {                              \
            meanwhile;                                                                                                 \
            usleep(2000);                                                                                              \
        }                                                                                                              \
        if (!check_that(so, #condition, __FILE__, __LINE__)) check_leave(1);                                           \
    } while (0)
#define RELAYED(relay) (hand_on(relay, 0), hand_on(relay, 1))

/* Nothing more is said by either while the clock stands. */
static void settle(struct relay *relay) {
    for (int quiet = 0; quiet < 20; quiet++) {
        hbeat_info first = of(relay, 0), second = of(relay, 1);
        (void)first, (void)second; /* asked, so that each had a turn */
        if (listen_to(relay, 0)) say(relay, 1, relay->last[0], relay->length[0]), quiet = 0;
        if (listen_to(relay, 1)) say(relay, 0, relay->last[1], relay->length[1]), quiet = 0;
        usleep(1000);
    }
}

static void up(struct relay *relay) {
    UNTIL(of(relay, 0).state == HBEAT_STATE_UP && of(relay, 1).state == HBEAT_STATE_UP, RELAYED(relay));
    settle(relay);
}

static uint32_t number_at(const unsigned char *octets) {
    return (uint32_t)octets[0] << 24 | (uint32_t)octets[1] << 16 | (uint32_t)octets[2] << 8 | octets[3];
}

enum { NEXT_DUE = 20, HOLD = 24, HEADER = 28 };
static const hbeat_key *const UNSEALED[2] = {NULL, NULL};

TEST(both_ends_agree_and_the_header_says_so, "K220 K230") {
    struct world world;
    struct relay relay;
    const char *const policy[2] = {"interval=10s timeout=1s jitter=0% hold=12s", "interval=20s least=15s timeout=1s jitter=0% hold=60s"};
    begin(&relay, &world, policy, UNSEALED);
    UNTIL(listen_to(&relay, 0) > 0, );
    CHECK_EQ(number_at(relay.last[0] + NEXT_DUE), 10000); /* nothing is agreed yet */
    CHECK_EQ(of(&relay, 0).agreed_interval_ms, 0);
    say(&relay, 1, relay.last[0], relay.length[0]);
    up(&relay);
    hbeat_info a = of(&relay, 0), b = of(&relay, 1);
    CHECK(a.agreed_interval_ms == 15000 && a.agreed_peer_interval_ms == 20000);
    CHECK(b.agreed_interval_ms == 20000 && b.agreed_peer_interval_ms == 15000);
    CHECK(a.agreed_hold_ms == 20000 && b.agreed_peer_hold_ms == 20000);
    CHECK(b.agreed_hold_ms == 60000 && a.agreed_peer_hold_ms == 60000);
    uint64_t before = a.beats_sent;
    world_go(&world, 14999);
    settle(&relay);
    CHECK_EQ(of(&relay, 0).beats_sent, before);
    world_go(&world, 15000);
    settle(&relay); /* the last acknowledgement */
    world_go(&world, 30000);
    UNTIL(listen_to(&relay, 0) > 0, );
    CHECK(relay.length[0] == HEADER && number_at(relay.last[0] + NEXT_DUE) == 15000 && number_at(relay.last[0] + HOLD) == 20000);
    world_go(&world, 30040); /* the way takes 40 ms, there and back */
    say(&relay, 1, relay.last[0], relay.length[0]);
    settle(&relay);
    CHECK_EQ(of(&relay, 0).rtt_us, 40000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_SUSPECT, 0), 0);
    end(&relay);
}

TEST(with_a_peer_that_says_no_terms, "K221") {
    struct world world;
    int pair[2];
    unsigned char heart[64];
    world_begin(&world, TWO_LANES);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    hbeat_link link = adopt(&world, pair[0], "interval=10s timeout=1s jitter=0% least=3s", NULL, 0);
    for (int beats = 1; beats <= 3; beats++) {
        CHECK_EQ(recv(pair[1], heart, 52, MSG_WAITALL), 52); /* it goes on to say its terms */
        heart[3] = 2;
        heart[7] = HEADER;
        CHECK_EQ(send(pair[1], heart, HEADER, MSG_NOSIGNAL), HEADER);
        UNTIL(info_of(&world, link).answers_received == (uint64_t)beats, );
        hbeat_info info = info_of(&world, link);
        CHECK(info.agreed_interval_ms == 0 && info.agreed_peer_interval_ms == 0 && info.agreed_hold_ms == 0 && info.agreed_peer_hold_ms == 0);
        if (beats == 2) { /* nobody is to acknowledge it: it counts at once */
            hbeat_policy sooner = parsed("interval=4s timeout=1s jitter=0%");
            CHECK_STATUS(hbeat_link_set_policy(world.engine, link, &sooner), HBEAT_OK);
        }
        world_go(&world, beats == 1 ? 10000 : 14000);
    }
    close(pair[1]);
    world_end(&world);
}

TEST(an_answer_tells_by_its_time_which_try_it_belongs_to, "K230") {
    struct world world;
    int pair[2];
    unsigned char heart[3][52];
    world_begin(&world, TWO_LANES);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    hbeat_link link = adopt(&world, pair[0], "interval=10s timeout=1s tries=3 resend=same jitter=0%", NULL, 0);
    CHECK_EQ(recv(pair[1], heart[0], 52, MSG_WAITALL), 52);
    world_go(&world, 1000);
    CHECK_EQ(recv(pair[1], heart[1], 52, MSG_WAITALL), 52);
    world_go(&world, 2000);
    CHECK_EQ(recv(pair[1], heart[2], 52, MSG_WAITALL), 52);
    CHECK(memcmp(heart[0] + 8, heart[2] + 8, 4) == 0 && memcmp(heart[0] + 12, heart[2] + 12, 8) != 0);
    world_go(&world, 2300);
    heart[1][3] = 2, heart[1][7] = HEADER; /* the second try is answered, after the third was sent */
    CHECK_EQ(send(pair[1], heart[1], HEADER, MSG_NOSIGNAL), HEADER);
    UNTIL(info_of(&world, link).answers_received == 1, );
    CHECK_EQ(info_of(&world, link).rtt_us, 1300000);
    close(pair[1]);
    world_end(&world);
}

TEST(a_change_is_told_at_once_and_counts_when_it_is_acknowledged, "K222 K223") {
    struct world world;
    struct relay relay;
    const char *const policy[2] = {"interval=10s timeout=1s jitter=0% hold=12s", "interval=10s timeout=1s jitter=0% hold=12s"};
    begin(&relay, &world, policy, UNSEALED);
    up(&relay);
    hbeat_policy change = parsed("interval=30s least=25s timeout=1s jitter=0% hold=40s");
    CHECK_STATUS(hbeat_link_set_policy(world.engine, relay.link[0], &change), HBEAT_OK);
    UNTIL(listen_to(&relay, 0) > 0, );
    CHECK_EQ(number_at(relay.last[0] + NEXT_DUE), 10000); /* still in force */
    hbeat_info a = of(&relay, 0);
    CHECK(a.agreed_interval_ms == 10000 && a.agreed_peer_interval_ms == 25000 && a.agreed_hold_ms == 40000);
    say(&relay, 1, relay.last[0], relay.length[0]);
    settle(&relay);
    a = of(&relay, 0);
    hbeat_info b = of(&relay, 1);
    CHECK(a.agreed_interval_ms == 30000 && a.agreed_peer_interval_ms == 25000);
    CHECK(b.agreed_interval_ms == 25000 && b.agreed_peer_interval_ms == 30000);
    /* They beat on, each by the new rhythm, and nobody is given up, suspected or caught. */
    for (uint64_t ms = 1000; ms <= 200000; ms += 1000) {
        world_go(&world, ms);
        if (ms % 5000 == 0) settle(&relay);
    }
    CHECK(world_count(&world, HBEAT_EVENT_DOWN, 0) == 0 && world_count(&world, HBEAT_EVENT_STRIKE, 0) == 0);
    CHECK(of(&relay, 0).state == HBEAT_STATE_UP && of(&relay, 1).state == HBEAT_STATE_UP);
    end(&relay);
}

/* A one-way heart with terms. */
static void put_terms(unsigned char heart[52], uint16_t generation, const uint32_t times[3]) {
    static const unsigned char begins[] = {'H', 'B', 1, 1, 0, 1, 0, 52};
    memset(heart, 0, 52);
    memcpy(heart, begins, sizeof begins);
    heart[29] = 5, heart[31] = 20;
    heart[32] = (unsigned char)(generation >> 8), heart[33] = (unsigned char)generation;
    for (int i = 0; i < 3; i++)
        for (int octet = 0; octet < 4; octet++) heart[36 + 4 * i + octet] = (unsigned char)(times[i] >> (24 - 8 * octet));
}

TEST(terms_that_make_no_sense, "K224") {
    const uint32_t most = 1u << 29, edges[] = {0, 1, most, most + 1, UINT32_MAX};
    struct world world;
    int pair[2];
    unsigned char heart[52];
    world_begin(&world, TWO_LANES);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    hbeat_link link = adopt(&world, pair[0], "interval=10s timeout=1s tries=3 hold=30s jitter=0%", NULL, 0);
    uint64_t rejected = 0, sent = 0;
    for (uint16_t i = 0; i < 125; i++) {
        const uint32_t times[3] = {edges[i % 5], edges[i / 5 % 5], edges[i / 25]};
        put_terms(heart, (uint16_t)(i + 1), times);
        rejected += times[0] > most || times[1] > most || times[2] > most;
        CHECK_EQ(send(pair[1], heart, sizeof heart, MSG_NOSIGNAL), (ssize_t)sizeof heart);
        sent++;
    }
    UNTIL(info_of(&world, link).messages_received == sent, );
    hbeat_info info = info_of(&world, link);
    CHECK(info.state == HBEAT_STATE_UP && info.frames_rejected == rejected && info.beats_received == sent - rejected);
    CHECK(info.agreed_interval_ms >= 10000 && info.agreed_interval_ms <= most && info.agreed_hold_ms >= 30000);
    hbeat_stats stats;
    stats.struct_size = sizeof stats;
    CHECK_STATUS(hbeat_engine_stats(world.engine, &stats), HBEAT_OK);
    CHECK_EQ(stats.frames_rejected, rejected);
    close(pair[1]);
    world_end(&world);
}

TEST(both_ends_have_the_key, "K225 K230") {
    struct world world;
    struct relay relay;
    hbeat_key mine = key(0x01020304, SECRET);
    const char *const policy[2] = {"interval=10s timeout=1s jitter=0%", "interval=1h timeout=1s jitter=0%"};
    const hbeat_key *const keys[2] = {&mine, &mine};
    begin(&relay, &world, policy, keys);
    up(&relay);
    CHECK(of(&relay, 0).agreed_peer_interval_ms == 3600000 && of(&relay, 0).frames_unauthenticated == 0);
    world_go(&world, 10000);
    settle(&relay); /* the last acknowledgement */
    for (int beats = 2; beats <= 100; beats++) {
        world_go(&world, (uint64_t)beats * 10000);
        UNTIL(listen_to(&relay, 0) > 0, );
        const unsigned char *seal = relay.last[0] + relay.length[0] - 32, begins[] = {0x80, 4, 0, 28, 1, 2, 3, 4};
        CHECK_EQ(relay.length[0], HEADER + 20 + 32);
        CHECK(memcmp(seal, begins, sizeof begins) == 0);
        say(&relay, 1, relay.last[0], relay.length[0]);
        UNTIL(listen_to(&relay, 1) > 0, );
        CHECK_EQ(relay.length[1], HEADER + 20 + 32);
        say(&relay, 0, relay.last[1], relay.length[1]);
    }
    settle(&relay);
    CHECK(of(&relay, 0).answers_received > 100 && of(&relay, 0).rtt_us == 0);
    CHECK(world_count(&world, HBEAT_EVENT_SUSPECT, 0) == 0 && of(&relay, 1).frames_unauthenticated == 0);
    end(&relay);
}

TEST(ends_that_do_not_answer_agree_as_well, "K222 K225") {
    struct world world;
    struct relay relay;
    hbeat_key mine = key(1, SECRET);
    const char *const one_way = "interval=10s timeout=1s hold=30s answer_expected=no jitter=0%";
    const char *const policy[2] = {one_way, one_way};
    const hbeat_key *const keys[2] = {&mine, &mine};
    begin(&relay, &world, policy, keys);
    up(&relay); /* each is told its number by a beat out of turn */
    CHECK(of(&relay, 0).agreed_interval_ms == 10000 && of(&relay, 1).agreed_peer_interval_ms == 10000);
    hbeat_policy change = parsed("interval=40s timeout=1s hold=30s answer_expected=no jitter=0%");
    CHECK_STATUS(hbeat_link_set_policy(world.engine, relay.link[0], &change), HBEAT_OK);
    UNTIL(of(&relay, 0).agreed_interval_ms == 40000 && of(&relay, 1).agreed_peer_interval_ms == 40000, RELAYED(&relay));
    for (uint64_t ms = 1000; ms <= 200000; ms += 1000) {
        world_go(&world, ms);
        if (ms % 5000 == 0) settle(&relay);
    }
    CHECK(of(&relay, 0).state == HBEAT_STATE_UP && of(&relay, 1).state == HBEAT_STATE_UP);
    CHECK(of(&relay, 0).frames_unauthenticated == 0 && of(&relay, 1).frames_unauthenticated == 0);
    /* Both say little once all is said. */
    CHECK(of(&relay, 0).beats_sent < 20 && of(&relay, 1).beats_sent < 40);
    end(&relay);
}

/* A link that is not heard is given up for this cause at this end. */
static void given_up(const hbeat_key *ours, const hbeat_key *theirs, uint32_t cause, uint32_t their_cause) {
    struct world world;
    struct relay relay;
    const char *const policy[2] = {"interval=10s timeout=1s tries=3", "interval=10s timeout=1s tries=3"};
    const hbeat_key *const keys[2] = {ours, theirs};
    begin(&relay, &world, policy, keys);
    for (uint64_t ms = 0; ms <= 3000; ms += 500) {
        world_go(&world, ms);
        settle(&relay);
    }
    CHECK(of(&relay, 0).state == HBEAT_STATE_DOWN && of(&relay, 1).state == HBEAT_STATE_DOWN);
    CHECK_EQ(of(&relay, 0).cause, cause);
    CHECK_EQ(of(&relay, 1).cause, their_cause);
    CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, relay.link[0], 0)->cause, cause);
    CHECK(of(&relay, 0).frames_unauthenticated >= 3 && world_count(&world, HBEAT_EVENT_UP, 0) == 0);
    CHECK((of(&relay, 1).frames_rejected >= 3) == (their_cause == HBEAT_CAUSE_PROTOCOL_ERROR));
    hbeat_stats stats;
    stats.struct_size = sizeof stats;
    CHECK_STATUS(hbeat_engine_stats(world.engine, &stats), HBEAT_OK);
    CHECK(stats.frames_unauthenticated == of(&relay, 0).frames_unauthenticated + of(&relay, 1).frames_unauthenticated);
    end(&relay);
}

TEST(who_has_no_key_is_not_heard, "K226 K227") {
    hbeat_key right = key(1, SECRET), wrong = key(1, OTHER), unknown = key(2, SECRET);
    given_up(&right, &wrong, HBEAT_CAUSE_UNAUTHENTICATED, HBEAT_CAUSE_UNAUTHENTICATED);
    given_up(&right, &unknown, HBEAT_CAUSE_UNAUTHENTICATED, HBEAT_CAUSE_UNAUTHENTICATED);
    given_up(&right, NULL, HBEAT_CAUSE_UNAUTHENTICATED, HBEAT_CAUSE_PROTOCOL_ERROR);
}

TEST(what_is_sent_again_is_no_sign_of_life, "K226 K227") {
    struct world world;
    struct relay relay;
    hbeat_key mine = key(1, SECRET);
    const char *const policy[2] = {"interval=10s timeout=1s tries=3 jitter=0%", "interval=10s timeout=1s tries=3 jitter=0%"};
    const hbeat_key *const keys[2] = {&mine, &mine};
    begin(&relay, &world, policy, keys);
    world_go(&world, 1);
    up(&relay);
    unsigned char copy[4096];
    size_t length = relay.length[0];
    memcpy(copy, relay.last[0], length);
    /* From here on the other end hears nothing but what it heard before, its own words, and the beginning of a frame. */
    for (uint64_t ms = 10000; ms <= 13000; ms += 500) {
        world_go(&world, ms);
        uint64_t before = of(&relay, 1).frames_unauthenticated;
        if (listen_to(&relay, 1)) say(&relay, 1, relay.last[1], relay.length[1]);
        say(&relay, 1, copy, length);
        UNTIL(of(&relay, 1).frames_unauthenticated > before || of(&relay, 1).state == HBEAT_STATE_DOWN, );
        if (ms == 10500) CHECK_EQ(of(&relay, 1).last_received_ms, 10499);
    }
    world_go(&world, 13001);
    UNTIL(of(&relay, 1).state == HBEAT_STATE_DOWN, );
    CHECK_EQ(of(&relay, 1).cause, HBEAT_CAUSE_UNAUTHENTICATED);
    CHECK_EQ(of(&relay, 1).last_received_ms, 13000);
    end(&relay);
}

TEST(bytes_without_a_seal_are_no_sign_of_life, "K226") {
    struct world world;
    struct relay relay;
    hbeat_key mine = key(1, SECRET);
    const char *const policy[2] = {"interval=10s timeout=1s tries=3 jitter=0%", "interval=10s timeout=1s tries=3 jitter=0%"};
    const hbeat_key *const keys[2] = {&mine, &mine};
    static const unsigned char begins[] = {'H', 'B', 1, 1, 0, 1, 0, 200};
    begin(&relay, &world, policy, keys);
    world_go(&world, 1);
    up(&relay);
    for (uint64_t at = 0; at < 8; at++) {
        world_go(&world, 9000 + at * 100);
        uint64_t before = of(&relay, 1).bytes_received;
        say(&relay, 1, begins + at, 1);
        UNTIL(of(&relay, 1).bytes_received == before + 1, );
    }
    CHECK_EQ(of(&relay, 1).last_received_ms, 9699);
    end(&relay);
}

TEST(keys_are_changed_without_a_gap, "K228") {
    struct world world;
    struct relay relay;
    const hbeat_key old_new[] = {key(1, SECRET), key(2, OTHER)}, new_old[] = {key(2, OTHER), key(1, SECRET)};
    const struct {
        const hbeat_key *keys;
        size_t count;
    } steps[] = {{old_new, 2}, {new_old, 2}, {new_old, 1}};
    const char *const policy[2] = {"interval=10s timeout=1s tries=1 jitter=0%", "interval=10s timeout=1s tries=1 jitter=0%"};
    const hbeat_key *const keys[2] = {old_new, old_new};
    begin(&relay, &world, policy, keys);
    up(&relay);
    uint64_t ms = 0;
    for (int step = 0; step < 3; step++) {
        for (int side = 0; side < 2; side++) {
            CHECK_STATUS(hbeat_link_set_keys(world.engine, relay.link[side], steps[step].keys, steps[step].count), HBEAT_OK);
            world_go(&world, ms += 10000);
            settle(&relay);
            CHECK(of(&relay, 0).state == HBEAT_STATE_UP && of(&relay, 1).state == HBEAT_STATE_UP);
        }
    }
    CHECK(of(&relay, 0).frames_unauthenticated == 0 && of(&relay, 1).frames_unauthenticated == 0);
    CHECK(of(&relay, 0).beats_sent + of(&relay, 1).beats_sent >= 8);
    /* One end goes on with what the other does not have. */
    CHECK_STATUS(hbeat_link_set_keys(world.engine, relay.link[0], old_new, 1), HBEAT_OK);
    world_go(&world, ms += 10000);
    settle(&relay);
    world_go(&world, ms += 1000);
    UNTIL(of(&relay, 0).state == HBEAT_STATE_DOWN && of(&relay, 1).state == HBEAT_STATE_DOWN, );
    CHECK(of(&relay, 0).cause == HBEAT_CAUSE_UNAUTHENTICATED && of(&relay, 1).cause == HBEAT_CAUSE_UNAUTHENTICATED);
    end(&relay);
}

#define REFUSED(call, status, part)                                                                                    \
    do {                                                                                                               \
        CHECK_STATUS(call, status);                                                                                    \
        CHECK_TEXT(hbeat_last_error(), part);                                                                          \
    } while (0)

TEST(keys_that_cannot_be_used, "K229 K90 K91") {
    struct world world;
    world_begin(&world, TWO_LANES);
    hbeat_engine *engine = world.engine;
    hbeat_policy policy = parsed("normal");
    hbeat_link link = 0, sealed, plain;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_key keys[3] = {key(1, SECRET), key(2, OTHER), key(3, SECRET)};
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    sealed = adopt(&world, pair[0], "normal", keys, 2);
    plain = adopt(&world, pair[1], "normal", NULL, 0);
    how.keys = keys;
    REFUSED(hbeat_link_dial(engine, "tcp://127.0.0.1:9", &policy, &how, &link), HBEAT_ERR_INVALID, "key_count is 0");
    how.key_count = 3;
    REFUSED(hbeat_link_dial(engine, "tcp://127.0.0.1:9", &policy, &how, &link), HBEAT_ERR_INVALID, "key_count is 3");
    how.keys = NULL;
    REFUSED(hbeat_link_dial(engine, "tcp://127.0.0.1:9", &policy, &how, &link), HBEAT_ERR_NULL, "keys is NULL");
    how.keys = keys, how.key_count = 1;
    REFUSED(hbeat_link_open(engine, &policy, &how, &link), HBEAT_ERR_INVALID, "keys must be NULL");
    how.protocol = "cmpp";
    REFUSED(hbeat_link_dial(engine, "tcp://127.0.0.1:9", &policy, &how, &link), HBEAT_ERR_INVALID, "cmpp");
    int cmpp[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, cmpp) == 0);
    REFUSED(hbeat_link_adopt(engine, cmpp[0], &policy, &how, &link), HBEAT_ERR_INVALID, "only \"heart\" has a seal");
    CHECK(fcntl(cmpp[0], F_GETFD) >= 0);
    close(cmpp[0]), close(cmpp[1]);

    REFUSED(hbeat_link_set_keys(engine, sealed, NULL, 0), HBEAT_ERR_NULL, "keys is NULL");
    REFUSED(hbeat_link_set_keys(engine, sealed, NULL, 1), HBEAT_ERR_NULL, "keys is NULL");
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, 0), HBEAT_ERR_INVALID, "count is 0");
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, SIZE_MAX), HBEAT_ERR_INVALID, "allowed is 1 or 2");
    REFUSED(hbeat_link_set_keys(engine, plain, keys, 1), HBEAT_ERR_WRONG_MODE, "opened without keys");
    keys[1].id = 1;
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, 2), HBEAT_ERR_INVALID, "both keys have the id 1");
    keys[1].id = 2;
    keys[1].length = 15;
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, 2), HBEAT_ERR_INVALID, "key 2 has 15 octets, allowed is 16 to 64");
    keys[1].length = 65;
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, 2), HBEAT_ERR_INVALID, "key 2 has 65 octets");
    keys[1].length = SIZE_MAX;
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, 2), HBEAT_ERR_INVALID, "more than there can be");
    keys[1].bytes = NULL;
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, 2), HBEAT_ERR_NULL, "keys[1].bytes is NULL");
    keys[1] = key(2, OTHER);
    keys[1].struct_size += 8;
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, 2), HBEAT_ERR_SIZE, "keys[1].struct_size");
    keys[0].struct_size = 8;
    REFUSED(hbeat_link_set_keys(engine, sealed, keys, 1), HBEAT_ERR_SIZE, "keys[0].struct_size is 8");
    REFUSED(hbeat_link_set_keys(NULL, sealed, keys, 1), HBEAT_ERR_NULL, "engine is NULL");

    /* Of a later version: larger, and one after another at that distance. */
    struct {
        hbeat_key known;
        uint64_t later;
    } larger[2] = {{key(1, SECRET), 0}, {key(2, OTHER), 0}};
    larger[0].known.struct_size = larger[1].known.struct_size = sizeof larger[0];
    CHECK_STATUS(hbeat_link_set_keys(engine, sealed, &larger[0].known, 2), HBEAT_OK);
    larger[1].later = 1;
    REFUSED(hbeat_link_set_keys(engine, sealed, &larger[0].known, 2), HBEAT_ERR_UNSUPPORTED, "keys[1]");
    CHECK_STATUS(hbeat_link_close(engine, sealed), HBEAT_OK);
    keys[0] = key(1, SECRET);
    CHECK_STATUS(hbeat_link_set_keys(engine, sealed, keys, 1), HBEAT_ERR_NO_LINK);
    CHECK_EQ(link, 0);
    world_end(&world);
}
