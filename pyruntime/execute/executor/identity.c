/* Session, names, user, groups, capabilities, working directory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "executor.h"

void do_NewSession(const struct argument *a)
{
    (void)a;
    if (setsid() < 0)
        fail("setsid", "");
}

void do_JoinKeyring(const struct argument *a)
{
    long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, a[0].text, 0, 0, 0);

    if (ring < 0) {
        /* Kernels without keys, and engines whose seccomp profile forbids keyctl to their nested runtimes. */
        if (errno != ENOSYS && errno != EPERM)
            fail("keyctl", a[0].text);
        report_notice("no session keyring: keyctl is not available");
        return;
    }
    if (a[1].number == 0)
        return;
    char description[256];
    long length = syscall(SYS_keyctl, KEYCTL_DESCRIBE, ring, description, sizeof description - 1, 0);
    if (length < 0)
        fail("keyctl", "KEYCTL_DESCRIBE");
    description[length < 255 ? length : 255] = '\0';
    uint32_t permissions = 0;
    int field = 0; /* type;uid;gid;permissions;description */
    for (const char *at = description; *at != '\0' && field < 4; at++) {
        if (*at == ';')
            field++;
        else if (field == 3)
            permissions = permissions << 4 | (uint32_t)(*at <= '9' ? *at - '0' : (*at | 32) - 'a' + 10);
    }
    if (syscall(SYS_keyctl, KEYCTL_SETPERM, ring, permissions | (uint32_t)a[1].number, 0, 0) < 0)
        fail("keyctl", "KEYCTL_SETPERM");
}

void do_RaiseLoopback(const struct argument *a)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)a;
    if (fd < 0)
        fail("socket", "");
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        fail("ioctl", "lo");
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        fail("ioctl", "lo");
    close(fd);
}

void do_SetHostname(const struct argument *a)
{
    if (sethostname(a[0].text, a[0].size) < 0)
        fail("sethostname", a[0].text);
}

void do_SetDomainname(const struct argument *a)
{
    if (setdomainname(a[0].text, a[0].size) < 0)
        fail("setdomainname", a[0].text);
}

static bool is_null(int fd)
{
    struct stat found;

    return fstat(fd, &found) == 0 && S_ISCHR(found.st_mode) && found.st_rdev == makedev(1, 3);
}

void do_ReopenNullStdio(const struct argument *a)
{
    (void)a;
    for (int fd = 0; fd < 3; fd++) {
        if (!is_null(fd))
            continue;
        /* Looked at before it is opened: to open another device may already do something. */
        int handle = open("/dev/null", O_PATH | O_CLOEXEC | O_NOFOLLOW);
        if (handle < 0)
            return; /* an image without /dev keeps the host's, which is harmless */
        int own = is_null(handle) ? open("/dev/null", O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
        if (own < 0 || !is_null(own))
            fail_text(EINVAL, "/dev/null of the container is not the null device");
        if (dup2(own, fd) < 0)
            fail("dup2", "/dev/null");
        close(own);
        close(handle);
    }
}

void do_OwnStandardStreams(const struct argument *a)
{
    struct stat found;

    for (int fd = 0; fd < 3; fd++) {
        if (fstat(fd, &found) < 0 || is_null(fd) || found.st_uid == (uid_t)a[0].number)
            continue;
        /* Sockets, files of other users, read-only filesystems: the streams work, only reopening them does not. */
        if (fchown(fd, (uid_t)a[0].number, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM && errno != EROFS &&
            errno != ENOSYS)
            fail("fchown", "standard streams");
    }
}

/* A directory outside the root shows as "(unreachable)", one that is gone as ENOENT (CVE-2024-21626). */
static void verify_directory(const char *path)
{
    char current[4096];

    if (syscall(SYS_getcwd, current, sizeof current) < 0) {
        if (errno == ERANGE)
            return;
        fail("getcwd", path);
    }
    if (current[0] != '/')
        fail_text(EINVAL, "current working directory is outside of container mount namespace root");
}

void do_ChangeDirectory(const struct argument *a)
{
    static bool verified;

    if (chdir(a[0].text) < 0) {
        if (!a[1].number || (errno != EACCES && errno != EPERM))
            fail("chdir", a[0].text);
        return;
    }
    /* What the first attempt could not enter has not been verified either. */
    if (!a[2].number || !verified)
        verify_directory(a[0].text);
    verified = true;
}

void do_SetUmask(const struct argument *a)
{
    umask((mode_t)a[0].number);
}

void do_KeepBounding(const struct argument *a)
{
    for (int capability = 0; capability < 64; capability++) {
        if (a[0].number >> capability & 1 || prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
            continue;
        if (errno == EINVAL)
            return; /* past the last one that this kernel knows */
        /* Without the right to drop it is an error only if there is something to drop. */
        int error = errno;
        if (prctl(PR_CAPBSET_READ, capability, 0, 0, 0) > 0) {
            errno = error;
            fail("prctl", "PR_CAPBSET_DROP");
        }
    }
}

void do_BecomeUser(const struct argument *a)
{
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        fail("prctl", "PR_SET_KEEPCAPS");
    /* The raw calls: the C library's wrappers would look for threads to change as well. */
    if (!a[3].number && syscall(SYS_setgroups, a[2].size / 4, a[2].text) < 0 && (a[2].size != 0 || errno != EPERM))
        fail("setgroups", "");
    if (syscall(SYS_setresgid, (gid_t)a[1].number, (gid_t)a[1].number, (gid_t)a[1].number) < 0)
        fail("setresgid", "");
    if (syscall(SYS_setresuid, (uid_t)a[0].number, (uid_t)a[0].number, (uid_t)a[0].number) < 0)
        fail("setresuid", "");
}

static int set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
    };

    return (int)syscall(SYS_capset, &header, data);
}

void do_SetCapabilities(const struct argument *a)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];

    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        fail("prctl", "PR_SET_KEEPCAPS");
    if (syscall(SYS_capget, &header, data) < 0)
        fail("capget", "");
    uint64_t held = data[0].permitted | (uint64_t)data[1].permitted << 32;
    uint64_t inherited = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    uint64_t permitted = a[1].number & held;
    uint64_t inheritable = a[2].number & inherited;
    for (int capability = 0; capability < 64; capability++) {
        uint64_t bit = 1ULL << capability;
        if ((a[2].number & ~inherited & held & bit) != 0 && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) > 0)
            inheritable |= bit;
    }
    if (permitted != a[1].number || inheritable != a[2].number)
        report_notice("some capabilities of the config cannot be granted");
    if (set_capabilities(a[0].number & permitted, permitted, inheritable) < 0)
        fail("capset", "");
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return; /* a kernel without ambient capabilities */
    for (int capability = 0; capability < 64; capability++)
        if (a[3].number >> capability & 1)
            (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
}
