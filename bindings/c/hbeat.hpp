/*
 hbeat.hpp: hbeat for C++11 and newer; one header over hbeat.h, which has the model and what each word means.

   hbeat::options options;
   options.on_send = [](const hbeat::event &event) { event.data<connection>()->wake_writer(); };
   options.on_event = [](const hbeat::event &event) {
       log(event.text());
       if (event.type() == hbeat::event_type::down) event.data<connection>()->shut_down(), event.link().close();
   };
   hbeat::engine engine(std::move(options));   hbeat::engine() is none, as hbeat::link() is

   hbeat::link_options how;
   how.name = "gd-mt-07";  how.protocol = "cmpp";  how.fd = fd;  how.start_paused = true;
   hbeat::policy policy("cmpp tries=3");
   policy.interval(std::chrono::seconds(60)).timeout(std::chrono::seconds(20));
   hbeat::link link = engine.open(policy, how, connection(fd));
   ... login ...
   link.start();

   reader:  if (link.feed(bytes, n) == hbeat::code::send) wake_writer();
   writer:  hbeat::taken due = link.take(buffer, sizeof buffer, &next_sequence);   write due.length bytes

 ==== Owners ====

 engine and link are move-only and own what they stand for: ~link closes, ~engine stops. link_ref, which a link also is
 and event::link() gives, may be copied, does the same things, and closes nothing by itself. policy is a plain value:
 it holds nothing that could be owned, so it is copied.

 The data given to open, of any type, belongs to the link (so hbeat_link_set_data has no place here). It is destroyed once, when hbeat will not use it any more:
 on the thread that runs on_event, or inside wait, drive, advance, stop or ~engine. That stands for HBEAT_EVENT_CLOSED,
 which C++ programs do not get. It may own the link itself.

 ~engine waits, without limit, until no callback runs, as the callbacks may use what is destroyed next; call stop with
 a timeout first to learn of one that hangs. Inside a callback of the engine it cannot wait: then the engine stops, and
 is freed, when that callback has returned. It never throws. An engine that is pulled must not be destroyed inside the
 destructor of a link's data. Links and events may outlive their engine: their calls
 say stopped.

 ==== Errors ====

 Each operation has two forms: one throws hbeat::error, which has the code and the sentence; the other takes an
 hbeat::status & as its last argument, writes both there and throws nothing of hbeat's (those that give a text or a list,
 or take data, may still run out of memory, or throw what the data's own constructor does). What is moved from, closed or stopped
 gives an error like any other, never a crash. The codes that an operation can give are those in hbeat.h.

 An exception that leaves a callback, or the destructor of a link's data, goes to options.on_exception, on the thread
 where it was thrown, and the engine goes on. Without on_exception it ends the process by std::terminate, as one that
 leaves a std::thread does: a DOWN that was not acted upon is a dead connection that nobody notices, and the core dump
 shows where it was thrown. An exception that leaves on_exception does the same.

 ==== Threads, time ====

 As in hbeat.h. Every call may be made from any thread at any time, but one object must not be moved, assigned or
 destroyed beside a call on that same object. Times are hbeat::clock's, that is CLOCK_MONOTONIC; a time_point that is
 left out, or is time_point(), lets hbeat read the clock. Durations that come out of hbeat and may be unknown are
 maybe<>, which turns into a std::optional in C++17.

 Needs exceptions; not RTTI. Built without them, use hbeat.h.
*/
#ifndef HBEAT_HPP
#define HBEAT_HPP

#if __cplusplus < 201103L
#error "hbeat.hpp needs C++11; hbeat.h and hbeat_easy.h do with C++98"
#endif

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 201703L
#include <optional>
#include <string_view>
#define HBEAT_NODISCARD [[nodiscard]]
#else
#define HBEAT_NODISCARD
#endif
#if __cplusplus >= 202002L
#include <span>
#endif

#include "hbeat.h"

namespace hbeat {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

/* ==== Numbers with names: HBEAT_* of hbeat.h ==== */

enum class code : std::int32_t {
    ok = HBEAT_OK,
    send = HBEAT_INFO_SEND,
    more = HBEAT_INFO_MORE,
    already_down = HBEAT_INFO_ALREADY_DOWN,
    stopping = HBEAT_INFO_STOPPING,
    end = HBEAT_INFO_END,
    invalid = HBEAT_ERR_INVALID,
    null = HBEAT_ERR_NULL,
    size = HBEAT_ERR_SIZE,
    unsupported = HBEAT_ERR_UNSUPPORTED,
    no_link = HBEAT_ERR_NO_LINK,
    again = HBEAT_ERR_AGAIN,
    limit = HBEAT_ERR_LIMIT,
    busy = HBEAT_ERR_BUSY,
    timeout = HBEAT_ERR_TIMEOUT,
    would_deadlock = HBEAT_ERR_WOULD_DEADLOCK,
    stopped = HBEAT_ERR_STOPPED,
    failed = HBEAT_ERR_FAILED,
    forked = HBEAT_ERR_FORKED,
    wrong_mode = HBEAT_ERR_WRONG_MODE,
    desync = HBEAT_ERR_DESYNC,
    no_memory = HBEAT_ERR_NO_MEMORY,
    system = HBEAT_ERR_SYSTEM,
    panic = HBEAT_ERR_PANIC
};

enum class state : std::uint32_t {
    none = 0, /* of an event of the engine */
    paused = HBEAT_STATE_PAUSED,
    connecting = HBEAT_STATE_CONNECTING,
    up = HBEAT_STATE_UP,
    suspect = HBEAT_STATE_SUSPECT,
    down = HBEAT_STATE_DOWN
};

enum class cause : std::uint32_t {
    none = HBEAT_CAUSE_NONE,
    no_answer = HBEAT_CAUSE_NO_ANSWER,
    silent = HBEAT_CAUSE_SILENT,
    send_stuck = HBEAT_CAUSE_SEND_STUCK,
    refused = HBEAT_CAUSE_REFUSED,
    reset = HBEAT_CAUSE_RESET,
    closed_by_peer = HBEAT_CAUSE_CLOSED_BY_PEER,
    unreachable = HBEAT_CAUSE_UNREACHABLE,
    desync = HBEAT_CAUSE_DESYNC,
    partial_frame = HBEAT_CAUSE_PARTIAL_FRAME,
    protocol_error = HBEAT_CAUSE_PROTOCOL_ERROR,
    unauthenticated = HBEAT_CAUSE_UNAUTHENTICATED,
    policed = HBEAT_CAUSE_POLICED,
    peer_app_not_responding = HBEAT_CAUSE_PEER_APP_NOT_RESPONDING,
    reported = HBEAT_CAUSE_REPORTED
};

enum class event_type : std::uint32_t {
    send = HBEAT_EVENT_SEND,
    up = HBEAT_EVENT_UP,
    suspect = HBEAT_EVENT_SUSPECT,
    down = HBEAT_EVENT_DOWN,
    closed = HBEAT_EVENT_CLOSED,
    answer = HBEAT_EVENT_ANSWER,
    beat_received = HBEAT_EVENT_BEAT_RECEIVED,
    local_reader_late = HBEAT_EVENT_LOCAL_READER_LATE,
    partial_frame = HBEAT_EVENT_PARTIAL_FRAME,
    pause = HBEAT_EVENT_PAUSE,
    app_not_responding = HBEAT_EVENT_APP_NOT_RESPONDING,
    engine_failed = HBEAT_EVENT_ENGINE_FAILED,
    would_be_down = HBEAT_EVENT_WOULD_BE_DOWN,
    connecting = HBEAT_EVENT_CONNECTING,
    peer_state = HBEAT_EVENT_PEER_STATE,
    strike = HBEAT_EVENT_STRIKE,
    accepted = HBEAT_EVENT_ACCEPTED,
    listener_limit = HBEAT_EVENT_LISTENER_LIMIT
};

enum class run : std::uint32_t { threads = HBEAT_RUN_THREADS, application = HBEAT_RUN_APPLICATION };
enum class strategy : std::uint32_t { idle = HBEAT_STRATEGY_IDLE, periodic = HBEAT_STRATEGY_PERIODIC };
enum class idle_on : std::uint32_t { received = HBEAT_IDLE_ON_RECEIVED, either = HBEAT_IDLE_ON_EITHER };
enum class proof : std::uint32_t { any = HBEAT_PROOF_ANY, answer = HBEAT_PROOF_ANSWER };
enum class resend : std::uint32_t { new_number = HBEAT_RESEND_NEW, same_number = HBEAT_RESEND_SAME };
enum class no_progress : std::uint32_t {
    go_on = HBEAT_NO_PROGRESS_GO_ON,
    flag = HBEAT_NO_PROGRESS_FLAG,
    stop = HBEAT_NO_PROGRESS_STOP
};
enum class reconnect : std::uint32_t {
    by_default = HBEAT_RECONNECT_DEFAULT,
    yes = HBEAT_RECONNECT_YES,
    no = HBEAT_RECONNECT_NO
};
enum class log_level : std::uint32_t { info = HBEAT_LOG_INFO, warning = HBEAT_LOG_WARNING };
enum class phase : std::uint32_t {
    running = HBEAT_PHASE_RUNNING,
    stopping = HBEAT_PHASE_STOPPING,
    stopped = HBEAT_PHASE_STOPPED,
    failed = HBEAT_PHASE_FAILED
};

/* As in hbeat.h and in log lines: "HBEAT_ERR_NO_LINK", "suspect", "no_answer", "DOWN". */
inline const char *name(code value) noexcept { return hbeat_status_name(static_cast<hbeat_status>(value)); }
inline const char *name(state value) noexcept { return hbeat_state_name(static_cast<std::uint32_t>(value)); }
inline const char *name(cause value) noexcept { return hbeat_cause_name(static_cast<std::uint32_t>(value)); }
inline const char *name(event_type value) noexcept { return hbeat_event_name(static_cast<std::uint32_t>(value)); }

/* For options.events and link_options.events: mask({event_type::down, event_type::answer}). */
inline std::uint32_t mask(std::initializer_list<event_type> types) noexcept {
    std::uint32_t sum = 0;
    for (event_type type : types) sum |= 1u << static_cast<std::uint32_t>(type);
    return sum;
}

/* The version of the library that is loaded. */
inline const char *version() noexcept { return hbeat_version(); }

/* ==== Time ==== */

struct clock {
    typedef nanoseconds duration;
    typedef duration::rep rep;
    typedef duration::period period;
    typedef std::chrono::time_point<clock> time_point;
    static constexpr bool is_steady = true;

    static time_point now() noexcept { return time_point(duration(static_cast<rep>(hbeat_now_ns()))); }
};
typedef clock::time_point time_point;

/* As a timeout: no limit. */
constexpr milliseconds forever = milliseconds::max();

/* A value that hbeat may not know. */
template <typename T> class maybe {
  public:
    maybe() noexcept : known_(false), value_() {}
    maybe(T value) noexcept : known_(true), value_(value) {}

    bool has_value() const noexcept { return known_; }
    explicit operator bool() const noexcept { return known_; }
    T value_or(T other) const noexcept { return known_ ? value_ : other; }
    /* Only where there is one; T() otherwise. */
    const T &operator*() const noexcept { return value_; }
    const T *operator->() const noexcept { return &value_; }
#if __cplusplus >= 201703L
    operator std::optional<T>() const noexcept { return known_ ? std::optional<T>(value_) : std::nullopt; }
#endif

  private:
    bool known_;
    T value_;
};

/* ==== Errors ==== */

/* Thrown by the operations that take no status; what() is the sentence of hbeat_last_error. */
class error : public std::runtime_error {
  public:
    error(hbeat::code code, const char *sentence) : std::runtime_error(sentence), code_(code) {}
    hbeat::code code() const noexcept { return code_; }

  private:
    hbeat::code code_;
};

/* What an operation came to. */
class status {
  public:
    status() noexcept : code_(hbeat::code::ok) { sentence_[0] = '\0'; }

    hbeat::code code() const noexcept { return code_; }
    bool failed() const noexcept { return static_cast<hbeat_status>(code_) < 0; }
    /* Of a failure the sentence that names field, value and what is allowed. */
    const char *message() const noexcept {
        return failed() ? sentence_ : hbeat_status_text(static_cast<hbeat_status>(code_));
    }
    /* Throws if it failed. */
    hbeat::code check() const {
        if (failed()) throw error(code_, sentence_);
        return code_;
    }
    /* Notes what a call of hbeat.h, just made on this thread, returned. */
    hbeat::code set(hbeat_status value) noexcept { return set(value, value < 0 ? hbeat_last_error() : ""); }
    hbeat::code set(hbeat_status value, const char *sentence) noexcept {
        code_ = static_cast<hbeat::code>(value);
        std::strncpy(sentence_, sentence, sizeof sentence_ - 1);
        sentence_[sizeof sentence_ - 1] = '\0';
        return code_;
    }

  private:
    hbeat::code code_;
    char sentence_[512];
};

namespace detail {

inline std::uint64_t ns_of(time_point at) noexcept {
    const nanoseconds::rep since = at.time_since_epoch().count();
    return since < 0 ? 1 : static_cast<std::uint64_t>(since); /* 0 would let hbeat read the clock */
}

inline time_point time_of(std::uint64_t ns) noexcept {
    return time_point(nanoseconds(static_cast<nanoseconds::rep>(ns)));
}

inline std::uint32_t timeout_of(milliseconds time) noexcept {
    if (time.count() < 0) return 0;
    return time.count() >= HBEAT_FOREVER ? HBEAT_FOREVER : static_cast<std::uint32_t>(time.count());
}

/* A value of a policy: what does not fit becomes what hbeat_policy_check refuses. */
inline std::uint32_t ms_of(milliseconds time) noexcept {
    return time.count() < 0 ? HBEAT_FOREVER : timeout_of(time);
}

template <typename Duration> maybe<Duration> maybe_of(std::uint32_t value) noexcept {
    return value == HBEAT_UNKNOWN ? maybe<Duration>() : maybe<Duration>(Duration(value));
}

inline maybe<std::uint32_t> bytes_of(std::int32_t value) noexcept {
    return value < 0 ? maybe<std::uint32_t>() : maybe<std::uint32_t>(static_cast<std::uint32_t>(value));
}

/* A struct that comes out of hbeat: its fields by ->, and those that have a better type in C++ by methods. */
template <typename Raw> class fields {
  public:
    const Raw *operator->() const noexcept { return &raw_; }
    const Raw &raw() const noexcept { return raw_; }

  protected:
    fields() noexcept : raw_() { raw_.struct_size = sizeof raw_; }
    Raw raw_;
};

/* A text that a call writes, however long it is; "" where the call fails. */
template <typename Write> std::string text_of(Write write, status &s) {
    std::string text(384, '\0');
    std::size_t length = 0;
    s.set(write(&text[0], text.size(), &length));
    if (!s.failed() && length >= text.size()) {
        text.resize(length + 1);
        s.set(write(&text[0], text.size(), &length));
    }
    text.resize(s.failed() ? 0 : length);
    return text;
}

} // namespace detail

/* Any callable, also one that can only be moved. */
template <typename Signature> class callback;
template <typename... Arguments> class callback<void(Arguments...)> {
  public:
    callback() noexcept {}
    callback(std::nullptr_t) noexcept {}
    callback(void (*function)(Arguments...)) { if (function) set(function); }
    callback(std::function<void(Arguments...)> function) { if (function) set(std::move(function)); }
    template <typename F, typename = typename std::enable_if<!std::is_same<typename std::decay<F>::type, callback>::value>::type>
    callback(F &&function) { set(std::forward<F>(function)); }

    explicit operator bool() const noexcept { return target_ != nullptr; }
    void operator()(Arguments... arguments) const { target_->call(std::forward<Arguments>(arguments)...); }

  private:
    struct target {
        virtual ~target() {}
        virtual void call(Arguments... arguments) = 0;
    };
    template <typename F> struct target_of : target {
        template <typename From> explicit target_of(From &&from) : function(std::forward<From>(from)) {}
        void call(Arguments... arguments) override { function(std::forward<Arguments>(arguments)...); }
        F function;
    };
    template <typename F> void set(F &&function) {
        target_.reset(new target_of<typename std::decay<F>::type>(std::forward<F>(function)));
    }

    std::unique_ptr<target> target_;
};

/* ==== Policies ==== */

/* How long after its death a peer is given up. */
struct detection {
    milliseconds earliest, latest;
};

/* When to beat, how long to wait, how many tries; from text, then changed. What it says is checked by check, and by
   engine::open and link::set_policy. A value like any other: it holds nothing that must be freed. */
class policy : public detail::fields<hbeat_policy> {
  public:
    policy() : policy("normal") {}
    explicit policy(const char *text) { status s; parse(text, s); s.check(); }
    policy(const char *text, status &s) noexcept { parse(text, s); }
    explicit policy(const std::string &text) { status s; parse(text, s); s.check(); }
    policy(const std::string &text, status &s) noexcept { parse(text, s); }
#if __cplusplus >= 201703L
    explicit policy(std::string_view text) : policy(std::string(text)) {}
    policy(std::string_view text, status &s) : policy(std::string(text), s) {}
#endif
    /* One made with hbeat.h. */
    explicit policy(const hbeat_policy &raw) noexcept { raw_ = raw; }

    milliseconds interval() const noexcept { return milliseconds(raw_.interval_ms); }
    milliseconds timeout() const noexcept { return milliseconds(raw_.timeout_ms); }
    std::uint32_t tries() const noexcept { return raw_.tries; }
    hbeat::strategy strategy() const noexcept { return static_cast<hbeat::strategy>(raw_.strategy); }
    hbeat::idle_on idle_on() const noexcept { return static_cast<hbeat::idle_on>(raw_.idle_on); }
    hbeat::proof proof() const noexcept { return static_cast<hbeat::proof>(raw_.proof); }
    bool answer_expected() const noexcept { return raw_.answer_expected != 0; }
    bool answer() const noexcept { return raw_.answer != 0; }
    hbeat::resend resend() const noexcept { return static_cast<hbeat::resend>(raw_.resend); }
    milliseconds hold_time() const noexcept { return milliseconds(raw_.hold_time_ms); }
    std::uint32_t jitter_percent() const noexcept { return raw_.jitter_percent; }
    milliseconds partial() const noexcept { return milliseconds(raw_.partial_ms); }
    milliseconds late_reader_limit() const noexcept { return milliseconds(raw_.late_reader_limit_ms); }
    std::uint32_t up_after() const noexcept { return raw_.up_after; }
    bool observe_only() const noexcept { return raw_.observe_only != 0; }
    milliseconds least() const noexcept { return milliseconds(raw_.least_ms); }
    std::uint32_t strikes() const noexcept { return raw_.strikes; }
    milliseconds progress() const noexcept { return milliseconds(raw_.progress_ms); }
    hbeat::no_progress on_no_progress() const noexcept { return static_cast<hbeat::no_progress>(raw_.on_no_progress); }

    policy &interval(milliseconds time) noexcept { return raw_.interval_ms = detail::ms_of(time), *this; }
    policy &timeout(milliseconds time) noexcept { return raw_.timeout_ms = detail::ms_of(time), *this; }
    policy &tries(std::uint32_t count) noexcept { return raw_.tries = count, *this; }
    policy &strategy(hbeat::strategy value) noexcept { return raw_.strategy = static_cast<std::uint32_t>(value), *this; }
    policy &idle_on(hbeat::idle_on value) noexcept { return raw_.idle_on = static_cast<std::uint32_t>(value), *this; }
    policy &proof(hbeat::proof value) noexcept { return raw_.proof = static_cast<std::uint32_t>(value), *this; }
    policy &answer_expected(bool yes) noexcept { return raw_.answer_expected = yes, *this; }
    policy &answer(bool yes) noexcept { return raw_.answer = yes, *this; }
    policy &resend(hbeat::resend value) noexcept { return raw_.resend = static_cast<std::uint32_t>(value), *this; }
    policy &hold_time(milliseconds time) noexcept { return raw_.hold_time_ms = detail::ms_of(time), *this; }
    policy &jitter_percent(std::uint32_t percent) noexcept { return raw_.jitter_percent = percent, *this; }
    policy &partial(milliseconds time) noexcept { return raw_.partial_ms = detail::ms_of(time), *this; }
    policy &late_reader_limit(milliseconds time) noexcept { return raw_.late_reader_limit_ms = detail::ms_of(time), *this; }
    policy &up_after(std::uint32_t intervals) noexcept { return raw_.up_after = intervals, *this; }
    policy &observe_only(bool yes) noexcept { return raw_.observe_only = yes, *this; }
    policy &least(milliseconds time) noexcept { return raw_.least_ms = detail::ms_of(time), *this; }
    policy &strikes(std::uint32_t count) noexcept { return raw_.strikes = count, *this; }
    policy &progress(milliseconds time) noexcept { return raw_.progress_ms = detail::ms_of(time), *this; }
    policy &on_no_progress(hbeat::no_progress value) noexcept { return raw_.on_no_progress = static_cast<std::uint32_t>(value), *this; }

    code check() const { status s; check(s); return s.check(); }
    code check(status &s) const noexcept { return s.set(hbeat_policy_check(&raw_)); }

    HBEAT_NODISCARD hbeat::detection detection() const { status s; hbeat::detection found = detection(s); s.check(); return found; }
    HBEAT_NODISCARD hbeat::detection detection(status &s) const noexcept {
        std::uint32_t earliest = 0, latest = 0;
        s.set(hbeat_policy_detection(&raw_, &earliest, &latest));
        hbeat::detection found = {milliseconds(earliest), milliseconds(latest)};
        return found;
    }

    /* One line that gives the same policy again. */
    HBEAT_NODISCARD std::string text() const { status s; std::string line = text(s); s.check(); return line; }
    HBEAT_NODISCARD std::string text(status &s) const {
        const hbeat_policy *raw = &raw_;
        return detail::text_of([raw](char *to, std::size_t capacity, std::size_t *length) {
            return hbeat_policy_print(raw, to, capacity, length);
        }, s);
    }

  private:
    void parse(const char *text, status &s) noexcept { s.set(hbeat_policy_parse(&raw_, sizeof raw_, text)); }
    void parse(const std::string &text, status &s) noexcept {
        if (text.find('\0') != std::string::npos)
            s.set(HBEAT_ERR_INVALID, "the text of a policy has a NUL in it; allowed is one line of text");
        else
            parse(text.c_str(), s);
    }
};

/* ==== What is shared by an engine and its links ==== */

class event;
class link_ref;

namespace detail {

struct core;

/* A link's data, of whatever type, as hbeat keeps it. */
struct holder {
    holder(core *its_owner, const void *its_type) noexcept : owner(its_owner), type(its_type) {}
    virtual ~holder() noexcept(false) {} /* that of data may throw */
    core *owner;
    const void *type;
};

/* Tells types apart, also where there is no RTTI. */
template <typename T> const void *type_of() noexcept {
    static char place;
    return &place;
}

template <typename T> struct holder_of : holder {
    template <typename From>
    holder_of(core *its_owner, From &&from) : holder(its_owner, type_of<T>()), value(std::forward<From>(from)) {}
    T value;
};

/* Lives as long as the engine or anything that refers to it; only then is the engine freed. */
struct core {
    std::atomic<hbeat_engine *> raw;
    std::weak_ptr<core> self;
    callback<void(const event &)> on_event, on_send;
    callback<void(log_level, const char *)> on_log;
    callback<void(std::exception_ptr, const char *)> on_exception;

    core() noexcept : raw(nullptr) {}

    /* Without a handler the exception ends the process here, where the stack still shows who threw it. */
    template <typename Work> void guarded(const char *where, Work work) noexcept {
        if (!on_exception) {
            work();
            return;
        }
        try {
            work();
        } catch (...) {
            on_exception(std::current_exception(), where);
        }
    }

    static void told_event(void *data, const hbeat_event *raw) noexcept;
    static void told_send(void *data, const hbeat_event *raw) noexcept;
    static void told_log(void *data, std::uint32_t level, const char *line) noexcept {
        core *c = static_cast<core *>(data);
        c->guarded("on_log", [=] { c->on_log(static_cast<log_level>(level), line); });
    }
    static void released(void *data) noexcept {
        if (holder *held = static_cast<holder *>(data)) held->owner->guarded("release", [=] { delete held; });
    }

    /* Nothing refers to the engine any more. Where one of its callbacks did until now, the rest is done when that has
       returned, on a thread of its own; without a thread, or in a child of fork, a stopped engine stays in memory. */
    static void let_go(core *c) noexcept {
        const hbeat_status freed = hbeat_engine_free(c->raw);
        if (freed >= 0) {
            delete c;
        } else if (freed == HBEAT_ERR_WOULD_DEADLOCK || freed == HBEAT_ERR_BUSY) {
            try {
                std::thread([c] {
                    hbeat_engine_stop(c->raw, HBEAT_FOREVER);
                    if (hbeat_engine_free(c->raw) >= 0) delete c;
                }).detach();
            } catch (...) {
            }
        }
    }
};

} // namespace detail

/* ==== Links ==== */

/* A secret that both ends of a link have, by the same id: 16 to 64 octets. */
struct key {
    std::uint32_t id;
    std::string bytes;
};

namespace detail {
/* Keys as C wants them. More than two are refused by their number, without being looked at. */
class raw_keys {
  public:
    explicit raw_keys(const std::vector<key> &keys) noexcept : count_(keys.size()) {
        for (std::size_t i = 0; i < 2; i++) {
            const hbeat_key none = HBEAT_KEY_INIT;
            raw_[i] = none;
            if (i >= keys.size()) continue;
            raw_[i].id = keys[i].id;
            raw_[i].bytes = keys[i].bytes.data();
            raw_[i].length = keys[i].bytes.size();
        }
    }
    const hbeat_key *first() const noexcept { return raw_; }
    std::size_t count() const noexcept { return count_; }

  private:
    hbeat_key raw_[2];
    std::size_t count_;
};
} // namespace detail

/* All that is known of a link; its counters by ->: info->beats_sent. */
class info : public detail::fields<hbeat_info> {
  public:
    hbeat::state state() const noexcept { return static_cast<hbeat::state>(raw_.state); }
    hbeat::cause cause() const noexcept { return static_cast<hbeat::cause>(raw_.cause); }
    std::string name() const { return raw_.name; }
    maybe<milliseconds> last_received() const noexcept { return detail::maybe_of<milliseconds>(raw_.last_received_ms); }
    maybe<milliseconds> last_sent() const noexcept { return detail::maybe_of<milliseconds>(raw_.last_sent_ms); }
    milliseconds in_state() const noexcept { return milliseconds(raw_.in_state_ms); }
    maybe<microseconds> rtt() const noexcept { return detail::maybe_of<microseconds>(raw_.rtt_us); }
    maybe<microseconds> rtt_min() const noexcept { return detail::maybe_of<microseconds>(raw_.rtt_min_us); }
    maybe<microseconds> rtt_max() const noexcept { return detail::maybe_of<microseconds>(raw_.rtt_max_us); }
    maybe<std::uint32_t> unread_bytes() const noexcept { return detail::bytes_of(raw_.unread_bytes); }
    maybe<std::uint32_t> send_queue_bytes() const noexcept { return detail::bytes_of(raw_.send_queue_bytes); }

  private:
    friend class link_ref;
};

/* What was taken: so many bytes are to be written. */
struct taken {
    std::size_t length;
    bool more;     /* there is more than the buffer holds: write this, take again */
    bool own_beat; /* protocol "none": write a beat of your own, with the number that *sequence had */
};

/* One of an engine's links; copies stand for the same one. Nothing happens to the link when they go. */
class link_ref {
  public:
    link_ref() noexcept : id_(0) {}

    hbeat_link id() const noexcept { return id_; }
    /* Stands for a link, which may be closed by now. */
    explicit operator bool() const noexcept { return id_ != 0; }
    friend bool operator==(const link_ref &a, const link_ref &b) noexcept { return a.id_ == b.id_ && a.core_ == b.core_; }
    friend bool operator!=(const link_ref &a, const link_ref &b) noexcept { return !(a == b); }

    code start(time_point at = time_point()) const { status s; start(at, s); return s.check(); }
    code start(time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_start(raw(), id_, detail::ns_of(at)));
    }

    code pause(time_point at = time_point()) const { status s; pause(at, s); return s.check(); }
    code pause(time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_pause(raw(), id_, detail::ns_of(at)));
    }

    /* Never waits, may be called anywhere, in callbacks too; the data is destroyed soon after, not here. */
    code close() const { status s; close(s); return s.check(); }
    code close(status &s) const noexcept { return settle(s, hbeat_link_close(raw(), id_)); }

    code received(time_point at = time_point()) const { status s; received(at, s); return s.check(); }
    code received(time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_received(raw(), id_, detail::ns_of(at)));
    }

    /* The application goes on with this link; from the first time on engine::progress does not count for it. */
    code progress(time_point at = time_point()) const { status s; progress(at, s); return s.check(); }
    code progress(time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_progress(raw(), id_, detail::ns_of(at)));
    }

    code sent(time_point at = time_point()) const { status s; sent(at, s); return s.check(); }
    code sent(time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_sent(raw(), id_, detail::ns_of(at)));
    }

    /* code::send: an answer is owed, take it. */
    HBEAT_NODISCARD code feed(const void *bytes, std::size_t length, time_point at = time_point()) const {
        status s;
        feed(bytes, length, at, s);
        return s.check();
    }
    code feed(const void *bytes, std::size_t length, time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_feed(raw(), id_, bytes, length, detail::ns_of(at)));
    }

    /* Shows what the application is about to write, for a policy with observe_only. */
    code feed_sent(const void *bytes, std::size_t length, time_point at = time_point()) const {
        status s;
        feed_sent(bytes, length, at, s);
        return s.check();
    }
    code feed_sent(const void *bytes, std::size_t length, time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_feed_sent(raw(), id_, bytes, length, detail::ns_of(at)));
    }

    HBEAT_NODISCARD taken take(void *buffer, std::size_t capacity, std::uint32_t *sequence = nullptr,
                               time_point at = time_point()) const {
        status s;
        taken due = take(buffer, capacity, sequence, at, s);
        s.check();
        return due;
    }
    HBEAT_NODISCARD taken take(void *buffer, std::size_t capacity, std::uint32_t *sequence, time_point at,
                               status &s) const noexcept {
        taken due = {0, false, false};
        settle(s, hbeat_link_take(raw(), id_, sequence, detail::ns_of(at), buffer, capacity, &due.length));
        due.more = s.code() == code::more;
        due.own_beat = s.code() == code::send;
        return due;
    }

#if __cplusplus >= 202002L
    HBEAT_NODISCARD code feed(std::span<const std::byte> bytes, time_point at = time_point()) const {
        return feed(bytes.data(), bytes.size(), at);
    }
    code feed(std::span<const std::byte> bytes, time_point at, status &s) const noexcept {
        return feed(bytes.data(), bytes.size(), at, s);
    }
    code feed_sent(std::span<const std::byte> bytes, time_point at = time_point()) const {
        return feed_sent(bytes.data(), bytes.size(), at);
    }
    code feed_sent(std::span<const std::byte> bytes, time_point at, status &s) const noexcept {
        return feed_sent(bytes.data(), bytes.size(), at, s);
    }
    HBEAT_NODISCARD taken take(std::span<std::byte> buffer, std::uint32_t *sequence = nullptr,
                               time_point at = time_point()) const {
        return take(buffer.data(), buffer.size(), sequence, at);
    }
    HBEAT_NODISCARD taken take(std::span<std::byte> buffer, std::uint32_t *sequence, time_point at,
                               status &s) const noexcept {
        return take(buffer.data(), buffer.size(), sequence, at, s);
    }
#endif

    code unsent(time_point at = time_point()) const { status s; unsent(at, s); return s.check(); }
    code unsent(time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_unsent(raw(), id_, detail::ns_of(at)));
    }

    code answer_received(std::uint32_t sequence, time_point at = time_point()) const {
        status s;
        answer_received(sequence, at, s);
        return s.check();
    }
    code answer_received(std::uint32_t sequence, time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_answer_received(raw(), id_, sequence, detail::ns_of(at)));
    }

    code beat_received(std::uint32_t sequence, time_point at = time_point()) const {
        status s;
        beat_received(sequence, at, s);
        return s.check();
    }
    code beat_received(std::uint32_t sequence, time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_beat_received(raw(), id_, sequence, detail::ns_of(at)));
    }

    /* The application's own heartbeat is about to send a beat, for a policy with observe_only. */
    code beat_sent(std::uint32_t sequence, time_point at = time_point()) const {
        status s;
        beat_sent(sequence, at, s);
        return s.check();
    }
    code beat_sent(std::uint32_t sequence, time_point at, status &s) const noexcept {
        return settle(s, hbeat_link_beat_sent(raw(), id_, sequence, detail::ns_of(at)));
    }

    /* code::already_down: somebody was first. */
    code report_down(hbeat::cause cause, std::uint32_t detail = 0) const {
        status s;
        report_down(cause, detail, s);
        return s.check();
    }
    code report_down(hbeat::cause cause, std::uint32_t detail, status &s) const noexcept {
        return settle(s, hbeat_link_report_down(raw(), id_, static_cast<std::uint32_t>(cause), detail));
    }

    code set_policy(const hbeat::policy &policy) const { status s; set_policy(policy, s); return s.check(); }
    code set_policy(const hbeat::policy &policy, status &s) const noexcept {
        return settle(s, hbeat_link_set_policy(raw(), id_, &policy.raw()));
    }

    /* Of a link that was opened with keys: the first seals from here on, all are accepted; as hbeat_link_set_keys. */
    code set_keys(const std::vector<key> &keys) const { status s; set_keys(keys, s); return s.check(); }
    code set_keys(const std::vector<key> &keys, status &s) const noexcept {
        const detail::raw_keys raw_keys(keys);
        return settle(s, hbeat_link_set_keys(raw(), id_, raw_keys.first(), raw_keys.count()));
    }

    /* Protocol "heart": what each beat and answer from here on tells the peer's application; length 0: nothing. */
    code set_state(const void *bytes, std::size_t length) const {
        status s;
        set_state(bytes, length, s);
        return s.check();
    }
    code set_state(const void *bytes, std::size_t length, status &s) const noexcept {
        return settle(s, hbeat_link_set_state(raw(), id_, bytes, length));
    }
#if __cplusplus >= 202002L
    code set_state(std::span<const std::byte> bytes) const { return set_state(bytes.data(), bytes.size()); }
    code set_state(std::span<const std::byte> bytes, status &s) const noexcept {
        return set_state(bytes.data(), bytes.size(), s);
    }
#endif

    /* What the peer's application told last; empty: nothing. */
    HBEAT_NODISCARD std::vector<unsigned char> peer_state() const {
        status s;
        std::vector<unsigned char> state = peer_state(s);
        s.check();
        return state;
    }
    HBEAT_NODISCARD std::vector<unsigned char> peer_state(status &s) const {
        std::vector<unsigned char> state(HBEAT_APP_STATE_MAX);
        std::size_t length = 0;
        /* A later library may have longer ones. */
        while (settle(s, hbeat_link_peer_state(raw(), id_, state.data(), state.size(), &length)) == code::more)
            state.resize(length);
        state.resize(length);
        return state;
    }

    HBEAT_NODISCARD hbeat::info info() const { status s; hbeat::info found = info(s); s.check(); return found; }
    HBEAT_NODISCARD hbeat::info info(status &s) const noexcept {
        hbeat::info found;
        settle(s, hbeat_link_info(raw(), id_, &found.raw_));
        return found;
    }

  protected:
    link_ref(std::shared_ptr<detail::core> core, hbeat_link id) noexcept : core_(std::move(core)), id_(id) {}

  private:
    friend class engine;
    friend class event;
    friend class link;

    hbeat_engine *raw() const noexcept { return core_ ? core_->raw.load() : nullptr; }
    code settle(status &s, hbeat_status value) const noexcept {
        return core_ ? s.set(value) : s.set(HBEAT_ERR_NO_LINK, "this hbeat::link was moved from, or never opened");
    }

    std::shared_ptr<detail::core> core_;
    hbeat_link id_;
};

/* A link, and its owner: closes it in the end. */
class link : public link_ref {
  public:
    link() noexcept {}
    link(link &&other) noexcept : link_ref(std::move(other.core_), other.id_) { other.id_ = 0; }
    link &operator=(link &&other) noexcept {
        link moved(std::move(other)); /* and takes what this was, to close it */
        core_.swap(moved.core_);
        std::swap(id_, moved.id_);
        return *this;
    }
    ~link() {
        if (core_) hbeat_link_close(core_->raw, id_);
    }

    /* Gives the link up without closing it: engine::stop, or somebody with a link_ref, will. */
    link_ref detach() noexcept {
        link_ref ref(std::move(core_), id_);
        id_ = 0;
        return ref;
    }

  private:
    friend class engine;
    friend class event;
    link(std::shared_ptr<detail::core> core, hbeat_link id) noexcept : link_ref(std::move(core), id) {}
};

/* ==== Events ==== */

/* Something that happened, with the evidence; a copy may be kept. Fields by ->: event->tries. */
class event : public detail::fields<hbeat_event> {
  public:
    event_type type() const noexcept { return static_cast<event_type>(raw_.type); }
    /* Which link; none for an event of the engine or a listener. */
    link_ref link() const noexcept { return link_ref(core_, raw_.link); }
    /* The link's data; nullptr if it was opened with none, or with data of another type than exactly T. Valid as long
       as the callback runs, or until the next wait. */
    template <typename T> T *data() const noexcept {
        detail::holder *held = static_cast<detail::holder *>(raw_.link_data);
        return held && held->type == detail::type_of<T>() ? &static_cast<detail::holder_of<T> *>(held)->value : nullptr;
    }
    /* Of event_type::accepted: the link, and its owner; to be called once. Without it the link stays open until the end of
       the engine. data belongs to the link from here on. */
    hbeat::link accept() const noexcept { return hbeat::link(core_, raw_.link); }
    template <typename T> hbeat::link accept(T &&data) const {
        typedef typename std::decay<T>::type Data;
        std::unique_ptr<detail::holder> held(new detail::holder_of<Data>(core_.get(), std::forward<T>(data)));
        /* Closed by now: its end was announced with no data. */
        if (hbeat_link_set_data(core_->raw, raw_.link, held.get()) == HBEAT_OK) held.release();
        return accept();
    }
    time_point at() const noexcept { return detail::time_of(raw_.at_ns); }
    hbeat::state state() const noexcept { return static_cast<hbeat::state>(raw_.state); }
    hbeat::cause cause() const noexcept { return static_cast<hbeat::cause>(raw_.cause); }
    std::string name() const { return raw_.name; }
    maybe<microseconds> rtt() const noexcept { return detail::maybe_of<microseconds>(raw_.rtt_us); }
    maybe<milliseconds> last_received() const noexcept { return detail::maybe_of<milliseconds>(raw_.last_received_ms); }
    maybe<milliseconds> last_sent() const noexcept { return detail::maybe_of<milliseconds>(raw_.last_sent_ms); }
    maybe<std::uint32_t> unread_bytes() const noexcept { return detail::bytes_of(raw_.unread_bytes); }
    maybe<std::uint32_t> send_queue_bytes() const noexcept { return detail::bytes_of(raw_.send_queue_bytes); }
    /* How long the process did not run; of a pause only. */
    milliseconds pause() const noexcept {
        return milliseconds(type() == event_type::pause ? raw_.detail : 0);
    }

    /* The line that an operator greps for: "DOWN gd-mt-07 cause=no_answer tries=3/3". */
    HBEAT_NODISCARD std::string text() const { status s; std::string line = text(s); s.check(); return line; }
    HBEAT_NODISCARD std::string text(status &s) const {
        const hbeat_event *raw = &raw_;
        return detail::text_of([raw](char *to, std::size_t capacity, std::size_t *length) {
            return hbeat_event_text(raw, to, capacity, length);
        }, s);
    }

  private:
    friend class engine;
    friend struct detail::core;
    /* A library of another patch level may know less of an event than this header, or more. */
    event(const hbeat_event &raw, std::shared_ptr<detail::core> core) noexcept : core_(std::move(core)) {
        const std::uint32_t known = raw.struct_size < sizeof raw_ ? raw.struct_size : sizeof raw_;
        std::memcpy(&raw_, &raw, known);
        raw_.struct_size = known;
    }

    std::shared_ptr<detail::core> core_;
};

inline void detail::core::told_event(void *data, const hbeat_event *raw) noexcept {
    core *c = static_cast<core *>(data);
    c->guarded("on_event", [=] { c->on_event(event(*raw, c->self.lock())); });
}

inline void detail::core::told_send(void *data, const hbeat_event *raw) noexcept {
    core *c = static_cast<core *>(data);
    c->guarded("on_send", [=] { c->on_send(event(*raw, c->self.lock())); });
}

/* ==== Engines ==== */

/* How an engine is set up; what is left alone is as for 0 in hbeat_engine_options. */
struct options {
    hbeat::run run = hbeat::run::threads;
    bool manual_clock = false; /* engine::advance, or drive, moves the clock; for tests */
    time_point start;          /* where the manual clock starts */
    std::uint32_t threads = 0;
    milliseconds tick = milliseconds(0);
    std::uint32_t events = 0; /* mask({...}) */
    std::uint32_t max_links = 0;
    std::uint32_t open_queue = 0;
    bool abort_on_panic = false;
    std::int32_t nice = 0;
    std::uint64_t cpus = 0;
    std::string thread_name;

    /* Everything but send, on a thread of hbeat's or inside drive and advance. Not set: pull with engine::wait. */
    callback<void(const event &)> on_event;
    /* send, on a thread of its own; must not block. Not set: it goes where the other events go. */
    callback<void(const event &)> on_send;
    /* One line a change of state, and warnings. */
    callback<void(log_level, const char *)> on_log;
    /* What left on_event, on_send, on_log or (as "release") the destructor of a link's data: see the head. May be called
       on two threads at once. Not set: std::terminate. */
    callback<void(std::exception_ptr, const char *where)> on_exception;
};

/* How a link is set up. */
struct link_options {
    std::string name;              /* "": hbeat makes one */
    std::string protocol = "none"; /* "none", "cmpp", "heart" */
    int fd = -1;                   /* observed only; must stay open until the link is closed */
    bool start_paused = false;     /* nothing is due or judged before link::start */
    std::uint32_t events = 0;      /* mask({...}); 0: as the engine */
    /* Only for dial and adopt, whose protocol is "heart" where this says "none". */
    hbeat::reconnect reconnect = hbeat::reconnect::by_default;
    std::uint32_t attempts = 0;             /* that may fail in a row before the link is DOWN for good; 0: any number */
    const hbeat_backoff *backoff = nullptr; /* nullptr: hbeat_backoff_default */
    std::vector<key> keys;                  /* one or two: every frame is sealed with the first; none: nothing is */
};

/* How a listener is set up; what each means is said at hbeat_listener_options. */
struct listener_options {
    std::string name;
    std::uint32_t max_links = 0;
    std::uint32_t max_per_source = 0;
    std::uint32_t max_greeting = 0;
    std::vector<key> keys; /* as those of link_options */
    std::uint32_t events = 0; /* mask({...}), of its links; 0: as the engine */
};

/* What is known of a listener. */
class listener_info : public detail::fields<hbeat_listener_info> {
  public:
    std::string name() const { return raw_.name; }
    /* Where it listens, with the port that it got. */
    std::string endpoint() const { return raw_.endpoint; }

  private:
    friend class listener;
};

/* A listener, and its owner: closes it in the end. Links that came of it stay. */
class listener {
  public:
    listener() noexcept : id_(0) {}
    listener(listener &&other) noexcept : core_(std::move(other.core_)), id_(other.id_) { other.id_ = 0; }
    listener &operator=(listener &&other) noexcept {
        listener moved(std::move(other)); /* and takes what this was, to close it */
        core_.swap(moved.core_);
        std::swap(id_, moved.id_);
        return *this;
    }
    ~listener() {
        if (core_) hbeat_listener_close(core_->raw, id_);
    }

    hbeat_listener id() const noexcept { return id_; }
    explicit operator bool() const noexcept { return id_ != 0; }

    /* The endpoint is free after engine::quiesce. */
    code close() const { status s; close(s); return s.check(); }
    code close(status &s) const noexcept { return settle(s, hbeat_listener_close(raw(), id_)); }

    HBEAT_NODISCARD listener_info info() const { status s; listener_info found = info(s); s.check(); return found; }
    HBEAT_NODISCARD listener_info info(status &s) const noexcept {
        listener_info found;
        settle(s, hbeat_listener_info_get(raw(), id_, &found.raw_));
        return found;
    }

  private:
    friend class engine;
    listener(std::shared_ptr<detail::core> core, hbeat_listener id) noexcept : core_(std::move(core)), id_(id) {}

    hbeat_engine *raw() const noexcept { return core_ ? core_->raw.load() : nullptr; }
    code settle(status &s, hbeat_status value) const noexcept {
        return core_ ? s.set(value) : s.set(HBEAT_ERR_NO_LINK, "this hbeat::listener was moved from, or never opened");
    }

    std::shared_ptr<detail::core> core_;
    hbeat_listener id_;
};

/* The kernel's own keepalive of a TCP socket; what it means is said at hbeat_keepalive. */
class keepalive : public detail::fields<hbeat_keepalive> {
  public:
    /* Off. */
    keepalive() noexcept {}
    keepalive(milliseconds idle, milliseconds interval, std::uint32_t count) noexcept {
        raw_.enabled = 1;
        raw_.idle_ms = detail::ms_of(idle);
        raw_.interval_ms = detail::ms_of(interval);
        raw_.count = count;
    }
    /* That which goes with a policy. */
    explicit keepalive(const hbeat::policy &policy) { status s; s.set(hbeat_policy_keepalive(&policy.raw(), &raw_)); s.check(); }
    /* What the kernel uses for that socket now. */
    static keepalive of(int fd) { keepalive found; status s; s.set(hbeat_keepalive_get(fd, &found.raw_)); s.check(); return found; }

    bool enabled() const noexcept { return raw_.enabled != 0; }
    milliseconds idle() const noexcept { return milliseconds(raw_.idle_ms); }
    milliseconds interval() const noexcept { return milliseconds(raw_.interval_ms); }
    void set(int fd) const { status s; set(fd, s); s.check(); }
    code set(int fd, status &s) const noexcept { return s.set(hbeat_keepalive_set(fd, &raw_)); }
};

/* What the kernel knows of a TCP socket. */
class tcp_info : public detail::fields<hbeat_tcp_info> {
  public:
    explicit tcp_info(int fd) { status s; s.set(hbeat_tcp_info_get(fd, &raw_)); s.check(); }
    maybe<microseconds> rtt() const noexcept { return detail::maybe_of<microseconds>(raw_.rtt_us); }
    maybe<milliseconds> last_ack() const noexcept { return detail::maybe_of<milliseconds>(raw_.last_ack_ms); }
    maybe<milliseconds> last_data_received() const noexcept { return detail::maybe_of<milliseconds>(raw_.last_data_received_ms); }
};

/* How an engine is; for a watchdog. */
class health : public detail::fields<hbeat_health> {
  public:
    hbeat::phase phase() const noexcept { return static_cast<hbeat::phase>(raw_.phase); }
    milliseconds turn_age() const noexcept { return milliseconds(raw_.turn_age_ms); }
    milliseconds on_event() const noexcept { return milliseconds(raw_.on_event_ms); }
    milliseconds on_send() const noexcept { return milliseconds(raw_.on_send_ms); }

  private:
    friend class engine;
};

/* What an engine counted since it was made, closed links included. */
class stats : public detail::fields<hbeat_stats> {
  public:
    /* Changes to DOWN for this cause. */
    std::uint64_t downs(hbeat::cause cause) const noexcept {
        return static_cast<std::uint32_t>(cause) < HBEAT_CAUSES_MAX ? raw_.downs[static_cast<std::uint32_t>(cause)] : 0;
    }
    milliseconds paused() const noexcept { return milliseconds(raw_.paused_ms); }

  private:
    friend class engine;
};

/* How times were spread since the engine was made. */
class histogram : public detail::fields<hbeat_histogram> {
  public:
    microseconds sum() const noexcept { return microseconds(raw_.sum_us); }
    microseconds min() const noexcept { return microseconds(raw_.min_us); }
    microseconds max() const noexcept { return microseconds(raw_.max_us); }
    microseconds p50() const noexcept { return microseconds(raw_.p50_us); }
    microseconds p90() const noexcept { return microseconds(raw_.p90_us); }
    microseconds p99() const noexcept { return microseconds(raw_.p99_us); }
    microseconds p999() const noexcept { return microseconds(raw_.p999_us); }

  private:
    friend class engine;
};

/* Which times. */
enum class times : std::uint32_t { rtt = HBEAT_HISTOGRAM_RTT, lateness = HBEAT_HISTOGRAM_LATENESS };

/* Keeps the time of many links. */
class engine {
  public:
    /* None, as a link() is none: options() make one. */
    engine() noexcept {}
    explicit engine(options options) { status s; make(options, s); s.check(); }
    /* Where it fails this is no engine, as after a move. */
    engine(options options, status &s) noexcept { make(options, s); }
    engine(engine &&other) noexcept : core_(std::move(other.core_)) {}
    engine &operator=(engine &&other) noexcept {
        engine moved(std::move(other)); /* and takes what this was, to end it */
        core_.swap(moved.core_);
        return *this;
    }
    /* See the head of this header. */
    ~engine() {
        if (!core_) return;
        hbeat_engine_stop(core_->raw, HBEAT_FOREVER);
        hand_out_rest();
    }

    explicit operator bool() const noexcept { return core_ != nullptr; }
    /* For what hbeat.h has and this header has not. */
    hbeat_engine *raw() const noexcept { return core_ ? core_->raw.load() : nullptr; }

    /* Opens a link; data belongs to it from here on. On a failure data is destroyed. */
    template <typename T>
    HBEAT_NODISCARD hbeat::link open(const hbeat::policy &policy, const link_options &how, T &&data) const {
        status s;
        hbeat::link opened = open(policy, how, std::forward<T>(data), s);
        s.check();
        return opened;
    }
    template <typename T>
    HBEAT_NODISCARD hbeat::link open(const hbeat::policy &policy, const link_options &how, T &&data, status &s) const {
        return open_holding(by_opening{}, policy, how, hold(std::forward<T>(data)), s);
    }
    HBEAT_NODISCARD hbeat::link open(const hbeat::policy &policy, const link_options &how) const {
        status s;
        hbeat::link opened = open(policy, how, s);
        s.check();
        return opened;
    }
    HBEAT_NODISCARD hbeat::link open(const hbeat::policy &policy, const link_options &how, status &s) const noexcept {
        return open_holding(by_opening{}, policy, how, std::unique_ptr<detail::holder>(), s);
    }

    /* Opens a link whose connection hbeat makes itself, and makes anew when it is lost; as hbeat_link_dial. */
    HBEAT_NODISCARD hbeat::link dial(const std::string &endpoint, const hbeat::policy &policy, const link_options &how) const {
        status s;
        hbeat::link opened = dial(endpoint, policy, how, s);
        s.check();
        return opened;
    }
    HBEAT_NODISCARD hbeat::link dial(const std::string &endpoint, const hbeat::policy &policy, const link_options &how,
                                     status &s) const noexcept {
        return open_holding(by_dialling{endpoint.c_str()}, policy, how, std::unique_ptr<detail::holder>(), s);
    }
    /* data belongs to the link from here on; on a failure it is destroyed. */
    template <typename T>
    HBEAT_NODISCARD hbeat::link dial(const std::string &endpoint, const hbeat::policy &policy, const link_options &how,
                                     T &&data, status &s) const {
        return open_holding(by_dialling{endpoint.c_str()}, policy, how, hold(std::forward<T>(data)), s);
    }

    /* Opens a link over a connected stream socket, which is hbeat's where this succeeds; as hbeat_link_adopt. */
    HBEAT_NODISCARD hbeat::link adopt(int fd, const hbeat::policy &policy, const link_options &how) const {
        status s;
        hbeat::link opened = adopt(fd, policy, how, s);
        s.check();
        return opened;
    }
    HBEAT_NODISCARD hbeat::link adopt(int fd, const hbeat::policy &policy, const link_options &how, status &s) const noexcept {
        return open_holding(by_adopting{fd}, policy, how, std::unique_ptr<detail::holder>(), s);
    }
    template <typename T>
    HBEAT_NODISCARD hbeat::link adopt(int fd, const hbeat::policy &policy, const link_options &how, T &&data, status &s) const {
        return open_holding(by_adopting{fd}, policy, how, hold(std::forward<T>(data)), s);
    }

    /* Listens for peers that dial: each becomes a link, see event::accept; as hbeat_listener_open. */
    HBEAT_NODISCARD hbeat::listener listen(const std::string &endpoint, const hbeat::policy &policy,
                                           const listener_options &how = listener_options()) const {
        status s;
        hbeat::listener opened = listen(endpoint, policy, how, s);
        s.check();
        return opened;
    }
    HBEAT_NODISCARD hbeat::listener listen(const std::string &endpoint, const hbeat::policy &policy,
                                           const listener_options &how, status &s) const noexcept {
        hbeat_listener_options raw = hbeat_listener_options();
        hbeat_listener id = 0;
        raw.struct_size = sizeof raw;
        raw.name = how.name.c_str();
        raw.max_links = how.max_links;
        raw.max_per_source = how.max_per_source;
        raw.max_greeting = how.max_greeting;
        const detail::raw_keys keys(how.keys);
        raw.keys = keys.count() > 0 ? keys.first() : nullptr;
        raw.key_count = keys.count();
        raw.events = how.events;
        if (settle(s, hbeat_listener_open(this->raw(), endpoint.c_str(), &policy.raw(), &raw, &id)) != code::ok)
            return hbeat::listener();
        return hbeat::listener(core_, id);
    }

    /* The link with that id. */
    link_ref ref(hbeat_link id) const noexcept { return link_ref(core_, id); }

    /* A complete message of each of these arrived: link_ref::received of many at once, by their ids. */
    code received(const std::vector<hbeat_link> &links, time_point at = time_point()) const {
        status s;
        received(links, at, s);
        return s.check();
    }
    code received(const std::vector<hbeat_link> &links, time_point at, status &s) const noexcept {
        return settle(s, hbeat_links_received(raw(), links.data(), static_cast<std::uint32_t>(links.size()), detail::ns_of(at)));
    }

    /* Those that are open. */
    HBEAT_NODISCARD std::vector<link_ref> links() const {
        status s;
        std::vector<link_ref> all = links(s);
        s.check();
        return all;
    }
    HBEAT_NODISCARD std::vector<link_ref> links(status &s) const {
        std::vector<link_ref> all;
        hbeat_link page[64];
        std::uint32_t count = 0;
        do {
            settle(s, hbeat_engine_links(raw(), all.empty() ? 0 : all.back().id(), page, 64, &count));
            for (std::uint32_t i = 0; i < count && !s.failed(); i++) all.push_back(ref(page[i]));
        } while (s.code() == code::more && count > 0);
        return all;
    }

    /* Pulls up to 32 events, waiting for the first at most so long. code::end: it was stopped, and all is handed out. */
    code wait(std::vector<event> &events, milliseconds timeout) const {
        status s;
        wait(events, timeout, s);
        return s.check();
    }
    code wait(std::vector<event> &events, milliseconds timeout, status &s) const noexcept {
        const std::shared_ptr<detail::core> kept = core_;
        hbeat_event raw[32];
        std::uint32_t count = 0;
        events.clear();
        try {
            events.reserve(32);
        } catch (...) {
            return s.set(HBEAT_ERR_NO_MEMORY, "there is no memory for 32 events");
        }
        settle(kept, s, hbeat_engine_wait(this->raw(), raw, sizeof raw[0], 32, detail::timeout_of(timeout), &count));
        for (std::uint32_t i = 0; i < count && !s.failed(); i++) events.push_back(event(raw[i], kept));
        return s.code();
    }

    /* Readable while events wait to be pulled; for epoll and its like. Never read, write or close it. */
    HBEAT_NODISCARD int fd() const { status s; int found = fd(s); s.check(); return found; }
    HBEAT_NODISCARD int fd(status &s) const noexcept {
        std::int32_t found = -1;
        settle(s, hbeat_engine_fd(raw(), &found));
        return found;
    }

    /* run::application: does what is due now; a manual clock goes to `now`. code::more: events wait to be pulled. */
    code drive(time_point now = time_point()) const { status s; drive(now, s); return s.check(); }
    code drive(time_point now, status &s) const noexcept {
        const std::shared_ptr<detail::core> kept = core_;
        return settle(kept, s, hbeat_engine_drive(raw(), detail::ns_of(now)));
    }

    /* When drive is wanted next; none: nothing is due. */
    HBEAT_NODISCARD maybe<time_point> next_deadline() const {
        status s;
        maybe<time_point> next = next_deadline(s);
        s.check();
        return next;
    }
    HBEAT_NODISCARD maybe<time_point> next_deadline(status &s) const noexcept {
        std::uint64_t next = UINT64_MAX;
        settle(s, hbeat_engine_next_deadline(raw(), &next));
        return next == UINT64_MAX ? maybe<time_point>() : maybe<time_point>(detail::time_of(next));
    }

    /* The manual clock goes to `now`, deadline by deadline. code::more: pull, then call it again. */
    code advance(time_point now) const { status s; advance(now, s); return s.check(); }
    code advance(time_point now, status &s) const noexcept {
        const std::shared_ptr<detail::core> kept = core_;
        return settle(kept, s, hbeat_engine_advance(raw(), detail::ns_of(now)));
    }

    HBEAT_NODISCARD time_point now() const { status s; time_point at = now(s); s.check(); return at; }
    HBEAT_NODISCARD time_point now(status &s) const noexcept {
        std::uint64_t at = 0;
        settle(s, hbeat_engine_now(raw(), &at));
        return detail::time_of(at);
    }

    /* The application goes on: to be said more often than each policy::progress of the links. */
    code progress(time_point at = time_point()) const { status s; progress(at, s); return s.check(); }
    code progress(time_point at, status &s) const noexcept {
        return settle(s, hbeat_engine_progress(raw(), detail::ns_of(at)));
    }

    HBEAT_NODISCARD hbeat::health health() const { status s; hbeat::health found = health(s); s.check(); return found; }
    HBEAT_NODISCARD hbeat::health health(status &s) const noexcept {
        hbeat::health found;
        settle(s, hbeat_engine_health(raw(), &found.raw_));
        return found;
    }

    HBEAT_NODISCARD hbeat::stats stats() const { status s; hbeat::stats found = stats(s); s.check(); return found; }
    HBEAT_NODISCARD hbeat::stats stats(status &s) const noexcept {
        hbeat::stats found;
        settle(s, hbeat_engine_stats(raw(), &found.raw_));
        return found;
    }

    HBEAT_NODISCARD hbeat::histogram histogram(times which) const {
        status s;
        hbeat::histogram found = histogram(which, s);
        s.check();
        return found;
    }
    HBEAT_NODISCARD hbeat::histogram histogram(times which, status &s) const noexcept {
        hbeat::histogram found;
        settle(s, hbeat_engine_histogram(raw(), static_cast<std::uint32_t>(which), &found.raw_));
        return found;
    }

    /* Waits until what was due, or told, before the call is handed out and no callback runs. */
    code quiesce(milliseconds timeout) const { status s; quiesce(timeout, s); return s.check(); }
    code quiesce(milliseconds timeout, status &s) const noexcept {
        const std::shared_ptr<detail::core> kept = core_;
        return settle(kept, s, hbeat_engine_quiesce(raw(), detail::timeout_of(timeout)));
    }

    /* Closes all links, ends the threads. code::stopping: inside a callback, after which it stops. */
    code stop(milliseconds timeout) const { status s; stop(timeout, s); return s.check(); }
    code stop(milliseconds timeout, status &s) const noexcept {
        const std::shared_ptr<detail::core> kept = core_;
        return settle(kept, s, hbeat_engine_stop(raw(), detail::timeout_of(timeout)));
    }

  private:
    void make(options &options, status &s) noexcept {
        hbeat_engine_options raw = HBEAT_ENGINE_OPTIONS_INIT;
        raw.run = static_cast<std::uint32_t>(options.run);
        raw.clock = options.manual_clock ? HBEAT_CLOCK_MANUAL : HBEAT_CLOCK_SYSTEM;
        raw.start_ns = options.manual_clock ? detail::ns_of(options.start) : 0;
        raw.threads = options.threads;
        raw.tick_ms = detail::ms_of(options.tick);
        raw.events = options.events;
        raw.max_links = options.max_links;
        raw.open_queue = options.open_queue;
        raw.on_panic = options.abort_on_panic ? HBEAT_ON_PANIC_ABORT : HBEAT_ON_PANIC_EVENT;
        raw.nice = options.nice;
        raw.cpus = options.cpus;
        raw.thread_name = options.thread_name.empty() ? nullptr : options.thread_name.c_str();
        raw.release = &detail::core::released;
        raw.on_event = options.on_event ? &detail::core::told_event : nullptr;
        raw.on_send = options.on_send ? &detail::core::told_send : nullptr;
        raw.on_log = options.on_log ? &detail::core::told_log : nullptr;
        try {
            std::shared_ptr<detail::core> made(new detail::core, &detail::core::let_go);
            made->self = made;
            made->on_event = std::move(options.on_event);
            made->on_send = std::move(options.on_send);
            made->on_log = std::move(options.on_log);
            made->on_exception = std::move(options.on_exception);
            raw.engine_data = made.get();
            hbeat_engine *started = nullptr;
            if (s.set(hbeat_engine_new(&raw, &started)) != code::ok) return;
            made->raw = started;
            core_ = std::move(made);
        } catch (...) {
            s.set(HBEAT_ERR_NO_MEMORY, "there is no memory for an engine");
        }
    }

    /* Where a link's connection comes from. */
    struct by_opening {
        static constexpr bool carried = false;
        hbeat_status operator()(hbeat_engine *engine, const hbeat_policy *policy, const hbeat_link_options *how,
                                hbeat_link *id) const noexcept {
            return hbeat_link_open(engine, policy, how, id);
        }
    };
    struct by_dialling {
        static constexpr bool carried = true;
        const char *endpoint;
        hbeat_status operator()(hbeat_engine *engine, const hbeat_policy *policy, const hbeat_link_options *how,
                                hbeat_link *id) const noexcept {
            return hbeat_link_dial(engine, endpoint, policy, how, id);
        }
    };
    struct by_adopting {
        static constexpr bool carried = true;
        int fd;
        hbeat_status operator()(hbeat_engine *engine, const hbeat_policy *policy, const hbeat_link_options *how,
                                hbeat_link *id) const noexcept {
            return hbeat_link_adopt(engine, fd, policy, how, id);
        }
    };

    template <typename T> std::unique_ptr<detail::holder> hold(T &&data) const {
        typedef typename std::decay<T>::type Data;
        return std::unique_ptr<detail::holder>(new detail::holder_of<Data>(core_.get(), std::forward<T>(data)));
    }

    template <typename Open>
    hbeat::link open_holding(Open open, const hbeat::policy &policy, const link_options &how,
                             std::unique_ptr<detail::holder> data, status &s) const noexcept {
        hbeat_link_options raw = HBEAT_LINK_OPTIONS_INIT;
        hbeat_link id = 0;
        if (how.name.find('\0') != std::string::npos || how.protocol.find('\0') != std::string::npos) {
            s.set(HBEAT_ERR_INVALID, "the name or the protocol of a link has a NUL in it");
            return not_opened(std::move(data));
        }
        raw.fd = how.fd;
        raw.name = how.name.c_str();
        raw.protocol = Open::carried && how.protocol == "none" ? nullptr : how.protocol.c_str();
        raw.backoff = how.backoff;
        raw.reconnect = static_cast<std::uint32_t>(how.reconnect);
        raw.attempts = how.attempts;
        const detail::raw_keys keys(how.keys);
        raw.keys = keys.count() > 0 ? keys.first() : nullptr;
        raw.key_count = keys.count();
        raw.start_paused = how.start_paused;
        raw.events = how.events;
        raw.link_data = data.get();
        if (settle(s, open(this->raw(), &policy.raw(), &raw, &id)) != code::ok) return not_opened(std::move(data));
        data.release(); /* hbeat's from here on */
        return hbeat::link(core_, id);
    }

    /* What its data throws when it is destroyed goes where it would have gone later. */
    hbeat::link not_opened(std::unique_ptr<detail::holder> data) const noexcept {
        if (core_) detail::core::released(data.release());
        return hbeat::link();
    }

    /* The data of links whose end nobody pulled: it may own links, and these keep the engine in memory. */
    void hand_out_rest() const noexcept {
        hbeat_event rest;
        std::uint32_t count = 0;
        while (hbeat_engine_wait(raw(), &rest, sizeof rest, 1, 0, &count) == HBEAT_OK && count > 0) {
        }
    }

    code settle(status &s, hbeat_status value) const noexcept { return settle(core_, s, value); }
    /* For calls that run callbacks, which may destroy or move this engine: they keep what they need of it. */
    static code settle(const std::shared_ptr<detail::core> &kept, status &s, hbeat_status value) noexcept {
        return kept ? s.set(value) : s.set(HBEAT_ERR_STOPPED, "this hbeat::engine was moved from, or never made");
    }

    std::shared_ptr<detail::core> core_;
};

} // namespace hbeat

#undef HBEAT_NODISCARD
#endif /* HBEAT_HPP */
