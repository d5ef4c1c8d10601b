// stagewright simulate: the schedule of a .stage file run on a clock with given costs, without a byte of its
// memory.
#include "JsonLine.h"
#include "Plan.h"
#include "PlanJson.h"
#include "Program.h"
#include "Table.h"

#include "runtime/executable/Executable.h"

#include <cmath>
#include <cstdio>
#include <memory>

namespace stagewright::program {

namespace {

struct SimulateOptions {
  std::string file, target;
  std::vector<double> forward, backwardInput, backwardWeight;
  double latency = 0;
  bool json = false;
};

/// One cost for all stages, or one per stage.
Result<std::vector<double>> perStage(const std::string &option, std::vector<double> costs, int stages) {
  if (costs.empty()) {
    costs = {1};
  }
  for (double cost : costs) {
    if (!std::isfinite(cost) || cost < 0) {
      return userError(option, "a cost must be a number of seconds from 0",
                       "give one for all stages, or one per stage");
    }
  }
  if (costs.size() == 1) {
    costs.assign(static_cast<std::size_t>(stages), costs[0]);
  }
  if (costs.size() != static_cast<std::size_t>(stages)) {
    return userError(option,
                     std::to_string(costs.size()) + " costs for " + std::to_string(stages) + " stages",
                     "give one for all stages, or one per stage, separated by commas");
  }
  return costs;
}

Result<schedule::Costs> costsOf(const SimulateOptions &options, int stages) {
  schedule::Costs costs;
  struct {
    const char *option;
    const std::vector<double> &given;
    std::vector<double> &used;
  } fields[] = {{"--forward", options.forward, costs.forward},
                {"--backward-input", options.backwardInput, costs.backwardInput},
                {"--backward-weight", options.backwardWeight, costs.backwardWeight}};
  double sum = 0;
  for (auto &field : fields) {
    Result<std::vector<double>> values = perStage(field.option, field.given, stages);
    if (!values) {
      return values.takeError();
    }
    field.used = *std::move(values);
    for (double cost : field.used) {
      sum += cost;
    }
  }
  if (sum == 0) {
    return userError("--forward", "every task costs nothing", "give at least one stage a cost");
  }
  if (!std::isfinite(options.latency) || options.latency < 0) {
    return userError("--latency", "must be a number of seconds from 0",
                     "leave it out for transfers that take no time");
  }
  costs.latency = options.latency;
  return costs;
}

Result<void> simulate(const SimulateOptions &options) {
  Result<runtime::Executable> plan = runtime::Executable::load(options.file, options.target);
  if (!plan) {
    return plan.takeError();
  }
  const schedule::Schedule &schedule = plan->trainSchedule();
  Result<schedule::Costs> costs = costsOf(options, schedule.stages);
  if (!costs) {
    return costs.takeError();
  }
  Result<schedule::Timeline> timeline = schedule::simulate(schedule, *costs);
  if (!timeline) {
    return timeline.takeError();
  }
  if (options.json) {
    printJsonLine(timelineJson(*timeline));
    return {};
  }
  std::printf("schedule %s: makespan %.6g, bubble %.2f%%\n", schedule.kind.c_str(), timeline->makespan,
              100 * timeline->bubbleFraction());
  Table table({">rank", ">busy", ">idle", ">micro-batches in flight at most"});
  for (std::size_t rank = 0; rank < timeline->ranks.size(); ++rank) {
    table.addRow({std::to_string(rank), decimal(timeline->busy[rank], 6),
                  decimal(timeline->makespan - timeline->busy[rank], 6),
                  std::to_string(timeline->peakInFlight[rank])});
  }
  std::printf("%s\n%s", table.text().c_str(), timelineText(*timeline).c_str());
  return {};
}

} // namespace

Verb addSimulate(CLI::App &program) {
  CLI::App *command =
      program.add_subcommand("simulate", "Run a schedule on a clock: makespan, idle time, bubble, peaks");
  auto options = std::make_shared<SimulateOptions>();
  command->add_option("FILE", options->file, "the staged executable")->option_text("REQUIRED")->required();
  command
      ->add_option("--forward", options->forward, "seconds of F, for all stages or one per stage (default 1)")
      ->option_text("S[,S...]")
      ->delimiter(',');
  command->add_option("--backward-input", options->backwardInput, "seconds of I, likewise")
      ->option_text("S[,S...]")
      ->delimiter(',');
  command->add_option("--backward-weight", options->backwardWeight, "seconds of W, likewise")
      ->option_text("S[,S...]")
      ->delimiter(',');
  command->add_option("--latency", options->latency, "seconds of one transfer between ranks (default 0)")
      ->option_text("S");
  addTarget(*command, options->target);
  command->add_flag("--json", options->json, "one line of JSON");
  command->footer("Example:\n  stagewright simulate fashion_mlp.stage --forward 0.02 --backward-input 0.02 "
                  "--backward-weight 0.02,0.03");
  return {command, [options] { return simulate(*options); }};
}

} // namespace stagewright::program
