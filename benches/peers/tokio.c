/* tokio's DelayQueue: reset_at at each touch. It is in tokio/src/lib.rs; its clock has steps of a millisecond. */
#include "peers.h"

#define NAME "tokio DelayQueue (reset_at)"

#ifdef WITH_TOKIO

typedef struct delay_queue delay_queue;

delay_queue *delay_queue_new(uint32_t count, uint32_t period_ms, due_callback due);
void delay_queue_refresh(delay_queue *in);
void delay_queue_arm(delay_queue *in, uint32_t id, uint64_t after_ns);
void delay_queue_touch(delay_queue *in, uint32_t id);
void delay_queue_remove(delay_queue *in, uint32_t id);
void delay_queue_turn(delay_queue *in);
void delay_queue_walk(delay_queue *in, walk *way, uint32_t clock_each);

static delay_queue *queue;

static void make(uint32_t count, uint32_t period_ms, due_callback due)
{
    queue = delay_queue_new(count, period_ms, due);
}

static void refresh(void) { delay_queue_refresh(queue); }

static void arm(uint32_t id, uint64_t after_ns) { delay_queue_arm(queue, id, after_ns); }

static void touch(uint32_t id) { delay_queue_touch(queue, id); }

static void take_out(uint32_t id) { delay_queue_remove(queue, id); }

static void turn(void) { delay_queue_turn(queue); }

static void walk_queue(walk *way) { delay_queue_walk(queue, way, CLOCK_EACH); }

const timers tokio_delayqueue = {
    .name = NAME,
    .make = make,
    .refresh = refresh,
    .arm = arm,
    .touch = touch,
    .remove = take_out,
    .turn = turn,
    .walk = walk_queue,
};

const char *tokio_version(void) { return WITH_TOKIO; }

#else

const timers tokio_delayqueue = { .name = NAME, .skipped = "tokio/ could not be built (needs cargo, and its crates)" };

const char *tokio_version(void) { return NULL; }

#endif
