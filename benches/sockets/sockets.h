/* The contenders of main.c that are in C. Each connects to the far end and beats until it is killed. */
#ifndef SOCKETS_H
#define SOCKETS_H

#include <stdint.h>

/* Who does not answer for so long is given up. */
#define PATIENCE_MS 6000u

struct task {
    uint16_t port;
    uint32_t connections, tick_ms;
};

void beat_by_hand(struct task task);
/* hbeat without a thread of its own, turned by the loop. */
void beat_driven(struct task task);
/* hbeat's own thread keeps the time, its descriptor is in the loop's epoll set. */
void beat_threaded(struct task task);

#endif
