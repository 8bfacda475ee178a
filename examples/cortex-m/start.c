/* What a Cortex-M needs before and after main(): a vector table, its memory set up, and output and exit through the debugger. */
#include <stddef.h>
#include <stdint.h>

enum { WRITE_CHARACTER = 0x03, EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026, FAULT = 99 };

extern uint32_t stack_top[], data_source[], data_start[], data_end[], bss_start[], bss_end[];
extern char heap_start[], heap_end[];
int main(void);

/* Semihosting: the emulator does the operation of r0 at a breakpoint with this number. */
static void semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void _exit(int status)
{
    const uint32_t block[2] = {APPLICATION_EXIT, (uint32_t)status};
    for (;;)
        semihost(EXIT_EXTENDED, block);
}

/* What newlib's printf calls. */
int _write(int file, const char *text, int length)
{
    (void)file;
    for (int place = 0; place < length; place++)
        semihost(WRITE_CHARACTER, text + place);
    return length;
}

void *_sbrk(ptrdiff_t size)
{
    static char *end = heap_start;
    char *before = end;
    if (size > heap_end - end)
        return (void *)-1;
    end += size;
    return before;
}

int _close(int file) { (void)file; return -1; }
int _fstat(int file, void *status) { (void)file; (void)status; return -1; }
int _isatty(int file) { (void)file; return 1; }
int _lseek(int file, int offset, int whence) { (void)file; (void)offset; (void)whence; return -1; }
int _read(int file, char *text, int length) { (void)file; (void)text; (void)length; return 0; }
int _kill(int process, int signal) { (void)process; (void)signal; return -1; }
int _getpid(void) { return 1; }

void start(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the floating point unit is on */
    __asm__ volatile("dsb\n isb");
#endif
    for (uint32_t *from = data_source, *to = data_start; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    _exit(main());
}

static void fault(void) { _exit(FAULT); }

/* The first stack pointer, reset, NMI, and the faults: hard, memory, bus, usage. */
__attribute__((section(".vectors"), used)) static void (*const vectors[])(void) = {
    (void (*)(void))stack_top, start, fault, fault, fault, fault, fault,
};
