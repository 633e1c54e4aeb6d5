/* Many threads at once: opens by the million where there is no room for them, and ids that are no link (any more)
 * while links come and go. tests/stress/run.py runs this file under ThreadSanitizer, too. */
#include "check.h"
#include "story.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { LINKS = 1000, OPENERS = 4, CLOSES = 100 };
enum { ATTEMPTS = SANITIZED ? 40000 : 500000 }; /* of each opener */

/* A story ends with its first failure where there could be millions. */
#define ONCE(check)                                                                                                    \
    do {                                                                                                               \
        if (!(check)) check_leave(1);                                                                                  \
    } while (0)

/* What an application has behind a link. */
struct member {
    hbeat_link link;
    int sends, suspects, downs, closed;
    uint64_t down_at_ns;
    int told; /* something was received */
};

struct opener {
    struct crowd *crowd;
    int closes; /* how many of its own links it closes on the way */
    uint64_t limit, again;
    pthread_t thread;
};

struct crowd {
    struct world world; /* first: it is the engine's data */
    hbeat_policy policy;
    struct member *members;
    int used, opened, closes;
};

static void on_member(void *data, const hbeat_event *event) {
    struct member *member = (struct member *)event->link_data;
    size_t length = 0;
    if (event->type == HBEAT_EVENT_SEND) {
        __atomic_add_fetch(&member->sends, 1, __ATOMIC_SEQ_CST);
        hbeat_link_take(((struct world *)data)->engine, event->link, NULL, 0, NULL, 0, &length);
    } else if (event->type == HBEAT_EVENT_DOWN) {
        __atomic_add_fetch(&member->downs, 1, __ATOMIC_SEQ_CST);
        member->down_at_ns = event->at_ns;
    } else if (event->type == HBEAT_EVENT_SUSPECT) {
        __atomic_add_fetch(&member->suspects, 1, __ATOMIC_SEQ_CST);
    } else if (event->type == HBEAT_EVENT_CLOSED) {
        __atomic_add_fetch(&member->closed, 1, __ATOMIC_SEQ_CST);
    }
}

/* An engine with room for LINKS links, and more members than will ever be open. */
static void crowd_begin(struct crowd *crowd, int way, uint32_t open_queue) {
    memset(crowd, 0, sizeof *crowd);
    hbeat_engine_options options = world_options(&crowd->world, way, HBEAT_CLOCK_MANUAL);
    options.threads = 2;
    options.max_links = LINKS;
    options.open_queue = open_queue;
    options.on_event = on_member;
    options.on_send = on_member;
    crowd->policy = policy_of(10000, 2000, 2);
    crowd->members = (struct member *)calloc(4 * LINKS, sizeof(struct member));
    REQUIRE(crowd->members != NULL);
    world_open(&crowd->world, &options);
}

static void crowd_end(struct crowd *crowd) {
    struct member *members = crowd->members;
    world_end(&crowd->world);
    for (int i = 0; i < crowd->used; i++) CHECK_EQ(members[i].closed, members[i].link != 0);
    free(members);
}

static hbeat_status open_member(struct crowd *crowd, struct member *member) {
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link link = 0;
    how.link_data = member;
    hbeat_status status = hbeat_link_open(crowd->world.engine, &crowd->policy, &how, &link);
    if (status == HBEAT_OK) {
        __atomic_store_n(&member->link, link, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&crowd->opened, 1, __ATOMIC_SEQ_CST);
    } else {
        ONCE(CHECK_EQ(link, 0));
    }
    return status;
}

static struct member *next_member(struct crowd *crowd) {
    int at = __atomic_fetch_add(&crowd->used, 1, __ATOMIC_SEQ_CST);
    REQUIRE(at < 4 * LINKS);
    return &crowd->members[at];
}

/* Opens and opens; each refusal has its sentence. */
static void *open_by_the_million(void *data) {
    struct opener *mine = (struct opener *)data;
    struct crowd *crowd = mine->crowd;
    struct member *spare = next_member(crowd), *own[LINKS];
    int owned = 0;
    for (int i = 0; i < ATTEMPTS; i++) {
        hbeat_status status = open_member(crowd, spare);
        if (status == HBEAT_OK) {
            if (owned < LINKS) own[owned++] = spare;
            spare = next_member(crowd);
        } else if (status == HBEAT_ERR_LIMIT) {
            mine->limit++;
            ONCE(CHECK_TEXT(hbeat_last_error(), "max_links = 1000"));
        } else {
            mine->again++;
            ONCE(CHECK_STATUS(status, HBEAT_ERR_AGAIN));
            ONCE(CHECK_TEXT(hbeat_last_error(), "open_queue = "));
        }
        if (i % 256 == 255 && mine->closes > 0 && owned > 0) {
            mine->closes--;
            owned--;
            CHECK_STATUS(hbeat_link_close(crowd->world.engine, own[owned]->link), HBEAT_OK);
            __atomic_add_fetch(&crowd->closes, 1, __ATOMIC_SEQ_CST);
        }
    }
    return NULL;
}

/* All openers at once; how many of their opens were refused for the one reason and for the other. */
static void open_at_once(struct crowd *crowd, int closes, uint64_t *limit, uint64_t *again) {
    struct opener openers[OPENERS];
    *limit = *again = 0;
    for (int i = 0; i < OPENERS; i++) {
        struct opener opener = {crowd, closes, 0, 0, 0};
        openers[i] = opener;
        REQUIRE(pthread_create(&openers[i].thread, NULL, open_by_the_million, &openers[i]) == 0);
    }
    for (int i = 0; i < OPENERS; i++) {
        pthread_join(openers[i].thread, NULL);
        *limit += openers[i].limit;
        *again += openers[i].again;
    }
}

/* Opens until all room is taken. */
static void fill(struct crowd *crowd) {
    hbeat_status status = HBEAT_OK;
    while (status != HBEAT_ERR_LIMIT) {
        status = open_member(crowd, next_member(crowd));
        if (status == HBEAT_ERR_AGAIN) world_settle(&crowd->world);
    }
}

/* As many are open as may be, and everybody says so. */
static void is_full(struct crowd *crowd) {
    hbeat_link page[300], after = 0;
    hbeat_stats stats;
    uint32_t count = 0, listed = 0;
    hbeat_status status;
    memset(&stats, 0, sizeof stats);
    stats.struct_size = sizeof stats;
    REQUIRE_OK(hbeat_engine_stats(crowd->world.engine, &stats));
    CHECK_EQ(stats.opened, crowd->opened);
    CHECK_EQ(stats.closed, crowd->closes);
    CHECK_EQ(stats.links_up + stats.links_suspect + stats.links_down, LINKS);
    CHECK_EQ(crowd->opened - crowd->closes, LINKS);
    CHECK_EQ(health_of(&crowd->world).links, LINKS);
    do {
        status = hbeat_engine_links(crowd->world.engine, after, page, 300, &count);
        REQUIRE(status == HBEAT_OK || status == HBEAT_INFO_MORE);
        listed += count;
        if (count > 0) after = page[count - 1];
    } while (status == HBEAT_INFO_MORE);
    CHECK_EQ(listed, LINKS);
}

static long resident_kb(void) {
    long whole = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file && fscanf(file, "%ld %ld", &whole, &pages) == 2);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* A refused open leaves nothing behind. A byte of each would be seen; a sanitizer's malloc keeps what is freed. */
static void grew_little(long before_kb) {
    long grown_kb = resident_kb() - before_kb;
    if (!SANITIZED && grown_kb > 1024) CHECK_EQ(grown_kb, 1024);
}

TEST(millions_of_opens_past_max_links, "K103 K104 K108 K21") {
    struct crowd crowd;
    uint64_t limit = 0, again = 0;
    crowd_begin(&crowd, TWO_LANES, 64);
    fill(&crowd);
    is_full(&crowd);
    long before_kb = resident_kb();
    open_at_once(&crowd, 0, &limit, &again);
    CHECK_EQ(limit, (uint64_t)OPENERS * ATTEMPTS);
    grew_little(before_kb);
    is_full(&crowd);

    /* Each still gets its events: the half that is heard from lives, the other does not. */
    for (int i = 0; i < crowd.used; i++) crowd.members[i].told = i % 2;
    world_go(&crowd.world, 11000);
    for (int i = 0; i < crowd.used; i++) {
        struct member *member = &crowd.members[i];
        if (member->link && member->told) CHECK_STATUS(hbeat_link_received(crowd.world.engine, member->link, 0), HBEAT_OK);
    }
    world_go(&crowd.world, 20000);
    for (int i = 0; i < crowd.used; i++) {
        struct member *member = &crowd.members[i];
        if (!member->link) continue;
        CHECK_EQ(member->sends, member->told ? 1 : 2);
        CHECK_EQ(member->suspects, !member->told);
        CHECK_EQ(member->downs, !member->told);
        if (!member->told) CHECK_EQ(ms_of(member->down_at_ns), 14000);
    }
    crowd_end(&crowd);
    CHECK_EQ(crowd.opened, LINKS);
}

TEST(what_is_closed_makes_room_for_whoever_comes_first, "K103 K21 K18") {
    struct crowd crowd;
    uint64_t limit = 0, again = 0;
    crowd_begin(&crowd, TWO_LANES, 64);
    open_at_once(&crowd, CLOSES, &limit, &again);
    CHECK(crowd.closes > 0 && limit > 0);
    world_settle(&crowd.world); /* the last event of each is handed out */
    fill(&crowd);
    is_full(&crowd);
    int gone = 0;
    for (int i = 0; i < crowd.used; i++) gone += crowd.members[i].closed;
    CHECK_EQ(gone, crowd.closes);
    crowd_end(&crowd);
}

/* Nobody turns the engine meanwhile: the queue fills, and no more are opened than it holds. */
TEST(millions_of_opens_past_open_queue, "K104 K103") {
    struct crowd crowd;
    uint64_t limit = 0, again = 0;
    crowd_begin(&crowd, DRIVEN, 300);
    for (int turns = 1; turns <= 4; turns++) {
        int room = turns < 4 ? 300 : LINKS - 900;
        open_at_once(&crowd, 0, &limit, &again);
        CHECK_EQ(crowd.opened, turns < 4 ? 300 * turns : LINKS);
        CHECK_EQ(limit + again, (uint64_t)OPENERS * ATTEMPTS - (uint64_t)room);
        CHECK(turns < 4 ? again > 0 : limit > 0);
        CHECK_EQ(health_of(&crowd.world).links, crowd.opened);
        world_settle(&crowd.world);
    }
    is_full(&crowd);
    crowd_end(&crowd);
}

/* ---- Ids that are no link ---- */

enum { HAMMERS = 8, STORMERS = 2, KEPT = 32, RECENT = 128, BLOWS = SANITIZED ? 20000 : 200000 };

/* Whom the hammers hit. */
struct anvil {
    struct world world; /* first: it is the engine's data */
    hbeat_link kept[KEPT], foreign[KEPT];
    hbeat_link coming_and_going[RECENT], gone[RECENT]; /* open or closed; closed for sure */
    int ended;
    uint64_t blows, closes;
    hbeat_policy policy;
};

struct hammer {
    struct anvil *anvil;
    uint64_t random, least; /* how many blows at least */
    pthread_t thread;
};

static uint64_t draw(uint64_t *random) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static uint64_t count_of(uint64_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }

static hbeat_link link_at(hbeat_link *links, uint64_t random, int count) {
    return __atomic_load_n(&links[random % (uint64_t)count], __ATOMIC_SEQ_CST);
}

enum victim { LIVES, MAY_LIVE, GONE, FOREIGN, MADE_UP, ZERO, VICTIMS };

static hbeat_link victim_of(struct anvil *anvil, enum victim kind, uint64_t random) {
    switch (kind) {
    case LIVES: return link_at(anvil->kept, random, KEPT);
    case MAY_LIVE: return link_at(anvil->coming_and_going, random, RECENT);
    case GONE: return link_at(anvil->gone, random, RECENT);
    case FOREIGN: return link_at(anvil->foreign, random, KEPT);
    case MADE_UP: return random;
    default: return 0;
    }
}

static hbeat_status strike(struct anvil *anvil, uint64_t how, hbeat_link link) {
    hbeat_link twice[2] = {link, link};
    switch (how % 3) {
    case 0: return hbeat_link_received(anvil->world.engine, link, 0);
    case 1: return hbeat_links_received(anvil->world.engine, twice, 2, 0);
    default: return hbeat_link_sent(anvil->world.engine, link, 0);
    }
}

/* A link that is open is OK, one that is none is NO_LINK, and nothing is ever anything else. */
static void *hammer_on(void *data) {
    struct hammer *hammer = (struct hammer *)data;
    struct anvil *anvil = hammer->anvil;
    for (uint64_t blows = 0; blows < hammer->least || !load(&anvil->ended); blows++) {
        uint64_t random = draw(&hammer->random);
        enum victim kind = (enum victim)((random >> 40) % VICTIMS);
        hbeat_link link = victim_of(anvil, kind, random);
        hbeat_status status = strike(anvil, random >> 20, link);
        if (status != HBEAT_OK || kind != MAY_LIVE) ONCE(CHECK_STATUS(status, kind == LIVES ? HBEAT_OK : HBEAT_ERR_NO_LINK));
        __atomic_add_fetch(&anvil->blows, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* Opens a link in the place of another, which it closes, and says so. */
static void *storm_on(void *data) {
    struct hammer *stormer = (struct hammer *)data;
    struct anvil *anvil = stormer->anvil;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    while (!load(&anvil->ended)) {
        uint64_t random = draw(&stormer->random);
        hbeat_link link = 0, before;
        hbeat_status status = hbeat_link_open(anvil->world.engine, &anvil->policy, &how, &link);
        if (status != HBEAT_OK) { /* until the last events of others are handed out, and their places have rested */
            CHECK(status == HBEAT_ERR_AGAIN || status == HBEAT_ERR_LIMIT);
            sleep_ms(1);
            continue;
        }
        before = __atomic_exchange_n(&anvil->coming_and_going[random % RECENT], link, __ATOMIC_SEQ_CST);
        if (!before) continue;
        CHECK_STATUS(hbeat_link_close(anvil->world.engine, before), HBEAT_OK);
        __atomic_store_n(&anvil->gone[random % RECENT], before, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&anvil->closes, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void anvil_begin(struct anvil *anvil, struct world *bystander) {
    memset(anvil, 0, sizeof *anvil);
    hbeat_engine_options options = world_options(&anvil->world, TWO_LANES, HBEAT_CLOCK_MANUAL);
    options.threads = 2;
    options.max_links = 1024;
    anvil->world.react = take_notices;
    world_open(&anvil->world, &options);
    world_begin(bystander, TWO_LANES);
    anvil->policy = policy_of(10000, 2000, 2);
    for (int i = 0; i < KEPT; i++) anvil->foreign[i] = open_named(bystander, &anvil->policy, NULL, "none");
}

static void hammers_begin(struct anvil *anvil, struct hammer *hammers, int count, void *(*body)(void *), uint64_t least) {
    for (int i = 0; i < count; i++) {
        struct hammer hammer = {anvil, 88172645463325252ull + (uint64_t)i * 0x9e3779b97f4a7c15ull, least, 0};
        hammers[i] = hammer;
        REQUIRE(pthread_create(&hammers[i].thread, NULL, body, &hammers[i]) == 0);
    }
}

static void hammers_end(struct hammer *hammers, int count) {
    for (int i = 0; i < count; i++) pthread_join(hammers[i].thread, NULL);
}

/* Nobody has ever told the other engine anything. */
static void is_untouched(struct world *bystander, struct anvil *anvil) {
    for (int i = 0; i < KEPT; i++) {
        CHECK_EQ(info_of(bystander, anvil->foreign[i]).last_received_ms, HBEAT_UNKNOWN);
        CHECK_EQ(info_of(bystander, anvil->foreign[i]).last_sent_ms, HBEAT_UNKNOWN);
    }
}

TEST(wrong_ids_in_a_storm_of_opens_and_closes, "K19 K24 K92 K250") {
    static struct anvil anvil;
    struct world bystander;
    struct hammer hammers[HAMMERS], stormers[STORMERS];
    anvil_begin(&anvil, &bystander);
    anvil.policy = policy_of(400000000, 1000, 2); /* nothing is due for days */
    for (int i = 0; i < KEPT; i++) anvil.kept[i] = open_named(&anvil.world, &anvil.policy, NULL, "none");
    hammers_begin(&anvil, stormers, STORMERS, storm_on, 0);
    hammers_begin(&anvil, hammers, HAMMERS, hammer_on, BLOWS);
    /* Until each place was used several times. They rest for a second of the engine's: its clock must go on. */
    for (uint64_t second = 1; count_of(&anvil.blows) < (uint64_t)HAMMERS * BLOWS || count_of(&anvil.closes) < 20000; second++) {
        REQUIRE_OK(hbeat_engine_advance(anvil.world.engine, ns_of(second * 1000)));
        sleep_ms(1);
    }
    store(&anvil.ended, 1);
    hammers_end(hammers, HAMMERS);
    hammers_end(stormers, STORMERS);
    is_untouched(&bystander, &anvil);
    world_end(&anvil.world);
    world_end(&bystander);
}

/* An id says which place its link has: in all but the bits that tell one link in it from the next. */
static int same_place(hbeat_link one, hbeat_link other) { return ((one ^ other) & ~(0xfffffffull << 28)) == 0; }

TEST(a_stale_id_keeps_nobody_alive, "K19 K24 K63") {
    static struct anvil anvil;
    struct world bystander;
    struct hammer hammers[HAMMERS];
    hbeat_link heirs[RECENT];
    anvil_begin(&anvil, &bystander);
    for (int i = 0; i < KEPT; i++) anvil.kept[i] = open_named(&anvil.world, &anvil.policy, NULL, "none");
    for (int i = 0; i < RECENT; i++) anvil.gone[i] = open_named(&anvil.world, &anvil.policy, NULL, "none");
    for (int i = 0; i < RECENT; i++) {
        CHECK_STATUS(hbeat_link_close(anvil.world.engine, anvil.gone[i]), HBEAT_OK);
        anvil.coming_and_going[i] = anvil.gone[i];
    }
    hammers_begin(&anvil, hammers, HAMMERS, hammer_on, 0);
    world_go(&anvil.world, 2000); /* the places have rested */
    for (int i = 0; i < RECENT; i++) {
        int found = 0;
        heirs[i] = open_named(&anvil.world, &anvil.policy, NULL, "none");
        for (int j = 0; j < RECENT; j++) found += same_place(heirs[i], anvil.gone[j]);
        REQUIRE(found == 1);
    }
    for (uint64_t second = 3; second <= 16; second++) {
        uint64_t enough = count_of(&anvil.blows) + 20 * RECENT;
        while (count_of(&anvil.blows) < enough) sleep_ms(1);
        world_go(&anvil.world, second * 1000);
    }
    store(&anvil.ended, 1);
    hammers_end(hammers, HAMMERS);
    const long beats[] = {12000, 14000, -1}, end[] = {16000, -1};
    for (int i = 0; i < RECENT; i++) {
        CHECK_EQ(info_of(&anvil.world, heirs[i]).last_received_ms, HBEAT_UNKNOWN);
        CHECK(world_times(&anvil.world, HBEAT_EVENT_DOWN, heirs[i], end));
    }
    CHECK(world_times(&anvil.world, HBEAT_EVENT_SEND, heirs[0], beats));
    for (int i = 0; i < KEPT; i++) CHECK_EQ(world_count(&anvil.world, HBEAT_EVENT_DOWN, anvil.kept[i]), 0);
    is_untouched(&bystander, &anvil);
    world_end(&anvil.world);
    world_end(&bystander);
}
