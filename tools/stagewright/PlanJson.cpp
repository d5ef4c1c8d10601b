#include "PlanJson.h"

#include "Plan.h"
#include "SentBytes.h"

#include "catalogue/Catalogue.h"
#include "runtime/executable/TensorSplit.h"

namespace stagewright::program {

using Json = nlohmann::ordered_json;

static std::string text(const flatbuffers::String *string) {
  return string ? string->str() : "";
}

template <typename Vector>
static Json list(const Vector *vector) {
  Json array = Json::array();
  for (auto value : *vector) {
    array.push_back(value);
  }
  return array;
}

static Json modelJson(const runtime::Executable &plan) {
  const executable::Executable &file = plan.file();
  Json inputs = Json::array();
  for (const executable::ModelInput *input : *file.inputs()) {
    inputs.push_back({{"name", text(input->name())},
                      {"role", text(input->role())},
                      {"dtype", executable::EnumNameDType(input->dtype())},
                      {"sample_shape", input->sample_shape() ? list(input->sample_shape()) : Json::array()},
                      {"scale", input->scale()},
                      {"mean", input->mean()},
                      {"deviation", input->deviation()}});
  }
  return {{"name", text(file.model())},  {"sha256", text(file.model_sha256())},
          {"loss", text(file.loss())},   {"loss_terms", plan.lossTerms()},
          {"accuracy", file.accuracy()}, {"inputs", inputs}};
}

static Json schedulerJson(const executable::Scheduler *scheduler) {
  if (!scheduler) {
    return nullptr;
  }
  Json params = Json::object();
  for (const executable::Attribute *param : *scheduler->params()) {
    Json &value = params[text(param->name())];
    if (param->text()) {
      value = text(param->text());
    } else if (param->integer()) {
      value = *param->integer();
    } else {
      value = *param->real(); // the loader has seen that it is one of the three
    }
  }
  return {{"type", text(scheduler->type())}, {"params", params}};
}

static Json recipeJson(const executable::Recipe &recipe) {
  Json groups = Json::array();
  for (unsigned i = 0; recipe.parameter_groups() && i < recipe.parameter_groups()->size(); ++i) {
    const executable::ParameterGroup &group = *recipe.parameter_groups()->Get(i);
    groups.push_back({{"match", text(group.match())},
                      {"learning_rate", group.learning_rate()},
                      {"weight_decay", group.weight_decay()}});
  }
  return {{"train_batch_size", recipe.train_batch_size()},
          {"micro_batch_size", recipe.micro_batch_size()},
          {"micro_batches", recipe.micro_batches()},
          {"data_parallel", recipe.data_parallel()},
          {"tensor_parallel", recipe.tensor_parallel()},
          {"zero", recipe.zero()},
          {"shard_group", recipe.shard_group()},
          {"parameter_servers", recipe.servers()},
          {"seed", recipe.seed()},
          {"shuffle", recipe.shuffle()},
          {"gradient_clipping", recipe.gradient_clipping()},
          {"steps_per_print", recipe.steps_per_print()},
          {"optimizer", text(recipe.optimizer())},
          {"learning_rate", recipe.learning_rate()},
          {"scheduler", schedulerJson(recipe.scheduler())},
          {"parameter_groups", groups}};
}

static Json blocksJson(const executable::Executable &file) {
  Json blocks = Json::array();
  for (const executable::Block *block : *file.blocks()) {
    blocks.push_back({{"name", text(block->name())},
                      {"type", text(block->type())},
                      {"stage", block->stage()},
                      {"output_shape", block->output_shape() ? list(block->output_shape()) : Json::array()},
                      {"parameters", block->parameters()},
                      {"forward_flops", block->forward_flops()},
                      {"backward_flops", block->backward_flops()}});
  }
  return blocks;
}

/// Null: every tensor rank has all of it.
static Json splitJson(const executable::Split *split) {
  return split ? Json{{"dimension", split->dim()}, {"sections", list(split->sections())}} : Json();
}

static Json parametersJson(const executable::Executable &file) {
  Json parameters = Json::array();
  for (const executable::Parameter *parameter : *file.parameters()) {
    const executable::Initializer &initializer = *parameter->initializer();
    parameters.push_back({{"name", text(parameter->name())},
                          {"dtype", executable::EnumNameDType(parameter->dtype())},
                          {"shape", runtime::wholeShape(*parameter)},
                          {"split", splitJson(parameter->split())},
                          {"stage", parameter->stage()},
                          {"holders", parameter->holders() ? list(parameter->holders()) : Json::array()},
                          {"block", parameter->block()},
                          {"trainable", parameter->trainable()},
                          {"group", parameter->group() < 0 ? Json() : Json(parameter->group())},
                          {"initializer",
                           {{"kind", text(initializer.kind())},
                            {"bound", initializer.bound()},
                            {"value", initializer.value()}}}});
  }
  return parameters;
}

static Json buffersJson(const executable::Executable &file) {
  Json buffers = Json::array();
  for (unsigned i = 0; file.buffers() && i < file.buffers()->size(); ++i) {
    const executable::Buffer &buffer = *file.buffers()->Get(i);
    buffers.push_back({{"name", text(buffer.name())},
                       {"dtype", executable::EnumNameDType(buffer.dtype())},
                       {"shape", list(buffer.shape())},
                       {"stage", buffer.stage()},
                       {"block", buffer.block()},
                       {"value", buffer.initializer()->value()}});
  }
  return buffers;
}

static Json memoryJson(const PlanMemory &memory) {
  Json classes = Json::object();
  for (int i = 0; i < kArenaClasses; ++i) {
    classes[className(i)] = memory.byClass[static_cast<std::size_t>(i)];
  }
  Json offloaded = Json::object();
  for (int i = 0; i < kArenaClasses; ++i) {
    std::uint64_t bytes = 0;
    for (const auto &tier : memory.offloaded) {
      bytes += tier[static_cast<std::size_t>(i)];
    }
    if (bytes > 0) {
      offloaded[className(i)] = bytes;
    }
  }
  return {{"planned_bytes", memory.planned},
          {"bytes_by_class", classes},
          {"offloaded_bytes", offloaded},
          {"offload_saves", memory.saved}};
}

static Json rankJson(const runtime::Executable &plan, int rank) {
  const executable::RankPlan &rankPlan = plan.rank(rank);
  Json json = {{"rank", rank}};
  json.update(memoryJson(rankMemory(plan, rank)));
  json["server"] =
      plan.mesh().servers > 0 ? memoryJson(rankMemory(plan, rank, runtime::RankRole::Server)) : Json();
  for (int kind = 0; kind < kSentKinds; ++kind) {
    json["sent_bytes"][sentName(kind)] = sentBytes(plan, rank)[static_cast<std::size_t>(kind)];
  }
  json["arenas"] = Json::array();
  for (const executable::Arena *arena : *rankPlan.arenas()) {
    json["arenas"].push_back({{"name", text(arena->name())},
                              {"class", className(static_cast<int>(arena->arena_class()))},
                              {"tier", executable::EnumNameMemoryTier(arena->tier())},
                              {"bytes", arena->bytes()}});
  }
  json["slot_pools"] = Json::array();
  for (const executable::SlotPool *pool : *rankPlan.pools()) {
    json["slot_pools"].push_back({{"name", text(pool->name())},
                                  {"stage", pool->stage()},
                                  {"arena", pool->arena()},
                                  {"offset", pool->offset()},
                                  {"slots", pool->slots()},
                                  {"slot_bytes", pool->slot_bytes()},
                                  {"first", executable::EnumNameTaskKind(pool->first())},
                                  {"last", executable::EnumNameTaskKind(pool->last())},
                                  {"sent", pool->sent()},
                                  {"train_slots", list(pool->train_slots())},
                                  {"evaluate_slots", list(pool->evaluate_slots())}});
  }
  json["transfers"] = Json::array();
  for (const executable::Transfer *transfer : *rankPlan.transfers()) {
    json["transfers"].push_back({{"kind", executable::EnumNameTaskKind(transfer->kind())},
                                 {"stage", transfer->stage()},
                                 {"peer", transfer->peer()},
                                 {"bytes", transfer->bytes()}});
  }
  json["programs"] = Json::array();
  for (const executable::Program *program : *rankPlan.programs()) {
    Json kernels = Json::array();
    for (const executable::Command *command : *program->commands()) {
      kernels.push_back(text(plan.file().kernels()->Get(command->kernel())->name()));
    }
    json["programs"].push_back({{"kind", executable::EnumNameProgramKind(program->kind())},
                                {"stage", program->stage()},
                                {"kernels", kernels}});
  }
  return json;
}

static Json tasksJson(const std::vector<schedule::Task> &tasks) {
  Json texts = Json::array();
  for (const schedule::Task &task : tasks) {
    texts.push_back(schedule::text(task));
  }
  return texts;
}

static Json scheduleJson(const runtime::Executable &plan, const schedule::Timeline &timeline) {
  const schedule::Schedule &train = plan.trainSchedule(), &evaluate = plan.evaluateSchedule();
  Json ranks = Json::array();
  for (std::size_t rank = 0; rank < train.ranks.size(); ++rank) {
    ranks.push_back({{"rank", rank},
                     {"tasks", tasksJson(train.ranks[rank])},
                     {"evaluation_tasks", tasksJson(evaluate.ranks[rank])}});
  }
  return {{"kind", train.kind},
          {"stages", train.stages},
          {"micro_batches", train.microBatches},
          {"rank_of_stage", train.rankOfStage},
          {"plan_invariant", plan.file().schedule()->plan_invariant()},
          {"ranks", ranks},
          {"simulation", timelineJson(timeline)}};
}

static Json configurationJson(const executable::Executable &file) {
  Json settings = Json::array();
  for (const executable::Setting *setting : *file.settings()) {
    // The value is JSON text; one that does not parse is shown as the text it is.
    Json value = Json::parse(setting->value()->str(), nullptr, false);
    settings.push_back({{"path", text(setting->path())},
                        {"value", value.is_discarded() ? Json(setting->value()->str()) : value},
                        {"origin", text(setting->origin())}});
  }
  return settings;
}

Json timelineJson(const schedule::Timeline &timeline) {
  Json ranks = Json::array();
  for (std::size_t rank = 0; rank < timeline.ranks.size(); ++rank) {
    ranks.push_back({{"busy", timeline.busy[rank]},
                     {"idle", timeline.makespan - timeline.busy[rank]},
                     {"peak_in_flight", timeline.peakInFlight[rank]}});
  }
  return {{"makespan", timeline.makespan}, {"bubble", timeline.bubbleFraction()}, {"ranks", ranks}};
}

/// Memory and ranks of the chosen target.
static Json variantJson(const runtime::Executable &plan) {
  Json json = memoryJson(totalMemory(plan));
  json["ranks"] = Json::array();
  for (int rank = 0; rank < plan.rankCount(); ++rank) {
    json["ranks"].push_back(rankJson(plan, rank));
  }
  return json;
}

Json planJson(runtime::Executable &plan, const schedule::Timeline &timeline,
              const std::vector<std::string> &targets) {
  const executable::Executable &file = plan.file();
  const executable::ResultContract &contract = *file.contract();
  Json variants = Json::array();
  for (const std::string &target : targets) {
    (void)plan.choose(target); // one of the file's
    variants.push_back({{"target", target}});
    variants.back().update(variantJson(plan));
  }
  Json boundaries = list(file.boundaries());
  Json json = {
      {"format", {{"major", file.version_major()}, {"minor", file.version_minor()}}},
      {"compiler", text(file.compiler())},
      {"model", modelJson(plan)},
      {"contract",
       {{"device_family", text(contract.device_family())},
        {"global_batch", contract.global_batch()},
        {"micro_batches", contract.micro_batches()},
        {"data_parallel", contract.data_parallel()},
        {"tensor_parallel", contract.tensor_parallel()},
        {"gradient_reduction", text(contract.gradient_reduction())},
        {"gradient_wire", wireText(contract)},
        {"gradient_compression", compressionText(contract)},
        {"compression_ratio", contract.compression_ratio()},
        {"staleness", contract.staleness()},
        {"tf32", contract.tf32()},
        {"stochastic_rounding", contract.stochastic_rounding()},
        {"gelu_epilogues", contract.gelu_epilogues()}}},
      {"recipe", recipeJson(*file.recipe())},
      {"partition", {{"method", text(file.partition())}, {"boundaries", boundaries}}},
      {"blocks", blocksJson(file)},
      {"parameters", parametersJson(file)},
      {"buffers", buffersJson(file)},
  };
  Json first = variants.front();
  first.erase("target");
  json.update(first);
  if (!isForHostAlone(plan)) {
    json["variants"] = std::move(variants);
  }
  json["schedule"] = scheduleJson(plan, timeline);
  json["configuration"] = configurationJson(file);
  json["explanation"] = text(file.explanation());
  return json;
}

} // namespace stagewright::program
