/*
 * Where the objects of the saved heap lie: those that commands write to side by side, and those that they read,
 * apart from the rest.
 *
 * A command writes to some thousands of objects, if only by counting a reference, and where they lie among the
 * hundred thousand others each takes a page of its own.  The n-th allocation of a build is the same object each
 * time.  So the heap is made twice: the first time each allocation is recorded, a rehearsal (tracing.c) tells
 * which are used, and the second time these are taken from regions of their own.
 *
 * The recorder and the tables are libc's memory, of which nothing is saved.
 */
#define _GNU_SOURCE
#include "launcher.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRAIN 16

/* The latest allocation to begin at this place of the heap, counted from 1, and its size. */
struct owner {
    uint32_t number, size;
};

static PyMemAllocatorEx usual[2];
static const PyMemAllocatorDomain domains[2] = {PYMEM_DOMAIN_OBJ, PYMEM_DOMAIN_MEM};
static struct owner *owners;
static size_t grains;
static uint32_t allocations;
/* For each allocation: 0, or the number of the region that it is to be taken from. */
static const unsigned char *wanted;
static size_t wanted_count;

static void *note(void *block, size_t size)
{
    ptrdiff_t offset = (char *)block - heap_start();
    if (block == NULL || offset < 0 || (size_t)offset / GRAIN >= grains)
        return block;
    size_t first = (size_t)offset / GRAIN, count = (size + GRAIN - 1) / GRAIN;
    if (count == 0)
        count = 1;
    if (count > grains - first)
        count = grains - first;
    memset(owners + first, 0, count * sizeof *owners);
    owners[first] = (struct owner){allocations, size > UINT32_MAX ? UINT32_MAX : (uint32_t)size};
    return block;
}

/* The next allocation's block if it has a region of its own, else NULL. */
static void *place(size_t size)
{
    allocations++;
    return allocations < wanted_count && wanted[allocations] != 0 ? heap_place(size, wanted[allocations]) : NULL;
}

static void *placing_malloc(void *context, size_t size)
{
    const PyMemAllocatorEx *under = context;
    void *block = place(size);
    return block ? block : note(under->malloc(under->ctx, size), size);
}

static void *placing_calloc(void *context, size_t count, size_t size)
{
    const PyMemAllocatorEx *under = context;
    void *block = size == 0 || count <= SIZE_MAX / size ? place(count * size) : NULL;
    return block ? memset(block, 0, count * size) : note(under->calloc(under->ctx, count, size), count * size);
}

static void *placing_realloc(void *context, void *old, size_t size)
{
    const PyMemAllocatorEx *under = context;
    void *block = place(size);
    if (block == NULL)
        return note(under->realloc(under->ctx, old, size), size);
    ptrdiff_t offset = (char *)old - heap_start();
    size_t kept = old == NULL ? 0 : heap_placed_size(old);
    if (old != NULL && kept == 0 && offset >= 0 && (size_t)offset / GRAIN < grains)
        kept = owners[offset / GRAIN].size;
    if (old != NULL && kept == 0)
        return under->realloc(under->ctx, old, size);
    if (old != NULL)
        memcpy(block, old, kept < size ? kept : size);
    under->free(under->ctx, old);
    return block;
}

static void placing_free(void *context, void *block)
{
    const PyMemAllocatorEx *under = context;
    under->free(under->ctx, block);
}

/* From here on count allocations, and take those that `path`, if given, names from their regions. */
void begin_placement(const char *path)
{
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat found;
    if (path != NULL && (file < 0 || fstat(file, &found) != 0)) {
        perror(path);
        _exit(1);
    }
    if (file >= 0) {
        wanted_count = (size_t)found.st_size;
        wanted = mmap(NULL, wanted_count, PROT_READ, MAP_PRIVATE, file, 0);
        close(file);
    }
    grains = heap_size() / GRAIN;
    owners = mmap(NULL, grains * sizeof *owners, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (owners == MAP_FAILED || wanted == MAP_FAILED) {
        perror("mmap");
        _exit(1);
    }
    for (int index = 0; index < 2; index++) {
        PyMem_GetAllocator(domains[index], &usual[index]);
        PyMemAllocatorEx placing = {
            &usual[index], placing_malloc, placing_calloc, placing_realloc, placing_free,
        };
        PyMem_SetAllocator(domains[index], &placing);
    }
}

static void *dense_malloc(void *context, size_t size)
{
    (void)context;
    return heap_malloc(size);
}

static void *dense_calloc(void *context, size_t count, size_t size)
{
    (void)context;
    return heap_calloc(count, size);
}

static void *(*usual_realloc)(void *, void *, size_t) __attribute__((section("savedstate")));

static void *dense_realloc(void *context, void *old, size_t size)
{
    return old == NULL ? heap_malloc(size) : usual_realloc(context, old, size);
}

/*
 * Write down whose memory is whose.  From here on objects of all sizes lie next to each other: the interpreter's own
 * pools take a page and more for each size.  It knows which blocks are not from its pools, and leaves them to free().
 */
void end_placement(const char *path)
{
    for (int index = 0; index < 2; index++) {
        PyMemAllocatorEx dense = usual[index];
        dense.malloc = dense_malloc;
        dense.calloc = dense_calloc;
        dense.realloc = dense_realloc;
        usual_realloc = usual[index].realloc;
        PyMem_SetAllocator(domains[index], &dense);
    }
    save_section(path, (const char *)owners, (const char *)(owners + grains));
    munmap(owners, grains * sizeof *owners);
}
