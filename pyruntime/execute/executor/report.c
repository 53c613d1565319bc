/* Reports to the parent and orders from it: 512-byte records one way, 4-byte numbers the other. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "executor.h"

struct report {
    uint32_t kind;
    uint32_t step;
    int64_t value;
    int32_t error;
    uint32_t length;
    char call[24];
    char text[464];
};
_Static_assert(sizeof(struct report) == 512, "a report is written whole, at most PIPE_BUF bytes");

static int report_fd = -1, order_fd = -1, failure_fd = -1;
static uint32_t current_step;

void report_begin(int reports, int orders)
{
    report_fd = reports;
    order_fd = orders;
}

void report_step(uint32_t step)
{
    current_step = step;
}

size_t append(char *buffer, size_t size, size_t length, const char *text)
{
    while (*text != '\0' && length + 1 < size)
        buffer[length++] = *text++;
    buffer[length] = '\0';
    return length;
}

size_t append_number(char *buffer, size_t size, size_t length, uint64_t number)
{
    char digits[24];
    size_t at = sizeof digits;

    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) != 0);
    return append(buffer, size, length, digits + at);
}

void report(uint32_t kind, int64_t value, int error, const char *call, const char *text)
{
    struct report message = {.kind = kind, .step = current_step, .value = value, .error = error};

    append(message.call, sizeof message.call, 0, call);
    message.length = (uint32_t)append(message.text, sizeof message.text, 0, text);
    if (report_fd >= 0 && write(report_fd, &message, sizeof message) < 0)
        _exit(1);
}

void report_notice(const char *text)
{
    report(REPORT_NOTICE, 0, 0, "", text);
}

/* From here on the parent is gone: what fails is left in a file for `start` and said on standard error. */
void report_detach(int failures)
{
    close(report_fd);
    close(order_fd);
    report_fd = order_fd = -1;
    failure_fd = failures;
}

const char *error_text(int error)
{
    static char text[96];

    append(text, sizeof text, 0, strerror(error));
    if (text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
        text[0] = (char)(text[0] - 'A' + 'a');
    return text;
}

_Noreturn static void end(int error, const char *call, const char *text)
{
    if (report_fd >= 0) {
        report(REPORT_FAILED, 0, error, call, text);
        _exit(1);
    }
    char line[600];
    size_t length = append(line, sizeof line, 0, call);
    if (call[0] != '\0') {
        length = append(line, sizeof line, length, text[0] != '\0' ? " " : "");
        length = append(line, sizeof line, length, text);
        length = append(line, sizeof line, length, ": ");
        text = error_text(error);
    }
    length = append(line, sizeof line - 1, length, text);
    line[length] = '\n';
    if (write(failure_fd, line, length) < 0 || write(STDERR_FILENO, line, length + 1) < 0)
        _exit(255);
    _exit(255);
}

_Noreturn void fail(const char *call, const char *text)
{
    end(errno, call, text);
}

_Noreturn void fail_text(int error, const char *text)
{
    end(error, "", text);
}

void await_order(uint32_t rendezvous)
{
    uint32_t order;
    ssize_t got;

    while ((got = read(order_fd, &order, sizeof order)) < 0 && errno == EINTR)
        continue;
    /* The parent is gone or confused: without it nothing here may live on. */
    if (got != sizeof order || order != rendezvous)
        _exit(1);
}
