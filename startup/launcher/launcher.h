/* What the files of the launcher share. */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* builtin_modules.c: put the modules below into the interpreter's table; before initialisation. */
void launcher_add_modules(void);

/* launcher_module.c, json_scanner.c, sha256.c, small_modules.c */
PyObject *PyInit_pyruntime_launcher(void);
extern const char json_scan_text[], json_quote_text[];
PyObject *json_scan(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *json_quote(PyObject *module, PyObject *text);
extern const char sha256_text[];
PyObject *sha256(PyObject *module, PyObject *data);
PyObject *launcher_PyInit_fcntl(void);
PyObject *launcher_PyInit_select(void);
PyObject *launcher_PyInit_resource(void);

/* allocator.c: how many bytes of the saved heap are in use; give no freed block out again */
size_t heap_used(void);
void heap_forget_unused(void);

/* written_pages.c */
int written_pages_unknown(void);
void populate_written_pages(int stage);
void list_written_pages(const char *from, const char *to);

#endif
