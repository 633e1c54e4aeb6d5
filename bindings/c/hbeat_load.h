/*
 hbeat_load.h: loads libhbeat at run time, for programs that must also run without it; nothing is to be linked but, on
 old systems, -ldl. One header; C89, C++98 and newer, with the compilers of GNU and LLVM.

   if (hbeat_load(NULL) != HBEAT_OK)
       fprintf(stderr, "no heartbeats: %s\n", hbeat_load_error());

 Include it before hbeat_easy.h and hbeat.hpp, in every file of the program that uses hbeat. From then on the names of
 hbeat.h's functions mean those of the library that was loaded: code written for hbeat.h works as it stands. A call
 before hbeat_load has returned HBEAT_OK ends the process with a sentence that says so: ask hbeat_loaded first.
*/
#ifndef HBEAT_LOAD_H
#define HBEAT_LOAD_H

#if defined(HBEAT_EASY_H) || defined(HBEAT_HPP)
#error "include hbeat_load.h before hbeat_easy.h and hbeat.hpp: they are to call what it loads"
#endif

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hbeat.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HBEAT_LOAD_FUNCTION static __attribute__((unused))

/* Every function of hbeat.h, without its hbeat_. */
#define HBEAT_LOAD_NAMES(X) \
    X(version) X(version_number) X(now_ns) X(status_name) X(status_text) X(last_error) X(policy_preset) \
    X(policy_parse) X(policy_print) X(policy_check) X(policy_detection) X(backoff_default) X(backoff_delay) \
    X(backoff_refused) X(backoff_reserve) X(engine_new) X(engine_stop) X(engine_free) X(engine_quiesce) \
    X(engine_health) X(engine_links) X(engine_now) X(engine_wait) X(engine_fd) X(engine_drive) \
    X(engine_next_deadline) X(engine_advance) X(state_name) X(cause_name) X(event_name) X(event_text) \
    X(link_open) X(link_dial) X(link_adopt) X(link_start) X(link_pause) X(link_close) X(link_received) X(links_received) X(link_sent) X(link_feed) \
    X(link_take) X(link_unsent) X(link_answer_received) X(link_beat_received) X(link_report_down) \
    X(link_set_policy) X(link_info) X(link_feed_sent) X(link_beat_sent) X(link_set_data) \
    X(link_set_keys) X(link_set_state) X(link_peer_state) X(keepalive_set) X(keepalive_get) \
    X(policy_keepalive) X(tcp_info_get) X(listener_open) X(listener_close) X(listener_info_get) \
    X(engine_progress) X(link_progress) X(engine_stats) X(engine_histogram)

/* The functions of the library that was loaded, each with the type that hbeat.h gives it. */
struct hbeat_load_functions {
#define HBEAT_LOAD_MEMBER(name) __typeof__(&hbeat_##name) name;
    HBEAT_LOAD_NAMES(HBEAT_LOAD_MEMBER)
#undef HBEAT_LOAD_MEMBER
};

/* What the process has loaded. Weak, so that the linker makes one of what each translation unit has. */
struct hbeat_load_state {
    int loaded;
    struct hbeat_load_functions functions;
    char error[512];
};
__attribute__((weak)) struct hbeat_load_state hbeat_load_process_state;

/* Whether hbeat_load has succeeded. Threads: any, once hbeat_load has returned. */
HBEAT_LOAD_FUNCTION int hbeat_loaded(void)
{
    return hbeat_load_process_state.loaded;
}

/* Why hbeat_load failed, in one sentence; "" if it did not. Threads: as hbeat_loaded. */
HBEAT_LOAD_FUNCTION const char *hbeat_load_error(void)
{
    return hbeat_load_process_state.error;
}

/* What the names of the functions go through. */
HBEAT_LOAD_FUNCTION const struct hbeat_load_functions *hbeat_load_table(void)
{
    if (!hbeat_load_process_state.loaded) {
        fprintf(stderr, "a function of hbeat was called, and hbeat_load has not loaded it\n");
        abort();
    }
    return &hbeat_load_process_state.functions;
}

/* Finds one function; 0: the library has none of that name. */
HBEAT_LOAD_FUNCTION int hbeat_load_find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);

    memcpy(function, &found, sizeof found); /* C has no cast from an object to a function */
    return found != NULL;
}

/* Finds all of them; the name of the first that the library lacks, or NULL. */
HBEAT_LOAD_FUNCTION const char *hbeat_load_find_all(void *library, struct hbeat_load_functions *functions)
{
#define HBEAT_LOAD_FIND(name) \
    if (!hbeat_load_find(library, "hbeat_" #name, &functions->name)) \
        return "hbeat_" #name;
    HBEAT_LOAD_NAMES(HBEAT_LOAD_FIND)
#undef HBEAT_LOAD_FIND
    return NULL;
}

/* Whether a library's functions can be called as this header declares them: as long as the first number of a version is
   0, a new second one may break programs. */
HBEAT_LOAD_FUNCTION int hbeat_load_fits(unsigned long number)
{
    return number / 1000 == HBEAT_VERSION_MAJOR * 1000ul + HBEAT_VERSION_MINOR;
}

HBEAT_LOAD_FUNCTION hbeat_status hbeat_load_refuse(void *library, hbeat_status status)
{
    if (library != NULL)
        dlclose(library);
    return status;
}

#define HBEAT_LOAD_TEXT_OF(number) #number
#define HBEAT_LOAD_TEXT(number) HBEAT_LOAD_TEXT_OF(number)

/*
 Loads the library: the file named path; for NULL the one that the environment's HBEAT_LIBRARY names; without either
 libhbeat.so.0.1 from where the system's loader looks (its last numbers are those of this header's version). A program
 that runs with more rights than its caller passes a path. Once it
 has succeeded, further calls are OK and change nothing. The library stays loaded, and its symbols are seen by nobody
 else (RTLD_LOCAL).

 Threads: one, before others use hbeat.
 Blocks: while the file is read.
 Errors: hbeat_load_error has the sentence. SYSTEM: there is no such library, or it cannot be loaded; UNSUPPORTED: it is
 another version than this header's, or lacks a function that the header has.
*/
HBEAT_LOAD_FUNCTION hbeat_status hbeat_load(const char *path)
{
    struct hbeat_load_state *state = &hbeat_load_process_state;
    __typeof__(&hbeat_version_number) version_number = NULL;
    const char *lacks;
    unsigned long number;
    void *library;

    if (state->loaded)
        return HBEAT_OK;
    if (path == NULL)
        path = getenv("HBEAT_LIBRARY");
    if (path == NULL || *path == '\0')
        path = "libhbeat.so." HBEAT_LOAD_TEXT(HBEAT_VERSION_MAJOR) "." HBEAT_LOAD_TEXT(HBEAT_VERSION_MINOR);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        sprintf(state->error, "libhbeat cannot be loaded: %.450s", dlerror());
        return hbeat_load_refuse(library, HBEAT_ERR_SYSTEM);
    }
    if (!hbeat_load_find(library, "hbeat_version_number", &version_number)) {
        sprintf(state->error, "%.400s is not libhbeat: it has no hbeat_version_number", path);
        return hbeat_load_refuse(library, HBEAT_ERR_UNSUPPORTED);
    }
    number = version_number();
    if (!hbeat_load_fits(number)) {
        sprintf(state->error, "%.300s is version %lu.%lu.%lu of libhbeat; this program needs %d.%d", path,
                number / 1000000, number / 1000 % 1000, number % 1000, HBEAT_VERSION_MAJOR, HBEAT_VERSION_MINOR);
        return hbeat_load_refuse(library, HBEAT_ERR_UNSUPPORTED);
    }
    lacks = hbeat_load_find_all(library, &state->functions);
    if (lacks != NULL) {
        sprintf(state->error, "%.300s is version %lu.%lu.%lu of libhbeat, which has no %s; this program needs %d.%d.%d", path,
                number / 1000000, number / 1000 % 1000, number % 1000, lacks, HBEAT_VERSION_MAJOR, HBEAT_VERSION_MINOR,
                HBEAT_VERSION_PATCH);
        return hbeat_load_refuse(library, HBEAT_ERR_UNSUPPORTED);
    }
    state->error[0] = '\0';
    state->loaded = 1;
    return HBEAT_OK;
}

#ifdef __cplusplus
}
#endif

#define hbeat_version (hbeat_load_table()->version)
#define hbeat_version_number (hbeat_load_table()->version_number)
#define hbeat_now_ns (hbeat_load_table()->now_ns)
#define hbeat_status_name (hbeat_load_table()->status_name)
#define hbeat_status_text (hbeat_load_table()->status_text)
#define hbeat_last_error (hbeat_load_table()->last_error)
#define hbeat_policy_preset (hbeat_load_table()->policy_preset)
#define hbeat_policy_parse (hbeat_load_table()->policy_parse)
#define hbeat_policy_print (hbeat_load_table()->policy_print)
#define hbeat_policy_check (hbeat_load_table()->policy_check)
#define hbeat_policy_detection (hbeat_load_table()->policy_detection)
#define hbeat_backoff_default (hbeat_load_table()->backoff_default)
#define hbeat_backoff_delay (hbeat_load_table()->backoff_delay)
#define hbeat_backoff_refused (hbeat_load_table()->backoff_refused)
#define hbeat_backoff_reserve (hbeat_load_table()->backoff_reserve)
#define hbeat_engine_new (hbeat_load_table()->engine_new)
#define hbeat_engine_stop (hbeat_load_table()->engine_stop)
#define hbeat_engine_free (hbeat_load_table()->engine_free)
#define hbeat_engine_quiesce (hbeat_load_table()->engine_quiesce)
#define hbeat_engine_health (hbeat_load_table()->engine_health)
#define hbeat_engine_links (hbeat_load_table()->engine_links)
#define hbeat_engine_now (hbeat_load_table()->engine_now)
#define hbeat_engine_wait (hbeat_load_table()->engine_wait)
#define hbeat_engine_fd (hbeat_load_table()->engine_fd)
#define hbeat_engine_drive (hbeat_load_table()->engine_drive)
#define hbeat_engine_next_deadline (hbeat_load_table()->engine_next_deadline)
#define hbeat_engine_advance (hbeat_load_table()->engine_advance)
#define hbeat_state_name (hbeat_load_table()->state_name)
#define hbeat_cause_name (hbeat_load_table()->cause_name)
#define hbeat_event_name (hbeat_load_table()->event_name)
#define hbeat_event_text (hbeat_load_table()->event_text)
#define hbeat_link_open (hbeat_load_table()->link_open)
#define hbeat_link_dial (hbeat_load_table()->link_dial)
#define hbeat_link_adopt (hbeat_load_table()->link_adopt)
#define hbeat_listener_open (hbeat_load_table()->listener_open)
#define hbeat_listener_close (hbeat_load_table()->listener_close)
#define hbeat_listener_info_get (hbeat_load_table()->listener_info_get)
#define hbeat_link_start (hbeat_load_table()->link_start)
#define hbeat_link_pause (hbeat_load_table()->link_pause)
#define hbeat_link_close (hbeat_load_table()->link_close)
#define hbeat_link_received (hbeat_load_table()->link_received)
#define hbeat_links_received (hbeat_load_table()->links_received)
#define hbeat_link_sent (hbeat_load_table()->link_sent)
#define hbeat_link_feed (hbeat_load_table()->link_feed)
#define hbeat_link_take (hbeat_load_table()->link_take)
#define hbeat_link_unsent (hbeat_load_table()->link_unsent)
#define hbeat_link_answer_received (hbeat_load_table()->link_answer_received)
#define hbeat_link_beat_received (hbeat_load_table()->link_beat_received)
#define hbeat_link_report_down (hbeat_load_table()->link_report_down)
#define hbeat_link_set_policy (hbeat_load_table()->link_set_policy)
#define hbeat_link_set_keys (hbeat_load_table()->link_set_keys)
#define hbeat_link_info (hbeat_load_table()->link_info)
#define hbeat_link_feed_sent (hbeat_load_table()->link_feed_sent)
#define hbeat_link_beat_sent (hbeat_load_table()->link_beat_sent)
#define hbeat_link_set_data (hbeat_load_table()->link_set_data)
#define hbeat_link_set_state (hbeat_load_table()->link_set_state)
#define hbeat_link_peer_state (hbeat_load_table()->link_peer_state)
#define hbeat_keepalive_set (hbeat_load_table()->keepalive_set)
#define hbeat_keepalive_get (hbeat_load_table()->keepalive_get)
#define hbeat_policy_keepalive (hbeat_load_table()->policy_keepalive)
#define hbeat_tcp_info_get (hbeat_load_table()->tcp_info_get)
#define hbeat_engine_progress (hbeat_load_table()->engine_progress)
#define hbeat_link_progress (hbeat_load_table()->link_progress)
#define hbeat_engine_stats (hbeat_load_table()->engine_stats)
#define hbeat_engine_histogram (hbeat_load_table()->engine_histogram)

#endif /* HBEAT_LOAD_H */
