/* One program with two libraries in Rust: both work, each with its panics and its threads. */
#include <stdio.h>

#include "hbeat.h"

uint64_t other_sum(uint32_t count);

int main(void) {
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_engine *engine = NULL;
    hbeat_policy policy;
    hbeat_event event;
    hbeat_link link = 0;
    uint32_t count = 0;
    int wrong = 0;
    wrong += hbeat_engine_new(&options, &engine) != HBEAT_OK;
    wrong += hbeat_policy_preset(&policy, sizeof policy, "cmpp") != HBEAT_OK;
    wrong += hbeat_link_open(engine, &policy, &how, &link) != HBEAT_OK;
    wrong += other_sum(10) != 45;
    wrong += other_sum(0) != UINT64_MAX;
    wrong += hbeat_link_report_down(engine, link, HBEAT_CAUSE_RESET, 0) != HBEAT_OK;
    wrong += hbeat_engine_wait(engine, &event, sizeof event, 1, 10000, &count) != HBEAT_OK || count != 1 || event.type != HBEAT_EVENT_DOWN;
    wrong += hbeat_engine_stop(engine, 10000) != HBEAT_OK;
    wrong += hbeat_engine_free(engine) != HBEAT_OK;
    printf("%d wrong\n", wrong);
    return wrong;
}
