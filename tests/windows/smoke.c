/* smoke.c - the library as a DLL, on Windows or under Wine: each way to use it once, over the loopback.
 *
 * Prints a line a story and "N passed, N failed, 0 skipped" at the end. Words as arguments select stories.
 */
#include <winsock2.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>

#include "hbeat.h"

enum { PATIENCE_MS = 30000 };
static int wrong;

#define CHECK(condition) (void)((condition) || (printf("  %s:%d: not true: %s\n", __FILE__, __LINE__, #condition), wrong++))
#define CHECK_OK(call) ok((call), #call, __LINE__)

static int ok(hbeat_status status, const char *call, int line)
{
    if (status == HBEAT_OK)
        return 1;
    printf("  %s:%d: %s: %s, %s\n", __FILE__, line, call, hbeat_status_name(status), hbeat_last_error());
    wrong++;
    return 0;
}

/* A TCP connection over the loopback: handles fit an int, see hbeat_link_options. */
static void connection(SOCKET ends[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int length = sizeof address;
    SOCKET listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0);
    getsockname(listener, (struct sockaddr *)&address, &length);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(ends[0], (struct sockaddr *)&address, sizeof address) == 0);
    ends[1] = accept(listener, NULL, NULL);
    CHECK(ends[1] != INVALID_SOCKET);
    closesocket(listener);
}

static int readable(SOCKET one, SOCKET other, long ms)
{
    fd_set set;
    struct timeval limit = {ms / 1000, ms % 1000 * 1000};

    FD_ZERO(&set);
    FD_SET(one, &set);
    FD_SET(other, &set);
    if (select(0, &set, NULL, NULL, &limit) < 1)
        return 0;
    return (FD_ISSET(one, &set) ? 1 : 0) | (FD_ISSET(other, &set) ? 2 : 0);
}

/* ---- callbacks, and a link that goes DOWN ---- */

static hbeat_engine *engine;
static hbeat_event last;
static HANDLE down;

static void on_send(void *engine_data, const hbeat_event *event)
{
    unsigned char frames[HBEAT_FRAME_MAX];
    size_t length = 0;

    (void)engine_data;
    hbeat_link_take(engine, event->link, NULL, 0, frames, sizeof frames, &length);
    if (length > 0 && send(*(SOCKET *)event->link_data, (const char *)frames, (int)length, 0) < 0)
        hbeat_link_unsent(engine, event->link, 0);
}

static void on_event(void *engine_data, const hbeat_event *event)
{
    char text[384];

    (void)engine_data;
    hbeat_event_text(event, text, sizeof text, NULL);
    printf("  %s\n", text);
    if (event->type == HBEAT_EVENT_DOWN) {
        last = *event;
        hbeat_link_close(engine, event->link);
        SetEvent(down);
    }
}

/* The peer answers two tests and falls silent: DOWN 300 ms + 3 * 200 ms after its last answer. */
static void callbacks_and_a_link_to_down(void)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy;
    hbeat_link link;
    SOCKET ends[2];
    char bytes[64];
    int answers = 2, count, came;
    ULONGLONG until = GetTickCount64() + PATIENCE_MS;

    down = CreateEvent(NULL, TRUE, FALSE, NULL);
    connection(ends);
    options.on_send = on_send;
    options.on_event = on_event;
    how.name = "callbacks";
    how.protocol = "cmpp";
    how.fd = (int32_t)ends[0];
    how.link_data = &ends[0];
    if (!CHECK_OK(hbeat_engine_new(&options, &engine))
        || !CHECK_OK(hbeat_policy_parse(&policy, sizeof policy, "cmpp interval=300ms timeout=200ms tries=3"))
        || !CHECK_OK(hbeat_link_open(engine, &policy, &how, &link)))
        return;
    while (WaitForSingleObject(down, 0) == WAIT_TIMEOUT && GetTickCount64() < until) {
        came = readable(ends[0], ends[1], 20);
        if (came & 1 && (count = recv(ends[0], bytes, sizeof bytes, 0)) > 0)
            hbeat_link_feed(engine, link, bytes, (size_t)count, 0);
        if (came & 2 && recv(ends[1], bytes, 12, 0) == 12 && answers-- > 0) {
            bytes[3] = 13, bytes[4] = (char)0x80, bytes[12] = 0; /* the ACTIVE_TEST becomes its answer */
            send(ends[1], bytes, 13, 0);
        }
    }
    CHECK(last.cause == HBEAT_CAUSE_NO_ANSWER && last.tries == 3);
    CHECK(last.last_received_ms >= 850 && last.last_received_ms < 2500);
    CHECK(last.unread_bytes == 0); /* of the socket that was lent */
    CHECK_OK(hbeat_engine_stop(engine, PATIENCE_MS));
    CHECK_OK(hbeat_engine_free(engine));
    closesocket(ends[0]);
    closesocket(ends[1]);
    CloseHandle(down);
}

/* ---- the kernel's keepalive ---- */

static void keepalive_is_set_and_read_back(void)
{
    hbeat_keepalive how = {.struct_size = sizeof how}, found = {.struct_size = sizeof found};
    hbeat_policy policy;
    struct sockaddr_in address;
    int length = sizeof address;
    SOCKET ends[2], datagrams = socket(AF_INET, SOCK_DGRAM, 0);

    connection(ends);
    CHECK_OK(hbeat_keepalive_get((int32_t)ends[0], &found));
    CHECK(found.enabled == 0);
    CHECK_OK(hbeat_policy_parse(&policy, sizeof policy, "normal"));
    CHECK_OK(hbeat_policy_keepalive(&policy, &how));
    CHECK(how.enabled == 1 && how.count == 3);
    CHECK_OK(hbeat_keepalive_set((int32_t)ends[0], &how));
    /* For who looks from outside at what the kernel made of it. */
    getsockname(ends[0], (struct sockaddr *)&address, &length);
    printf("  port %u is probed after %u ms, each %u ms\n", ntohs(address.sin_port), how.idle_ms, how.interval_ms);
    Sleep(2000);
    if (CHECK_OK(hbeat_keepalive_get((int32_t)ends[0], &found))) {
        CHECK(found.enabled == 1 && found.user_timeout_ms == HBEAT_FOREVER);
        CHECK(found.idle_ms == how.idle_ms || found.idle_ms == HBEAT_UNKNOWN);
        CHECK(found.interval_ms == how.interval_ms || found.interval_ms == HBEAT_UNKNOWN);
        CHECK(found.count == how.count || found.count == HBEAT_UNKNOWN);
    }
    how.enabled = 0;
    CHECK_OK(hbeat_keepalive_set((int32_t)ends[0], &how));
    CHECK_OK(hbeat_keepalive_get((int32_t)ends[0], &found));
    CHECK(found.enabled == 0);
    CHECK(hbeat_keepalive_set((int32_t)datagrams, &how) == HBEAT_ERR_INVALID);
    CHECK(hbeat_keepalive_set(12345, &how) == HBEAT_ERR_INVALID && strstr(hbeat_last_error(), "fd is 12345"));
    closesocket(datagrams);
    closesocket(ends[0]);
    closesocket(ends[1]);
}

/* ---- links that hbeat carries, events to pull ---- */

/* The next event of a type, waited for at the engine's descriptor. */
static int next(hbeat_engine *from, uint32_t type, hbeat_event *event)
{
    uint32_t count;
    int32_t fd;
    char text[384];
    ULONGLONG until = GetTickCount64() + PATIENCE_MS;

    if (!CHECK_OK(hbeat_engine_fd(from, &fd)))
        return 0;
    while (GetTickCount64() < until) {
        if (!readable((SOCKET)fd, (SOCKET)fd, 1000))
            continue;
        if (hbeat_engine_wait(from, event, sizeof *event, 1, 0, &count) < 0 || count == 0)
            continue;
        hbeat_event_text(event, text, sizeof text, NULL);
        printf("  %s\n", text);
        if (event->type == type)
            return 1;
    }
    printf("  no event of type %u came\n", (unsigned)type);
    wrong++;
    return 0;
}

static void two_ends_meet(const char *endpoint, const char *dialled)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_listener_info info = {.struct_size = sizeof info};
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy;
    hbeat_listener listener;
    hbeat_listener_options listening = {.struct_size = sizeof listening};
    hbeat_link link, other;
    hbeat_engine *server, *client;
    hbeat_event event;
    char place[64];

    if (!CHECK_OK(hbeat_engine_new(&options, &server)) || !CHECK_OK(hbeat_engine_new(&options, &client))
        || !CHECK_OK(hbeat_policy_parse(&policy, sizeof policy, "interval=200ms timeout=200ms tries=3"))
        || !CHECK_OK(hbeat_listener_open(server, endpoint, &policy, &listening, &listener))
        || !CHECK_OK(hbeat_listener_info_get(server, listener, &info)))
        return;
    snprintf(place, sizeof place, dialled, (unsigned)info.port);
    how.name = "dialled";
    if (!CHECK_OK(hbeat_link_dial(client, place, &policy, &how, &link)))
        return;
    if (next(client, HBEAT_EVENT_UP, &event) && next(server, HBEAT_EVENT_ACCEPTED, &event)) {
        other = event.link;
        /* A state goes along with the beats. */
        CHECK_OK(hbeat_link_set_state(client, link, "load=3", 6));
        next(server, HBEAT_EVENT_PEER_STATE, &event);
        CHECK_OK(hbeat_engine_stop(client, PATIENCE_MS));
        if (next(server, HBEAT_EVENT_DOWN, &event))
            CHECK(event.link == other
                  && (event.cause == HBEAT_CAUSE_CLOSED_BY_PEER || event.cause == HBEAT_CAUSE_NO_ANSWER || event.cause == HBEAT_CAUSE_RESET));
    }
    CHECK_OK(hbeat_engine_free(client));
    CHECK_OK(hbeat_engine_stop(server, PATIENCE_MS));
    CHECK_OK(hbeat_engine_free(server));
}

static void carried_over_tcp(void) { two_ends_meet("tcp://127.0.0.1:0", "tcp://127.0.0.1:%u"); }

static void carried_by_name(void) { two_ends_meet("tcp://127.0.0.1:0", "tcp://localhost:%u"); }

static void carried_over_udp(void) { two_ends_meet("udp://127.0.0.1:0", "udp://127.0.0.1:%u"); }

static void who_refuses_is_told_from_who_is_silent(void)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy;
    hbeat_link link;
    hbeat_engine *client;
    hbeat_event event;

    how.attempts = 1;
    if (!CHECK_OK(hbeat_engine_new(&options, &client))
        || !CHECK_OK(hbeat_policy_parse(&policy, sizeof policy, "interval=200ms timeout=5s tries=1")))
        return;
    CHECK_OK(hbeat_link_dial(client, "tcp://127.0.0.1:1", &policy, &how, &link));
    if (next(client, HBEAT_EVENT_DOWN, &event))
        CHECK(event.cause == HBEAT_CAUSE_REFUSED && event.detail == WSAECONNREFUSED);
    CHECK(hbeat_link_dial(client, "unix:///tmp/x", &policy, &how, &link) == HBEAT_ERR_INVALID
          && strstr(hbeat_last_error(), "no such sockets"));
    CHECK_OK(hbeat_engine_stop(client, PATIENCE_MS));
    CHECK_OK(hbeat_engine_free(client));
}

/* ---- clocks ---- */

static void the_clock_runs_as_fast_as_the_systems(void)
{
    LARGE_INTEGER per_second, begun, ended;
    uint64_t first, passed;
    double ratio;

    QueryPerformanceFrequency(&per_second);
    QueryPerformanceCounter(&begun);
    first = hbeat_now_ns();
    Sleep(500);
    passed = hbeat_now_ns() - first;
    QueryPerformanceCounter(&ended);
    ratio = (double)passed * (double)per_second.QuadPart / 1e9 / (double)(ended.QuadPart - begun.QuadPart);
    CHECK(first > 0 && ratio > 0.9 && ratio < 1.1);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*story)(void);
    } stories[] = {
        {"callbacks_and_a_link_to_down", callbacks_and_a_link_to_down},
        {"keepalive_is_set_and_read_back", keepalive_is_set_and_read_back},
        {"carried_over_tcp", carried_over_tcp},
        {"carried_by_name", carried_by_name},
        {"carried_over_udp", carried_over_udp},
        {"who_refuses_is_told_from_who_is_silent", who_refuses_is_told_from_who_is_silent},
        {"the_clock_runs_as_fast_as_the_systems", the_clock_runs_as_fast_as_the_systems},
    };
    int passed = 0, failed = 0, asked;
    WSADATA winsock;

    setvbuf(stdout, NULL, _IONBF, 0);
    if (WSAStartup(MAKEWORD(2, 2), &winsock) != 0)
        return 2;
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        asked = argc == 1;
        for (int word = 1; word < argc; word++)
            asked |= strstr(stories[i].name, argv[word]) != NULL;
        if (!asked)
            continue;
        wrong = 0;
        stories[i].story();
        printf("%s %s\n", wrong ? "FAILED" : "passed", stories[i].name);
        wrong ? failed++ : passed++;
    }
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed > 0;
}
