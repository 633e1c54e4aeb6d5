/* idle_server.c PORT POLICY - a server whose clients are idle for hours; hbeat finds out which of them are gone.
 * hbeat_easy.h keeps the time on threads of its own; one epoll loop reads; tcp.h has what concerns sockets only. */
#include "tcp.h"
#include "hbeat_easy.h"

static hbeat_link links[TCP_DESCRIPTORS]; /* the loop's own */

static void write_due(int fd, hbeat_link link) {
    uint8_t frames[HBEAT_FRAME_MAX]; /* a beat and eight answers are much less */
    size_t length;

    if (hbeat_easy_take(link, frames, sizeof frames, &length) >= 0 && length > 0
        && send(fd, frames, length, MSG_NOSIGNAL) != (ssize_t)length)
        hbeat_link_report_down(hbeat_easy_engine(), link, HBEAT_CAUSE_SEND_STUCK, 0);
}

static void happened(void *data, const hbeat_event *event) {
    int fd = (int)(intptr_t)data;
    char text[384];

    if (event->type == HBEAT_EVENT_SEND)
        write_due(fd, event->link);
    else if (event->type == HBEAT_EVENT_CLOSED)
        close(fd); /* not before: hbeat has looked at it until now */
    else if (hbeat_event_text(event, text, sizeof text, NULL) == HBEAT_OK)
        puts(text), fflush(stdout);
    if (event->type == HBEAT_EVENT_DOWN)
        hbeat_easy_unwatch(event->link);
}

static void read_from(int loop, int fd) {
    uint8_t bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);

    if (n > 0 && hbeat_easy_received(links[fd], bytes, (size_t)n) == HBEAT_INFO_SEND)
        write_due(fd, links[fd]);
    if (n > 0)
        return;
    hbeat_link_report_down(hbeat_easy_engine(), links[fd], n == 0 ? HBEAT_CAUSE_CLOSED_BY_PEER : HBEAT_CAUSE_RESET, 0);
    poll_no_more(loop, fd);
}

int main(int count, char **words) {
    char name[HBEAT_NAME_MAX];
    hbeat_policy policy;
    int loop = poll_begin(), listener, fd, peer;
    if (count != 3 || hbeat_policy_parse(&policy, sizeof policy, words[2]) != HBEAT_OK
        || hbeat_easy_start(happened, NULL) != HBEAT_OK || (listener = tcp_listen(loop, words[1])) < 0)
        return fprintf(stderr, "idle_server PORT POLICY: %s\n", hbeat_easy_error()), 2;
    while ((fd = poll_next(loop)) >= 0)
        if (fd != listener)
            read_from(loop, fd);
        else if ((peer = tcp_accept(listener, name, sizeof name)) >= 0
                 && hbeat_easy_watch(peer, name, words[2], "heart", happened, (void *)(intptr_t)peer, &links[peer]) == HBEAT_OK)
            poll_also(loop, peer);
        else
            close(peer);
    return hbeat_engine_stop(hbeat_easy_engine(), 5000) == HBEAT_OK ? 0 : 1;
}
