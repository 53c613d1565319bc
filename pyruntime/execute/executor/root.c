/* The container's root: bound, entered, and what the kernel shows in it hidden or frozen. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "executor.h"

#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#define RECURSIVE 0x8000
#define EMPTY_PATH 0x1000

void do_SetHostPropagation(const struct argument *a)
{
    if (mount(NULL, a[0].text, NULL, (unsigned long)a[1].number, NULL) < 0)
        fail("mount", a[0].text);
}

/* The mount point above is found by trying: only mount points accept a change of propagation. */
void do_MakeParentPrivate(const struct argument *a)
{
    char path[4096];
    size_t length = append(path, sizeof path, 0, a[0].text);

    while (mount(NULL, path, NULL, MS_PRIVATE, NULL) < 0) {
        if (errno != EINVAL || strcmp(path, "/") == 0)
            fail("mount", path);
        while (length > 0 && path[length - 1] != '/')
            length--;
        while (length > 1 && path[length - 1] == '/')
            length--;
        path[length] = '\0';
    }
}

static int bind_tree(const char *source, const char *directory)
{
    int tree = copy_mount(AT_FDCWD, source, 1 | RECURSIVE);

    if (tree < 0)
        fail("open_tree", source);
    int target = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (target < 0)
        fail("open", directory);
    if (attach_mount(tree, target) < 0)
        fail("move_mount", directory);
    close(target);
    return tree;
}

void do_BindHost(const struct argument *a)
{
    close(bind_tree(a[0].text, a[1].text));
}

void do_BindRoot(const struct argument *a)
{
    /* The descriptor of the tree is now that of the mount on top. */
    root_fd = bind_tree(a[0].text, a[0].text);
}

static void enter_new_root(void)
{
    int old = root_fd;

    root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        fail("open", "/");
    close(old);
}

void do_EnterRoot(const struct argument *a)
{
    (void)a;
    root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        fail("open", "/");
}

void do_PivotRoot(const struct argument *a)
{
    (void)a;
    int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (old < 0 || fchdir(root_fd) < 0)
        fail("fchdir", "the root filesystem");
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        fail("pivot_root", "");
    /* The old root lies over the new one: make it a slave, so that unmounting it reaches no host, and take it off. */
    if (fchdir(old) < 0 || mount(NULL, ".", NULL, MS_SLAVE | MS_REC, NULL) < 0)
        fail("mount", "the old root");
    if (umount2(".", MNT_DETACH) < 0)
        fail("umount2", "the old root");
    if (chdir("/") < 0)
        fail("chdir", "/");
    close(old);
    enter_new_root();
}

void do_MoveRoot(const struct argument *a)
{
    (void)a;
    if (fchdir(root_fd) < 0)
        fail("fchdir", "the root filesystem");
    /* Without a pivot the host's kernel files stay reachable below: take them off first. */
    (void)umount2("/proc", MNT_DETACH);
    (void)umount2("/sys", MNT_DETACH);
    if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
        fail("mount", "MS_MOVE of the root");
    if (chroot(".") < 0 || chdir("/") < 0)
        fail("chroot", ".");
    enter_new_root();
}

void do_ChangeRoot(const struct argument *a)
{
    (void)a;
    if (fchdir(root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
        fail("chroot", "the root filesystem");
    enter_new_root();
}

void do_SetRootPropagation(const struct argument *a)
{
    uint64_t flags = a[0].number;

    if (set_attributes(root_fd, flags & MS_REC ? RECURSIVE : 0, 0, 0, flags & ~(uint64_t)MS_REC, -1) < 0)
        fail("mount_setattr", "/");
}

void do_RemountRootReadonly(const struct argument *a)
{
    (void)a;
    if (set_attributes(root_fd, 0, 1 /* MOUNT_ATTR_RDONLY */, 0, 0, -1) < 0)
        fail("mount_setattr", "/");
}

void do_ReadonlyPath(const struct argument *a)
{
    int fd = try_resolve(a[0].text, 0);

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return;
    if (fd < 0)
        fail("openat2", a[0].text);
    int tree = copy_mount(fd, "", 1 | RECURSIVE | EMPTY_PATH);
    if (tree < 0)
        fail("open_tree", a[0].text);
    if (set_attributes(tree, 0, 1, 0, 0, -1) < 0)
        fail("mount_setattr", a[0].text);
    if (attach_mount(tree, fd) < 0)
        fail("move_mount", a[0].text);
    close(tree);
    close(fd);
}

/* A character device 1:3 and nothing else: the image may hold a link there (CVE-2025-31133). */
static int verified_null(void)
{
    static int null = -1;
    struct stat found;

    if (null >= 0)
        return null;
    null = try_resolve("/dev/null", O_NOFOLLOW);
    if (null < 0)
        fail("openat2", "/dev/null");
    if (fstat(null, &found) < 0 || !S_ISCHR(found.st_mode) || found.st_rdev != makedev(1, 3))
        fail_text(EINVAL, "/dev/null of the container is not the null device: refusing to mask with it");
    return null;
}

static int empty_directory(void)
{
    int filesystem = (int)syscall(SYS_fsopen, "tmpfs", 1);

    if (filesystem < 0)
        return -1;
    (void)syscall(SYS_fsconfig, filesystem, 1, "size", "0", 0);
    (void)syscall(SYS_fsconfig, filesystem, 1, "nr_blocks", "1", 0);
    (void)syscall(SYS_fsconfig, filesystem, 1, "nr_inodes", "1", 0);
    int mounted = -1;
    if (syscall(SYS_fsconfig, filesystem, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) == 0)
        mounted = (int)syscall(SYS_fsmount, filesystem, 1, 1 | 2 | 4 | 8 /* ro nosuid nodev noexec */);
    close(filesystem);
    return mounted;
}

/* One empty tmpfs serves all masked directories: the first is mounted, the others are binds of it. */
static void mask_directory(int fd, const char *path)
{
    static int empty = -1;

    if (empty >= 0) {
        if (bind_fd(empty, fd) < 0)
            fail("move_mount", path);
        return;
    }
    empty = empty_directory();
    if (empty < 0)
        fail("fsmount", path);
    if (attach_mount(empty, fd) < 0)
        fail("move_mount", path);
}

void do_MaskPath(const struct argument *a)
{
    struct stat found;
    int fd = try_resolve(a[0].text, 0);

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return;
    if (fd < 0 || fstat(fd, &found) < 0)
        fail("openat2", a[0].text);
    if (S_ISDIR(found.st_mode))
        mask_directory(fd, a[0].text);
    else if (bind_fd(verified_null(), fd) < 0)
        fail("move_mount", a[0].text);
    close(fd);
}
