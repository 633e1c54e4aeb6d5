/* fake_ismg.c - an ISMG to test gateways with: logins, SUBMIT_RESPs, link tests in both directions.
 *
 *     fake_ismg --policy "cmpp interval=60s timeout=20s tries=3"        prints "listening 127.0.0.1:PORT"
 *
 * One thread for everything: hbeat is turned by this program's own loop (HBEAT_RUN_APPLICATION), so that freezing the
 * process freezes all of it. It can also misbehave: --deaf stops serving a connection without closing it, --status
 * refuses logins.
 */
#define _GNU_SOURCE 1 /* for -std=c11 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmpp.h"
#include "hbeat.h"

#define CONNECTIONS_MAX 4096

struct connection {
    int fd, slot;
    hbeat_link link;
    char name[32];
    int logged_in, beat_due, ended; /* ended: nothing is read or written any more, hbeat's CLOSED frees it */
    int closing;                    /* ends when everything is written */
    uint64_t deaf_at;
    uint32_t next_sequence;
    cmpp_reader reader;
    size_t out_length;
    uint8_t out[8 * CMPP_FRAME_MAX]; /* when a quarter is full nothing is read: the answers to one read fit the rest */
};

static struct {
    const char *account, *secret, *policy;
    int port, status, trace, receive_buffer;
    double deaf_s;
} options = {"901234", "secret", "cmpp", 0, 0, 1, 0, 0};

static hbeat_engine *engine;
static hbeat_policy policy;
static struct connection *connections[CONNECTIONS_MAX];
static uint64_t message_id;
static volatile sig_atomic_t leave;

static void on_signal(int number)
{
    (void)number;
    leave = 1;
}

static void fail(const char *what)
{
    fprintf(stderr, "fake_ismg: %s\n", what);
    exit(2);
}

static int is_deaf(const struct connection *c, uint64_t now)
{
    return c->deaf_at != 0 && now >= c->deaf_at;
}

static void log_counters(const struct connection *c)
{
    hbeat_info info = {.struct_size = sizeof info};

    if (hbeat_link_info(engine, c->link, &info) == HBEAT_OK)
        cmpp_log(c->name, "counters sent=%llu answered=%llu late=%llu unmatched=%llu received=%llu",
                 (unsigned long long)info.beats_sent, (unsigned long long)info.answers_received,
                 (unsigned long long)info.answers_late, (unsigned long long)info.answers_unmatched,
                 (unsigned long long)info.beats_received);
}

/* Runs inside hbeat_engine_drive. */
static void on_event(void *engine_data, const hbeat_event *event)
{
    struct connection *c = event->link_data;
    char text[384];

    (void)engine_data;
    if (event->type == HBEAT_EVENT_SEND) {
        c->beat_due = 1;
        return;
    }
    if (event->type == HBEAT_EVENT_CLOSED) { /* the link's last event: nobody uses the connection any more */
        connections[c->slot] = NULL;
        close(c->fd);
        free(c);
        return;
    }
    hbeat_event_text(event, text, sizeof text, NULL);
    cmpp_log("hbeat", "%s", text);
    if (event->type == HBEAT_EVENT_DOWN) {
        log_counters(c);
        c->ended = 1;
        shutdown(c->fd, SHUT_RDWR);
        hbeat_link_close(engine, event->link);
    }
}

static void ended(struct connection *c, uint32_t cause, uint32_t detail)
{
    c->ended = 1;
    hbeat_link_report_down(engine, c->link, cause, detail);
}

static uint8_t *space(struct connection *c)
{
    return c->out + c->out_length;
}

static void added(struct connection *c, size_t length)
{
    if (options.trace)
        cmpp_trace(c->name, "tx", space(c), length);
    c->out_length += length;
}

static void write_connection(struct connection *c, uint64_t now)
{
    ssize_t n;

    if (c->ended || is_deaf(c, now))
        return;
    do {
        if (c->beat_due && c->out_length == 0) { /* not behind other bytes: it would be stale when it leaves */
            size_t length = 0;

            c->beat_due = hbeat_link_take(engine, c->link, &c->next_sequence, now, space(c), HBEAT_FRAME_MAX, &length)
                          == HBEAT_INFO_MORE;
            added(c, length);
        }
        while (c->out_length > 0) {
            n = send(c->fd, c->out, c->out_length, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0) {
                if (errno != EAGAIN)
                    ended(c, HBEAT_CAUSE_RESET, (uint32_t)errno);
                return;
            }
            memmove(c->out, c->out + n, c->out_length - (size_t)n);
            c->out_length -= (size_t)n;
        }
    } while (c->beat_due); /* what had to wait for other bytes */
    if (c->closing) {
        c->ended = 1;
        shutdown(c->fd, SHUT_RDWR);
        hbeat_link_close(engine, c->link);
    }
}

static void login(struct connection *c, const cmpp_frame *frame, uint64_t now)
{
    int status = options.status ? options.status : cmpp_login_check(frame, options.account, options.secret);

    cmpp_log(c->name, "login %s status=%d", status == CMPP_LOGIN_OK ? "ok" : "refused", status);
    added(c, cmpp_connect_resp(space(c), frame->sequence, status, frame, options.secret));
    if (status != CMPP_LOGIN_OK) {
        c->closing = 1;
        return;
    }
    c->logged_in = 1;
    if (options.deaf_s > 0)
        c->deaf_at = now + (uint64_t)(options.deaf_s * 1e9);
    hbeat_link_start(engine, c->link, now);
}

static void handle(struct connection *c, const cmpp_frame *frame, uint64_t now)
{
    if (options.trace)
        cmpp_trace(c->name, "rx", frame->bytes, frame->length);
    switch (frame->command) {
    case CMPP_CONNECT:
        if (!c->logged_in)
            login(c, frame, now);
        break;
    case CMPP_SUBMIT:
        if (c->logged_in)
            added(c, cmpp_submit_resp(space(c), frame->sequence, ++message_id, 0));
        break;
    case CMPP_TERMINATE:
        added(c, cmpp_plain(space(c), CMPP_TERMINATE_RESP, frame->sequence));
        c->closing = 1;
        break;
    default: /* ACTIVE_TEST, ACTIVE_TEST_RESP: hbeat's; TERMINATE_RESP: we are leaving anyway */
        break;
    }
}

static void read_connection(struct connection *c, uint64_t now)
{
    cmpp_frame frame;
    size_t room;
    uint8_t *at = cmpp_room(&c->reader, &room);
    ssize_t n = recv(c->fd, at, room, MSG_DONTWAIT);
    hbeat_status fed;
    int found;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        ended(c, n == 0 ? HBEAT_CAUSE_CLOSED_BY_PEER : HBEAT_CAUSE_RESET, n == 0 ? 0 : (uint32_t)errno);
        return;
    }
    fed = hbeat_link_feed(engine, c->link, at, (size_t)n, now);
    if (fed == HBEAT_INFO_SEND)
        c->beat_due = 1;
    else if (fed < 0)
        cmpp_log(c->name, "feed %s: %s", hbeat_status_name(fed), hbeat_last_error());
    cmpp_arrived(&c->reader, (size_t)n);
    while ((found = cmpp_next(&c->reader, &frame)) > 0)
        handle(c, &frame, now);
    if (found < 0)
        ended(c, HBEAT_CAUSE_DESYNC, 0);
}

static void accept_connection(int listener)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int fd = accept(listener, (struct sockaddr *)&address, &size), slot = 0;
    struct connection *c = calloc(1, sizeof *c);

    while (slot < CONNECTIONS_MAX && connections[slot] != NULL)
        slot++;
    if (fd < 0 || c == NULL || slot == CONNECTIONS_MAX)
        goto failed;
    c->fd = fd;
    c->slot = slot;
    c->next_sequence = 1;
    snprintf(c->name, sizeof c->name, "sp-%u", (unsigned)ntohs(address.sin_port));

    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.name = c->name;
    how.protocol = "cmpp";
    how.fd = fd;
    how.link_data = c;
    how.start_paused = 1;
    if (hbeat_link_open(engine, &policy, &how, &c->link) != HBEAT_OK)
        goto failed;
    connections[slot] = c;
    return;
failed:
    if (fd >= 0)
        close(fd);
    free(c);
}

/* How long poll() may sleep: until hbeat has something to do, or a connection goes deaf. Late rather than early. */
static int sleep_ms(uint64_t now)
{
    uint64_t due;
    int i;

    if (hbeat_engine_next_deadline(engine, &due) != HBEAT_OK)
        return 1000;
    for (i = 0; i < CONNECTIONS_MAX; i++)
        if (connections[i] != NULL && connections[i]->deaf_at > now && connections[i]->deaf_at < due)
            due = connections[i]->deaf_at;
    if (due <= now)
        return 0;
    return due - now > 1000000000ull ? 1000 : (int)((due - now + 999999) / 1000000);
}

/* wait, take the time, read and report all that is ready, then drive: a proof of life that has arrived comes before
 * the verdict that it prevents */
static void serve(int listener)
{
    static struct pollfd polled[CONNECTIONS_MAX + 1];
    static struct connection *who[CONNECTIONS_MAX + 1];

    while (!leave) {
        uint64_t now = hbeat_now_ns();
        nfds_t count = 1, i;
        int slot;

        polled[0].fd = listener;
        polled[0].events = POLLIN;
        for (slot = 0; slot < CONNECTIONS_MAX; slot++) {
            struct connection *c = connections[slot];

            if (c == NULL || c->ended || is_deaf(c, now))
                continue;
            who[count] = c;
            polled[count].fd = c->fd;
            /* Answers that do not get away stop the reading: the peer's window does the rest. */
            polled[count].events = (short)((c->out_length < 2 * CMPP_FRAME_MAX ? POLLIN : 0)
                                           | (c->out_length > 0 ? POLLOUT : 0));
            count++;
        }
        if (poll(polled, count, sleep_ms(now)) < 0 && errno != EINTR)
            fail("poll");
        now = hbeat_now_ns();
        for (i = 1; i < count; i++)
            if (polled[i].revents & (POLLIN | POLLERR | POLLHUP) && !is_deaf(who[i], now))
                read_connection(who[i], now);
        if (polled[0].revents & POLLIN)
            accept_connection(listener);
        polled[0].revents = 0;

        hbeat_engine_drive(engine, now);
        for (slot = 0; slot < CONNECTIONS_MAX; slot++)
            if (connections[slot] != NULL)
                write_connection(connections[slot], now);
    }
}

static void say_terminate(void)
{
    uint64_t now = hbeat_now_ns();
    int slot;

    for (slot = 0; slot < CONNECTIONS_MAX; slot++) {
        struct connection *c = connections[slot];

        if (c == NULL || c->ended || !c->logged_in)
            continue;
        hbeat_link_pause(engine, c->link, now);
        added(c, cmpp_plain(space(c), CMPP_TERMINATE, c->next_sequence++));
        write_connection(c, now);
    }
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (options.receive_buffer > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options.receive_buffer, sizeof options.receive_buffer);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0
        || getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        fail(strerror(errno));
    printf("listening 127.0.0.1:%u\n", (unsigned)ntohs(address.sin_port));
    return fd;
}

static void usage(void)
{
    fail("[options]\n"
         "  --port N           0: any that is free (0); always on 127.0.0.1\n"
         "  --policy TEXT      for our own link tests (\"cmpp\": C 180 s, T 60 s, N 3)\n"
         "  --account TEXT, --secret TEXT\n"
         "  --status N         answer every login with this status\n"
         "  --deaf SECONDS     after the login a connection is served so long, then neither read nor written\n"
         "  --rcvbuf BYTES     socket receive buffer (the system's)\n"
         "  --quiet            no line for each message");
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", 1, NULL, 'P'},   {"policy", 1, NULL, 'p'}, {"account", 1, NULL, 'a'}, {"secret", 1, NULL, 's'},
        {"status", 1, NULL, 'S'}, {"deaf", 1, NULL, 'd'},   {"rcvbuf", 1, NULL, 'r'},  {"quiet", 0, NULL, 'q'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'P': options.port = atoi(optarg); break;
        case 'p': options.policy = optarg; break;
        case 'a': options.account = optarg; break;
        case 's': options.secret = optarg; break;
        case 'S': options.status = atoi(optarg); break;
        case 'd': options.deaf_s = atof(optarg); break;
        case 'r': options.receive_buffer = atoi(optarg); break;
        case 'q': options.trace = 0; break;
        default: usage();
        }
    }
    if (optind != argc)
        usage();
}

int main(int argc, char **argv)
{
    hbeat_engine_options engine_options = HBEAT_ENGINE_OPTIONS_INIT;
    struct sigaction action = {.sa_handler = on_signal};

    setvbuf(stdout, NULL, _IOLBF, 0);
    read_options(argc, argv);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    if (hbeat_policy_parse(&policy, sizeof policy, options.policy) != HBEAT_OK)
        fail(hbeat_last_error());
    engine_options.run = HBEAT_RUN_APPLICATION;
    engine_options.on_event = on_event; /* SEND and CLOSED come here as well: on_send and release are not set */
    if (hbeat_engine_new(&engine_options, &engine) != HBEAT_OK)
        fail(hbeat_last_error());

    serve(listen_on(options.port));

    say_terminate();
    hbeat_engine_stop(engine, 1000);
    hbeat_engine_free(engine);
    return 0;
}
