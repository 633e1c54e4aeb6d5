#define _GNU_SOURCE
#include "hb.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

hbeat_engine *engine;
hbeat_link *ids;
uint32_t counted_bad;

static uint32_t run;

void open_engine(hbeat_engine_options options)
{
    run = options.run;
    if (options.max_links == 0)
        options.max_links = size.links;
    errno = 0;
    if (hbeat_engine_new(&options, &engine) < 0)
        die("hbeat_engine_new");
}

hbeat_policy policy_of(const char *format, ...)
{
    hbeat_policy policy;
    char text[128];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    errno = 0;
    if (hbeat_policy_parse(&policy, sizeof policy, text) < 0)
        die("hbeat_policy_parse");
    return policy;
}

void open_links(uint32_t count, hbeat_policy policy, const char *protocol, int start_paused)
{
    hbeat_link_options options = HBEAT_LINK_OPTIONS_INIT;
    options.protocol = protocol;
    options.start_paused = (uint32_t)start_paused;
    errno = 0;
    for (uint32_t i = 0; i < count; i++) {
        hbeat_status status;
        options.link_data = (void *)(uintptr_t)i;
        while ((status = hbeat_link_open(engine, &policy, &options, &ids[i])) == HBEAT_ERR_AGAIN)
            if (run == HBEAT_RUN_APPLICATION)
                drive();
            else
                usleep(500);
        if (status < 0)
            die("hbeat_link_open");
    }
    come_to_rest();
}

void drive(void)
{
    if (hbeat_engine_drive(engine, 0) < 0)
        die("hbeat_engine_drive");
}

void come_to_rest(void)
{
    if (run == HBEAT_RUN_APPLICATION)
        drive();
    else if (hbeat_engine_quiesce(engine, 60000) < 0)
        die("hbeat_engine_quiesce");
}

void pull(hbeat_event_callback callback, uint32_t timeout_ms)
{
    static hbeat_event events[1024];
    uint32_t count;
    do {
        if (hbeat_engine_wait(engine, events, sizeof *events, 1024, timeout_ms, &count) < 0)
            die("hbeat_engine_wait");
        for (uint32_t i = 0; i < count; i++)
            callback(NULL, &events[i]);
    } while (count == 1024);
}

void on_event(void *data, const hbeat_event *event)
{
    (void)data;
    if (event->type == HBEAT_EVENT_SUSPECT || event->type == HBEAT_EVENT_DOWN || event->type == HBEAT_EVENT_PAUSE
        || event->type == HBEAT_EVENT_APP_NOT_RESPONDING)
        __atomic_fetch_add(&counted_bad, 1, __ATOMIC_RELAXED);
}
