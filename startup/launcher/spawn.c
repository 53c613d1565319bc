/*
 * Spawning the executor without waiting for it.
 *
 * posix_spawn(3) holds the caller until the new program is there, for a third of a millisecond.  Here both go on at once:
 * until its execve the child shares our memory, but not our stack and descriptors, and touches nothing else that
 * we would change.  It makes system calls and nothing more, for the C library's calls would share errno with ours.
 */
#define _GNU_SOURCE
#include "kernel_call.h"
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

enum { STACK = 64 << 10, MOST_WORDS = 8, MOST_MOVES = 16 };

/* What the child reads; it lies at the lower end of the child's stack, and stays there. */
struct order {
    const char *path;
    char *words[MOST_WORDS + 1];
    int moves[MOST_MOVES][2];
    int move_count;
};

static volatile int failed_with;

static int become(void *given)
{
    const struct order *order = given;
    long result = 0;
    for (int index = 0; index < order->move_count && result >= 0; index++)
        result = call_kernel(SYS_dup3, order->moves[index][0], order->moves[index][1], 0);
    if (result >= 0)
        result = call_kernel(SYS_execve, (long)order->path, (long)order->words, (long)environ);
    failed_with = (int)-result;
    call_kernel(SYS_exit_group, 127, 0, 0);
    return 0;
}

static int read_order(struct order *order, char *end, const char *path, PyObject *words, PyObject *moves)
{
    Py_ssize_t word_count = PyList_Size(words), move_count = PyList_Size(moves);
    char *room = (char *)(order + 1);
    size_t size = strlen(path) + 1;
    if (word_count < 0 || word_count > MOST_WORDS || move_count < 0 || move_count > MOST_MOVES)
        goto refused;
    order->path = memcpy(room, path, size);
    room += size;
    for (Py_ssize_t index = 0; index < word_count; index++) {
        Py_ssize_t length;
        const char *word = PyUnicode_AsUTF8AndSize(PyList_GET_ITEM(words, index), &length);
        if (word == NULL)
            return -1;
        if (length >= end - room)
            goto refused;
        order->words[index] = memcpy(room, word, (size_t)length + 1);
        room += length + 1;
    }
    for (; order->move_count < move_count; order->move_count++) {
        int *move = order->moves[order->move_count];
        PyObject *given = PyList_GET_ITEM(moves, order->move_count);
        if (!PyTuple_Check(given))
            goto refused;
        if (!PyArg_ParseTuple(given, "ii", &move[0], &move[1]))
            return -1;
    }
    return 0;
refused:
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "too much to spawn with, or not a pair");
    return -1;
}

/* The libc's own leaves out the signals that it keeps for itself. */
static void sigprocmask_raw(const uint64_t *mask, uint64_t *before)
{
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, before, sizeof *mask);
}

/*
 * A scheduler may queue the child behind us, on our processor, for as long as we do not sleep: then nothing would
 * happen at once.  So it gets another one; each plan ends that (ResetAffinity).
 */
static void move_elsewhere(int pid)
{
    cpu_set_t others;
    unsigned ours;
    /* Not the libc's sched_getcpu(), which reads what the kernel keeps only for who has registered (rseq). */
    if (syscall(SYS_getcpu, &ours, NULL, NULL) != 0 || sched_getaffinity(0, sizeof others, &others) != 0)
        return;
    CPU_CLR(ours, &others);
    if (CPU_COUNT(&others) > 0)
        (void)sched_setaffinity(pid, sizeof others, &others);
}

const char spawn_text[] = "spawn(path, words, moves) -> pid; each (from, to) of the moves is a descriptor";

PyObject *spawn(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *path;
    Py_ssize_t length;
    PyObject *words, *moves;
    if (!PyArg_ParseTuple(arguments, "s#OO", &path, &length, &words, &moves))
        return NULL;
    /* Never given back: who knows when the child has done with it. */
    char *stack = length >= STACK / 4 ? MAP_FAILED
                                      : mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        return PyErr_NoMemory();
    if (read_order((struct order *)stack, stack + STACK / 2, path, words, moves) != 0)
        return NULL;
    /* No handler of ours may run in the child; the executor takes them up again. */
    const uint64_t all = UINT64_MAX;
    uint64_t before;
    failed_with = 0;
    sigprocmask_raw(&all, &before);
    int pid = clone(become, stack + STACK, CLONE_VM | SIGCHLD, stack);
    int error = errno;
    sigprocmask_raw(&before, NULL);
    if (pid >= 0) {
        move_elsewhere(pid);
        return PyLong_FromLong(pid);
    }
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

const char spawn_error_text[] = "spawn_error() -> why the last one that was spawned could not be executed, or 0";

PyObject *spawn_error(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return PyLong_FromLong(failed_with);
}
