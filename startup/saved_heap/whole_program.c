/*
 * A start without the C library's start.
 *
 * A static glibc program spends 0.2 ms before main(): it asks the processor seventy times what it is (each time an
 * exit from a virtual machine), chooses its string functions, and makes the memory of its only thread.  The
 * result is the same each time.  So a program with a saved heap is run once more, up to main(), and all that
 * is writable in it is saved, the C library's variables and its heap included.  What then starts takes up
 * that thread, and looks up what differs from process to process.
 *
 * Machines differ, too: the functions chosen are those that every processor of this architecture has.  Elsewhere than
 * on x86-64 nothing is saved, and programs start in the usual way.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__GLIBC__)

#define HIDDEN __attribute__((weak, visibility("hidden")))

extern const ElfW(Rela) __rela_iplt_start[] HIDDEN, __rela_iplt_end[] HIDDEN;
/* The C library's own, in a static program for all to see; without them nothing is saved. */
extern char _dl_x86_cpu_features[] HIDDEN;
extern void *__curbrk HIDDEN;
extern const ElfW(auxv_t) *_dl_auxv HIDDEN;
extern char **__libc_argv HIDDEN;
extern void *__libc_stack_end;

int main(int count, char **words);
void launcher_conceal(uintptr_t *stack);
_Noreturn void launcher_resume(uintptr_t *stack);

/* Where the saved thread's own memory lies; zero in a program that is to start in the usual way. */
uintptr_t launcher_thread;
/* Where in it the C library keeps the thread's number. */
static size_t number_at;

enum { THREAD_MEMORY = 2048, CANARY_AT = 0x28, MOST_HEAP = 1 << 20 };

/* The program's entry.  158 and 0x1002: arch_prctl, ARCH_SET_FS. */
__asm__(".text\n"
        ".globl launcher_start\n"
        "launcher_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rbx\n"
        "    mov launcher_thread(%rip), %rsi\n"
        "    test %rsi, %rsi\n"
        "    jz 1f\n"
        "    mov $158, %eax\n"
        "    mov $0x1002, %edi\n"
        "    syscall\n"
        "    mov %rbx, %rdi\n"
        "    call launcher_resume\n"
        "1:  mov %rbx, %rdi\n"
        "    call launcher_conceal\n"
        "    mov %rbx, %rsp\n"
        "    xor %edx, %edx\n"
        "    jmp _start\n");

/* The stack of a new process: a count, its words, NULL, its environment, NULL, and what the kernel tells. */
static ElfW(auxv_t) *told_by_kernel(uintptr_t *stack)
{
    char **each = (char **)(stack + 1) + stack[0] + 1;
    while (*each != NULL)
        each++;
    return (ElfW(auxv_t) *)(each + 1);
}

/* The kernel's own code lies elsewhere in each process: the C library shall make system calls instead. */
void launcher_conceal(uintptr_t *stack)
{
    for (ElfW(auxv_t) *fact = told_by_kernel(stack); fact->a_type != AT_NULL; fact++)
        if (fact->a_type == AT_SYSINFO_EHDR)
            fact->a_type = AT_IGNORE;
}

/* Called at the entry: nothing that this process has not made yet is used, and thus no canary. */
_Noreturn void launcher_resume(uintptr_t *stack)
{
    char **words = (char **)(stack + 1);
    char *thread = (char *)launcher_thread;
    const ElfW(auxv_t) *facts = told_by_kernel(stack);
    populate_written_pages(0);
    for (const ElfW(auxv_t) *fact = facts; fact->a_type != AT_NULL; fact++)
        if (fact->a_type == AT_RANDOM)
            *(uintptr_t *)(thread + CANARY_AT) = *(const uintptr_t *)fact->a_un.a_val & ~(uintptr_t)0xff;
    *(int *)(thread + number_at) = (int)syscall(SYS_gettid);
    environ = words + stack[0] + 1;
    program_invocation_name = program_invocation_short_name = words[0] ? words[0] : (char *)"";
    if (&__libc_argv != NULL)
        __libc_argv = words;
    __libc_stack_end = stack;
    _dl_auxv = facts;
    __curbrk = NULL;
    _exit(main((int)stack[0], words));
}

/* As if the processor could do only what each can. */
static void forget_processor(size_t size)
{
    memset(_dl_x86_cpu_features, 0, size);
    for (const ElfW(Rela) *slot = __rela_iplt_start; slot < __rela_iplt_end; slot++) {
        uintptr_t (*choose)(void) = (uintptr_t (*)(void))slot->r_addend;
        *(uintptr_t *)slot->r_offset = choose();
    }
}

/* `features`: the size of what the C library knows of the processor. */
void save_program(const char *path, size_t features)
{
    char *thread = __builtin_thread_pointer(), *start, *end, *top = sbrk(0);
    int number = (int)syscall(SYS_gettid);
    for (number_at = 0; number_at < THREAD_MEMORY; number_at += sizeof number)
        if (memcmp(thread + number_at, &number, sizeof number) == 0)
            break;
    find_writable(&start, &end);
    /* Not randomised (the build sees to it), the C library's heap follows right after its variables. */
    if (_dl_x86_cpu_features == NULL || &__curbrk == NULL || &_dl_auxv == NULL || number_at == THREAD_MEMORY ||
        thread < end || thread >= top || top - end > MOST_HEAP) {
        fprintf(stderr, "this C library keeps its variables in another way\n");
        _exit(1);
    }
    forget_processor(features);
    launcher_thread = (uintptr_t)thread;
    save_section(path, start, top);
    _exit(0);
}

int program_was_saved(void)
{
    return launcher_thread != 0;
}

#else

void save_program(const char *path, size_t features)
{
    (void)path;
    (void)features;
    _exit(1);
}

int program_was_saved(void)
{
    return 0;
}

#endif
