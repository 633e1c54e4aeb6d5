/*
 hbeat_easy.h: hbeat in four calls, for programs that want to know when a peer is gone and nothing else. One header, no
 library of its own; C89, C++98 and newer. hbeat.h has the model, the events and the policies.

   start:   hbeat_easy_start(NULL, NULL);        optional: the first hbeat_easy_watch does it
   dialled: hbeat_easy_watch(fd, "gd-mt-07", "cmpp interval=60s timeout=20s tries=3", "cmpp", happened, c, &c->link);
   reader:  if (hbeat_easy_received(c->link, bytes, n) == HBEAT_INFO_SEND) write_due(c);
   writer:  hbeat_easy_take(c->link, buffer, sizeof buffer, &length);      and write what was taken

   static void happened(void *data, const hbeat_event *event)
   {
       struct connection *c = data;

       if (event->type == HBEAT_EVENT_SEND)   write_due(c);
       if (event->type == HBEAT_EVENT_DOWN)   shutdown(c->fd, SHUT_RDWR), hbeat_easy_unwatch(event->link);
       if (event->type == HBEAT_EVENT_CLOSED) close(c->fd), free(c);       its last event: free here, never earlier
   }

 There is one engine for the process, with one thread that keeps the time and one that calls back: callbacks never
 overlap, and one that blocks holds up all the others (no peer is blamed for it; HBEAT_EVENT_APP_NOT_RESPONDING tells).
 Everything else of hbeat.h works beside these calls, on hbeat_easy_engine(): hbeat_link_report_down for an end of
 file that the reader has found, hbeat_link_unsent, hbeat_link_feed_sent (observe_only=yes), hbeat_engine_stop.

 With hbeat_load.h, included before this header, the library is loaded at run time.
*/
#ifndef HBEAT_EASY_H
#define HBEAT_EASY_H

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "hbeat.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HBEAT_EASY_FUNCTION static __attribute__((unused))

/* Gets the events of what it watches: valid until it returns, and event->link_data is data. It must not throw, longjmp
   out or end its thread. All calls may be made in it but those that would wait for it: hbeat_engine_quiesce and hbeat_engine_free. */
typedef void (*hbeat_easy_callback)(void *data, const hbeat_event *event);

/* Whom a link's events, or the engine's own, go to. */
struct hbeat_easy_watcher {
    hbeat_easy_callback callback;
    void *data;
};

/* The process's engine. Weak, so that the linker makes one of what each translation unit has; written once. */
__attribute__((weak)) hbeat_engine *hbeat_easy_process_engine;

/* Hands an event on with the watcher's data in it; with the last one the watcher goes. */
HBEAT_EASY_FUNCTION void hbeat_easy_hand_on(void *engine_data, const hbeat_event *event)
{
    struct hbeat_easy_watcher *watcher = (struct hbeat_easy_watcher *)(event->link != 0 ? event->link_data : engine_data);
    hbeat_event own;

    /* A library of another patch level may know less of an event than this header, or more. */
    memset(&own, 0, sizeof own);
    memcpy(&own, event, event->struct_size < sizeof own ? event->struct_size : sizeof own);
    if (own.struct_size > sizeof own)
        own.struct_size = sizeof own;
    own.link_data = watcher->data;
    if (watcher->callback != NULL)
        watcher->callback(watcher->data, &own);
    if (event->type == HBEAT_EVENT_CLOSED)
        free(watcher);
}

HBEAT_EASY_FUNCTION struct hbeat_easy_watcher *hbeat_easy_new_watcher(hbeat_easy_callback callback, void *data)
{
    struct hbeat_easy_watcher *watcher = (struct hbeat_easy_watcher *)malloc(sizeof *watcher);

    if (watcher != NULL) {
        watcher->callback = callback;
        watcher->data = data;
    }
    return watcher;
}

/*
 The process's engine, for every other call of hbeat.h; NULL before the first start or watch. It is never freed: after
 hbeat_engine_stop(hbeat_easy_engine(), timeout_ms), which ends its threads and closes all links, calls say STOPPED.

 Threads: any.
 Blocks: no.
 Errors: none.
*/
HBEAT_EASY_FUNCTION hbeat_engine *hbeat_easy_engine(void)
{
    return __atomic_load_n(&hbeat_easy_process_engine, __ATOMIC_ACQUIRE);
}

/*
 Makes the process's engine; OK if there is one. callback (or NULL) gets the events that belong to no link: PAUSE and
 ENGINE_FAILED, and does so only if this is the call that makes the engine. Needs no lock: of several threads that are
 first at once, each makes an engine, one of them stays, and the others free theirs. In a child of fork it makes a new
 engine, by the first start or watch.

 Threads: any.
 Blocks: no, but for a thread that was not the first: until its own engine is gone, at most 5 s.
 Errors: NO_MEMORY; SYSTEM if a thread cannot be had.
*/
HBEAT_EASY_FUNCTION hbeat_status hbeat_easy_start(hbeat_easy_callback callback, void *data)
{
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_engine *there = hbeat_easy_engine(), *made = NULL;
    hbeat_health health;
    hbeat_status status;

    health.struct_size = sizeof health;
    if (there != NULL && hbeat_engine_health(there, &health) != HBEAT_ERR_FORKED)
        return HBEAT_OK;
    options.on_event = hbeat_easy_hand_on;
    options.engine_data = hbeat_easy_new_watcher(callback, data);
    if (options.engine_data == NULL)
        return HBEAT_ERR_NO_MEMORY;
    status = hbeat_engine_new(&options, &made);
    if (status == HBEAT_OK
        && __atomic_compare_exchange_n(&hbeat_easy_process_engine, &there, made, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return HBEAT_OK;
    /* One whose callback does not return stays in memory, and so does what it uses. */
    if (hbeat_engine_free(made) == HBEAT_OK)
        free(options.engine_data);
    return status;
}

/*
 Watches a connection and writes its id to *link. fd is observed only, and must stay open until hbeat_easy_unwatch; -1:
 none. name is for events and logs (NULL: hbeat makes one), policy a preset and changes to it ("fast", "cmpp
 interval=60s"), protocol "cmpp", "heart" or "none" (the application's own). From here on callback gets the link's
 events, on hbeat's thread, perhaps before this call has returned: event->link is the id. CLOSED is the last one,
 whatever happens, and the place to free data.

 Threads: any.
 Blocks: no.
 Errors: NULL, AGAIN, LIMIT, STOPPED, FAILED, NO_MEMORY; INVALID for a policy, a name, a protocol or an fd that is
 refused: hbeat_easy_error says why. No event comes then.
*/
HBEAT_EASY_FUNCTION hbeat_status hbeat_easy_watch(int fd, const char *name, const char *policy, const char *protocol,
                                                  hbeat_easy_callback callback, void *data, hbeat_link *link)
{
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_status status;
    hbeat_policy parsed;

    status = hbeat_easy_start(NULL, NULL);
    if (status == HBEAT_OK)
        status = hbeat_policy_parse(&parsed, sizeof parsed, policy);
    if (status != HBEAT_OK)
        return status;
    how.fd = fd;
    how.name = name;
    how.protocol = protocol;
    how.link_data = hbeat_easy_new_watcher(callback, data);
    if (how.link_data == NULL)
        return HBEAT_ERR_NO_MEMORY;
    status = hbeat_link_open(hbeat_easy_engine(), &parsed, &how, link);
    if (status != HBEAT_OK)
        free(how.link_data);
    return status;
}

/*
 Tells what was read. With "cmpp" and "heart": the bytes as they came, in portions of any size; the application still
 handles every message but beats and their answers. HBEAT_INFO_SEND: an answer is owed, hbeat_easy_take has it. With
 "none": once for each complete message; the bytes are not looked at. Nothing read (length 0) proves nothing.

 Threads: any, one at a time for each link.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED, BUSY; DESYNC: the bytes are not the protocol; the link is DOWN.
*/
HBEAT_EASY_FUNCTION hbeat_status hbeat_easy_received(hbeat_link link, const void *bytes, size_t length)
{
    hbeat_status status = hbeat_link_feed(hbeat_easy_engine(), link, bytes, length, 0);

    if (status != HBEAT_ERR_WRONG_MODE)
        return status;
    return length > 0 ? hbeat_link_received(hbeat_easy_engine(), link, 0) : HBEAT_OK;
}

/*
 Fetches what is to be written now, after HBEAT_EVENT_SEND and after hbeat_easy_received said HBEAT_INFO_SEND:
 *length bytes, 0 when nothing is needed any more, and on an error. HBEAT_INFO_MORE: there is more than fits, call
 again. With "none" a beat that is due gives HBEAT_INFO_SEND and no bytes: write a beat of your own. What could not be
 written: hbeat_link_unsent(hbeat_easy_engine(), link, 0), or report the link down.

 Threads: any; several may fetch from one link, each frame goes to one of them.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
*/
HBEAT_EASY_FUNCTION hbeat_status hbeat_easy_take(hbeat_link link, void *buffer, size_t capacity, size_t *length)
{
    hbeat_status status;

    if (length != NULL)
        *length = 0;
    /* The other taker, a reader or a writer, is inside for less than a microsecond. */
    while ((status = hbeat_link_take(hbeat_easy_engine(), link, NULL, 0, buffer, capacity, length)) == HBEAT_ERR_BUSY)
        sched_yield();
    return status;
}

/*
 Ends the watch. Never waits, may be called in callbacks; afterwards CLOSED is the only event that is still handed out,
 once; one that was handed out before may still run. So free data in CLOSED, never after this call.

 Threads: any.
 Blocks: no.
 Errors: NULL, FORKED; NO_LINK: it was ended before.
*/
HBEAT_EASY_FUNCTION hbeat_status hbeat_easy_unwatch(hbeat_link link)
{
    return hbeat_link_close(hbeat_easy_engine(), link);
}

/*
 Why this thread's last failed call failed, in one sentence; lives as long as the thread.

 Threads: any; each has its own.
 Blocks: no.
 Errors: none.
*/
HBEAT_EASY_FUNCTION const char *hbeat_easy_error(void)
{
    return hbeat_last_error();
}

#ifdef __cplusplus
}
#endif

#endif /* HBEAT_EASY_H */
