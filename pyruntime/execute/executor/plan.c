/* The encoded plan: see pyruntime/execute/encoding.py for the format. */
#include <string.h>

#include "executor.h"

static const struct {
    const char *name;
    const char *signature;
} table[LARGEST_OPERATION + 1] = {
#define ENTRY(code, name, signature) [code] = {#name, signature},
    OPERATIONS(ENTRY)
#undef ENTRY
};

const char *operation_name(unsigned code)
{
    return code <= LARGEST_OPERATION ? table[code].name : NULL;
}

const char *operation_signature(unsigned code)
{
    return code <= LARGEST_OPERATION ? table[code].signature : NULL;
}

static uint32_t read32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t read64(const unsigned char *at)
{
    return (uint64_t)read32(at) | (uint64_t)read32(at + 4) << 32;
}

size_t plan_size(const unsigned char *header)
{
    return read32(header + 20);
}

bool plan_open(struct plan *plan, const unsigned char *bytes, size_t size)
{
    if (size < PLAN_HEADER_SIZE || memcmp(bytes, "OCIPLAN1", 8) != 0)
        return false;
    plan->bytes = bytes;
    plan->count = read32(bytes + 8);
    plan->flags = read32(bytes + 12);
    plan->size = read32(bytes + 20);
    plan->position = PLAN_HEADER_SIZE;
    return plan->size <= size && read32(bytes + 16) >= PLAN_HEADER_SIZE && read32(bytes + 16) <= plan->size;
}

/* A block must lie in the data region and be followed by a NUL; only plain bytes may hold others. */
static bool read_block(const struct plan *plan, uint64_t value, char kind, struct argument *argument)
{
    size_t base = read32(plan->bytes + 16);
    size_t offset = value >> 32, size = value & 0xFFFFFFFF, region = plan->size - base;

    if (offset >= region || size >= region - offset)
        return false;
    argument->text = (const char *)plan->bytes + base + offset;
    argument->size = (uint32_t)size;
    if (argument->text[size] != '\0')
        return false;
    if (kind == 's')
        return memchr(argument->text, '\0', size) == NULL;
    return kind == 'b' || size == 0 || argument->text[size - 1] == '\0';
}

bool plan_next(struct plan *plan, struct operation *operation)
{
    size_t limit = read32(plan->bytes + 16);
    const unsigned char *at = plan->bytes + plan->position;

    if (limit - plan->position < 8)
        return false;
    operation->code = (uint16_t)(at[0] | at[1] << 8);
    operation->step = read32(at + 4);
    size_t count = (size_t)(at[2] | at[3] << 8);
    const char *signature = operation_signature(operation->code);
    if (signature == NULL || strlen(signature) != count || (limit - plan->position - 8) / 8 < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = read64(at + 8 + 8 * i);
        operation->arguments[i] = (struct argument){.number = value};
        if (signature[i] != 'i' && !read_block(plan, value, signature[i], &operation->arguments[i]))
            return false;
    }
    plan->position += 8 + 8 * count;
    return true;
}

/* Walk the whole plan once; also finds the longest list, for which room is made before the start. */
bool plan_check(struct plan *plan, uint32_t *largest_list)
{
    struct operation operation;
    struct plan copy = *plan;

    *largest_list = 0;
    for (uint32_t i = 0; i < plan->count; i++) {
        if (!plan_next(&copy, &operation))
            return false;
        const char *signature = operation_signature(operation.code);
        for (size_t k = 0; signature[k] != '\0'; k++) {
            if (signature[k] != 'l')
                continue;
            uint32_t entries = 0;
            for (uint32_t b = 0; b < operation.arguments[k].size; b++)
                entries += operation.arguments[k].text[b] == '\0';
            if (entries > *largest_list)
                *largest_list = entries;
        }
    }
    return true;
}

size_t list_to_vector(const struct argument *list, char **vector)
{
    size_t count = 0;

    for (uint32_t at = 0; at < list->size; at += (uint32_t)strlen(list->text + at) + 1)
        vector[count++] = (char *)(uintptr_t)(list->text + at);
    vector[count] = NULL;
    return count;
}
