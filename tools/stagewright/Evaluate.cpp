// stagewright eval.
#include "EngineCommand.h"
#include "JsonLine.h"
#include "Program.h"
#include "Progress.h"
#include "Table.h"

#include <cstdio>
#include <memory>

namespace stagewright::program {

namespace {

struct EvaluateFlags {
  runtime::EvaluateOptions options;
  EngineFlags flags;
};

nlohmann::ordered_json summaryJson(const runtime::EvaluationSummary &summary) {
  nlohmann::ordered_json json = {{"samples", summary.samples},
                                 {"loss", nullptr},
                                 {"loss_terms", nlohmann::ordered_json::object()},
                                 {"accuracy", nullptr},
                                 {"samples_per_second", summary.samplesPerSecond},
                                 {"weights_sha256", summary.weightsSha256},
                                 {"planned_bytes", summary.plannedBytes},
                                 {"allocated_bytes", summary.allocatedBytes}};
  if (summary.loss) {
    json["loss"] = *summary.loss;
  }
  for (const auto &[name, loss] : summary.lossTerms) {
    json["loss_terms"][name] = loss;
  }
  if (summary.accuracy) {
    json["accuracy"] = *summary.accuracy;
  }
  return json;
}

Result<void> evaluate(EvaluateFlags &evaluate) {
  return runRanks(evaluate.options, evaluate.flags, [&]() -> Result<void> {
    Progress progress(mayDrawProgress());
    evaluate.options.onSamples = [&](std::uint64_t done, std::uint64_t all) {
      progress.show(done, all, "samples");
    };
    Result<runtime::EvaluationSummary> summary = runtime::evaluate(evaluate.options);
    progress.clear();
    if (!summary) {
      return summary.takeError();
    }
    if (summary->rank != 0) {
      return {};
    }
    if (evaluate.options.init.empty()) {
      std::fprintf(stderr, "evaluating initial weights; use --init F.safetensors for trained ones\n");
    }
    if (evaluate.flags.json) {
      printJsonLine(summaryJson(*summary));
      return {};
    }
    std::printf("samples %s", grouped(summary->samples).c_str());
    if (summary->loss) {
      std::printf(", loss %.6f", *summary->loss);
    }
    for (const auto &[name, loss] : summary->lossTerms) {
      std::printf(", %s %.6f", name.c_str(), loss);
    }
    if (summary->accuracy) {
      std::printf(", accuracy %.4f", *summary->accuracy);
    }
    std::printf(", %.0f samples/s\n", summary->samplesPerSecond);
    return {};
  });
}

} // namespace

Verb addEvaluate(CLI::App &program) {
  CLI::App *command = program.add_subcommand("eval", "Loss, accuracy and outputs on the test data");
  auto evaluate = std::make_shared<EvaluateFlags>();
  addEngineOptions(*command, evaluate->options, evaluate->flags);
  command->get_option("--init")->description(
      "trained weights: safetensors, or a Hugging Face folder (default: the initial weights)");
  command
      ->add_option(
          "--outputs", evaluate->options.outputs,
          "write the last layer's values of all samples, in their order, to this .npz: the array \"outputs\"")
      ->option_text("FILE");
  command->footer(
      "Example:\n"
      "  stagewright eval fashion_mlp.stage --data /usr/share/datasets/fashion-mnist --init w.safetensors");
  return {command, [evaluate] { return program::evaluate(*evaluate); }};
}

} // namespace stagewright::program
