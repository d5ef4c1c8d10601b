#include "Program.h"

#include <filesystem>

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

} // namespace stagewright::program
