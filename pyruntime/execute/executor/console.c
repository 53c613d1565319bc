/* The container's terminal: a pty of its own devpts (CVE-2025-52565: everything by descriptor). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "executor.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

static int open_master(void)
{
    struct open_how how = {.flags = O_RDWR | O_NOCTTY | O_CLOEXEC,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    struct statfs filesystem;
    struct stat found;
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int master = (int)syscall(SYS_openat2, root, "dev/pts/ptmx", &how, sizeof how);

    if (master < 0)
        fail("openat2", "/dev/pts/ptmx");
    close(root);
    if (fstatfs(master, &filesystem) < 0 || filesystem.f_type != 0x1cd1 || fstat(master, &found) < 0 ||
        found.st_rdev != makedev(5, 2))
        fail_text(EINVAL, "/dev/pts/ptmx is not the multiplexer of a devpts");
    return master;
}

static void send_master(int socket_fd, int master, unsigned number)
{
    char name[32];
    size_t length = append(name, sizeof name, 0, "/dev/pts/");
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;

    length = append_number(name, sizeof name, length, number);
    struct iovec part = {name, length};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &master, sizeof(int));
    if (sendmsg(socket_fd, &packet, MSG_NOSIGNAL) < 0)
        fail("sendmsg", "the console socket");
}

/* /dev/console itself, made if missing: a link would lead the terminal elsewhere (CVE-2025-52565). */
static int console_target(void)
{
    struct stat found;
    int target = try_resolve("/dev/console", O_NOFOLLOW);

    if (target < 0 && errno == ENOENT)
        return make_target("/dev/console", false);
    if (target < 0 || fstat(target, &found) < 0)
        fail("openat2", "/dev/console");
    if (S_ISLNK(found.st_mode))
        fail_text(ELOOP, "/dev/console of the container is a symbolic link: refusing to put the terminal there");
    return target;
}

void do_OpenConsole(const struct argument *a)
{
    int unlock = 0;
    unsigned number = 0;
    int master = open_master();

    if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
        fail("ioctl", "TIOCSPTLCK");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        fail("ioctl", "TIOCGPTPEER");
    if (fchown(slave, (uid_t)a[3].number, (gid_t)-1) < 0)
        fail("fchown", "the console");
    struct winsize size = {.ws_row = (unsigned short)a[1].number, .ws_col = (unsigned short)a[2].number};
    if ((size.ws_row != 0 || size.ws_col != 0) && ioctl(slave, TIOCSWINSZ, &size) < 0)
        fail("ioctl", "TIOCSWINSZ");
    if (a[4].number) {
        root_fd = root_fd >= 0 ? root_fd : open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int target = console_target();
        if (bind_fd(slave, target) < 0)
            fail("move_mount", "/dev/console");
        close(target);
    }
    send_master((int)a[0].number, master, number);
    close(master);
    if (ioctl(slave, TIOCSCTTY, 0) < 0)
        fail("ioctl", "TIOCSCTTY");
    for (int fd = 0; fd < 3; fd++)
        if (dup2(slave, fd) < 0)
            fail("dup2", "the console");
    if (slave > 2)
        close(slave);
}
