// The thin program: parses the command line, runs one verb, and prints what went wrong in one line.
#include "Program.h"

#include "runtime/launch/ProcessLauncher.h"

#include <cctype>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <unistd.h>
#include <vector>

using namespace stagewright;
using namespace stagewright::program;

/// For verbs that only read, or write one file by a rename: nothing to tidy up.
static void leave(int) {
  static constexpr char kMessage[] = "stagewright: interrupted\n";
  (void)!write(STDERR_FILENO, kMessage, sizeof kMessage - 1);
  _exit(static_cast<int>(ErrorKind::Interrupted));
}

static int fail(const Error &error) {
  if (!runtime::reportError(error)) {
    std::fprintf(stderr, "stagewright: error: %s\n", error.text().c_str());
  }
  return static_cast<int>(error.kind);
}

/// Library exceptions stop here.
static Result<void> guarded(const std::function<Result<void>()> &run) {
  try {
    return run();
  } catch (const std::bad_alloc &) {
    return environmentError("memory", "the machine has not enough of it",
                            "use a smaller plan; inspect --memory shows it");
  } catch (const std::exception &exception) {
    return bugError("", exception.what());
  }
}

/// Results are worth nothing if stdout did not take them.
static Result<void> flushResults() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    return environmentError("stdout", "the result cannot be written",
                            "check the disk or the pipe that it goes to");
  }
  return {};
}

/// "command line: the following argument was not expected: --jsn; see stagewright inspect --help"
static Error commandLineError(const std::string &what, const std::string &verb) {
  std::string text = what;
  if (text.size() > 1 && text[1] >= 'a' && text[1] <= 'z') {
    text[0] = static_cast<char>(std::tolower(text[0]));
  }
  // "--stages: 1 required INT:INT in [1 - 1000000000] missing"
  std::size_t required = text.find(": 1 required ");
  if (required != std::string::npos && text.ends_with(" missing")) {
    text = text.substr(0, required) + ": the value is missing";
  }
  return userError("command line", text, "see stagewright " + verb + (verb.empty() ? "" : " ") + "--help");
}

static Result<void> runVerb(CLI::App &program, const std::vector<Verb> &verbs) {
  for (const Verb &verb : verbs) {
    if (verb.command->parsed()) {
      return guarded(verb.run);
    }
  }
  return commandLineError("no verb given", "");
}

int main(int count, char **arguments) {
  for (int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, leave);
  }
  std::signal(SIGXFSZ, SIG_IGN); // a file that may not grow is an error of its write
  CLI::App program(
      "Compiles a neural network into a staged executable and trains it with a pipeline schedule",
      "stagewright");
  program.get_formatter()->label("SUBCOMMAND", "VERB");
  program.set_version_flag("--version", "stagewright " STAGEWRIGHT_VERSION, "print the version");
  program.require_subcommand(0, 1);
  program.footer(
      "'stagewright VERB --help' lists a verb's options and shows an example.\n\n"
      "Exit codes: 0 done, 2 wrong input, 3 trouble with this machine, 4 a rank died or stands still,\n"
      "70 a bug of ours, 130 interrupted");
  std::vector<Verb> verbs = {addCompile(program),  addInspect(program), addTrain(program),
                             addEvaluate(program), addExport(program),  addSimulate(program)};
  addLaterVerb(program, "launch", "train --ranks processes uses the cores of one machine");
  addLaterVerb(program, "report", "ctest --preset fast says what works on this machine");
  addLaterVerb(program, "tune", "simulate plays a plan with any costs, and compile makes plans");
  program.set_help_flag("-h,--help", "print this help");
  for (const Verb &verb : verbs) {
    verb.command->set_help_flag("-h,--help", "print this help");
    verb.command->group("Verbs");
  }
  try {
    program.parse(count, arguments);
  } catch (const CLI::Success &success) {
    return program.exit(success);
  } catch (const CLI::ParseError &error) {
    std::vector<CLI::App *> parsed = program.get_subcommands();
    bool known = !parsed.empty() && !parsed[0]->get_group().empty();
    return fail(commandLineError(error.what(), known ? parsed[0]->get_name() : ""));
  }
  Result<void> result = runVerb(program, verbs);
  if (result) {
    result = flushResults();
  }
  return result ? 0 : fail(result.error());
}
