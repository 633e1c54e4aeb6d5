/* A harness of one page. TEST(name, "K1 K2") { ... } registers a story and the sentences of docs/contract.md that it
 * proves. Each story runs in a child process of its own, with a time limit: a crash or a hang is one failure.
 * Include this file first. Arguments: words that a story's name must contain one of; --no-fork for a debugger. */
#ifndef CHECK_H
#define CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hbeat.h"

struct check_case {
    const char *name, *proves;
    void (*body)(void);
};
static struct check_case check_cases[128];
static int check_case_count;
static int check_failures;

#define TEST(name, proves)                                                                                             \
    static void test_##name(void);                                                                                     \
    __attribute__((constructor)) static void register_##name(void) { check_register(#name, proves, test_##name); }     \
    static void test_##name(void)

/* Goes on after a failure: it may be used on every thread. */
#define CHECK(condition) check_that((condition) ? 1 : 0, #condition, __FILE__, __LINE__)
#define CHECK_EQ(actual, expected)                                                                                     \
    check_equal((long long)(actual), (long long)(expected), #actual " == " #expected, __FILE__, __LINE__)
#define CHECK_STATUS(actual, expected) check_status((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_TEXT(text, part) check_text((text), (part), #text, __FILE__, __LINE__)
/* Ends the story when the rest of it would make no sense. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!check_that((condition) ? 1 : 0, #condition, __FILE__, __LINE__)) check_leave(1);                          \
    } while (0)
#define REQUIRE_OK(call)                                                                                               \
    do {                                                                                                               \
        if (!check_status((call), HBEAT_OK, #call, __FILE__, __LINE__)) check_leave(1);                                \
    } while (0)
#define SKIP(reason)                                                                                                   \
    do {                                                                                                               \
        printf("  skipped: %s\n", (reason));                                                                           \
        check_leave(77);                                                                                               \
    } while (0)
/* The call fails with this status, and the sentence names what was wrong. */
#define FAILS(call, status, word)                                                                                      \
    do {                                                                                                               \
        CHECK_STATUS((call), (status));                                                                                \
        CHECK_TEXT(hbeat_last_error(), (word));                                                                        \
    } while (0)

static inline void check_register(const char *name, const char *proves, void (*body)(void)) {
    if (check_case_count == 128) abort();
    check_cases[check_case_count].name = name;
    check_cases[check_case_count].proves = proves;
    check_cases[check_case_count++].body = body;
}

static inline void check_leave(int code) {
    fflush(stdout);
    _exit(code);
}

static inline int check_that(int ok, const char *what, const char *file, int line) {
    if (!ok) {
        __atomic_add_fetch(&check_failures, 1, __ATOMIC_SEQ_CST);
        printf("  %s:%d: not so: %s\n", file, line, what);
    }
    return ok;
}

static inline int check_equal(long long actual, long long expected, const char *what, const char *file, int line) {
    if (actual != expected) printf("  found %lld, expected %lld\n", actual, expected);
    return check_that(actual == expected, what, file, line);
}

static inline int check_status(hbeat_status actual, hbeat_status expected, const char *what, const char *file, int line) {
    if (actual != expected) {
        const char *sentence = hbeat_last_error();
        printf("  found %s, expected %s", hbeat_status_name(actual), hbeat_status_name(expected));
        printf(" (last error: %s)\n", sentence ? sentence : "NULL");
    }
    return check_that(actual == expected, what, file, line);
}

static inline int check_text(const char *text, const char *part, const char *what, const char *file, int line) {
    int ok = text != NULL && strstr(text, part) != NULL;
    if (!ok) printf("  \"%s\" does not contain \"%s\"\n", text ? text : "(NULL)", part);
    return check_that(ok, what, file, line);
}

static inline int check_run(const struct check_case *one) {
    const char *seconds = getenv("CHECK_SECONDS");
    alarm(seconds ? (unsigned)atoi(seconds) : 60u);
    one->body();
    fflush(stdout);
    if (check_failures) _exit(1); /* threads of a broken story may still run */
    exit(0);                      /* the leak check of a sanitizer runs here */
}

int main(int count, char **words) {
    int passed = 0, failed = 0, skipped = 0, forks = 1;
    setvbuf(stdout, NULL, _IOLBF, 0); /* what a story said before it crashed is not lost */
    for (int w = 1; w < count; w++)
        if (strcmp(words[w], "--no-fork") == 0) forks = 0;
    for (int i = 0; i < check_case_count; i++) {
        const struct check_case *one = &check_cases[i];
        int wanted = count - 1 == !forks, status = 0;
        for (int w = 1; w < count; w++) wanted |= strstr(one->name, words[w]) != NULL;
        if (!wanted) continue;
        fflush(stdout);
        pid_t child = forks ? fork() : 0;
        if (child == 0) check_run(one);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        const char *verdict = "passed";
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            passed++;
        } else if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
            skipped++;
            verdict = "skipped";
        } else {
            failed++;
            verdict = "FAILED";
            if (WIFSIGNALED(status)) printf("  killed by signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == 14 ? ": it took too long" : "");
        }
        printf("%s %s (%s)\n", verdict, one->name, one->proves);
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed ? 1 : 0;
}
#endif
