// stagewright compile: hands the request to the compiler module, proves what it made with the loader, writes
// it.
#include "Plan.h"
#include "Program.h"
#include "Table.h"

#include "compiler/OpenCompiler.h"
#include "files/WholeFile.h"
#include "frontends/huggingface/HuggingFaceFolder.h"
#include "runtime/executable/Executable.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <memory>

namespace stagewright::program {

namespace fs = std::filesystem;

namespace {

struct CompileOptions {
  CompileRequest request;
  std::string output; ///< "-": stdout
  bool json = false;
};

/// What the IR of --resume-from holds already cannot be given again.
Result<void> checkResumption(const CompileRequest &request) {
  const std::pair<const char *, bool> decided[] = {{"MODEL", !request.model.empty()},
                                                   {"--config", !request.config.empty()},
                                                   {"--stages", request.stages.has_value()},
                                                   {"--sequence-length", request.sequenceLength.has_value()},
                                                   {"--data-parallel", request.dataParallel.has_value()},
                                                   {"--tensor-parallel", request.tensorParallel.has_value()},
                                                   {"--micro-batches", request.microBatches.has_value()},
                                                   {"--target", !request.targets.empty()},
                                                   {"--schedule", request.schedule.has_value()},
                                                   {"--partition", request.partition.has_value()}};
  for (const auto &[option, given] : decided) {
    if (given) {
      return userError(option, "it is in the IR of --resume-from already", "leave one of the two out");
    }
  }
  return {};
}

/// MODEL may be a Hugging Face folder, or one that holds model.json and, as the default of --config,
/// config.json.
Result<void> resolveModel(CompileRequest &request) {
  if (!request.resumeFrom.empty()) {
    return checkResumption(request);
  }
  if (request.model.empty()) {
    return userError("MODEL", "no model given", "name a model file, or a folder that holds model.json");
  }
  std::error_code ignored;
  std::string advice = "name a DeepSpeed-style JSON file with -c CONFIG";
  if (fs::is_directory(request.model, ignored)) {
    fs::path folder = request.model;
    Result<FolderKind> kind = modelFolderKind(folder);
    if (!kind) {
      return kind.takeError();
    }
    if (*kind == FolderKind::HuggingFace) {
      advice += "; the folder's config.json describes the model";
    } else {
      request.model = folder / "model.json";
      if (request.config.empty() && fs::exists(folder / "config.json", ignored)) {
        request.config = folder / "config.json";
      }
    }
  }
  if (request.config.empty()) {
    return userError("--config", "no configuration given", advice);
  }
  return {};
}

Result<void> write(const std::string &path, const std::vector<std::uint8_t> &bytes) {
  std::string_view text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  if (path == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) == 0 ? Result<void>()
                                    : environmentError("stdout", "cannot be written", "check where it goes");
  }
  return writeWholeFile(path, text);
}

/// The loader proves the bytes before they take the place of an older file.
Result<void> writeExecutable(const CompileOptions &options, const std::vector<std::uint8_t> &bytes) {
  const std::string &path = options.output, &text = options.request.resumeFrom;
  Result<runtime::Executable> loaded = runtime::Executable::fromBytes(bytes, path, runtime::kAnyTarget);
  if (!loaded) {
    std::string what = "the compiled file is refused by the loader: " + loaded.error().text();
    return text.empty() ? bugError(path, what)
                        : userError(text, what, "give the text that --compile-to wrote");
  }
  if (Result<void> written = write(path, bytes); !written) {
    return written;
  }
  std::uint64_t planned = totalMemory(*loaded).planned, size = bytes.size();
  std::string memory;
  nlohmann::ordered_json plannedOf;
  for (const std::string &target : loaded->targets()) {
    (void)loaded->choose(target); // one of the file's
    const std::uint64_t bytesOfTarget = totalMemory(*loaded).planned;
    memory += (memory.empty() ? "" : ", ") + byteText(bytesOfTarget) +
              (isForHostAlone(*loaded) ? "" : " (" + target + ")");
    plannedOf[target] = bytesOfTarget;
  }
  if (options.json) {
    nlohmann::ordered_json line = {{"output", path},
                                   {"bytes", size},
                                   {"stages", loaded->trainSchedule().stages},
                                   {"ranks", loaded->mesh().size()},
                                   {"planned_bytes", planned}};
    if (!isForHostAlone(*loaded)) {
      line["planned_bytes_of_targets"] = std::move(plannedOf);
    }
    std::printf("%s\n", line.dump().c_str());
    return {};
  }
  std::fprintf(stderr, "%s: %s in %d stages, schedule %s, %s of memory on %d ranks\n", path.c_str(),
               loaded->file().model()->c_str(), loaded->trainSchedule().stages,
               loaded->trainSchedule().kind.c_str(), memory.c_str(), loaded->mesh().size());
  return {};
}

Result<void> compile(CompileOptions &options) {
  CompileRequest &request = options.request;
  if (Result<void> resolved = resolveModel(request); !resolved) {
    return resolved;
  }
  bool toFile = request.compileTo.empty();
  if (!toFile && options.json) {
    return userError("--json", "it describes a staged executable, and --compile-to writes IR",
                     "leave one of the two out");
  }
  if (toFile && options.output == "-") {
    return userError("--output -", "only the text of --compile-to goes to stdout",
                     "name a file, as -o x.stage");
  }
  if (options.output.empty()) {
    if (toFile) {
      return userError("--output", "no output file given", "add -o x.stage");
    }
    options.output = "-";
  }
  // It maps 257 MB of libMLIR, so that only this verb loads it.
  Result<CompileFunction> compiler = openCompiler(moduleFolders());
  if (!compiler) {
    return compiler.takeError();
  }
  CompileOutcome outcome;
  (*compiler)(request, outcome);
  if (!outcome.result) {
    return outcome.result;
  }
  for (const std::string &path : outcome.settingsWithoutEffect) {
    std::fprintf(stderr, "%s: %s is accepted and has no effect here\n", request.config.c_str(), path.c_str());
  }
  return toFile ? writeExecutable(options, outcome.bytes) : write(options.output, outcome.bytes);
}

} // namespace

Verb addCompile(CLI::App &program) {
  CLI::App *command =
      program.add_subcommand("compile", "Compile a model and a configuration into a staged executable");
  auto options = std::make_shared<CompileOptions>();
  CompileRequest &request = options->request;
  command
      ->add_option(
          "MODEL", request.model,
          "LayerSpec JSON, a folder that holds model.json (and config.json), or a Hugging Face folder")
      ->option_text(" ");
  command
      ->add_option("-c,--config", request.config,
                   "DeepSpeed-style JSON; default: config.json of the model's folder")
      ->option_text("CONFIG");
  command
      ->add_option("-o,--output", options->output,
                   "the file to write; with --compile-to the default is stdout")
      ->option_text("x.stage");
  command->add_option("--stages", request.stages, "pipeline stages")->option_text("N")->check(kFromOne);
  command
      ->add_option("--data-parallel", request.dataParallel,
                   "replicas of the pipeline, each with ranks of its own")
      ->option_text("D")
      ->check(kFromOne);
  command
      ->add_option("--tensor-parallel", request.tensorParallel,
                   "ranks that split the parameters of each stage between them")
      ->option_text("T")
      ->check(kFromOne);
  command
      ->add_option("--micro-batches", request.microBatches, "micro-batches per step (gradient accumulation)")
      ->option_text("M")
      ->check(kFromOne);
  command
      ->add_option("--sequence-length", request.sequenceLength,
                   "tokens of a sample, of a Hugging Face folder (default: all its positions)")
      ->option_text("N")
      ->check(kFromOne);
  command->add_option("--schedule", request.schedule, "gpipe, 1f1b or zb-h1")->option_text("S");
  command
      ->add_option("--partition", request.partition,
                   "parameters, uniform or explicit:B1,B2,... (first blocks of stages 1, 2, ...)")
      ->option_text("P");
  command
      ->add_option(
          "--target", request.targets,
          "devices to compile for: host, cuda:sm_80, cuda:sm_90, cuda:sm_100, or several with commas between")
      ->option_text("T[,T...]")
      ->delimiter(',');
  command->add_option("--compile-to", request.compileTo, "stop after this phase and write its IR as text")
      ->option_text("PHASE");
  command->add_option("--resume-from", request.resumeFrom, "go on from IR that --compile-to wrote")
      ->option_text("FILE");
  command->add_flag("--json", options->json, "describe the written file on stdout as one line of JSON");
  addLater(*command, "--cluster", true, "--stages N uses more ranks");
  command->footer(
      "Phases: import, precision, search, partition, differentiate, parallel, schedule, memory, lower\n\n"
      "Example:\n"
      "  stagewright compile models/fashion_mlp --stages 2 --schedule 1f1b -o fashion_mlp.stage");
  return {command, [options] { return compile(*options); }};
}

} // namespace stagewright::program
