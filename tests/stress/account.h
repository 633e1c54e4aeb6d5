/* What the stress knows of each link, and the sums that must balance: a record stays for the whole round, the
 * connection behind it (the link_data) is freed with the link's last event, as an application's would be. */
#ifndef ACCOUNT_H
#define ACCOUNT_H
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hbeat.h"

#define LOAD(word) __atomic_load_n(&(word), __ATOMIC_SEQ_CST)
#define STORE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_SEQ_CST)
#define ADD(word, more) __atomic_add_fetch(&(word), (more), __ATOMIC_SEQ_CST)

enum { RECORDS = 200000 };

/* One link that was opened. All words are shared. */
struct record {
    hbeat_link link;        /* 0 until open returned, and for ever if it failed */
    void *connection;       /* its link_data */
    int carried;            /* by hbeat: what the application would read or write is refused */
    uint64_t closed_ticket; /* drawn after close returned OK */
    int closes;             /* that returned OK */
    int reports;            /* report_down that returned OK */
    int downs, ends;        /* DOWN; CLOSED or release */
};

/* What an application has behind a link: it goes with the link. */
struct connection {
    struct account *account;
    struct record *record;
    uint32_t lives;
};
static const uint32_t LIVES = 0x11fe11fe;

struct account {
    struct record *records;
    unsigned used;      /* records handed out, failed opens included; may run past RECORDS */
    uint64_t tickets;   /* orders what threads and lanes do */
    uint64_t ends[2];   /* of each lane: the ticket drawn when its latest callback ended */
    uint64_t opens, refused, closes, reports, downs, carried_ups, last_events, events;
};

static uint64_t seed;
static int round_number;

/* Says what does not balance and ends everything: with a broken engine there is nothing to go on with. */
__attribute__((format(printf, 1, 2))) static inline void fail(const char *format, ...) {
    va_list words;
    va_start(words, format);
    printf("FAILED in round %d, seed %llu: ", LOAD(round_number), (unsigned long long)seed);
    vprintf(format, words);
    va_end(words);
    printf("\n0 passed, 1 failed, 0 skipped\n");
    fflush(stdout);
    _exit(1);
}

/* A record for a link that is about to be opened; NULL when the round has had its share. */
static inline struct record *account_record(struct account *account) {
    if (LOAD(account->used) >= RECORDS) return NULL;
    unsigned index = ADD(account->used, 1) - 1;
    return index < RECORDS ? &account->records[index] : NULL;
}

static inline unsigned account_count(struct account *account) {
    unsigned used = LOAD(account->used);
    return used < RECORDS ? used : RECORDS;
}

/* close returned OK: of all closers of a link only this one's did. */
static inline void account_closed(struct account *account, struct record *record) {
    STORE(record->closed_ticket, ADD(account->tickets, 1));
    if (ADD(record->closes, 1) != 1) fail("two callers closed link %llx", (unsigned long long)record->link);
    ADD(account->closes, 1);
}

/* report_down returned OK. */
static inline void account_reported(struct account *account, struct record *record) {
    if (ADD(record->reports, 1) != 1) fail("two reports of link %llx were the first", (unsigned long long)record->link);
    ADD(account->reports, 1);
}

/* The last event of a link. */
static inline void account_end(struct connection *connection) {
    struct account *account = connection->account;
    if (connection->lives != LIVES) fail("the last event of a link came again");
    if (ADD(connection->record->ends, 1) != 1) fail("a link ended twice");
    connection->lives = 0;
    free(connection);
    ADD(account->last_events, 1);
}

/* An event that left its lane after the moment of ticket `since`: whether it may be handed out. Its link's record, if
 * it is not the last one. */
static inline struct record *account_event(struct account *account, const hbeat_event *event, uint64_t since) {
    ADD(account->events, 1);
    if (event->type == HBEAT_EVENT_ENGINE_FAILED) fail("the engine failed");
    if (event->link == 0) return NULL;
    struct connection *connection = (struct connection *)event->link_data;
    if (connection->lives != LIVES) fail("%s of a link after its last event", hbeat_event_name(event->type));
    struct record *record = connection->record;
    hbeat_link link = LOAD(record->link);
    if (link != 0 && link != event->link) fail("%s with another link's data", hbeat_event_name(event->type));
    if (event->type == HBEAT_EVENT_CLOSED) {
        account_end(connection);
        return NULL;
    }
    uint64_t closed = LOAD(record->closed_ticket);
    if (closed != 0 && closed < since) fail("%s was taken from its lane after close returned", hbeat_event_name(event->type));
    if (event->type == HBEAT_EVENT_DOWN) {
        ADD(account->downs, 1);
        if (ADD(record->downs, 1) != 1) fail("two DOWN of one link");
    } else if (event->type == HBEAT_EVENT_UP || event->type == HBEAT_EVENT_SUSPECT) {
        if (LOAD(record->downs) != 0) fail("%s after DOWN", hbeat_event_name(event->type));
        if (record->carried && event->type == HBEAT_EVENT_UP) ADD(account->carried_ups, 1);
    }
    return record;
}

/* Nobody tells anything any more: how many links are open; -1 while one that was reported is not told of. */
static inline int account_at_rest(struct account *account) {
    int open = 0;
    for (unsigned i = 0; i < account_count(account); i++) {
        struct record *record = &account->records[i];
        if (LOAD(record->link) == 0 || LOAD(record->closes) != 0) continue;
        if (LOAD(record->ends) != 0) fail("a link ended that nobody closed");
        if (LOAD(record->reports) != 0 && LOAD(record->downs) != 1) return -1;
        open++;
    }
    return open;
}

/* After everything: each link that was opened has ended once, and no other has. */
static inline void account_balance(struct account *account) {
    for (unsigned i = 0; i < account_count(account); i++) {
        struct record *record = &account->records[i];
        int opened = LOAD(record->link) != 0;
        if (LOAD(record->ends) != opened) fail("record %u: opened %d times, ended %d times", i, opened, LOAD(record->ends));
        if (LOAD(record->downs) > opened || LOAD(record->closes) > opened) fail("record %u: DOWN or closed, and never opened", i);
    }
    if (account->opens != account->last_events) {
        fail("%llu links were opened, %llu ended", (unsigned long long)account->opens, (unsigned long long)account->last_events);
    }
}
#endif
