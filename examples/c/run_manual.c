/* run_manual.c - way to run 4: the manual clock. The six minutes that CMPP takes to give a silent peer up, in no time.
 *
 * For tests of the program around hbeat: time stands still until hbeat_engine_advance moves it, deadline by deadline,
 * so every run is the same to the millisecond. Nothing is sent here; the peer has been silent since 0.
 */
#include <stdint.h>
#include <stdio.h>

#include "hbeat.h"

#define SECOND_NS 1000000000ull

/* CMPP: C = 3 min, T = 60 s, N = 3 */
static const struct {
    uint32_t at_s, type;
} expected[] = {
    {180, HBEAT_EVENT_SEND},    {240, HBEAT_EVENT_SUSPECT}, {240, HBEAT_EVENT_SEND},
    {300, HBEAT_EVENT_SUSPECT}, {300, HBEAT_EVENT_SEND},    {360, HBEAT_EVENT_DOWN},
};
enum { EXPECTED = sizeof expected / sizeof expected[0] };

int main(void)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    const uint64_t start = 1000 * SECOND_NS, end = start + 600 * SECOND_NS;
    hbeat_engine *engine;
    hbeat_policy policy;
    hbeat_link link;
    hbeat_status status;
    hbeat_event events[16];
    uint32_t count, i, j, found = 0, others = 0, sequence = 7;
    int seen[EXPECTED] = {0};

    options.run = HBEAT_RUN_APPLICATION;
    options.clock = HBEAT_CLOCK_MANUAL;
    options.start_ns = start;
    how.name = "gd-mt-07";
    how.protocol = "cmpp";
    if (hbeat_policy_preset(&policy, sizeof policy, "cmpp") != HBEAT_OK
        || hbeat_engine_new(&options, &engine) != HBEAT_OK
        || hbeat_link_open(engine, &policy, &how, &link) != HBEAT_OK)
        return 2;
    do { /* MORE: the clock waits at a deadline until its events are pulled */
        status = hbeat_engine_advance(engine, end);
        if (status < 0 || hbeat_engine_wait(engine, events, sizeof events[0], 16, 0, &count) < 0)
            return 2;
        for (i = 0; i < count; i++) {
            uint64_t since_ms = (events[i].at_ns - start) / 1000000;
            uint8_t frames[HBEAT_FRAME_MAX];
            size_t length = 0;

            if (events[i].type == HBEAT_EVENT_SEND)
                hbeat_link_take(engine, link, &sequence, events[i].at_ns, frames, sizeof frames, &length);
            printf("%3u.%03u s  %-8s state=%s tries=%u/%u", (unsigned)(since_ms / 1000), (unsigned)(since_ms % 1000),
                   hbeat_event_name(events[i].type), hbeat_state_name(events[i].state), (unsigned)events[i].tries,
                   (unsigned)events[i].tries_max);
            if (events[i].type == HBEAT_EVENT_DOWN)
                printf(" cause=%s", hbeat_cause_name(events[i].cause));
            for (j = 0; j < length; j++)
                printf(j == 0 ? "  sent %02x" : j % 4 ? "%02x" : " %02x", frames[j]);
            putchar('\n');
            for (j = 0; j < EXPECTED; j++) /* the order of two events of one moment does not matter */
                if (!seen[j] && expected[j].type == events[i].type && expected[j].at_s * 1000u == since_ms)
                    break;
            if (j < EXPECTED)
                seen[j] = 1;
            found += j < EXPECTED;
            others += j == EXPECTED;
        }
    } while (status == HBEAT_INFO_MORE);
    hbeat_engine_stop(engine, 1000);
    hbeat_engine_free(engine);
    return found == EXPECTED && others == 0 ? 0 : 1;
}
