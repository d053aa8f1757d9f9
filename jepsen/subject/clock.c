/* A clock that lies as the control page says; loaded before the C library (LD_PRELOAD).
 *
 * CLOCK_REALTIME, gettimeofday and time are shifted by wall_offset_ns. CLOCK_BOOTTIME, by which leases run, goes at
 * rate 1 + rate_ppb / 10^9 from the moment the rate is seen: continuous, and never back. CLOCK_MONOTONIC is left alone,
 * for the kernel's waits run by it. Offsets into the page are given by whoever compiles this (clock_library.py).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL

typedef int (*clock_gettime_function)(clockid_t, struct timespec *);

static volatile char *page;
static clock_gettime_function real_clock_gettime;
static atomic_flag lock = ATOMIC_FLAG_INIT;

/* What the boot clock of this process showed at boot_base_ns of the real one, and its rate since. */
static int64_t boot_base_ns, boot_shown_ns, boot_rate_ppb;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MESH_SUBJECT_PAGE");
    real_clock_gettime = (clock_gettime_function)dlsym(RTLD_NEXT, "clock_gettime");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *address = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (address != MAP_FAILED)
        page = address;
}

static volatile int64_t *field(int offset)
{
    return (volatile int64_t *)(page + offset);
}

static int ask(clockid_t clock, struct timespec *time)
{
    if (real_clock_gettime)
        return real_clock_gettime(clock, time);
    return (int)syscall(SYS_clock_gettime, clock, time);
}

static int64_t ns_of(const struct timespec *time)
{
    return (int64_t)time->tv_sec * NS_PER_S + time->tv_nsec;
}

static void set(struct timespec *time, int64_t ns)
{
    time->tv_sec = ns / NS_PER_S;
    time->tv_nsec = ns % NS_PER_S;
    if (time->tv_nsec < 0) {
        time->tv_nsec += NS_PER_S;
        time->tv_sec--;
    }
}

static void count_read(void)
{
    atomic_fetch_add((_Atomic int64_t *)(page + CLOCK_READS_OFFSET), 1);
}

static int64_t shown_at(int64_t now_ns)
{
    int64_t elapsed_ns = now_ns - boot_base_ns;
    return boot_shown_ns + elapsed_ns + (int64_t)((__int128)elapsed_ns * boot_rate_ppb / NS_PER_S);
}

static int64_t boot_ns(int64_t now_ns)
{
    int64_t wanted_ppb = *field(RATE_PPB_OFFSET);
    if (wanted_ppb == 0 && boot_base_ns == 0)
        return now_ns; /* it was never changed in this process */
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        ;
    if (boot_base_ns == 0)
        boot_base_ns = boot_shown_ns = now_ns;
    if (wanted_ppb != boot_rate_ppb) {
        boot_shown_ns = shown_at(now_ns);
        boot_base_ns = now_ns;
        boot_rate_ppb = wanted_ppb;
    }
    int64_t shown_ns = shown_at(now_ns);
    *field(BOOT_AHEAD_OFFSET) = shown_ns - now_ns;
    atomic_flag_clear_explicit(&lock, memory_order_release);
    count_read();
    return shown_ns;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = ask(clock, time);
    if (result != 0 || page == NULL)
        return result;
    if (clock == CLOCK_BOOTTIME) {
        set(time, boot_ns(ns_of(time)));
    } else if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        int64_t offset_ns = *field(WALL_OFFSET_OFFSET);
        if (offset_ns != 0) {
            set(time, ns_of(time) + offset_ns);
            count_read();
        }
    }
    return result;
}

int gettimeofday(struct timeval *restrict value, void *restrict zone)
{
    struct timespec time;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &time) != 0)
        return -1;
    value->tv_sec = time.tv_sec;
    value->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    if (result != NULL)
        *result = now.tv_sec;
    return now.tv_sec;
}
