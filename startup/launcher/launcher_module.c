/*
 * The module `pyruntime_launcher`: what the program needs of the system and finds nowhere else in a static
 * interpreter without shared libraries.
 */
#include "launcher.h"

#include <signal.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/prctl.h>

/* Written by the build: the executor's file, byte for byte. */
extern const char launcher_executor[], launcher_executor_end[];

static PyObject *executor(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return PyBytes_FromStringAndSize(launcher_executor, launcher_executor_end - launcher_executor);
}

static PyObject *become_subreaper(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

/* populate(stage): the pages that commands of this stage write to are about to be written to */
static PyObject *populate(PyObject *Py_UNUSED(module), PyObject *stage)
{
    long number = PyLong_AsLong(stage);
    if (number == -1 && PyErr_Occurred())
        return NULL;
#ifdef SAVED_HEAP
    populate_written_pages((int)number);
#endif
    Py_RETURN_NONE;
}

static PyObject *unmount(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *path;
    int flags;
    if (!PyArg_ParseTuple(arguments, "yi", &path, &flags))
        return NULL;
    if (umount2(path, flags) != 0)
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
    Py_RETURN_NONE;
}

/* Whether a signal has its default action: then, and only then, may a handler be set for it. */
static PyObject *signal_is_default(PyObject *Py_UNUSED(module), PyObject *number)
{
    long signal = PyLong_AsLong(number);
    if (signal == -1 && PyErr_Occurred())
        return NULL;
    return PyBool_FromLong(PyOS_getsig((int)signal) == SIG_DFL);
}

static PyMethodDef methods[] = {
    {"executor", executor, METH_NOARGS, "executor() -> the executor's file"},
    {"become_subreaper", become_subreaper, METH_NOARGS, "become_subreaper(): prctl(2), PR_SET_CHILD_SUBREAPER"},
    {"unmount", unmount, METH_VARARGS, "unmount(path, flags): umount2(2)"},
    {"populate", populate, METH_O, "populate(stage): make a stage's written pages writable at once"},
    {"signal_is_default", signal_is_default, METH_O, "signal_is_default(number) -> bool"},
    {"sha256", sha256, METH_O, sha256_text},
    {"json_scan", (PyCFunction)(void (*)(void))json_scan, METH_FASTCALL, json_scan_text},
    {"encode_operations", (PyCFunction)(void (*)(void))encode_operations, METH_FASTCALL, encode_operations_text},
    {"forward_signals", forward_signals, METH_VARARGS, forward_signals_text},
    {"spawn", spawn, METH_VARARGS, spawn_text},
    {"spawn_error", spawn_error, METH_NOARGS, spawn_error_text},
    {"json_quote", json_quote, METH_O, json_quote_text},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "pyruntime_launcher", .m_size = -1,
                                        .m_methods = methods};

PyObject *PyInit_pyruntime_launcher(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && (PyModule_AddIntConstant(module, "TIER", LAUNCHER_TIER) < 0 ||
                           PyModule_AddStringConstant(module, "INTERPRETER", LAUNCHER_INTERPRETER) < 0 ||
                           PyModule_AddStringConstant(module, "NOTE", LAUNCHER_NOTE) < 0))
        Py_CLEAR(module);
    return module;
}
