/*
 A plain heap: a binary one, whose entries know nothing and whose index knows where they are. A touch moves the entry.
*/
#include "peers.h"

typedef struct entry {
    uint64_t due;
    uint32_t id;
} __attribute__((packed, aligned(4))) entry;

static entry *heap;
static uint32_t *place_of;
static uint32_t count;
static uint64_t now, period;
static due_callback on_due;

static void put(uint32_t at, entry it)
{
    heap[at] = it;
    place_of[it.id] = at;
}

static void down(uint32_t at, entry it)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && heap[child + 1].due < heap[child].due)
            child++;
        if (heap[child].due >= it.due)
            break;
        put(at, heap[child]);
        at = child;
    }
    put(at, it);
}

static void up(uint32_t at, entry it)
{
    while (at > 0 && heap[(at - 1) / 2].due > it.due) {
        put(at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(at, it);
}

static void make(uint32_t most, uint32_t period_ms, due_callback due)
{
    heap = memory(most, sizeof *heap);
    place_of = memory(most, sizeof *place_of);
    count = 0;
    period = period_ms * MS;
    on_due = due;
    now = clock_now();
}

static void refresh(void) { now = clock_now(); }

static void arm(uint32_t id, uint64_t after_ns)
{
    entry it = { now + after_ns, id };
    up(count++, it);
}

/* Deadlines only move later. */
static void later(uint32_t id, uint64_t due)
{
    entry it = { due, id };
    down(place_of[id], it);
}

static void touch(uint32_t id) { later(id, now + period); }

static void take_out(uint32_t id)
{
    uint32_t at = place_of[id];
    if (at == --count)
        return;
    entry last = heap[count];
    if (at > 0 && last.due < heap[(at - 1) / 2].due)
        up(at, last);
    else
        down(at, last);
}

static void turn(void)
{
    refresh();
    while (count > 0 && heap[0].due <= now) {
        uint32_t id = heap[0].id;
        uint64_t next = on_due(id);
        if (next)
            later(id, next);
        else
            take_out(id);
    }
}

static void walk_heap(walk *way) { walk_each(way, refresh, touch); }

const timers plain_heap = {
    .name = "heap, entry moved",
    .make = make,
    .refresh = refresh,
    .arm = arm,
    .touch = touch,
    .remove = take_out,
    .turn = turn,
    .walk = walk_heap,
};
