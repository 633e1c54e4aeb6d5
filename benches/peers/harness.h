/*
 What all workloads share: sizes, clocks, memory, random orders, measurements in processes of their own, and tables.
*/
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>
#include <stdint.h>

#define CLOCK_EACH 64
#define MS 1000000ull
#define SECOND 1000000000ull
#define ROUNDS_MOST 7
#define THREADS_MOST 4

/* What a full run and a quick one differ in. */
typedef struct sizes {
    /* Sessions, and how many of them speak CMPP where that is measured. */
    uint32_t links, cmpp_links;
    /* W1: touches a round; W3: pairs a round. */
    uint32_t touches, pairs;
    /* W4: from beat to beat, how long a window is, and what passes before the first. */
    uint32_t period_ms, window_ms, warm_up_ms;
    /* W5: over how much time all are touched for the last time. From that to the end of a session, in W5 and in W5b. */
    uint32_t spread_ms, death_ms, death_at_once_ms;
    /* Rounds of W1, of W2 and W3, of W5 and of W5b. Slow peers have no more in W5 than in W5b. */
    int touch_rounds, rounds, death_rounds, death_at_once_rounds;
} sizes;

extern sizes size;

void die(const char *what);

/* ---- Clocks and memory ---- */

uint64_t clock_now(void);
/* CPU time of the process, and of the calling thread. */
uint64_t cpu_now(void);
uint64_t thread_cpu_now(void);
void sleep_until(uint64_t at_ns);
/* As a loop sleeps whose turns are so many milliseconds apart. */
void sleep_to_next_turn(uint32_t turn_ms);
uint64_t resident(void);
void *memory(size_t count, size_t each);
/* Zeroed memory that is resident now: later measurements do not see it. */
void *touched_memory(size_t count, size_t each);

/* ---- Chance, the same in each run ---- */

uint32_t random_below(uint32_t end);
uint32_t *permutation(uint32_t count);

/* ---- A measurement in a process of its own, which hands back some numbers ---- */

void apart(void (*measure)(const void *who, double *results), const void *who, double *results, int count);

/* ---- Threads ---- */

/* On how many CPUs this process may run. */
int cores(void);
/* Calls body(i, data) for each i < count at once, on a core each where there are as many; wall time from the first that
   begins to the last that ends. */
uint64_t side_by_side(int count, void (*body)(int i, void *data), void *data);

/* ---- Tables, for the reader and for machines ---- */

typedef struct column {
    const char *name;
    int width, digits;
} column;

/* Whatever is printed in a cell goes there, too: workload, peer, metric, min, median, max. */
void tsv_open(const char *path);
/* A fact about the run, such as a version. */
void fact(const char *format, ...) __attribute__((format(printf, 1, 2)));

void table(const char *workload, const column *columns, const char *format, ...) __attribute__((format(printf, 3, 4)));
void row(const char *peer);
/* The next column: least, middle and most of the rounds. */
void cell(const double *values, int count);
/* The next column: the same of the quotients of each round; "-" without a base. */
void cell_ratios(const double *values, const double *base, int count);
void cell_none(void);
void row_end(void);
void row_skipped(const char *peer, const char *why);
void print_load(const char *when);

int ascending(const void *left, const void *right);

/* ---- The workloads ---- */

void w1(void);
void w1r(void);
void w1mt(void);
void w2(void);
void w3(void);
void w4(void);
void w4t(void);
void w5(void);
void wmany(void);
void wopen(void);
void wshards(void);

#endif
