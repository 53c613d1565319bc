/* What a process sees from inside a container, as one JSON object on standard output.
 *
 * Each argument is a question, `VERB:REST`, and the answer stands under the argument's own text.  What every report
 * has without being asked is under the names in `report`.  A question never ends the program: a call that fails is
 * answered by {"errno": N}.  Source of the numbers that musl lacks: the kernel's uapi headers. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void text(const char *bytes, size_t size)
{
    putchar('"');
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)bytes[i];

        if (byte < 0x20 || byte == '"' || byte == '\\' || byte > 0x7e)
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

static void string(const char *value)
{
    text(value, strlen(value));
}

static void failed(void)
{
    printf("{\"errno\": %d}", errno);
}

static void outcome(long result)
{
    if (result < 0)
        failed();
    else
        printf("{\"result\": %ld}", result);
}

static void answer_file(const char *path)
{
    static char content[1 << 18];
    size_t size = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        failed();
        return;
    }
    for (;;) {
        ssize_t got = read(fd, content + size, sizeof content - size);

        if (got < 0 && size == 0) {
            failed();
            close(fd);
            return;
        }
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    close(fd);
    text(content, size);
}

static void answer_stat(const char *path)
{
    struct stat status;

    if (lstat(path, &status)) {
        failed();
        return;
    }
    printf("{\"mode\": %u, \"uid\": %u, \"gid\": %u, \"major\": %u, \"minor\": %u, \"size\": %lld}", status.st_mode,
           status.st_uid, status.st_gid, major(status.st_rdev), minor(status.st_rdev), (long long)status.st_size);
}

static void answer_link(const char *path)
{
    char target[4096];
    ssize_t size = readlink(path, target, sizeof target);

    if (size < 0)
        failed();
    else
        text(target, (size_t)size);
}

static void answer_list(const char *path)
{
    DIR *directory = opendir(path);
    const char *separator = "";

    if (!directory) {
        failed();
        return;
    }
    putchar('[');
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        printf("%s", separator);
        string(entry->d_name);
        separator = ", ";
    }
    putchar(']');
    closedir(directory);
}

/* Opens for writing, and makes the file if it is missing: what a read-only mount refuses. */
static void answer_write(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    outcome(fd);
    if (fd >= 0)
        close(fd);
}

static void answer_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    outcome(fd);
    if (fd >= 0)
        close(fd);
}

static void answer_mknod(const char *path)
{
    outcome(mknod(path, S_IFCHR | 0600, makedev(1, 3)));
}

/* `call:NUMBER`: the system call with all arguments 0. */
static void answer_call(const char *number)
{
    outcome(syscall(strtol(number, NULL, 10), 0, 0, 0, 0, 0, 0));
}

static void answer_clock(const char *number)
{
    struct timespec now;

    if (clock_gettime((clockid_t)strtol(number, NULL, 10), &now))
        failed();
    else
        printf("%lld", (long long)now.tv_sec);
}

static void answer_tty(const char *number)
{
    printf("%d", isatty((int)strtol(number, NULL, 10)));
}

/* Waits for a signal, but not for ever: a container that a run forgets must end by itself. */
static void answer_sleep(const char *seconds)
{
    fflush(stdout);
    sleep((unsigned int)strtoul(seconds, NULL, 10));
    putchar('0');
}

static void answer_exit(const char *status)
{
    exit((int)strtol(status, NULL, 10));
}

static const struct question {
    const char *verb;
    void (*answer)(const char *rest);
} questions[] = {
    {"file", answer_file},   {"stat", answer_stat}, {"link", answer_link},   {"list", answer_list},
    {"write", answer_write}, {"open", answer_open}, {"mknod", answer_mknod}, {"call", answer_call},
    {"clock", answer_clock}, {"tty", answer_tty},   {"sleep", answer_sleep}, {"exit", answer_exit},
};

static void ask(char *argument)
{
    char *rest = strchr(argument, ':');

    string(argument);
    printf(": ");
    if (rest) {
        for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
            if (strlen(questions[i].verb) == (size_t)(rest - argument) &&
                !strncmp(argument, questions[i].verb, (size_t)(rest - argument))) {
                questions[i].answer(rest + 1);
                printf(", ");
                return;
            }
        }
    }
    printf("null, ");
}

static void named(const char *name, long value)
{
    string(name);
    printf(": %ld, ", value);
}

static void report_names(void)
{
    char path[4096];
    struct utsname names;

    uname(&names);
    printf("\"hostname\": ");
    string(names.nodename);
    printf(", \"domainname\": ");
    string(names.domainname);
    printf(", \"cwd\": ");
    string(getcwd(path, sizeof path) ? path : "");
    printf(", \"environment\": [");
    for (char **entry = environ; *entry; entry++) {
        printf("%s", entry == environ ? "" : ", ");
        string(*entry);
    }
    printf("], ");
}

static void report_scheduling(void)
{
    struct {
        unsigned int size, policy;
        unsigned long long flags;
        int nice;
        unsigned int priority;
        unsigned long long runtime, deadline, period;
    } attributes = {.size = 48};
    unsigned long cpus[16] = {0};
    int policy = -1;

    syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0);
    named("policy", attributes.policy);
    named("nice", attributes.nice);
    named("priority", attributes.priority);
    named("io_priority", syscall(SYS_ioprio_get, 1, 0));
    syscall(SYS_sched_getaffinity, 0, sizeof cpus, cpus);
    named("cpus", (long)cpus[0]);
    syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0);
    named("memory_policy", policy);
}

static void report_process(void)
{
    mode_t mask = umask(0);

    umask(mask);
    named("umask", mask);
    named("uid", getuid());
    named("gid", getgid());
    named("pid", getpid());
    named("session", getsid(0));
    named("no_new_privileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    named("personality", personality(0xffffffff));
    named("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    printf("\"groups\": [");
    gid_t groups[64];
    int count = getgroups(64, groups);
    for (int i = 0; i < count; i++)
        printf("%s%u", i ? ", " : "", groups[i]);
    printf("], \"descriptors\": [");
    const char *separator = "";
    for (int fd = 0; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            printf("%s%d", separator, fd);
            separator = ", ";
        }
    }
    printf("], ");
}

int main(int count, char **arguments)
{
    printf("{");
    report_process(); /* first: no descriptor of this program's own is open yet */
    report_names();
    report_scheduling();
    for (int i = 1; i < count; i++)
        ask(arguments[i]);
    printf("\"end\": true}\n");
    return 0;
}
