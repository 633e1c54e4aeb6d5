/* hbeat_load.h: what it says when there is no library, or the wrong one. FAKES is the directory of libraries that
 * run.py makes of fake.c, LIBRARY the real one; this program is linked with none. */
#define _GNU_SOURCE 1
#include "hbeat_load.h"
#include "check.h"

TEST(a_missing_library, "") {
    CHECK_STATUS(hbeat_load("/nowhere/libhbeat.so.0.1"), HBEAT_ERR_SYSTEM);
    CHECK_TEXT(hbeat_load_error(), "libhbeat cannot be loaded: /nowhere/libhbeat.so.0.1: ");
    CHECK(!hbeat_loaded());
    unsetenv("HBEAT_LIBRARY");
    CHECK_STATUS(hbeat_load(NULL), HBEAT_ERR_SYSTEM); /* the loader is not told where to look */
    CHECK_TEXT(hbeat_load_error(), "libhbeat.so.0.1");
    setenv("HBEAT_LIBRARY", "/nowhere/else.so", 1);
    CHECK_STATUS(hbeat_load(NULL), HBEAT_ERR_SYSTEM);
    CHECK_TEXT(hbeat_load_error(), "/nowhere/else.so");
}

TEST(what_is_no_library_at_all, "") {
    CHECK_STATUS(hbeat_load("/dev/null"), HBEAT_ERR_SYSTEM);
    CHECK_TEXT(hbeat_load_error(), "/dev/null");
    CHECK_STATUS(hbeat_load("libm.so.6"), HBEAT_ERR_UNSUPPORTED);
    CHECK_TEXT(hbeat_load_error(), "libm.so.6 is not libhbeat: it has no hbeat_version_number");
}

TEST(a_path_of_any_length_fits_the_sentence, "") {
    static char path[4096];
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    CHECK_STATUS(hbeat_load(path), HBEAT_ERR_SYSTEM);
    CHECK(strlen(hbeat_load_error()) < 512);
}

TEST(another_version, "") {
    CHECK_STATUS(hbeat_load(FAKES "/old.so"), HBEAT_ERR_UNSUPPORTED);
    CHECK_TEXT(hbeat_load_error(), "/old.so is version 0.0.9 of libhbeat; this program needs 0.1");
    CHECK_STATUS(hbeat_load(FAKES "/new.so"), HBEAT_ERR_UNSUPPORTED);
    CHECK_TEXT(hbeat_load_error(), "/new.so is version 0.2.0 of libhbeat; this program needs 0.1");
    CHECK_STATUS(hbeat_load(FAKES "/next.so"), HBEAT_ERR_UNSUPPORTED);
    CHECK_TEXT(hbeat_load_error(), "/next.so is version 1.1.0 of libhbeat; this program needs 0.1");
    CHECK(!hbeat_loaded());
    CHECK(dlopen(FAKES "/old.so", RTLD_NOW | RTLD_NOLOAD) == NULL); /* it was given back */
}

TEST(a_missing_function, "") {
    CHECK_STATUS(hbeat_load(FAKES "/lacks.so"), HBEAT_ERR_UNSUPPORTED);
    CHECK_TEXT(hbeat_load_error(), "/lacks.so is version 0.1.0 of libhbeat, which has no hbeat_engine_histogram; this program needs 0.1.");
    CHECK(!hbeat_loaded());
}

TEST(a_call_without_a_library_ends_with_a_sentence, "") {
    int ends[2], status = 0;
    char said[256] = "";
    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        hbeat_now_ns();
        _exit(0);
    }
    close(ends[1]);
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(read(ends[0], said, sizeof said - 1) > 0);
    CHECK_TEXT(said, "hbeat_load has not loaded it");
}

TEST(the_library_works_after_other_attempts, "") {
    CHECK_STATUS(hbeat_load(FAKES "/lacks.so"), HBEAT_ERR_UNSUPPORTED);
    REQUIRE(hbeat_load(LIBRARY) == HBEAT_OK);
    CHECK(hbeat_loaded());
    CHECK(strcmp(hbeat_load_error(), "") == 0);
    CHECK_STATUS(hbeat_load("/nowhere"), HBEAT_OK); /* once is enough */
    CHECK_EQ(hbeat_version_number() / 1000, 1);
    CHECK(dlsym(RTLD_DEFAULT, "hbeat_version") == NULL); /* RTLD_LOCAL */
    hbeat_engine_options options = HBEAT_ENGINE_OPTIONS_INIT;
    hbeat_engine *engine = NULL;
    REQUIRE_OK(hbeat_engine_new(&options, &engine));
    CHECK_STATUS(hbeat_engine_stop(engine, 10000), HBEAT_OK);
    CHECK_STATUS(hbeat_engine_free(engine), HBEAT_OK);
    CHECK_STATUS(hbeat_link_close(NULL, 1), HBEAT_ERR_NULL);
    CHECK_TEXT(hbeat_last_error(), "engine");
}

TEST(the_environment_names_the_library, "") {
    setenv("HBEAT_LIBRARY", LIBRARY, 1);
    CHECK_STATUS(hbeat_load(NULL), HBEAT_OK);
    CHECK(strcmp(hbeat_state_name(HBEAT_STATE_UP), "up") == 0);
}
