/*
 * The parts of fcntl, select and resource that the program uses, for interpreters in which these are shared
 * libraries.  Names, arguments, results and errors are those of the standard library.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

static int add_constants(PyObject *module, const char *const *names, const long *values, size_t count)
{
    for (size_t index = 0; index < count; index++)
        if (PyModule_AddIntConstant(module, names[index], values[index]) < 0)
            return -1;
    return 0;
}

/* fcntl */

static PyObject *fcntl_fcntl(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int descriptor, command, argument = 0;
    if (!PyArg_ParseTuple(arguments, "ii|i", &descriptor, &command, &argument))
        return NULL;
    int result = fcntl(descriptor, command, argument);
    return result < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(result);
}

static PyObject *fcntl_flock(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int descriptor, operation, result;
    if (!PyArg_ParseTuple(arguments, "ii", &descriptor, &operation))
        return NULL;
    do {
        result = flock(descriptor, operation);
    } while (result != 0 && errno == EINTR && PyErr_CheckSignals() == 0);
    if (result == 0)
        Py_RETURN_NONE;
    return PyErr_Occurred() ? NULL : PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *fcntl_ioctl(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int descriptor;
    unsigned long request;
    Py_buffer data;
    char buffer[1024];
    if (!PyArg_ParseTuple(arguments, "iky*", &descriptor, &request, &data))
        return NULL;
    Py_ssize_t length = data.len;
    if (length > (Py_ssize_t)sizeof buffer) {
        PyBuffer_Release(&data);
        PyErr_SetString(PyExc_ValueError, "ioctl string arg too long");
        return NULL;
    }
    memcpy(buffer, data.buf, (size_t)length);
    PyBuffer_Release(&data);
    if (ioctl(descriptor, request, buffer) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return PyBytes_FromStringAndSize(buffer, length);
}

static PyMethodDef fcntl_methods[] = {
    {"fcntl", fcntl_fcntl, METH_VARARGS, NULL},
    {"flock", fcntl_flock, METH_VARARGS, NULL},
    {"ioctl", fcntl_ioctl, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef fcntl_definition = {PyModuleDef_HEAD_INIT, .m_name = "fcntl", .m_size = -1,
                                              .m_methods = fcntl_methods};

PyObject *launcher_PyInit_fcntl(void)
{
    static const char *const names[] = {"LOCK_SH", "LOCK_EX", "LOCK_NB", "LOCK_UN", "F_GETFD",
                                        "F_SETFD", "F_GETFL", "F_SETFL", "FD_CLOEXEC", "F_DUPFD_CLOEXEC"};
    static const long values[] = {LOCK_SH, LOCK_EX, LOCK_NB, LOCK_UN, F_GETFD,
                                  F_SETFD, F_GETFL, F_SETFL, FD_CLOEXEC, F_DUPFD_CLOEXEC};
    PyObject *module = PyModule_Create(&fcntl_definition);
    if (module != NULL && add_constants(module, names, values, sizeof values / sizeof *values) < 0)
        Py_CLEAR(module);
    return module;
}

/* select: a poll object is a dictionary from descriptor to events, and four methods */

struct poll_object {
    PyObject_HEAD
    PyObject *events;
};

static PyObject *poll_register(PyObject *self, PyObject *arguments)
{
    PyObject *descriptor;
    int events = POLLIN | POLLPRI | POLLOUT;
    if (!PyArg_ParseTuple(arguments, "O!|i", &PyLong_Type, &descriptor, &events))
        return NULL;
    PyObject *value = PyLong_FromLong(events);
    if (value == NULL || PyDict_SetItem(((struct poll_object *)self)->events, descriptor, value) < 0) {
        Py_XDECREF(value);
        return NULL;
    }
    Py_DECREF(value);
    Py_RETURN_NONE;
}

static PyObject *poll_unregister(PyObject *self, PyObject *descriptor)
{
    if (PyDict_DelItem(((struct poll_object *)self)->events, descriptor) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *poll_result(const struct pollfd *entries, Py_ssize_t count)
{
    PyObject *list = PyList_New(0);
    for (Py_ssize_t index = 0; list != NULL && index < count; index++) {
        if (entries[index].revents == 0)
            continue;
        PyObject *pair = Py_BuildValue("(ii)", entries[index].fd, entries[index].revents & 0xffff);
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

/* How long is left of a time-out in milliseconds that began at `start` (monotonic). */
static long remaining(const struct timespec *start, long timeout)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long passed = (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
    return passed < timeout ? timeout - passed : 0;
}

static PyObject *poll_poll(PyObject *self, PyObject *arguments)
{
    PyObject *timeout = Py_None, *descriptor, *events;
    if (!PyArg_ParseTuple(arguments, "|O", &timeout))
        return NULL;
    double wanted = timeout == Py_None ? -1 : PyFloat_AsDouble(timeout);
    if (PyErr_Occurred())
        return NULL;
    /* Like the standard library: a part of a millisecond counts as a whole one, a negative time is for ever. */
    long limit = wanted < 0 ? -1 : (long)wanted + ((double)(long)wanted < wanted);
    PyObject *table = ((struct poll_object *)self)->events;
    Py_ssize_t count = 0, at = 0;
    struct pollfd *entries = PyMem_Calloc((size_t)PyDict_GET_SIZE(table) + 1, sizeof *entries);
    if (entries == NULL)
        return PyErr_NoMemory();
    while (PyDict_Next(table, &at, &descriptor, &events))
        entries[count++] = (struct pollfd){(int)PyLong_AsLong(descriptor), (short)PyLong_AsLong(events), 0};
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    int ready;
    do {
        Py_BEGIN_ALLOW_THREADS
        ready = poll(entries, (nfds_t)count, limit < 0 ? -1 : (int)remaining(&start, limit));
        Py_END_ALLOW_THREADS
    } while (ready < 0 && errno == EINTR && PyErr_CheckSignals() == 0);
    PyObject *result = NULL;
    if (ready >= 0)
        result = poll_result(entries, count);
    else if (!PyErr_Occurred())
        PyErr_SetFromErrno(PyExc_OSError);
    PyMem_Free(entries);
    return result;
}

static void poll_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(((struct poll_object *)self)->events);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyMethodDef poll_methods[] = {
    {"register", poll_register, METH_VARARGS, NULL},
    {"modify", poll_register, METH_VARARGS, NULL},
    {"unregister", poll_unregister, METH_O, NULL},
    {"poll", poll_poll, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot poll_slots[] = {{Py_tp_methods, poll_methods}, {Py_tp_dealloc, (void *)poll_dealloc}, {0, NULL}};
static PyType_Spec poll_type = {"select.poll", sizeof(struct poll_object), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, poll_slots};
static PyObject *poll_class;

static PyObject *select_poll(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    struct poll_object *self = PyObject_New(struct poll_object, (PyTypeObject *)poll_class);
    if (self == NULL)
        return NULL;
    self->events = PyDict_New();
    if (self->events == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef select_methods[] = {{"poll", select_poll, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef select_definition = {PyModuleDef_HEAD_INIT, .m_name = "select", .m_size = -1,
                                               .m_methods = select_methods};

PyObject *launcher_PyInit_select(void)
{
    static const char *const names[] = {"POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLNVAL"};
    static const long values[] = {POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL};
    poll_class = PyType_FromSpec(&poll_type);
    PyObject *module = poll_class ? PyModule_Create(&select_definition) : NULL;
    if (module != NULL && add_constants(module, names, values, sizeof values / sizeof *values) < 0)
        Py_CLEAR(module);
    return module;
}

/* resource */

static PyObject *resource_prlimit(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int pid, number;
    PyObject *soft, *hard;
    if (!PyArg_ParseTuple(arguments, "ii(OO)", &pid, &number, &soft, &hard))
        return NULL;
    struct rlimit64 before, after = {(rlim64_t)PyLong_AsLongLong(soft), (rlim64_t)PyLong_AsLongLong(hard)};
    if (PyErr_Occurred())
        return NULL;
    if (prlimit64(pid, (enum __rlimit_resource)number, &after, &before) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    return Py_BuildValue("LL", (long long)before.rlim_cur, (long long)before.rlim_max);
}

static PyMethodDef resource_methods[] = {{"prlimit", resource_prlimit, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef resource_definition = {PyModuleDef_HEAD_INIT, .m_name = "resource", .m_size = -1,
                                                 .m_methods = resource_methods};

PyObject *launcher_PyInit_resource(void)
{
    return PyModule_Create(&resource_definition);
}
