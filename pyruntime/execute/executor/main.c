/* The executor: carries out a plan that Python has made, one small function for each operation.

   executor PLAN_FD REPORT_FD ORDER_FD    carry the plan out
   executor --check                       only check the plan on standard input
   executor --operations                  print the vocabulary */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "executor.h"

char **vector_space;
unsigned parent_fds;

static void (*const functions[LARGEST_OPERATION + 1])(const struct argument *) = {
#define ENTRY(code, name, signature) [code] = do_##name,
    OPERATIONS(ENTRY)
#undef ENTRY
};

static void print(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(1);
}

static int print_operations(void)
{
    char line[96];

    for (unsigned code = 0; code <= LARGEST_OPERATION; code++) {
        if (operation_name(code) == NULL)
            continue;
        size_t length = append_number(line, sizeof line, 0, code);
        length = append(line, sizeof line, length, " ");
        length = append(line, sizeof line, length, operation_name(code));
        length = append(line, sizeof line, length, " ");
        length = append(line, sizeof line, length, operation_signature(code));
        append(line, sizeof line, length, "\n");
        print(line);
    }
    return 0;
}

static const unsigned char *map_plan(int fd, size_t *size)
{
    struct stat found;

    if (fstat(fd, &found) < 0 || found.st_size <= 0)
        return NULL;
    *size = (size_t)found.st_size;
    void *bytes = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    return bytes == MAP_FAILED ? NULL : bytes;
}

static bool load(int fd, struct plan *plan, uint32_t *largest_list)
{
    size_t size = 0;
    const unsigned char *bytes = map_plan(fd, &size);

    return bytes != NULL && plan_open(plan, bytes, size) && plan_check(plan, largest_list);
}

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

const struct plan *the_plan;

static void carry_out(struct plan *plan)
{
    struct operation operation;
    the_plan = plan;
    bool timed = (plan->flags & PLAN_REPORTS_STEPS) != 0;

    for (uint32_t i = 0; i < plan->count && plan_next(plan, &operation); i++) {
        int64_t begun = timed ? now() : 0;
        report_step(operation.step);
        functions[operation.code](operation.arguments);
        if (timed)
            report(REPORT_FINISHED, now() - begun, 0, "", "");
    }
}

int main(int argc, char **argv)
{
    struct plan plan;
    uint32_t largest_list;

    if (argc == 2 && strcmp(argv[1], "--operations") == 0)
        return print_operations();
    if (argc == 2 && strcmp(argv[1], "--check") == 0)
        return load(STDIN_FILENO, &plan, &largest_list) ? 0 : 2;
    if (argc != 4)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    parent_fds = (unsigned)atoi(argv[1]);
    report_begin(atoi(argv[2]), atoi(argv[3]));
    if (!load(atoi(argv[1]), &plan, &largest_list))
        fail_text(0, "the plan is malformed: pyruntime and its executor are of different versions");
    /* Room for two vectors of the longest list, HOME and the ends: nothing is allocated after this. */
    size_t room = ((size_t)largest_list * 2 + 8) * sizeof(char *);
    vector_space = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vector_space == MAP_FAILED)
        fail("mmap", "");
    carry_out(&plan);
    return 0;
}
