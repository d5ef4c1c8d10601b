// LD_PRELOAD library that writes down every memory call of a process with the stack that made it, for tests
// that check the program's claims about its own memory. STAGEWRIGHT_MEMORY_RECORD=PREFIX turns it on; the
// record goes to PREFIX.<pid> when the process ends:
//
//   process <pid> rank <MPI rank or -1> peak_address_space_kb <VmPeak> dropped <events that did not fit>
//   module <load bias> <first address of code> <end> <path>   (one line per mapped object; addresses in hex)
//   <kind> <monotonic ns> <thread> <signed bytes> <protection> <flags> <frame> <frame> ...
//
// kind: mmap, munmap, mprotect, malloc, free. Frames are return addresses outside this library, libc,
// libstdc++ and libgcc, innermost first, so the first one tells which object asked.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

enum { kFrames = 8, kMaxEvents = 400000, kMaxSkipped = 16, kMaxDepth = 64 };
enum Kind { Mmap, Munmap, Mprotect, Malloc, Free };
static const char *const kKindNames[] = {"mmap", "munmap", "mprotect", "malloc", "free"};

struct Event {
  uint64_t nanoseconds;
  int64_t bytes;
  uintptr_t frames[kFrames];
  int32_t thread, protection, flags;
  uint32_t kind;
};

struct Range {
  uintptr_t begin, end;
};

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static struct Event *events;
static atomic_size_t eventCount;
static struct Range skipped[kMaxSkipped];
static size_t skippedCount;
static bool recording;
static _Thread_local bool inside;

static int noteSkipped(struct dl_phdr_info *info, size_t size, void *self) {
  (void)size;
  uintptr_t begin = UINTPTR_MAX, end = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD)
      continue;
    uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr, stop = start + info->dlpi_phdr[i].p_memsz;
    begin = start < begin ? start : begin;
    end = stop > end ? stop : end;
  }
  const char *name = strrchr(info->dlpi_name, '/');
  name = name ? name + 1 : info->dlpi_name;
  bool skip = (begin <= (uintptr_t)self && (uintptr_t)self < end) || strncmp(name, "libc.so", 7) == 0 ||
              strncmp(name, "libstdc++.so", 12) == 0 || strncmp(name, "libgcc_s.so", 11) == 0 ||
              strncmp(name, "ld-linux", 8) == 0;
  if (skip && skippedCount < kMaxSkipped)
    skipped[skippedCount++] = (struct Range){begin, end};
  return 0;
}

struct Walk {
  uintptr_t *frames;
  int count, depth;
};

static _Unwind_Reason_Code onFrame(struct _Unwind_Context *context, void *argument) {
  struct Walk *walk = argument;
  uintptr_t address = _Unwind_GetIP(context);
  for (size_t i = 0; i < skippedCount; ++i)
    if (skipped[i].begin <= address && address < skipped[i].end)
      return ++walk->depth < kMaxDepth ? _URC_NO_REASON : _URC_END_OF_STACK;
  walk->frames[walk->count++] = address;
  return walk->count < kFrames && ++walk->depth < kMaxDepth ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static void record(enum Kind kind, int64_t bytes, int protection, int flags) {
  if (!recording || inside)
    return;
  inside = true;
  int saved = errno;
  size_t index = atomic_fetch_add(&eventCount, 1);
  if (index < kMaxEvents) {
    struct Event *event = &events[index];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->nanoseconds = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    event->bytes = bytes;
    event->thread = (int32_t)syscall(SYS_gettid);
    event->protection = protection;
    event->flags = flags;
    event->kind = kind;
    struct Walk walk = {event->frames, 0, 0};
    _Unwind_Backtrace(onFrame, &walk);
  }
  errno = saved;
  inside = false;
}

static int printModule(struct dl_phdr_info *info, size_t size, void *file) {
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; ++i)
    if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
      uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
      char path[4096];
      ssize_t length = info->dlpi_name[0] ? -1 : readlink("/proc/self/exe", path, sizeof path - 1);
      path[length > 0 ? length : 0] = 0;
      fprintf(file, "module %zx %zx %zx %s\n", (size_t)info->dlpi_addr, (size_t)start,
              (size_t)(start + info->dlpi_phdr[i].p_memsz), length > 0 ? path : info->dlpi_name);
    }
  return 0;
}

static long peakAddressSpace(void) {
  char line[256];
  long kilobytes = -1;
  FILE *status = fopen("/proc/self/status", "r");
  while (status && fgets(line, sizeof line, status))
    if (sscanf(line, "VmPeak: %ld", &kilobytes) == 1)
      break;
  if (status)
    fclose(status);
  return kilobytes;
}

static void writeRecord(void) {
  static atomic_flag done = ATOMIC_FLAG_INIT;
  if (!recording || atomic_flag_test_and_set(&done))
    return;
  recording = false;
  long peak = peakAddressSpace();
  char path[4096];
  snprintf(path, sizeof path, "%s.%d", getenv("STAGEWRIGHT_MEMORY_RECORD"), (int)getpid());
  FILE *file = fopen(path, "w");
  if (!file)
    return;
  const char *rank = getenv("OMPI_COMM_WORLD_RANK");
  size_t total = atomic_load(&eventCount), count = total < kMaxEvents ? total : kMaxEvents;
  fprintf(file, "process %d rank %s peak_address_space_kb %ld dropped %zu\n", (int)getpid(),
          rank ? rank : "-1", peak, total - count);
  dl_iterate_phdr(printModule, file);
  for (size_t i = 0; i < count; ++i) {
    const struct Event *event = &events[i];
    fprintf(file, "%s %llu %d %lld %d %d", kKindNames[event->kind], (unsigned long long)event->nanoseconds,
            event->thread, (long long)event->bytes, event->protection, event->flags);
    for (int f = 0; f < kFrames && event->frames[f]; ++f)
      fprintf(file, " %zx", (size_t)event->frames[f]);
    fputc('\n', file);
  }
  fclose(file);
}

// A forked child starts a record of its own.
static void forgetParent(void) {
  atomic_store(&eventCount, 0);
}

__attribute__((constructor)) static void start(void) {
  if (!getenv("STAGEWRIGHT_MEMORY_RECORD"))
    return;
  dl_iterate_phdr(noteSkipped, (void *)(uintptr_t)&start);
  void *memory = (void *)syscall(SYS_mmap, NULL, kMaxEvents * sizeof(struct Event), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return;
  events = memory;
  pthread_atfork(NULL, NULL, forgetParent);
  recording = true;
}

__attribute__((destructor)) static void stop(void) {
  writeRecord();
}

void _exit(int code) {
  writeRecord();
  syscall(SYS_exit_group, code);
  __builtin_unreachable();
}

// Plug-ins stay mapped, so that the record can name the object of every call.
int dlclose(void *handle) {
  if (recording)
    return 0;
  int (*next)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, "dlclose");
  return next(handle);
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
  void *result = (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
  if (result != MAP_FAILED)
    record(Mmap, (int64_t)length, protection, flags);
  return result;
}
void *mmap64(void *address, size_t length, int protection, int flags, int file, off_t offset)
    __attribute__((alias("mmap")));

int munmap(void *address, size_t length) {
  int result = (int)syscall(SYS_munmap, address, length);
  if (result == 0)
    record(Munmap, -(int64_t)length, 0, 0);
  return result;
}

int mprotect(void *address, size_t length, int protection) {
  int result = (int)syscall(SYS_mprotect, address, length, protection);
  if (result == 0)
    record(Mprotect, (int64_t)length, protection, 0);
  return result;
}

// What glibc gives is what counts: malloc_usable_size is the same when the block is allocated and when it is
// freed.
static void *recorded(void *block) {
  if (block)
    record(Malloc, (int64_t)malloc_usable_size(block), 0, 0);
  return block;
}

void *malloc(size_t size) {
  return recorded(__libc_malloc(size));
}
void *calloc(size_t count, size_t size) {
  return recorded(__libc_calloc(count, size));
}
void *memalign(size_t alignment, size_t size) {
  return recorded(__libc_memalign(alignment, size));
}
void *aligned_alloc(size_t alignment, size_t size) {
  return recorded(__libc_memalign(alignment, size));
}
int posix_memalign(void **block, size_t alignment, size_t size) {
  void *found = recorded(__libc_memalign(alignment, size));
  if (!found)
    return ENOMEM;
  *block = found;
  return 0;
}

void free(void *block) {
  if (block)
    record(Free, -(int64_t)malloc_usable_size(block), 0, 0);
  __libc_free(block);
}

void *realloc(void *block, size_t size) {
  int64_t before = block ? (int64_t)malloc_usable_size(block) : 0;
  void *result = __libc_realloc(block, size);
  if (before && (result || size == 0))
    record(Free, -before, 0, 0);
  return result ? recorded(result) : result;
}
