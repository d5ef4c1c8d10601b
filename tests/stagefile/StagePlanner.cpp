#include "stagefile/StagePlanner.h"

#include <algorithm>

namespace stagewright::stagefile {

using catalogue::DType;
using executable::ProgramKind;
using executable::TaskKind;

static std::uint64_t padded(std::uint64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

static std::uint64_t bytesOf(DType dtype, const catalogue::Shape &shape) {
  return catalogue::byteSize(dtype) * static_cast<std::uint64_t>(catalogue::elements(shape));
}

int StagePlanner::addValue(std::string name, catalogue::Shape shape, TaskKind first, int arena, DType dtype) {
  // A received value lives to the task that waits for it, at least.
  const TaskKind last = first == TaskKind::ReceiveForward    ? TaskKind::Forward
                        : first == TaskKind::ReceiveBackward ? TaskKind::BackwardInput
                                                             : first;
  values.push_back({std::move(name), dtype, std::move(shape), arena, first, last, false, {}});
  return static_cast<int>(values.size()) - 1;
}

/// The value as an operand of a program: its life reaches at least to that program.
StagePlanner::Argument StagePlanner::use(int value, ProgramKind program, catalogue::Shape view) {
  Value &used = values[value];
  const TaskKind task = program == ProgramKind::BackwardInput    ? TaskKind::BackwardInput
                        : program == ProgramKind::BackwardWeight ? TaskKind::BackwardWeight
                                                                 : TaskKind::Forward;
  constexpr TaskKind order[] = {TaskKind::ReceiveForward, TaskKind::Forward,        TaskKind::ReceiveBackward,
                                TaskKind::BackwardInput,  TaskKind::BackwardWeight, TaskKind::AllGather};
  const auto rank = [&](TaskKind kind) { return std::find(std::begin(order), std::end(order), kind); };
  used.last = rank(task) > rank(used.last) ? task : used.last;
  return {value, used.arena, 0, used.dtype, view.empty() ? used.shape : view};
}

StagePlanner::Argument StagePlanner::fixed(int arena, catalogue::Shape shape, DType dtype) {
  Argument result{-1, arena, arenaBytes[arena], dtype, std::move(shape)};
  arenaBytes[arena] += padded(bytesOf(dtype, result.shape));
  return result;
}

StagePlanner::Argument StagePlanner::scalar(std::uint64_t offset, DType dtype, catalogue::Shape shape) const {
  return {-1, Scalars, offset, dtype, std::move(shape)};
}

void StagePlanner::emit(ProgramKind program, const std::string &kernel, std::vector<Argument> arguments,
                        int block, std::map<std::string, double> reals) {
  executable::CommandT command;
  const int version = plan.onCuda() && catalogue::find(kernel, 2) ? 2 : 1;
  auto &kernels = plan.file.kernels;
  const auto known = std::find_if(kernels.begin(), kernels.end(), [&](const auto &entry) {
    return entry->name == kernel && entry->version == version;
  });
  command.kernel = static_cast<std::uint16_t>(known - kernels.begin());
  if (known == kernels.end()) {
    kernels.push_back(std::make_unique<executable::KernelRefT>());
    kernels.back()->name = kernel;
    kernels.back()->version = static_cast<std::uint16_t>(version);
    kernels.back()->kind = "library";
  }
  std::vector<catalogue::Shape> shapes;
  for (const Argument &argument : arguments) {
    auto operand = std::make_unique<executable::OperandT>();
    operand->arena = static_cast<std::uint16_t>(argument.arena);
    operand->pool = static_cast<std::int16_t>(argument.value);
    operand->offset = argument.value < 0 ? argument.offset : 0;
    operand->dtype = static_cast<executable::DType>(argument.dtype);
    operand->shape = argument.shape;
    shapes.push_back(argument.shape);
    command.operands.push_back(std::move(operand));
  }
  for (const auto &[name, value] : reals) {
    command.attributes.push_back(std::make_unique<executable::AttributeT>());
    command.attributes.back()->name = name;
    command.attributes.back()->real = value;
  }
  const catalogue::Kernel *entry = catalogue::find(kernel, version);
  command.workspace = entry && entry->workspaceBytes ? entry->workspaceBytes(shapes, plan.target) : 0;
  arenaBytes[Workspace] = std::max(arenaBytes[Workspace], padded(command.workspace));
  command.block = block;
  programs[program].push_back(std::move(command));
}

void StagePlanner::placeParameters() {
  const bool adam = plan.classifier.optimizer != "sgd";
  const std::vector<std::string> states = adam ? std::vector<std::string>{"exp_avg", "exp_avg_sq"}
                                          : plan.classifier.momentum != 0
                                              ? std::vector<std::string>{"momentum_buffer"}
                                              : std::vector<std::string>{};
  for (int i = 0; i < static_cast<int>(plan.file.parameters.size()); ++i) {
    const executable::ParameterT &parameter = *plan.file.parameters[i];
    if (parameter.stage != stage) {
      continue;
    }
    ParameterPlace &place = places[i];
    place.weight = fixed(Parameters, parameter.shape);
    place.gradient = fixed(Gradients, parameter.shape);
    auto placement = std::make_unique<executable::PlacementT>();
    placement->parameter = i;
    placement->arena = Parameters;
    placement->offset = place.weight.offset;
    const auto addState = [&](const std::string &name, const Argument &where) {
      auto state = std::make_unique<executable::StateSliceT>();
      state->name = name;
      state->arena = static_cast<std::uint16_t>(where.arena);
      state->offset = where.offset;
      state->shape = where.shape;
      placement->states.push_back(std::move(state));
    };
    addState("gradient", place.gradient);
    for (const std::string &name : states) {
      place.states.push_back(fixed(OptimizerState, parameter.shape));
      addState(name, place.states.back());
    }
    rank.placements.push_back(std::move(placement));
    place.packedForward = place.packedInputGradient = place.weight;
    if (parameter.shape.size() == 2 && !plan.onCuda()) {
      const std::int64_t n = parameter.shape[0], k = parameter.shape[1];
      place.packedForward = fixed(Derived, {catalogue::packedElements(k, n)});
      emit(ProgramKind::Prepare, "pack_linear_forward", {place.weight, place.packedForward}, parameter.block);
      if (parameter.block != 1 || !firstStage()) {
        place.packedInputGradient = fixed(Derived, {catalogue::packedElements(n, k)});
        emit(ProgramKind::Prepare, "pack_linear_input_grad", {place.weight, place.packedInputGradient},
             parameter.block);
      }
    }
  }
}

void StagePlanner::forward() {
  const Classifier &c = plan.classifier;
  const std::int64_t m = c.microBatchSize;
  const std::int64_t pixels = catalogue::elements(c.image);
  const std::int64_t widths[] = {pixels, pixels, c.hidden, c.hidden,
                                 c.classes}; // before each block, then at the end
  const int begin = c.boundaries[stage], end = c.boundaries[stage + 1];
  int current;
  if (firstStage()) {
    catalogue::Shape shape{m};
    shape.insert(shape.end(), c.image.begin(), c.image.end());
    current = addValue("image", shape, TaskKind::Forward, Inputs);
    binding(0, current, shape);
  } else {
    current = addValue("input", {m, widths[begin]}, TaskKind::ReceiveForward);
    transfer(TaskKind::ReceiveForward, stage - 1, current);
  }
  for (int block = begin; block < end; ++block) {
    blockInput[block] = current;
    const catalogue::Shape in{m, widths[block]}, out{m, widths[block + 1]};
    const bool linear = block == 1 || block == 3;
    const int result =
        linear ? addValue("output of block " + std::to_string(block), out, TaskKind::Forward) : current;
    for (const ProgramKind program : {ProgramKind::Forward, ProgramKind::Evaluate}) {
      if (linear) {
        const int weight = block == 1 ? 0 : 2;
        emit(program, "linear",
             {use(current, program, in), places[weight].packedForward, use(result, program),
              places[weight + 1].weight},
             block);
      } else if (block == 2) { // in place
        emit(program, "relu", {use(current, program), use(current, program)}, block);
      }
    }
    current = result;
  }
  if (!lastStage() && current == blockInput[begin] && firstStage()) { // a stage that only flattens
    const int copy = addValue("flat", {m, pixels}, TaskKind::Forward);
    for (const ProgramKind program : {ProgramKind::Forward, ProgramKind::Evaluate}) {
      emit(program, "copy", {use(current, program, {m, pixels}), use(copy, program)}, 0);
    }
    current = copy;
  }
  output = current;
  if (!lastStage()) {
    values[output].sent = true;
    transfer(TaskKind::SendForward, stage + 1, output);
  }
}

void StagePlanner::loss() {
  const std::int64_t m = plan.classifier.microBatchSize;
  labels = addValue("label", {m}, TaskKind::Forward, Inputs, DType::I32);
  binding(1, labels, {m});
  const int validRows = addValue("valid_rows", {1}, TaskKind::Forward, Inputs, DType::I32);
  binding(-1, validRows, {1});
  logSumExp = addValue("log_sum_exp", {m}, TaskKind::Forward);
  lossRows = addValue("count", {1}, TaskKind::Forward);
  const int losses = addValue("losses", {1}, TaskKind::Forward, Scalars);
  const int correct = addValue("correct", {1}, TaskKind::Forward, Scalars, DType::I64);
  values[losses].place = plan.scalars.losses;
  values[correct].place = plan.scalars.correct;
  for (const ProgramKind program : {ProgramKind::Forward, ProgramKind::Evaluate}) {
    emit(program, "softmax_cross_entropy",
         {use(output, program), use(labels, program), use(validRows, program), use(losses, program),
          use(logSumExp, program), use(lossRows, program)});
  }
  emit(ProgramKind::Evaluate, "count_correct",
       {use(output, ProgramKind::Evaluate), use(labels, ProgramKind::Evaluate),
        use(validRows, ProgramKind::Evaluate), use(correct, ProgramKind::Evaluate)});
  values[losses].last = values[correct].last = TaskKind::AllGather;
}

void StagePlanner::backward() {
  const Classifier &c = plan.classifier;
  const auto I = ProgramKind::BackwardInput;
  const auto W = ProgramKind::BackwardWeight;
  const std::int64_t m = c.microBatchSize;
  const std::int64_t pixels = catalogue::elements(c.image);
  const std::int64_t widths[] = {pixels, pixels, c.hidden, c.hidden};
  int gradient;
  if (lastStage()) {
    gradient = addValue("gradient of logits", {m, c.classes}, TaskKind::BackwardInput);
    emit(I, "softmax_cross_entropy_grad",
         {use(output, I), use(labels, I), use(logSumExp, I), use(lossRows, I), use(gradient, I)}, -1,
         {{"scale", 1.0 / static_cast<double>(c.microBatches)}});
  } else {
    gradient = addValue("gradient of output", values[output].shape, TaskKind::ReceiveBackward);
    transfer(TaskKind::ReceiveBackward, stage + 1, gradient);
  }
  for (int block = c.boundaries[stage + 1] - 1; block >= c.boundaries[stage]; --block) {
    if (block == 2) { // in place
      emit(I, "relu_grad",
           {use(gradient, I), use(block + 1 < c.boundaries[stage + 1] ? blockInput[3] : output, I),
            use(gradient, I)},
           block);
    } else if (block == 1 || block == 3) {
      const int weight = block == 1 ? 0 : 2;
      const catalogue::Shape in{m, widths[block]};
      emit(W, "linear_weight_grad",
           {use(gradient, W), use(blockInput[block], W, in), places[weight].gradient}, block);
      emit(W, "bias_grad", {use(gradient, W), places[weight + 1].gradient}, block);
      if (block == 3 || !firstStage()) {
        const int next = addValue("gradient of block " + std::to_string(block), in, TaskKind::BackwardInput);
        emit(I, "linear_input_grad", {use(gradient, I), places[weight].packedInputGradient, use(next, I)},
             block);
        gradient = next;
      }
    }
  }
  if (!firstStage()) {
    values[gradient].sent = true;
    transfer(TaskKind::SendBackward, stage - 1, gradient);
  }
}

void StagePlanner::stepEnd() {
  const Classifier &c = plan.classifier;
  const ScalarLayout &s = plan.scalars;
  const Argument coefficient = scalar(s.coefficient, DType::F32);
  if (c.gradientClipping > 0) {
    for (const auto &[index, place] : places) {
      emit(ProgramKind::Norm, "gradient_norm_partials",
           {place.gradient, scalar(s.partialOf[index], DType::F64, {s.granulesOf[index]})});
    }
    emit(ProgramKind::Update, "clip_coefficient",
         {scalar(s.partials, DType::F64, {s.granules}), coefficient, scalar(s.norm, DType::F64)}, -1,
         {{"max_norm", c.gradientClipping}});
  }
  if (lastStage()) {
    emit(ProgramKind::Norm, "mean_loss",
         {scalar(s.losses, DType::F32, {c.microBatches}), scalar(s.loss, DType::F64)});
  }
  for (const auto &[index, place] : places) {
    std::vector<Argument> arguments{place.weight, place.gradient, scalar(s.learningRate, DType::F64),
                                    coefficient};
    const bool sgd = c.optimizer == "sgd";
    arguments.push_back(sgd ? scalar(s.step, DType::I32) : scalar(s.biasCorrections, DType::F64, {2}));
    arguments.insert(arguments.end(), place.states.begin(), place.states.end());
    emit(ProgramKind::Update, sgd ? "sgd" : "adam", arguments, plan.file.parameters[index]->block,
         sgd ? std::map<std::string, double>{{"momentum", c.momentum}} : std::map<std::string, double>{});
  }
}

void StagePlanner::binding(int input, int value, catalogue::Shape shape) {
  auto result = std::make_unique<executable::InputBindingT>();
  result->input = input;
  result->stage = stage;
  result->pool = static_cast<std::uint16_t>(value);
  result->shape = std::move(shape);
  rank.inputs.push_back(std::move(result));
}

void StagePlanner::transfer(TaskKind kind, int peer, int value) {
  auto result = std::make_unique<executable::TransferT>();
  result->kind = kind;
  result->stage = stage;
  result->peer = peer;
  result->pool = static_cast<std::uint16_t>(value);
  result->bytes = bytesOf(values[value].dtype, values[value].shape);
  rank.transfers.push_back(std::move(result));
}

executable::SlotPoolT StagePlanner::pool(const Value &value, std::uint64_t &end) const {
  const schedule::Lifetime lifetime{stage, static_cast<schedule::TaskKind>(value.first),
                                    static_cast<schedule::TaskKind>(value.last), value.sent};
  const schedule::SlotAssignment train = schedule::assignSlots(plan.train, lifetime);
  const schedule::SlotAssignment evaluate = schedule::assignSlots(plan.evaluate, lifetime);
  executable::SlotPoolT result;
  result.name = value.name;
  result.arena = static_cast<std::uint16_t>(value.arena);
  result.slot_bytes = bytesOf(value.dtype, value.shape);
  result.slots = static_cast<std::uint16_t>(std::max(train.slots, evaluate.slots));
  result.stage = stage;
  result.first = value.first;
  result.last = value.last;
  result.sent = value.sent;
  result.train_slots = train.slotOf;
  result.evaluate_slots = evaluate.slotOf;
  if (value.place) {
    result.offset = *value.place;
    return result;
  }
  result.slot_bytes = padded(result.slot_bytes);
  result.offset = end;
  end += result.slot_bytes * result.slots;
  return result;
}

executable::RankPlanT StagePlanner::finish() {
  rank.rank = stage;
  for (const Value &value : values) {
    rank.pools.push_back(std::make_unique<executable::SlotPoolT>(pool(value, arenaBytes[value.arena])));
  }
  constexpr const char *names[] = {"parameters",  "gradients", "optimizer_state", "derived",
                                   "activations", "inputs",    "workspace",       "scalars"};
  constexpr executable::ArenaClass classes[] = {
      executable::ArenaClass::Parameters,     executable::ArenaClass::Gradients,
      executable::ArenaClass::OptimizerState, executable::ArenaClass::Derived,
      executable::ArenaClass::Activations,    executable::ArenaClass::Inputs,
      executable::ArenaClass::Workspace,      executable::ArenaClass::Scalars};
  arenaBytes[Scalars] = plan.scalars.bytes;
  for (int i = 0; i < Arenas; ++i) {
    rank.arenas.push_back(std::make_unique<executable::ArenaT>());
    rank.arenas.back()->name = names[i];
    rank.arenas.back()->arena_class = classes[i];
    rank.arenas.back()->bytes = arenaBytes[i];
  }
  for (const ProgramKind kind : executable::EnumValuesProgramKind()) {
    auto program = std::make_unique<executable::ProgramT>();
    program->kind = kind;
    program->stage = stage;
    for (executable::CommandT &command : programs[kind]) {
      program->commands.push_back(std::make_unique<executable::CommandT>(std::move(command)));
    }
    rank.programs.push_back(std::move(program));
  }
  return std::move(rank);
}

executable::RankPlanT StagePlanner::run() {
  placeParameters();
  forward();
  if (lastStage()) {
    loss();
  }
  backward();
  stepEnd();
  return finish();
}

} // namespace stagewright::stagefile
