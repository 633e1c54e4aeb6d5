/* run_pull.c - way to run 2: hbeat's thread keeps the time, the program's own event loop fetches what happened.
 *
 * For programs with an epoll loop and no locks: hbeat_engine_fd is one more descriptor in it. The peer (the other end
 * of a socketpair) answers two tests and then falls silent: DOWN must come 300 ms + 3 * 200 ms after its last answer.
 */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "hbeat.h"

static void watch(int loop, int fd)
{
    struct epoll_event want = {.events = EPOLLIN, .data.fd = fd};

    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &want);
}

int main(void)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT; /* no callbacks: to be pulled */
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_engine *engine;
    hbeat_policy policy;
    hbeat_link link;
    hbeat_event events[16];
    uint32_t count, i, cause = HBEAT_CAUSE_NONE, silence_ms = 0;
    uint8_t bytes[HBEAT_FRAME_MAX] = {0};
    char text[384];
    int ends[2], loop = epoll_create1(EPOLL_CLOEXEC), answers = 2, closed = 0;
    int32_t engine_fd;
    size_t length;
    ssize_t n;

    how.name = "pull";
    how.protocol = "cmpp";
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0 || hbeat_engine_new(&options, &engine) != HBEAT_OK
        || hbeat_engine_fd(engine, &engine_fd) != HBEAT_OK
        || hbeat_policy_parse(&policy, sizeof policy, "cmpp interval=300ms timeout=200ms tries=3") != HBEAT_OK)
        return 2;
    how.fd = ends[0];
    if (hbeat_link_open(engine, &policy, &how, &link) != HBEAT_OK)
        return 2;
    watch(loop, ends[0]);
    watch(loop, ends[1]);
    watch(loop, engine_fd);
    while (!closed) {
        struct epoll_event ready;
        if (epoll_wait(loop, &ready, 1, -1) < 1)
            continue;
        if (ready.data.fd == ends[0] && (n = recv(ends[0], bytes, sizeof bytes, 0)) > 0)
            hbeat_link_feed(engine, link, bytes, (size_t)n, 0);
        if (ready.data.fd == ends[1] && recv(ends[1], bytes, 12, 0) == 12 && answers-- > 0) {
            bytes[3] = 13, bytes[4] = 0x80, bytes[12] = 0; /* the ACTIVE_TEST becomes its answer */
            send(ends[1], bytes, 13, MSG_NOSIGNAL);
        }
        if (ready.data.fd != engine_fd || hbeat_engine_wait(engine, events, sizeof events[0], 16, 0, &count) < 0)
            continue;
        for (i = 0; i < count; i++) {
            if (events[i].type == HBEAT_EVENT_SEND) {
                hbeat_link_take(engine, link, NULL, 0, bytes, sizeof bytes, &length);
                if (length > 0 && send(ends[0], bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                    hbeat_link_unsent(engine, link, 0);
                continue;
            }
            hbeat_event_text(&events[i], text, sizeof text, NULL);
            puts(text);
            if (events[i].type == HBEAT_EVENT_DOWN) {
                cause = events[i].cause;
                silence_ms = events[i].last_received_ms;
                hbeat_link_close(engine, link);
            }
            closed |= events[i].type == HBEAT_EVENT_CLOSED; /* the last one of a link: here its data would be freed */
        }
    }
    hbeat_engine_stop(engine, 1000);
    hbeat_engine_free(engine);
    return cause == HBEAT_CAUSE_NO_ANSWER && silence_ms >= 850 && silence_ms < 1900 ? 0 : 1;
}
