/* What the executor's files share: the plan and its arguments, reports, and the door to paths. */
#ifndef EXECUTOR_H
#define EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "operations.h"

#define MOST_ARGUMENTS 10
#define SLOTS 64

/* One argument: a number, or a block in the plan.  Strings end in NUL; a list is `size` bytes of such. */
struct argument {
    uint64_t number;
    const char *text;
    uint32_t size;
};

struct operation {
    uint16_t code;
    uint32_t step;
    struct argument arguments[MOST_ARGUMENTS];
};

/* --- plan.c: the encoded plan, checked whole before anything is done --- */
struct plan {
    const unsigned char *bytes;
    size_t size;
    uint32_t count;
    uint32_t flags;
    size_t position;
};
#define PLAN_HEADER_SIZE 24
#define PLAN_REPORTS_STEPS 1
#define PLAN_CONTINUES 2 /* once it is carried out another one comes */
size_t plan_size(const unsigned char *header);
bool plan_open(struct plan *plan, const unsigned char *bytes, size_t size);
bool plan_check(struct plan *plan, uint32_t *largest_list);
bool plan_next(struct plan *plan, struct operation *operation);
const char *operation_name(unsigned code);
const char *operation_signature(unsigned code);
size_t list_to_vector(const struct argument *list, char **vector);

/* --- report.c: what the parent is told --- */
enum { REPORT_CLONED = 1, REPORT_REACHED, REPORT_FAILED, REPORT_FINISHED, REPORT_NOTICE };
void report_begin(int report_fd, int order_fd);
void report_step(uint32_t step);
void report(uint32_t kind, int64_t value, int error, const char *call, const char *text);
void report_notice(const char *text);
void report_detach(int failure_fd);
_Noreturn void fail(const char *call, const char *text);
_Noreturn void fail_text(int error, const char *text);
void await_order(uint32_t rendezvous);
size_t append(char *buffer, size_t size, size_t length, const char *text);
size_t append_number(char *buffer, size_t size, size_t length, uint64_t number);
const char *error_text(int error);

/* --- main.c: the parent's descriptors have this number and those after it (pyruntime/execute/session.py) --- */
#define PARENT_FDS 9
extern unsigned parent_fds;

/* --- paths.c: the one door to paths inside the container's root --- */
extern int root_fd;
int resolve(const char *path);
int try_resolve(const char *path, uint64_t flags);
int resolve_parent(const char *path, char *name, size_t size);
int make_directory(const char *path, mode_t mode);
int make_target(const char *path, bool directory);
void require_real_directory(const char *path);
void fd_path(char buffer[32], int fd);

/* --- the shared calls of the mount files --- */
int copy_mount(int directory, const char *path, unsigned flags);
int attach_mount(int from, int to);
int set_attributes(int fd, unsigned flags, uint64_t set, uint64_t clear, uint64_t propagation, int namespace_fd);
int bind_fd(int source, int target);
void remount_bind(int fd, unsigned long flags, unsigned long cleared, const char *path);

/* --- security.c --- */
int private_proc(void);

extern int slots[SLOTS];
int *slot(uint64_t number);
extern char **vector_space;

#define DECLARE(code, name, signature) void do_##name(const struct argument *a);
OPERATIONS(DECLARE)
#undef DECLARE

/* Execute and RunHook run programs; what FindExecutable and FindHome found is kept for Execute. */
_Noreturn void execute_path(const char *path, char **arguments, char **environment);

#endif
