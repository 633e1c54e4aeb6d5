/* The floor: the loop of ../tcp.c, without hbeat. */
#include "../peers/harness.h"
#include "../tcp.h"
#include "sockets.h"

void beat_by_hand(struct task task)
{
    int *fds = memory(task.connections, sizeof *fds);
    for (uint32_t i = 0; i < task.connections; i++)
        fds[i] = connect_to(task.port, i);
    uint32_t tries = PATIENCE_MS / INTERVAL_MS;
    struct loop *loop = loop_new(fds, task.connections, task.tick_ms, tries, clock_now() / MS);
    for (;;)
        loop_turn(loop, clock_now() / MS);
}
