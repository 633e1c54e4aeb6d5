/* The library as a plug-in: loaded while the program runs, a hundred times, and unloaded with an engine running. */
#include "check.h"
#include "story.h"

#include <dlfcn.h>
#include <libgen.h>

struct face {
    void *library;
    hbeat_status (*engine_new)(const hbeat_engine_options *options, hbeat_engine **engine);
    hbeat_status (*engine_stop)(hbeat_engine *engine, uint32_t timeout_ms);
    hbeat_status (*engine_free)(hbeat_engine *engine);
    hbeat_status (*policy_preset)(hbeat_policy *policy, size_t policy_size, const char *name);
    hbeat_status (*link_open)(hbeat_engine *engine, const hbeat_policy *policy, const hbeat_link_options *options, hbeat_link *link);
    hbeat_status (*report_down)(hbeat_engine *engine, hbeat_link link, uint32_t cause, uint32_t detail);
};

static void look_up(void *library, const char *name, void *place) {
    void *found = dlsym(library, name);
    REQUIRE(found != NULL);
    memcpy(place, &found, sizeof found);
}

/* The shared library that lies beside this program, also where the program is linked with the static one. */
static void load_library(struct face *face) {
    char self[512] = "", path[1024];
    REQUIRE(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    snprintf(path, sizeof path, "%s/libhbeat.so", dirname(self));
    face->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (face->library == NULL) printf("  %s\n", dlerror());
    REQUIRE(face->library != NULL);
    look_up(face->library, "hbeat_engine_new", &face->engine_new);
    look_up(face->library, "hbeat_engine_stop", &face->engine_stop);
    look_up(face->library, "hbeat_engine_free", &face->engine_free);
    look_up(face->library, "hbeat_policy_preset", &face->policy_preset);
    look_up(face->library, "hbeat_link_open", &face->link_open);
    look_up(face->library, "hbeat_link_report_down", &face->report_down);
}

static void open_and_report(struct face *face, struct world *world) {
    hbeat_policy policy;
    hbeat_link_options how = HBEAT_LINK_OPTIONS_INIT;
    hbeat_engine_options options = world_options(world, TWO_LANES, HBEAT_CLOCK_SYSTEM);
    REQUIRE_OK(face->policy_preset(&policy, sizeof policy, "cmpp"));
    REQUIRE_OK(face->engine_new(&options, &world->engine));
    REQUIRE_OK(face->link_open(world->engine, &policy, &how, &world->link));
    REQUIRE_OK(face->report_down(world->engine, world->link, HBEAT_CAUSE_RESET, 0));
    CHECK(world_sees(world, HBEAT_EVENT_DOWN, world->link, 1));
}

TEST(loaded_and_unloaded_a_hundred_times, "K150 K115") {
    for (int i = 0; i < 100; i++) {
        struct face face;
        struct world world;
        load_library(&face);
        open_and_report(&face, &world);
        CHECK_STATUS(face.engine_stop(world.engine, LONG_MS), HBEAT_OK);
        CHECK_STATUS(face.engine_free(world.engine), HBEAT_OK);
        CHECK_EQ(world_count(&world, HBEAT_EVENT_CLOSED, world.link), 1);
        CHECK_EQ(dlclose(face.library), 0);
    }
}

TEST(unloaded_with_an_engine_running, "K150") {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        static struct face face;
        static struct world world;
        alarm(30);
        load_library(&face);
        open_and_report(&face, &world);
        CHECK_EQ(dlclose(face.library), 0);
        sleep_ms(50); /* its threads go on */
        /* and so does what was looked up */
        CHECK_STATUS(face.report_down(world.engine, world.link, HBEAT_CAUSE_RESET, 0), HBEAT_INFO_ALREADY_DOWN);
        if (check_failures) check_leave(1);
        exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
