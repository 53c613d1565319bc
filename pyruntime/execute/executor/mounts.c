/* Mounts below the container's root, before the pivot (after it only through descriptors). */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "executor.h"

#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#define TREE_CLONE 1
#define TREE_CLOEXEC 02000000
#define TREE_RECURSIVE 0x8000
#define EMPTY_PATH 0x1000
#define MOVE_BOTH_EMPTY 0x44

#define REAL_DIRECTORY 1
#define COPY_UP 2
#define KEEP_MODE 4
#define SOURCE_NOFOLLOW 1
#define BIND_REAL_DIRECTORY 2
#define TARGET_NOFOLLOW 4
#define COPY_SYMLINK 8
#define PROC_MAGIC 0x9fa0

int copy_mount(int directory, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, directory, path, flags | TREE_CLOEXEC);
}

int attach_mount(int from, int to)
{
    return (int)syscall(SYS_move_mount, from, "", to, "", MOVE_BOTH_EMPTY);
}

int set_attributes(int fd, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation, int namespace_fd)
{
    struct {
        uint64_t attr_set, attr_clr, propagation, userns_fd;
    } attributes = {set, clear, propagation, namespace_fd < 0 ? 0 : (uint64_t)namespace_fd};

    return (int)syscall(SYS_mount_setattr, fd, "", flags | EMPTY_PATH, &attributes, sizeof attributes);
}

int bind_fd(int source, int target)
{
    int tree = copy_mount(source, "", TREE_CLONE | EMPTY_PATH);
    if (tree < 0)
        return -1;
    int result = attach_mount(tree, target);
    close(tree);
    return result;
}

/* Only these of procfs may be covered: anything else could make the container's view of itself a lie. */
static void check_below_proc(const char *path, const char *type)
{
    static const char *const allowed[] = {"cpuinfo",  "diskstats", "meminfo", "stat",
                                          "swaps",    "uptime",    "loadavg", "slabinfo",
                                          "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled"};

    if (strncmp(path, "/proc", 5) != 0 || (path[5] != '/' && path[5] != '\0'))
        return;
    if (path[5] == '\0') {
        if (type != NULL && strcmp(type, "proc") != 0)
            fail_text(EPERM, "only a procfs may be mounted on /proc");
        return;
    }
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(path + 6, allowed[i]) == 0)
            return;
    fail_text(EPERM, "this path cannot be covered, because it is inside /proc");
}

/* The same for where the path has led: an image may hold a link into /proc. */
static void check_target(int fd, const char *type)
{
    char name[32], root[4096], target[4096];
    struct statfs filesystem;

    if (fstatfs(fd, &filesystem) == 0 && filesystem.f_type != PROC_MAGIC)
        return;
    fd_path(name, root_fd);
    ssize_t length = readlink(name, root, sizeof root - 1);
    fd_path(name, fd);
    ssize_t size = readlink(name, target, sizeof target - 1);
    if (length < 0 || size < 0)
        fail("readlink", name);
    target[size] = '\0';
    length -= length == 1; /* the root itself is "/" */
    if (size >= length && memcmp(target, root, (size_t)length) == 0)
        check_below_proc(target + length, type);
}

/* Later steps change the mount through its descriptor (plan/operations/filesystem.py, MOUNT_SLOT). */
static void keep_mount(int fd)
{
    if (*slot(1) >= 0)
        close(*slot(1));
    *slot(1) = fd;
}

/* -1 where a link was made instead of a mount. */
static int made_mount(const struct argument *path, uint64_t number)
{
    if ((int64_t)number < 0)
        return resolve(path->text);
    return *slot(number) < 0 ? -1 : fcntl(*slot(number), F_DUPFD_CLOEXEC, 3);
}

static int mount_on(int fd, const char *source, const char *type, unsigned long flags, const char *data)
{
    char target[32];

    fd_path(target, fd);
    return mount(source, target, type, flags, data[0] != '\0' ? data : NULL);
}

static void copy_entry(int from, int to, const char *name);

static void copy_directory(int from, int to)
{
    struct {
        uint64_t ino;
        int64_t off;
        unsigned short reclen;
        unsigned char type;
        char name[];
    } *entry;
    char buffer[2048] __attribute__((aligned(8)));
    long got;

    while ((got = syscall(SYS_getdents64, from, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < got; at += entry->reclen) {
            entry = (void *)(buffer + at);
            if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
                copy_entry(from, to, entry->name);
        }
    if (got < 0)
        fail("getdents64", "tmpcopyup");
}

static void copy_content(int source, int target)
{
    char block[4096];
    ssize_t got;

    while ((got = read(source, block, sizeof block)) > 0)
        if (write(target, block, (size_t)got) != got)
            fail("write", "tmpcopyup");
    if (got < 0)
        fail("read", "tmpcopyup");
}

static void copy_link(int from, int to, const char *name)
{
    char link[4096];
    ssize_t length = readlinkat(from, name, link, sizeof link - 1);

    if (length < 0)
        fail("readlinkat", name);
    link[length] = '\0';
    if (symlinkat(link, to, name) < 0)
        fail("symlinkat", name);
}

static void copy_entry(int from, int to, const char *name)
{
    struct stat found;

    if (fstatat(from, name, &found, AT_SYMLINK_NOFOLLOW) < 0)
        fail("fstatat", name);
    if (S_ISLNK(found.st_mode)) {
        copy_link(from, to, name);
    } else if (S_ISDIR(found.st_mode) || S_ISREG(found.st_mode)) {
        bool directory = S_ISDIR(found.st_mode);
        if (directory && mkdirat(to, name, 0700) < 0)
            fail("mkdirat", name);
        int source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | (directory ? O_DIRECTORY : 0));
        int target = openat(to, name, directory ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (source < 0 || target < 0)
            fail("openat", name);
        directory ? copy_directory(source, target) : copy_content(source, target);
        if (fchown(target, found.st_uid, found.st_gid) < 0 || fchmod(target, found.st_mode & 07777) < 0)
            fail("fchown", name);
        struct timespec times[2] = {found.st_atim, found.st_mtim};
        (void)futimens(target, times);
        close(source);
        close(target);
        return;
    } else if (mknodat(to, name, found.st_mode, found.st_rdev) < 0) {
        fail("mknodat", name);
    }
    (void)fchownat(to, name, found.st_uid, found.st_gid, AT_SYMLINK_NOFOLLOW);
}

/* Bring a new tmpfs in line with the directory that it covers: its mode and owner, and on demand its content. */
static void dress_tmpfs(int covered, int top, const char *path, uint64_t how)
{
    struct stat under;
    char name[32];

    if (fstat(covered, &under) < 0)
        fail("fstat", path);
    fd_path(name, top);
    int target = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (target < 0)
        fail("open", path);
    if (how & KEEP_MODE) {
        (void)fchown(target, under.st_uid, under.st_gid);
        if (fchmod(target, under.st_mode & 07777) < 0)
            fail("fchmod", path);
    }
    if (how & COPY_UP) {
        fd_path(name, covered);
        int source = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (source < 0)
            fail("open", path);
        copy_directory(source, target);
        close(source);
    }
    close(target);
}

void do_Mount(const struct argument *a)
{
    const char *type = a[0].text, *source = a[1].text, *path = a[2].text, *data = a[4].text, *fallback = a[6].text;
    unsigned long flags = (unsigned long)a[3].number;
    uint64_t how = a[5].number;

    check_below_proc(path, type);
    if (how & REAL_DIRECTORY)
        require_real_directory(path);
    bool existed = (how & (KEEP_MODE | COPY_UP)) != 0;
    if (existed) {
        int found = try_resolve(path, O_DIRECTORY);
        existed = found >= 0;
        if (existed)
            close(found);
    }
    int fd = make_target(path, true);
    check_target(fd, type);
    if (mount_on(fd, source, type, flags, data) < 0) {
        if (fallback[0] == '\0' || (errno != EPERM && errno != EBUSY))
            fail("mount", path);
        int tree = copy_mount(AT_FDCWD, fallback, TREE_CLONE | TREE_RECURSIVE);
        if (tree < 0 || attach_mount(tree, fd) < 0)
            fail("open_tree", fallback);
        (void)set_attributes(tree, TREE_RECURSIVE, flags & 0xF, 0, 0, -1);
        keep_mount(tree);
    } else {
        keep_mount(resolve(path));
        if (existed)
            dress_tmpfs(fd, *slot(1), path, how);
    }
    close(fd);
}

/* The destination itself, even if it is a link. */
static int unfollowed_target(const char *path, bool directory)
{
    int fd = try_resolve(path, O_NOFOLLOW);

    return fd >= 0 || errno != ENOENT ? fd : make_target(path, directory);
}

static void attach_tree(int tree, const char *path, const char *type, uint64_t how)
{
    struct stat found;

    if (fstat(tree, &found) < 0)
        fail("fstat", path);
    bool directory = S_ISDIR(found.st_mode);
    int fd = how & TARGET_NOFOLLOW ? unfollowed_target(path, directory) : make_target(path, directory);
    if (fd < 0)
        fail("openat2", path);
    check_target(fd, type);
    if (attach_mount(tree, fd) < 0)
        fail("move_mount", path);
    close(fd);
    keep_mount(tree);
}

/* Whether the source was a link, and is one in the container now. */
static bool copied_symlink(const char *source, const char *path)
{
    char target[4096], name[256];
    ssize_t size = readlink(source, target, sizeof target - 1);

    if (size < 0)
        return false;
    target[size] = '\0';
    int parent = resolve_parent(path, name, sizeof name);
    if (symlinkat(target, parent, name) < 0 && errno != EEXIST)
        fail("symlinkat", path);
    close(parent);
    keep_mount(-1);
    return true;
}

void do_Bind(const struct argument *a)
{
    const char *source = a[0].text, *path = a[1].text;
    unsigned flags = TREE_CLONE | (a[2].number ? TREE_RECURSIVE : 0);
    struct statfs filesystem;

    if (a[3].number & COPY_SYMLINK && copied_symlink(source, path))
        return;
    int tree = copy_mount(AT_FDCWD, source, flags | (a[3].number & SOURCE_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0));
    if (tree < 0)
        fail("open_tree", source);
    bool procfs = fstatfs(tree, &filesystem) == 0 && filesystem.f_type == PROC_MAGIC;
    check_below_proc(path, procfs ? "proc" : "");
    if (a[3].number & BIND_REAL_DIRECTORY)
        require_real_directory(path);
    attach_tree(tree, path, procfs ? "proc" : "", a[3].number);
}

void do_BindTree(const struct argument *a)
{
    check_below_proc(a[1].text, "");
    attach_tree(*slot(a[0].number), a[1].text, "", 0);
    *slot(a[0].number) = -1;
}

/* statfs names the flags of a mount with its own numbers; the locked ones must stay. */
static unsigned long locked_flags(int fd)
{
    static const struct {
        unsigned long has, flag;
    } known[] = {{ST_RDONLY, MS_RDONLY},   {ST_NOSUID, MS_NOSUID},   {4 /* ST_NODEV */, MS_NODEV},
                 {8 /* ST_NOEXEC */, MS_NOEXEC}, {1024, MS_NOATIME}, {2048, MS_NODIRATIME}, {4096, MS_RELATIME}};
    struct statfs found;
    unsigned long flags = 0;

    if (fstatfs(fd, &found) < 0)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((unsigned long)found.f_flags & known[i].has)
            flags |= known[i].flag;
    return flags;
}

/* mount_setattr rather than mount(2): it needs no path, so it works after the pivot as well. */
static int change_flags(int fd, unsigned long flags)
{
    uint64_t set = (flags & MS_RDONLY ? 1 : 0) | (flags & MS_NOSUID ? 2 : 0) | (flags & MS_NODEV ? 4 : 0) |
                   (flags & MS_NOEXEC ? 8 : 0) | (flags & MS_NODIRATIME ? 0x80 : 0) |
                   (flags & 0x100 /* MS_NOSYMFOLLOW */ ? 0x200000 : 0);
    uint64_t clear = (1 | 2 | 4 | 8 | 0x80 | 0x200000) & ~set;
    const unsigned long access_time = MS_NOATIME | MS_STRICTATIME | MS_RELATIME;

    if (flags & access_time) {
        set |= flags & MS_NOATIME ? 0x10 : flags & MS_STRICTATIME ? 0x20 : 0;
        clear |= 0x70;
    }
    return set_attributes(fd, 0, set, clear, 0, -1);
}

void remount_bind(int fd, unsigned long flags, unsigned long cleared, const char *path)
{
    if (change_flags(fd, flags) == 0)
        return;
    unsigned long locked = locked_flags(fd);
    if (errno != EPERM || (locked & cleared) != 0 || change_flags(fd, flags | locked) < 0)
        fail("mount_setattr", path);
}

void do_RemountFlags(const struct argument *a)
{
    int fd = made_mount(&a[0], a[3].number);

    if (fd < 0)
        return;
    remount_bind(fd, (unsigned long)a[1].number, (unsigned long)a[2].number, a[0].text);
    close(fd);
}

void do_RemountFilesystem(const struct argument *a)
{
    int fd = resolve(a[0].text);

    if (mount_on(fd, "none", NULL, MS_REMOUNT | (unsigned long)a[1].number, a[2].text) < 0)
        fail("mount", a[0].text);
    close(fd);
}

void do_SetMountAttributes(const struct argument *a)
{
    int fd = made_mount(&a[0], a[4].number);

    if (fd < 0)
        return;
    if (set_attributes(fd, a[3].number ? TREE_RECURSIVE : 0, a[1].number, a[2].number, 0, -1) < 0)
        fail("mount_setattr", a[0].text);
    close(fd);
}

void do_SetPropagation(const struct argument *a)
{
    int fd = made_mount(&a[0], a[2].number);

    if (fd < 0)
        return;
    if (set_attributes(fd, a[1].number & MS_REC ? TREE_RECURSIVE : 0, 0, 0, a[1].number & ~(uint64_t)MS_REC, -1) < 0)
        fail("mount_setattr", a[0].text);
    close(fd);
}

/* Options of a filesystem as mount(2) takes them: key or key=value, separated by commas. */
static int configure(int filesystem, const char *options)
{
    char option[1024];

    while (*options != '\0') {
        size_t size = strcspn(options, ",");
        if (size >= sizeof option) {
            errno = E2BIG;
            return -1;
        }
        memcpy(option, options, size);
        option[size] = '\0';
        options += size + (options[size] == ',');
        char *value = strchr(option, '=');
        if (value != NULL)
            *value++ = '\0';
        if (size > 0 && syscall(SYS_fsconfig, filesystem, value != NULL ? 1 : 0, option, value, 0) < 0)
            return -1;
    }
    return 0;
}

void do_AddFilesystem(const struct argument *a)
{
    const char *type = a[0].text, *path = a[2].text;
    unsigned long flags = (unsigned long)a[3].number;

    check_below_proc(path, type);
    int filesystem = (int)syscall(SYS_fsopen, type, 1);
    if (filesystem < 0)
        fail("fsopen", type);
    if (syscall(SYS_fsconfig, filesystem, 1, "source", a[1].text, 0) < 0 || configure(filesystem, a[4].text) < 0)
        fail("fsconfig", path);
    if (syscall(SYS_fsconfig, filesystem, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) < 0)
        fail("fsconfig", path);
    int mounted = (int)syscall(SYS_fsmount, filesystem, 1, 0);
    if (mounted < 0 || change_flags(mounted, flags) < 0)
        fail("fsmount", path);
    int target = make_target(path, true);
    if (attach_mount(mounted, target) < 0)
        fail("move_mount", path);
    close(target);
    close(mounted);
    close(filesystem);
}

/* By name in its directory: the procfs that is seen in the container's mounts may be anything. */
void do_Unmount(const struct argument *a)
{
    char name[256];
    int parent = resolve_parent(a[0].text, name, sizeof name);

    if (fchdir(parent) < 0)
        fail("fchdir", a[0].text);
    if (umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        fail("umount2", a[0].text);
    close(parent);
}
