/*
 * The launcher of tiers 1 and 2: an interpreter that is initialised no further than its core, with the
 * program's modules frozen into it.
 *
 * Built with SAVED_HEAP it is tier 1: run once at build time with a directory and a hash seed, it imports all
 * modules and writes its writable sections there, which the build puts back into the executable; from then on
 * main() finds itself already initialised.  See ../saved_heap/README.md.
 */
#include "launcher.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* Written by the build: the frozen modules. */
extern const struct _frozen launcher_frozen[];

static PyObject *entry;
static PyObject *environment;

static _Noreturn void give_up(void)
{
    if (PyErr_Occurred())
        PyErr_Print();
    _exit(1);
}

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

/* Where the interpreter would look for its library: nowhere.  An empty string keeps it from searching. */
static void know_no_paths(PyConfig *config)
{
    wchar_t **const places[] = {
        &config->executable,  &config->base_executable,  &config->prefix,     &config->base_prefix,
        &config->exec_prefix, &config->base_exec_prefix, &config->stdlib_dir,
    };
    for (size_t place = 0; place < sizeof places / sizeof *places; place++)
        check(PyConfig_SetString(config, places[place], L""));
    config->module_search_paths_set = 1;
    config->pathconfig_warnings = 0;
}

#ifdef SAVED_HEAP
static const char *layout; /* a file: which allocation is placed where */
#endif

static void initialize(unsigned long seed)
{
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    before.configure_locale = 0;
    before.coerce_c_locale = 0;
    check(Py_PreInitialize(&before));
#ifdef SAVED_HEAP
    begin_placement(layout);
#endif

    PyImport_FrozenModules = launcher_frozen;
    launcher_add_modules();

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.use_environment = 0;
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    config.parse_argv = 0;
    if (seed != 0) {
        config.use_hash_seed = 1;
        config.hash_seed = seed;
    }
    know_no_paths(&config);
    check(PyConfig_SetString(&config, &config.filesystem_encoding, L"utf-8"));
    check(PyConfig_SetString(&config, &config.filesystem_errors, L"surrogateescape"));
    check(PyConfig_SetString(&config, &config.stdio_encoding, L"utf-8"));
    check(PyConfig_SetString(&config, &config.stdio_errors, L"strict"));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    PyGC_Disable();
}

static void find_entry(void)
{
    PyObject *module = PyImport_ImportModule("launcher_entry");
    PyObject *posix = module ? PyImport_ImportModule("posix") : NULL;
    if (posix == NULL)
        give_up();
    entry = PyObject_GetAttrString(module, "start");
    environment = PyObject_GetAttrString(posix, "environ");
    Py_DECREF(posix);
    Py_DECREF(module);
    if (entry == NULL || environment == NULL)
        give_up();
}

/* os.environ and posix.environ share this dictionary, so that it must be refilled, not replaced. */
static void read_environment(void)
{
    PyDict_Clear(environment);
    for (char **each = environ; each != NULL && *each != NULL; each++) {
        const char *sign = strchr(*each, '=');
        if (sign == NULL)
            continue;
        PyObject *name = PyBytes_FromStringAndSize(*each, sign - *each);
        PyObject *value = PyBytes_FromString(sign + 1);
        /* The first of two settings counts, as it does for getenv. */
        if (name == NULL || value == NULL || PyDict_SetDefault(environment, name, value) == NULL)
            give_up();
        Py_DECREF(name);
        Py_DECREF(value);
    }
}

/* What the interpreter does at a usual start: a write into a closed pipe is an error, not a death. */
static void prepare_signals(void)
{
    PyOS_setsig(SIGPIPE, SIG_IGN);
    PyOS_setsig(SIGXFSZ, SIG_IGN);
}

static _Noreturn void run(int count, char **words)
{
    prepare_signals();
    PyObject *list = PyList_New(count);
    for (int index = 0; list != NULL && index < count; index++) {
        PyObject *word = PyUnicode_DecodeUTF8(words[index], (Py_ssize_t)strlen(words[index]), "surrogateescape");
        if (word == NULL)
            give_up();
        PyList_SET_ITEM(list, index, word);
    }
    PyObject *result = list ? PyObject_CallOneArg(entry, list) : NULL;
    if (result == NULL)
        give_up();
    _exit((int)PyLong_AsLong(result));
}

#ifdef SAVED_HEAP

/* The sections to save: their names are given by the build as -DSECTIONS='SECTION(a) SECTION(b) ...'. */
#define SECTION(name) extern char __start_##name[], __stop_##name[];
SECTIONS
#undef SECTION

static int saved;

#if PY_VERSION_HEX >= 0x030c0000
/* The thread state is thread-local from 3.12 on, and thread-local storage is libc's, hence not saved. */
extern _Thread_local PyThreadState *_Py_tss_tstate;
static PyThreadState *saved_thread_state;
#endif
#if PY_VERSION_HEX >= 0x030d0000
/* Those two parts of PyOS_AfterFork_Child that a heap taken from a finished process needs; the whole
   would also want the import lock of a fork that never was. */
extern PyStatus _PyRuntimeState_ReInitThreads(void *);
extern PyStatus _PyEval_ReInitThreads(PyThreadState *);
extern char _PyRuntime[];
#endif

void save_section(const char *name, const char *from, const char *to)
{
    int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    while (file >= 0 && from < to) {
        ssize_t done = write(file, from, (size_t)(to - from));
        if (done <= 0)
            break;
        from += done;
    }
    if (file < 0 || from < to || close(file) != 0) {
        perror(name);
        _exit(1);
    }
}

static _Noreturn void save_heap(const char *directory)
{
    if (chdir(directory) != 0)
        give_up();
    PyObject *module = PyImport_ImportModule("launcher_entry");
    PyObject *result = module ? PyObject_CallMethod(module, "prepare", NULL) : NULL;
    if (result == NULL)
        give_up();
    Py_DECREF(result);
    Py_DECREF(module);
    PyDict_Clear(environment);
    end_placement("owners");
    heap_forget_unused();
#if PY_VERSION_HEX >= 0x030c0000
    saved_thread_state = _Py_tss_tstate;
#endif
    PyThreadState_Get()->native_thread_id = 0;
    saved = 1;
    printf("%zu\n", heap_used());
    fflush(stdout);
#define SECTION(name) save_section(#name, __start_##name, __stop_##name);
    SECTIONS
#undef SECTION
    _exit(0);
}

/* The heap remembers the thread of the build; give it this one. */
static void adopt_thread(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    _Py_tss_tstate = saved_thread_state;
#endif
    PyThreadState *state = PyThreadState_Get();
    state->thread_id = (unsigned long)pthread_self();
    state->native_thread_id = PyThread_get_thread_native_id();
    /* The key of the saved heap must be taken, or the first one made would be mistaken for it. */
    pthread_key_t key;
    pthread_key_create(&key, NULL);
#if PY_VERSION_HEX >= 0x030d0000
    check(_PyRuntimeState_ReInitThreads(_PyRuntime));
    check(_PyEval_ReInitThreads(state));
#else
    PyOS_AfterFork_Child();
#endif
}

/*
 * Before the build knows what a command writes to: do what every command of a stage does, and list the pages, or
 * the places in the heap, that were written to.
 */
static _Noreturn void rehearse(int stage, int whole, int trace)
{
    /* With streams, so that what goes wrong can be said. */
    PyObject *module = PyImport_ImportModule("launcher_entry");
    PyObject *begun = module ? PyObject_CallMethod(module, "begin", "[]") : NULL;
    module = begun ? PyImport_ImportModule("launcher_rehearsal") : NULL;
    PyObject *result = module ? PyObject_CallMethod(module, "rehearse", "ii", stage, whole) : NULL;
    if (result == NULL)
        give_up();
    if (trace)
        end_tracing();
    else
        list_written_pages();
    fflush(stdout);
    _exit(0);
}

int main(int count, char **words)
{
    if (saved) {
        int rehearsal = written_pages_unknown() && (count == 2 || count == 3);
        int trace = rehearsal && count == 3 && strncmp(words[2], "trace", strlen("trace")) == 0;
        if (program_was_saved()) {
            PyThreadState_Get()->native_thread_id = PyThread_get_thread_native_id();
        } else {
            populate_written_pages(0);
            adopt_thread();
        }
        if (written_pages_unknown() && count == 4 && strcmp(words[1], "save") == 0)
            save_program(words[2], strtoul(words[3], NULL, 10));
        if (trace)
            begin_tracing(strcmp(words[2], "trace-reads") == 0);
        read_environment();
        if (rehearsal)
            rehearse(atoi(words[1]), count == 3, trace);
        run(count, words);
    }
    if (count == 3 || count == 4) {
        layout = words[3];
        clearenv();
        initialize(strtoul(words[2], NULL, 10));
        find_entry();
        save_heap(words[1]);
    }
    fprintf(stderr, "usage: launcher DIRECTORY HASH_SEED [LAYOUT] (or a program whose heap was saved)\n");
    return 1;
}

#else

int main(int count, char **words)
{
    initialize(0);
    find_entry();
    read_environment();
    run(count, words);
}

#endif
