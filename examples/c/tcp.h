/* tcp.h - the sockets of the idle_server examples, in C and in C++: nothing of hbeat's is in it. */
#ifndef TCP_H
#define TCP_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define TCP_DESCRIPTORS 65536 /* every descriptor is below */

/* From now on poll_next says `name` when fd is readable. */
static void poll_as(int loop, int fd, int name)
{
    struct epoll_event want;

    memset(&want, 0, sizeof want);
    want.events = EPOLLIN;
    want.data.fd = name;
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &want);
}

static void poll_also(int loop, int fd)
{
    poll_as(loop, fd, fd);
}

static void poll_no_more(int loop, int fd)
{
    epoll_ctl(loop, EPOLL_CTL_DEL, fd, NULL);
}

/* An epoll descriptor that hears of SIGTERM, too; to be made before any thread. */
static int poll_begin(void)
{
    int loop = epoll_create1(EPOLL_CLOEXEC);
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    poll_as(loop, signalfd(-1, &signals, SFD_CLOEXEC), -1);
    return loop;
}

/* The next descriptor that is readable; -1 after SIGTERM. One at a time, so that none of them was closed meanwhile. */
static int poll_next(int loop)
{
    struct epoll_event ready;

    while (epoll_wait(loop, &ready, 1, -1) != 1) {
    }
    return ready.data.fd;
}

/* Listens on 127.0.0.1, 0 = any port that is free, prints which, and polls for clients; -1: it cannot. */
static int tcp_listen(int loop, const char *port)
{
    struct sockaddr_in here;
    socklen_t size = sizeof here;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    memset(&here, 0, sizeof here);
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    here.sin_port = htons((uint16_t)atoi(port));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&here, size) != 0 || listen(fd, SOMAXCONN) != 0
        || getsockname(fd, (struct sockaddr *)&here, &size) != 0) {
        perror(port);
        return -1;
    }
    printf("listening %d\n", ntohs(here.sin_port));
    fflush(stdout);
    poll_also(loop, fd);
    return fd;
}

/* The next client, called client-PORT by its own port; -1: it has gone again, or there are too many. */
static int tcp_accept(int listener, char *name, size_t capacity)
{
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    int fd = accept4(listener, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= TCP_DESCRIPTORS) {
        close(fd);
        return -1;
    }
    if (fd >= 0)
        snprintf(name, capacity, "client-%d", ntohs(peer.sin_port));
    return fd;
}

#endif
