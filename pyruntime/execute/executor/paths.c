/* The one door to paths inside the container: openat2 below `root_fd`, links resolved in that root. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "executor.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

int root_fd = -1;

static int open_in(int directory, const char *path, uint64_t flags, uint64_t resolve_flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve_flags};
    int fd;

    /* EAGAIN: a rename raced with the walk; asking again is what openat2(2) advises. */
    for (int tries = 0; tries < 64; tries++) {
        fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return fd;
}

int try_resolve(const char *path, uint64_t flags)
{
    while (*path == '/')
        path++;
    return open_in(root_fd, *path != '\0' ? path : ".", O_PATH | flags, IN_ROOT);
}

int resolve(const char *path)
{
    int fd = try_resolve(path, 0);

    if (fd < 0)
        fail("openat2", path);
    return fd;
}

static int walk(const char *path, mode_t mode);

/* A link to what does not exist yet: make its target, in the root like every other path. */
static int follow_dangling(int parent, const char *so_far, const char *name, mode_t mode)
{
    static int depth;
    char target[4096], path[8192];
    ssize_t size = readlinkat(parent, name, target, sizeof target - 1);

    if (size <= 0 || depth >= 40) {
        errno = size <= 0 ? ENOENT : ELOOP;
        return -1;
    }
    target[size] = '\0';
    size_t length = 0;
    if (target[0] != '/') {
        length = append(path, sizeof path, 0, so_far);
        while (length > 0 && path[length - 1] != '/')
            length--;
    }
    append(path, sizeof path, length, target);
    depth++;
    int fd = walk(path, mode);
    depth--;
    return fd;
}

/* Make one missing directory below `parent`, or enter one that is there (also through a link in the root). */
static int enter(int parent, const char *so_far, const char *name, mode_t mode)
{
    int fd = try_resolve(so_far, O_DIRECTORY);

    if (fd >= 0 || errno != ENOENT)
        return fd;
    if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)
        return -1;
    fd = try_resolve(so_far, O_DIRECTORY);
    return fd < 0 && errno == ENOENT ? follow_dangling(parent, so_far, name, mode) : fd;
}

/* Walk `path`, making what is missing; returns an O_PATH descriptor of the last directory. */
static int walk(const char *path, mode_t mode)
{
    char so_far[4096], name[256];
    size_t length = 0;
    int at = dup(root_fd);

    so_far[0] = '\0';
    while (at >= 0) {
        while (*path == '/')
            path++;
        size_t size = strcspn(path, "/");
        if (size == 0)
            return at;
        if (size >= sizeof name || length + size + 2 > sizeof so_far) {
            close(at);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path, size);
        name[size] = '\0';
        so_far[length++] = '/';
        memcpy(so_far + length, path, size);
        length += size;
        so_far[length] = '\0';
        path += size;
        int next = enter(at, so_far, name, mode);
        close(at);
        at = next;
    }
    return -1;
}

int make_directory(const char *path, mode_t mode)
{
    int fd = try_resolve(path, O_DIRECTORY);

    if (fd < 0 && errno == ENOENT)
        fd = walk(path, mode);
    if (fd < 0)
        fail("mkdir", path);
    return fd;
}

/* The directory that holds `path` (made if missing) and the last component. */
int resolve_parent(const char *path, char *name, size_t size)
{
    char parent[4096];
    size_t end = strlen(path);

    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    if (end - start >= size || start >= sizeof parent || end == start) {
        errno = end == start ? EINVAL : ENAMETOOLONG;
        fail("openat2", path);
    }
    memcpy(name, path + start, end - start);
    name[end - start] = '\0';
    memcpy(parent, path, start);
    parent[start] = '\0';
    return make_directory(parent, 0755);
}

/* A mount point: an existing path of any kind, else a new directory or an empty file. */
int make_target(const char *path, bool directory)
{
    struct stat root, found;
    char name[256];
    int fd = try_resolve(path, 0);

    if (fd < 0 && errno != ENOENT)
        fail("openat2", path);
    if (fd < 0 && directory)
        fd = make_directory(path, 0755);
    if (fd < 0) {
        int parent = resolve_parent(path, name, sizeof name);
        int file = openat(parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0644);
        if (file < 0 && errno != EEXIST)
            fail("openat", path);
        if (file >= 0)
            close(file);
        close(parent);
        fd = resolve(path);
    }
    if (fstat(root_fd, &root) == 0 && fstat(fd, &found) == 0 && root.st_dev == found.st_dev &&
        root.st_ino == found.st_ino) {
        errno = EINVAL;
        fail("mount over the root itself", path);
    }
    return fd;
}

/* proc and sysfs must sit on real directories: a link would put them elsewhere (CVE-2019-19921, CVE-2023-27561). */
void require_real_directory(const char *path)
{
    while (*path == '/')
        path++;
    int fd = open_in(root_fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW,
                     RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);

    if (fd < 0 && errno != ENOENT) {
        if (errno == ELOOP || errno == ENOTDIR)
            fail_text(errno, "it must be mounted on ordinary directory, not on or below a symbolic link");
        fail("openat2", path);
    }
    if (fd >= 0)
        close(fd);
}

void fd_path(char buffer[32], int fd)
{
    size_t length = append(buffer, 32, 0, "/proc/self/fd/");
    append_number(buffer, 32, length, (uint64_t)fd);
}
