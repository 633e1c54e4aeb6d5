// idle_server.cpp PORT POLICY - a server whose clients are idle for hours; hbeat finds out which of them are gone.
// One epoll loop, in which the engine's descriptor is one more; tcp.h has what concerns sockets only.
#include "../c/tcp.h"
#include "hbeat.hpp"
#include <iostream>
#include <map>

static std::map<int, hbeat::link> links; // by descriptor, which is also each link's data

static void write_due(int fd, const hbeat::link_ref &link) {
    unsigned char frames[HBEAT_FRAME_MAX]; // a beat and eight answers are much less
    hbeat::status s;
    const hbeat::taken due = link.take(frames, sizeof frames, nullptr, {}, s);
    if (due.length > 0 && send(fd, frames, due.length, MSG_NOSIGNAL) != static_cast<ssize_t>(due.length))
        link.report_down(hbeat::cause::send_stuck, 0, s);
}

static void read_from(int loop, int fd, const hbeat::link_ref &link) {
    unsigned char bytes[4096];
    hbeat::status s; // a client that speaks something else is no exception: its link is down
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n > 0 && link.feed(bytes, static_cast<std::size_t>(n), {}, s) == hbeat::code::send) write_due(fd, link);
    if (n > 0) return;
    link.report_down(n == 0 ? hbeat::cause::closed_by_peer : hbeat::cause::reset, 0, s);
    poll_no_more(loop, fd);
}

static void happened(const hbeat::event &event) {
    const int *fd = event.data<int>(); // none: an event of the engine
    if (fd && event.type() == hbeat::event_type::send) return write_due(*fd, event.link());
    std::cout << event.text() << std::endl;
    if (fd && event.type() == hbeat::event_type::down) links.erase(*fd), close(*fd);
}

int main(int count, char **words) try {
    const hbeat::policy policy(count == 3 ? words[2] : throw std::invalid_argument("both are wanted"));
    const int loop = poll_begin(), listener = tcp_listen(loop, words[1]);
    const hbeat::engine engine{hbeat::options()};
    std::vector<hbeat::event> events;
    char name[HBEAT_NAME_MAX];
    poll_also(loop, engine.fd());
    for (int fd; listener >= 0 && (fd = poll_next(loop)) >= 0;) {
        if (fd == engine.fd()) {
            engine.wait(events, hbeat::milliseconds(0));
            for (const hbeat::event &event : events) happened(event);
        } else if (fd != listener) {
            read_from(loop, fd, links[fd]);
        } else if ((fd = tcp_accept(listener, name, sizeof name)) >= 0) {
            hbeat::link_options how;
            how.name = name, how.protocol = "heart", how.fd = fd;
            links[fd] = engine.open(policy, how, fd);
            poll_also(loop, fd);
        }
    }
    return listener < 0 ? 2 : 0;
} catch (const std::exception &fault) {
    std::cerr << "idle_server PORT POLICY: " << fault.what() << std::endl;
    return 2;
}
