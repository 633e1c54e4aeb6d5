/*
 libev, twice. Again: ev_timer_again at each touch. Lazy: the manual's last-activity time, which the timer looks at when
 it is due.
*/
#include "peers.h"

#define AGAIN "libev again (ev_timer_again)"
#define LAZY "libev lazy (last-activity time)"

#ifdef WITH_EV
#include <ev.h>
#include <stdio.h>

static struct ev_loop *loop;
static double period;
static due_callback on_due;

static void begin(uint32_t period_ms, due_callback due)
{
    if (!loop)
        loop = ev_loop_new(EVFLAG_AUTO);
    if (!loop)
        die("ev_loop_new");
    period = period_ms / 1e3;
    on_due = due;
}

static void refresh(void) { ev_now_update(loop); }

static void turn(void) { ev_run(loop, EVRUN_NOWAIT); }

/* ---- Again ---- */

static ev_timer *again;

static void again_due(struct ev_loop *in, ev_timer *timer, int events)
{
    (void)events;
    if (on_due((uint32_t)(timer - again)))
        ev_timer_again(in, timer);
    else
        ev_timer_stop(in, timer);
}

static void again_make(uint32_t count, uint32_t period_ms, due_callback due)
{
    begin(period_ms, due);
    again = memory(count, sizeof *again);
}

static void again_arm(uint32_t id, uint64_t after_ns)
{
    ev_timer_init(&again[id], again_due, (double)after_ns / 1e9, period);
    ev_timer_start(loop, &again[id]);
}

static void again_touch(uint32_t id) { ev_timer_again(loop, &again[id]); }

static void again_remove(uint32_t id) { ev_timer_stop(loop, &again[id]); }

static void again_walk(walk *way) { walk_each(way, refresh, again_touch); }

const timers libev_again = {
    .name = AGAIN,
    .make = again_make,
    .refresh = refresh,
    .arm = again_arm,
    .touch = again_touch,
    .remove = again_remove,
    .turn = turn,
    .walk = again_walk,
};

/* ---- Lazy ---- */

typedef struct session {
    double last_activity;
    ev_timer timer;
} session;

static session *lazy;

static void lazy_due(struct ev_loop *in, ev_timer *timer, int events)
{
    session *it = (session *)((char *)timer - offsetof(session, timer));
    double after = it->last_activity + period - ev_now(in);
    (void)events;
    if (after <= 0) {
        if (!on_due((uint32_t)(it - lazy))) {
            ev_timer_stop(in, timer);
            return;
        }
        it->last_activity = ev_now(in);
        after = period;
    }
    timer->repeat = after;
    ev_timer_again(in, timer);
}

static void lazy_make(uint32_t count, uint32_t period_ms, due_callback due)
{
    begin(period_ms, due);
    lazy = memory(count, sizeof *lazy);
}

static void lazy_arm(uint32_t id, uint64_t after_ns)
{
    double after = (double)after_ns / 1e9;
    lazy[id].last_activity = ev_now(loop) + after - period;
    ev_timer_init(&lazy[id].timer, lazy_due, after, period);
    ev_timer_start(loop, &lazy[id].timer);
}

static void lazy_touch(uint32_t id) { lazy[id].last_activity = ev_now(loop); }

static void lazy_remove(uint32_t id) { ev_timer_stop(loop, &lazy[id].timer); }

static void lazy_walk(walk *way) { walk_each(way, refresh, lazy_touch); }

static __thread double own_now;

static void refresh_own(void) { own_now = ev_time(); }

/* Formally a data race. */
static void touch_own(uint32_t id) { lazy[id].last_activity = own_now; }

static void lazy_walk_unlocked(walk *way) { walk_each(way, refresh_own, touch_own); }

const timers libev_lazy = {
    .name = LAZY,
    .make = lazy_make,
    .refresh = refresh,
    .arm = lazy_arm,
    .touch = lazy_touch,
    .remove = lazy_remove,
    .turn = turn,
    .walk = lazy_walk,
    .walk_unlocked = lazy_walk_unlocked,
};

const char *libev_version(void)
{
    static char text[16];
    snprintf(text, sizeof text, "%d.%d", ev_version_major(), ev_version_minor());
    return text;
}

#else

const timers libev_again = { .name = AGAIN, .skipped = "no ev.h (Debian: libev-dev)" };
const timers libev_lazy = { .name = LAZY, .skipped = "no ev.h (Debian: libev-dev)" };

const char *libev_version(void) { return NULL; }

#endif
