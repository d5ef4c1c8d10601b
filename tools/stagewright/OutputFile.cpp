#include "Program.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

namespace stagewright::program {

std::string programPath() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

void addLater(CLI::App &command, const std::string &option, bool takesValue, const std::string &advice) {
  auto refuse = [option, advice] {
    throw CLI::ValidationError(option, "belongs to a later version; " + advice);
  };
  if (takesValue) {
    command.add_option_function<std::string>(option, [refuse](const std::string &) { refuse(); })
        ->expected(0, 1)
        ->group("");
  } else {
    command.add_flag_callback(option, refuse)->group("");
  }
}

static Result<void> writeTemporary(const std::string &temporary, const std::string &text) {
  int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  std::size_t done = 0;
  while (file >= 0 && done < text.size()) {
    ssize_t written = write(file, text.data() + done, text.size() - done);
    if (written < 0) {
      break;
    }
    done += static_cast<std::size_t>(written);
  }
  int reason = errno;
  bool whole = file >= 0 && done == text.size();
  if (file >= 0 && close(file) != 0 && whole) {
    reason = errno;
    whole = false;
  }
  if (!whole) {
    return environmentError(temporary, std::string("cannot be written: ") + std::strerror(reason),
                            "check the folder and the disk");
  }
  return {};
}

Result<void> writeFile(const std::string &path, const std::string &text) {
  // A signal that ends the program waits until the temporary file has its name.
  sigset_t mask, before;
  sigfillset(&mask);
  pthread_sigmask(SIG_SETMASK, &mask, &before);
  std::string temporary = path + ".tmp" + std::to_string(getpid());
  Result<void> result = writeTemporary(temporary, text);
  if (result && std::rename(temporary.c_str(), path.c_str()) != 0) {
    result = environmentError(path, std::string("cannot be written: ") + std::strerror(errno),
                              "check the folder and the disk");
  }
  if (!result) {
    unlink(temporary.c_str());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return result;
}

} // namespace stagewright::program
