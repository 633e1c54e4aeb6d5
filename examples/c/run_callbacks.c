/* run_callbacks.c - way to run 1: hbeat's threads keep the time and call back.
 *
 * For programs that have threads and locks already. The peer (the other end of a socketpair) answers two tests, then
 * falls silent: DOWN must come 300 ms + 3 * 200 ms after its last answer.
 */
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/socket.h>

#include "hbeat.h"

static hbeat_engine *engine;
static hbeat_event last;
static sem_t down;

/* On the thread of the SEND lane. This program has no writer thread; a send that cannot block is as good. */
static void on_send(void *engine_data, const hbeat_event *event)
{
    uint8_t frames[HBEAT_FRAME_MAX];
    size_t length = 0;

    (void)engine_data;
    hbeat_link_take(engine, event->link, NULL, 0, frames, sizeof frames, &length);
    if (length > 0 && send(*(int *)event->link_data, frames, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        hbeat_link_unsent(engine, event->link, 0);
}

/* On the thread of the other lane. The event is gone when this returns: copy what is needed later. */
static void on_event(void *engine_data, const hbeat_event *event)
{
    char text[384];

    (void)engine_data;
    hbeat_event_text(event, text, sizeof text, NULL);
    puts(text);
    if (event->type == HBEAT_EVENT_DOWN) {
        last = *event;
        hbeat_link_close(engine, event->link);
        sem_post(&down);
    }
}

int main(void)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy;
    hbeat_link link;
    uint8_t bytes[64] = {0};
    int ends[2], answers = 2;
    ssize_t n;

    options.on_send = on_send;
    options.on_event = on_event;
    how.name = "callbacks";
    how.protocol = "cmpp";
    if (sem_init(&down, 0, 0) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0
        || hbeat_engine_new(&options, &engine) != HBEAT_OK
        || hbeat_policy_parse(&policy, sizeof policy, "cmpp interval=300ms timeout=200ms tries=3") != HBEAT_OK)
        return 2;
    how.fd = ends[0];
    how.link_data = &ends[0];
    if (hbeat_link_open(engine, &policy, &how, &link) != HBEAT_OK)
        return 2;
    while (sem_trywait(&down) != 0) { /* this thread reads both ends */
        struct pollfd polled[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}};
        poll(polled, 2, 20);
        if (polled[0].revents & POLLIN && (n = recv(ends[0], bytes, sizeof bytes, 0)) > 0)
            hbeat_link_feed(engine, link, bytes, (size_t)n, 0);
        if (polled[1].revents & POLLIN && recv(ends[1], bytes, 12, 0) == 12 && answers-- > 0) {
            bytes[3] = 13, bytes[4] = 0x80, bytes[12] = 0; /* the ACTIVE_TEST becomes its answer */
            send(ends[1], bytes, 13, MSG_NOSIGNAL);
        }
    }
    hbeat_engine_stop(engine, 1000);
    hbeat_engine_free(engine);
    return last.cause == HBEAT_CAUSE_NO_ANSWER && last.last_received_ms >= 850 && last.last_received_ms < 1900 ? 0 : 1;
}
