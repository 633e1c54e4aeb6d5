/*
 libevent, twice: evtimer_add at each touch, with timers of any duration (a heap) and with its common timeouts (a list
 for each duration).
*/
#include "peers.h"

#define PLAIN "libevent (evtimer_add)"
#define COMMON "libevent, common timeout"

#ifdef WITH_EVENT
#include <event2/event.h>
#include <event2/event_struct.h>
#include <string.h>

/* A store of each kind, so that both may be there at once. */
typedef struct store {
    struct event_base *base;
    struct event *events, starter;
    struct timeval period;
    const struct timeval *common;
    void (*body)(void);
    due_callback due;
} store;

static store plain, common;

static struct timeval timeval_of(uint64_t ns)
{
    struct timeval time = { (time_t)(ns / SECOND), (suseconds_t)((ns % SECOND + 999) / 1000) };
    if (time.tv_usec == 1000000) {
        time.tv_sec++;
        time.tv_usec = 0;
    }
    return time;
}

/* The default clock has steps of 4 ms and fires early. */
static void make(store *in, uint32_t count, uint32_t period_ms, due_callback due)
{
    struct event_config *config = event_config_new();
    if (!config || event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) != 0)
        die("event_config_new");
    in->base = event_base_new_with_config(config);
    if (!in->base)
        die("event_base_new_with_config");
    event_config_free(config);
    in->events = memory(count, sizeof *in->events);
    in->period = timeval_of(period_ms * MS);
    in->due = due;
}

static inline void arm(store *in, event_callback_fn on_due, uint32_t id, const struct timeval *after)
{
    struct event *event = &in->events[id];
    if (evtimer_assign(event, in->base, on_due, event) != 0 || evtimer_add(event, after) != 0)
        die("evtimer_add");
}

static inline void add(store *in, uint32_t id, const struct timeval *after)
{
    if (evtimer_add(&in->events[id], after) != 0)
        die("evtimer_add");
}

/* Outside of its loop libevent reads the clock at each call; there it does when told to. */
static void started(evutil_socket_t none, short what, void *data)
{
    (void)none, (void)what;
    ((store *)data)->body();
}

static void inside(store *in, void (*body)(void))
{
    in->body = body;
    event_assign(&in->starter, in->base, -1, 0, started, in);
    event_active(&in->starter, EV_TIMEOUT, 0);
    event_base_loop(in->base, EVLOOP_NONBLOCK);
}

/* ---- Plain ---- */

static void plain_due(evutil_socket_t none, short what, void *event)
{
    uint32_t id = (uint32_t)((struct event *)event - plain.events);
    (void)none, (void)what;
    if (plain.due(id))
        add(&plain, id, &plain.period);
}

static void plain_make(uint32_t count, uint32_t period_ms, due_callback due) { make(&plain, count, period_ms, due); }

static void plain_refresh(void) { event_base_update_cache_time(plain.base); }

static void plain_arm(uint32_t id, uint64_t after_ns)
{
    struct timeval after = timeval_of(after_ns);
    arm(&plain, plain_due, id, &after);
}

static void plain_touch(uint32_t id) { add(&plain, id, &plain.period); }

static void plain_remove(uint32_t id) { evtimer_del(&plain.events[id]); }

static void plain_turn(void) { event_base_loop(plain.base, EVLOOP_NONBLOCK); }

static void plain_walk(walk *way) { walk_each(way, plain_refresh, plain_touch); }

static void plain_inside(void (*body)(void)) { inside(&plain, body); }

const timers libevent_plain = {
    .name = PLAIN,
    .slow = 1,
    .make = plain_make,
    .refresh = plain_refresh,
    .arm = plain_arm,
    .touch = plain_touch,
    .remove = plain_remove,
    .turn = plain_turn,
    .walk = plain_walk,
    .inside = plain_inside,
};

/* ---- Common ---- */

static void common_due(evutil_socket_t none, short what, void *event)
{
    uint32_t id = (uint32_t)((struct event *)event - common.events);
    (void)none, (void)what;
    if (common.due(id))
        add(&common, id, common.common);
}

static void common_make(uint32_t count, uint32_t period_ms, due_callback due)
{
    make(&common, count, period_ms, due);
    common.common = event_base_init_common_timeout(common.base, &common.period);
    if (!common.common)
        die("event_base_init_common_timeout");
}

static void common_refresh(void) { event_base_update_cache_time(common.base); }

static void common_arm(uint32_t id, uint64_t after_ns)
{
    struct timeval after = timeval_of(after_ns);
    int usual = memcmp(&after, &common.period, sizeof after) == 0;
    arm(&common, common_due, id, usual ? common.common : &after);
}

static void common_touch(uint32_t id) { add(&common, id, common.common); }

static void common_remove(uint32_t id) { evtimer_del(&common.events[id]); }

static void common_turn(void) { event_base_loop(common.base, EVLOOP_NONBLOCK); }

static void common_walk(walk *way) { walk_each(way, common_refresh, common_touch); }

static void common_inside(void (*body)(void)) { inside(&common, body); }

const timers libevent_common = {
    .name = COMMON,
    .one_duration = 1,
    .make = common_make,
    .refresh = common_refresh,
    .arm = common_arm,
    .touch = common_touch,
    .remove = common_remove,
    .turn = common_turn,
    .walk = common_walk,
    .inside = common_inside,
};

const char *libevent_version(void) { return event_get_version(); }

#else

const timers libevent_plain = { .name = PLAIN, .skipped = "no event2/event.h (Debian: libevent-dev)" };
const timers libevent_common = { .name = COMMON, .skipped = "no event2/event.h (Debian: libevent-dev)" };

const char *libevent_version(void) { return NULL; }

#endif
