#include "runtime/observe/TraceFile.h"

#include "runtime/device/Futex.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

namespace stagewright::runtime {

static constexpr std::size_t kBufferBytes = std::size_t{1} << 20;
static constexpr std::size_t kLineBytes = 256;

static Error cannotWrite(const std::string &path) {
  return userError(path, std::string("cannot write the trace: ") + std::strerror(errno),
                   "give a path in a folder that exists and can be written");
}

Result<std::unique_ptr<TraceFile>> TraceFile::create(const std::string &path, int process, int ranks) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure)) {
    errno = EISDIR;
    return cannotWrite(path);
  }
  const bool writable = ::access(path.c_str(), F_OK) == 0
                            ? ::access(path.c_str(), W_OK) == 0
                            : ::access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) == 0;
  if (!writable) {
    return cannotWrite(path);
  }
  return std::unique_ptr<TraceFile>(new TraceFile(path, process, ranks));
}

Result<void> TraceFile::open() {
  // Appending writes of whole lines do not tear each other, whichever process makes them.
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (process == 0 ? O_TRUNC : 0);
  descriptor = ::open(path.c_str(), flags, 0666);
  return descriptor < 0 ? Result<void>(cannotWrite(path)) : Result<void>();
}

TraceFile::TraceFile(std::string path, int process, int ranks)
    : path(std::move(path)), process(process), begins(static_cast<std::size_t>(ranks)), buffer(kBufferBytes) {
}

TraceFile::~TraceFile() {
  (void)flush();
  if (descriptor >= 0) {
    ::close(descriptor);
  }
}

Hooks TraceFile::hooks() {
  Hooks hooks;
  hooks.context = this;
  hooks.beforeTask = [](void *context, const TaskEvent &event) {
    static_cast<TraceFile *>(context)->begins[event.rank] = monotonicNanoseconds();
  };
  hooks.afterTask = [](void *context, const TaskEvent &event) {
    auto *file = static_cast<TraceFile *>(context);
    const std::int64_t end = monotonicNanoseconds();
    char line[kLineBytes];
    const int length = std::snprintf(line, sizeof line,
                                     "{\"rank\":%d,\"step\":%" PRIu64 ",\"task\":\"%s\",\"begin\":%" PRId64
                                     ",\"end\":%" PRId64 "}\n",
                                     event.rank, event.step, event.text, file->begins[event.rank], end);
    file->append(line, length);
  };
  hooks.afterExchange = [](void *context, const ExchangeEvent &event) {
    char line[kLineBytes];
    const int length =
        std::snprintf(line, sizeof line,
                      "{\"rank\":%d,\"step\":%" PRIu64 ",\"exchange\":%d,\"stage\":%d,\"bytes\":%" PRIu64
                      ",\"begin\":%" PRId64 ",\"end\":%" PRId64 "}\n",
                      event.rank, event.step, event.number, event.stage, event.bytes, event.begin, event.end);
    static_cast<TraceFile *>(context)->append(line, length);
  };
  return hooks;
}

BusyTrace TraceFile::busyTrace() {
  const auto busy = [](void *context, int worker, std::int64_t begin, std::int64_t end) {
    auto *file = static_cast<TraceFile *>(context);
    char line[kLineBytes];
    const int length = std::snprintf(
        line, sizeof line, "{\"process\":%d,\"worker\":%d,\"begin\":%" PRId64 ",\"end\":%" PRId64 "}\n",
        file->process, worker, begin, end);
    file->append(line, length);
  };
  return {busy, this};
}

void TraceFile::append(const char *line, int length) {
  std::lock_guard lock(mutex);
  if (used + static_cast<std::size_t>(length) > buffer.size()) {
    writeBuffer();
  }
  std::memcpy(buffer.data() + used, line, static_cast<std::size_t>(length));
  used += static_cast<std::size_t>(length);
}

void TraceFile::writeBuffer() {
  std::size_t done = 0;
  while (done < used) {
    const ssize_t put = ::write(descriptor, buffer.data() + done, used - done);
    if (put < 0 && errno == EINTR) {
      continue;
    }
    if (put < 0) {
      failed = true;
      break;
    }
    done += static_cast<std::size_t>(put);
  }
  used = 0;
}

Result<void> TraceFile::flush() {
  std::lock_guard lock(mutex);
  writeBuffer();
  if (failed) {
    return environmentError(path, "the trace could not be written to its end", "make room on the disk");
  }
  return {};
}

} // namespace stagewright::runtime
