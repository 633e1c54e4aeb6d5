/* What hbeat does to the process around it: as good as nothing. */
#include "check.h"
#include "story.h"

#include <dirent.h>
#include <locale.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

extern char **environ;

/* Numbers below a directory of /proc, sorted. */
static int numbers_in(const char *path, int *numbers, int room) {
    int count = 0;
    DIR *directory = opendir(path);
    REQUIRE(directory != NULL);
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory) && count < room) numbers[count++] = atoi(entry->d_name);
    closedir(directory);
    for (int i = 1; i < count; i++)
        for (int n = i; n > 0 && numbers[n] < numbers[n - 1]; n--) {
            int swap = numbers[n];
            numbers[n] = numbers[n - 1];
            numbers[n - 1] = swap;
        }
    return count;
}

static int has(const int *numbers, int count, int number) {
    for (int i = 0; i < count; i++)
        if (numbers[i] == number) return 1;
    return 0;
}

static int count_of(const char *path) {
    int numbers[512];
    return numbers_in(path, numbers, 512);
}

/* A thread that was joined, or one that starts, may be listed wrongly for a moment. */
static int count_becomes(const char *path, int expected) {
    for (int i = 0; i < 1000 && count_of(path) != expected; i++) sleep_ms(2);
    if (count_of(path) != expected) printf("  %s: %d, expected %d\n", path, count_of(path), expected);
    return count_of(path) == expected;
}

struct surroundings {
    struct sigaction actions[65];
    sigset_t mask;
    char **environment;
    char values[16384];
};

static void look_around(struct surroundings *now) {
    size_t used = 0;
    memset(now, 0, sizeof *now);
    for (int number = 1; number <= 64; number++) sigaction(number, NULL, &now->actions[number]);
    pthread_sigmask(SIG_SETMASK, NULL, &now->mask);
    now->environment = environ;
    for (char **entry = environ; *entry && used + strlen(*entry) + 1 < sizeof now->values; entry++)
        used += (size_t)snprintf(now->values + used, sizeof now->values - used, "%s\n", *entry);
}

static void compare(const struct surroundings *before, const struct surroundings *after) {
    for (int number = 1; number <= 64; number++) {
        CHECK(before->actions[number].sa_handler == after->actions[number].sa_handler);
        CHECK_EQ(before->actions[number].sa_flags, after->actions[number].sa_flags);
        CHECK_EQ(sigismember(&before->mask, number), sigismember(&after->mask, number));
    }
    CHECK(before->environment == after->environment);
    CHECK(strcmp(before->values, after->values) == 0);
}

TEST(signals_and_environment_stay_as_they_are, "K109 K111") {
    static struct surroundings before, running, after;
    struct world world;
    int pair[2];
    signal(SIGUSR1, SIG_IGN);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    close(pair[1]); /* whoever writes here gets SIGPIPE, which ends the process: the default */
    look_around(&before);
    CHECK(before.actions[SIGPIPE].sa_handler == SIG_DFL);
    world_begin(&world, TWO_LANES);
    world.react = take_notices;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    how.protocol = "cmpp";
    how.fd = pair[0];
    hbeat_link link = open_with(&world, &policy, &how);
    world_go(&world, 60000);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
    look_around(&running);
    compare(&before, &running);
    world_end(&world);
    look_around(&after);
    compare(&before, &after);
    close(pair[0]);
}

TEST(descriptors_are_close_on_exec_and_given_back, "K110") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        int before[512], during[512], count = numbers_in("/proc/self/fd", before, 512);
        world_begin(&world, way);
        int32_t fd = -1;
        if (!world.way.on_event) CHECK_STATUS(hbeat_engine_fd(world.engine, &fd), HBEAT_OK);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 30000);
        int now = numbers_in("/proc/self/fd", during, 512);
        for (int i = 0; i < now; i++)
            if (!has(before, count, during[i])) CHECK((fcntl(during[i], F_GETFD) & FD_CLOEXEC) != 0);
        for (int i = 0; i < count; i++) CHECK(has(during, now, before[i]));
        world_end(&world);
        CHECK_EQ(count_of("/proc/self/fd"), count);
    }
}

static const char *volatile in_callback = "no";

static int line_of_status(int thread, const char *key, char *value, size_t room) {
    char path[64], line[256];
    int found = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
    FILE *file = fopen(path, "r");
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) {
            snprintf(value, room, "%s", line + strlen(key) + 1); /* a tab follows the key */
            value[strcspn(value, "\n")] = 0;
            found = 1;
        }
    fclose(file);
    return found;
}

/* A thread names itself and blocks signals as its first deed; give it the time to do so. */
static int is_well_behaved(int thread, const char *prefix) {
    for (int i = 0; i < 1000; i++, sleep_ms(2)) {
        char name[64] = "", blocked[64] = "";
        int ok = line_of_status(thread, "Name:", name, sizeof name) && line_of_status(thread, "SigBlk:", blocked, sizeof blocked);
        unsigned long long mask = strtoull(blocked, NULL, 16);
        ok = ok && strncmp(name, prefix, strlen(prefix)) == 0;
        /* all that can be sent from outside; those of a fault in the thread itself are the crash handler's */
        const int sent[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGCONT, SIGTSTP,
                            SIGURG, SIGVTALRM, SIGPROF, SIGWINCH, SIGIO, SIGXCPU, SIGPWR, SIGRTMIN, SIGRTMAX};
        for (size_t n = 0; n < sizeof sent / sizeof sent[0]; n++) ok = ok && (mask >> (sent[n] - 1) & 1);
        const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
        for (size_t n = 0; n < sizeof faults / sizeof faults[0]; n++) ok = ok && !(mask >> (faults[n] - 1) & 1);
        if (ok) return 1;
        if (i == 999) printf("  thread \"%s\" blocks %s\n", name, blocked);
    }
    return 0;
}

TEST(threads_have_a_name_and_take_no_signals, "K112 K113") {
    const char *prefixes[] = {NULL, "gateway", "tenletters"};
    for (int i = 0; i < 3; i++) {
        struct world world;
        int before[512], during[512], count = numbers_in("/proc/self/task", before, 512);
        hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
        options.thread_name = prefixes[i];
        world_open(&world, &options);
        CHECK_EQ(health_of(&world).threads, 3);
        CHECK(count_becomes("/proc/self/task", count + 3));
        int now = numbers_in("/proc/self/task", during, 512);
        for (int n = 0; n < now; n++)
            if (!has(before, count, during[n])) CHECK(is_well_behaved(during[n], prefixes[i] ? prefixes[i] : "hbeat"));
        world_end(&world);
        CHECK(count_becomes("/proc/self/task", count));
    }
}

static void handle_crash(int number) { _exit(number == SIGSEGV && strncmp(in_callback, "yes", 3) == 0 ? 42 : 1); }

static void crash(struct world *world, const hbeat_event *event) {
    (void)world;
    if (event->type != HBEAT_EVENT_DOWN) return;
    in_callback = "yes";
    raise(SIGSEGV); /* as a fault of the application's own would, and under every sanitizer alike */
}

TEST(a_crash_in_a_callback_reaches_the_crash_handler, "K112 K109") {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        struct world world;
        signal(SIGSEGV, handle_crash);
        world_begin(&world, TWO_LANES);
        world.react = crash;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0);
        sleep_ms(LONG_MS);
        _exit(2); /* the signal never came */
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

TEST(no_thread_more_than_needed, "K113 K46") {
    const int expected[WAY_COUNT] = {3, 2, 1, 2, 0, 0, 0, 0, 0};
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        int before = count_of("/proc/self/task");
        world_begin(&world, way);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        for (int i = 0; i < 100; i++) open_named(&world, &policy, NULL, "cmpp");
        world_go(&world, 30000);
        CHECK(count_becomes("/proc/self/task", before + expected[way]));
        CHECK_EQ(health_of(&world).threads, expected[way]);
        world_end(&world);
    }
}

TEST(signals_reach_the_application_not_hbeat, "K112 K109") {
    struct world world;
    sigset_t set, old;
    world_begin(&world, TWO_LANES);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    sleep_ms(20);
    kill(getpid(), SIGTERM); /* would end the process if a thread of hbeat took it */
    sleep_ms(20);
    int number = 0;
    REQUIRE(sigwait(&set, &number) == 0);
    CHECK_EQ(number, SIGTERM);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    world_end(&world);
}

static hbeat_status in_child(struct world *world, hbeat_link link) {
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_link other = 0;
    hbeat_engine *engine = world->engine;
    hbeat_info info;
    hbeat_health health;
    hbeat_event event;
    uint32_t count = 0;
    uint64_t ns = 0;
    info.struct_size = sizeof info;
    health.struct_size = sizeof health;
    CHECK_STATUS(hbeat_link_open(engine, &policy, &how, &other), HBEAT_ERR_FORKED);
    CHECK_TEXT(hbeat_last_error(), "fork");
    CHECK_STATUS(hbeat_link_start(engine, link, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_pause(engine, link, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(feed(world, link, CMPP_TEST, 1), HBEAT_ERR_FORKED);
    CHECK_STATUS(take(world, link), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_unsent(engine, link, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_answer_received(engine, link, 1, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_beat_received(engine, link, 1, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_report_down(engine, link, HBEAT_CAUSE_RESET, 0), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_set_policy(engine, link, &policy), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_info(engine, link, &info), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_link_close(engine, link), HBEAT_ERR_FORKED);
    hbeat_link_received(engine, link, 0); /* these two may say what they like */
    hbeat_link_sent(engine, link, 0);
    CHECK_STATUS(hbeat_engine_health(engine, &health), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_links(engine, 0, &other, 1, &count), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_wait(engine, &event, sizeof event, 1, HBEAT_FOREVER, &count), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_quiesce(engine, HBEAT_FOREVER), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_next_deadline(engine, &ns), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_drive(engine, ns_of(90000)), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_advance(engine, ns_of(90000)), HBEAT_ERR_FORKED);
    CHECK_STATUS(hbeat_engine_stop(engine, HBEAT_FOREVER), HBEAT_ERR_FORKED);
    return hbeat_engine_free(engine);
}

TEST(a_fork_gets_an_error_not_a_hang, "K114") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        int status = 0;
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link link = open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 5000);
        fflush(stdout);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            struct world own;
            alarm(30);
            int seen = world.count;
            CHECK_STATUS(in_child(&world, link), HBEAT_ERR_FORKED);
            CHECK_EQ(world.count, seen);
            world_begin(&own, way); /* a new engine works as ever */
            own.react = take_notices;
            hbeat_link mine = open_named(&own, &policy, "b", "cmpp");
            world_go(&own, 60000);
            CHECK_EQ(world_count(&own, HBEAT_EVENT_DOWN, mine), 1);
            world_end(&own);
            check_leave(check_failures ? 1 : 0);
        }
        REQUIRE(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        world_go(&world, 60000); /* the parent has noticed nothing */
        const long end[] = {16000, -1};
        CHECK(world_times(&world, HBEAT_EVENT_DOWN, link, end));
        world_end(&world);
    }
}

TEST(a_thousand_engines_leave_nothing_behind, "K115 K110") {
    int threads = count_of("/proc/self/task"), descriptors = count_of("/proc/self/fd");
    for (int i = 0; i < 1000; i++) {
        struct world world;
        hbeat_engine_options options = world_options(&world, i % WAY_COUNT, HBEAT_CLOCK_SYSTEM);
        world_open(&world, &options);
        hbeat_policy policy = policy_of(1, 1, 1);
        if (i % 3) open_named(&world, &policy, NULL, "cmpp");
        world_end(&world);
    }
    CHECK(count_becomes("/proc/self/task", threads));
    CHECK(count_becomes("/proc/self/fd", descriptors));
}

TEST(an_exit_with_an_engine_running_is_quiet, "K115") {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        static struct world world;
        world_begin(&world, TWO_LANES);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        open_named(&world, &policy, "a", "cmpp");
        exit(0); /* main returned, nobody stopped anything */
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* What else a process has that a library could change. */
struct state {
    char directory[512], locale[256];
    mode_t mask;
    struct rlimit limits[16];
    char descriptors[4096];
};

static void note_state(struct state *now) {
    int numbers[512], count = numbers_in("/proc/self/fd", numbers, 512);
    size_t used = 0;
    memset(now, 0, sizeof *now);
    REQUIRE(getcwd(now->directory, sizeof now->directory) != NULL);
    snprintf(now->locale, sizeof now->locale, "%s", setlocale(LC_ALL, NULL));
    now->mask = umask(0);
    umask(now->mask);
    for (int i = 0; i < 16; i++) getrlimit((__rlimit_resource_t)i, &now->limits[i]);
    for (int i = 0; i < count && used + 64 < sizeof now->descriptors; i++)
        used += (size_t)snprintf(now->descriptors + used, 64, "%d %x %x\n", numbers[i], (unsigned)fcntl(numbers[i], F_GETFD), (unsigned)fcntl(numbers[i], F_GETFL));
}

TEST(directory_mask_locale_limits_and_descriptors_stay, "K109 K152") {
    static struct state before, after;
    setlocale(LC_ALL, "C.UTF-8");
    umask(027);
    note_state(&before);
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        world_begin(&world, way);
        world.react = take_notices;
        hbeat_policy policy = policy_of(10000, 2000, 3);
        open_named(&world, &policy, "a", "cmpp");
        world_go(&world, 60000);
        world_end(&world);
    }
    note_state(&after);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
}
