/* One CMPP story, told to the engine in every way to run: the logs must be equal. */
#include "check.h"
#include "story.h"

struct line {
    long long at;
    uint32_t type;
    char text[200];
};

static int earlier(const void *left, const void *right) {
    const struct line *a = (const struct line *)left, *b = (const struct line *)right;
    if (a->at != b->at) return a->at < b->at ? -1 : 1;
    return strcmp(a->text, b->text);
}

/* The gateway answers the first test, dies at 400 s; the second one closes the connection; a third is left to stop. */
static void tell(int way, char *log, size_t room) {
    struct world world;
    static struct line lines[256];
    world_begin(&world, way);
    world.react = take_notices;
    hbeat_policy cmpp = policy_of(180000, 60000, 3), quick = policy_of(5000, 1000, 2);
    hbeat_link first = open_named(&world, &cmpp, "first", "cmpp"), second = open_named(&world, &cmpp, "second", "cmpp"),
               third = open_named(&world, &quick, "third", "cmpp");
    hbeat_link_options paused = HBEAT_LINK_OPTIONS_INIT;
    paused.name = "fourth";
    paused.protocol = "cmpp";
    paused.start_paused = 1;
    hbeat_link fourth = open_with(&world, &cmpp, &paused);

    world_go(&world, 5800);
    CHECK_STATUS(feed(&world, third, CMPP_ANSWER, info_of(&world, third).sequence), HBEAT_OK);
    world_go(&world, 20000);
    CHECK_STATUS(hbeat_link_start(world.engine, fourth, 0), HBEAT_OK);
    world_go(&world, 180020);
    CHECK_STATUS(feed(&world, first, CMPP_ANSWER, info_of(&world, first).sequence), HBEAT_OK);
    world_go(&world, 190000);
    CHECK_STATUS(hbeat_link_report_down(world.engine, second, HBEAT_CAUSE_CLOSED_BY_PEER, 0), HBEAT_OK);
    world_go(&world, 190001);
    CHECK_STATUS(hbeat_link_close(world.engine, second), HBEAT_OK);
    world_go(&world, 210000);
    CHECK_STATUS(feed(&world, fourth, CMPP_TEST, 77), HBEAT_INFO_SEND);
    CHECK_STATUS(take(&world, fourth), HBEAT_OK);
    world_go(&world, 400000);
    CHECK_STATUS(hbeat_link_received(world.engine, first, 0), HBEAT_OK);
    world_go(&world, 2000000);
    world_end(&world);

    for (int i = 0; i < world.count && i < 256; i++) {
        const hbeat_event *event = &world.seen[i].event;
        lines[i].at = ms_of(event->at_ns);
        lines[i].type = event->type;
        snprintf(lines[i].text, sizeof lines[i].text, "%s %s %s %s tries=%u/%u count=%u", hbeat_event_name(event->type), event->name,
                 hbeat_state_name(event->state), hbeat_cause_name(event->cause), event->tries, event->tries_max, event->count);
    }
    REQUIRE(world.count <= 256);
    qsort(lines, (size_t)world.count, sizeof lines[0], earlier); /* two lanes have no order between them */
    size_t used = 0;
    log[0] = 0;
    for (int i = 0; i < world.count; i++) {
        int written = snprintf(log + used, room - used, "%lld %s\n", lines[i].at, lines[i].text);
        REQUIRE(written > 0 && (size_t)written < room - used);
        used += (size_t)written;
    }
}

TEST(the_same_story_in_every_way, "K61 K55 K14") {
    static char wanted[32768], found[32768];
    tell(0, wanted, sizeof wanted);
    CHECK_TEXT(wanted, "5000 SEND third");
    CHECK_TEXT(wanted, "11800 SUSPECT third");
    CHECK_TEXT(wanted, "12800 DOWN third down no_answer tries=2/2");
    CHECK_TEXT(wanted, "180000 SEND first");
    CHECK_TEXT(wanted, "190000 DOWN second down closed_by_peer");
    CHECK_TEXT(wanted, "190001 CLOSED second");
    CHECK_TEXT(wanted, "200000 SEND fourth");
    CHECK_TEXT(wanted, "570000 DOWN fourth");
    CHECK_TEXT(wanted, "760000 DOWN first");
    CHECK_TEXT(wanted, "2000000 CLOSED first");
    for (int way = 1; way < WAY_COUNT; way++) {
        tell(way, found, sizeof found);
        if (strcmp(wanted, found) != 0) printf("--- %s\n%s--- %s\n%s", WAYS[0].name, wanted, WAYS[way].name, found);
        CHECK(strcmp(wanted, found) == 0);
    }
}
