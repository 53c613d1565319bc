/*
 * Which C modules the interpreter has.  The build passes -DLAUNCHER_MODULES='MODULE(fcntl) ...': those that it
 * found to be shared libraries in this interpreter, for which small_modules.c has a replacement.
 */
#include "launcher.h"

void launcher_add_modules(void)
{
    PyImport_AppendInittab("pyruntime_launcher", PyInit_pyruntime_launcher);
#define MODULE(name) PyImport_AppendInittab(#name, launcher_PyInit_##name);
    LAUNCHER_MODULES
#undef MODULE
}
