/* What the kernel enforces: sysctls, labels, seccomp, no_new_privs, scheduling. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "executor.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif

static int mounted_proc(void)
{
    struct statfs filesystem;
    struct stat root;
    int fd = try_resolve("/proc", O_DIRECTORY | O_NOFOLLOW);

    if (fd < 0)
        fail("openat2", "/proc");
    if (fstatfs(fd, &filesystem) < 0 || filesystem.f_type != 0x9fa0 || fstat(fd, &root) < 0 || root.st_ino != 1)
        fail_text(EINVAL, "unsafe procfs detected: /proc is not the root of a procfs");
    return fd;
}

/* A procfs that no mount of the container can cover or replace (CVE-2019-16884, CVE-2025-52881). */
int private_proc(void)
{
    int filesystem = (int)syscall(SYS_fsopen, "proc", 1);
    int mounted = -1;

    if (filesystem >= 0 && syscall(SYS_fsconfig, filesystem, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) == 0)
        mounted = (int)syscall(SYS_fsmount, filesystem, 1, 2 | 4 | 8);
    if (filesystem >= 0)
        close(filesystem);
    return mounted >= 0 ? mounted : mounted_proc();
}

static int write_below(int directory, const char *path, const struct argument *value)
{
    /* Nothing that is mounted over a file of it, and no link out of it, may be written to (CVE-2025-52881). */
    struct open_how how = {.flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);

    if (fd < 0)
        return -1;
    ssize_t written = write(fd, value->text, value->size);
    int error = errno;
    close(fd);
    errno = error;
    return written < 0 ? -1 : 0;
}

void do_SetSysctl(const struct argument *a)
{
    char path[512];
    size_t length = append(path, sizeof path, 0, "sys/");
    int proc = private_proc();

    append(path, sizeof path, length, a[0].text);
    if (write_below(proc, path, &a[1]) < 0)
        fail("write", path);
    close(proc);
}

void do_SetSecurityAttribute(const struct argument *a)
{
    char path[128];
    int proc = private_proc();
    size_t length = append(path, sizeof path, 0, "self/attr/");

    append(path, sizeof path, length, a[0].text);
    if (write_below(proc, path, &a[1]) < 0) {
        /* Kernels before 5.8 know only the shared file. */
        if (errno != ENOENT || strcmp(a[0].text, "apparmor/exec") != 0 || write_below(proc, "self/attr/exec", &a[1]) < 0)
            fail("write", path);
    }
    close(proc);
}

void do_NoNewPrivileges(const struct argument *a)
{
    (void)a;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("prctl", "PR_SET_NO_NEW_PRIVS");
}

/* 0, or the error. */
static int send_listener(int listener, int connection)
{
    char byte = 0;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {&byte, 1};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &listener, sizeof(int));
    return sendmsg(connection, &packet, MSG_NOSIGNAL) < 0 ? errno : 0;
}

#define NOT_YET (-1)
#define NEVER (-2)

/* Between this process and its messenger, which share memory and descriptors. */
static struct {
    volatile int listener, error;
    volatile bool done;
    int connection;
} handover;

static int carry_listener(void *unused)
{
    const struct timespec moment = {0, 20000};

    (void)unused;
    while (handover.listener == NOT_YET)
        (void)syscall(SYS_nanosleep, &moment, NULL);
    if (handover.listener != NEVER)
        handover.error = send_listener(handover.listener, handover.connection);
    handover.done = true;
    (void)syscall(SYS_exit, 0);
    return 0;
}

/*
 * The filter may forbid the very call that hands its descriptor over, or ask the listener's owner about it, who does
 * not have the descriptor yet.  So a messenger is sent for before the filter is loaded, which does not apply to it.
 * Until it is done this process makes no call at all.
 */
static long load_with_listener(unsigned long flags, const struct sock_fprog *program, int connection)
{
    static char stack[16384] __attribute__((aligned(16)));

    handover.listener = NOT_YET;
    handover.connection = connection;
    signal(SIGCHLD, SIG_IGN); /* nobody has to reap it */
    if (clone(carry_listener, stack + sizeof stack, CLONE_VM | CLONE_FILES | SIGCHLD, NULL) < 0)
        fail("clone", "a second process, which hands the seccomp listener over");
    long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
    int error = errno;
    handover.listener = listener < 0 ? NEVER : (int)listener;
    while (!handover.done)
        continue;
    signal(SIGCHLD, SIG_DFL);
    if (listener >= 0)
        close((int)listener);
    close(connection);
    if (listener >= 0 && handover.error != 0) {
        errno = handover.error;
        fail("sendmsg", "the seccomp listener");
    }
    errno = error;
    return listener;
}

void do_LoadSeccomp(const struct argument *a)
{
    struct sock_fprog program = {
        .len = (unsigned short)(a[0].size / sizeof(struct sock_filter)),
        .filter = (struct sock_filter *)(uintptr_t)a[0].text,
    };
    bool notify = (int64_t)a[2].number >= 0;
    unsigned long flags = (unsigned long)a[1].number;

    long result = notify ? load_with_listener(flags | SECCOMP_FILTER_FLAG_NEW_LISTENER, &program, (int)a[2].number)
                         : syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result < 0)
        fail("seccomp", "SECCOMP_SET_MODE_FILTER");
}

void do_SetRlimit(const struct argument *a)
{
    const uint64_t limit[2] = {a[2].number, a[3].number};

    if (syscall(SYS_prlimit64, 0, (int)a[1].number, limit, NULL) < 0)
        fail("prlimit", "");
}

void do_SetScheduler(const struct argument *a)
{
    if (a[0].size < 48 || syscall(SYS_sched_setattr, 0, a[0].text, 0) < 0)
        fail("sched_setattr", "");
}

void do_SetIoPriority(const struct argument *a)
{
    if (syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, (int)a[0].number) < 0)
        fail("ioprio_set", "");
}

void do_SetPersonality(const struct argument *a)
{
    if (personality((unsigned long)a[0].number) < 0)
        fail("personality", "");
}

void do_SetMemoryPolicy(const struct argument *a)
{
    const char *nodes = a[1].size != 0 ? a[1].text : NULL;

    if (syscall(SYS_set_mempolicy, (int)a[0].number, nodes, a[1].size != 0 ? (unsigned long)a[1].size * 8 + 1 : 0UL) < 0)
        fail("set_mempolicy", "");
}

void do_SetAffinity(const struct argument *a)
{
    if (syscall(SYS_sched_setaffinity, 0, (size_t)a[0].size, a[0].text) < 0)
        fail("sched_setaffinity", "");
}

void do_ResetAffinity(const struct argument *a)
{
    unsigned long all[128];

    (void)a;
    memset(all, 0xff, sizeof all);
    /* The kernel cuts the mask to the cpuset; a refusal leaves the affinity of the caller, which is no error. */
    (void)syscall(SYS_sched_setaffinity, 0, sizeof all, all);
}
