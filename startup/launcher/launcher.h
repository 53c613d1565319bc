/* What the files of the launcher share. */
#ifndef LAUNCHER_H
#define LAUNCHER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* builtin_modules.c: put the modules below into the interpreter's table; before initialisation. */
void launcher_add_modules(void);

/* launcher_module.c, json_scanner.c, plan_encoder.c, sha256.c, signals.c, small_modules.c, spawn.c */
PyObject *PyInit_pyruntime_launcher(void);
extern const char json_scan_text[], json_quote_text[];
PyObject *json_scan(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *json_quote(PyObject *module, PyObject *text);
extern const char encode_operations_text[];
PyObject *encode_operations(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
extern const char forward_signals_text[];
PyObject *forward_signals(PyObject *module, PyObject *arguments);
extern const char spawn_text[], spawn_error_text[];
PyObject *spawn(PyObject *module, PyObject *arguments);
PyObject *spawn_error(PyObject *module, PyObject *nothing);
extern const char sha256_text[];
PyObject *sha256(PyObject *module, PyObject *data);
PyObject *launcher_PyInit_fcntl(void);
PyObject *launcher_PyInit_select(void);
PyObject *launcher_PyInit_resource(void);

/* launcher.c: write memory to a file, or end */
void save_section(const char *name, const char *from, const char *to);

/* allocator.c: how many bytes of the saved heap are in use; give no freed block out again; where it lies */
size_t heap_used(void);
void heap_forget_unused(void);
char *heap_start(void);
size_t heap_size(void);
void *heap_place(size_t size, int region);
size_t heap_placed_size(const void *block);
void *heap_malloc(size_t size);
void *heap_calloc(size_t count, size_t size);

/* placement.c: `path` says what goes where, or is NULL; whose memory is whose is written to a file */
void begin_placement(const char *path);
void end_placement(const char *path);

/* tracing.c */
void begin_tracing(int reads);
void end_tracing(void);

/* written_pages.c */
int written_pages_unknown(void);
void populate_written_pages(int stage);
void find_writable(char **start, char **end);
void list_written_pages(void);

/* whole_program.c: save all variables, the C library's, too, and end; whether that was done */
void save_program(const char *path, size_t features);
int program_was_saved(void);

#endif
