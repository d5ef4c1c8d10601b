// Every CUDA kernel on a GPU beside its reference in fp64: all cases of the tests, twice and in place, for
// equal bits; products with epilogues beside the two kernels that they take the place of; and the sum over
// ranks beside a plain loop. A line for each; --out writes what docs/cuda_kernels.md is made of.
//
// They run in a child, which begins again with the next one when one breaks the device's state, the process,
// or the time.
#include "ParityChecks.h"

#include "kernels/cuda/emulation/EmulatedGpu.h"
#include "runtime/device/CudaPlugin.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace stagewright::cuda {
namespace {

using Json = nlohmann::ordered_json;

/// Which files a kernel is made of, and their SHA-256.
struct Sources {
  const char *kernel;
  int version;
  const char *family, *sha256;
};
constexpr Sources kSources[] = {
#include "CudaSources.inc"
};

struct Options {
  std::string out, date;
  std::vector<std::string> filter;
  unsigned seconds = 120; ///< for a kernel
  bool emulated = false, forks = true;
};

Json jsonOf(const Outcome &one) {
  return {{"cases", one.cases},        {"passed", one.passed},
          {"refused", one.refused},    {"largest_error", one.largestError},
          {"same_bits", one.sameBits}, {"by_cudnn", one.byDnn},
          {"fault", one.fault}};
}

using Say = std::function<void(const Json &)>;

/// Says what the device is, or {"error", "exit"}, then of each subject from `first` on what came of it.
void serve(const Options &options, std::span<const Subject> subjects, const Say &say) {
  emulation::EmulatedGpu emulated;
  std::error_code ignored;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().parent_path();
  auto opened = options.emulated ? Result<std::unique_ptr<Api>>(emulated.api())
                                 : runtime::openCuda({folder / "lib"}, 0, 1);
  auto device = opened ? (*opened)->properties() : opened.error();
  if (!device) {
    return say({{"error", device.error().text()}, {"exit", static_cast<int>(device.error().kind)}});
  }
  say({{"device", device->name},
       {"compute_capability", std::to_string(device->major) + "." + std::to_string(device->minor)}});
  KernelCache cache(**opened);
  for (const Subject &subject : subjects) {
    alarm(options.forks ? options.seconds : 0);
    Outcome outcome;
    const bool goesOn = check(subject, cache, outcome);
    alarm(0);
    say(jsonOf(outcome));
    if (!goesOn && options.forks) {
      std::_Exit(0); // what is left of the device's state answers nothing but errors
    }
    if (!goesOn) {
      return;
    }
  }
}

/// Serves in a child. Returns how it ended.
int serveInChild(const Options &options, std::span<const Subject> subjects, const Say &say) {
  int ends[2];
  if (pipe(ends) != 0) {
    say({{"error", "there is no pipe"}, {"exit", 3}});
    return 0;
  }
  std::fflush(nullptr);
  const pid_t parent = getpid(), pid = fork();
  if (pid == 0) {
    close(ends[0]);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); // nothing goes on using the GPU when the parent is killed
    if (getppid() != parent) {
      std::_Exit(1);
    }
    std::FILE *const to = fdopen(ends[1], "w");
    serve(options, subjects, [&](const Json &json) {
      std::fputs((json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n").c_str(), to);
      std::fflush(to);
    });
    std::_Exit(0);
  }
  close(ends[1]);
  std::FILE *from = fdopen(ends[0], "r");
  std::string line;
  for (int c; (c = std::fgetc(from)) != EOF;) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    say(Json::parse(line));
    line.clear();
  }
  std::fclose(from);
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

std::string endOf(int status, const Options &options) {
  if (!WIFSIGNALED(status)) {
    return "ended the process with exit code " + std::to_string(WEXITSTATUS(status));
  }
  return WTERMSIG(status) == SIGALRM ? "did not end within " + std::to_string(options.seconds) + " s"
                                     : "ended the process by signal " + std::to_string(WTERMSIG(status));
}

void print(const std::string &label, const Json &one) {
  const auto largest = one["largest_error"];
  const auto counted = [&](const char *key, const char *what) {
    return one[key] > 0 ? ", " + one[key].dump() + what : std::string();
  };
  std::printf("%-32s %s %4zu of %4zu cases, largest error %.3g of its tolerance%s%s%s\n", label.c_str(),
              one["cases"] > 0 && one["passed"] == one["cases"] ? "passed" : "FAILED",
              one["passed"].get<std::size_t>(), one["cases"].get<std::size_t>(),
              largest.is_null() ? HUGE_VAL : largest.get<double>(),
              (counted("by_cudnn", " by cuDNN") + counted("refused", " more without an algorithm")).c_str(),
              one["fault"] == "" ? "" : ": ", one["fault"].get<std::string>().c_str());
}

const Sources *sourcesOf(const Subject &subject) {
  for (const Sources &sources : kSources) {
    if (sources.kernel == subject.name && sources.version == subject.version) {
      return &sources;
    }
  }
  return nullptr;
}

/// What is known so far, on stdout and in the file.
class Report {
public:
  Report(const Options &options, std::vector<Subject> all) : options(options), subjects(std::move(all)) {}

  std::span<const Subject> left() const { return std::span(subjects).subspan(done); }
  bool isEmpty() const { return done == 0; }

  /// What serve() says.
  void hear(const Json &said) {
    if (said.contains("error") || said.contains("device")) {
      device = said;
      known = said.contains("device") ? said : known;
    } else {
      take(said);
    }
  }
  /// Of the next subject.
  void fail(const std::string &fault) {
    Outcome outcome;
    outcome.cases = caseCount(subjects[done]);
    outcome.sameBits = false;
    outcome.fault = fault;
    take(jsonOf(outcome));
  }
  Json device = Json::object(); ///< of the last serve(), or why there is none
  bool allPass = true, isWritten = true;

private:
  void take(Json outcome) {
    const Subject &subject = subjects[done++];
    outcome.update(known);
    outcome["date"] = options.date;
    outcome["sources_sha256"] = sourcesOf(subject)->sha256;
    print(subject.label(), outcome);
    std::fflush(stdout);
    allPass = allPass && outcome["passed"] == outcome["cases"] && outcome["cases"] > 0;
    report["kernels"][subject.label()] = std::move(outcome);
    write();
  }
  /// After each of them, and never half of it: whoever ends the program keeps what is known.
  void write() {
    if (options.out.empty()) {
      return;
    }
    const std::string next = options.out + ".part";
    const bool ok =
        bool(std::ofstream(next) << report.dump(1, ' ', false, Json::error_handler_t::replace) << "\n");
    isWritten = ok && std::rename(next.c_str(), options.out.c_str()) == 0;
  }

  const Options &options;
  const std::vector<Subject> subjects;
  std::size_t done = 0;
  Json known = Json::object(); ///< the device that answered last
  Json report = {{"emulated", options.emulated}, {"kernels", Json::object()}};
};

int complain(const std::string &text, int code) {
  std::fprintf(stderr, "cuda_parity: error: %s\n", text.c_str());
  return code;
}

int run(const Options &options) {
  std::vector<Subject> all = subjects();
  for (const Subject &subject : all) {
    if (!sourcesOf(subject)) {
      const Error error =
          bugError("kernel " + subject.label(), "cuda_kernel_table.py does not find its code");
      return complain(error.text(), static_cast<int>(error.kind));
    }
  }
  for (const std::string &name : options.filter) {
    if (std::ranges::find(all, name, &Subject::name) == all.end()) {
      return complain("--filter: no kernel has the name " + name, 2);
    }
  }
  std::erase_if(all, [&](const Subject &subject) {
    return !options.filter.empty() && std::ranges::find(options.filter, subject.name) == options.filter.end();
  });
  Report report(options, std::move(all));
  const auto say = [&](const Json &said) { report.hear(said); };
  while (!report.left().empty()) {
    report.device = Json::object();
    const std::size_t before = report.left().size();
    int status = 0;
    if (options.forks) {
      status = serveInChild(options, report.left(), say);
    } else {
      serve(options, report.left(), say);
    }
    const bool isOpen = report.device.contains("device");
    const std::string reason =
        report.device.contains("error") ? report.device["error"].get<std::string>() : endOf(status, options);
    if (!isOpen && report.isEmpty()) {
      return complain("the device cannot be opened: " + reason, report.device.value("exit", 3));
    }
    if (!isOpen || !options.forks) { // what an earlier kernel has left does not answer
      while (!report.left().empty()) {
        report.fail(isOpen ? "not run: a kernel before it has broken the device's state"
                           : "not run: the device cannot be opened again: " + reason);
      }
    } else if (!report.left().empty() && (status != 0 || report.left().size() == before)) {
      report.fail(endOf(status, options));
    }
  }
  return !report.isWritten ? complain(options.out + " cannot be written", 3) : report.allPass ? 0 : 1;
}

} // namespace
} // namespace stagewright::cuda

int main(int count, char **arguments) {
  stagewright::cuda::Options options;
  CLI::App program(
      "Runs every CUDA kernel on a GPU beside its reference. Exit code: 0, all are right; 1, some "
      "are not; 2, wrong usage; 3, there is no GPU.");
  program.add_option("--out", options.out, "file for the results, as JSON");
  program.add_option("--date", options.date, "to write into it, as 2026-11-22");
  program.add_option("--filter", options.filter, "only these kernels: names with commas between")
      ->delimiter(',');
  program.add_option("--seconds", options.seconds, "that a kernel may take");
  program.add_flag("--emulated", options.emulated, "on the GPU that the tests emulate");
  program.add_flag(
      "!--no-fork", options.forks,
      "in this process, for tools that do not follow children: no limit of time, and what breaks the "
      "device is the last that runs");
  try {
    program.parse(count, arguments);
  } catch (const CLI::ParseError &error) {
    return program.exit(error) == 0 ? 0 : 2;
  }
  return stagewright::cuda::run(options);
}
