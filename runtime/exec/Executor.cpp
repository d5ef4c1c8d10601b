#include "runtime/exec/Executor.h"

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
    auto prepared = PreparedProgram::prepare(file, pipelineRank, rank(), *program, bases, environment.isa);
    if (!prepared) {
      return prepared.takeError();
    }
    programs.push_back(std::move(*prepared));
  }
  trainTasks = planTasks(file, pipelineRank, schedule::Purpose::Training, bases, environment.poison);
  evaluateTasks = planTasks(file, pipelineRank, schedule::Purpose::Evaluation, bases, environment.poison);
  for (TaskPlan *tasks : {&trainTasks, &evaluateTasks}) {
    for (Post &post : tasks->posts) {
      post.peer = mesh.rank(post.peer, replica());
    }
  }
  trainCollective = segmentsOf(*plan().train_collective(), bases, mesh, replica());
  evaluateCollective = segmentsOf(*plan().evaluate_collective(), bases, mesh, replica());
  requests.resize(trainTasks.requests);
  for (const Hooks &hooks : environment.hooks) {
    replacesBodies = replacesBodies || hooks.replaceBody;
  }
  return {};
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
  if (!task.gathers) {
    return post(tasks, task.posts);
  }
  const Mesh &mesh = environment.mesh;
  auto gathered = environment.communicator.allGather(collective, {replica(), mesh.replicas, mesh.pipeline});
  return gathered && training ? reduce(-1) : gathered;
}

/// With the same pipeline rank of the other replicas.
Result<void> Executor::reduce(int stage) {
  const Mesh &mesh = environment.mesh;
  const RankGroup replicas{mesh.rank(mesh.pipelineRank(rank()), 0), 1, mesh.replicas};
  for (unsigned i = 0; plan().reductions() && i < plan().reductions()->size(); ++i) {
    const executable::Reduction &reduction = *plan().reductions()->Get(i);
    if (reduction.stage() != stage) {
      continue;
    }
    const bool isDouble = reduction.dtype() == executable::DType::F64;
    const std::size_t count = reduction.bytes() / (isDouble ? sizeof(double) : sizeof(float));
    std::byte *values = data(reduction.arena(), reduction.offset());
    auto ok =
        environment.communicator.allReduce(values, count, isDouble ? Element::F64 : Element::F32, replicas);
    if (!ok) {
      return ok;
    }
    for (std::size_t k = 0; reduction.mean() && k < count; ++k) { // proved to be doubles
      reinterpret_cast<double *>(values)[k] /= mesh.replicas;
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
