/* A kernel as old as the oldest that is supported: whatever came after 3.10 does not exist. */
#include "check.h"
#include "story.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#ifdef __x86_64__
enum { NEWEST_OF_3_10 = 313, RSEQ = 334 }; /* finit_module; numbers only grow */

/* From here on every newer system call of this process is ENOSYS, as the C library is used to. But for rseq: it has already
 * found that one when the program began, and ends a program in which it goes away. */
static void become_old(void) {
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RSEQ, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, NEWEST_OF_3_10, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter;
    filter.len = sizeof rules / sizeof rules[0];
    filter.filter = rules;
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) != 0) SKIP("no seccomp filters here");
    errno = 0;
    CHECK(syscall(318 /* getrandom */, NULL, 0, 0) == -1 && errno == ENOSYS);
}
#else
static void become_old(void) { SKIP("the numbers of system calls are those of x86_64"); }
#endif

TEST(every_way_to_run_on_an_old_kernel, "K151") {
    become_old();
    for (int way = 0; way < WAY_COUNT; way++) {
        struct world world;
        int pair[2];
        world_begin(&world, way);
        world.react = take_notices;
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        hbeat_policy policy = policy_of(10000, 2000, 3);
        hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
        how.protocol = "cmpp";
        how.fd = pair[0];
        hbeat_link link = open_with(&world, &policy, &how);
        int32_t fd = -1;
        if (!world.way.on_event) CHECK_STATUS(hbeat_engine_fd(world.engine, &fd), HBEAT_OK);
        CHECK_STATUS(feed(&world, link, CMPP_TEST, 1), HBEAT_INFO_SEND);
        world_go(&world, 60000);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_DOWN, link), 1);
        CHECK_EQ(world_event(&world, HBEAT_EVENT_DOWN, link, 0)->cause, HBEAT_CAUSE_NO_ANSWER);
        uint32_t ms = 0;
        hbeat_backoff backoff;
        CHECK_STATUS(hbeat_backoff_default(&backoff, sizeof backoff), HBEAT_OK);
        CHECK_STATUS(hbeat_backoff_delay(&backoff, 1, 0, &ms), HBEAT_OK); /* draws random bits */
        world_end(&world);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, link), 1);
        close(pair[0]);
        close(pair[1]);
    }
}

TEST(real_time_on_an_old_kernel, "K151") {
    struct world world;
    become_old();
    hbeat_engine_options options = world_options(&world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    options.cpus = 1;
    world.react = take_notices;
    world_open(&world, &options);
    hbeat_policy policy = policy_of(50, 50, 2);
    hbeat_link link = open_named(&world, &policy, NULL, "cmpp");
    CHECK(world_sees(&world, HBEAT_EVENT_DOWN, link, 1));
    world_end(&world);
}
