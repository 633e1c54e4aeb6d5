/* run_drive.c - way to run 3: no thread of hbeat's at all, the program's own loop turns the engine.
 *
 * For programs with one thread. The order of the loop matters: wait, take the time, read and report all that is ready,
 * then drive; so an answer that has arrived comes before the verdict that it prevents. The peer (the other end of a
 * socketpair) answers two tests and then falls silent: DOWN must come 300 ms + 3 * 200 ms after its last answer.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "hbeat.h"

static hbeat_engine *engine;
static int ends[2], answers = 2, finished;
static hbeat_event last;

/* Runs inside hbeat_engine_drive, on the program's own thread; SEND comes here because on_send is not set. */
static void on_event(void *engine_data, const hbeat_event *event)
{
    uint8_t frames[HBEAT_FRAME_MAX];
    char text[384];
    size_t length = 0;

    (void)engine_data;
    if (event->type == HBEAT_EVENT_SEND) {
        hbeat_link_take(engine, event->link, NULL, 0, frames, sizeof frames, &length);
        if (length > 0 && send(ends[0], frames, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            hbeat_link_unsent(engine, event->link, 0);
        return;
    }
    hbeat_event_text(event, text, sizeof text, NULL);
    puts(text);
    if (event->type == HBEAT_EVENT_DOWN) {
        last = *event;
        hbeat_link_close(engine, event->link);
    }
    finished |= event->type == HBEAT_EVENT_CLOSED;
}

int main(void)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy;
    hbeat_link link;
    uint8_t bytes[64] = {0};
    uint64_t now, due;
    ssize_t n;

    options.run = HBEAT_RUN_APPLICATION;
    options.on_event = on_event;
    how.name = "drive";
    how.protocol = "cmpp";
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 || hbeat_engine_new(&options, &engine) != HBEAT_OK
        || hbeat_policy_parse(&policy, sizeof policy, "cmpp interval=300ms timeout=200ms tries=3") != HBEAT_OK)
        return 2;
    how.fd = ends[0];
    if (hbeat_link_open(engine, &policy, &how, &link) != HBEAT_OK)
        return 2;
    while (!finished) {
        struct pollfd polled[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}};

        now = hbeat_now_ns();
        hbeat_engine_next_deadline(engine, &due); /* rounded up: a millisecond late, not a busy loop */
        poll(polled, 2, due == UINT64_MAX ? -1 : due <= now ? 0 : (int)((due - now + 999999) / 1000000));
        now = hbeat_now_ns();
        if (polled[0].revents & POLLIN && (n = recv(ends[0], bytes, sizeof bytes, 0)) > 0)
            hbeat_link_feed(engine, link, bytes, (size_t)n, now);
        if (polled[1].revents & POLLIN && recv(ends[1], bytes, 12, 0) == 12 && answers-- > 0) {
            bytes[3] = 13, bytes[4] = 0x80, bytes[12] = 0; /* the ACTIVE_TEST becomes its answer */
            send(ends[1], bytes, 13, MSG_NOSIGNAL);
        }
        hbeat_engine_drive(engine, now);
    }
    hbeat_engine_stop(engine, 1000);
    hbeat_engine_free(engine);
    return last.cause == HBEAT_CAUSE_NO_ANSWER && last.last_received_ms >= 850 && last.last_received_ms < 1900 ? 0 : 1;
}
