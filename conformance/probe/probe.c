/* What a process sees from inside a container, as one JSON object on standard output.
 *
 * Each argument is a question, `VERB:REST`, and the answer stands under the argument's own text.  What every report
 * has without being asked is under the names in `report`.  A question never ends the program: a call that fails is
 * answered by {"errno": N}.  Source of the numbers that musl lacks: the kernel's uapi headers. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

/* `call:NUMBER[:ARGUMENT ...]`: the system call, with 0 for each argument that is not given. */
static void answer_call(const char *rest)
{
    unsigned long values[7] = {0};
    char *end = (char *)rest;

    for (int i = 0; i < 7; i++) {
        values[i] = strtoul(end, &end, 0);
        if (*end != ':')
            break;
        end++;
    }
    outcome(syscall((long)values[0], values[1], values[2], values[3], values[4], values[5], values[6]));
}

/* All of standard input. */
static void answer_stdin(const char *rest)
{
    static char content[1 << 16];
    size_t size = 0;

    (void)rest;
    for (ssize_t got; size < sizeof content && (got = read(0, content + size, sizeof content - size)) > 0;)
        size += (size_t)got;
    text(content, size);
}

/* `signals:PATH`: appends the number of each signal to the file, for 30 seconds or until SIGTERM. */
static void answer_signals(const char *path)
{
    struct timespec limit = {.tv_sec = 30};
    sigset_t all;
    int number;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    dprintf(fd, "ready\n");
    do {
        number = sigtimedwait(&all, NULL, &limit);
        dprintf(fd, "%d\n", number);
    } while (number > 0 && number != SIGTERM);
    close(fd);
    putchar('0');
}

/* Rows and columns of the terminal at a descriptor. */
static void answer_size(const char *number)
{
    struct winsize size;

    if (ioctl((int)strtol(number, NULL, 10), TIOCGWINSZ, &size))
        failed();
    else
        printf("[%u, %u]", size.ws_row, size.ws_col);
}

/* Flags and IPv4 address of a network device. */
static void answer_net(const char *name)
{
    struct ifreq flags = {0}, address = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    strncpy(flags.ifr_name, name, IFNAMSIZ - 1);
    strncpy(address.ifr_name, name, IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFFLAGS, &flags)) {
        failed();
    } else {
        printf("{\"flags\": %d, \"address\": ", flags.ifr_flags & 0xffff);
        if (ioctl(fd, SIOCGIFADDR, &address))
            string("");
        else
            string(inet_ntoa(((struct sockaddr_in *)(void *)&address.ifr_addr)->sin_addr));
        putchar('}');
    }
    close(fd);
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

/* Uses the processor for so many seconds. */
static void answer_spin(const char *seconds)
{
    time_t end = time(NULL) + strtol(seconds, NULL, 10);

    fflush(stdout);
    while (time(NULL) < end)
        ;
    putchar('0');
}

static void answer_exit(const char *status)
{
    printf("0, \"end\": true}\n");
    exit((int)strtol(status, NULL, 10));
}

static const struct question {
    const char *verb;
    void (*answer)(const char *rest);
} questions[] = {
    {"file", answer_file},       {"stat", answer_stat},   {"link", answer_link}, {"list", answer_list},
    {"write", answer_write},     {"open", answer_open},   {"mknod", answer_mknod}, {"call", answer_call},
    {"clock", answer_clock},     {"tty", answer_tty},     {"sleep", answer_sleep}, {"exit", answer_exit},
    {"signals", answer_signals}, {"stdin", answer_stdin}, {"size", answer_size},   {"net", answer_net},
    {"spin", answer_spin},
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
    printf(", \"machine\": ");
    string(names.machine);
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
    unsigned long cpus[16] = {0}, nodes[16] = {0};
    int policy = -1;

    syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0);
    named("policy", attributes.policy);
    named("nice", attributes.nice);
    named("priority", attributes.priority);
    named("io_priority", syscall(SYS_ioprio_get, 1, 0));
    syscall(SYS_sched_getaffinity, 0, sizeof cpus, cpus);
    named("cpus", (long)cpus[0]);
    named("scheduler_flags", (long)attributes.flags);
    named("runtime", (long)attributes.runtime);
    named("deadline", (long)attributes.deadline);
    named("period", (long)attributes.period);
    syscall(SYS_get_mempolicy, &policy, nodes, sizeof nodes * 8, NULL, 0);
    named("memory_policy", policy);
    named("memory_nodes", (long)nodes[0]);
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
    /* As a hook its output would be lost: `into:PATH` as first argument sends it to the end of a file. */
    if (count > 1 && !strncmp(arguments[1], "into:", 5)) {
        if (!freopen(arguments[1] + 5, "a", stdout))
            return 1;
    }
    printf("{");
    report_process(); /* first: no descriptor of this program's own is open yet */
    report_names();
    report_scheduling();
    for (int i = 1; i < count; i++)
        ask(arguments[i]);
    printf("\"end\": true}\n");
    return 0;
}
