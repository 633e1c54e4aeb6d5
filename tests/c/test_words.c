/* The words of the header: each number that it names has a name in the library, and the other way round. */
#include "check.h"
#include "story.h"

#include <libgen.h>

/* The numbers of an enum as the header has them, by their names' beginning: "  HBEAT_ERR_BUSY = -8,". */
struct number {
    char name[64];
    int value;
};
static struct number numbers[64];

static int numbers_of(const char *beginning, const char *enum_name) {
    char path[512], row[512], opening[128];
    int count = 0, inside = 0;
    snprintf(path, sizeof path, "%s", __FILE__);
    snprintf(row, sizeof row, "%s/../../include/hbeat.h", dirname(path));
    snprintf(opening, sizeof opening, "typedef enum %s {", enum_name);
    FILE *header = fopen(row, "r");
    REQUIRE(header != NULL);
    while (fgets(row, sizeof row, header)) {
        inside = strncmp(row, opening, strlen(opening)) == 0 || (inside && row[0] != '}');
        if (!inside || sscanf(row, " %63[A-Z_] = %d,", numbers[count].name, &numbers[count].value) != 2) continue;
        if (strncmp(numbers[count].name, beginning, strlen(beginning)) == 0) count++;
        REQUIRE(count < 64);
    }
    fclose(header);
    return count;
}

TEST(every_status_of_the_header_has_its_name_and_a_sentence, "K100 K146") {
    int count = numbers_of("HBEAT_", "hbeat_status_code"), known = 0;
    CHECK(count >= 24);
    for (int i = 0; i < count; i++) {
        const char *name = hbeat_status_name(numbers[i].value), *text = hbeat_status_text(numbers[i].value);
        CHECK(strcmp(name, numbers[i].name) == 0);
        CHECK(strlen(text) > 10 && strstr(text, "no status of hbeat") == NULL);
        for (int n = 0; n < i; n++) CHECK(strcmp(text, hbeat_status_text(numbers[n].value)) != 0);
    }
    for (int value = -100000; value <= 100000; value++) {
        int listed = 0;
        for (int i = 0; i < count; i++) listed += numbers[i].value == value;
        CHECK_EQ(strcmp(hbeat_status_name(value), "unknown") != 0, listed);
        known += listed;
    }
    CHECK_EQ(known, count);
}

struct words {
    const char *beginning, *enum_name;
    const char *(*name)(uint32_t number);
};

TEST(every_state_cause_and_event_of_the_header_has_its_name, "K100 K146") {
    const struct words all[] = {{"HBEAT_STATE_", "hbeat_state", hbeat_state_name},
                                {"HBEAT_CAUSE_", "hbeat_cause", hbeat_cause_name},
                                {"HBEAT_EVENT_", "hbeat_event_type", hbeat_event_name}};
    for (int w = 0; w < 3; w++) {
        int count = numbers_of(all[w].beginning, all[w].enum_name);
        CHECK(count >= 5);
        for (int i = 0; i < count; i++)
            CHECK(strcasecmp(all[w].name((uint32_t)numbers[i].value), numbers[i].name + strlen(all[w].beginning)) == 0);
        for (uint32_t value = 0; value < 100000; value++) {
            int listed = 0;
            for (int i = 0; i < count; i++) listed += (uint32_t)numbers[i].value == value;
            CHECK_EQ(strcmp(all[w].name(value), "unknown") != 0, listed);
        }
    }
}

TEST(the_masks_of_the_header_name_its_events, "K9 K146") {
    int count = numbers_of("HBEAT_EVENT_", "hbeat_event_type");
    uint32_t all = 0;
    for (int i = 0; i < count; i++) all |= 1u << numbers[i].value;
    CHECK_EQ(HBEAT_EVENTS_ALL, all);
    CHECK_EQ(HBEAT_EVENTS_DEFAULT, all & ~(1u << HBEAT_EVENT_ANSWER | 1u << HBEAT_EVENT_BEAT_RECEIVED));
}
