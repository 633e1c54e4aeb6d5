/*
 hbeat.h: a heartbeat engine that tells a program, quickly and truthfully, when the other end of a connection is gone.

 ==== The model ====

 An application opens a link for each connection it wants watched. hbeat keeps the time, says when a beat (a
 heartbeat, a test) must go out, and tells the application once when a peer is gone, why, and on what evidence. It
 never touches a socket of the application's: the application reads and writes, as it did before. It has sockets of its
 own for links that it carries itself.

   PAUSED --start--> UP --first miss--> SUSPECT --tries used up--> DOWN
                     ^                     |
                     +---- sign of life ---+

 ==== The calls that matter ====

   reader:  if (hbeat_link_feed(engine, link, bytes, n, now) == HBEAT_INFO_SEND) wake_writer(connection);
   writer:  hbeat_link_take(engine, link, &next_sequence, now, buffer, sizeof buffer, &length);
            then write what was taken; called when on_send, a SEND event or the reader says so
   event:   HBEAT_EVENT_DOWN: log hbeat_event_text, shut the socket down, hbeat_link_close
   release: free(connection)

 and once, to set it up:

   hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
   options.on_event = on_event;  options.on_send = on_send;  options.release = release;
   hbeat_engine_new(&options, &engine);

   hbeat_policy_parse(&policy, sizeof policy, "cmpp interval=60s timeout=20s tries=3");
   hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
   how.name = "gd-mt-07";  how.protocol = "cmpp";  how.fd = fd;  how.start_paused = 1;  how.link_data = connection;
   hbeat_link_open(engine, &policy, &how, &link);
   ... login ...
   hbeat_link_start(engine, link, now);

 Who parses himself says hbeat_link_received for every message in place of feed, and hbeat_link_answer_received and
 hbeat_link_beat_received for tests. Who finds out himself (end of file, write error, TERMINATE, failed login) says
 hbeat_link_report_down.

 Between two ends that both have hbeat nothing needs to be read or written: hbeat_link_dial makes the connection, beats on
 it and makes it anew when it is lost; hbeat_link_adopt takes over a socket. Such links carry beats only.

 Who has a heartbeat of his own sets observe_only in the policy and shows hbeat_link_feed_sent what he writes: hbeat
 sends nothing, and says with HBEAT_EVENT_WOULD_BE_DOWN what it would have done.

 ==== What is guaranteed ====

 - One DOWN a link, whoever found out. Closing gives no DOWN.
 - Own sends never prove that the peer lives. What has arrived is known before a deadline is judged; a pause of this
   process, or bytes that our own reader has not read yet, are not blamed on the peer.
 - hbeat_link_close never waits and may be called anywhere. After it returns no event of the link is handed out; the
   last one, CLOSED (or the release callback in its place), comes exactly once: free link_data there.
 - No code of the application's runs on a thread that keeps the time. on_event may block: it stops no beat and no
   verdict. on_send must not block; if it does, no peer is blamed, and APP_NOT_RESPONDING says so.
 - hbeat changes no signal, handler, environment, locale or logger of the process; its descriptors are close-on-exec.

 ==== What it cannot see ====

 A peer that answers tests while requests go unanswered reads UP: the test path lives, the service does not. Count the
 application's own unanswered requests and say hbeat_link_report_down(engine, link,
 HBEAT_CAUSE_PEER_APP_NOT_RESPONDING, 0) when they are too many or too old.

 ==== Pointers, sizes, texts ====

 - A pointer is to what its type says, as large as the size that goes with it says, for as long as the call lasts. hbeat
   keeps none but engine_data, link_data and the callbacks. NULL where it is not allowed is an error, never a crash.
 - Outputs are written on success only (0 and above), unless the function says otherwise.
 - Structs begin with struct_size. Set it to sizeof; the INIT macros at the end of this header do. Structs only grow at
   their end: fields that an older program lacks are 0, and fields of a newer one must be 0 (else UNSUPPORTED).
 - Texts that go in are UTF-8 and end with a NUL. Times are in the unit that their name says.
 - A socket is its descriptor. On Windows it is its SOCKET, which an int32_t holds (handles have 32 significant bits);
   WSAStartup is the application's to call.
 - A hbeat_link is a number and safe for ever. A hbeat_engine pointer must not be used after hbeat_engine_free.

 ==== Errors ====

 A call returns 0, an error below 0, or an information above 0, so test for < 0. hbeat_last_error has the sentence, for
 each thread its own: it names field, value and what is allowed. The docs below list errors without their HBEAT_ERR_;
 every call can give PANIC, a bug in hbeat that was caught (text is "" then, a time 0). The engine in which it happened
 has failed: ENGINE_FAILED says so, nothing is judged any more, and calls that would tell it something are FAILED.
 close, stop, free, wait, health, links and now still work, and every link gets its CLOSED. Make a new engine.

 NO_MEMORY is said where a large block is refused: hbeat_engine_new, hbeat_link_open,
 hbeat_link_progress. Where a small one is, here or
 elsewhere, the process ends, as every Rust program does.

 ==== Threads, callbacks, fork ====

 Every call may be made from any thread at any time unless it says otherwise. Callbacks run on threads of hbeat's, or
 inside hbeat_engine_drive and hbeat_engine_advance; on_event and on_send each one at a time, but beside each other.
 A callback must return: a C++ exception, a longjmp or a pthread_exit out of it is forbidden. What unwinds into hbeat
 all the same aborts the process. After fork the child gets FORKED from
 every call on the engine; it can make one of its own.

 ==== Time ====

 now_ns is CLOCK_MONOTONIC (Windows: the performance counter) in nanoseconds (hbeat_now_ns) of the moment at which the
 thing told happened. 0: hbeat reads the clock. A time ahead of hbeat's own counts as now (within a second it may stand).
 A past one counts as what it says; what is told of a moment more than 2^29 ms (6 days) ago proves nothing. start, take
 and unsent are done now: for them a time more than a second past is now, too.
*/

#ifndef HBEAT_H
#define HBEAT_H

#include <stddef.h>
#include <stdint.h>

/* Made from src/ffi by cbindgen: change the docs there, then "make header". */

#ifdef __cplusplus
extern "C" {
#endif

/*
 ==== Constants ====

 Version of this header, first number. As long as it is 0, a new second number may break programs.
 */
#define HBEAT_VERSION_MAJOR 0

/* Second number. */
#define HBEAT_VERSION_MINOR 1

/* Third number. */
#define HBEAT_VERSION_PATCH 0

/* As a timeout in milliseconds: wait for ever. */
#define HBEAT_FOREVER 4294967295u

/* In a field of type uint32_t that comes out of hbeat: not known. */
#define HBEAT_UNKNOWN 4294967295u

/* Bytes that the name of a link takes, its NUL included. */
#define HBEAT_NAME_MAX 64

/* A buffer of so many bytes holds at least one frame of every protocol. */
#define HBEAT_FRAME_MAX 2048

/* How long the state may be that a link's beats and answers carry, in bytes. */
#define HBEAT_APP_STATE_MAX 1024

/* policy.strategy: a beat is due when the link was idle for interval_ms. */
#define HBEAT_STRATEGY_IDLE 0u

/* policy.strategy: a beat is due each interval_ms, whatever the traffic. */
#define HBEAT_STRATEGY_PERIODIC 1u

/* policy.idle_on: idle is a link on which nothing was received. */
#define HBEAT_IDLE_ON_RECEIVED 0u

/* policy.idle_on: or nothing was sent (NAT, MQTT). */
#define HBEAT_IDLE_ON_EITHER 1u

/* policy.proof: any complete message proves that the peer lives. */
#define HBEAT_PROOF_ANY 0u

/* policy.proof: only an answer that matches an outstanding beat does. */
#define HBEAT_PROOF_ANSWER 1u

/* policy.resend: each try carries a new sequence number. */
#define HBEAT_RESEND_NEW 0u

/* policy.resend: each try carries that of the first one (CMPP). */
#define HBEAT_RESEND_SAME 1u

/* policy.on_no_progress: beats and answers go on. */
#define HBEAT_NO_PROGRESS_GO_ON 0u

/* policy.on_no_progress: they say that the application does not respond, where the protocol can (heart). */
#define HBEAT_NO_PROGRESS_FLAG 1u

/* policy.on_no_progress: they stop. */
#define HBEAT_NO_PROGRESS_STOP 2u

/* engine_options.run: hbeat's own threads turn the engine. */
#define HBEAT_RUN_THREADS 0u

/* engine_options.run: the application turns it with hbeat_engine_drive; hbeat has no thread. */
#define HBEAT_RUN_APPLICATION 1u

/* engine_options.clock: CLOCK_MONOTONIC. */
#define HBEAT_CLOCK_SYSTEM 0u

/* engine_options.clock: hbeat_engine_advance moves it; for tests. */
#define HBEAT_CLOCK_MANUAL 1u

/* engine_options.on_panic: a bug in hbeat that is caught gives HBEAT_EVENT_ENGINE_FAILED. */
#define HBEAT_ON_PANIC_EVENT 0u

/* engine_options.on_panic: it aborts the process. */
#define HBEAT_ON_PANIC_ABORT 1u

/* on_log: a change of state, as it should be. */
#define HBEAT_LOG_INFO 1u

/* on_log: something that an operator should look into. */
#define HBEAT_LOG_WARNING 2u

/* health.phase: it runs. */
#define HBEAT_PHASE_RUNNING 1u

/* health.phase: stop was called and has not come to its end. */
#define HBEAT_PHASE_STOPPING 2u

/* health.phase: it was stopped. */
#define HBEAT_PHASE_STOPPED 3u

/* health.phase: a bug in hbeat was caught; nothing is watched any more. */
#define HBEAT_PHASE_FAILED 4u

/* events: all but ANSWER and BEAT_RECEIVED. The mask of an event is 1u << HBEAT_EVENT_*. */
#define HBEAT_EVENTS_DEFAULT 524094u

/* events: all. */
#define HBEAT_EVENTS_ALL 524286u

/* reconnect: a connection that hbeat_link_dial made is made anew, one that was handed over is not. */
#define HBEAT_RECONNECT_DEFAULT 0u

/* reconnect: it is made anew; one that was handed over to the address of its peer. */
#define HBEAT_RECONNECT_YES 1u

/* reconnect: it is not. */
#define HBEAT_RECONNECT_NO 2u

/* Places of listener_info.endpoint, its NUL included. */
#define HBEAT_ENDPOINT_MAX 128

/* histogram: round-trip times of all links. */
#define HBEAT_HISTOGRAM_RTT 0u

/* histogram: how much later than due hbeat looked at a deadline; large when this machine is busy or was asleep. */
#define HBEAT_HISTOGRAM_LATENESS 1u

/* Places of stats.downs, more than there are causes. */
#define HBEAT_CAUSES_MAX 16

/* Places of histogram.below. */
#define HBEAT_BELOW_MAX 32

/*
 ==== Statuses ====

 Every status there is. hbeat_status_name and hbeat_status_text have a name and a sentence for each.
 */
typedef enum hbeat_status_code {
  /* Done. */
  HBEAT_OK = 0,
  /*
   feed: an answer is owed, take it. take, with protocol "none": write your own beat, with the number that
   *sequence had.
   */
  HBEAT_INFO_SEND = 1,
  /* take: more frames than the buffer holds. advance, drive: events wait to be pulled. links: there are more. */
  HBEAT_INFO_MORE = 2,
  /* report_down: the link was DOWN before; the first cause stands. */
  HBEAT_INFO_ALREADY_DOWN = 3,
  /* stop from inside a callback: the engine stops as soon as the callback returns. */
  HBEAT_INFO_STOPPING = 4,
  /* wait after stop: everything was handed out. */
  HBEAT_INFO_END = 5,
  /* An argument, or a value of a policy, is out of its range; hbeat_last_error names field, value and range. */
  HBEAT_ERR_INVALID = -1,
  /* A pointer that must not be NULL is. */
  HBEAT_ERR_NULL = -2,
  /* struct_size or event_size is smaller than that struct ever was, or absurdly large (above 4096). */
  HBEAT_ERR_SIZE = -3,
  /* A struct of a newer hbeat asks, by a field that is not 0, for something this one does not know. */
  HBEAT_ERR_UNSUPPORTED = -4,
  /* The link is closed, was never opened, or is another engine's. */
  HBEAT_ERR_NO_LINK = -5,
  /* open: as many opens wait as open_queue allows; try again. */
  HBEAT_ERR_AGAIN = -6,
  /* open: max_links are open. */
  HBEAT_ERR_LIMIT = -7,
  /*
   Another thread is in take or feed of this link, or in wait or drive of this engine; free: stop has not come
   to its end.
   */
  HBEAT_ERR_BUSY = -8,
  /* stop, quiesce: the time given was not enough. */
  HBEAT_ERR_TIMEOUT = -9,
  /* quiesce, drive, advance or free from inside a callback, which they would wait for. */
  HBEAT_ERR_WOULD_DEADLOCK = -10,
  /* The engine was stopped. */
  HBEAT_ERR_STOPPED = -11,
  /* The engine failed, see HBEAT_EVENT_ENGINE_FAILED. */
  HBEAT_ERR_FAILED = -12,
  /* This process is a fork of the one that made the engine. */
  HBEAT_ERR_FORKED = -13,
  /*
   The engine or the link was not set up for this call: drive with HBEAT_RUN_THREADS, advance without
   HBEAT_CLOCK_MANUAL, wait with on_event set, feed with protocol "none".
   */
  HBEAT_ERR_WRONG_MODE = -14,
  /*
   feed: the bytes are not the link's protocol (any more); the link is DOWN with HBEAT_CAUSE_DESYNC. feed_sent: those
   sent are not.
   */
  HBEAT_ERR_DESYNC = -15,
  /* Memory was refused. */
  HBEAT_ERR_NO_MEMORY = -16,
  /* A system call failed; hbeat_last_error says which and why. */
  HBEAT_ERR_SYSTEM = -17,
  /* A bug in hbeat, caught before it reached the caller. */
  HBEAT_ERR_PANIC = -18
} hbeat_status_code;

/*
 ==== States, causes, events ====

 What a link is believed to be.
 */
typedef enum hbeat_state {
  /* Opened and not started: nothing is due, nothing is judged. */
  HBEAT_STATE_PAUSED = 1,
  /* There is no connection that was heard from yet: of links whose connection hbeat makes itself. */
  HBEAT_STATE_CONNECTING = 2,
  /* Alive as far as anyone can tell. */
  HBEAT_STATE_UP = 3,
  /* At least one try was missed, some are left. */
  HBEAT_STATE_SUSPECT = 4,
  /* Given up, or reported. */
  HBEAT_STATE_DOWN = 5
} hbeat_state;

/*
 Why a link is DOWN. hbeat itself finds NO_ANSWER, SILENT, SEND_STUCK, DESYNC and PARTIAL_FRAME; the application can
 report any of them with hbeat_link_report_down.
 */
typedef enum hbeat_cause {
  /* It is not DOWN. */
  HBEAT_CAUSE_NONE = 0,
  /* As many tries as allowed went unanswered. */
  HBEAT_CAUSE_NO_ANSWER = 1,
  /* Nothing was heard for the hold time, and nothing can be asked. */
  HBEAT_CAUSE_SILENT = 2,
  /* The last beat was due and never taken, or the descriptor takes no more bytes: we could not ask. */
  HBEAT_CAUSE_SEND_STUCK = 3,
  /* The connection was refused. */
  HBEAT_CAUSE_REFUSED = 4,
  /* It was reset. */
  HBEAT_CAUSE_RESET = 5,
  /* The peer closed it (end of file, TERMINATE). */
  HBEAT_CAUSE_CLOSED_BY_PEER = 6,
  /* No route, or the host does not answer. */
  HBEAT_CAUSE_UNREACHABLE = 7,
  /* The stream is not the protocol's (any more). */
  HBEAT_CAUSE_DESYNC = 8,
  /* A message was begun and not finished in time. */
  HBEAT_CAUSE_PARTIAL_FRAME = 9,
  /* A message that the protocol forbids. */
  HBEAT_CAUSE_PROTOCOL_ERROR = 10,
  /* The login failed, or a beat did not prove who sent it. */
  HBEAT_CAUSE_UNAUTHENTICATED = 11,
  /* The peer beats too often. */
  HBEAT_CAUSE_POLICED = 12,
  /* The peer's process answers tests and its application does not work. */
  HBEAT_CAUSE_PEER_APP_NOT_RESPONDING = 13,
  /* The application says so, for a reason of its own. */
  HBEAT_CAUSE_REPORTED = 14
} hbeat_cause;

/* What happened. */
typedef enum hbeat_event_type {
  /* Something is to be taken with hbeat_link_take and written: a beat, or answers owed since a pause. */
  HBEAT_EVENT_SEND = 1,
  /* Back from SUSPECT, or from DOWN with up_after. Opening and starting make no event. */
  HBEAT_EVENT_UP = 2,
  /* A try was missed, some are left. */
  HBEAT_EVENT_SUSPECT = 3,
  /* The verdict, or the application's own report; once a link (with up_after: once a life). */
  HBEAT_EVENT_DOWN = 4,
  /* The last event of a link: free link_data here. With a release callback that is called in its place. */
  HBEAT_EVENT_CLOSED = 5,
  /* On request: an answer that matches a beat; sequence and rtt_us are its own. */
  HBEAT_EVENT_ANSWER = 6,
  /* On request: a beat of the peer. */
  HBEAT_EVENT_BEAT_RECEIVED = 7,
  /*
   A judgement waits because bytes lie unread on the observed descriptor, or because the application makes no progress
   (progress_ms): our own reader is late.
   */
  HBEAT_EVENT_LOCAL_READER_LATE = 8,
  /* A message has been unfinished for partial_ms; its bytes count no longer. */
  HBEAT_EVENT_PARTIAL_FRAME = 9,
  /*
   Of the engine: this process did not run when it should have, detail ms long at least. A link whose T is less than
   twice as long as that gets a grace of one T.
   */
  HBEAT_EVENT_PAUSE = 10,
  /*
   A notice could not be handed out for a whole timeout: a callback hangs, or nobody pulls. Or the application made no
   progress for the link's progress_ms; once until it makes some.
   */
  HBEAT_EVENT_APP_NOT_RESPONDING = 11,
  /* Of the engine: a bug in hbeat was caught; nothing is watched any more. */
  HBEAT_EVENT_ENGINE_FAILED = 12,
  /*
   With observe_only: the link would be DOWN now, for the cause of the event. It stays SUSPECT until a sign of life
   (UP) or a report of the application's (DOWN).
   */
  HBEAT_EVENT_WOULD_BE_DOWN = 13,
  /*
   hbeat makes a connection: attempt says for which time, next_ms when, cause and detail why the one before came to
   nothing.
   */
  HBEAT_EVENT_CONNECTING = 14,
  /*
   The state that the peer tells in its beats and answers changed, the first one included; detail is its length in
   bytes, 0 when it has none any more. hbeat_link_peer_state gives it.
   */
  HBEAT_EVENT_PEER_STATE = 15,
  /* The peer beats more often than least_ms allows; detail is the number of strikes since it sent real data last. */
  HBEAT_EVENT_STRIKE = 16,
  /*
   The first event of a link that came to a listener: its peer connected and was heard. Give it link_data with
   hbeat_link_set_data, and close it as any other.
   */
  HBEAT_EVENT_ACCEPTED = 17,
  /*
   Of a listener: it refused count connections, or the system has no room for more (detail is its error number
   then). At most once a second.
   */
  HBEAT_EVENT_LISTENER_LIMIT = 18
} hbeat_event_type;

/*
 ==== Types ====

 An engine: keeps the time of many links. Made by hbeat_engine_new, ended by hbeat_engine_free.
 */
typedef struct hbeat_engine hbeat_engine;

/*
 What a call came to: 0 is done, below 0 is an error and nothing was done, above 0 is done with something to add.
 The values are those of enum hbeat_status_code.
 */
typedef int32_t hbeat_status;

/*
 When to beat, how long to wait for an answer, how many tries, and what proves life. Start from a preset or from
 text, then change fields. No time is longer than 2^29 ms (149 hours).

 After interval_ms without a message a beat is due. If nothing proves life within timeout_ms, that try is missed:
 the link is SUSPECT and the next try is due at once. The miss number tries is the verdict, DOWN, at the first beat
 + tries * timeout_ms whatever happened in between. hbeat_policy_detection computes what that comes to.
 */
typedef struct hbeat_policy {
  /* sizeof(hbeat_policy); set by the calls that fill the struct. */
  uint32_t struct_size;
  /* Idle time, or period, after which a beat is due; 0 = this side never beats by itself. */
  uint32_t interval_ms;
  /* How long an answer may take, from 1. */
  uint32_t timeout_ms;
  /* How many beats in a row may go unanswered, all sends counted: 0 to 255; 0 only where hold_time_ms judges alone. */
  uint32_t tries;
  /* HBEAT_STRATEGY_*. */
  uint32_t strategy;
  /* HBEAT_IDLE_ON_*. */
  uint32_t idle_on;
  /* HBEAT_PROOF_*. */
  uint32_t proof;
  /* 1: the peer's protocol answers beats; 0: beats are one-way, and hold_time_ms judges alone. */
  uint32_t answer_expected;
  /* 1: hbeat owes an answer to a beat that hbeat_link_feed finds; 0: the application answers it. */
  uint32_t answer;
  /* HBEAT_RESEND_*. */
  uint32_t resend;
  /* How long silence is tolerated before a probe starts, or before the verdict where nothing can be probed; 0 = off. */
  uint32_t hold_time_ms;
  /* How much earlier than due a beat may go out, in percent of the interval, so that many links spread: 0 to 25. */
  uint32_t jitter_percent;
  /* How long a message may stay unfinished before its bytes no longer count as a sign of life; 0 = timeout_ms. */
  uint32_t partial_ms;
  /* The longest that unread bytes on the observed descriptor hold a verdict up; 0 = 10 * timeout_ms. */
  uint32_t late_reader_limit_ms;
  /* Intervals in a row with a sign of life that bring a DOWN link back (datagrams): 0 to 255; 0 = DOWN is final. */
  uint32_t up_after;
  /*
   1: the application has a heartbeat of its own, and hbeat only watches it. Nothing is sent or answered; the
   application's beats, seen by hbeat_link_feed_sent or told by hbeat_link_beat_sent, are the tries, but for those
   within the timeout of another; what would be DOWN is HBEAT_EVENT_WOULD_BE_DOWN. up_after must be 0.
   */
  uint32_t observe_only;
  /*
   The peer is to beat no more often than each so many milliseconds; 0 = as often as it likes. What jitter of a
   quarter, retries and a network that held beats up can make of that is allowed; each beat beyond it is a strike
   (HBEAT_EVENT_STRIKE), unless data came since the last one.
   */
  uint32_t least_ms;
  /* The strike after so many is the verdict, HBEAT_CAUSE_POLICED: 0 to 255; 0 = 3. 0 where least_ms is 0. */
  uint32_t strikes;
  /*
   How long the application may go without hbeat_engine_progress or hbeat_link_progress before it counts as not
   responding: HBEAT_EVENT_APP_NOT_RESPONDING, and no verdict against the peer for late_reader_limit_ms at most;
   0 = nobody asks.
   */
  uint32_t progress_ms;
  /* What then becomes of beats and answers: HBEAT_NO_PROGRESS_*; GO_ON where progress_ms is 0 or observe_only is 1. */
  uint32_t on_no_progress;
} hbeat_policy;

/*
 By what rule a lost connection is tried again: exponential, full jitter, capped. hbeat computes; connecting, and
 counting attempts, is the application's. Count from 1 again when a connection was up for stable_ms.
 */
typedef struct hbeat_backoff {
  /* sizeof(hbeat_backoff); set by hbeat_backoff_default. */
  uint32_t struct_size;
  /* No delay is shorter: 1 to first_ms. */
  uint32_t least_ms;
  /* Longest delay before the first attempt: least_ms to cap_ms. */
  uint32_t first_ms;
  /* Longest delay before any attempt: first_ms to 2^29. */
  uint32_t cap_ms;
  /* Growth from attempt to attempt in percent: 100 (none) to 1000. */
  uint32_t multiplier_percent;
  /* How long a connection must have been up for the attempts to count from 1 again. */
  uint32_t stable_ms;
  /* Delay after a refusal that only a change of configuration can cure (wrong password): cap_ms to 2^29. */
  uint32_t refused_ms;
  /* Least time between two starts to one destination, see hbeat_backoff_reserve: 0 (no cap) to 2^29. */
  uint32_t spacing_ms;
} hbeat_backoff;

/*
 The id of a link: never 0. A number, not a pointer: safe to keep for ever. Once the link is closed, calls with it
 say NO_LINK.
 */
typedef uint64_t hbeat_link;

/* The id of a listener: never 0, never that of a link. A number, safe to keep for ever. */
typedef uint64_t hbeat_listener;

/*
 Something that happened, with the evidence. Comes out of hbeat only. In a callback it is valid until the callback
 returns.
 */
typedef struct hbeat_event {
  /* How many bytes of it hbeat filled. */
  uint32_t struct_size;
  /* HBEAT_EVENT_*. */
  uint32_t type;
  /* Which link; 0 for an event of the engine or a listener. */
  hbeat_link link;
  /* What the application gave to hbeat_link_open, or to hbeat_link_set_data since. */
  void *link_data;
  /* When it happened, on the engine's clock. */
  uint64_t at_ns;
  /* HBEAT_STATE_* after it; 0 for an event of the engine or a listener. */
  uint32_t state;
  /* HBEAT_CAUSE_*; other than 0 when the link is DOWN or, with observe_only, would be. */
  uint32_t cause;
  /* SEND: the number of this try from 1, 0 outside a probe. Others: tries missed. */
  uint32_t tries;
  /* Tries that the policy allows. */
  uint32_t tries_max;
  /* Sequence number of the latest beat taken; ANSWER, BEAT_RECEIVED: theirs. */
  uint32_t sequence;
  /* How many changes this event stands for: more than 1 when the application was late. */
  uint32_t count;
  /*
   DOWN by report: what the report said. PAUSE: length in ms. DOWN and CONNECTING of a link that hbeat carries: the
   system's error number, or 0. PEER_STATE, STRIKE: see there.
   */
  uint32_t detail;
  /* Latest round-trip time in microseconds, or HBEAT_UNKNOWN. */
  uint32_t rtt_us;
  /* How long ago, at at_ns, something was received last, in ms; or HBEAT_UNKNOWN. */
  uint32_t last_received_ms;
  /* Likewise sent. */
  uint32_t last_sent_ms;
  /* Bytes that wait unread on the observed descriptor; -1 = not known. */
  int32_t unread_bytes;
  /* Bytes that wait in its send queue; -1 = not known. */
  int32_t send_queue_bytes;
  /* Name of the link or listener, "" for an event of the engine; UTF-8, ends with a NUL. */
  char name[HBEAT_NAME_MAX];
  /* CONNECTING: number of the attempt, from 1. */
  uint32_t attempt;
  /* CONNECTING: in how many ms the attempt begins; or HBEAT_UNKNOWN. */
  uint32_t next_ms;
  /* Of a listener, and of links that came to one: which; otherwise 0. */
  hbeat_listener listener;
  /*
   SUSPECT, DOWN, WOULD_BE_DOWN of a link whose TCP socket hbeat knows: what the kernel knew of the connection, each as in
   hbeat_tcp_info, HBEAT_UNKNOWN where it does not tell and in other events. Its state, 1 established.
   */
  uint32_t tcp_state;
  /* Segments sent and not acknowledged. */
  uint32_t tcp_unacked;
  /* How often the oldest of them has been sent again. */
  uint32_t tcp_retransmits;
  /* Segments sent again since the connection was made. */
  uint32_t tcp_total_retransmits;
  /* Smoothed round-trip time of the kernel's, in microseconds. */
  uint32_t tcp_rtt_us;
  /* Its variation. */
  uint32_t tcp_rtt_var_us;
  /* How long ago an acknowledgement came, in ms: answers of the peer's kernel, not of its program. */
  uint32_t tcp_last_ack_ms;
  /* How long ago data came, in ms. */
  uint32_t tcp_last_data_received_ms;
} hbeat_event;

/* Told about an event. It must not throw, longjmp out or end its thread: see the head of this header. */
typedef void (*hbeat_event_callback)(void *engine_data, const struct hbeat_event *event);

/* Told, once a link, that nothing of hbeat will use its link_data again. May be free itself. */
typedef void (*hbeat_release_callback)(void *link_data);

/* Given a line for a log, without a line end; level is HBEAT_LOG_*. The line is valid until the callback returns. */
typedef void (*hbeat_log_callback)(void *engine_data, uint32_t level, const char *line);

/*
 How an engine is set up. Begin with HBEAT_ENGINE_OPTIONS_INIT; a struct that is all zero but for struct_size runs,
 too: one thread, events to pull. hbeat keeps no pointer of it but engine_data and the callbacks.
 */
typedef struct hbeat_engine_options {
  /* sizeof(hbeat_engine_options). */
  uint32_t struct_size;
  /* HBEAT_RUN_*. */
  uint32_t run;
  /* HBEAT_CLOCK_*. */
  uint32_t clock;
  /* Shards, each a thread of its own with HBEAT_RUN_THREADS: 1 to 64; 0 = 1. */
  uint32_t threads;
  /* Resolution: 1 to 1000; 0 = 1. */
  uint32_t tick_ms;
  /* Which events are asked for, a mask of 1u << HBEAT_EVENT_*; 0 = HBEAT_EVENTS_DEFAULT. */
  uint32_t events;
  /* How many links may be open at once: at most 2^28 a shard; 0 = 1048576. */
  uint32_t max_links;
  /* How many opens may wait for a shard; 0 = 65536. */
  uint32_t open_queue;
  /* HBEAT_ON_PANIC_*. */
  uint32_t on_panic;
  /* Nice value of hbeat's threads, -20 to 19; 0 = that of the creator. */
  int32_t nice;
  /* CPUs that hbeat's threads may run on, a mask of the first 64; 0 = any. */
  uint64_t cpus;
  /* HBEAT_CLOCK_MANUAL: where the clock starts. Otherwise unused. */
  uint64_t start_ns;
  /* Prefix of the names of hbeat's threads, UTF-8, at most 10 bytes; NULL = "hbeat". */
  const char *thread_name;
  /* Handed to on_event, on_send and on_log; hbeat never looks at it. */
  void *engine_data;
  /* Told about everything but SEND, on a thread of its own. NULL: pull with hbeat_engine_wait. */
  hbeat_event_callback on_event;
  /* Told about SEND, on a thread of its own; must not block. NULL: SEND goes where the other events go. */
  hbeat_event_callback on_send;
  /* In place of HBEAT_EVENT_CLOSED: called once a link, as its last callback. */
  hbeat_release_callback release;
  /* One line a change of state, and warnings. */
  hbeat_log_callback on_log;
} hbeat_engine_options;

/* How an engine is; for a watchdog. Set struct_size before the call. */
typedef struct hbeat_health {
  /* sizeof(hbeat_health); comes back as how many bytes hbeat filled. */
  uint32_t struct_size;
  /* HBEAT_PHASE_*. */
  uint32_t phase;
  /* Threads of hbeat's that exist. */
  uint32_t threads;
  /* Links that are open, or closed with their last event not yet handed out. */
  uint32_t links;
  /* How far the most backward shard is behind what it should have done; more than a few seconds: ask for help. */
  uint32_t turn_age_ms;
  /* How long on_event has been inside the application; 0 = it is not. */
  uint32_t on_event_ms;
  /* Likewise on_send. */
  uint32_t on_send_ms;
  /* Events that wait to be handed out. */
  uint32_t waiting;
  /* Times so far that callers gave and that could not be right: more than six days back. 0 is as it should be. */
  uint32_t doubtful_times;
} hbeat_health;

/*
 A secret that both ends of a link have, by the same id. Made by a generator of random numbers, not by a person. hbeat
 keeps no copy of the octets, only what it computes from them, and wipes that with the last link that uses it; the
 caller wipes its own.
 */
typedef struct hbeat_key {
  /* sizeof(hbeat_key), in each element of an array. */
  uint32_t struct_size;
  /* Any number that both ends know the key by. */
  uint32_t id;
  /* The octets. */
  const void *bytes;
  /* How many: 16 to 64. */
  size_t length;
} hbeat_key;

/*
 How a link is set up. Begin with HBEAT_LINK_OPTIONS_INIT; a struct that is all zero but for struct_size is right, too.
 hbeat copies the texts.
 */
typedef struct hbeat_link_options {
  /* sizeof(hbeat_link_options). */
  uint32_t struct_size;
  /*
   Socket to observe (unread bytes, send queue): never read, written, duplicated or closed by hbeat. It must stay
   open until hbeat_link_close. 0 or -1: none.
   */
  int32_t fd;
  /* For events and logs: UTF-8, at most 63 bytes; NULL or "" = "link-" and the id in hexadecimal. */
  const char *name;
  /* How beats and answers look: "none" (the application's own), "cmpp", "heart" (hbeat's own); NULL = "none". */
  const char *protocol;
  /* Handed back with each event of the link; hbeat never looks at it. */
  void *link_data;
  /* 1: nothing is due or judged before hbeat_link_start (login); 0: the link is UP at once. */
  uint32_t start_paused;
  /* Which events are asked for, a mask of 1u << HBEAT_EVENT_*; 0 = as the engine. */
  uint32_t events;
  /* dial, adopt: the delays between attempts; NULL = those of hbeat_backoff_default. Copied. */
  const struct hbeat_backoff *backoff;
  /* dial, adopt: HBEAT_RECONNECT_*. */
  uint32_t reconnect;
  /* dial, adopt: how many attempts in a row may fail before the link is DOWN for good; 0 = any number. */
  uint32_t attempts;
  /*
   dial, adopt: "heart" only. Every frame is sealed with the first of these keys, and taken only if it is sealed with
   one of them; see hbeat_link_set_keys. NULL = nothing is sealed.
   */
  const struct hbeat_key *keys;
  /* How many there are: 1 or 2; 0 where keys is NULL. */
  size_t key_count;
} hbeat_link_options;

/* All that is known of a link. Set struct_size before the call. */
typedef struct hbeat_info {
  /* sizeof(hbeat_info); comes back as how many bytes hbeat filled. */
  uint32_t struct_size;
  /* HBEAT_STATE_*. */
  uint32_t state;
  /* HBEAT_CAUSE_*: why it is DOWN or, with observe_only, would be. */
  uint32_t cause;
  /* What hbeat_link_report_down said. */
  uint32_t detail;
  /* Tries missed. */
  uint32_t tries;
  /* Tries that the policy allows. */
  uint32_t tries_max;
  /* Sequence number of the latest beat taken. */
  uint32_t sequence;
  /* 0 "none", 1 "cmpp", 2 "heart". */
  uint32_t protocol;
  /* The link. */
  hbeat_link link;
  /* What the application gave to hbeat_link_open, or to hbeat_link_set_data since. */
  void *link_data;
  /* How long ago something was received last; or HBEAT_UNKNOWN. */
  uint32_t last_received_ms;
  /* Likewise sent. */
  uint32_t last_sent_ms;
  /* For how long it has been in its state. */
  uint32_t in_state_ms;
  /* Latest round-trip time in microseconds, or HBEAT_UNKNOWN. */
  uint32_t rtt_us;
  /* The shortest. */
  uint32_t rtt_min_us;
  /* The longest. */
  uint32_t rtt_max_us;
  /* Bytes that wait unread on the observed descriptor; -1 = not known. */
  int32_t unread_bytes;
  /* Bytes that wait in its send queue; -1 = not known. */
  int32_t send_queue_bytes;
  /* Beats taken; with observe_only those that the application sent. */
  uint64_t beats_sent;
  /* Answers that matched a beat. */
  uint64_t answers_received;
  /* Beats of the peer. */
  uint64_t beats_received;
  /* Answers taken; with observe_only those that hbeat_link_feed_sent found. */
  uint64_t answers_sent;
  /* Answers that came after their time, but before the next probe; no sign of life. */
  uint64_t answers_late;
  /* Answers to no beat of ours, or later still; no sign of life. */
  uint64_t answers_unmatched;
  /* Answers owed and given up: for newer ones, because nobody took them, or because observe_only was turned on. */
  uint64_t answers_dropped;
  /* Tries missed, in all. */
  uint64_t misses;
  /* Complete messages that hbeat_link_feed found. */
  uint64_t messages_received;
  /* Bytes that went through hbeat_link_feed. */
  uint64_t bytes_received;
  /* Name of the link; UTF-8, ends with a NUL. */
  char name[HBEAT_NAME_MAX];
  /* Complete messages that hbeat_link_feed_sent found. */
  uint64_t messages_sent;
  /* Bytes that went through hbeat_link_feed_sent. */
  uint64_t bytes_sent;
  /* With observe_only: how often the link would have been given up. */
  uint64_t would_be_downs;
  /* How many round-trip times were taken. */
  uint64_t rtt_count;
  /* All of them together, in microseconds. */
  uint64_t rtt_sum_us;
  /* CONNECTING: number of the attempt, from 1. */
  uint32_t attempt;
  /* CONNECTING: in how many ms the attempt begins; HBEAT_UNKNOWN: it has begun. */
  uint32_t next_ms;
  /* Frames of the peer that had no room for its state: what hbeat_link_peer_state gives may be older than they. */
  uint64_t peer_states_left_out;
  /* How often the peer was caught beating too often (least_ms). */
  uint64_t strikes;
  /* The listener that its peer came to; 0 = none. */
  hbeat_listener listener;
  /*
   dial, adopt: how often this side beats, in ms, as both ends agreed; 0: only when asked. All four are 0 where nothing
   is agreed: before the peer was heard, or with one that says no terms.
   */
  uint32_t agreed_interval_ms;
  /* How often the peer does. */
  uint32_t agreed_peer_interval_ms;
  /* How much silence this side tolerates at least before its policy has more to say. */
  uint32_t agreed_hold_ms;
  /* How much the peer does. */
  uint32_t agreed_peer_hold_ms;
  /* Frames of the peer whose contents made no sense: not answered, no sign of life. */
  uint64_t frames_rejected;
  /* Frames that were not sealed with a key of the link's, were sent before, or belong to another connection. */
  uint64_t frames_unauthenticated;
} hbeat_info;

/* How a listener is set up. A struct that is all zero but for struct_size is right. hbeat copies the text. */
typedef struct hbeat_listener_options {
  /* sizeof(hbeat_listener_options). */
  uint32_t struct_size;
  /* How many of its links may be open, those that are DOWN and not closed included; 0 = as many as the engine takes. */
  uint32_t max_links;
  /* For events and logs, and the first part of its links' names; UTF-8, at most 63 bytes; NULL or "" = none. */
  const char *name;
  /* How many of them from one source, an IPv4 address or the first 64 bits of an IPv6 address; 0 = any number. */
  uint32_t max_per_source;
  /*
   How many connections may be open from which nothing valid was heard yet; 0 = 1024. They count for the limits
   above, and for max_links of the engine, and last at most as long as the policy's longest detection.
   */
  uint32_t max_greeting;
  /* Which events of its links are asked for, a mask of 1u << HBEAT_EVENT_*; 0 = as the engine. */
  uint32_t events;
  /* Must be 0. */
  uint32_t reserved;
  /* Its links are sealed with these keys, as with those of hbeat_link_options; NULL = nothing is sealed. */
  const struct hbeat_key *keys;
  /* How many there are: 1 or 2; 0 where keys is NULL. */
  size_t key_count;
} hbeat_listener_options;

/* What is known of a listener. Set struct_size before the call. */
typedef struct hbeat_listener_info {
  /* sizeof(hbeat_listener_info); comes back as how many bytes hbeat filled. */
  uint32_t struct_size;
  /* The port that it got; 0 for a Unix socket. */
  uint32_t port;
  /* The listener. */
  hbeat_listener listener;
  /* Its links that are open, those that are DOWN and not closed included. */
  uint32_t links;
  /* Connections from which nothing valid was heard yet. */
  uint32_t greeting;
  /* Links that it ever had. */
  uint64_t accepted;
  /* Connections that ended, or were ended, before anything valid was heard; the application never knew of them. */
  uint64_t never_heard;
  /* Connections that were closed at once because of max_links, its own or the engine's. */
  uint64_t refused_links;
  /* Because of max_per_source. */
  uint64_t refused_source;
  /* Because of max_greeting. */
  uint64_t refused_greeting;
  /* How often the system had no descriptors or memory left: connections wait there until it has. */
  uint64_t refused_system;
  /* udp: how many datagrams came from senders that had not proved their address, and were asked to. */
  uint64_t challenged;
  /* Its name, or "listener-" and the id in hexadecimal; UTF-8, ends with a NUL. */
  char name[HBEAT_NAME_MAX];
  /* Where it listens, with the port that it got; ends with a NUL. */
  char endpoint[HBEAT_ENDPOINT_MAX];
} hbeat_listener_info;

/*
 The kernel's own keepalive. It ends at the first proxy or balancer and answers for a process that has deadlocked;
 beats do not. It costs nothing, and finds dead connections that nobody beats on.
 */
typedef struct hbeat_keepalive {
  /* sizeof(hbeat_keepalive). */
  uint32_t struct_size;
  /* 1: the kernel probes the connection; 0: it does not. */
  uint32_t enabled;
  /*
   Silence before the first probe: 1 to 32767000; the kernel counts in whole seconds, so this is rounded up. Comes
   back as HBEAT_UNKNOWN where the system does not say, as likewise the next two: Windows before 10, version 1709.
   */
  uint32_t idle_ms;
  /* Time between probes: likewise. */
  uint32_t interval_ms;
  /*
   Probes that may go unanswered before the connection is given up: 1 to 127. Windows before 10, version 1703, has a
   number of its own, 10.
   */
  uint32_t count;
  /*
   How long sent data may stay unacknowledged (TCP_USER_TIMEOUT, RFC 5482), for which no probe is sent. 0: as long as
   silence, idle + interval * count; HBEAT_FOREVER: the system's own rule, a quarter of an hour and more. Comes back
   as what the kernel uses. Only Linux has it; elsewhere it comes back as HBEAT_FOREVER.
   */
  uint32_t user_timeout_ms;
} hbeat_keepalive;

/*
 What the kernel knows of a TCP connection; HBEAT_UNKNOWN in a field that the system does not tell (all of them on
 other systems than Linux).
 */
typedef struct hbeat_tcp_info {
  /* sizeof(hbeat_tcp_info); comes back as how many bytes hbeat filled. */
  uint32_t struct_size;
  /*
   1 established, 2 syn sent, 3 syn received, 4 and 5 fin wait, 6 time wait, 7 closed, 8 close wait, 9 last ack,
   10 listening, 11 closing.
   */
  uint32_t state;
  /* Segments sent and not acknowledged. */
  uint32_t unacked;
  /* How often the oldest of them has been sent again. */
  uint32_t retransmits;
  /* Segments sent again since the connection was made. */
  uint32_t total_retransmits;
  /* Smoothed round-trip time of the kernel's, in microseconds. */
  uint32_t rtt_us;
  /* Its variation. */
  uint32_t rtt_var_us;
  /* How long ago an acknowledgement came, in ms; HBEAT_UNKNOWN also where none ever did. */
  uint32_t last_ack_ms;
  /* How long ago data came, in ms; likewise. */
  uint32_t last_data_received_ms;
  /* Bytes that wait in the send queue. */
  uint32_t send_queue_bytes;
  /* Bytes that arrived and wait unread. */
  uint32_t unread_bytes;
} hbeat_tcp_info;

/*
 What an engine counted since it was made, closed links included; a number that hbeat_info has, too, is the sum of
 what it said of the links. Set struct_size before the call.
 */
typedef struct hbeat_stats {
  /* sizeof(hbeat_stats); comes back as how many bytes hbeat filled. */
  uint32_t struct_size;
  /* Links that are PAUSED now. */
  uint32_t links_paused;
  /* Links that are UP now. */
  uint32_t links_up;
  /* Links that are SUSPECT now. */
  uint32_t links_suspect;
  /* Links that are DOWN now and not closed. */
  uint32_t links_down;
  /* Shards. */
  uint32_t shards;
  /* Links opened. */
  uint64_t opened;
  /* Links closed, those that stop closed included. */
  uint64_t closed;
  /* Beats noticed as due, those noticed again included. */
  uint64_t beats_due;
  /* Beats taken; with observe_only those that the application sent. */
  uint64_t beats_sent;
  /* Answers that matched a beat. */
  uint64_t answers_received;
  /* Answers that came after their time, but before the next probe. */
  uint64_t answers_late;
  /* Answers to no beat of ours, or later still. */
  uint64_t answers_unmatched;
  /* Beats of peers. */
  uint64_t beats_received;
  /* Answers taken; with observe_only those that hbeat_link_feed_sent found. */
  uint64_t answers_sent;
  /* Answers owed and given up: for newer ones, or because observe_only was turned on. */
  uint64_t answers_dropped;
  /* Tries missed. */
  uint64_t misses;
  /* Complete messages that hbeat_link_feed found. */
  uint64_t messages_received;
  /* Bytes that went through hbeat_link_feed. */
  uint64_t bytes_received;
  /* Complete messages that hbeat_link_feed_sent found. */
  uint64_t messages_sent;
  /* Bytes that went through hbeat_link_feed_sent. */
  uint64_t bytes_sent;
  /*
   Misses that were not the last, each a SUSPECT. Changes count as they happen, also those that a late application is
   told of in one event.
   */
  uint64_t suspects;
  /* Changes back to UP. */
  uint64_t ups;
  /* With observe_only: how often a link would have been given up. */
  uint64_t would_be_downs;
  /* Changes to DOWN, by HBEAT_CAUSE_*. */
  uint64_t downs[HBEAT_CAUSES_MAX];
  /* How often a judgement began to wait for a late reader. */
  uint64_t readers_late;
  /* Messages that were unfinished for too long. */
  uint64_t partial_frames;
  /* Notices that could not be handed out for a whole timeout, and limits of links that passed without progress. */
  uint64_t apps_not_responding;
  /* How often this process did not run when it should have. */
  uint64_t pauses;
  /* For how long in all, in milliseconds. */
  uint64_t paused_ms;
  /* How often a shard turned: woke up, or was driven. */
  uint64_t turns;
  /* How often peers were caught beating too often (least_ms). */
  uint64_t strikes;
  /* Frames of peers whose contents made no sense. */
  uint64_t frames_rejected;
  /* Frames that were not sealed with a key of their link's, were sent before, or belong to another connection. */
  uint64_t frames_unauthenticated;
} hbeat_stats;

/*
 How times were spread since the engine was made, in microseconds. count, sum_us and below are exact, the others to one
 percent and not above an hour and twelve minutes, and 0 where nothing was counted. Set struct_size
 before the call.
 */
typedef struct hbeat_histogram {
  /* sizeof(hbeat_histogram); comes back as how many bytes hbeat filled. */
  uint32_t struct_size;
  /* HBEAT_HISTOGRAM_*. */
  uint32_t which;
  /* How many there are. */
  uint64_t count;
  /* All of them together. */
  uint64_t sum_us;
  /* The least. */
  uint64_t min_us;
  /* The greatest. */
  uint64_t max_us;
  /* Half of them are not above it. */
  uint64_t p50_us;
  /* 90 percent of them are not. */
  uint64_t p90_us;
  /* 99 percent. */
  uint64_t p99_us;
  /* 99.9 percent. */
  uint64_t p999_us;
  /* Place n: how many are less than 2^n. */
  uint64_t below[HBEAT_BELOW_MAX];
} hbeat_histogram;

/*
 ==== The library ====

 The version of the library that is loaded, "0.1.0"; HBEAT_VERSION_MAJOR and its like are that of the header. Never
 NULL; lives for ever.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
const char *hbeat_version(void);

/*
 The same as a number: major * 1000000 + minor * 1000 + patch.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
uint32_t hbeat_version_number(void);

/*
 CLOCK_MONOTONIC in nanoseconds: the clock of every now_ns. Read it once a turn of a loop and hand it to all the
 calls of that turn.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
uint64_t hbeat_now_ns(void);

/*
 The name of a status as it stands in this header, "HBEAT_ERR_NO_LINK"; "unknown" for a number that is none. Never
 NULL; lives for ever.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
const char *hbeat_status_name(hbeat_status status);

/*
 What a status means, in one sentence. hbeat_last_error is more exact about a call that has just failed. Never
 NULL; lives for ever.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
const char *hbeat_status_text(hbeat_status status);

/*
 Why this thread's last failed call failed, in one sentence of at most 511 bytes that names the field, its value and
 what is allowed; "no error" when none has failed. Calls that succeed leave it alone, the next one that fails writes
 over it. Never NULL; the pointer is good as long as the thread.

 Threads: any; each has its own.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
const char *hbeat_last_error(void);

/*
 ==== Policies ====

 Fills *policy with a preset: "normal" (verdict 30 to 39 s after the peer's death), "fast" (6 to 8.5 s),
 "passive" (never beats first; after 30 s of silence three tries of 5 s), "cmpp" (C = 180 s, T = 60 s, N = 3).
 policy_size is sizeof(hbeat_policy).

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE; INVALID for an unknown name.
 Since: 0.1.0
 */
hbeat_status hbeat_policy_preset(struct hbeat_policy *policy, size_t policy_size, const char *name);

/*
 Fills *policy from one line of text of at most 1024 bytes: the name of a preset ("normal" if left out), then
 changes to it, "cmpp interval=60s timeout=20s tries=3". Words: interval, timeout, hold, partial,
 late_reader_limit, least, progress (250ms, 2.5s, 3min, 24h or 0); tries, up_after, strikes (a number); jitter (0%
 to 25%); strategy (idle, periodic); idle_on (received, either); proof (any, answer); resend (new, same);
 answer_expected, answer, observe_only (yes, no); on_no_progress (go_on, flag, stop). The policy is checked as by hbeat_policy_check.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE; INVALID for a text or a policy that is refused: hbeat_last_error names the word; UNSUPPORTED
 where the caller's struct is older than a word of the text.
 Since: 0.1.0
 */
hbeat_status hbeat_policy_parse(struct hbeat_policy *policy,
                                size_t policy_size,
                                const char *text);

/*
 Writes the policy as one line that hbeat_policy_parse reads back: at most capacity - 1 bytes and a NUL. *length is
 the length of the whole line without the NUL; if it is not below capacity, the line was cut. buffer may be NULL if
 capacity is 0, length may be NULL.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID for a policy that hbeat_policy_check refuses.
 Since: 0.1.0
 */
hbeat_status hbeat_policy_print(const struct hbeat_policy *policy, char *buffer, size_t capacity, size_t *length);

/*
 Whether the policy can be followed: every value in its range, no two that contradict each other, and a dead peer
 is found in the end. hbeat_link_open and hbeat_link_set_policy check it, too.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID, and hbeat_last_error names field, value and range.
 Since: 0.1.0
 */
hbeat_status hbeat_policy_check(const struct hbeat_policy *policy);

/*
 How long after its death a peer is given up: at the earliest and at the latest, in milliseconds, if beats are
 written when they are due.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID for a policy that hbeat_policy_check refuses.
 Since: 0.1.0
 */
hbeat_status hbeat_policy_detection(const struct hbeat_policy *policy, uint32_t *earliest_ms, uint32_t *latest_ms);

/*
 ==== Reconnect delays ====

 Fills *backoff with 1 s doubling up to 60 s, at least 100 ms, stable after 60 s, 300 s after a refusal, starts to one
 destination 100 ms apart. backoff_size is
 sizeof(hbeat_backoff).

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE.
 Since: 0.1.0
 */
hbeat_status hbeat_backoff_default(struct hbeat_backoff *backoff, size_t backoff_size);

/*
 The delay in milliseconds before an attempt, counted from 1: even between least_ms and first_ms *
 multiplier^(attempt - 1), at most cap_ms, so that links that were lost together do not come back together. random is any 64 random bits, the same bits give the same delay; 0 = hbeat draws them.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID for attempt 0 or a value out of its range.
 Since: 0.1.0
 */
hbeat_status hbeat_backoff_delay(const struct hbeat_backoff *backoff,
                                 uint32_t attempt,
                                 uint64_t random,
                                 uint32_t *delay_ms);

/*
 The delay in milliseconds after a refusal that only a change of configuration can cure (wrong password, unknown
 account): even between three quarters of refused_ms and the whole, however many came before. random as for
 hbeat_backoff_delay.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID for a value out of its range.
 Since: 0.1.0
 */
hbeat_status hbeat_backoff_refused(const struct hbeat_backoff *backoff, uint64_t random, uint32_t *delay_ms);

/*
 Keeps the starts of many links to one destination spacing_ms apart: reserves the next free start and says how many
 milliseconds from now_ms it is, 0 = at once. *free_from_ms is the destination's only state: 0 at first, shared by
 its links, under a lock of the application's where several threads dial. now_ms is any clock that does not go back.
 To be asked when a delay is over, not when it begins.

 Threads: any, one at a time for one *free_from_ms.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID for a value out of its range.
 Since: 0.1.0
 */
hbeat_status hbeat_backoff_reserve(const struct hbeat_backoff *backoff,
                                   uint64_t *free_from_ms,
                                   uint64_t now_ms,
                                   uint32_t *wait_ms);

/*
 ==== Engine ====

 Makes an engine and starts its threads. *engine is written on success only.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED, INVALID, NO_MEMORY; SYSTEM if a thread or a descriptor cannot be had.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_new(const struct hbeat_engine_options *options, struct hbeat_engine **engine);

/*
 Closes all links, joins the engine's threads, and waits up to timeout_ms for what is still to be handed out. From
 inside a callback it waits for nothing, returns HBEAT_INFO_STOPPING, and the engine stops when the callback has
 returned. Stopping again is OK. When pulling, hbeat_engine_wait hands out the rest, then HBEAT_INFO_END.

 Threads: any.
 In a callback: yes, returns HBEAT_INFO_STOPPING.
 Blocks: until all is handed out, at most timeout_ms; HBEAT_FOREVER = no limit.
 Errors: NULL, FORKED; TIMEOUT: the threads that watch are gone, a callback still runs; stop again.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_stop(struct hbeat_engine *engine, uint32_t timeout_ms);

/*
 Frees an engine; NULL is OK. One that runs is stopped first, for at most 5 s. Events that were not pulled are
 dropped, but release is called for every link. Afterwards the pointer must not be used; link ids stay harmless
 numbers. On an error nothing is freed.

 Threads: any one, when no other is inside a call on this engine or will make one.
 In a callback: no.
 Blocks: until the engine has stopped, at most 5 s.
 Errors: BUSY: a callback still runs, stop has not come to its end; WOULD_DEADLOCK, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_free(struct hbeat_engine *engine);

/*
 Waits until everything that was due, or told to hbeat, before the call is handed out and no callback runs. After
 hbeat_link_close and this, nothing of that link is running anywhere.

 Threads: any.
 In a callback: no.
 Blocks: at most timeout_ms; HBEAT_FOREVER = no limit.
 Errors: NULL, TIMEOUT, WOULD_DEADLOCK, STOPPED, FAILED, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_quiesce(struct hbeat_engine *engine, uint32_t timeout_ms);

/*
 How the engine is: cheap enough to be asked each second. health->struct_size must be set.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_health(const struct hbeat_engine *engine, struct hbeat_health *health);

/*
 The ids of the links that are open, page by page: after = 0 for the first page, then the last id got.
 HBEAT_INFO_MORE: there are more. Links opened or closed meanwhile may or may not be among them.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, FORKED; INVALID for capacity 0.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_links(const struct hbeat_engine *engine,
                                hbeat_link after,
                                hbeat_link *links,
                                uint32_t capacity,
                                uint32_t *count);

/*
 What time the engine has: CLOCK_MONOTONIC, or the manual clock.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_now(const struct hbeat_engine *engine, uint64_t *now_ns);

/*
 ==== Pulling events ====

 Takes events that wait, or waits for some: fills the first *count places of events, which lie event_size bytes
 apart: sizeof(hbeat_event) of the caller, so that programs compiled with another version of this header work.
 *count is 0 when the time was up. timeout_ms 0 = do not wait, HBEAT_FOREVER = no limit; with HBEAT_RUN_APPLICATION
 it never waits, since nobody would turn the engine meanwhile. After stop: the rest, then HBEAT_INFO_END with
 *count 0.

 Threads: any, one at a time.
 In a callback: yes; a wait holds up that callback's lane.
 Blocks: at most timeout_ms.
 Errors: NULL, SIZE, FORKED; INVALID for capacity 0; BUSY: another thread is in wait; WRONG_MODE with on_event set.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_wait(struct hbeat_engine *engine,
                               struct hbeat_event *events,
                               uint32_t event_size,
                               uint32_t capacity,
                               uint32_t timeout_ms,
                               uint32_t *count);

/*
 A descriptor that is readable while events wait to be pulled, until HBEAT_INFO_END was handed out, and with
 HBEAT_RUN_APPLICATION also when another thread said something that hbeat_engine_drive is to act upon; for epoll and
 its like. Level-triggered: hbeat_engine_wait, or hbeat_engine_drive, quiets it; never read, write or close it. It
 lives as long as the engine.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SYSTEM, FORKED; WRONG_MODE with on_event set and HBEAT_RUN_THREADS.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_fd(struct hbeat_engine *engine, int32_t *fd);

/*
 ==== Turning the engine oneself ====

 HBEAT_RUN_APPLICATION: does all that is due now. now_ns moves a manual clock; with HBEAT_CLOCK_SYSTEM hbeat reads
 the clock itself. Callbacks run inside; without them HBEAT_INFO_MORE says that events wait to be pulled. In a loop: wait until hbeat_engine_next_deadline, take
 now, read what is ready and report it, then drive: what has arrived must be known before it is judged.

 Threads: any, one at a time.
 In a callback: no.
 Blocks: no, apart from the callbacks.
 Errors: NULL, STOPPED, FAILED, FORKED, BUSY, WOULD_DEADLOCK; INVALID for a now_ns more than ten years ahead;
 WRONG_MODE with HBEAT_RUN_THREADS.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_drive(struct hbeat_engine *engine,
                                uint64_t now_ns);

/*
 When hbeat_engine_drive wants to be called next, on the clock of hbeat_now_ns; UINT64_MAX: nothing is due. Calls on
 links may bring it forward: ask again after them.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, STOPPED, FAILED, FORKED; WRONG_MODE with HBEAT_RUN_THREADS.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_next_deadline(struct hbeat_engine *engine, uint64_t *deadline_ns);

/*
 HBEAT_CLOCK_MANUAL: moves the clock to now_ns, stopping at each deadline on the way, and returns when all is at
 rest. HBEAT_INFO_MORE: the clock stands where events wait to be pulled; pull, then call again with the same now_ns.
 A now_ns that is past changes nothing.

 Threads: any, one at a time.
 In a callback: no.
 Blocks: until shards and callbacks are at rest.
 Errors: NULL, STOPPED, FAILED, FORKED, BUSY, WOULD_DEADLOCK; INVALID for a now_ns more than ten years ahead;
 TIMEOUT: a callback did not return for 10 s; WRONG_MODE without HBEAT_CLOCK_MANUAL.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_advance(struct hbeat_engine *engine, uint64_t now_ns);

/*
 ==== Words for events ====

 The name of an HBEAT_STATE_*, as in log lines: "suspect"; "unknown" for a number that is none. Never NULL; lives
 for ever.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
const char *hbeat_state_name(uint32_t state);

/*
 The name of an HBEAT_CAUSE_*, as in log lines: "no_answer". Otherwise like hbeat_state_name.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
const char *hbeat_cause_name(uint32_t cause);

/*
 The name of an HBEAT_EVENT_*, the first word of a log line: "DOWN". Otherwise like hbeat_state_name.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: none.
 Since: 0.1.0
 */
const char *hbeat_event_name(uint32_t type);

/*
 Writes an event as the line an operator greps for, the same that on_log gets:
 "DOWN gd-mt-07 cause=no_answer tries=3/3 seq=4711 last_rx=360.0s unread=0 sendq=96 rtt=18ms tcp=established
 unacked=3 retrans=9 last_ack=360.0s". What is not known is left out. At most capacity - 1 bytes and a NUL are written;
 *length is the length of the whole line without the NUL; if it is not below capacity, the line was cut. buffer may be
 NULL if capacity is 0, length may be NULL. 384 bytes hold every line.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID for what hbeat did not fill.
 Since: 0.1.0
 */
hbeat_status hbeat_event_text(const struct hbeat_event *event, char *buffer, size_t capacity, size_t *length);

/*
 ==== Link ====

 Opens a link, one for each connection, and writes its id to *link. Never waits. From here on its last event is
 CLOSED (or release), whatever happens.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED, AGAIN, LIMIT, STOPPED, FAILED, FORKED, NO_MEMORY; INVALID for a policy, a name or a
 protocol that is refused, or an fd that is no socket.
 Since: 0.1.0
 */
hbeat_status hbeat_link_open(struct hbeat_engine *engine,
                             const struct hbeat_policy *policy,
                             const struct hbeat_link_options *options,
                             hbeat_link *link);

/*
 Opens a link whose connection hbeat makes itself, and writes its id to *link. Never waits: names are looked up and
 connections made by hbeat's threads. endpoint: "tcp://name:port" or "udp://name:port", with an IPv6 address in brackets, or
 "unix:///path" (not on Windows). The link speaks "heart" to a peer that does (a link of hbeat_link_adopt there, or one that its
 application feeds; with udp only to a listener, which first asks this side to prove its address); it carries beats
 only, no data. Each attempt sends a beat at once; the link is UP with the first
 answer or beat of the peer. An attempt has as long as the policy gives a peer: tries times timeout_ms. Events:
 CONNECTING before each attempt, with cause and detail of the failure before it; UP; one DOWN for each UP. With
 HBEAT_RECONNECT_NO, or after as many failures as attempts allows, DOWN is final, and comes without UP, too.
 hbeat_link_report_down gives the connection up. Only with HBEAT_RUN_THREADS.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED, AGAIN, LIMIT, STOPPED, FAILED, FORKED, NO_MEMORY; INVALID for an endpoint, policy,
 backoff or option that is refused; WRONG_MODE with HBEAT_RUN_APPLICATION; SYSTEM: no descriptors are left.
 Since: 0.1.0
 */
hbeat_status hbeat_link_dial(struct hbeat_engine *engine,
                             const char *endpoint,
                             const struct hbeat_policy *policy,
                             const struct hbeat_link_options *options,
                             hbeat_link *link);

/*
 Opens a link over a connected TCP or Unix stream socket and writes its id to *link: from then on the socket is
 hbeat's, which closes it when it is lost or the link is closed. After an error it is still the caller's. protocol
 "heart", or another whose login the application did before. Otherwise like hbeat_link_dial, but a lost connection is
 made anew only with HBEAT_RECONNECT_YES, to the address of its peer, and only for "heart".

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: as hbeat_link_dial; INVALID also for an fd that is no connected stream socket.
 Since: 0.1.0
 */
hbeat_status hbeat_link_adopt(struct hbeat_engine *engine,
                              int32_t fd,
                              const struct hbeat_policy *policy,
                              const struct hbeat_link_options *options,
                              hbeat_link *link);

/*
 Starts a link that was opened or paused: its last sign of life is now, its tries are 0. Answers owed since then
 give a SEND. On a link that runs it changes nothing. now_ns: see the head of this header.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_link_start(struct hbeat_engine *engine, hbeat_link link, uint64_t now_ns);

/*
 Stops judging and beating until hbeat_link_start, as before a TERMINATE. What arrives meanwhile is kept: beats of
 the peer are answered after the start. On a link that is DOWN it changes nothing.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_link_pause(struct hbeat_engine *engine, hbeat_link link, uint64_t now_ns);

/*
 Closes a link. Never waits, may be called anywhere, in its own callbacks too. Exactly one of several closers gets
 HBEAT_OK. After it returns no event of the link is handed out but CLOSED (or release); one that was handed out
 before may still run. So free link_data in CLOSED or release, never after this call. Closing gives no DOWN.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, FORKED; NO_LINK: it was closed before.
 Since: 0.1.0
 */
hbeat_status hbeat_link_close(struct hbeat_engine *engine, hbeat_link link);

/*
 ==== What the application tells ====

 A complete message arrived: a sign of life. For who does not use hbeat_link_feed; call it for every message but
 answers to beats that match none. Costs a few nanoseconds, takes no lock, wakes nobody. now_ns: when; the caller's
 own time is much cheaper than 0.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED. In a forked child it does nothing and says OK.
 Since: 0.1.0
 */
hbeat_status hbeat_link_received(struct hbeat_engine *engine, hbeat_link link, uint64_t now_ns);

/*
 hbeat_link_received for many links at once, for who has just handled all that an epoll_wait brought: count of them at
 links, in any order and as often as one likes, all at now_ns. Several times as fast for each, where there are so many
 links that their memory is far away. Of those that are open it is noted whatever the others are.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, unless count is 0; STOPPED; NO_LINK: one or more are not open. In a forked child it does nothing and
 says OK.
 Since: 0.1.0
 */
hbeat_status hbeat_links_received(struct hbeat_engine *engine,
                                  const hbeat_link *links,
                                  uint32_t count,
                                  uint64_t now_ns);

/*
 Something was written to the peer. Only for idle_on = HBEAT_IDLE_ON_EITHER, for evidence, and to correct when the
 beat taken last really left. Never a sign of life. As cheap as hbeat_link_received.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED. In a forked child it does nothing and says OK.
 Since: 0.1.0
 */
hbeat_status hbeat_link_sent(struct hbeat_engine *engine, hbeat_link link, uint64_t now_ns);

/*
 Shows hbeat the bytes that were read, in order, in portions of any size. A tap: the application still handles every
 message itself, but leaves beats and their answers to hbeat. Replaces hbeat_link_received.
 HBEAT_INFO_SEND: an answer is owed; take it with hbeat_link_take and write it.

 Threads: any, one at a time for each link.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; BUSY: another thread feeds this link; DESYNC: the link is DOWN now
 (with observe_only: would be); WRONG_MODE with protocol "none".
 Since: 0.1.0
 */
hbeat_status hbeat_link_feed(struct hbeat_engine *engine,
                             hbeat_link link,
                             const void *bytes,
                             size_t length,
                             uint64_t now_ns);

/*
 Shows hbeat the bytes that the application writes, in order, in portions of any size, before it writes them: an answer
 must not be known before its beat. Replaces hbeat_link_sent. With observe_only the beats in them are the link's tries,
 and hbeat_link_unsent takes the latest one back. Otherwise they only count: messages, bytes, and that something was
 sent. Begin at the first byte of the connection, or of any message.

 Threads: any, one at a time for each link.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; BUSY: another thread is in this call for this link; DESYNC: what was
 sent is not the protocol, and no beat in it is seen any more; WRONG_MODE with protocol "none".
 Since: 0.1.0
 */
hbeat_status hbeat_link_feed_sent(struct hbeat_engine *engine,
                                  hbeat_link link,
                                  const void *bytes,
                                  size_t length,
                                  uint64_t now_ns);

/*
 With observe_only: the application's own heartbeat is about to send a beat with this number; for who parses himself.
 To be told before it is written, as to hbeat_link_feed_sent.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; WRONG_MODE where observe_only is 0.
 Since: 0.1.0
 */
hbeat_status hbeat_link_beat_sent(struct hbeat_engine *engine, hbeat_link link, uint32_t sequence, uint64_t now_ns);

/*
 Takes all frames that are to be written now, answers first, built at this moment; where the application writes.
 *sequence goes in as the application's next free number and comes out advanced if a beat used one; NULL: hbeat
 counts by itself. The beat counts as sent at now_ns.

 HBEAT_OK with *length 0: nothing is needed any more. HBEAT_INFO_MORE: more frames than fit; write these, take
 again; nothing is lost. With protocol "none" a beat that is due gives HBEAT_INFO_SEND and no bytes: write your own
 beat with the number that *sequence had before the call.

 Threads: any, one at a time for each link.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; BUSY: another thread takes from this link.
 Since: 0.1.0
 */
hbeat_status hbeat_link_take(struct hbeat_engine *engine,
                             hbeat_link link,
                             uint32_t *sequence,
                             uint64_t now_ns,
                             void *buffer,
                             size_t capacity,
                             size_t *length);

/*
 What was taken last could not be written: its beat counts as never sent, the next SEND comes soon. With observe_only
 the beat shown last.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_link_unsent(struct hbeat_engine *engine, hbeat_link link, uint64_t now_ns);

/*
 An answer to a beat arrived; for who parses himself. hbeat matches it with the beats that are outstanding: one that
 matches none is counted and proves nothing, so do not report it with hbeat_link_received.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_link_answer_received(struct hbeat_engine *engine,
                                        hbeat_link link,
                                        uint32_t sequence,
                                        uint64_t now_ns);

/*
 A beat of the peer arrived; for who parses, and answers, himself.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_link_beat_received(struct hbeat_engine *engine, hbeat_link link, uint32_t sequence, uint64_t now_ns);

/*
 The application found out itself: end of file, a write error, TERMINATE, a failed login, requests that nobody
 answers. The link goes DOWN with this cause and the DOWN event comes as for any verdict, once.
 HBEAT_INFO_ALREADY_DOWN: somebody was first. cause is any HBEAT_CAUSE_* but NONE; detail (an errno, a protocol's
 status) comes back in the event.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; INVALID for a cause that is none.
 Since: 0.1.0
 */
hbeat_status hbeat_link_report_down(struct hbeat_engine *engine, hbeat_link link, uint32_t cause, uint32_t detail);

/*
 Changes the policy of a link, at once. In a probe the misses so far count on, unless observe_only changes: then
 whoever beats from here on begins with all tries.

 On a link that hbeat carries and whose peer says its terms, interval_ms, hold_time_ms and least_ms are wishes: they are
 told to the peer at once, and count when it acknowledges them. This side then beats each interval_ms or each least_ms of
 the peer, whichever is longer. Meanwhile, and from the peer, the longer silence is tolerated. What is agreed is in
 hbeat_info.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED, NO_LINK, STOPPED, FAILED, FORKED; INVALID as for hbeat_policy_check.
 Since: 0.1.0
 */
hbeat_status hbeat_link_set_policy(struct hbeat_engine *engine,
                                   hbeat_link link,
                                   const struct hbeat_policy *policy);

/*
 Gives a sealed link other keys, at once: the first seals what is sent from here on, each is good for what arrives. The
 connection goes on. To change keys without a gap give both ends (old, new), then both (new, old), then both (new).
 hbeat copies what it needs. A link that was opened without keys stays as it is.

 On a sealed link each frame carries a tag, HMAC-SHA-256 (RFC 2104) truncated to 128 bits, and a counter by which a frame
 that is sent again is found; docs/heart-frame.md has the details. Nothing is encrypted. A peer that sends nothing
 better than frames without a valid seal is given up as if it were mute, with HBEAT_CAUSE_UNAUTHENTICATED.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED, NO_LINK, STOPPED, FAILED, FORKED; INVALID: not 1 or 2 keys, a key of less than 16 or
 more than 64 octets, two with one id; WRONG_MODE: the link was opened without keys.
 Since: 0.1.0
 */
hbeat_status hbeat_link_set_keys(struct hbeat_engine *engine,
                                 hbeat_link link,
                                 const struct hbeat_key *keys,
                                 size_t count);

/*
 Gives a link another link_data, as one needs who did not open it. hbeat_link_info gives it from here on, and so does
 each event that is made after this call; CLOSED or release gets what was set last. Events that wait already keep the
 value before: it is not used any more once hbeat_engine_quiesce was OK, or with CLOSED or release. That one is the
 application's to free. Where another thread closes the link or stops the engine at the same time, its end may come with
 either.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_link_set_data(struct hbeat_engine *engine, hbeat_link link, void *link_data);

/*
 All that is known of a link; also after DOWN, until it is closed. info->struct_size must be set.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, NO_LINK, STOPPED, FAILED, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_link_info(const struct hbeat_engine *engine, hbeat_link link, struct hbeat_info *info);

/*
 ==== State in the beat ====

 Tells the peer something of the application in every beat and answer of the link that is taken from here on: up to
 HBEAT_APP_STATE_MAX bytes that mean what the two applications agree upon (how long their queues are, which of two
 nodes leads). hbeat copies them. length 0: nothing is told any more. Only with protocol "heart". Nothing is sent
 because of it: the peer knows it with the next beat or answer.

 In a datagram an answer is never larger than its beat: where the state does not fit, it is left out and the answer says
 so. Both sides then better set states of the same length, or the one that does not beat a shorter one.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; INVALID: more than HBEAT_APP_STATE_MAX bytes; WRONG_MODE where the
 protocol is not "heart".
 Since: 0.1.0
 */
hbeat_status hbeat_link_set_state(struct hbeat_engine *engine, hbeat_link link, const void *bytes, size_t length);

/*
 Copies the state that the peer told last into buffer; *length is how long it is, 0: it told none. A buffer of
 HBEAT_APP_STATE_MAX bytes holds every state. HBEAT_INFO_MORE: capacity is less than *length; nothing was written, and
 the state is still there. buffer may be NULL if capacity is 0.

 Each beat and answer that hbeat_link_feed found whole and valid says what it is by then, answers that match no beat
 included; a frame that was rejected changes nothing, and neither does one that had no room for the state
 (peer_states_left_out of hbeat_info counts those). hbeat keeps one state of a link, the latest; also while the link is
 DOWN, until it is closed.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; WRONG_MODE where the protocol is not "heart".
 Since: 0.1.0
 */
hbeat_status hbeat_link_peer_state(const struct hbeat_engine *engine,
                                   hbeat_link link,
                                   void *buffer,
                                   size_t capacity,
                                   size_t *length);

/*
 ==== Listener ====

 Listens for peers that dial, and writes an id to *listener. Never waits. endpoint: "tcp://address:port" or "udp://address:port" with an
 address of this machine in numbers, an IPv6 address in brackets (`[::]`: all its addresses, those of IPv4 included), or
 "unix:///path" (not on Windows); port 0: a free one, hbeat_listener_info says which. Each connection that is heard within the time that the policy gives a
 peer becomes a link of the policy with protocol "heart", and HBEAT_EVENT_ACCEPTED is its first event; of others the
 application never learns. A link that is lost is DOWN: close it; the peer comes again by itself, as another link.
 Links are named after listener and peer ("devices/10.0.0.7:4711"). Limits: see hbeat_listener_options; who is too
 much is closed at once, with HBEAT_EVENT_LISTENER_LIMIT. Where the system has no more descriptors, connections wait
 there, and are tried again each second. Only with HBEAT_RUN_THREADS.

 With udp all links share the listener's socket, and one thread reads it. Who sends must first prove that his address is
 his: until then nothing is kept of him, and nothing is sent to him that is larger than what came. A link that this side
 closes is refused when the peer beats on. On a machine with several addresses listen at one of them: answers leave from
 the one that the system chooses.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED, STOPPED, FAILED, FORKED, NO_MEMORY; INVALID for an endpoint, policy or option that is
 refused; WRONG_MODE with HBEAT_RUN_APPLICATION; SYSTEM: the endpoint is in use or not of this machine, or no
 descriptors are left.
 Since: 0.1.0
 */
hbeat_status hbeat_listener_open(struct hbeat_engine *engine,
                                 const char *endpoint,
                                 const struct hbeat_policy *policy,
                                 const struct hbeat_listener_options *options,
                                 hbeat_listener *listener);

/*
 Listens no longer. Links that came of it stay open. The endpoint is free again once hbeat_engine_quiesce returned; with
 udp not before the last of them is closed.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, FORKED; NO_LINK: it was closed before, or is none.
 Since: 0.1.0
 */
hbeat_status hbeat_listener_close(struct hbeat_engine *engine, hbeat_listener listener);

/*
 What is known of a listener. info->struct_size must be set.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, STOPPED, FAILED, FORKED; NO_LINK: it was closed, or is none.
 Since: 0.1.0
 */
hbeat_status hbeat_listener_info_get(const struct hbeat_engine *engine,
                                     hbeat_listener listener,
                                     struct hbeat_listener_info *info);

/*
 ==== Progress ====

 The application goes on: call it where the work is done, in the loop or the worker that must not get stuck, once a
 turn. Each link whose policy has progress_ms is then good for another progress_ms, but for those that
 hbeat_link_progress was ever called for. Where the calls stay away for so long: HBEAT_EVENT_APP_NOT_RESPONDING for each
 such link, and on_no_progress says what becomes of its beats and answers; with the next call all is as before. Until the
 first call the time runs from the opening or the start of the link.

 Costs a few nanoseconds, takes no lock, wakes nobody but an engine that had given the application up. now_ns: when; 0 =
 now, the caller's own time is much cheaper.

 Threads: any.
 In a callback: yes; but a callback that is called proves only that hbeat goes on.
 Blocks: no.
 Errors: NULL, STOPPED. In a forked child it does nothing and says OK.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_progress(struct hbeat_engine *engine,
                                   uint64_t now_ns);

/*
 The same for one link, for an application that works on each by itself: a worker that is stuck costs the links that it
 serves. From the first call on it is this mark alone that counts for the link, and hbeat_engine_progress does not any
 more.

 Threads: any.
 In a callback: yes; but a callback that is called proves only that hbeat goes on.
 Blocks: no.
 Errors: NULL, NO_LINK, STOPPED, FAILED, FORKED; NO_MEMORY.
 Since: 0.1.0
 */
hbeat_status hbeat_link_progress(struct hbeat_engine *engine, hbeat_link link, uint64_t now_ns);

/*
 ==== Kernel ====

 Sets the kernel's own keepalive of a TCP socket, all of it in one call: the default of two hours is never left by
 accident. After an error of INVALID nothing was changed.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID for a value out of its range or an fd that is no open TCP socket; SYSTEM.
 Since: 0.1.0
 */
hbeat_status hbeat_keepalive_set(int32_t fd, const struct hbeat_keepalive *how);

/*
 What the kernel uses for a TCP socket now. Set struct_size before the call. With enabled 0 the other fields are 0,
 and user_timeout_ms HBEAT_FOREVER.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE; INVALID for an fd that is no open TCP socket; SYSTEM.
 Since: 0.1.0
 */
hbeat_status hbeat_keepalive_get(int32_t fd, struct hbeat_keepalive *how);

/*
 The kernel's keepalive that goes with a policy: idle is the longest silence before a probe of the policy, interval its
 timeout_ms, count its tries (at least 1), each rounded up and no more than hbeat_keepalive allows; the user timeout is
 idle + interval * count. So the kernel gives up no earlier than the policy's latest verdict (for policies of up to
 nine hours), and not much later. Set struct_size of how before the call.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE, UNSUPPORTED; INVALID for a policy that hbeat_policy_check refuses.
 Since: 0.1.0
 */
hbeat_status hbeat_policy_keepalive(const struct hbeat_policy *policy, struct hbeat_keepalive *how);

/*
 Looks at a TCP socket. Set struct_size before the call. Nothing is read, written or changed.

 Threads: any.
 In a callback: yes.
 Blocks: no.
 Errors: NULL, SIZE; INVALID for an fd that is no open TCP socket; SYSTEM.
 Since: 0.1.0
 */
hbeat_status hbeat_tcp_info_get(int32_t fd, struct hbeat_tcp_info *info);

/*
 ==== Numbers ====

 What the engine counted, after everything said to it so far. Cheap enough to be asked each second, however many
 links there are. Also after stop. stats->struct_size must be set.

 Threads: any.
 In a callback: yes.
 Blocks: for a turn of each shard at most.
 Errors: NULL, SIZE, FORKED.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_stats(const struct hbeat_engine *engine, struct hbeat_stats *stats);

/*
 How times were spread: HBEAT_HISTOGRAM_RTT or HBEAT_HISTOGRAM_LATENESS. histogram->struct_size must be set.

 Threads: any.
 In a callback: yes.
 Blocks: for a turn of each shard at most.
 Errors: NULL, SIZE, FORKED; INVALID for a histogram that there is not.
 Since: 0.1.0
 */
hbeat_status hbeat_engine_histogram(const struct hbeat_engine *engine,
                                    uint32_t which,
                                    struct hbeat_histogram *histogram);

/*
 ==== Initialisers ====

 Of the structs that go in. All other fields are as documented for 0, NULL or -1.
 */
#define HBEAT_ENGINE_OPTIONS_INIT \
  { sizeof(hbeat_engine_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define HBEAT_LINK_OPTIONS_INIT { sizeof(hbeat_link_options), -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define HBEAT_KEY_INIT { sizeof(hbeat_key), 0, 0, 0 }

#ifdef __cplusplus
}
#endif

#endif /* HBEAT_H */
