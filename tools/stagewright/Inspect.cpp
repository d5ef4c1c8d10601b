// stagewright inspect: what a .stage file will do, before it does it.
#include "JsonLine.h"
#include "Plan.h"
#include "PlanJson.h"
#include "Program.h"
#include "SentBytes.h"
#include "Table.h"
#include "TimelineSvg.h"

#include "files/WholeFile.h"
#include "runtime/executable/TensorSplit.h"
#include "runtime/train/LearningRate.h"
#include "schedule/Schedule.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>

namespace stagewright::program {

namespace {

struct InspectOptions {
  std::string file, target, svg;
  bool schedule = false, memory = false, parameters = false, config = false, explain = false, json = false;

  bool anySection() const { return schedule || memory || parameters || config || explain; }
};

void print(const std::string &text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

/// Of a parameter or a buffer.
template <typename Tensor>
std::uint64_t elements(const Tensor &tensor) {
  std::uint64_t count = 1;
  for (std::int64_t size : *tensor.shape()) {
    count *= static_cast<std::uint64_t>(size);
  }
  return count;
}

/// "WarmupLR, warmup_max_lr 0.1, ...".
std::string schedulerText(const executable::Scheduler &scheduler) {
  std::string text = scheduler.type()->str();
  for (const executable::Attribute *param : *scheduler.params()) {
    char value[64];
    std::snprintf(value, sizeof value, "%g", param->real() ? *param->real() : 0.0);
    text += ", " + param->name()->str() + " " +
            (param->text()      ? param->text()->str()
             : param->integer() ? std::to_string(*param->integer())
                                : value);
  }
  return text;
}

/// The rates of some steps: "1: 0, 2: 0, 10: 0.001, ...".
std::string ratesText(const runtime::LearningRate &rate) {
  std::string text;
  for (std::uint64_t step : {1, 2, 10, 100, 1000, 10000, 100000}) {
    char entry[64];
    std::snprintf(entry, sizeof entry, "%s%llu: %g", text.empty() ? "" : ", ",
                  static_cast<unsigned long long>(step), rate.at(step));
    text += entry;
  }
  return text;
}

/// "CrossEntropyLoss + 0.5 MSELoss (kind, box)".
std::string lossText(const runtime::Executable &plan) {
  std::string names;
  for (const std::string &name : plan.lossTerms()) {
    names += (names.empty() ? " (" : ", ") + name;
  }
  return (plan.hasLoss() && plan.file().loss() ? plan.file().loss()->str() : "none") +
         (names.empty() ? "" : names + ")");
}

std::string precisionText(const executable::Recipe &recipe) {
  const std::string compute = recipe.precision() ? recipe.precision()->str() : "fp32";
  if (!recipe.loss_scale()) {
    return compute;
  }
  char text[64];
  std::snprintf(text, sizeof text, ", %s loss scale from %g",
                recipe.loss_scale()->dynamic() ? "dynamic" : "static", recipe.loss_scale()->initial());
  return compute + text;
}

/// What compression leaves of the gradients.
std::string sentPartText(const executable::ResultContract &contract) {
  char text[96] = "";
  if (contract.gradient_compression() == executable::Compression::TopK) {
    std::snprintf(text, sizeof text, ", gradients of replicas compressed to the largest (top_k, ratio %g)",
                  contract.compression_ratio());
  } else if (contract.gradient_compression() == executable::Compression::OneBit) {
    std::snprintf(text, sizeof text, ", gradients of replicas compressed to their signs (one_bit)");
  }
  return text;
}

std::uint64_t wholeElements(const executable::Parameter &parameter) {
  return static_cast<std::uint64_t>(catalogue::elements(runtime::wholeShape(parameter)));
}

/// "dimension 0", "dimension 0 in sections of 24, 24, 24"; "-": every tensor rank has all of it.
std::string splitText(const executable::Parameter &parameter) {
  if (!parameter.split()) {
    return "-";
  }
  std::string text = "dimension " + std::to_string(parameter.split()->dim()), sizes;
  for (const std::int64_t size : *parameter.split()->sections()) {
    sizes += (sizes.empty() ? "" : ", ") + std::to_string(size);
  }
  return parameter.split()->sections()->size() == 1 ? text : text + " in sections of " + sizes;
}

std::string tensorText(const executable::Executable &file) {
  std::uint64_t split = 0, all = 0;
  for (const executable::Parameter *parameter : *file.parameters()) {
    all += wholeElements(*parameter);
    split += parameter->split() ? wholeElements(*parameter) : 0;
  }
  return std::to_string(file.recipe()->tensor_parallel()) + " ranks split " + grouped(split) + " of " +
         grouped(all) + " parameters (--parameters lists them)";
}

std::string summaryText(const runtime::Executable &plan) {
  const executable::Executable &file = plan.file();
  const executable::Recipe &recipe = *file.recipe();
  const executable::ResultContract &contract = *file.contract();
  std::uint64_t parameters = 0;
  for (const executable::Parameter *parameter : *file.parameters()) {
    parameters += wholeElements(*parameter);
  }
  Table table({"model", std::to_string(file.blocks()->size()) + " blocks, " + grouped(parameters) +
                            " parameters, loss " + lossText(plan)});
  table.addRow({"precision", precisionText(recipe)});
  table.addRow(
      {"batch",
       std::to_string(recipe.train_batch_size()) + " samples = " + std::to_string(recipe.micro_batches()) +
           " micro-batches x " + std::to_string(recipe.micro_batch_size()) + " samples x data parallel " +
           std::to_string(recipe.data_parallel()) +
           (recipe.zero() > 0 ? ", ZeRO stage " + std::to_string(recipe.zero()) : "") +
           (recipe.shard_group() > 0 ? " in groups of " + std::to_string(recipe.shard_group()) + " replicas"
                                     : "")});
  if (recipe.servers() > 0) {
    table.addRow({"parameter servers", std::to_string(recipe.servers()) + " of each stage" +
                                           (recipe.tensor_parallel() > 1 ? " and tensor rank" : "") +
                                           (contract.staleness() == 0 ? ", with every update in time" : "")});
  }
  if (recipe.tensor_parallel() > 1) {
    table.addRow({"tensor parallel", tensorText(file)});
  }
  char optimizer[160];
  std::snprintf(optimizer, sizeof optimizer, "%s, learning rate %g, gradient clipping %g",
                recipe.optimizer()->c_str(), recipe.learning_rate(), recipe.gradient_clipping());
  table.addRow({"optimizer", optimizer});
  if (recipe.scheduler()) {
    table.addRow({"learning rate", schedulerText(*recipe.scheduler())});
    table.addRow({"rates of steps", ratesText(*runtime::LearningRate::create(recipe))}); // the loader's proof
  }
  for (unsigned i = 0; recipe.parameter_groups() && i < recipe.parameter_groups()->size(); ++i) {
    const executable::ParameterGroup &group = *recipe.parameter_groups()->Get(i);
    char numbers[96];
    std::snprintf(numbers, sizeof numbers, ", learning rate %g, weight decay %g", group.learning_rate(),
                  group.weight_decay());
    table.addRow({"parameter group " + std::to_string(i), group.match()->str() + numbers});
  }
  table.addRow({"result contract",
                contract.device_family()->str() + ", global batch " +
                    std::to_string(contract.global_batch()) + ", " +
                    std::to_string(contract.micro_batches()) + " micro-batches, data parallel " +
                    std::to_string(contract.data_parallel()) +
                    (contract.tensor_parallel() == 1
                         ? ""
                         : ", tensor parallel " + std::to_string(contract.tensor_parallel())) +
                    ", gradient reduction per " + contract.gradient_reduction()->str() +
                    (contract.gradient_wire() == executable::DType::F32
                         ? ""
                         : ", gradients of replicas rounded to " + wireText(contract)) +
                    (contract.staleness() == 0
                         ? ""
                         : ", weights behind by " + std::to_string(contract.staleness()) + " updates") +
                    sentPartText(contract) + (contract.tf32() ? ", TF32 products" : "") +
                    (contract.stochastic_rounding() ? ", weights rounded by chance" : "") +
                    (contract.gelu_epilogues() ? ", GELU by products on CUDA" : "")});
  return file.model()->str() + " (compiled by " + file.compiler()->str() + ")\n" + table.text();
}

std::string stagesText(const runtime::Executable &plan) {
  const executable::Executable &file = plan.file();
  const schedule::Schedule &schedule = plan.trainSchedule();
  Table table({">stage", ">rank", "layers", ">parameters", ">forward MFLOP", ">backward MFLOP"});
  for (int stage = 0; stage < schedule.stages; ++stage) {
    std::string layers;
    std::uint64_t parameters = 0;
    double forward = 0, backward = 0;
    for (const executable::Block *block : *file.blocks()) {
      if (block->stage() == stage) {
        layers += (layers.empty() ? "" : ", ") + block->name()->str() + " (" + block->type()->str() + ")";
        parameters += block->parameters();
        forward += block->forward_flops();
        backward += block->backward_flops();
      }
    }
    table.addRow({std::to_string(stage),
                  plan.mesh().ranksText(schedule.rankOfStage[static_cast<std::size_t>(stage)]), layers,
                  grouped(parameters), decimal(forward / 1e6, 3), decimal(backward / 1e6, 3)});
  }
  return "stages: " + std::to_string(schedule.stages) + " on " + std::to_string(plan.mesh().size()) +
         " ranks, partition " + file.partition()->str() + " (MFLOP per micro-batch" +
         (plan.mesh().tensor == 1 ? "" : "; parameters and MFLOP of each tensor rank") + ")\n" + table.text();
}

std::string memoryText(const runtime::Executable &plan) {
  std::vector<std::string> titles = {"bytes"};
  std::vector<PlanMemory> columns;
  for (int rank = 0; rank < plan.rankCount(); ++rank) {
    titles.push_back((plan.mesh().perPipelineRank() == 1 ? ">rank " : ">each of ") +
                     plan.mesh().ranksText(rank));
    columns.push_back(rankMemory(plan, rank));
  }
  for (int rank = 0; plan.mesh().servers > 0 && rank < plan.rankCount(); ++rank) {
    titles.push_back(">each server, " + plan.mesh().serversText(rank));
    columns.push_back(rankMemory(plan, rank, runtime::RankRole::Server));
  }
  titles.push_back(">all ranks");
  columns.push_back(totalMemory(plan));

  Table table(titles);
  auto addRow = [&](const std::string &name, auto value) {
    std::vector<std::string> cells = {name};
    for (const PlanMemory &memory : columns) {
      const auto bytes = static_cast<std::int64_t>(value(memory));
      cells.push_back((bytes < 0 ? "-" : "") + grouped(static_cast<std::uint64_t>(std::abs(bytes))));
    }
    table.addRow(cells);
  };
  for (int i = 0; i < kArenaClasses; ++i) {
    auto index = static_cast<std::size_t>(i);
    if (columns.back().byClass[index] > 0) {
      addRow(className(i), [&](const PlanMemory &memory) { return memory.byClass[index]; });
    }
  }
  addRow("rounding up to pages", [](const PlanMemory &memory) { return memory.rounding(); });
  addRow("planned", [](const PlanMemory &memory) { return memory.planned; });
  bool offloads = false;
  for (std::size_t tier = 1; tier < static_cast<std::size_t>(kTiers); ++tier) {
    for (int i = 0; i < kArenaClasses; ++i) {
      auto index = static_cast<std::size_t>(i);
      if (columns.back().offloaded[tier][index] > 0) {
        offloads = true;
        addRow(className(i) + (tier == 1 ? " in host memory" : " in files"),
               [&](const PlanMemory &memory) { return memory.offloaded[tier][index]; });
      }
    }
  }
  if (offloads) {
    addRow("offload saves", [](const PlanMemory &memory) { return memory.saved; });
  }
  return "memory: " + grouped(columns.back().planned) + " bytes planned (" +
         byteText(columns.back().planned) + ")\n" + table.text();
}

/// Empty for one rank, which sends nothing.
std::string sentText(const runtime::Executable &plan) {
  if (plan.mesh().size() == 1) {
    return "";
  }
  std::vector<std::string> titles = {"bytes"};
  std::vector<SentBytes> columns(1); // the last one: all ranks
  for (int rank = 0; rank < plan.rankCount(); ++rank) {
    titles.push_back((plan.mesh().perPipelineRank() == 1 ? ">rank " : ">ranks ") +
                     plan.mesh().ranksText(rank) +
                     (plan.mesh().servers > 0 ? ", " + plan.mesh().serversText(rank) : ""));
    const SentBytes sent = sentBytes(plan, rank);
    for (std::size_t kind = 0; kind < sent.size(); ++kind) {
      columns.back()[kind] += sent[kind];
    }
    columns.insert(std::prev(columns.end()), sent);
  }
  titles.push_back(">all ranks");
  Table table(titles);
  for (int kind = 0; kind < kSentKinds; ++kind) {
    std::vector<std::string> cells = {sentName(kind)};
    for (const SentBytes &sent : columns) {
      cells.push_back(grouped(sent[static_cast<std::size_t>(kind)]));
    }
    if (columns.back()[static_cast<std::size_t>(kind)] > 0) {
      table.addRow(cells);
    }
  }
  return "sent in a step\n" + table.text();
}

std::string poolsText(const runtime::Executable &plan) {
  Table table({">rank", ">stage", "slot pool", "from", "to", ">slots", ">bytes per slot", ">bytes"});
  for (int rank = 0; rank < plan.rankCount(); ++rank) {
    for (const executable::SlotPool *pool : *plan.rank(rank).pools()) {
      table.addRow({plan.mesh().ranksText(rank), std::to_string(pool->stage()), pool->name()->str(),
                    executable::EnumNameTaskKind(pool->first()),
                    pool->sent() ? std::string(executable::EnumNameTaskKind(pool->last())) + ", sent"
                                 : std::string(executable::EnumNameTaskKind(pool->last())),
                    std::to_string(pool->slots()), grouped(pool->slot_bytes()),
                    grouped(pool->slot_bytes() * pool->slots())});
    }
  }
  return "slot pools: one slot per micro-batch in flight\n" + table.text();
}

/// The owner first, then the other stages that hold it: "0, 3".
std::string stagesText(const executable::Parameter &parameter) {
  std::string text = std::to_string(parameter.stage());
  for (unsigned i = 0; parameter.holders() && i < parameter.holders()->size(); ++i) {
    text += ", " + std::to_string(parameter.holders()->Get(i));
  }
  return text;
}

std::string parametersText(const runtime::Executable &plan) {
  const int tensorRanks = plan.mesh().tensor;
  Table table({"parameter", "type", "shape", ">elements", ">stage", "initial values", "trained",
               tensorRanks == 1 ? "" : "split"});
  for (const executable::Parameter *parameter : *plan.file().parameters()) {
    const executable::Initializer &initializer = *parameter->initializer();
    std::string kind = initializer.kind()->str();
    char values[128];
    std::snprintf(values, sizeof values,
                  kind == "constant"  ? "%s %g"
                  : kind == "uniform" ? "%s in +-%.6g"
                                      : "%s, deviation %.6g",
                  kind.c_str(), kind == "constant" ? initializer.value() : initializer.bound());
    table.addRow({parameter->name()->str(), executable::EnumNameDType(parameter->dtype()),
                  runtime::shapeText(runtime::wholeShape(*parameter)), grouped(wholeElements(*parameter)),
                  stagesText(*parameter), values,
                  !parameter->trainable()   ? "no"
                  : parameter->group() >= 0 ? "in group " + std::to_string(parameter->group())
                                            : "yes",
                  tensorRanks == 1 ? "" : splitText(*parameter)});
  }
  return "parameters, in import order\n" + table.text();
}

/// Empty for a model without buffers.
std::string buffersText(const runtime::Executable &plan) {
  const auto *buffers = plan.file().buffers();
  Table table({"buffer", "type", "shape", ">elements", ">stage", ">initial value"});
  for (unsigned i = 0; buffers && i < buffers->size(); ++i) {
    const executable::Buffer &buffer = *buffers->Get(i);
    table.addRow({buffer.name()->str(), executable::EnumNameDType(buffer.dtype()), shapeText(*buffer.shape()),
                  grouped(elements(buffer)), std::to_string(buffer.stage()),
                  decimal(buffer.initializer()->value(), 0)});
  }
  return buffers && buffers->size() ? "\nbuffers, which training updates\n" + table.text() : "";
}

std::string configText(const runtime::Executable &plan) {
  Table table({"setting", "value", "origin"});
  for (const executable::Setting *setting : *plan.file().settings()) {
    table.addRow({setting->path()->str(), setting->value()->str(), setting->origin()->str()});
  }
  return "effective configuration\n" + table.text();
}

std::string headline(const runtime::Executable &plan, const schedule::Timeline &timeline) {
  const schedule::Schedule &schedule = plan.trainSchedule();
  return "schedule " + schedule.kind + ": " + std::to_string(schedule.microBatches) +
         " micro-batches, bubble " + decimal(100 * timeline.bubbleFraction(), 1) + "% of " +
         decimal(timeline.makespan, 0) + " units of time (F, I and W take one each)";
}

std::string scheduleText(const runtime::Executable &plan, const schedule::Timeline &timeline) {
  const runtime::Mesh mesh = plan.mesh();
  const std::string ranks = std::to_string(mesh.perPipelineRank());
  return headline(plan, timeline) +
         (mesh.perPipelineRank() == 1
              ? "\n"
              : "\nof one of the " + ranks + " ranks (" + std::to_string(mesh.replicas) + " replicas x " +
                    std::to_string(mesh.tensor) + " tensor ranks) of each stage: rank r is rank r x " +
                    ranks + " and on\n") +
         timelineText(timeline);
}

std::string tasksText(const runtime::Executable &plan) {
  std::string text = "tasks of a step\n";
  for (int rank = 0; rank < plan.rankCount(); ++rank) {
    text += "  rank " + plan.mesh().ranksText(rank) + ": " +
            schedule::printTasks(plan.trainSchedule().ranks[static_cast<std::size_t>(rank)]) + "\n";
  }
  if (plan.mesh().servers > 0) {
    text += "  of these, ranks from " + std::to_string(plan.mesh().computing()) +
            " on (parameter servers) run REDUCE, NORM, ALL_GATHER, GATHER, and alone UPDATE, SEND_SUM and "
            "RECV_SUM; the others "
            "run the rest\n";
  }
  return text;
}

/// Those that are asked for; a file for the host alone needs no word about it.
std::vector<std::string> targetsOf(const runtime::Executable &plan, const InspectOptions &options) {
  return options.target.empty() ? plan.targets() : std::vector{plan.target()};
}

/// What differs between the targets.
Result<void> addMemory(runtime::Executable &plan, const InspectOptions &options,
                       std::vector<std::string> &sections) {
  for (const std::string &target : targetsOf(plan, options)) {
    if (Result<void> chosen = plan.choose(target); !chosen) {
      return chosen;
    }
    sections.push_back((isForHostAlone(plan) ? "" : "target " + target + "\n\n") + memoryText(plan));
    sections.push_back(sentText(plan));
    sections.push_back(options.memory ? zeroStagesText(plan) : "");
    sections.push_back(poolsText(plan));
    std::erase(sections, "");
  }
  return {};
}

Result<void> inspect(const InspectOptions &options) {
  Result<runtime::Executable> plan = runtime::Executable::load(options.file, options.target);
  if (!plan) {
    return plan.takeError();
  }
  Result<schedule::Timeline> timeline = schedule::simulate(plan->trainSchedule());
  if (!timeline) {
    return timeline.takeError();
  }
  if (!options.svg.empty()) {
    std::string title = plan->file().model()->str() + ": " + headline(*plan, *timeline);
    if (Result<void> written = writeWholeFile(options.svg, timelineSvg(*timeline, title)); !written) {
      return written;
    }
  }
  if (options.json) {
    printJsonLine(planJson(*plan, *timeline, targetsOf(*plan, options)));
    return {};
  }
  std::vector<std::string> sections;
  bool all = !options.anySection() && options.svg.empty();
  if (all) {
    sections = {summaryText(*plan), stagesText(*plan)};
  }
  if (all || options.memory) {
    if (Result<void> added = addMemory(*plan, options, sections); !added) {
      return added;
    }
  }
  if (options.parameters) {
    sections.push_back(parametersText(*plan) + buffersText(*plan));
  }
  if (options.config) {
    sections.push_back(configText(*plan));
  }
  if (options.explain) {
    std::string explanation = plan->file().explanation() ? plan->file().explanation()->str() : "";
    sections.push_back(explanation + (explanation.ends_with('\n') ? "" : "\n"));
  }
  if (all || options.schedule) {
    sections.push_back(scheduleText(*plan, *timeline));
  }
  if (options.schedule) {
    sections.push_back(tasksText(*plan));
  }
  for (std::size_t i = 0; i < sections.size(); ++i) {
    print((i > 0 ? "\n" : "") + sections[i]);
  }
  return {};
}

} // namespace

Verb addInspect(CLI::App &program) {
  CLI::App *command =
      program.add_subcommand("inspect", "Show what a staged executable will do, and with how much memory");
  auto options = std::make_shared<InspectOptions>();
  command->add_option("FILE", options->file, "the staged executable")->option_text("REQUIRED")->required();
  addTarget(*command, options->target);
  command->add_flag("--schedule", options->schedule, "the timeline, and every rank's tasks");
  command->add_flag("--memory", options->memory, "bytes per arena class and rank, and the slot pools");
  command->add_flag("--parameters", options->parameters, "names, shapes, stages and initial values");
  command->add_flag("--config", options->config,
                    "the effective configuration and where each value comes from");
  command->add_flag("--explain", options->explain, "what the search considered");
  command->add_flag("--json", options->json, "everything as one line of JSON (docs/inspect.schema.json)");
  command->add_option("--svg", options->svg, "write the timeline as a picture")->option_text("FILE");
  command->footer("Example:\n  stagewright inspect fashion_mlp.stage --schedule");
  return {command, [options] { return inspect(*options); }};
}

} // namespace stagewright::program
