/*
 * Which objects of the saved heap a command writes to, found by a rehearsal.
 *
 * Pages can be watched, objects cannot.  So the heap is made read-only; each write to it ends in SIGSEGV, is noted, and
 * is let through for the one instruction that the processor then takes before it traps.  Only x86 lets a
 * process do that to itself: elsewhere nothing is found, and the objects stay where they are.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#ifdef __x86_64__

#define PAGE ((uintptr_t)4096)
#define GRAIN 16
#define TRAP_FLAG 0x100

/* After so many writes to one page all of its objects that matter are known. */
enum { PATIENCE = 3000, AT_ONCE = 8 };

static unsigned char *noted;    /* one for each grain of the heap */
static unsigned short *patience; /* one for each page */
static void *open_pages[AT_ONCE];
static int open_count;

static void on_write(int number, siginfo_t *info, void *context)
{
    ptrdiff_t offset = (char *)info->si_addr - heap_start();
    if (offset < 0 || (size_t)offset >= heap_size()) {
        signal(number, SIG_DFL);
        return;
    }
    noted[offset / GRAIN] = 1;
    void *page = (void *)((uintptr_t)info->si_addr & ~(PAGE - 1));
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    if (++patience[offset / PAGE] >= PATIENCE || open_count == AT_ONCE)
        return;
    open_pages[open_count++] = page;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void after_write(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    while (open_count > 0)
        mprotect(open_pages[--open_count], PAGE, PROT_READ);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

static int is_zero(const char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

void begin_tracing(void)
{
    size_t size = heap_size();
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    noted = mmap(NULL, size / GRAIN, PROT_READ | PROT_WRITE, anonymous, -1, 0);
    patience = mmap(NULL, size / PAGE * sizeof *patience, PROT_READ | PROT_WRITE, anonymous, -1, 0);
    if (noted == MAP_FAILED || patience == MAP_FAILED)
        return;
    struct sigaction write = {.sa_sigaction = on_write, .sa_flags = SA_SIGINFO};
    struct sigaction step = {.sa_sigaction = after_write, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &write, NULL);
    sigaction(SIGTRAP, &step, NULL);
    /* New objects go to pages that are empty; the kernel, too, must be able to write to them. */
    heap_forget_unused();
    for (char *page = heap_start(); page < heap_start() + size; page += PAGE)
        if (!is_zero(page))
            mprotect(page, PAGE, PROT_READ);
}

/* Print where in the heap something was written to, in units of 16 bytes. */
void end_tracing(void)
{
    if (noted == NULL || noted == MAP_FAILED)
        return;
    size_t size = heap_size();
    mprotect(heap_start(), size, PROT_READ | PROT_WRITE);
    for (size_t grain = 0; grain < size / GRAIN; grain++)
        if (noted[grain])
            printf("%zu\n", grain);
}

#else

void begin_tracing(void)
{
}

void end_tracing(void)
{
}

#endif
