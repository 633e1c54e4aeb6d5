/* hbeat's side: an engine, its links, and what is the same in several workloads. */
#ifndef HB_H
#define HB_H

#include "hbeat.h"
#include "harness.h"

extern hbeat_engine *engine;
extern hbeat_link *ids;
/* Events that should not have come: SUSPECT, DOWN, PAUSE, APP_NOT_RESPONDING. */
extern uint32_t counted_bad;

/* Fills in the rest, makes the engine and room for the ids of size.links. */
void open_engine(hbeat_engine_options options);
hbeat_policy policy_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
void open_links(uint32_t count, hbeat_policy policy, const char *protocol, int start_paused);
void drive(void);
/* Until all that was said is done. */
void come_to_rest(void);
/* Hands out the events that wait. */
void pull(hbeat_event_callback callback, uint32_t timeout_ms);
void on_event(void *data, const hbeat_event *event);

/* W4 of hbeat's own threads with *count shards: CPU in % of a core of each window, and then the lateness p99 in ms. */
#define W4_WINDOWS 5
void w4_of_shards(const void *count, double *results);

#endif
