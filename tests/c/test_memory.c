/* Memory that is refused. The program's own malloc stands before the system's, and refuses what it is told to. */
#include "check.h"
#include "story.h"

#include <signal.h>

/* The address sanitizer has a malloc of its own, and there is nothing to be told here. */
#ifndef __SANITIZE_ADDRESS__
static __thread size_t least;  /* blocks of this thread of so many bytes or more are refused; 0: none */
static __thread int countdown; /* the nth block of this thread is refused; 0: none */

static int refused(size_t size) { return (least != 0 && size >= least) || (countdown > 0 && --countdown == 0); }

static void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}

#ifdef __cplusplus
#define NOTHROW noexcept
extern "C" {
#else
#define NOTHROW
#endif
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *malloc(size_t size) NOTHROW { return refused(size) ? no_memory() : __libc_malloc(size); }
void *calloc(size_t count, size_t size) NOTHROW { return refused(count * size) ? no_memory() : __libc_calloc(count, size); }
void *realloc(void *block, size_t size) NOTHROW { return refused(size) ? no_memory() : __libc_realloc(block, size); }
#ifdef __cplusplus
}
#endif

enum { LARGE = 8192 };

TEST(an_engine_for_which_there_is_no_memory, "K144") {
    struct world world;
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_MANUAL);
    options.max_links = 1u << 28;
    for (int i = 0; i < 3; i++) {
        hbeat_engine *engine = NULL;
        least = LARGE;
        hbeat_status status = hbeat_engine_new(&options, &engine);
        least = 0;
        CHECK_STATUS(status, HBEAT_ERR_NO_MEMORY);
        CHECK_TEXT(hbeat_last_error(), "memory");
        CHECK(engine == NULL);
    }
    world_open(&world, &options);
    hbeat_policy policy = policy_of(10000, 2000, 3);
    open_named(&world, &policy, NULL, "cmpp");
    world_end(&world);
    CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, 0), 1);
}

TEST(a_link_for_which_there_is_no_memory, "K144") {
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
        hbeat_policy policy = policy_of(180000, 60000, 3);
        world_begin(&world, way);
        for (uint32_t opened = 0; opened <= 8192; opened += 4096) { /* where the words of so many links are full */
            for (int again = 0; again < 3; again++) {
                hbeat_link link = 77;
                least = LARGE;
                hbeat_status status = hbeat_link_open(world.engine, &policy, &how, &link);
                least = 0;
                CHECK_STATUS(status, HBEAT_ERR_NO_MEMORY);
                CHECK_TEXT(hbeat_last_error(), "memory");
                CHECK_EQ(link, 77);
                CHECK_EQ(health_of(&world).links, opened);
            }
            hbeat_link first = open_named(&world, &policy, "first", "cmpp"); /* the very next one works */
            CHECK_EQ(info_of(&world, first).state, HBEAT_STATE_UP);
            for (int i = 1; i < 4096; i++) open_named(&world, &policy, NULL, "none");
        }
        CHECK_EQ(health_of(&world).links, 3 * 4096);
        world.count = 0;
        CHECK_STATUS(hbeat_engine_stop(world.engine, LONG_MS), HBEAT_OK);
        if (!world.way.on_event) world_pull(&world, 0);
        CHECK_EQ(health_of(&world).links, 0); /* each got its CLOSED */
        CHECK_STATUS(hbeat_engine_free(world.engine), HBEAT_OK);
    }
}

/* The calls of a day, with the nth block refused on the way: 0 when there was no nth. */
static int a_day_with_a_refusal(int call, int nth) {
    struct world world;
    unsigned char frame[64];
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_policy policy = policy_of(10000, 2000, 3);
    hbeat_engine_options options = world_options(&world, PULLED, HBEAT_CLOCK_MANUAL);
    hbeat_status status = HBEAT_OK;
    hbeat_link link = 0, other = 0;
    uint32_t count = 0;
    hbeat_event event;
    how.protocol = "cmpp";
    how.name = "gd-mt-07";
    if (call > 0) {
        world_open(&world, &options);
        link = open_with(&world, &policy, &how);
        REQUIRE_OK(hbeat_link_report_down(world.engine, link, HBEAT_CAUSE_RESET, 0));
    }
    policy.tries = 5;
    size_t length = cmpp_frame(frame, CMPP_TEST, 7);
    countdown = nth;
    switch (call) {
    case 0: status = hbeat_engine_new(&options, &world.engine); break;
    case 1: status = hbeat_link_open(world.engine, &policy, &how, &other); break;
    case 2: status = hbeat_link_feed(world.engine, link, frame, length, 0); break;
    case 3: status = hbeat_link_set_policy(world.engine, link, &policy); break;
    case 4: status = hbeat_policy_parse(&policy, sizeof policy, "cmpp interval=60s timeout=20s tries=3"); break;
    case 5: status = hbeat_engine_wait(world.engine, &event, sizeof event, 1, 0, &count); break;
    case 6: status = hbeat_link_close(world.engine, link); break;
    default: status = hbeat_link_start(world.engine, 99, 0) == HBEAT_ERR_NO_LINK ? HBEAT_OK : HBEAT_ERR_PANIC; break;
    }
    int reached = countdown == 0;
    countdown = 0;
    CHECK(status >= 0 || (reached && (status == HBEAT_ERR_NO_MEMORY || status == HBEAT_ERR_SYSTEM)));
    if (call > 0 || status == HBEAT_OK) world_end(&world);
    return reached;
}

TEST(any_block_refused_is_a_status_or_the_end_of_the_process, "K144") {
    int statuses = 0, ends = 0;
    for (int call = 0; call < 8; call++) {
        for (int nth = 1; nth < 500; nth++) {
            char said[512] = "";
            int status = 0, ends_here[2];
            fflush(stdout);
            REQUIRE(pipe(ends_here) == 0);
            pid_t child = fork();
            REQUIRE(child >= 0);
            if (child == 0) {
                dup2(ends_here[1], 2);
                alarm(20);
                int reached = a_day_with_a_refusal(call, nth);
                check_leave(check_failures ? 1 : reached ? 3 : 4);
            }
            close(ends_here[1]);
            for (ssize_t got = 1, at = 0; got > 0 && at < 500; at += got) got = read(ends_here[0], said + at, (size_t)(500 - at));
            close(ends_here[0]);
            REQUIRE(waitpid(child, &status, 0) == child);
            if (WIFEXITED(status) && WEXITSTATUS(status) == 4) break; /* the call needs fewer */
            statuses += WIFEXITED(status) && WEXITSTATUS(status) == 3;
            if (WIFSIGNALED(status)) {
                ends++;
                CHECK_EQ(WTERMSIG(status), SIGABRT);
                CHECK_TEXT(said, "memory"); /* Rust's word, or glibc's */
            } else {
                CHECK_EQ(WEXITSTATUS(status), 3);
            }
        }
    }
    printf("  blocks refused: %d gave a status, %d ended the process\n", statuses, ends);
    CHECK(ends > 0);
}
#endif
