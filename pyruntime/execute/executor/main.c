/* The executor: carries out a plan that Python has made, one small function for each operation.

   executor FIRST_FD REPORT_FD ORDER_FD   carry out the plans that come on ORDER_FD
   executor --check                       only check the plan on standard input
   executor --operations                  print the vocabulary */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

static bool nothing_came;
static uint32_t largest_list;

/* How many bytes came before the end. */
static size_t read_fully(int fd, unsigned char *into, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = read(fd, into + done, size - done);
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        done += got > 0 ? (size_t)got : 0;
    }
    return done;
}

static bool load(int fd, struct plan *plan)
{
    unsigned char header[PLAN_HEADER_SIZE];
    size_t got = read_fully(fd, header, sizeof header);

    nothing_came = got == 0;
    size_t size = got == sizeof header ? plan_size(header) : 0;
    if (size < sizeof header)
        return false;
    unsigned char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return false;
    memcpy(bytes, header, sizeof header);
    if (read_fully(fd, bytes + sizeof header, size - sizeof header) != size - sizeof header)
        return false;
    return plan_open(plan, bytes, size) && plan_check(plan, &largest_list);
}

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Room for two vectors of the longest list, HOME and the ends: nothing is allocated after this. */
static void make_room(void)
{
    size_t room = ((size_t)largest_list * 2 + 8) * sizeof(char *);

    vector_space = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vector_space == MAP_FAILED)
        fail("mmap", "");
}

static void carry_out(struct plan *plan)
{
    struct operation operation;
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

    if (argc == 2 && strcmp(argv[1], "--operations") == 0)
        return print_operations();
    if (argc == 2 && strcmp(argv[1], "--check") == 0)
        return load(STDIN_FILENO, &plan) ? 0 : 2;
    if (argc != 4)
        return 2;
    const uint64_t none = 0;
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
    signal(SIGPIPE, SIG_IGN);
    parent_fds = (unsigned)atoi(argv[1]);
    report_begin(atoi(argv[2]), atoi(argv[3]));
    do {
        if (!load(atoi(argv[3]), &plan)) {
            if (nothing_came) /* started in advance, and then there was nothing to do */
                return 0;
            fail_text(0, "the plan is malformed: pyruntime and its executor are of different versions");
        }
        make_room();
        carry_out(&plan);
    } while ((plan.flags & PLAN_CONTINUES) != 0);
    return 0;
}
