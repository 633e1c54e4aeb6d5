#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hbeat.h"

void die(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, errno ? strerror(errno) : hbeat_last_error());
    exit(2);
}

/* ---- Clocks and memory ---- */

static uint64_t in_ns(struct timespec time) { return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec; }

uint64_t clock_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return in_ns(time);
}

uint64_t cpu_now(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND
        + (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

uint64_t thread_cpu_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return in_ns(time);
}

void sleep_until(uint64_t at_ns)
{
    struct timespec time = { (time_t)(at_ns / SECOND), (long)(at_ns % SECOND) };
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

void sleep_to_next_turn(uint32_t turn_ms)
{
    uint64_t turn = turn_ms * MS;
    sleep_until((clock_now() / turn + 1) * turn);
}

uint64_t resident(void)
{
    unsigned long whole = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu %lu", &whole, &pages) != 2)
        die("/proc/self/statm");
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void *memory(size_t count, size_t each)
{
    void *place = calloc(count, each);
    if (!place)
        die("memory");
    return place;
}

void *touched_memory(size_t count, size_t each)
{
    void *place = memory(count, each);
    memset(place, 1, count * each);
    memset(place, 0, count * each);
    return place;
}

/* ---- Chance, the same in each run ---- */

static uint64_t random_state = 88172645463325252ull;

uint32_t random_below(uint32_t end)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * end >> 32);
}

uint32_t *permutation(uint32_t count)
{
    uint32_t *order = memory(count, sizeof *order);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = random_below(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

/* ---- A measurement in a process of its own ---- */

void apart(void (*measure)(const void *who, double *results), const void *who, double *results, int count)
{
    int ends[2];
    errno = 0;
    fflush(NULL);
    if (pipe(ends) != 0)
        die("pipe");
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        alarm(600);
        measure(who, results);
        ssize_t length = (ssize_t)((size_t)count * sizeof *results);
        _exit(write(ends[1], results, (size_t)length) == length ? 0 : 1);
    }
    close(ends[1]);
    size_t got = 0, wanted = (size_t)count * sizeof *results;
    for (ssize_t n; got < wanted && (n = read(ends[0], (char *)results + got, wanted - got)) > 0;)
        got += (size_t)n;
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (got != wanted || status != 0) {
        fprintf(stderr, "w: a measurement failed (status %d)\n", status);
        exit(2);
    }
}

/* ---- Threads ---- */

typedef struct seat {
    int number, core;
    void (*body)(int i, void *data);
    void *data;
    pthread_barrier_t *start;
    uint64_t begun, ended;
} seat;

/* The CPUs that this process may use, or the first few of them. */
static int cores_of(int *which, int most)
{
    cpu_set_t set;
    int count = 0;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    for (int i = 0; i < CPU_SETSIZE && count < most; i++)
        if (CPU_ISSET(i, &set))
            which[count++] = i;
    return count;
}

int cores(void)
{
    int which[CPU_SETSIZE];
    return cores_of(which, CPU_SETSIZE);
}

static void *take_seat(void *data)
{
    seat *mine = data;
    if (mine->core >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(mine->core, &set);
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    pthread_barrier_wait(mine->start);
    mine->begun = clock_now();
    mine->body(mine->number, mine->data);
    mine->ended = clock_now();
    return NULL;
}

uint64_t side_by_side(int count, void (*body)(int i, void *data), void *data)
{
    seat seats[THREADS_MOST];
    pthread_t threads[THREADS_MOST];
    pthread_barrier_t start;
    int which[THREADS_MOST], enough = cores_of(which, count) == count;
    pthread_barrier_init(&start, NULL, (unsigned)count);
    for (int i = 0; i < count; i++) {
        seats[i] = (seat) { i, enough ? which[i] : -1, body, data, &start, 0, 0 };
        errno = pthread_create(&threads[i], NULL, take_seat, &seats[i]);
        if (errno)
            die("pthread_create");
    }
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    uint64_t begun = seats[0].begun, ended = seats[0].ended;
    for (int i = 1; i < count; i++) {
        begun = seats[i].begun < begun ? seats[i].begun : begun;
        ended = seats[i].ended > ended ? seats[i].ended : ended;
    }
    return ended - begun;
}

/* ---- Tables, for the reader and for machines ---- */

#define NAME_WIDTH 36

static FILE *tsv;
static const char *workload_now, *peer_now;
static const column *columns_now, *column_now;

void tsv_open(const char *path)
{
    errno = 0;
    tsv = fopen(path, "a");
    if (!tsv)
        die(path);
}

void fact(const char *format, ...)
{
    char text[256];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    printf("%s\n", text);
    if (tsv)
        fprintf(tsv, "# fact\t%s\n", text);
}

void table(const char *workload, const column *columns, const char *format, ...)
{
    char text[256];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    workload_now = workload;
    columns_now = columns;
    printf("\n%s: %s; min / median / max\n%-*s", workload, text, NAME_WIDTH, "");
    for (const column *each = columns; each->name; each++)
        printf(" %-*s", each->width, each->name);
    printf("\n");
    if (tsv)
        fprintf(tsv, "# title\t%s\t%s\n", workload, text);
}

void row(const char *peer)
{
    peer_now = peer;
    column_now = columns_now;
    printf("%-*s", NAME_WIDTH, peer);
}

int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

void cell(const double *values, int count)
{
    double sorted[ROUNDS_MOST];
    char text[64];
    int digits = column_now->digits;
    memcpy(sorted, values, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, ascending);
    double least = sorted[0], middle = sorted[count / 2], most = sorted[count - 1];
    if (count == 1)
        snprintf(text, sizeof text, "%.*f", digits, middle);
    else
        snprintf(text, sizeof text, "%.*f / %.*f / %.*f", digits, least, digits, middle, digits, most);
    printf(" %-*s", column_now->width, text);
    if (tsv)
        fprintf(tsv, "%s\t%s\t%s\t%.*f\t%.*f\t%.*f\n", workload_now, peer_now, column_now->name, digits + 1, least,
            digits + 1, middle, digits + 1, most);
    column_now++;
}

void cell_ratios(const double *values, const double *base, int count)
{
    double each[ROUNDS_MOST];
    if (!base) {
        cell_none();
        return;
    }
    for (int i = 0; i < count; i++)
        each[i] = values[i] / base[i];
    cell(each, count);
}

void cell_none(void) { printf(" %-*s", column_now++->width, "-"); }

void row_end(void)
{
    printf("\n");
    fflush(stdout);
}

void row_skipped(const char *peer, const char *why) { printf("%-*s skipped, %s\n", NAME_WIDTH, peer, why); }

void print_load(const char *when)
{
    double load[3] = { 0, 0, 0 };
    if (getloadavg(load, 3) == 3)
        printf("load average %s: %.2f %.2f %.2f on %ld cores\n", when, load[0], load[1], load[2],
            sysconf(_SC_NPROCESSORS_ONLN));
    fflush(stdout);
}
