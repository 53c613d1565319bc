/* Hooks that run in the container's namespaces. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "executor.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#define KEPT 160
#define ROUNDS_AFTER_END 512

extern char **environ;

struct capture {
    int fd, log;
    size_t length;
    char text[KEPT];
};

static int state_file(const struct argument *a)
{
    char pid[24];
    int fd = memfd_create("state", MFD_CLOEXEC);

    append_number(pid, sizeof pid, 0, (uint64_t)getpid());
    if (fd < 0 || write(fd, a[5].text, a[5].size) < 0 || write(fd, pid, strlen(pid)) < 0 ||
        write(fd, a[6].text, a[6].size) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        fail("memfd_create", "state");
    return fd;
}

_Noreturn static void become_hook(const struct argument *a, int state, int out, int err)
{
    char **arguments = vector_space;
    char **environment = arguments + list_to_vector(&a[3], arguments) + 1;

    list_to_vector(&a[4], environment);
    if (dup2(state, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(127);
    execute_path(a[2].text, arguments, a[4].size != 0 ? environment : environ);
    /* execute_path does not return */
}

/* Keep the beginning of what a hook says: that is where the reason stands. */
static void drain(struct capture *from)
{
    char block[512];
    ssize_t got = read(from->fd, block, sizeof block);

    if (got <= 0) {
        close(from->fd);
        from->fd = -1;
        return;
    }
    /* A full disk is the log's loss, not the hook's fault. */
    if (from->log >= 0 && write(from->log, block, (size_t)got) < 0)
        from->log = -1;
    for (ssize_t i = 0; i < got && from->length + 1 < KEPT; i++)
        from->text[from->length++] = block[i] == '\n' ? ' ' : block[i];
}

static int64_t now_ms(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Wait for the process, not for the end of its output: a child in the background may hold that open. */
static bool wait_for_end(pid_t pid, struct capture *out, struct capture *err, uint64_t timeout)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int64_t deadline = timeout != 0 ? now_ms() + (int64_t)timeout * 1000 : 0;
    int rounds_after_end = 0;

    for (;;) {
        struct pollfd ends[3] = {{pidfd, POLLIN, 0}, {out->fd, POLLIN, 0}, {err->fd, POLLIN, 0}};
        int64_t left = deadline != 0 ? deadline - now_ms() : -1;
        if (deadline != 0 && left <= 0) {
            close(pidfd);
            return false;
        }
        if (poll(ends, 3, (int)left) < 0 && errno != EINTR)
            fail("poll", "hook");
        /* What it left in the pipes is read; a child that writes for ever is not listened to for ever. */
        if (ends[0].revents != 0 && ++rounds_after_end > ROUNDS_AFTER_END)
            ends[1].revents = ends[2].revents = 0;
        if (ends[1].revents != 0 && out->fd >= 0)
            drain(out);
        else if (ends[2].revents != 0 && err->fd >= 0)
            drain(err);
        else if (ends[0].revents != 0) {
            close(pidfd);
            return true;
        }
    }
}

_Noreturn static void hook_failed(const struct argument *a, const char *how, uint64_t number, const char *unit,
                                  const struct capture *out, const struct capture *err)
{
    char text[460];
    size_t length = append(text, sizeof text, 0, "error running ");

    length = append(text, sizeof text, length, a[0].text);
    length = append(text, sizeof text, length, " hook #");
    length = append_number(text, sizeof text, length, a[1].number);
    length = append(text, sizeof text, length, ": ");
    length = append(text, sizeof text, length, how);
    length = append_number(text, sizeof text, length, number);
    length = append(text, sizeof text, length, unit);
    length = append(text, sizeof text, length, ", stdout: ");
    length = append(text, sizeof text, length, out->text);
    length = append(text, sizeof text, length, ", stderr: ");
    append(text, sizeof text, length, err->text);
    fail_text(0, text);
}

void do_RunHook(const struct argument *a)
{
    int out_pipe[2], err_pipe[2], status = 0;
    struct capture out = {.fd = -1, .log = (int)a[8].number}, err = {.fd = -1, .log = (int)a[9].number};
    int state = state_file(a);

    if (pipe2(out_pipe, O_CLOEXEC) < 0 || pipe2(err_pipe, O_CLOEXEC) < 0)
        fail("pipe2", a[2].text);
    pid_t pid = fork();
    if (pid < 0)
        fail("fork", a[2].text);
    if (pid == 0)
        become_hook(a, state, out_pipe[1], err_pipe[1]);
    close(state);
    close(out_pipe[1]);
    close(err_pipe[1]);
    out.fd = out_pipe[0];
    err.fd = err_pipe[0];
    bool ended = wait_for_end(pid, &out, &err, a[7].number);
    if (!ended)
        kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    for (struct capture *each = &out; each != NULL; each = each == &out ? &err : NULL)
        if (each->fd >= 0)
            close(each->fd);
    if (!ended)
        hook_failed(a, "hook ran past specified timeout of ", a[7].number, ".0s", &out, &err);
    if (WIFSIGNALED(status))
        hook_failed(a, "signal: ", (uint64_t)WTERMSIG(status), "", &out, &err);
    if (WEXITSTATUS(status) != 0)
        hook_failed(a, "exit status ", (uint64_t)WEXITSTATUS(status), "", &out, &err);
}
