/* What benchmarks over real connections share: the far end, connecting to it, and a hand-written loop to compare with. */
#ifndef TCP_H
#define TCP_H

#include <stdint.h>
#include <sys/types.h>

#define INTERVAL_MS 1000u
#define BATCH 1024
/* Bytes of a CMPP_ACTIVE_TEST and of its answer. */
#define PING 12
#define ANSWER 13

void make_ping(uint8_t *bytes, uint32_t sequence);
int is_answer(const uint8_t *bytes, uint32_t sequence);
/* What is ready is told by its number. */
void watch(int poller, int fd, uint32_t number);
/* As many descriptors as the system lets this process have; how many that is. */
uint32_t raise_descriptors(void);

/* ---- The far end: answers pings until the other side is gone ---- */

/* What it hears, for its parent to see: connections that were made, that are open, pings on each by its descriptor. */
struct heard {
    uint32_t made, open, room;
    uint32_t pings[];
};

struct far_end {
    pid_t process;
    uint16_t port;
    volatile struct heard *heard;
};

/* A process of its own, which ends with its parent. A mute one reads and does not answer. */
struct far_end begin_far_end(int mute);
/* Its connections are reset: no port waits for the next round. */
void end_far_end(struct far_end *far_end);
int connect_to(uint16_t port, uint32_t number);

/* ---- A minimal epoll loop, by hand: pings each connection once in INTERVAL_MS ---- */

#define LOOP_SLOTS 1024u /* a power of two, more than INTERVAL_MS */

struct loop {
    struct loop_connection *all;
    int poller;
    uint32_t tick_ms, tries;
    uint64_t at_ms;
    uint32_t slots[LOOP_SLOTS]; /* the first connection that is due in this millisecond */
    uint64_t answers;
    uint32_t given_up;
};

/*
 The connections are spread over the interval; their beats go out at multiples of tick_ms. One whose last pings went
 unanswered, as many as tries, is given up.
*/
struct loop *loop_new(const int *fds, uint32_t count, uint32_t tick_ms, uint32_t tries, uint64_t now_ms);
void loop_turn(struct loop *loop, uint64_t now_ms);

#endif
