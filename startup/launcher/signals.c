/*
 * Signals as bytes on a pipe.  The interpreter's own way (signal.set_wakeup_fd) wants a handler in Python for each of
 * fifty signals, set and put back one by one.
 */
#include "launcher.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

enum { LARGEST = 64 };

static volatile sig_atomic_t receiver = -1;
static struct sigaction former[LARGEST + 1];

static void pass_on(int number)
{
    int before = errno;
    const unsigned char byte = (unsigned char)number;
    ssize_t written = write((int)receiver, &byte, 1);
    (void)written; /* if the pipe is full there is enough to read */
    errno = before;
}

const char forward_signals_text[] =
    "forward_signals(numbers, descriptor): write each of these signals to it, or with -1 act as before";

PyObject *forward_signals(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const unsigned char *numbers;
    Py_ssize_t count;
    int descriptor;
    if (!PyArg_ParseTuple(arguments, "y#i", &numbers, &count, &descriptor))
        return NULL;
    struct sigaction ours = {.sa_handler = pass_on};
    sigfillset(&ours.sa_mask);
    if (descriptor >= 0)
        receiver = descriptor;
    for (Py_ssize_t index = 0; index < count; index++) {
        int number = numbers[index];
        /* One that libc keeps for itself is refused, which is no harm. */
        if (number <= LARGEST)
            sigaction(number, descriptor >= 0 ? &ours : &former[number], descriptor >= 0 ? &former[number] : NULL);
    }
    if (descriptor < 0)
        receiver = -1;
    Py_RETURN_NONE;
}
