/* libuv: uv_timer_start at each touch. Its clock has steps of a millisecond. */
#include "peers.h"

#define NAME "libuv (uv_timer_start)"

#ifdef WITH_UV
#include <uv.h>

static uv_loop_t loop;
static uv_timer_t *handles;
static uint64_t period;
static due_callback on_due;

static void start(uv_timer_t *timer, uint64_t after_ms);

static void handle_due(uv_timer_t *timer)
{
    if (on_due((uint32_t)(timer - handles)))
        start(timer, period);
}

static void start(uv_timer_t *timer, uint64_t after_ms)
{
    if (uv_timer_start(timer, handle_due, after_ms, 0) != 0)
        die("uv_timer_start");
}

static void make(uint32_t count, uint32_t period_ms, due_callback due)
{
    if (uv_loop_init(&loop) != 0)
        die("uv_loop_init");
    handles = memory(count, sizeof *handles);
    period = period_ms;
    on_due = due;
}

static void refresh(void) { uv_update_time(&loop); }

static void arm(uint32_t id, uint64_t after_ns)
{
    if (!handles[id].loop)
        uv_timer_init(&loop, &handles[id]);
    start(&handles[id], (after_ns + MS - 1) / MS);
}

static void touch(uint32_t id) { start(&handles[id], period); }

static void take_out(uint32_t id) { uv_timer_stop(&handles[id]); }

static void turn(void) { uv_run(&loop, UV_RUN_NOWAIT); }

static void walk_uv(walk *way) { walk_each(way, refresh, touch); }

const timers libuv = {
    .name = NAME,
    .slow = 1,
    .make = make,
    .refresh = refresh,
    .arm = arm,
    .touch = touch,
    .remove = take_out,
    .turn = turn,
    .walk = walk_uv,
};

const char *libuv_version(void) { return uv_version_string(); }

#else

const timers libuv = { .name = NAME, .skipped = "no uv.h (Debian: libuv1-dev)" };

const char *libuv_version(void) { return NULL; }

#endif
