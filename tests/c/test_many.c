/* One call for many links. */
#include "check.h"
#include "story.h"

enum { MANY = 100 }; /* more than are looked at side by side */

/* A link is received at 9000, in one call or in a hundred: its next beat is due 10 s later. */
TEST(received_of_many_links_is_received_of_each, "K250 K63") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        hbeat_link links[2 * MANY];
        world_begin(&world, way);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        for (int i = 0; i < MANY; i++) links[i] = open_named(&world, &policy, NULL, "none");
        hbeat_link silent = open_named(&world, &policy, "silent", "none");
        /* Twice each, and of some the other way round. */
        for (int i = 0; i < MANY; i++) links[MANY + i] = links[MANY - 1 - i];
        world_go(&world, 9000);
        CHECK_STATUS(hbeat_links_received(world.engine, links, 2 * MANY, 0), HBEAT_OK);
        CHECK_STATUS(hbeat_links_received(world.engine, links, 1, ns_of(3000)), HBEAT_OK); /* never back */
        CHECK_STATUS(hbeat_links_received(world.engine, NULL, 0, 0), HBEAT_OK);
        world_go(&world, 18999);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, 0), world_count(&world, HBEAT_EVENT_SEND, silent));
        CHECK(world_count(&world, HBEAT_EVENT_SEND, silent) > 0);
        for (int i = 0; i < MANY; i++) CHECK_EQ(info_of(&world, links[i]).last_received_ms, 9999);
        world_go(&world, 19000);
        for (int i = 0; i < MANY; i++) CHECK_EQ(world_count(&world, HBEAT_EVENT_SEND, links[i]), 1);
        world_end(&world);
    }
}

TEST(of_those_that_are_open_it_is_noted_whatever_the_others_are, "K250") {
    struct world world;
    hbeat_link links[MANY];
    uint64_t random = 88172645463325252ull;
    world_begin(&world, PULLED);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    for (int i = 0; i < MANY; i++) links[i] = open_named(&world, &policy, NULL, "none");
    world_go(&world, 5000);
    for (int i = 0; i < MANY; i += 3) {
        CHECK_STATUS(hbeat_link_close(world.engine, links[i]), HBEAT_OK);
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        if (i % 2) links[i] = random;
    }
    links[0] = 0;
    FAILS(hbeat_links_received(world.engine, links, MANY, ns_of(4000)), HBEAT_ERR_NO_LINK, "link");
    for (int i = 0; i < MANY; i++) {
        if (i % 3) CHECK_EQ(info_of(&world, links[i]).last_received_ms, 1000);
    }
    FAILS(hbeat_links_received(world.engine, NULL, 1, 0), HBEAT_ERR_NULL, "links");
    CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
    world_pull(&world, 0);
    CHECK_STATUS(hbeat_links_received(world.engine, links + 1, 2, 0), HBEAT_ERR_STOPPED);
    CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
}
