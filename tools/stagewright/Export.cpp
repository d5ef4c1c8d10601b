// stagewright export: trained weights as a folder that transformers loads.
#include "Program.h"
#include "Table.h"

#include "runtime/train/FolderExport.h"

#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>
#include <memory>

namespace stagewright::program {

namespace {

struct ExportFlags {
  std::string stage;
  runtime::ExportOptions options;
  bool json = false;
};

runtime::InterruptFlag interruptFlag;

void interrupt(int) {
  interruptFlag.raise();
}

Result<void> exportWeights(ExportFlags &flags) {
  Result<runtime::Executable> executable = runtime::Executable::load(flags.stage, runtime::kAnyTarget);
  if (!executable) {
    return executable.takeError();
  }
  flags.options.interrupt = &interruptFlag;
  for (int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, interrupt); // the unfinished folder is removed
  }
  Result<runtime::ExportSummary> summary = runtime::exportFolder(*executable, flags.options);
  if (!summary) {
    return summary.takeError();
  }
  if (flags.json) {
    nlohmann::ordered_json line = {{"output", flags.options.output},
                                   {"tensors", summary->tensors},
                                   {"bytes", summary->bytes},
                                   {"tokenizer_files", summary->tokenizerFiles}};
    std::printf("%s\n", line.dump().c_str());
    return {};
  }
  std::fprintf(stderr, "%s: config.json and %s tensors of %s\n", flags.options.output.c_str(),
               grouped(summary->tensors).c_str(), byteText(summary->bytes).c_str());
  return {};
}

} // namespace

Verb addExport(CLI::App &program) {
  CLI::App *command = program.add_subcommand("export", "Write trained weights as a Hugging Face folder");
  auto flags = std::make_shared<ExportFlags>();
  command->add_option("FILE", flags->stage, "the staged executable, compiled from a Hugging Face folder")
      ->option_text("REQUIRED")
      ->required();
  command
      ->add_option("--init", flags->options.weights,
                   "the weights: safetensors that train --save-weights wrote, or a Hugging Face folder")
      ->option_text("FILE REQUIRED")
      ->required();
  command->add_option("-o,--output", flags->options.output, "the folder to write")
      ->option_text("DIR REQUIRED")
      ->required();
  command->add_option("--tokenizer", flags->options.tokenizer, "copy the tokenizer's files from this folder")
      ->option_text("DIR");
  command->add_flag("--force", flags->options.replace, "replace an older folder that holds a config.json");
  command->add_flag("--json", flags->json, "describe the written folder on stdout as one line of JSON");
  command->footer("Example:\n"
                  "  stagewright export gpt2.stage --init w.safetensors -o gpt2-tuned --tokenizer gpt2");
  return {command, [flags] { return exportWeights(*flags); }};
}

} // namespace stagewright::program
