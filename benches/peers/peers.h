/*
 The peers: what a program would use instead of hbeat. All have one face, a store of sessions with one deadline each.
*/
#ifndef PEERS_H
#define PEERS_H

#include "harness.h"

/* Session id is due. Gives its next deadline, a period from now; 0: it is over. */
typedef uint64_t (*due_callback)(uint32_t id);

/* A round of touches: ids in their order, from `at` on, again from the start after the last. */
typedef struct walk {
    const uint32_t *order;
    uint32_t length, count, at;
} walk;

typedef struct timers {
    const char *name;
    /* Why it is no peer here; NULL: it is one. The other members are not set then. */
    const char *skipped;
    /* A touch costs microseconds: rounds are shorter. */
    int slow;
    /* All timers have one duration, by which they must be armed. */
    int one_duration;
    void (*make)(uint32_t count, uint32_t period_ms, due_callback due);
    /* Reads the clock, as its loop does once a poll; all below goes by that time. */
    void (*refresh)(void);
    void (*arm)(uint32_t id, uint64_t after_ns);
    /* The deadline becomes now + period. */
    void (*touch)(uint32_t id);
    void (*remove)(uint32_t id);
    /* Calls due for all that are; does not wait. Reads the clock itself. */
    void (*turn)(void);
    /* Touches, with the clock read once for CLOCK_EACH. */
    void (*walk)(walk *way);
    /* The same, while other threads do it, too; NULL: they need a lock. */
    void (*walk_unlocked)(walk *way);
    /* Calls body as the loop calls its callbacks; NULL: that makes no difference. */
    void (*inside)(void (*body)(void));
} timers;

extern const timers plain_heap, libev_lazy, libev_again, libevent_plain, libevent_common, libuv, tokio_delayqueue;

/* All of them, in the order of the tables. */
#define PEERS 7
static const timers *const peers[PEERS] = {
    &plain_heap,
    &libev_lazy,
    &libev_again,
    &libevent_plain,
    &libevent_common,
    &libuv,
    &tokio_delayqueue,
};

/* NULL: it was not there when this was built. */
const char *libev_version(void);
const char *libevent_version(void);
const char *libuv_version(void);
const char *tokio_version(void);

/* In each peer's own file, so that its calls are as direct as a program's are. */
static inline __attribute__((always_inline)) void walk_each(walk *way, void (*refresh)(void),
    void (*touch)(uint32_t id))
{
    uint32_t at = way->at;
    for (uint32_t i = 0; i < way->count; i++) {
        if (i % CLOCK_EACH == 0)
            refresh();
        touch(way->order[at]);
        at = at + 1 == way->length ? 0 : at + 1;
    }
    way->at = at;
}

#endif
