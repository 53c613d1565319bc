/* The program of the container: found, waited for, executed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "executor.h"
#include "kernel_call.h"

#define DEEPEST_STACK ((uintptr_t)64 << 10)

static char executable[4096];
static char home[4096];

_Noreturn static void refuse(int error, const char *name, const char *what, const char *path, const char *why)
{
    char text[460];
    size_t length = append(text, sizeof text, 0, "exec: \"");

    length = append(text, sizeof text, length, name);
    length = append(text, sizeof text, length, "\": ");
    length = append(text, sizeof text, length, what);
    length = append(text, sizeof text, length, path);
    append(text, sizeof text, length, why);
    fail_text(error, text);
}

/* 0 if `path` can be executed, else why not. */
static int try_executable(const char *path)
{
    struct stat found;

    if (stat(path, &found) < 0)
        return errno;
    if (S_ISDIR(found.st_mode))
        return EISDIR;
    if (access(path, X_OK) < 0)
        return errno;
    return 0;
}

static void search(const char *name, const char *directories)
{
    int worst = ENOENT;

    for (const char *at = directories; *at != '\0';) {
        size_t size = strcspn(at, ":");
        size_t length = 0;
        executable[0] = '\0';
        if (size == 0)
            length = append(executable, sizeof executable, 0, ".");
        else if (size < sizeof executable - 2) {
            memcpy(executable, at, size);
            executable[length = size] = '\0';
        }
        length = append(executable, sizeof executable, length, "/");
        append(executable, sizeof executable, length, name);
        int error = try_executable(executable);
        if (error == 0)
            return;
        if (error == EACCES)
            worst = EACCES;
        at += size + (at[size] == ':');
    }
    if (worst == EACCES)
        refuse(EACCES, name, "permission denied", "", "");
    refuse(ENOENT, name, "executable file not found in $PATH", "", "");
}

void do_FindExecutable(const struct argument *a)
{
    const char *name = a[0].text;

    if (strchr(name, '/') == NULL) {
        search(name, a[1].text);
        return;
    }
    int error = try_executable(name);
    if (error == ENOENT || error == ENOTDIR || error == ELOOP)
        refuse(error, name, "stat ", name, error == ENOENT ? ": no such file or directory" : ": not a directory");
    /* Engines derive exit code 126 from the last words; older ones do not know the first. */
    if (error == EISDIR)
        refuse(error, name, "is a directory: permission denied", "", "");
    if (error != 0)
        refuse(error, name, error_text(error), "", "");
    append(executable, sizeof executable, 0, name);
}

/* One line of /etc/passwd: name:password:uid:gid:comment:home:shell. */
static bool home_in_line(const char *line, uint64_t uid)
{
    const char *fields[6] = {line};
    int count = 1;

    for (const char *at = line; *at != '\0' && count < 6; at++)
        if (*at == ':')
            fields[count++] = at + 1;
    if (count < 6 || *fields[2] < '0' || *fields[2] > '9' || strtoull(fields[2], NULL, 10) != uid)
        return false;
    size_t size = strcspn(fields[5], ":");
    if (size == 0 || size >= sizeof home - 6)
        return false;
    memcpy(home + 5, fields[5], size);
    home[5 + size] = '\0';
    return true;
}

void do_FindHome(const struct argument *a)
{
    char line[1024];
    size_t length = 0;
    bool found = false;
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char block[4096];
    ssize_t got = 0;

    append(home, sizeof home, 0, "HOME=/");
    while (fd >= 0 && !found && (got = read(fd, block, sizeof block)) > 0)
        for (ssize_t i = 0; i < got && !found; i++) {
            if (block[i] != '\n' && length + 1 < sizeof line) {
                line[length++] = block[i];
                continue;
            }
            line[length] = '\0';
            length = 0;
            found = home_in_line(line, a[0].number);
        }
    line[length] = '\0';
    if (!found && length != 0)
        (void)home_in_line(line, a[0].number);
    if (fd >= 0)
        close(fd);
}

/*
 * A container may wait for its start for a long time: give back what of this program's memory comes back by
 * itself when it is touched (constants) or is dead (the stack below this function).
 */
static void release_pages(void)
{
    const ElfW(Phdr) *headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t stack = ((uintptr_t)__builtin_frame_address(0) & ~(page - 1)) - page;

    /* Backwards, because the headers themselves lie in the first segment. */
    for (unsigned long left = getauxval(AT_PHNUM); left > 0; left--) {
        const ElfW(Phdr) *each = &headers[left - 1];
        if (each->p_type == PT_LOAD && each->p_flags == PF_R)
            (void)madvise((void *)(each->p_vaddr & ~(page - 1)), each->p_memsz, MADV_DONTNEED);
    }
    /* Most of this range is not mapped at all, which is an error that changes nothing. */
    (void)madvise((void *)(stack - DEEPEST_STACK), DEEPEST_STACK, MADV_DONTNEED);
}

/*
 * Wait for a byte without the rest of the code.  This function has a segment of its own (build.sh places it) and
 * calls nothing, because the kernel maps sixteen pages around the one that is touched.
 */
static __attribute__((section(".waiting"), noinline, noclone)) long wait_apart(
    int fd, char *byte, uintptr_t code, size_t size)
{
    long got;

    (void)call_kernel(SYS_madvise, (long)code, (long)size, MADV_DONTNEED);
    do
        got = call_kernel(SYS_read, fd, (long)byte, 1);
    while (got == -EINTR);
    return got;
}

/* The segment that holds the code but for the function above, if it lies in another; else none. */
static void find_code(uintptr_t *start, size_t *size)
{
    const ElfW(Phdr) *headers = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    uintptr_t waiting = (uintptr_t)wait_apart, code = (uintptr_t)find_code;

    *start = *size = 0;
    for (unsigned long index = 0; index < getauxval(AT_PHNUM); index++) {
        const ElfW(Phdr) *each = &headers[index];
        if (each->p_type == PT_LOAD && code - each->p_vaddr < each->p_memsz && waiting - each->p_vaddr >= each->p_memsz) {
            *start = each->p_vaddr & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
            *size = each->p_vaddr + each->p_memsz - *start;
        }
    }
}

/* The fifo is open for reading and writing here, so there is no end of file: only `start` writes. */
void do_AwaitStart(const struct argument *a)
{
    char byte;
    uintptr_t code;
    size_t size;

    report_detach((int)a[1].number);
    find_code(&code, &size);
    release_pages();
    long got = wait_apart((int)a[0].number, &byte, code, size);
    if (got < 0)
        errno = (int)-got;
    if (got != 1)
        fail("read", "exec.fifo");
}

/* By the raw call: the C library's own refuses the two real-time signals that it keeps for threads, and a caller
   may have left even those ignored. */
static void default_signals(void)
{
    const unsigned long standard[4] = {0}; /* struct sigaction of the kernel: SIG_DFL, no flags, an empty mask */
    const uint64_t none = 0;

    for (int number = 1; number < 65; number++)
        (void)syscall(SYS_rt_sigaction, number, standard, NULL, sizeof none);
    (void)syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &none, NULL, sizeof none);
}

/* A script whose interpreter is missing is the most common "no such file" that names a file which exists. */
static void explain_missing(const char *path, char *text, size_t size)
{
    char head[128];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, head, sizeof head - 1) : -1;
    size_t length = append(text, size, 0, "exec ");

    length = append(text, size, length, path);
    length = append(text, size, length, ": no such file or directory");
    if (got < 4)
        return;
    head[got] = '\0';
    if (memcmp(head, "#!", 2) == 0) {
        head[strcspn(head, "\n")] = '\0';
        length = append(text, size, length, ": its interpreter ");
        length = append(text, size, length, head + 2 + strspn(head + 2, " \t"));
        append(text, size, length, " is not in the image");
    } else if (memcmp(head, "\177ELF", 4) == 0) {
        append(text, size, length, ": its dynamic loader is not in the image");
    }
}

_Noreturn void execute_path(const char *path, char **arguments, char **environment)
{
    char text[460];

    default_signals();
    execve(path, arguments, environment);
    int error = errno;
    if (error == ENOENT) {
        explain_missing(path, text, sizeof text);
    } else {
        size_t length = append(text, sizeof text, 0, "exec ");
        length = append(text, sizeof text, length, path);
        length = append(text, sizeof text, length, ": ");
        append(text, sizeof text, length, error_text(error));
    }
    fail_text(error, text);
}

void do_Execute(const struct argument *a)
{
    char **arguments = vector_space;
    size_t count = list_to_vector(&a[0], arguments);
    char **environment = arguments + count + 1;

    count = list_to_vector(&a[1], environment);
    if (home[0] != '\0') {
        environment[count] = home;
        environment[count + 1] = NULL;
    }
    execute_path(executable, arguments, environment);
}
