/* Device nodes, links and directories in the container's root. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "executor.h"

static bool is_device(const struct stat *found, uint64_t mode, uint64_t major, uint64_t minor)
{
    return (found->st_mode & S_IFMT) == ((mode_t)mode & S_IFMT) &&
           (S_ISFIFO((mode_t)mode) || found->st_rdev == makedev((unsigned)major, (unsigned)minor));
}

/* What the host has at `source` must be the device that was asked for. */
static void bind_node(const char *source, const char *path, uint64_t mode, uint64_t major, uint64_t minor)
{
    struct stat found;
    int node = open(source, O_PATH | O_CLOEXEC);

    if (node < 0 || fstat(node, &found) < 0)
        fail("open", source);
    if (!is_device(&found, mode, major, minor))
        fail_text(EINVAL, "the host's file of that name is not this device");
    int target = make_target(path, false);
    if (bind_fd(node, target) < 0)
        fail("move_mount", path);
    close(target);
    close(node);
}

/* Owner and mode through the descriptor of the node just made or found, never by path again. */
static void dress_node(int node, const struct argument *a)
{
    mode_t mode = (mode_t)a[1].number;
    struct stat found;

    if (fstat(node, &found) < 0)
        fail("fstat", a[0].text);
    if (!is_device(&found, mode, a[2].number, a[3].number))
        fail_text(EEXIST, "the file that is there already is not this device");
    char name[32];
    fd_path(name, node);
    if (chown(name, (uid_t)a[4].number, (gid_t)a[5].number) < 0)
        fail("chown", a[0].text);
    if (chmod(name, mode & 07777) < 0)
        fail("chmod", a[0].text);
}

void do_MakeDevice(const struct argument *a)
{
    char name[256];
    int parent = resolve_parent(a[0].text, name, sizeof name);
    dev_t number = makedev((unsigned)a[2].number, (unsigned)a[3].number);

    if (mknodat(parent, name, (mode_t)a[1].number, number) < 0 && errno != EEXIST) {
        if ((errno != EPERM && errno != EACCES) || a[6].text[0] == '\0')
            fail("mknodat", a[0].text);
        close(parent);
        bind_node(a[6].text, a[0].text, a[1].number, a[2].number, a[3].number);
        return;
    }
    int node = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (node < 0)
        fail("openat", a[0].text);
    dress_node(node, a);
    close(node);
    close(parent);
}

void do_BindDevice(const struct argument *a)
{
    bind_node(a[0].text, a[1].text, a[2].number, a[3].number, a[4].number);
}

void do_MakeSymlink(const struct argument *a)
{
    char name[256];
    struct stat found;
    int parent = resolve_parent(a[1].text, name, sizeof name);

    if (a[2].number && fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        unlinkat(parent, name, S_ISDIR(found.st_mode) ? AT_REMOVEDIR : 0) < 0)
        fail("unlinkat", a[1].text);
    if (symlinkat(a[0].text, parent, name) < 0 && errno != EEXIST)
        fail("symlinkat", a[1].text);
    close(parent);
}

void do_MakeDirectory(const struct argument *a)
{
    close(make_directory(a[0].text, (mode_t)a[1].number));
}
