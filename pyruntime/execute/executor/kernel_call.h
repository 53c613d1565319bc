/* A system call without the C library: for code that has no errno of its own, or must not leave its own pages. */
#ifndef KERNEL_CALL_H
#define KERNEL_CALL_H

/* The kernel's answer: negative is an error number. */
static inline __attribute__((always_inline)) long call_kernel(long number, long first, long second, long third)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second), "d"(third)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = first, x1 __asm__("x1") = second;
    register long x2 __asm__("x2") = third;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory", "cc");
    return x0;
#else
#error "write call_kernel for this processor"
#endif
}

#endif
