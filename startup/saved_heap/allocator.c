/*
 * The memory of the saved heap: while the heap is being made, everything that the interpreter allocates comes
 * from one section of the executable, so that it is part of what is saved.
 *
 * The build redirects the interpreter's malloc, free, calloc, realloc, mmap and munmap to the functions below;
 * libc keeps its own.  After the start new memory comes from what is free in the section, then from the kernel.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef HEAP_SIZE
#define HEAP_SIZE ((size_t)24 << 20)
#endif
/* For each stage of a command, the room for what is written to there; as the build has found it. */
#ifndef PLACES
#define PLACES 16, 16
#endif
#define PAGE ((size_t)4096)

size_t heap_used(void);
void heap_forget_unused(void);
char *heap_start(void);
size_t heap_size(void);
void *heap_place(size_t size, int region);
size_t heap_placed_size(const void *block);
void *heap_malloc(size_t size);
void heap_free(void *block);
void *heap_calloc(size_t count, size_t size);
void *heap_realloc(void *block, size_t size);
void *heap_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset);
void *heap_mmap64(void *at, size_t size, int protection, int flags, int file, off_t offset);
int heap_munmap(void *at, size_t size);

/* In front of each block: its usable size, which is 8 more than a multiple of 16; so blocks are aligned to 16 bytes. */
struct header {
    size_t size;
};

enum { SMALL = 1024, STEP = 16, CLASSES = 160 };

static const size_t places[] = {PLACES};
enum { REGIONS = sizeof places / sizeof *places };
/* The sum of what is in `places`. */
#ifndef PLACED
#define PLACED 32
#endif

static char placed[PLACED] __attribute__((section("savedplaced"), aligned(4096))) = {0};
static char heap[HEAP_SIZE] __attribute__((section("savedheap"), aligned(4096))) = {0};
/* Not in .data or .bss: those of this file are not saved. */
static struct {
    size_t low;  /* blocks grow from the start of the heap, */
    size_t high; /* mappings (the interpreter's arenas) from its end: this many bytes are taken there */
    void *unused[CLASSES];
    size_t placed[REGIONS]; /* how much of each region is taken */
} state __attribute__((section("savedstate"))) = {0};

size_t heap_used(void)
{
    return state.low + state.high;
}

/* What comes next begins on a page of its own, and uses nothing a second time. */
void heap_forget_unused(void)
{
    memset(state.unused, 0, sizeof state.unused);
    if (state.low <= HEAP_SIZE - state.high - PAGE)
        state.low = (state.low + PAGE - 1) & ~(PAGE - 1);
}

char *heap_start(void)
{
    return heap;
}

size_t heap_size(void)
{
    return HEAP_SIZE;
}

/* A block of a region, counted from 1, or NULL if it is full.  It is never given out again. */
void *heap_place(size_t size, int region)
{
    size_t start = 8, whole = (sizeof(struct header) + size + 15) & ~(size_t)15;
    for (int before = 0; before < region - 1; before++)
        start += places[before];
    if (region > REGIONS || whole + 8 > places[region - 1] - state.placed[region - 1])
        return NULL;
    struct header *header = (struct header *)(placed + start + state.placed[region - 1]);
    state.placed[region - 1] += whole;
    header->size = whole - sizeof *header;
    return header + 1;
}

static int in_a_region(const void *at)
{
    return (uintptr_t)at >= (uintptr_t)placed && (uintptr_t)at < (uintptr_t)placed + PLACED;
}

/* The usable size of a block of a region, 0 for any other. */
size_t heap_placed_size(const void *block)
{
    return in_a_region(block) ? ((const struct header *)block - 1)->size : 0;
}

static int in_heap(const void *at)
{
    return (uintptr_t)at >= (uintptr_t)heap && (uintptr_t)at < (uintptr_t)heap + HEAP_SIZE;
}

/* Size classes: steps of 16 bytes up to 1 KiB, then four to each power of two; each 8 bytes more. */
static size_t class_of(size_t size, size_t *rounded)
{
    size = size > 8 ? size - 8 : 0;
    if (size <= SMALL) {
        size_t number = (size + STEP - 1) / STEP;
        *rounded = number * STEP + 8;
        return number;
    }
    size_t number = SMALL / STEP + 1;
    for (size_t base = SMALL; number + 4 <= CLASSES; base *= 2)
        for (size_t quarter = 1; quarter <= 4; quarter++, number++)
            if (size <= base + base / 4 * quarter) {
                *rounded = base + base / 4 * quarter + 8;
                return number;
            }
    *rounded = 0;
    return 0;
}

void *heap_malloc(size_t size)
{
    size_t rounded;
    size_t number = class_of(size, &rounded);
    if (rounded == 0)
        return NULL;
    void *block = state.unused[number];
    if (block != NULL) {
        state.unused[number] = *(void **)block;
        return block;
    }
    size_t whole = rounded + sizeof(struct header);
    struct header *header;
    if (whole + 8 <= HEAP_SIZE - state.high - state.low) {
        header = (struct header *)(heap + 8 + state.low);
        state.low += whole;
    } else {
        char *outside = malloc(whole + 8);
        if (outside == NULL)
            return NULL;
        header = (struct header *)(outside + 8);
    }
    header->size = rounded;
    return header + 1;
}

/* Every block has a header of ours, wherever it lies: a freed one is kept for the next of its size. */
void heap_free(void *block)
{
    if (block == NULL || in_a_region(block))
        return;
    size_t rounded;
    size_t number = class_of(((struct header *)block - 1)->size, &rounded);
    *(void **)block = state.unused[number];
    state.unused[number] = block;
}

void *heap_calloc(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    void *block = heap_malloc(count * size);
    if (block != NULL)
        memset(block, 0, count * size);
    return block;
}

void *heap_realloc(void *block, size_t size)
{
    if (block == NULL)
        return heap_malloc(size);
    size_t old = ((struct header *)block - 1)->size;
    if (size <= old)
        return block;
    void *larger = heap_malloc(size);
    if (larger != NULL) {
        memcpy(larger, block, old);
        heap_free(block);
    }
    return larger;
}

void *heap_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    size_t whole = (size + PAGE - 1) & ~(PAGE - 1);
    if (file == -1 && whole <= HEAP_SIZE - state.high - state.low) {
        state.high += whole;
        return heap + HEAP_SIZE - state.high;
    }
    return mmap(at, size, protection, flags, file, offset);
}

/* What the name of the same call is depends on how the interpreter was compiled. */
void *heap_mmap64(void *at, size_t size, int protection, int flags, int file, off_t offset)
{
    return heap_mmap(at, size, protection, flags, file, offset);
}

int heap_munmap(void *at, size_t size)
{
    return in_heap(at) ? 0 : munmap(at, size);
}
