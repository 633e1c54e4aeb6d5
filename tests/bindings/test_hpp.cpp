// hbeat.hpp: owners, exceptions, times and types. Compiled as C++11 to C++20, also over hbeat_load.h (LOADED), and linked
// with other_unit.cpp, a second translation unit of the same program and of another standard.
#ifdef LOADED
#define _GNU_SOURCE 1
#include "hbeat_load.h"
#endif
#include "check.h"
#include "story.h"
#include "hbeat.hpp"

#include <algorithm>
#include <mutex>

#ifdef LOADED
__attribute__((constructor)) static void load_first() {
    if (hbeat_load(nullptr) != HBEAT_OK) {
        puts(hbeat_load_error());
        exit(1);
    }
}
#endif

std::string other_units_line(const hbeat::event &event);
hbeat::link other_unit_opens(const hbeat::engine &engine, std::string data);

using hbeat::cause;
using hbeat::code;
using hbeat::event_type;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;
typedef std::chrono::milliseconds ms;

static_assert(!std::is_copy_constructible<hbeat::engine>::value && !std::is_copy_assignable<hbeat::engine>::value, "");
static_assert(!std::is_copy_constructible<hbeat::link>::value && !std::is_copy_assignable<hbeat::link>::value, "");
static_assert(std::is_nothrow_move_constructible<hbeat::engine>::value && std::is_nothrow_move_assignable<hbeat::engine>::value, "");
static_assert(std::is_nothrow_move_constructible<hbeat::link>::value && std::is_nothrow_move_assignable<hbeat::link>::value, "");
static_assert(std::is_copy_constructible<hbeat::policy>::value && std::is_copy_constructible<hbeat::link_ref>::value, "");
static_assert(std::is_nothrow_destructible<hbeat::engine>::value && std::is_nothrow_destructible<hbeat::link>::value, "");

static hbeat::time_point at(ms since) { return hbeat::time_point(std::chrono::nanoseconds(START_NS)) + since; }

// The code of what work throws; the sentence has to contain a part.
template <typename Work> static code thrown(Work work, const char *part) {
    try {
        work();
    } catch (const hbeat::error &fault) {
        CHECK_TEXT(fault.what(), part);
        return fault.code();
    }
    CHECK(!"something is thrown");
    return code::ok;
}
#define CHECK_THROWS(work, its_code, part) CHECK(thrown([&] { (void)(work); }, part) == (its_code))

// What is destroyed, how often.
struct counted {
    explicit counted(int &count) : count(&count) {}
    counted(counted &&other) noexcept : count(other.count) { other.count = nullptr; }
    counted(const counted &) = delete;
    ~counted() {
        if (count) __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    }
    int *count;
};

// An engine's options under the manual clock, and what it told.
struct record {
    std::mutex lock;
    std::vector<hbeat::event> events;
    std::vector<std::string> lines;

    void note(const hbeat::event &event) {
        std::lock_guard<std::mutex> held(lock);
        events.push_back(event);
    }
    int count(event_type type) {
        std::lock_guard<std::mutex> held(lock);
        int found = 0;
        for (const hbeat::event &event : events) found += event.type() == type;
        return found;
    }
    hbeat::event first(event_type type) {
        std::lock_guard<std::mutex> held(lock);
        for (const hbeat::event &event : events)
            if (event.type() == type) return event;
        REQUIRE(!"there is such an event");
        return events.at(0);
    }
};

static hbeat::options manual() {
    hbeat::options options;
    options.manual_clock = true;
    options.start = at(ms(0));
    return options;
}

static void take_and_write(const hbeat::event &event) {
    unsigned char frames[HBEAT_FRAME_MAX];
    CHECK_EQ(event.link().take(frames, sizeof frames).length, 12);
}

static hbeat::options recorded(record &record) {
    hbeat::options options = manual();
    options.on_event = [&record](const hbeat::event &event) { record.note(event); };
    options.on_send = take_and_write;
    return options;
}

static hbeat::link_options cmpp(const char *name = "gd-mt-07") {
    hbeat::link_options how;
    how.name = name;
    how.protocol = "cmpp";
    return how;
}

static bool is_destroyed(int &count, int times) { return becomes(&count, times); }

// On to a time, pulling what comes on the way.
static void pull_until(const hbeat::engine &engine, hbeat::time_point until, record &record) {
    std::vector<hbeat::event> events;
    for (code came = code::more; came == code::more;) {
        came = engine.advance(until);
        for (engine.wait(events, ms(0)); !events.empty(); engine.wait(events, ms(0)))
            for (const hbeat::event &event : events) {
                if (event.type() == event_type::send) take_and_write(event);
                record.note(event);
            }
    }
}

TEST(down_at_its_millisecond_in_every_way_to_run, "K55 K61") {
    for (int way = 0; way < 4; way++) {
        record record;
        hbeat::options options = way % 2 ? manual() : recorded(record);
        options.run = way < 2 ? hbeat::run::threads : hbeat::run::application;
        hbeat::engine engine(std::move(options));
        hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp(), std::string("mine"));
        for (ms step : {ms(359999), ms(360000)}) {
            CHECK_EQ(record.count(event_type::down), 0);
            way % 2 ? pull_until(engine, at(step), record) : (void)engine.advance(at(step));
        }
        const hbeat::event down = record.first(event_type::down);
        CHECK(down.at() == at(minutes(6)));
        CHECK(down.cause() == cause::no_answer && down.state() == hbeat::state::down);
        CHECK(down.link() == link && down.link().id() == link.id());
        CHECK(down.name() == "gd-mt-07");
        CHECK(*down.data<std::string>() == "mine");
        CHECK_EQ(down->tries, 3);
        CHECK_EQ(record.count(event_type::suspect), 2);
        CHECK(down.text().find("DOWN gd-mt-07 cause=no_answer tries=3/3") == 0);
        CHECK(other_units_line(down) == down.text());
    }
}

TEST(a_loop_of_ones_own, "K47 K48") {
    record record;
    hbeat::options options = recorded(record);
    options.run = hbeat::run::application;
    hbeat::engine engine(std::move(options));
    engine.drive(at(ms(0)));
    CHECK(!engine.next_deadline());
    hbeat::link link = engine.open(hbeat::policy("interval=10s timeout=2s tries=2 jitter=0%"), cmpp());
    while (record.count(event_type::down) == 0) {
        const hbeat::maybe<hbeat::time_point> next = engine.next_deadline();
        REQUIRE(next.has_value());
        engine.drive(*next > engine.now() ? *next : engine.now());
    }
    CHECK(record.first(event_type::down).at() == at(seconds(14)));
}

TEST(what_is_not_known_has_no_value, "K8") {
    record record;
    hbeat::engine engine(recorded(record));
    hbeat::link link = engine.open(hbeat::policy("cmpp interval=10s timeout=5s"), cmpp());
    engine.advance(at(seconds(10)));
    const hbeat::info before = link.info();
    CHECK(!before.rtt() && !before.last_received().has_value() && !before.unread_bytes());
    CHECK(before.last_received().value_or(ms(-7)) == ms(-7));
    engine.advance(at(ms(10250)));
    link.answer_received(before->sequence);
    engine.advance(at(seconds(12)));
    const hbeat::info after = link.info();
    CHECK(after.rtt() && *after.rtt() == ms(250));
    CHECK(after.last_received() && *after.last_received() == ms(1750));
    CHECK(*after.last_sent() == seconds(2));
    CHECK(after.in_state() == seconds(12));
    CHECK_EQ(after->answers_received, 1);
    CHECK(after.state() == hbeat::state::up && after.cause() == cause::none && after.name() == "gd-mt-07");
#if __cplusplus >= 201703L
    const std::optional<std::chrono::microseconds> rtt = after.rtt();
    CHECK(rtt && *rtt == ms(250));
    CHECK(!std::optional<std::chrono::microseconds>(before.rtt()));
#endif
}

TEST(what_is_fed_is_answered, "K72 K74") {
    hbeat::engine engine(manual());
    hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp());
    unsigned char frame[13], frames[64];
    std::uint32_t sequence = 41;
    const std::size_t length = cmpp_frame(frame, CMPP_TEST, 99);
    CHECK(link.feed(frame, 5) == code::ok);
    CHECK(link.feed(frame + 5, length - 5) == code::send);
    hbeat::taken due = link.take(frames, 12, &sequence);
    CHECK(due.more && due.length == 0);
    due = link.take(frames, sizeof frames, &sequence);
    CHECK(!due.more && !due.own_beat && due.length == 13 && is_frame(frames, CMPP_ANSWER, 99));
    CHECK_EQ(sequence, 41);
#if __cplusplus >= 202002L
    std::byte bytes[64];
    std::memcpy(bytes, frame, length);
    CHECK(link.feed(std::span<const std::byte>(bytes, length)) == code::send);
    CHECK_EQ(link.take(std::span<std::byte>(bytes)).length, 13);
#endif
    std::memset(frame, 0xff, sizeof frame);
    CHECK_THROWS(link.feed(frame, sizeof frame), code::desync, "");
    hbeat::link own = engine.open(hbeat::policy("interval=1s timeout=1s tries=1 jitter=0%"), hbeat::link_options());
    CHECK_THROWS(own.feed(frame, 4), code::wrong_mode, "");
    std::vector<hbeat::event> events;
    while (engine.advance(at(seconds(1))) == code::more) engine.wait(events, ms(0));
    CHECK(events.at(0).type() == event_type::send && events[0].link() == own);
    CHECK(own.take(frames, sizeof frames, &sequence).own_beat);
    CHECK_EQ(sequence, 42);
}

TEST(every_call_of_a_link, "K78 K82 K86 K87") {
    record record;
    hbeat::engine engine(recorded(record));
    hbeat::link_options how = cmpp();
    how.start_paused = true;
    how.events = hbeat::mask({event_type::send, event_type::down, event_type::answer, event_type::beat_received});
    hbeat::link link = engine.open(hbeat::policy("cmpp"), how);
    engine.advance(at(hours(1)));
    CHECK(link.info().state() == hbeat::state::paused && record.events.empty());
    CHECK(link.start() == code::ok);
    CHECK(link.received(at(hours(1) + seconds(10))) == code::ok);
    CHECK(link.sent() == code::ok);
    CHECK(link.beat_received(5) == code::ok);
    CHECK(link.set_policy(hbeat::policy("cmpp").interval(seconds(20)).timeout(seconds(5))) == code::ok);
    engine.advance(at(hours(1) + seconds(20)));
    CHECK_EQ(record.count(event_type::send) + record.count(event_type::beat_received), 1); /* send went to on_send */
    CHECK_EQ(link.info()->beats_sent, 1);
    CHECK(link.unsent() == code::ok);
    engine.advance(at(hours(1) + ms(20999)));
    CHECK_EQ(link.info()->beats_sent, 0);
    engine.advance(at(hours(1) + seconds(21)));
    CHECK_EQ(link.info()->beats_sent, 1);
    CHECK(link.answer_received(link.info()->sequence) == code::ok);
    engine.advance(at(hours(1) + seconds(22)));
    CHECK_EQ(record.count(event_type::answer), 1);
    CHECK(link.pause() == code::ok);
    engine.advance(at(hours(5)));
    CHECK(link.info().state() == hbeat::state::paused);
    CHECK(link.report_down(cause::reset, 104) == code::ok);
    CHECK(link.report_down(cause::reported) == code::already_down);
    engine.quiesce(seconds(10));
    CHECK(record.first(event_type::down).cause() == cause::reset);
    CHECK_EQ(record.first(event_type::down)->detail, 104);
    CHECK_THROWS(link.report_down(cause::none), code::invalid, "cause");
    CHECK(link.close() == code::ok);
    CHECK_THROWS(link.close(), code::no_link, "closed");
}

TEST(names_of_numbers, "K100") {
    CHECK(strcmp(name(hbeat::state::suspect), "suspect") == 0);
    CHECK(strcmp(name(cause::no_answer), "no_answer") == 0);
    CHECK(strcmp(name(event_type::down), "DOWN") == 0);
    CHECK(strcmp(name(code::no_link), "HBEAT_ERR_NO_LINK") == 0);
    CHECK(strcmp(name(static_cast<cause>(999)), "unknown") == 0);
    CHECK(strcmp(hbeat::version(), hbeat_version()) == 0);
    CHECK(hbeat::clock::now().time_since_epoch().count() > 0);
}

TEST(a_policy_is_a_value, "K94 K95 K106") {
    hbeat::policy policy("cmpp");
    policy.interval(minutes(1)).timeout(seconds(20)).tries(3).jitter_percent(10);
    const hbeat::policy copy = policy;
    policy.tries(5);
    CHECK_EQ(copy.tries(), 3);
    CHECK(copy.interval() == seconds(60) && copy.timeout() == ms(20000) && copy.resend() == hbeat::resend::same_number);
    CHECK(hbeat::policy(copy.text()).text() == copy.text());
    CHECK(copy.detection().earliest == seconds(60 - 6) + seconds(0) || copy.detection().earliest > ms(0));
    CHECK(copy.detection().latest == seconds(120));
    policy = hbeat::policy(std::string("fast"));
    CHECK_EQ(policy.tries(), 3);
    CHECK(policy.check() == code::ok);
    policy.strategy(hbeat::strategy::periodic).idle_on(hbeat::idle_on::either).proof(hbeat::proof::answer).resend(hbeat::resend::new_number);
    policy.answer_expected(true).answer(false).hold_time(ms(0)).partial(seconds(1)).late_reader_limit(seconds(9)).up_after(0);
    CHECK(policy.strategy() == hbeat::strategy::periodic && policy.idle_on() == hbeat::idle_on::either);
    CHECK(policy.proof() == hbeat::proof::answer && !policy.answer() && policy.answer_expected());
    CHECK(policy.partial() == seconds(1) && policy.late_reader_limit() == seconds(9) && policy.hold_time() == ms(0));
    CHECK(policy.up_after() == 0 && policy.jitter_percent() > 0);
    policy.least(seconds(20)).strikes(5).progress(seconds(7)).on_no_progress(hbeat::no_progress::stop);
    CHECK(policy.least() == seconds(20) && policy.strikes() == 5 && policy.progress() == seconds(7));
    CHECK(policy.on_no_progress() == hbeat::no_progress::stop);
    CHECK(hbeat::policy("normal").least(seconds(20)).strikes(5).progress(seconds(7)).on_no_progress(hbeat::no_progress::flag).text().find("least=20s strikes=5 progress=7s on_no_progress=flag") != std::string::npos);
    CHECK_THROWS(hbeat::policy("cmpp intervall=1s"), code::invalid, "intervall=1s");
    CHECK_THROWS(hbeat::policy(std::string("cmpp\0 tries=1", 13)), code::invalid, "NUL");
    CHECK_THROWS(hbeat::policy(static_cast<const char *>(nullptr)), code::null, "text");
    CHECK_THROWS(policy.timeout(ms(-1)).check(), code::invalid, "timeout_ms");
    CHECK_THROWS(policy.timeout(hours(1000000)).check(), code::invalid, "timeout_ms");
    CHECK_THROWS(policy.timeout(ms(0)).text(), code::invalid, "timeout_ms");
    CHECK_THROWS(policy.detection(), code::invalid, "timeout_ms");
    hbeat::status s;
    const hbeat::policy bad("tries=x", s);
    CHECK(s.failed() && s.code() == code::invalid);
    CHECK_TEXT(s.message(), "tries=x");
    hbeat_policy raw;
    REQUIRE_OK(hbeat_policy_preset(&raw, sizeof raw, "passive"));
    CHECK(hbeat::policy(raw).hold_time() == seconds(30));
#if __cplusplus >= 201703L
    CHECK_EQ(hbeat::policy(std::string_view("cmpp tries=4, and more").substr(0, 12)).tries(), 4);
#endif
}

TEST(a_status_says_what_an_exception_says, "K93") {
    hbeat::engine engine(manual());
    hbeat::status s;
    hbeat::link_options how = cmpp();
    how.protocol = "smpp";
    hbeat::link link = engine.open(hbeat::policy(), how, s);
    CHECK(!link && s.code() == code::invalid);
    std::string said;
    try {
        link = engine.open(hbeat::policy(), how);
    } catch (const std::runtime_error &fault) {
        said = fault.what();
    }
    CHECK(said == s.message() && said.find("smpp") != std::string::npos);
    CHECK_THROWS(s.check(), code::invalid, "smpp");
    link = engine.open(hbeat::policy(), cmpp(), s); /* a status is used again */
    CHECK(link && s.code() == code::ok && !s.failed());
    CHECK_TEXT(s.message(), hbeat_status_text(HBEAT_OK));
    hbeat_link_close(nullptr, 1); /* another failure on this thread changes nothing that was noted */
    CHECK_THROWS(engine.open(hbeat::policy().tries(1000), cmpp()), code::invalid, "tries");
    how = cmpp();
    how.name = std::string("a\0b", 3);
    CHECK_THROWS(engine.open(hbeat::policy(), how), code::invalid, "NUL");
    how.name = std::string(200, 'x');
    CHECK_THROWS(engine.open(hbeat::policy(), how), code::invalid, "name");
    hbeat::options options;
    options.tick = ms(5000);
    CHECK_THROWS(hbeat::engine(std::move(options)), code::invalid, "tick_ms");
    options = hbeat::options();
    options.thread_name = "much too long";
    hbeat::engine none(std::move(options), s);
    CHECK(!none && s.code() == code::invalid);
}

TEST(any_callable, "K1") {
    record record;
    hbeat::options options = manual();
    struct only_moves {
        explicit only_moves(int *count) : count(count) {}
        void operator()(const hbeat::event &event) { *count += event.type() == event_type::suspect; }
        std::unique_ptr<int> unused;
        int *count;
    };
    int suspects = 0;
    options.on_event = only_moves(&suspects);
    options.on_send = std::function<void(const hbeat::event &)>(take_and_write);
    options.on_log = [&](hbeat::log_level, std::string line) { record.lines.push_back(line); };
    hbeat::engine engine(std::move(options));
    hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp());
    engine.advance(at(minutes(6)));
    CHECK_EQ(suspects, 2);
    CHECK(record.lines.size() >= 3 && record.lines.back().find("DOWN gd-mt-07") == 0);
    hbeat::options empty = manual();
    void (*no_function)(const hbeat::event &) = nullptr;
    empty.on_event = std::function<void(const hbeat::event &)>();
    empty.on_send = no_function;
    empty.on_log = nullptr;
    std::vector<hbeat::event> events;
    CHECK(hbeat::engine(std::move(empty)).wait(events, ms(0)) == code::ok); /* none is set, so events are pulled */
}

struct thrower {
    explicit thrower(int &count) : count(&count) {}
    thrower(thrower &&other) noexcept : count(other.count) { other.count = nullptr; }
    ~thrower() noexcept(false) {
        if (!count) return;
        ++*count;
        throw std::runtime_error("out of the destructor");
    }
    int *count;
};

TEST(what_a_callback_throws_reaches_the_handler_and_the_engine_goes_on, "") {
    for (hbeat::run run : {hbeat::run::threads, hbeat::run::application}) {
        record record;
        int destroyed = 0;
        std::vector<std::string> caught;
        hbeat::options options = recorded(record);
        options.run = run;
        options.on_event = [&](const hbeat::event &event) {
            record.note(event);
            throw std::runtime_error(name(event.type()));
        };
        options.on_send = [](const hbeat::event &event) {
            take_and_write(event);
            throw 42;
        };
        options.on_log = [](hbeat::log_level, const char *line) { throw std::string(line); };
        options.on_exception = [&](std::exception_ptr exception, const char *where) {
            std::lock_guard<std::mutex> held(record.lock);
            try {
                std::rethrow_exception(exception);
            } catch (const std::runtime_error &fault) {
                caught.push_back(std::string(where) + " " + fault.what());
            } catch (int number) {
                caught.push_back(std::string(where) + " " + std::to_string(number));
            } catch (const std::string &line) {
                caught.push_back(std::string(where) + " " + line.substr(0, line.find(' ')));
            }
        };
        hbeat::engine engine(std::move(options));
        hbeat::link link = engine.open(hbeat::policy("cmpp tries=2"), cmpp(), thrower(destroyed));
        engine.advance(at(minutes(5)));
        CHECK(record.first(event_type::down).at() == at(minutes(5))); /* a throw has changed no time */
        link.close();
        engine.advance(at(minutes(5)));
        CHECK_EQ(destroyed, 1);
        for (const char *wanted : {"on_send 42", "on_log SUSPECT", "on_event SUSPECT", "on_log DOWN", "on_event DOWN",
                                   "release out of the destructor"})
            CHECK_EQ(std::count(caught.begin(), caught.end(), wanted), strcmp(wanted, "on_send 42") ? 1 : 2);
        hbeat::link next = engine.open(hbeat::policy("cmpp"), cmpp("next"));
        engine.advance(at(hours(1)));
        CHECK_EQ(record.count(event_type::down), 2);
    }
}

// How the story `work` ends in a process of its own: the signal that killed it, or 0.
template <typename Work> static int killed_by(Work work) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        close(2); /* terminate speaks of what is wanted here */
        work();
        check_leave(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

struct throws_when_destroyed {
    throws_when_destroyed() : armed(true) {}
    throws_when_destroyed(throws_when_destroyed &&other) : armed(other.armed) { other.armed = false; }
    ~throws_when_destroyed() noexcept(false) {
        if (armed) throw std::runtime_error("data");
    }
    bool armed;
};

TEST(data_that_throws_reaches_the_handler_also_where_nothing_was_opened, "K23") {
    int handled = 0;
    hbeat::options options = manual();
    options.on_exception = [&handled](std::exception_ptr, const char *) { handled++; };
    hbeat::engine engine(std::move(options));
    hbeat::link_options how = cmpp();
    how.protocol = "no such";
    hbeat::status s;
    CHECK(!engine.open(hbeat::policy("cmpp"), how, throws_when_destroyed(), s));
    CHECK(s.code() == code::invalid && handled == 1);
    how.protocol = std::string("a\0b", 3);
    CHECK(!engine.open(hbeat::policy("cmpp"), how, throws_when_destroyed(), s));
    CHECK(s.code() == code::invalid && handled == 2);
}

TEST(without_a_handler_an_exception_terminates, "") {
    for (bool handled : {false, true})
        CHECK_EQ(killed_by([handled] {
            hbeat::options options = manual();
            options.on_event = [](const hbeat::event &) { throw std::runtime_error("nobody catches it"); };
            if (handled) options.on_exception = [](std::exception_ptr, const char *) { throw std::runtime_error("nor this"); };
            hbeat::engine engine(std::move(options));
            hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp());
            link.report_down(cause::reported);
            engine.quiesce(seconds(10));
        }), SIGABRT);
}

TEST(moved_from_is_an_error_not_a_crash, "") {
    record record;
    int destroyed = 0;
    unsigned char bytes[16] = {0};
    std::vector<hbeat::event> events;
    CHECK_THROWS(hbeat::engine().open(hbeat::policy(), cmpp()), code::stopped, "never made");
    CHECK_THROWS(hbeat::link().received(), code::no_link, "never opened");
    hbeat::engine first(recorded(record));
    hbeat::link link = first.open(hbeat::policy("cmpp"), cmpp(), counted(destroyed));
    hbeat::engine engine(std::move(first));
    CHECK(!first && engine);
    CHECK_THROWS(first.open(hbeat::policy(), cmpp()), code::stopped, "moved from");
    CHECK_THROWS(first.stop(ms(0)), code::stopped, "moved from");
    CHECK_THROWS(first.wait(events, ms(0)), code::stopped, "moved from");
    CHECK_THROWS(first.advance(at(ms(1))), code::stopped, "moved from");
    CHECK_THROWS(first.drive(), code::stopped, "moved from");
    CHECK_THROWS(first.next_deadline(), code::stopped, "moved from");
    CHECK_THROWS(first.now(), code::stopped, "moved from");
    CHECK_THROWS(first.fd(), code::stopped, "moved from");
    CHECK_THROWS(first.health(), code::stopped, "moved from");
    CHECK_THROWS(first.links(), code::stopped, "moved from");
    CHECK_THROWS(first.stats(), code::stopped, "moved from");
    CHECK_THROWS(first.histogram(hbeat::times::rtt), code::stopped, "moved from");
    CHECK_THROWS(first.quiesce(ms(0)), code::stopped, "moved from");
    CHECK_THROWS(first.ref(link.id()).received(), code::no_link, "moved from");
    hbeat::link other(std::move(link));
    CHECK(!link && other);
    CHECK_THROWS(link.start(), code::no_link, "moved from");
    CHECK_THROWS(link.pause(), code::no_link, "moved from");
    CHECK_THROWS(link.received(), code::no_link, "moved from");
    CHECK_THROWS(link.sent(), code::no_link, "moved from");
    CHECK_THROWS(link.feed(bytes, 4), code::no_link, "moved from");
    CHECK_THROWS(link.feed_sent(bytes, 4), code::no_link, "moved from");
    CHECK_THROWS(link.beat_sent(1), code::no_link, "moved from");
    CHECK_THROWS(link.take(bytes, 16), code::no_link, "moved from");
    CHECK_THROWS(link.unsent(), code::no_link, "moved from");
    CHECK_THROWS(link.answer_received(1), code::no_link, "moved from");
    CHECK_THROWS(link.beat_received(1), code::no_link, "moved from");
    CHECK_THROWS(link.report_down(cause::reset), code::no_link, "moved from");
    CHECK_THROWS(link.set_policy(hbeat::policy()), code::no_link, "moved from");
    CHECK_THROWS(link.set_state(bytes, 4), code::no_link, "moved from");
    CHECK_THROWS(link.progress(), code::no_link, "moved from");
    CHECK_THROWS(link.peer_state(), code::no_link, "moved from");
    CHECK_THROWS(link.info(), code::no_link, "moved from");
    CHECK_THROWS(link.close(), code::no_link, "moved from");
    CHECK(other.received() == code::ok); /* the engine's move has changed nothing for its links */
    CHECK(engine.advance(at(seconds(1))) == code::ok);
    CHECK_EQ(destroyed, 0);
    hbeat::link second = engine.open(hbeat::policy("cmpp"), cmpp());
    other = std::move(second); /* closes the first */
    engine.advance(at(seconds(1)));
    CHECK_EQ(destroyed, 1);
    CHECK_EQ(engine.links().size(), 1);
    hbeat::link &same = other;
    other = std::move(same);
    CHECK(other.received() == code::ok);
    engine = hbeat::engine(manual());
    CHECK_THROWS(other.received(), code::stopped, ""); /* its engine is gone */
}

TEST(closed_and_stopped_are_errors_not_crashes, "K19 K29") {
    int destroyed = 0;
    unsigned char bytes[16] = {0};
    hbeat::engine engine(manual());
    hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp(), counted(destroyed)), other = engine.open(hbeat::policy(), cmpp());
    link.close();
    CHECK_THROWS(link.received(), code::no_link, "closed");
    CHECK_THROWS(link.take(bytes, 16), code::no_link, "closed");
    CHECK_THROWS(link.info(), code::no_link, "closed");
    CHECK(engine.stop(seconds(10)) == code::ok);
    CHECK(engine.stop(seconds(10)) == code::ok);
    std::vector<hbeat::event> events;
    while (engine.wait(events, ms(0)) != code::end) CHECK(events.empty());
    CHECK_EQ(destroyed, 1);
    CHECK_THROWS(other.start(), code::stopped, "stopped");
    CHECK_THROWS(other.close(), code::no_link, "");
    CHECK_THROWS(engine.open(hbeat::policy(), cmpp(), counted(destroyed)), code::stopped, "stopped");
    CHECK_EQ(destroyed, 2); /* what could not be opened has no data any more */
    CHECK_THROWS(engine.advance(at(ms(1))), code::stopped, "stopped");
    CHECK(engine.health().phase() == hbeat::phase::stopped);
}

TEST(data_of_any_type_is_destroyed_once, "K23") {
    for (int way = 0; way < 4; way++) {
        record record;
        int destroyed = 0;
        hbeat::options options = way % 2 ? manual() : recorded(record);
        options.run = way < 2 ? hbeat::run::threads : hbeat::run::application;
        hbeat::engine engine(std::move(options));
        {
            hbeat::link moved = engine.open(hbeat::policy("cmpp"), cmpp(), counted(destroyed));
            hbeat::link shared = engine.open(hbeat::policy("cmpp"), cmpp(), std::make_shared<counted>(destroyed));
            const std::string text = "a copy";
            hbeat::link copied = engine.open(hbeat::policy("cmpp"), cmpp(), text);
            copied.report_down(cause::reported);
            way % 2 ? pull_until(engine, at(ms(0)), record) : (void)engine.advance(at(ms(0)));
            const hbeat::event down = record.first(event_type::down);
            REQUIRE(down.data<std::string>() != nullptr);
            CHECK(*down.data<std::string>() == text && down.data<std::string>() != &text);
            CHECK(down.data<counted>() == nullptr && down.data<const char *>() == nullptr);
            CHECK_EQ(destroyed, 0);
        }
        way % 2 ? pull_until(engine, at(ms(0)), record) : (void)engine.advance(at(ms(0)));
        CHECK_EQ(destroyed, 2);
        CHECK_EQ(record.count(event_type::closed), 0);
        hbeat::link none = engine.open(hbeat::policy("cmpp"), cmpp());
        hbeat::link left = other_unit_opens(engine, "left open");
        CHECK_EQ(engine.links().size(), 2);
    }
}

// A connection that owns its own link, and is owned by it.
struct connection {
    explicit connection(int &count) : last(count) {}
    counted last;
    hbeat::link link;
};

TEST(data_may_own_its_link, "K23") {
    for (int way = 0; way < 6; way++) {
        record record;
        int destroyed = 0;
        hbeat::options options = way % 2 ? manual() : recorded(record);
        options.run = way % 4 < 2 ? hbeat::run::threads : hbeat::run::application;
        hbeat::engine engine(std::move(options));
        for (int i = 0; i < 3; i++) {
            std::shared_ptr<connection> c(new connection(destroyed));
            c->link = engine.open(hbeat::policy("cmpp"), cmpp(), c);
            if (i == 0 && way < 4) c->link.close(); /* the others are alive when the engine goes */
        }
        if (way < 4) CHECK_EQ(engine.links().size(), 2);
        { hbeat::engine gone(std::move(engine)); }
        CHECK(is_destroyed(destroyed, 3));
    }
}

TEST(links_and_events_outlive_their_engine, "K25") {
    record record;
    int destroyed = 0;
    std::unique_ptr<hbeat::engine> engine(new hbeat::engine(recorded(record)));
    hbeat::link link = engine->open(hbeat::policy("cmpp"), cmpp(), counted(destroyed));
    const hbeat::link_ref ref = link;
    link.report_down(cause::reset);
    engine->advance(at(ms(0)));
    engine.reset();
    CHECK_EQ(destroyed, 1);
    CHECK_THROWS(link.received(), code::stopped, "stopped");
    CHECK_THROWS(ref.info(), code::stopped, "stopped");
    CHECK_THROWS(record.first(event_type::down).link().received(), code::stopped, "stopped");
    CHECK(record.first(event_type::down).text().find("DOWN gd-mt-07") == 0);
}

TEST(a_link_given_up_stays_open, "K21") {
    int destroyed = 0;
    hbeat::engine engine(manual());
    hbeat::link_ref ref;
    CHECK(!ref);
    {
        hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp(), counted(destroyed));
        ref = link.detach();
        CHECK(!link);
    }
    CHECK(ref.received() == code::ok && ref == engine.ref(ref.id()) && ref != hbeat::link_ref());
    CHECK(ref.close() == code::ok);
}

static int threads_now() {
    int found = 0;
    FILE *status = fopen("/proc/self/status", "r");
    char line[128];
    while (status && fgets(line, sizeof line, status)) sscanf(line, "Threads: %d", &found);
    if (status) fclose(status);
    return found;
}

TEST(an_engine_destroyed_inside_its_callback_goes_when_that_returns, "K28") {
    const int threads = threads_now();
    for (int i = 0; i < 20; i++) {
        int destroyed = 0, inside = 0;
        std::unique_ptr<hbeat::engine> engine;
        counted token(destroyed); /* lives in the callback, that is as long as the engine's memory */
        hbeat::options options;
        std::shared_ptr<counted> kept(new counted(std::move(token)));
        options.on_event = [&inside, &engine, kept](const hbeat::event &event) {
            if (event.type() != event_type::down) return;
            engine.reset();
            CHECK_THROWS(event.link().received(), code::stopped, "stopped");
            store(&inside, 1);
        };
        kept.reset();
        engine.reset(new hbeat::engine(std::move(options)));
        hbeat::link link = engine->open(hbeat::policy("cmpp"), cmpp(), std::make_shared<int>(5));
        hbeat::link_ref ref = i % 2 ? link.detach() : hbeat::link_ref(); /* the last reference is now inside, now here */
        (i % 2 ? ref : link).report_down(cause::reported);
        CHECK(becomes(&inside, 1));
        ref = hbeat::link_ref();
        link = hbeat::link();
        CHECK(is_destroyed(destroyed, 1));
    }
    for (int i = 0; i < 1000 && threads_now() > threads; i++) sleep_ms(5);
    CHECK_EQ(threads_now(), threads);
}

TEST(an_engine_destroyed_inside_its_drive, "K28 K62") {
    int destroyed = 0;
    std::unique_ptr<hbeat::engine> engine;
    hbeat::options options = manual();
    options.run = hbeat::run::application;
    options.on_event = [&engine](const hbeat::event &) { engine.reset(); };
    engine.reset(new hbeat::engine(std::move(options)));
    std::shared_ptr<connection> c(new connection(destroyed));
    c->link = engine->open(hbeat::policy("cmpp"), cmpp(), c);
    c->link.report_down(cause::reported);
    c.reset();
    hbeat::engine *turned = engine.get();
    hbeat::status s;
    turned->drive(at(ms(1)), s);
    CHECK(engine == nullptr);
    CHECK(is_destroyed(destroyed, 1));
}

TEST(the_destructor_waits_for_a_callback, "K26") {
    int inside = 0, leave = 0, done = 0;
    std::thread opener;
    {
        hbeat::options options;
        options.on_event = [&](const hbeat::event &) {
            store(&inside, 1);
            becomes(&leave, 1);
            store(&done, 1);
        };
        hbeat::engine engine(std::move(options));
        hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp());
        link.report_down(cause::reported);
        CHECK(becomes(&inside, 1));
        CHECK_THROWS(engine.stop(ms(1)), code::timeout, "");
        opener = std::thread([&] {
            sleep_ms(200); /* while the destructor waits */
            store(&leave, 1);
        });
    }
    CHECK_EQ(load(&done), 1);
    opener.join();
}

TEST(links_closed_inside_callbacks, "K17 K22") {
    record record;
    int destroyed = 0;
    hbeat::options options = recorded(record);
    options.on_event = [&](const hbeat::event &event) {
        record.note(event);
        if (event.type() != event_type::down) return;
        event.link().close();
        CHECK_EQ(load(&destroyed), 0);
        CHECK(event.data<counted>()->count == &destroyed); /* still there */
    };
    hbeat::engine engine(std::move(options));
    hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp(), counted(destroyed));
    engine.advance(at(hours(1)));
    CHECK_EQ(record.count(event_type::down), 1);
    CHECK_EQ(load(&destroyed), 1);
}

TEST(pulling_in_real_time, "K37 K38 K40 K43") {
    hbeat::engine engine{hbeat::options()};
    std::vector<hbeat::event> events;
    CHECK(engine.wait(events, ms(1)) == code::ok && events.empty());
    hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp(), std::string("pulled"));
    struct pollfd ready = {engine.fd(), POLLIN, 0};
    CHECK_EQ(poll(&ready, 1, 0), 0);
    link.report_down(cause::closed_by_peer);
    CHECK_EQ(poll(&ready, 1, 10000), 1);
    CHECK(engine.wait(events, hbeat::forever) == code::ok);
    REQUIRE(events.size() == 1);
    CHECK(events[0].type() == event_type::down && *events[0].data<std::string>() == "pulled");
    CHECK_THROWS(engine.drive(), code::wrong_mode, "");
    CHECK_THROWS(engine.advance(at(ms(0))), code::wrong_mode, "");
    engine.stop(hbeat::forever);
    CHECK(engine.wait(events, hbeat::forever) == code::end && events.empty());
}

TEST(observing_and_numbers, "K117 K118 K120 K123 K125") {
    record record;
    hbeat::engine engine(recorded(record));
    hbeat::policy policy = hbeat::policy("cmpp").interval(seconds(10)).timeout(seconds(2)).tries(1).observe_only(true);
    CHECK(policy.observe_only() && policy.text() == hbeat::policy(policy.text()).text());
    hbeat::link link = engine.open(policy, cmpp()), own = engine.open(policy, hbeat::link_options());
    engine.advance(at(seconds(10)));
    unsigned char frame[13];
    CHECK(link.feed_sent(frame, cmpp_frame(frame, CMPP_TEST, 7)) == code::ok);
    CHECK(own.beat_sent(8) == code::ok);
    engine.advance(at(seconds(11)));
    CHECK(own.answer_received(8) == code::ok);
    engine.advance(at(seconds(60)));
    CHECK_EQ(record.count(event_type::would_be_down), 1);
    const hbeat::event event = record.first(event_type::would_be_down);
    CHECK(event.cause() == cause::no_answer && event.at() == at(seconds(12)) && event.link().id() == link.id());
    CHECK(link.info()->would_be_downs == 1 && link.info().state() == hbeat::state::suspect);
    CHECK_THROWS(engine.open(hbeat::policy("cmpp"), cmpp()).beat_sent(1), code::wrong_mode, "observe_only");
    const hbeat::stats stats = engine.stats();
    CHECK(stats->would_be_downs == 1 && stats->beats_sent == 2 && stats->answers_received == 1);
    CHECK(stats.downs(cause::no_answer) == 0 && stats.downs(static_cast<hbeat::cause>(99)) == 0 && stats.paused() == ms(0));
    const hbeat::histogram rtt = engine.histogram(hbeat::times::rtt);
    CHECK(rtt->count == 1 && rtt.sum() == seconds(1) && rtt.max() >= ms(990) && rtt.p50() <= ms(1010));
    CHECK(engine.histogram(hbeat::times::lateness)->count > 0);
#if __cplusplus >= 202002L
    const std::byte nothing[1] = {};
    CHECK(link.feed_sent(std::span<const std::byte>(nothing, 0)) == code::ok);
#endif
}

TEST(the_kernels_own_keepalive, "K160 K162 K163") {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(!hbeat::keepalive::of(fd).enabled());
    hbeat::keepalive(seconds(7), ms(1500), 4).set(fd);
    const hbeat::keepalive found = hbeat::keepalive::of(fd);
    CHECK(found.enabled() && found.idle() == seconds(7) && found.interval() == seconds(2) && found->count == 4);
    CHECK_EQ(found->user_timeout_ms, 15000);
    CHECK(hbeat::keepalive(hbeat::policy("cmpp")).idle() == seconds(180));
    CHECK_THROWS(hbeat::keepalive(seconds(0), seconds(1), 1).set(fd), code::invalid, "idle_ms");
    CHECK(hbeat::tcp_info(fd)->state == 7 && hbeat::tcp_info(fd).rtt().has_value());
    CHECK_THROWS(hbeat::tcp_info(-1), code::invalid, "open TCP socket");
    hbeat::keepalive().set(fd);
    CHECK(!hbeat::keepalive::of(fd).enabled());
    close(fd);
}

TEST(what_the_applications_tell_each_other, "K185 K187 K189 K192") {
    record record;
    hbeat::options options = recorded(record);
    options.on_send = nullptr; // beats are taken below
    hbeat::engine engine(std::move(options));
    hbeat::link_options heart;
    heart.protocol = "heart";
    hbeat::policy policy("interval=10s timeout=2s jitter=0%");
    hbeat::link here = engine.open(policy, heart), there = engine.open(policy, heart), other = engine.open(policy, cmpp());
    const std::string state(HBEAT_APP_STATE_MAX, 's');
    CHECK(there.peer_state().empty());
    CHECK(here.set_state(state.data(), state.size()) == code::ok);
    CHECK_THROWS(here.set_state(state.data(), state.size() + 1), code::invalid, "1024");
    CHECK_THROWS(other.set_state("x", 1), code::wrong_mode, "heart");
    hbeat::status s;
    CHECK(other.peer_state(s).empty() && s.code() == code::wrong_mode);
    engine.advance(at(seconds(10)));
    unsigned char frame[HBEAT_FRAME_MAX];
    const hbeat::taken beat = here.take(frame, sizeof frame);
    CHECK(there.feed(frame, beat.length) == code::send);
    engine.advance(at(seconds(10)));
    const std::vector<unsigned char> told = there.peer_state();
    CHECK(std::string(told.begin(), told.end()) == state);
    CHECK_EQ(record.count(event_type::peer_state), 1);
    CHECK_EQ(record.first(event_type::peer_state)->detail, HBEAT_APP_STATE_MAX);
    CHECK_EQ(there.info()->peer_states_left_out, 0);
#if __cplusplus >= 202002L
    CHECK(here.set_state(std::span<const std::byte>()) == code::ok);
#endif
}

TEST(an_application_says_that_it_goes_on, "K170 K172 K179") {
    record record;
    hbeat::engine engine(recorded(record));
    hbeat::link_options how;
    hbeat::policy policy("interval=1h least=1s progress=5s on_no_progress=stop");
    hbeat::link one = engine.open(policy, how), other = engine.open(policy, how);
    engine.advance(at(seconds(4)));
    CHECK(engine.progress() == code::ok && one.progress(at(seconds(1))) == code::ok);
    engine.advance(at(seconds(6)));
    CHECK_EQ(record.count(event_type::app_not_responding), 1);
    CHECK(record.first(event_type::app_not_responding).link() == one);
    engine.advance(at(seconds(9)));
    CHECK_EQ(record.count(event_type::app_not_responding), 2);
    CHECK(engine.progress(at(seconds(9))) == code::ok && one.progress() == code::ok);
    CHECK_EQ(other.info()->strikes, 0);
    CHECK_EQ(engine.stats()->strikes, 0);
    CHECK(std::string(hbeat_event_name(static_cast<std::uint32_t>(event_type::strike))) == "STRIKE");
    engine.stop(seconds(10));
    CHECK_THROWS(engine.progress(), code::stopped, "");
}

TEST(many_links_are_received_at_once, "K250") {
    record record;
    hbeat::engine engine(recorded(record));
    hbeat::link_options how;
    hbeat::policy policy("normal");
    hbeat::link one = engine.open(policy, how), other = engine.open(policy, how);
    engine.advance(at(seconds(5)));
    const std::vector<hbeat_link> ids = {one.id(), other.id()};
    CHECK(engine.received(ids, at(seconds(4))) == code::ok && engine.received({}) == code::ok);
    CHECK(one.info()->last_received_ms == 1000 && other.info()->last_received_ms == 1000);
    CHECK_THROWS(engine.received({one.id(), 77}), code::no_link, "");
    engine.stop(seconds(10));
}

TEST(what_both_ends_have_the_key_of, "K225 K228 K229") {
    record record;
    hbeat::engine engine(recorded(record));
    hbeat::policy policy("interval=10s timeout=2s tries=3");
    const hbeat::key old = {1, "sixteen or more octets"}, next = {2, "another secret, as long"};
    hbeat::link_options how;
    how.keys = {old};
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    hbeat::link one = engine.adopt(pair[0], policy, how), other = engine.adopt(pair[1], policy, how);
    for (int waited = 0; waited < 1000 && (one.info().state() != hbeat::state::up || other.info().state() != hbeat::state::up); waited++) usleep(10000);
    CHECK(one.info().state() == hbeat::state::up && one.info()->agreed_interval_ms == 10000);
    CHECK(one.set_keys({old, next}) == code::ok && other.set_keys({next, old}) == code::ok);
    CHECK_EQ(one.info()->frames_unauthenticated, 0);
    CHECK_EQ(engine.stats()->frames_unauthenticated, 0);
    CHECK_THROWS(one.set_keys({}), code::invalid, "allowed is 1 or 2");
    CHECK_THROWS(one.set_keys({old, next, old}), code::invalid, "count is 3");
    CHECK_THROWS(one.set_keys({hbeat::key{1, "short"}}), code::invalid, "key 1 has 5 octets");
    how.keys = {old, old};
    CHECK_THROWS(engine.dial("tcp://127.0.0.1:9", policy, how), code::invalid, "both keys have the id 1");
    how.keys.clear();
    hbeat::status s;
    hbeat::link plain = engine.dial("unix:///no/such/socket", policy, how, s);
    CHECK_THROWS(plain.set_keys({old}), code::wrong_mode, "without keys");
}

TEST(links_that_hbeat_carries, "K195 K198 K199 K201") {
    record record;
    hbeat::engine engine(recorded(record));
    hbeat::link_options how;
    how.reconnect = hbeat::reconnect::no;
    hbeat::status s;
    hbeat::link dialled = engine.dial("unix:///no/such/socket", hbeat::policy("normal"), how, s);
    CHECK(!s.failed());
    for (int waited = 0; waited < 1000 && dialled.info().state() != hbeat::state::down; waited++) usleep(10000);
    CHECK(dialled.info().state() == hbeat::state::down && engine.quiesce(seconds(10)) == code::ok);
    CHECK(record.first(event_type::down).cause() == cause::refused && record.count(event_type::connecting) == 1);
    CHECK_THROWS(engine.dial("nowhere", hbeat::policy("normal"), how), code::invalid, "endpoint");
    CHECK_THROWS(engine.adopt(-1, hbeat::policy("normal"), how), code::invalid, "stream socket");
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    hbeat::link adopted = engine.adopt(pair[0], hbeat::policy("normal"), how, std::string("data"), s);
    char heart[52];
    CHECK(!s.failed() && recv(pair[1], heart, sizeof heart, MSG_WAITALL) == 52);
    CHECK(adopted.info().state() == hbeat::state::connecting && adopted.info()->attempt == 1);
    adopted.close();
    CHECK(recv(pair[1], heart, 1, 0) == 0);
    close(pair[1]);
}

TEST(who_dials_a_listener, "K202 K203 K206 K207") {
    record record;
    hbeat::engine engine(recorded(record));
    hbeat::listener_options how;
    how.name = "devices";
    how.max_links = 5;
    hbeat::listener listener = engine.listen("tcp://127.0.0.1:0", hbeat::policy("normal"), how);
    CHECK(listener && listener.info()->port != 0 && listener.info().name() == "devices");
    const std::string endpoint = listener.info().endpoint();
    hbeat::link dialled = engine.dial(endpoint, hbeat::policy("normal"), hbeat::link_options());
    for (int waited = 0; waited < 1000 && (record.count(event_type::accepted) == 0 || record.count(event_type::up) == 0); waited++) {
        CHECK(engine.quiesce(seconds(10)) == code::ok);
        usleep(10000);
    }
    REQUIRE(record.count(event_type::accepted) == 1);
    const hbeat::event accepted = record.first(event_type::accepted);
    CHECK(accepted->listener == listener.id() && accepted.name().compare(0, 8, "devices/") == 0);
    CHECK(accepted.data<std::string>() == nullptr);
    {
        hbeat::link owned = accepted.accept(std::string("mine"));
        CHECK(owned.info().state() == hbeat::state::up && owned.info()->listener == listener.id());
        CHECK(listener.info()->links == 1 && listener.info()->accepted == 1);
    }
    CHECK(engine.quiesce(seconds(10)) == code::ok);
    CHECK_EQ(listener.info()->links, 0);
    CHECK_THROWS(engine.listen(endpoint, hbeat::policy("normal")), code::system, "cannot be listened at");
    CHECK_THROWS(engine.listen("tcp://localhost:1", hbeat::policy("normal")), code::invalid, "endpoint");
    hbeat::listener moved(std::move(listener));
    hbeat::status s;
    CHECK(listener.close(s) == code::no_link && moved.close(s) == code::ok && moved.close(s) == code::no_link);
    CHECK(engine.quiesce(seconds(10)) == code::ok);
    moved = engine.listen(endpoint, hbeat::policy("normal"), how, s);
    CHECK(!s.failed() && moved.info(s)->accepted == 0);
}

TEST(health_and_lists, "K11 K108") {
    hbeat::engine engine(manual());
    std::vector<hbeat::link> links;
    for (int i = 0; i < 200; i++) links.push_back(engine.open(hbeat::policy("cmpp"), cmpp(std::to_string(i).c_str())));
    const std::vector<hbeat::link_ref> listed = engine.links();
    CHECK_EQ(listed.size(), 200);
    int found = 0;
    for (const hbeat::link_ref &ref : listed) found += ref.info()->beats_sent == 0;
    CHECK_EQ(found, 200);
    CHECK_EQ(engine.health()->links, 200);
    CHECK(engine.health().phase() == hbeat::phase::running && engine.health().on_event() == ms(0));
    links.clear();
    CHECK(engine.links().empty());
    CHECK(engine.now() == at(ms(0)));
    CHECK(engine.raw() != nullptr);
}

TEST(a_fork_gets_errors_and_ends_quietly, "K114") {
    hbeat::engine engine{hbeat::options()};
    hbeat::link link = engine.open(hbeat::policy("cmpp"), cmpp(), std::string("the parent's"));
    engine.quiesce(seconds(10)); /* a sanitizer's own locks are not those of a fork */
    CHECK_EQ(killed_by([&] {
        alarm(30);
        CHECK_THROWS(link.start(), code::forked, "");
        CHECK_THROWS(engine.open(hbeat::policy(), cmpp()), code::forked, "");
        link = hbeat::link();
        engine = hbeat::engine(hbeat::options()); /* ends the copy of the parent's, and works */
        link = engine.open(hbeat::policy(), cmpp());
        if (check_failures) abort();
    }), 0);
    CHECK(link.start() == code::ok);
}

static hbeat::engine everybodys; /* destroyed after the threads' own data, as static objects are */
static hbeat::link everybodys_link;

TEST(static_engines_end_quietly, "K31") {
    everybodys = hbeat::engine(hbeat::options());
    everybodys_link = everybodys.open(hbeat::policy("cmpp"), cmpp(), std::string("static"));
    std::vector<hbeat::event> events;
    CHECK(everybodys.wait(events, ms(0)) == code::ok);
}
