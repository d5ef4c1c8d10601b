#include "Program.h"

#include <filesystem>

namespace stagewright::program {

std::string programPath() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

std::vector<std::string> moduleFolders() {
  const std::filesystem::path prefix = std::filesystem::path(programPath()).parent_path().parent_path();
  return {prefix / STAGEWRIGHT_LIBDIR / "stagewright", prefix / "lib"};
}

static std::string later(const std::string &advice) {
  return "belongs to a later version; " + advice;
}

void addTarget(CLI::App &command, std::string &target) {
  command
      .add_option("--target", target,
                  "of a file for several devices: host, cuda or one as cuda:sm_90 (default: all)")
      ->option_text("T");
}

void addLater(CLI::App &command, const std::string &option, bool takesValue, const std::string &advice) {
  auto refuse = [option, advice] { throw CLI::ValidationError(option, later(advice)); };
  if (takesValue) {
    command.add_option_function<std::string>(option, [refuse](const std::string &) { refuse(); })
        ->expected(0, 1)
        ->group("");
  } else {
    command.add_flag_callback(option, refuse)->group("");
  }
}

void addLaterVerb(CLI::App &program, const std::string &name, const std::string &advice) {
  CLI::App *command = program.add_subcommand(name)->group("")->allow_extras();
  command->set_help_flag();
  command->parse_complete_callback([name, advice] { throw CLI::ValidationError(name, later(advice)); });
}

} // namespace stagewright::program
