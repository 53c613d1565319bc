/*
 * Which objects of the saved heap a command reads and writes to, found by a rehearsal.
 *
 * Pages can be watched, objects cannot.  So the heap is made read-only, or hidden; each access to it ends in SIGSEGV, is
 * noted, and is let through for the one instruction that the processor then takes before it traps.  Only x86 lets a
 * process do that to itself: elsewhere nothing is found, and the objects stay where they are.
 *
 * The kernel's own accesses do not end in a signal but in EFAULT.  It writes to new objects only, and those
 * lie on pages that are not watched; what it reads is new, too, or was just looked at, or the build says so.
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

/* After so many accesses of a kind to one page all of its objects that matter are known. */
enum { PATIENCE = 3000, AT_ONCE = 8 };
enum { READ = 1, WRITTEN = 2, OF_A_WRITE = 2 };

/* What is still waited for on a page. */
struct watch {
    unsigned short reads, writes;
};

static unsigned char *noted; /* READ and WRITTEN, for each grain of the heap */
static struct watch *watches; /* one for each page */
static void *open_pages[AT_ONCE];
static int open_count;

static void protect(void *page)
{
    const struct watch *watch = watches + ((char *)page - heap_start()) / (ptrdiff_t)PAGE;
    mprotect(page, PAGE, watch->writes == 0 ? PROT_READ | PROT_WRITE : watch->reads == 0 ? PROT_READ : PROT_NONE);
}

static void on_access(int number, siginfo_t *info, void *context)
{
    ptrdiff_t offset = (char *)info->si_addr - heap_start();
    if (offset < 0 || (size_t)offset >= heap_size()) {
        signal(number, SIG_DFL);
        return;
    }
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct watch *watch = watches + offset / (ptrdiff_t)PAGE;
    int writes = (registers[REG_ERR] & OF_A_WRITE) != 0;
    noted[offset / GRAIN] |= writes ? WRITTEN : READ;
    if (writes)
        watch->writes--;
    else
        watch->reads--;
    void *page = (void *)((uintptr_t)info->si_addr & ~(PAGE - 1));
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    if (open_count == AT_ONCE)
        return;
    open_pages[open_count++] = page;
    registers[REG_EFL] |= TRAP_FLAG;
}

static void after_access(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    while (open_count > 0)
        protect(open_pages[--open_count]);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

static int is_zero(const char *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Note what is written to; with `reads` also what is read. */
void begin_tracing(int reads)
{
    size_t size = heap_size();
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    noted = mmap(NULL, size / GRAIN, PROT_READ | PROT_WRITE, anonymous, -1, 0);
    watches = mmap(NULL, size / PAGE * sizeof *watches, PROT_READ | PROT_WRITE, anonymous, -1, 0);
    if (noted == MAP_FAILED || watches == MAP_FAILED)
        return;
    struct sigaction access = {.sa_sigaction = on_access, .sa_flags = SA_SIGINFO};
    struct sigaction step = {.sa_sigaction = after_access, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &access, NULL);
    sigaction(SIGTRAP, &step, NULL);
    /* New objects go to pages that are empty; the kernel, too, must be able to write to them. */
    heap_forget_unused();
    for (size_t page = 0; page < size / PAGE; page++)
        if (!is_zero(heap_start() + page * PAGE)) {
            watches[page] = (struct watch){.reads = reads ? PATIENCE : 0, .writes = PATIENCE};
            protect(heap_start() + page * PAGE);
        }
}

/* Print what of the heap was used and how, in units of 16 bytes. */
void end_tracing(void)
{
    if (noted == NULL || noted == MAP_FAILED)
        return;
    size_t size = heap_size();
    mprotect(heap_start(), size, PROT_READ | PROT_WRITE);
    for (size_t grain = 0; grain < size / GRAIN; grain++)
        if (noted[grain])
            printf("%zu %s\n", grain, (noted[grain] & WRITTEN) != 0 ? "written" : "read");
}

#else

void begin_tracing(int reads)
{
    (void)reads;
}

void end_tracing(void)
{
}

#endif
