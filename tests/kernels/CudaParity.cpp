// Every CUDA kernel on a GPU beside its reference in fp64: all cases of the tests, twice and in place, for
// equal bits. A line for each kernel; --out writes what docs/cuda_kernels.md is made of.
//
// Kernels run in a child, which begins again with the next one when a kernel breaks the device's state, the
// process, or the time.
#include "DeviceRuns.h"

#include "kernels/cuda/emulation/EmulatedGpu.h"
#include "runtime/device/CudaPlugin.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace stagewright::cuda {
namespace {

using Json = nlohmann::ordered_json;
using kernels::Buffer;
using kernels::KernelCase;

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
  bool emulated = false;
};

std::string labelOf(const catalogue::Kernel &kernel) {
  return std::string(kernel.name) + (kernel.version > 1 ? " " + std::to_string(kernel.version) : "");
}

/// By cuDNN sums are rounded to the call's type before a bias or an accumulator is added, and probabilities
/// of attention before they meet the values (docs/cuda.md).
double roundingOfDnn(const KernelCase &one) {
  switch (one.instance.element) {
  case catalogue::DType::BF16:
    return 0x1p-8;
  case catalogue::DType::F16:
    return 0x1p-11;
  default:
    return 0x1p-23;
  }
}

bool sameBits(const std::vector<Buffer> &a, const std::vector<Buffer> &b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!a[i].sameBits(b[i])) {
      return false;
    }
  }
  return true;
}

/// Of one kernel.
struct Outcome {
  std::size_t cases = 0, passed = 0, byDnn = 0;
  double largestError = 0;
  bool sameBits = true;
  std::string fault; ///< the first

  Json json() const {
    return {{"cases", cases},        {"passed", passed},  {"largest_error", largestError},
            {"same_bits", sameBits}, {"by_cudnn", byDnn}, {"fault", fault}};
  }
  void note(const std::string &text) { fault = fault.empty() ? text : fault; }
};

/// Errors: of the device. What is wrong with the call is noted.
Result<void> runOne(const KernelCase &one, KernelCache &cache, DeviceRuns &runs, Outcome &outcome) {
  const std::string name(one.instance.kernel->name);
  const auto callsByDnn = [&] {
    const auto use = cache.dnnUse().find(name);
    return use == cache.dnnUse().end() ? 0 : use->second.byDnn;
  };
  const std::int64_t before = callsByDnn();
  auto first = runs.run(one), second = first ? runs.run(one) : first.error();
  if (!second) {
    return second.takeError();
  }
  const bool isByDnn = callsByDnn() > before;
  outcome.byDnn += isByDnn;
  const Parity parity = compareWithReference(one, *first, isByDnn ? roundingOfDnn(one) : 0);
  outcome.largestError = std::max(outcome.largestError, parity.largestError);
  bool isSame = sameBits(*first, *second);
  for (const catalogue::InPlacePair &pair : one.instance.kernel->inPlace) {
    auto inPlace = runs.run(one, pair);
    if (!inPlace) {
      return inPlace.takeError();
    }
    const auto output = std::size_t(pair.output);
    isSame = isSame && (*inPlace)[output].sameBits((*first)[output]);
  }
  outcome.sameBits = outcome.sameBits && isSame;
  outcome.note(!parity.fault.empty() ? parity.fault
               : isSame              ? ""
                                     : one.text() + " has other bits in another run");
  outcome.passed += parity.fault.empty() && isSame;
  return {};
}

/// False: the device is not to be used any more.
bool runKernel(const catalogue::Kernel &kernel, KernelCache &cache, Outcome &outcome) {
  const std::vector<KernelCase> cases = kernels::casesOf(kernel.name, kernel.version);
  outcome.cases = cases.size();
  DeviceRuns runs(cache);
  for (const KernelCase &one : cases) {
    if (auto ok = runOne(one, cache, runs, outcome); !ok) {
      outcome.note(one.text() + ": " + ok.error().text());
      if (ok.error().kind == ErrorKind::Environment) {
        return false;
      }
    }
  }
  return true;
}

/// The child: lines of JSON about the device, then about each kernel from `first` on.
void serve(const Options &options, const std::vector<const catalogue::Kernel *> &kernels, std::size_t first,
           std::FILE *lines) {
  const auto say = [&](const Json &json) {
    std::fputs((json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n").c_str(), lines);
    std::fflush(lines);
  };
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
  for (std::size_t i = first; i < kernels.size(); ++i) {
    alarm(options.seconds);
    Outcome outcome;
    const bool goesOn = runKernel(*kernels[i], cache, outcome);
    alarm(0);
    say(outcome.json());
    if (!goesOn) {
      std::_Exit(0); // what is left of the device's state answers nothing but errors
    }
  }
}

/// What a child has said, and how it ended.
struct Child {
  std::vector<Json> lines;
  int status = 0;
};

Child runChild(const Options &options, const std::vector<const catalogue::Kernel *> &kernels,
               std::size_t first) {
  Child child;
  int ends[2];
  if (pipe(ends) != 0) {
    return child;
  }
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    serve(options, kernels, first, fdopen(ends[1], "w"));
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
    child.lines.push_back(Json::parse(line));
    line.clear();
  }
  std::fclose(from);
  waitpid(pid, &child.status, 0);
  return child;
}

/// Of a kernel during which the child ended.
Json brokenOff(const catalogue::Kernel &kernel, const Options &options, int status) {
  Outcome outcome;
  outcome.cases = kernels::casesOf(kernel.name, kernel.version).size();
  outcome.sameBits = false;
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  outcome.fault = signal == SIGALRM ? "did not end within " + std::to_string(options.seconds) + " s"
                                    : "ended the process by signal " + std::to_string(signal);
  return outcome.json();
}

void print(const std::string &label, const Json &one) {
  const auto largest = one["largest_error"];
  std::printf("%-32s %s %4zu of %4zu cases, largest error %.3g of its tolerance%s%s%s\n", label.c_str(),
              one["passed"] == one["cases"] ? "passed" : "FAILED", one["passed"].get<std::size_t>(),
              one["cases"].get<std::size_t>(), largest.is_null() ? HUGE_VAL : largest.get<double>(),
              one["by_cudnn"].get<std::size_t>() > 0 ? (", " + one["by_cudnn"].dump() + " by cuDNN").c_str()
                                                     : "",
              one["fault"] == "" ? "" : ": ", one["fault"].get<std::string>().c_str());
}

const Sources *sourcesOf(const catalogue::Kernel &kernel) {
  for (const Sources &sources : kSources) {
    if (sources.kernel == kernel.name && sources.version == kernel.version) {
      return &sources;
    }
  }
  return nullptr;
}

int run(const Options &options) {
  std::vector<const catalogue::Kernel *> kernels = cudaKernels();
  for (const catalogue::Kernel *kernel : kernels) {
    if (!sourcesOf(*kernel)) {
      const Error error =
          bugError("kernel " + labelOf(*kernel), "cuda_kernel_table.py does not find its code");
      std::fprintf(stderr, "cuda_parity: error: %s\n", error.text().c_str());
      return static_cast<int>(error.kind);
    }
  }
  std::erase_if(kernels, [&](const catalogue::Kernel *kernel) {
    return !options.filter.empty() && std::ranges::find(options.filter, kernel->name) == options.filter.end();
  });
  Json report = {{"emulated", options.emulated}, {"kernels", Json::object()}};
  bool allPass = !kernels.empty();
  for (std::size_t next = 0; next < kernels.size();) {
    const Child child = runChild(options, kernels, next);
    if (child.lines.empty() || child.lines[0].contains("error")) {
      const Json answer =
          child.lines.empty() ? Json{{"error", "the device cannot be opened"}, {"exit", 3}} : child.lines[0];
      std::fprintf(stderr, "cuda_parity: error: %s\n", answer["error"].get<std::string>().c_str());
      return answer["exit"];
    }
    std::vector<Json> outcomes(child.lines.begin() + 1, child.lines.end());
    if (child.status != 0 && next + outcomes.size() < kernels.size()) {
      outcomes.push_back(brokenOff(*kernels[next + outcomes.size()], options, child.status));
    }
    for (Json &outcome : outcomes) {
      const catalogue::Kernel &kernel = *kernels[next++];
      outcome.update(child.lines[0]);
      outcome["date"] = options.date;
      outcome["sources_sha256"] = sourcesOf(kernel)->sha256;
      print(labelOf(kernel), outcome);
      std::fflush(stdout);
      allPass = allPass && outcome["passed"] == outcome["cases"] && outcome["cases"] > 0;
      report["kernels"][labelOf(kernel)] = std::move(outcome);
    }
  }
  if (!options.out.empty() && !(std::ofstream(options.out) << report.dump(1) << "\n")) {
    std::fprintf(stderr, "cuda_parity: error: %s cannot be written\n", options.out.c_str());
    return 3;
  }
  return allPass ? 0 : 1;
}

} // namespace
} // namespace stagewright::cuda

int main(int count, char **arguments) {
  stagewright::cuda::Options options;
  CLI::App program(
      "Runs every CUDA kernel on a GPU beside its reference. Exit code: 0, all are right; 1, some "
      "are not; 3, there is no GPU.");
  program.add_option("--out", options.out, "file for the results, as JSON");
  program.add_option("--date", options.date, "to write into it, as 2026-11-22");
  program.add_option("--filter", options.filter, "only these kernels: names with commas between")
      ->delimiter(',');
  program.add_option("--seconds", options.seconds, "that a kernel may take");
  program.add_flag("--emulated", options.emulated, "on the GPU that the tests emulate");
  CLI11_PARSE(program, count, arguments);
  return stagewright::cuda::run(options);
}
