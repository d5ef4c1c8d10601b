#include "runtime/exec/Executor.h"

#include <cstring>

namespace stagewright::runtime {

Result<std::unique_ptr<Executor>> Executor::create(const Executable &executable,
                                                   const RankEnvironment &environment) {
  std::unique_ptr<Executor> executor(new Executor(executable, environment));
  if (auto ok = executor->load(); !ok) {
    return ok.takeError();
  }
  return executor;
}

/// Of the ranks of one replica.
static std::vector<Segment> segmentsOf(const executable::Collective &collective, const ArenaBases &bases,
                                       const Mesh &mesh, int replica) {
  std::vector<Segment> segments;
  for (const executable::Segment *segment : *collective.segments()) {
    segments.push_back({mesh.rank(segment->rank(), replica), bases[collective.arena()] + segment->offset(),
                        segment->bytes()});
  }
  return segments;
}

Result<void> Executor::load() {
  const Mesh &mesh = environment.mesh;
  const int pipelineRank = mesh.pipelineRank(rank());
  for (const executable::Arena *arena : *plan().arenas()) {
    auto allocated = environment.device.allocate(arena->name()->str(), arena->bytes());
    if (!allocated) {
      return allocated.takeError();
    }
    bases.push_back(allocated->data());
    arenas.push_back(std::move(*allocated));
  }
  for (const executable::Program *program : *plan().programs()) {
    auto prepared = PreparedProgram::prepare(file, mesh, rank(), *program, bases, environment.isa);
    if (!prepared) {
      return prepared.takeError();
    }
    programs.push_back(std::move(*prepared));
  }
  const auto tasksOf = [&](schedule::Purpose purpose) {
    return planTasks(file, pipelineRank, replica(), purpose, bases, environment.poison);
  };
  trainTasks = tasksOf(schedule::Purpose::Training);
  evaluateTasks = tasksOf(schedule::Purpose::Evaluation);
  for (TaskPlan *tasks : {&trainTasks, &evaluateTasks}) {
    for (Post &post : tasks->posts) {
      post.peer = mesh.rank(post.peer, replica());
    }
  }
  trainCollective = segmentsOf(*plan().train_collective(), bases, mesh, replica());
  evaluateCollective = segmentsOf(*plan().evaluate_collective(), bases, mesh, replica());
  planExchanges();
  requests.resize(trainTasks.requests);
  for (const Hooks &hooks : environment.hooks) {
    replacesBodies = replacesBodies || hooks.replaceBody;
  }
  return {};
}

RankGroup Executor::replicas() const {
  const Mesh &mesh = environment.mesh;
  return {mesh.rank(mesh.pipelineRank(rank()), 0), 1, mesh.replicas};
}

/// What belongs to single replicas. Evaluation, on the first replica alone, exchanges nothing.
void Executor::planExchanges() {
  if (environment.mesh.replicas == 1) {
    return;
  }
  for (unsigned i = 0; plan().reductions() && i < plan().reductions()->size(); ++i) {
    const executable::Reduction &sum = *plan().reductions()->Get(i);
    if (sum.replica() >= 0) {
      sums[sum.stage()].push_back(
          {replicas().at(sum.replica()), data(sum.arena(), sum.offset()), sum.bytes()});
    }
  }
  for (unsigned i = 0; plan().gathers() && i < plan().gathers()->size(); ++i) {
    const executable::ReplicaGather &piece = *plan().gathers()->Get(i);
    gathers[piece.stage()].push_back(
        {replicas().at(piece.replica()), data(piece.arena(), piece.offset()), piece.bytes()});
  }
}

void *Executor::scalar(std::string_view name) const {
  for (const executable::Scalar *scalar : *plan().scalars()) {
    if (scalar->name()->string_view() == name) {
      return data(scalar->arena(), scalar->offset());
    }
  }
  return nullptr;
}

Result<void> Executor::train(InputSource &source, std::uint64_t step) {
  return run(trainTasks, trainCollective, source, true, step);
}

Result<void> Executor::evaluate(InputSource &source, std::uint64_t pass, OutputSink *outputs) {
  return run(evaluateTasks, evaluateCollective, source, false, pass, outputs);
}

void Executor::prepareWeights() {
  TilePool::Lease lease(environment.pool);
  for (unsigned i = 0; i < programs.size(); ++i) {
    if (plan().programs()->Get(i)->kind() == executable::ProgramKind::Prepare) {
      programs[i].run(trainTasks.slotsOf(-1), environment.pool, environment.status, environment.hooks);
    }
  }
}

Result<void> Executor::run(TaskPlan &tasks, const std::vector<Segment> &collective, InputSource &source,
                           bool training, std::uint64_t step, OutputSink *outputs) {
  for (const DeadBytes &bytes : tasks.deadAtEnd) {
    poison(bytes);
  }
  int position = 0;
  for (const PlannedTask &task : tasks.tasks) {
    if (environment.interrupt && environment.interrupt->raised()) {
      return Error{ErrorKind::Interrupted, "", "interrupted", ""};
    }
    environment.status.begin(step, task.text.c_str());
    if (auto ok = waitFor(tasks, task.waits); !ok) {
      return ok;
    }
    for (std::uint32_t i = task.fills.begin; i < task.fills.end; ++i) {
      source.fill(tasks.fills[i].input, task.task.microBatch, tasks.fills[i].data);
    }
    const TaskEvent event{rank(), training, step, position++, task.task, task.text.c_str()};
    if (auto ok = runTask(tasks, task, collective, event); !ok) {
      return ok;
    }
    if (outputs && task.task.kind == schedule::TaskKind::Forward) {
      if (auto ok = handOut(task.task, *outputs); !ok) {
        return ok;
      }
    }
    if (auto ok = waitFor(tasks, task.waitsAfter); !ok) {
      return ok;
    }
    for (std::uint32_t i = task.dead.begin; i < task.dead.end; ++i) {
      poison(tasks.dead[i]);
    }
  }
  if (auto ok = waitFor(tasks, tasks.endWaits); !ok) {
    return ok;
  }
  environment.status.finish();
  return {};
}

Result<void> Executor::handOut(const schedule::Task &task, OutputSink &outputs) {
  for (unsigned i = 0; plan().outputs() && i < plan().outputs()->size(); ++i) {
    const executable::OutputBinding &output = *plan().outputs()->Get(i);
    const executable::Operand &value = *output.value();
    if (output.stage() == task.stage) {
      if (auto ok = outputs.take(task.microBatch, value, data(value.arena(), value.offset())); !ok) {
        return ok;
      }
    }
  }
  return {};
}

Result<void> Executor::waitFor(const TaskPlan &tasks, IndexRange range) {
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    if (auto ok = environment.communicator.wait(requests[tasks.waits[i]]); !ok) {
      return ok;
    }
    environment.status.advance();
  }
  return {};
}

static void before(const std::vector<Hooks> &all, const TaskEvent &event) {
  for (const Hooks &hooks : all) {
    if (hooks.beforeTask) {
      hooks.beforeTask(hooks.context, event);
    }
  }
}

static void after(const std::vector<Hooks> &all, const TaskEvent &event) {
  for (const Hooks &hooks : all) {
    if (hooks.afterTask) {
      hooks.afterTask(hooks.context, event);
    }
  }
}

Result<void> Executor::runTask(const TaskPlan &tasks, const PlannedTask &task,
                               const std::vector<Segment> &collective, const TaskEvent &event) {
  const bool computes = task.programs[0] >= 0 || task.programs[1] >= 0;
  const bool replaced = replacesBodies && isCompute(task.task.kind);
  if (computes && !replaced) {
    TilePool::Lease lease(environment.pool);
    compute(tasks, task, event);
    return {};
  }
  before(environment.hooks, event);
  if (replaced) {
    for (const Hooks &hooks : environment.hooks) {
      if (hooks.replaceBody) {
        hooks.replaceBody(hooks.context, event);
      }
    }
  }
  auto outcome = communicate(tasks, task, collective, event.training);
  after(environment.hooks, event);
  return outcome;
}

Result<void> Executor::communicate(const TaskPlan &tasks, const PlannedTask &task,
                                   const std::vector<Segment> &collective, bool training) {
  if (task.task.kind == schedule::TaskKind::Reduce) {
    return reduce(task.task.stage);
  }
  if (task.task.kind == schedule::TaskKind::Gather) {
    return gather(task.task.stage);
  }
  if (!task.gathers) {
    return post(tasks, task.posts);
  }
  if (auto ok = training ? gather(-1) : Result<void>(); !ok) {
    return ok;
  }
  const Mesh &mesh = environment.mesh;
  auto gathered = environment.communicator.allGather(collective, {replica(), mesh.replicas, mesh.pipeline});
  return gathered && training ? reduce(-1) : gathered;
}

/// From and to the same pipeline rank of the other replicas.
Result<void> Executor::gather(int stage) {
  const auto pieces = gathers.find(stage);
  auto ok = pieces == gathers.end() ? Result<void>()
                                    : environment.communicator.allGather(pieces->second, replicas());
  environment.status.advance();
  return ok;
}

/// The same way.
Result<void> Executor::reduce(int stage) {
  if (const auto pieces = sums.find(stage); pieces != sums.end()) {
    if (auto ok = environment.communicator.reduceScatter(pieces->second, Element::F32, replicas()); !ok) {
      return ok;
    }
    for (const Segment &piece : pieces->second) { // the next step begins with zeros
      if (piece.rank != rank()) {
        std::memset(piece.data, 0, piece.bytes);
      }
    }
    environment.status.advance();
  }
  for (unsigned i = 0; plan().reductions() && i < plan().reductions()->size(); ++i) {
    const executable::Reduction &reduction = *plan().reductions()->Get(i);
    if (reduction.stage() != stage || reduction.replica() >= 0) {
      continue;
    }
    const bool isDouble = reduction.dtype() == executable::DType::F64;
    const std::size_t count = reduction.bytes() / (isDouble ? sizeof(double) : sizeof(float));
    std::byte *values = data(reduction.arena(), reduction.offset());
    auto ok =
        environment.communicator.allReduce(values, count, isDouble ? Element::F64 : Element::F32, replicas());
    if (!ok) {
      return ok;
    }
    for (std::size_t k = 0; reduction.mean() && k < count; ++k) { // proved to be doubles
      reinterpret_cast<double *>(values)[k] /= environment.mesh.replicas;
    }
    environment.status.advance();
  }
  return {};
}

void Executor::compute(const TaskPlan &tasks, const PlannedTask &task, const TaskEvent &event) {
  before(environment.hooks, event);
  for (const int program : task.programs) {
    if (program >= 0) {
      programs[program].run(tasks.slotsOf(task.task.microBatch), environment.pool, environment.status,
                            environment.hooks);
    }
  }
  after(environment.hooks, event);
}

Result<void> Executor::post(const TaskPlan &tasks, IndexRange range) {
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    const Post &transfer = tasks.posts[i];
    auto request = transfer.send ? environment.communicator.postSend(transfer.peer, transfer.tag,
                                                                     transfer.data, transfer.bytes)
                                 : environment.communicator.postReceive(transfer.peer, transfer.tag,
                                                                        transfer.data, transfer.bytes);
    if (!request) {
      return request.takeError();
    }
    requests[transfer.request] = *request;
  }
  return {};
}

void Executor::poison(const DeadBytes &bytes) {
  arenas[bytes.arena].poison(bytes.offset, bytes.bytes);
}

} // namespace stagewright::runtime
