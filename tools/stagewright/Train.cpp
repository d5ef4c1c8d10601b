// stagewright train.
#include "EngineCommand.h"
#include "JsonLine.h"
#include "Program.h"
#include "Progress.h"
#include "Table.h"

#include <cstdio>
#include <memory>

namespace stagewright::program {

namespace {

struct TrainFlags {
  runtime::TrainOptions options;
  EngineFlags flags;
  bool findNan = false;
};

nlohmann::ordered_json dnnJson(const cuda::DnnUses &uses) {
  nlohmann::ordered_json json = {{"calls", nlohmann::ordered_json::object()}, {"refusal", nullptr}};
  for (const auto &[kernel, calls] : uses.kernels) {
    if (calls.byDnn + calls.byOwn > 0) {
      json["calls"][kernel] = {{"cudnn", calls.byDnn}, {"own", calls.byOwn}};
    }
  }
  if (!uses.refusal.empty()) {
    json["refusal"] = uses.refusal;
  }
  return json;
}

nlohmann::ordered_json summaryJson(const runtime::TrainSummary &summary) {
  nlohmann::ordered_json json = {{"steps", summary.steps},
                                 {"loss", summary.loss},
                                 {"losses", summary.losses},
                                 {"loss_terms", nlohmann::ordered_json::object()},
                                 {"samples_per_second", summary.samplesPerSecond},
                                 {"weights_sha256", summary.weightsSha256},
                                 {"state_sha256", summary.stateSha256},
                                 {"planned_bytes", summary.plannedBytes},
                                 {"allocated_bytes", summary.allocatedBytes},
                                 {"offloaded_bytes", summary.offloadedBytes},
                                 {"allocations_after_warmup", nullptr},
                                 {"skipped_steps", summary.skippedSteps},
                                 {"loss_scale", nullptr},
                                 {"device_bytes_used", nullptr},
                                 {"captured_graphs", nullptr},
                                 {"cudnn", nullptr}};
  for (const auto &[name, losses] : summary.lossTerms) {
    json["loss_terms"][name] = losses;
  }
  if (summary.lossScale) {
    json["loss_scale"] = *summary.lossScale;
  }
  if (summary.device) {
    json["device_bytes_used"] = summary.device->bytes;
    json["captured_graphs"] = summary.device->graphs;
    json["cudnn"] = dnnJson(summary.device->dnn);
  }
  if (summary.allocationsAfterWarmup) {
    json["allocations_after_warmup"] = *summary.allocationsAfterWarmup;
  }
  return json;
}

void printSummary(const runtime::TrainSummary &summary) {
  std::printf("steps %llu, loss %.6f, %.0f samples/s\n", static_cast<unsigned long long>(summary.steps),
              summary.loss, summary.samplesPerSecond);
  for (const auto &[name, losses] : summary.lossTerms) {
    std::printf("  %s %.6f\n", name.c_str(), losses.empty() ? 0 : losses.back());
  }
  if (summary.skippedSteps > 0) {
    std::printf("skipped steps %llu\n", static_cast<unsigned long long>(summary.skippedSteps));
  }
  std::printf("memory %s bytes planned, %s allocated\n", grouped(summary.plannedBytes).c_str(),
              grouped(summary.allocatedBytes).c_str());
  if (summary.offloadedBytes > 0) {
    std::printf("offloaded %s bytes to host memory\n", grouped(summary.offloadedBytes).c_str());
  }
  std::printf("weights sha256 %s\nstate   sha256 %s\n", summary.weightsSha256.c_str(),
              summary.stateSha256.c_str());
}

Result<void> train(TrainFlags &train) {
  train.flags.trains = true;
  train.flags.saves = !train.options.saveWeights.empty();
  if (train.findNan) {
    train.options.onNotFinite = [](const std::string &line) {
      std::fprintf(stderr, "stagewright: %s\n", line.c_str());
    };
  }
  train.options.onNotice = [](const std::string &line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  return runRanks(train.options, train.flags, [&]() -> Result<void> {
    Progress progress(mayDrawProgress());
    train.options.onStep = [&](const runtime::StepReport &report) {
      for (const char *line : {report.notice, report.line}) {
        if (line) {
          progress.clear();
          std::fprintf(stderr, "%s\n", line);
        }
      }
      char rest[128];
      std::snprintf(rest, sizeof rest, "loss %.4f  lr %.3g  %.0f samples/s", report.loss, report.learningRate,
                    report.samplesPerSecond);
      progress.show(report.step, report.steps, rest);
    };
    Result<runtime::TrainSummary> summary = runtime::train(train.options);
    progress.clear();
    if (!summary) {
      return summary.takeError();
    }
    if (summary->rank == 0) {
      if (train.flags.json) {
        printJsonLine(summaryJson(*summary));
      } else {
        printSummary(*summary);
      }
    }
    return {};
  });
}

} // namespace

Verb addTrain(CLI::App &program) {
  CLI::App *command = program.add_subcommand("train", "Train a staged executable");
  auto train = std::make_shared<TrainFlags>();
  addEngineOptions(*command, train->options, train->flags);
  CLI::Option *steps = command->add_option("--steps", train->options.steps, "steps to train")
                           ->option_text("N")
                           ->check(kFromOne);
  command->add_option("--epochs", train->options.epochs, "passes over the data to train (default 1)")
      ->option_text("N")
      ->check(kFromOne)
      ->excludes(steps);
  command
      ->add_option("--save-weights", train->options.saveWeights,
                   "write the weights at the end, as safetensors")
      ->option_text("FILE");
  command
      ->add_option("--sample-order", train->options.sampleOrder,
                   "take the samples in this order instead of the shuffle: one index per line")
      ->option_text("FILE");
  command->add_flag("--find-nan", train->findNan,
                    "name the kernel that first makes a value that is not finite; steps take longer");
  addLater(*command, "--save", true, "--save-weights FILE writes the weights at the end");
  addLater(*command, "--resume", false, "--init FILE begins with weights that --save-weights wrote");
  command->footer("Example:\n"
                  "  stagewright train fashion_mlp.stage --data /usr/share/datasets/fashion-mnist --epochs 5 "
                  "--save-weights w.safetensors");
  return {command, [train] { return program::train(*train); }};
}

} // namespace stagewright::program
