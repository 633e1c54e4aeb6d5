/* heartd: a small monitor. It listens for heart links of devices and processes, dials others, prints a table of all of
 * them each second and a log of what happened to them.
 *
 *     heartd [-l ENDPOINT]... [-d ENDPOINT]... [-p POLICY] [-k KEYFILE] [-n TABLES]
 *
 *     -l  listens there: tcp://[::]:7700, udp://0.0.0.0:7700, unix:///run/heartd.sock
 *     -d  dials there, and again when the connection is lost: tcp://gw.example:7700
 *     -p  how often to beat and when to give up; "normal interval=1s timeout=1s"
 *     -k  the first 64 bytes of this file, at least 16, are a key: every frame is sealed with it
 *     -n  ends after so many tables; 0: never
 *
 * Tables go to standard output, the log to standard error. A link that is DOWN for good is shown once more and closed. */
#include <hbeat.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENDPOINTS_MAX = 16, PAGE = 64 };

static hbeat_engine *engine;
static hbeat_policy policy;
static hbeat_key key = HBEAT_KEY_INIT;
static unsigned char key_bytes[64];

static void must(hbeat_status status, const char *what) {
    if (status >= 0) return;
    fprintf(stderr, "heartd: %s: %s\n", what, hbeat_last_error());
    exit(1);
}

static void read_key(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    key.id = 1;
    key.bytes = key_bytes;
    key.length = fread(key_bytes, 1, sizeof key_bytes, file);
    fclose(file);
}

static void listen_at(const char *endpoint) {
    hbeat_listener_options how = {.struct_size = sizeof how};
    hbeat_listener_info info = {.struct_size = sizeof info};
    hbeat_listener listener;
    how.keys = key.bytes ? &key : NULL;
    how.key_count = key.bytes ? 1 : 0;
    must(hbeat_listener_open(engine, endpoint, &policy, &how, &listener), endpoint);
    must(hbeat_listener_info_get(engine, listener, &info), endpoint);
    fprintf(stderr, "listening at %s\n", info.endpoint);
}

static void dial_to(const char *endpoint) {
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link link;
    how.name = strlen(endpoint) < HBEAT_NAME_MAX ? endpoint : NULL;
    how.keys = key.bytes ? &key : NULL;
    how.key_count = key.bytes ? 1 : 0;
    must(hbeat_link_dial(engine, endpoint, &policy, &how, &link), endpoint);
}

/* What the peer says of itself, as far as it can be shown. */
static void print_state(hbeat_link link) {
    char state[HBEAT_APP_STATE_MAX];
    size_t length = 0;
    if (hbeat_link_peer_state(engine, link, state, sizeof state, &length) != HBEAT_OK) return;
    for (size_t i = 0; i < length && i < 32; i++) putchar(isprint((unsigned char)state[i]) ? state[i] : '.');
}

static void print_link(hbeat_link link) {
    hbeat_info info = {.struct_size = sizeof info};
    char rtt[32] = "-", heard[32] = "never";
    if (hbeat_link_info(engine, link, &info) < 0) return; /* closed meanwhile */
    if (info.rtt_us != HBEAT_UNKNOWN) snprintf(rtt, sizeof rtt, "%.2f ms", info.rtt_us / 1000.0);
    if (info.last_received_ms != HBEAT_UNKNOWN) snprintf(heard, sizeof heard, "%.1f s", info.last_received_ms / 1000.0);
    printf("%-32s %-10s %10s %8s %6llu  ", info.name, hbeat_state_name(info.state), rtt, heard, (unsigned long long)info.misses);
    print_state(link);
    putchar('\n');
    /* A listener's peer comes again by itself, as another link; one that is dialled is CONNECTING in between. */
    if (info.state == HBEAT_STATE_DOWN) hbeat_link_close(engine, link);
}

static void print_table(void) {
    hbeat_link page[PAGE];
    uint32_t count = 0;
    hbeat_link after = 0;
    hbeat_status status;
    if (isatty(1)) printf("\033[H\033[J");
    printf("%-32s %-10s %10s %8s %6s  %s\n", "NAME", "STATE", "RTT", "HEARD", "MISSES", "SAYS");
    do {
        status = hbeat_engine_links(engine, after, page, PAGE, &count);
        must(status, "links");
        for (uint32_t i = 0; i < count; i++) print_link(page[i]);
        if (count > 0) after = page[count - 1];
    } while (status == HBEAT_INFO_MORE && count > 0);
    putchar('\n');
    fflush(stdout);
}

static void log_events(uint32_t timeout_ms) {
    hbeat_event events[PAGE];
    uint32_t count = 0;
    must(hbeat_engine_wait(engine, events, sizeof events[0], PAGE, timeout_ms, &count), "wait");
    for (uint32_t i = 0; i < count; i++) {
        char line[512];
        if (events[i].type == HBEAT_EVENT_PEER_STATE) continue; /* the table shows it */
        if (hbeat_event_text(&events[i], line, sizeof line, NULL) >= 0) fprintf(stderr, "%s\n", line);
    }
}

int main(int argc, char **argv) {
    const char *listened[ENDPOINTS_MAX], *dialled[ENDPOINTS_MAX], *text = "normal interval=1s timeout=1s";
    int listeners = 0, links = 0, option;
    unsigned long tables = 0;
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    while ((option = getopt(argc, argv, "l:d:p:k:n:")) != -1) {
        if (option == 'l' && listeners < ENDPOINTS_MAX) listened[listeners++] = optarg;
        else if (option == 'd' && links < ENDPOINTS_MAX) dialled[links++] = optarg;
        else if (option == 'p') text = optarg;
        else if (option == 'k') read_key(optarg);
        else if (option == 'n') tables = strtoul(optarg, NULL, 10);
        else {
            fprintf(stderr, "usage: heartd [-l ENDPOINT]... [-d ENDPOINT]... [-p POLICY] [-k KEYFILE] [-n TABLES]\n");
            return 2;
        }
    }
    must(hbeat_policy_parse(&policy, sizeof policy, text), "-p");
    must(hbeat_engine_new(&options, &engine), "engine");
    for (int i = 0; i < listeners; i++) listen_at(listened[i]);
    for (int i = 0; i < links; i++) dial_to(dialled[i]);

    uint64_t next = hbeat_now_ns();
    for (unsigned long shown = 0; tables == 0 || shown < tables;) {
        uint64_t now = hbeat_now_ns();
        if (now >= next) {
            print_table();
            shown++;
            next += 1000000000;
            continue;
        }
        log_events((uint32_t)((next - now) / 1000000 + 1));
    }
    return hbeat_engine_free(engine) < 0;
}
