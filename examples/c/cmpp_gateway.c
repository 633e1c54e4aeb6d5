/* cmpp_gateway.c - the SP side of CMPP as a gateway in service has it, and where hbeat goes into it.
 *
 * One thread reads all connections with poll(), one thread writes to all of them from a queue, a connection that is
 * lost logs in again later. What was added for hbeat stands between "hbeat {" and "hbeat }", nothing else does:
 * grep "hbeat {" finds it.
 *
 *     cmpp_gateway --links 2 --policy "cmpp interval=60s timeout=20s tries=3" 127.0.0.1:7890=gd-mt
 *
 * opens the connections gd-mt-01 and gd-mt-02. SIGTERM and SIGINT leave properly, with TERMINATE.
 */
#define _GNU_SOURCE 1 /* for -std=c11 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cmpp.h"
/* hbeat { the library */
#include "hbeat.h"
/* hbeat } */

#define SECOND_NS 1000000000ull

/* What the writer shall write on a connection, in this order; ON: the socket is not full any more. */
enum { WANT_ON = 0, WANT_CONNECT = 1, WANT_BEAT = 2, WANT_TERMINATE_RESP = 4, WANT_SUBMIT = 8, WANT_TERMINATE = 16 };

enum phase { DIALLING, LOGGING_IN, IN_SERVICE, LEAVING };

/* One configured login. It lives as long as the program, its connections come and go. */
struct session {
    char name[32];
    struct sockaddr_in address;
    uint32_t next_sequence; /* the writer's: SUBMITs and link tests share it, and it goes on over relogin */
    /* the reader's: */
    struct connection *connection; /* NULL: dial at retry_at */
    int submits;
    uint32_t attempt;
    uint64_t retry_at, up_since;
};

/* One connection. The reader holds a reference to it, so do hbeat and, while it waits there, the writer's queue. */
struct connection {
    struct session *session;
    int fd;
    /* hbeat { its id */
    hbeat_link link;
    /* hbeat } */
    /* under queue_lock: */
    int references;
    unsigned wanted, submits_wanted;
    int queued, blocked; /* blocked: the socket is full, the reader waits for POLLOUT */
    uint32_t terminate_sequence;
    struct connection *next;
    /* the reader's: */
    enum phase phase;
    uint64_t deadline, next_submit; /* deadline of the login or of leaving */
    unsigned unanswered;
    cmpp_reader reader;
    /* the writer's: */
    size_t out_start, out_end;
    uint8_t out[HBEAT_FRAME_MAX];
};

static struct {
    const char *account, *secret, *policy;
    double submit_rate;
    int links, busy, window, send_buffer, login_ms, relogin, trace;
} options = {"901234", "secret", "cmpp", 0, 1, -1, 16, 0, 5000, 1, 1};

/* hbeat { one engine for all connections */
static hbeat_engine *engine;
static hbeat_policy policy;
static hbeat_backoff backoff;
/* hbeat } */
static struct session *sessions;
static int session_count;

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER; /* for moments only, never while something is sent */
static pthread_cond_t queue_filled = PTHREAD_COND_INITIALIZER;
static struct connection *queue_head, **queue_tail = &queue_head;
static int writer_stops;

static int wake; /* an eventfd: gets the reader out of poll() */
static volatile sig_atomic_t leave;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void on_signal(int number)
{
    (void)number;
    leave = 1;
    eventfd_write(wake, 1);
}

/* -- the writer's queue -------------------------------------------------------------------------------------------- */

static void put_reference(struct connection *c)
{
    int last;

    pthread_mutex_lock(&queue_lock);
    last = --c->references == 0;
    pthread_mutex_unlock(&queue_lock);
    if (last) { /* not earlier: the number of a closed descriptor may be somebody else's already */
        close(c->fd);
        free(c);
    }
}

/* Asks the writer to write. Any thread; never waits for a socket. */
static void want(struct connection *c, unsigned what)
{
    pthread_mutex_lock(&queue_lock);
    c->wanted |= what;
    c->submits_wanted += what == WANT_SUBMIT;
    c->blocked = c->blocked && what != WANT_ON;
    if (!c->queued && !c->blocked) {
        c->queued = 1;
        c->references++;
        c->next = NULL;
        *queue_tail = c;
        queue_tail = &c->next;
        pthread_cond_signal(&queue_filled);
    }
    pthread_mutex_unlock(&queue_lock);
}

static unsigned next_wanted(struct connection *c)
{
    unsigned what;

    pthread_mutex_lock(&queue_lock);
    what = c->wanted & -c->wanted; /* the lowest bit */
    if (what != WANT_SUBMIT || --c->submits_wanted == 0)
        c->wanted &= ~what;
    pthread_mutex_unlock(&queue_lock);
    return what;
}

/* -- hbeat tells --------------------------------------------------------------------------------------------------- */

/* hbeat { a beat is due on this connection: have the writer fetch it (this must not block) */
static void on_send(void *engine_data, const hbeat_event *event)
{
    (void)engine_data;
    want(event->link_data, WANT_BEAT);
}
/* hbeat } */

/* hbeat { what happened; DOWN comes once a connection, whoever found out */
static void on_event(void *engine_data, const hbeat_event *event)
{
    struct connection *c = event->link_data;
    char text[384];

    (void)engine_data;
    hbeat_event_text(event, text, sizeof text, NULL);
    cmpp_log("hbeat", "%s", text);
    if (event->type == HBEAT_EVENT_DOWN) {
        shutdown(c->fd, SHUT_RDWR); /* the reader sees the end and logs in again */
        hbeat_link_close(engine, event->link);
    }
}
/* hbeat } */

/* hbeat { no call of hbeat's will use this connection any more */
static void release(void *link_data)
{
    put_reference(link_data);
}
/* hbeat } */

/* -- the writer: the only one who writes --------------------------------------------------------------------------- */

/* The next frame for a connection, 0: there is none. Built when it can be written, so that it is never stale. */
static size_t fill(struct connection *c)
{
    uint32_t *next_sequence = &c->session->next_sequence;
    size_t length = 0;
    unsigned what;

    while (length == 0 && (what = next_wanted(c)) != 0) {
        /* hbeat { the beat or the answers that are due, numbered from the gateway's own counter */
        if (what == WANT_BEAT
            && hbeat_link_take(engine, c->link, next_sequence, 0, c->out, sizeof c->out, &length) == HBEAT_INFO_MORE)
            want(c, WANT_BEAT);
        /* hbeat } */
        if (what == WANT_CONNECT)
            length = cmpp_connect(c->out, (*next_sequence)++, options.account, options.secret, cmpp_timestamp());
        else if (what == WANT_TERMINATE_RESP)
            length = cmpp_plain(c->out, CMPP_TERMINATE_RESP, c->terminate_sequence);
        else if (what == WANT_SUBMIT)
            length = cmpp_submit(c->out, (*next_sequence)++, options.account, "13800000000", "hello");
        else if (what == WANT_TERMINATE)
            length = cmpp_plain(c->out, CMPP_TERMINATE, (*next_sequence)++);
    }
    if (options.trace)
        cmpp_trace(c->session->name, "tx", c->out, length);
    c->out_start = 0;
    c->out_end = length;
    return length;
}

/* hbeat { errno in hbeat's words */
static uint32_t cause_of(int error)
{
    if (error == ECONNREFUSED)
        return HBEAT_CAUSE_REFUSED;
    if (error == ENETUNREACH || error == EHOSTUNREACH || error == ETIMEDOUT)
        return HBEAT_CAUSE_UNREACHABLE;
    return error == ECONNRESET || error == EPIPE ? HBEAT_CAUSE_RESET : HBEAT_CAUSE_REPORTED;
}
/* hbeat } */

static void write_connection(struct connection *c)
{
    int written = 0;

    while (c->out_start < c->out_end || fill(c) > 0) {
        ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n >= 0) {
            c->out_start += (size_t)n;
            written = c->out_start == c->out_end;
        } else if (errno == EAGAIN) {
            pthread_mutex_lock(&queue_lock);
            c->blocked = 1;
            pthread_mutex_unlock(&queue_lock);
            eventfd_write(wake, 1);
            return;
        } else if (errno != EINTR) {
            /* hbeat { a write error is an end as well */
            hbeat_link_report_down(engine, c->link, cause_of(errno), (uint32_t)errno);
            /* hbeat } */
            c->out_start = c->out_end = 0;
            return;
        }
    }
    /* hbeat { something was written: evidence, and what idle_on=either counts from */
    if (written)
        hbeat_link_sent(engine, c->link, 0);
    /* hbeat } */
}

static void *writer(void *unused)
{
    struct connection *c;

    pthread_mutex_lock(&queue_lock);
    while (!writer_stops || queue_head != NULL) {
        if (queue_head == NULL) {
            pthread_cond_wait(&queue_filled, &queue_lock);
            continue;
        }
        c = queue_head;
        queue_head = c->next;
        if (queue_head == NULL)
            queue_tail = &queue_head;
        c->queued = 0;
        pthread_mutex_unlock(&queue_lock);
        write_connection(c);
        put_reference(c);
        pthread_mutex_lock(&queue_lock);
    }
    pthread_mutex_unlock(&queue_lock);
    return unused;
}

/* -- the reader ---------------------------------------------------------------------------------------------------- */

static void drop(struct connection *c, uint64_t retry_at)
{
    c->session->connection = NULL;
    c->session->up_since = 0;
    c->session->retry_at = retry_at;
    put_reference(c);
}

/* The connection is of no use any more: dial again, later each time. */
static void lost(struct connection *c, uint32_t cause, uint32_t detail)
{
    struct session *s = c->session;
    uint64_t now = now_ns();

    /* hbeat { tell it; if hbeat was first, this changes nothing */
    hbeat_link_report_down(engine, c->link, cause, detail);
    /* hbeat } */
    /* hbeat { when to dial again; what only a change of configuration can mend is tried slowly */
    uint32_t delay_ms = backoff.refused_ms;
    if (s->up_since != 0 && now - s->up_since >= backoff.stable_ms * 1000000ull)
        s->attempt = 0; /* it was stable: start afresh */
    s->attempt++;
    if (cause != HBEAT_CAUSE_UNAUTHENTICATED)
        hbeat_backoff_delay(&backoff, s->attempt, 0, &delay_ms);
    /* hbeat } */
    if (options.relogin && !leave)
        cmpp_log(s->name, "lost: attempt %lu in %lu ms", (unsigned long)s->attempt, (unsigned long)delay_ms);
    drop(c, options.relogin ? now + delay_ms * 1000000ull : UINT64_MAX);
}

/* Leaves a connection in peace: no DOWN. */
static void done(struct connection *c)
{
    /* hbeat { the end that was wanted: nothing to report, just close */
    hbeat_link_close(engine, c->link);
    /* hbeat } */
    drop(c, UINT64_MAX);
}

static void dial(struct session *s)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct connection *c = calloc(1, sizeof *c);

    if (fd < 0 || c == NULL)
        goto failed;
    if (options.send_buffer > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &options.send_buffer, sizeof options.send_buffer);
    c->session = s;
    c->fd = fd;
    c->references = 2;
    c->phase = DIALLING;
    c->deadline = now_ns() + (uint64_t)options.login_ms * 1000000;

    /* hbeat { a link for each connection; paused, because nothing may be sent before the login */
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.name = s->name;
    how.protocol = "cmpp";
    how.fd = fd;
    how.link_data = c;
    how.start_paused = 1;
    if (hbeat_link_open(engine, &policy, &how, &c->link) != HBEAT_OK) {
        cmpp_log(s->name, "%s", hbeat_last_error());
        goto failed;
    }
    /* hbeat } */
    s->connection = c;
    if (connect(fd, (struct sockaddr *)&s->address, sizeof s->address) != 0 && errno != EINPROGRESS)
        lost(c, cause_of(errno), (uint32_t)errno);
    return;
failed:
    if (fd >= 0)
        close(fd);
    free(c);
    s->retry_at = now_ns() + SECOND_NS;
}

static void logged_in(struct connection *c, const cmpp_frame *frame)
{
    int status = cmpp_login_status(frame);

    if (status != CMPP_LOGIN_OK) {
        int ours = status == CMPP_LOGIN_ACCOUNT || status == CMPP_LOGIN_SECRET || status == CMPP_LOGIN_VERSION;

        cmpp_log(c->session->name, "login refused status=%d", status);
        lost(c, ours ? HBEAT_CAUSE_UNAUTHENTICATED : HBEAT_CAUSE_PROTOCOL_ERROR, (uint32_t)status);
        return;
    }
    /* hbeat { from now on the link is watched */
    hbeat_link_start(engine, c->link, 0);
    /* hbeat } */
    c->phase = IN_SERVICE;
    c->session->up_since = c->next_submit = now_ns();
    cmpp_log(c->session->name, "login ok seq=%lu", (unsigned long)frame->sequence);
}

static void say_goodbye(struct connection *c, unsigned how)
{
    /* hbeat { on the way out nothing is due any more */
    hbeat_link_pause(engine, c->link, 0);
    /* hbeat } */
    c->phase = LEAVING;
    c->deadline = now_ns() + SECOND_NS;
    want(c, how);
}

/* One message. The connection may be lost afterwards. */
static void handle(struct connection *c, const cmpp_frame *frame)
{
    switch (frame->command) {
    case CMPP_CONNECT_RESP:
        if (c->phase == LOGGING_IN)
            logged_in(c, frame);
        break;
    case CMPP_SUBMIT_RESP:
        if (c->unanswered > 0)
            c->unanswered--;
        break;
    case CMPP_TERMINATE: /* answered, then the ISMG closes; if it does not, we do */
        c->terminate_sequence = frame->sequence;
        say_goodbye(c, WANT_TERMINATE_RESP);
        break;
    case CMPP_TERMINATE_RESP:
        done(c);
        break;
    default: /* ACTIVE_TEST and ACTIVE_TEST_RESP: hbeat has seen to them */
        break;
    }
}

static void read_connection(struct connection *c)
{
    struct session *s = c->session;
    cmpp_frame frame;
    size_t room;
    uint8_t *at = cmpp_room(&c->reader, &room);
    ssize_t n = recv(c->fd, at, room, MSG_DONTWAIT);
    int found;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lost(c, n == 0 ? HBEAT_CAUSE_CLOSED_BY_PEER : cause_of(errno), n == 0 ? 0 : (uint32_t)errno);
        return;
    }
    /* hbeat { whatever was read goes past hbeat; SEND: the ISMG's test wants its answer */
    if (hbeat_link_feed(engine, c->link, at, (size_t)n, 0) == HBEAT_INFO_SEND)
        want(c, WANT_BEAT);
    /* hbeat } */
    cmpp_arrived(&c->reader, (size_t)n);
    while ((found = cmpp_next(&c->reader, &frame)) > 0) {
        if (options.trace)
            cmpp_trace(s->name, "rx", frame.bytes, frame.length);
        handle(c, &frame);
        if (s->connection != c)
            return;
    }
    if (found < 0)
        lost(c, HBEAT_CAUSE_DESYNC, 0);
}

static void dialled(struct connection *c)
{
    int error = 0;
    socklen_t size = sizeof error;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        lost(c, cause_of(error), (uint32_t)error);
        return;
    }
    c->phase = LOGGING_IN;
    want(c, WANT_CONNECT);
}

static void ready(struct connection *c, short events)
{
    if (events & POLLOUT && c->phase != DIALLING)
        want(c, WANT_ON);
    if (c->phase == DIALLING && events & (POLLOUT | POLLERR | POLLHUP))
        dialled(c);
    else if (events & (POLLIN | POLLERR | POLLHUP))
        read_connection(c);
}

/* What is due on a session besides reading; returns when it wants to be asked again. */
static uint64_t attend(struct session *s, uint64_t now)
{
    struct connection *c = s->connection;

    if (c == NULL) {
        if (leave)
            return UINT64_MAX;
        if (now < s->retry_at)
            return s->retry_at;
        dial(s);
        return s->connection != NULL ? s->connection->deadline : s->retry_at;
    }
    if (c->phase != IN_SERVICE) {
        if (now < c->deadline)
            return c->deadline;
        if (c->phase == LEAVING && leave)
            done(c);
        else /* a peer that takes the connection and does not answer the login, or says TERMINATE and stays */
            lost(c, c->phase == LEAVING ? HBEAT_CAUSE_CLOSED_BY_PEER : HBEAT_CAUSE_NO_ANSWER, 0);
        return s->retry_at;
    }
    if (!s->submits)
        return UINT64_MAX;
    while (now >= c->next_submit) {
        if (options.window > 0 && c->unanswered >= (unsigned)options.window)
            return UINT64_MAX; /* the window is closed until an answer comes; link tests do not wait for it */
        c->unanswered++;
        want(c, WANT_SUBMIT);
        c->next_submit += (uint64_t)(1e9 / options.submit_rate);
        if (c->next_submit + SECOND_NS < now)
            c->next_submit = now; /* was stopped: do not make up for it */
    }
    return c->next_submit;
}

static void report_and_terminate(void)
{
    int i, up = 0;

    for (i = 0; i < session_count; i++) {
        struct connection *c = sessions[i].connection;

        if (c == NULL)
            continue;
        /* hbeat { for a status page: how is this link? */
        hbeat_info info = {.struct_size = sizeof info};
        if (hbeat_link_info(engine, c->link, &info) == HBEAT_OK && info.state == HBEAT_STATE_UP)
            up++;
        /* hbeat } */
        if (c->phase == IN_SERVICE)
            say_goodbye(c, WANT_TERMINATE);
        else
            done(c);
    }
    cmpp_log("gateway", "leaving: up=%d of %d", up, session_count);
}

static void read_all(void)
{
    struct pollfd *polled = calloc((size_t)session_count + 1, sizeof *polled);
    int i, open, leaving = 0;
    eventfd_t drained;

    while (polled != NULL) {
        uint64_t now = now_ns(), due = UINT64_MAX;
        int timeout;

        if (leave && !leaving) {
            leaving = 1;
            report_and_terminate();
        }
        for (i = 0; i < session_count; i++) {
            uint64_t at = attend(&sessions[i], now);

            due = at < due ? at : due;
        }

        polled[0] = (struct pollfd){wake, POLLIN, 0};
        pthread_mutex_lock(&queue_lock);
        for (i = open = 0; i < session_count; i++) {
            struct connection *c = sessions[i].connection;

            polled[i + 1] = (struct pollfd){c != NULL ? c->fd : -1, POLLIN, 0};
            if (c != NULL && (c->phase == DIALLING || c->blocked))
                polled[i + 1].events |= POLLOUT;
            open += c != NULL;
        }
        pthread_mutex_unlock(&queue_lock);

        if (leaving && open == 0)
            break;
        now = now_ns();
        timeout = due == UINT64_MAX ? -1 : due <= now ? 0 : (int)((due - now + 999999) / 1000000 % 3600000);
        if (poll(polled, (nfds_t)session_count + 1, timeout) <= 0)
            continue;
        if (polled[0].revents)
            eventfd_read(wake, &drained);
        for (i = 0; i < session_count; i++)
            if (polled[i + 1].revents != 0)
                ready(sessions[i].connection, polled[i + 1].revents);
    }
    free(polled);
}

/* -- start and end ------------------------------------------------------------------------------------------------- */

static void fail(const char *what)
{
    fprintf(stderr, "cmpp_gateway: %s\n", what);
    exit(2);
}

static void usage(void)
{
    fail("[options] HOST:PORT[=NAME] ...   (HOST is an IPv4 address)\n"
         "  --links N          connections to each ISMG (1)\n"
         "  --policy TEXT      when to test and when to give up (\"cmpp\": C 180 s, T 60 s, N 3)\n"
         "  --account TEXT, --secret TEXT\n"
         "  --rate N           SUBMITs a second on each busy connection (0)\n"
         "  --busy N           so many connections to each ISMG submit (all)\n"
         "  --window N         unanswered SUBMITs, 0: no limit (16)\n"
         "  --sndbuf BYTES     socket send buffer (the system's)\n"
         "  --login-ms N       patience for connect and login (5000)\n"
         "  --backoff FIRST,CAP,REFUSED  in ms (hbeat's)\n"
         "  --no-relogin, --quiet (no line for each message)");
}

static void add_ismg(const char *text)
{
    char host[64], name[24] = "ismg";
    unsigned port;
    int i;

    if (sscanf(text, "%63[^:]:%u=%23s", host, &port, name) < 2 || port > 65535)
        usage();
    sessions = realloc(sessions, sizeof *sessions * (size_t)(session_count + options.links));
    if (sessions == NULL)
        fail("no memory");
    for (i = 1; i <= options.links; i++) {
        struct session *s = &sessions[session_count++];

        memset(s, 0, sizeof *s);
        snprintf(s->name, sizeof s->name, options.links > 99 ? "%s-%03d" : "%s-%02d", name, i);
        s->address.sin_family = AF_INET;
        s->address.sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, host, &s->address.sin_addr) != 1)
            usage();
        s->next_sequence = 1;
        s->submits = options.submit_rate > 0 && (options.busy < 0 || i <= options.busy);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"links", 1, NULL, 'l'},   {"policy", 1, NULL, 'p'},     {"account", 1, NULL, 'a'},
        {"secret", 1, NULL, 's'},  {"rate", 1, NULL, 'r'},       {"busy", 1, NULL, 'b'},
        {"window", 1, NULL, 'w'},  {"sndbuf", 1, NULL, 'S'},     {"login-ms", 1, NULL, 'L'},
        {"backoff", 1, NULL, 'B'}, {"no-relogin", 0, NULL, 'n'}, {"quiet", 0, NULL, 'q'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'l': options.links = atoi(optarg); break;
        case 'p': options.policy = optarg; break;
        case 'a': options.account = optarg; break;
        case 's': options.secret = optarg; break;
        case 'r': options.submit_rate = atof(optarg); break;
        case 'b': options.busy = atoi(optarg); break;
        case 'w': options.window = atoi(optarg); break;
        case 'S': options.send_buffer = atoi(optarg); break;
        case 'L': options.login_ms = atoi(optarg); break;
        case 'n': options.relogin = 0; break;
        case 'q': options.trace = 0; break;
        case 'B':
            if (sscanf(optarg, "%" SCNu32 ",%" SCNu32 ",%" SCNu32, &backoff.first_ms, &backoff.cap_ms,
                       &backoff.refused_ms) != 3)
                usage();
            break;
        default: usage();
        }
    }
    if (optind == argc || options.links < 1)
        usage();
    while (optind < argc)
        add_ismg(argv[optind++]);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    pthread_t writer_thread;

    setvbuf(stdout, NULL, _IOLBF, 0);
    /* hbeat { delays of the relogin: the defaults, unless the command line says otherwise */
    hbeat_backoff_default(&backoff, sizeof backoff);
    /* hbeat } */
    read_options(argc, argv);
    if ((wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
        fail("no eventfd");
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    /* hbeat { once in the program: the policy and the engine */
    if (hbeat_policy_parse(&policy, sizeof policy, options.policy) != HBEAT_OK)
        fail(hbeat_last_error());
    hbeat_engine_options engine_options = HBEAT_ENGINE_OPTIONS_INIT;
    engine_options.on_send = on_send;
    engine_options.on_event = on_event;
    engine_options.release = release;
    if (hbeat_engine_new(&engine_options, &engine) != HBEAT_OK)
        fail(hbeat_last_error());
    /* hbeat } */

    if (pthread_create(&writer_thread, NULL, writer, NULL) != 0)
        fail("no thread");
    read_all();

    /* hbeat { at the end: no callback runs after this, so nothing is queued any more */
    hbeat_engine_stop(engine, 2000);
    /* hbeat } */
    pthread_mutex_lock(&queue_lock);
    writer_stops = 1;
    pthread_cond_signal(&queue_filled);
    pthread_mutex_unlock(&queue_lock);
    pthread_join(writer_thread, NULL);
    /* hbeat { nobody uses it any more */
    hbeat_engine_free(engine);
    /* hbeat } */
    free(sessions);
    return 0;
}
