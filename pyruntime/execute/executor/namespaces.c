/* Into the namespaces and cgroups, and what is prepared with the host's rights before that. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "executor.h"

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#define CLOSE_RANGE_MARK 4

int slots[SLOTS] = {[0 ... SLOTS - 1] = -1};

int *slot(uint64_t number)
{
    if (number >= SLOTS) {
        errno = EINVAL;
        fail("slot", "");
    }
    return &slots[number];
}

static void write_file(const char *path, const char *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        fail("open", path);
    if (write(fd, data, size) != (ssize_t)size)
        fail("write", path);
    close(fd);
}

static unsigned first_private = 3;

void do_CloseInherited(const struct argument *a)
{
    first_private = (unsigned)a[0].number;
    if (syscall(SYS_close_range, (unsigned)a[0].number, ~0U, CLOSE_RANGE_MARK) == 0)
        return;
    for (int fd = (int)a[0].number; fd < 4096; fd++) /* kernels before 5.11 */
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void close_from_to(unsigned first, unsigned last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
        return;
    for (unsigned fd = first; fd <= last && fd < 4096; fd++)
        close((int)fd);
}

void do_CloseOwn(const struct argument *a)
{
    (void)a;
    close_from_to(first_private, parent_fds - 1);
    close_from_to(parent_fds + PARENT_FDS, ~0U);
    root_fd = -1;
}

void do_KeepDescriptor(const struct argument *a)
{
    if (fcntl((int)a[0].number, F_SETFD, 0) < 0)
        fail("fcntl", "F_SETFD");
}

void do_OpenDescriptor(const struct argument *a)
{
    int fd = open(a[1].text, (int)a[2].number | O_CLOEXEC);

    if (fd < 0)
        fail("open", a[1].text);
    if (dup3(fd, (int)a[0].number, O_CLOEXEC) < 0)
        fail("dup3", a[1].text);
    close(fd);
}

void do_SetDumpable(const struct argument *a)
{
    if (prctl(PR_SET_DUMPABLE, (unsigned long)a[0].number, 0, 0, 0) < 0)
        fail("prctl", "PR_SET_DUMPABLE");
}

void do_SetOomScore(const struct argument *a)
{
    char text[24];
    int64_t score = (int64_t)a[0].number;
    size_t length = append(text, sizeof text, 0, score < 0 ? "-" : "");

    length = append_number(text, sizeof text, length, (uint64_t)(score < 0 ? -score : score));
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, length) < 0) {
        if (!a[1].number || (errno != EACCES && errno != EPERM))
            fail("write", "/proc/self/oom_score_adj");
        report_notice("the OOM score adjustment could not be lowered without privilege");
    }
    if (fd >= 0)
        close(fd);
}

void do_JoinCgroup(const struct argument *a)
{
    write_file(a[0].text, "0", 1);
}

void do_WriteFile(const struct argument *a)
{
    write_file(a[0].text, a[1].text, a[1].size);
}

static int bpf(int command, union bpf_attr *attributes, size_t size)
{
    return (int)syscall(SYS_bpf, command, attributes, size);
}

void do_AttachDeviceProgram(const struct argument *a)
{
    union bpf_attr attributes;
    int cgroup = open(a[0].text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (cgroup < 0)
        fail("open", a[0].text);
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uint64_t)(uintptr_t)a[1].text;
    attributes.insn_cnt = a[1].size / 8;
    attributes.license = (uint64_t)(uintptr_t) "Apache-2.0";
    int program = bpf(BPF_PROG_LOAD, &attributes, sizeof attributes);
    if (program < 0)
        fail("bpf", "BPF_PROG_LOAD");
    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)cgroup;
    attributes.attach_bpf_fd = (uint32_t)program;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    attributes.attach_flags = BPF_F_ALLOW_MULTI;
    if (bpf(BPF_PROG_ATTACH, &attributes, sizeof attributes) < 0)
        fail("bpf", "BPF_PROG_ATTACH");
    close(program);
    close(cgroup);
}

void do_OpenPath(const struct argument *a)
{
    /* clone3 wants a real descriptor of the cgroup directory, not an O_PATH one. */
    *slot(a[0].number) = open(a[1].text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*slot(a[0].number) < 0)
        fail("open", a[1].text);
}

void do_OpenNamespace(const struct argument *a)
{
    *slot(a[0].number) = open(a[1].text, O_RDONLY | O_CLOEXEC);
    if (*slot(a[0].number) < 0)
        fail("open", a[1].text);
}

void do_JoinNamespace(const struct argument *a)
{
    int fd = open(a[0].text, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        fail("open", a[0].text);
    if (setns(fd, (int)a[1].number) < 0)
        fail("setns", a[0].text);
    close(fd);
}

void do_JoinProcess(const struct argument *a)
{
    if (setns((int)a[0].number, (int)a[1].number) < 0)
        fail("setns", "of the container's init");
}

void do_Unshare(const struct argument *a)
{
    if (unshare((int)a[0].number) < 0)
        fail("unshare", "");
}

void do_BecomeRoot(const struct argument *a)
{
    (void)a;
    if (syscall(SYS_setresgid, 0, 0, 0) < 0)
        fail("setresgid", "0");
    if (syscall(SYS_setresuid, 0, 0, 0) < 0)
        fail("setresuid", "0");
}

void do_Tell(const struct argument *a)
{
    report(REPORT_REACHED, (int64_t)a[0].number, 0, "", "");
}

void do_Await(const struct argument *a)
{
    await_order((uint32_t)a[0].number);
}

/* The child goes on with the plan; this process tells its pid and ends.  The child waits for that: were it to clone
   in turn first, the parent would hear of the two in the wrong order and take the wrong one for the last. */
void do_Clone(const struct argument *a)
{
    struct clone_args arguments = {.flags = a[0].number | CLONE_PARENT};
    int told[2];
    char byte = 0;

    if ((int64_t)a[1].number >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)*slot(a[1].number);
    }
    if (pipe2(told, O_CLOEXEC) < 0)
        fail("pipe2", "");
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0)
        fail("clone3", "");
    if (pid > 0) {
        report(REPORT_CLONED, pid, 0, "", "");
        _exit(write(told[1], &byte, 1) == 1 ? 0 : 1);
    }
    close(told[1]);
    if (read(told[0], &byte, 1) != 1)
        _exit(1);
    close(told[0]);
    if ((int64_t)a[1].number >= 0)
        close(*slot(a[1].number));
}

/* A child that only holds a user namespace open for as long as its maps are written. */
static pid_t hold_namespace(int ready_write, int release_read)
{
    char byte = 0;
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    if (unshare(CLONE_NEWUSER) < 0)
        byte = (char)errno;
    if (write(ready_write, &byte, 1) == 1 && read(release_read, &byte, 1) < 0)
        _exit(1);
    _exit(0);
}

static void write_map(pid_t pid, const char *name, const struct argument *map)
{
    char path[64];
    size_t length = append(path, sizeof path, 0, "/proc/");

    length = append_number(path, sizeof path, length, (uint64_t)pid);
    append(path, sizeof path, length, name);
    write_file(path, map->text, map->size);
}

void do_MakeMappingNamespace(const struct argument *a)
{
    int ready[2], release[2];
    char byte, path[64];

    if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(release, O_CLOEXEC) < 0)
        fail("pipe2", "");
    pid_t pid = hold_namespace(ready[1], release[0]);
    if (pid < 0)
        fail("fork", "");
    if (read(ready[0], &byte, 1) != 1 || byte != 0) {
        errno = byte;
        fail("unshare", "CLONE_NEWUSER");
    }
    write_map(pid, "/uid_map", &a[1]);
    write_map(pid, "/gid_map", &a[2]);
    size_t length = append(path, sizeof path, 0, "/proc/");
    length = append_number(path, sizeof path, length, (uint64_t)pid);
    append(path, sizeof path, length, "/ns/user");
    *slot(a[0].number) = open(path, O_RDONLY | O_CLOEXEC);
    if (*slot(a[0].number) < 0)
        fail("open", path);
    /* The child has the other ends as well, so closing ours would not wake it. */
    if (write(release[1], "", 1) != 1)
        fail("write", "id mapping");
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(release[i]);
    }
    waitpid(pid, NULL, 0);
}

void do_OpenTree(const struct argument *a)
{
    unsigned flags = 1 /* OPEN_TREE_CLONE */ | (a[2].number ? 0x8000 /* AT_RECURSIVE */ : 0);
    int fd = copy_mount(AT_FDCWD, a[1].text, flags);

    if (fd < 0)
        fail("open_tree", a[1].text);
    if (a[3].number && set_attributes(fd, a[2].number ? 0x8000 : 0, 0, 0, MS_SLAVE, -1) < 0)
        fail("mount_setattr", a[1].text);
    *slot(a[0].number) = fd;
}

void do_IdmapTree(const struct argument *a)
{
    unsigned flags = a[2].number ? 0x8000 : 0;

    if (set_attributes(*slot(a[0].number), flags, 0x100000 /* MOUNT_ATTR_IDMAP */, 0, 0, *slot(a[1].number)) < 0)
        fail("mount_setattr", "MOUNT_ATTR_IDMAP");
}
