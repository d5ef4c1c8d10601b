#include "runtime/exec/HostExecutor.h"

#include "runtime/device/Futex.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

Result<std::unique_ptr<HostExecutor>> HostExecutor::create(const Executable &executable,
                                                           const RankEnvironment &environment) {
  std::unique_ptr<HostExecutor> executor(new HostExecutor(executable, environment));
  if (auto ok = executor->load(); !ok) {
    return ok.takeError();
  }
  return executor;
}

/// Of the ranks of one pipeline.
static std::vector<Segment> segmentsOf(const executable::Collective &collective, const ArenaBases &bases,
                                       RankGroup pipeline) {
  std::vector<Segment> segments;
  for (const executable::Segment *segment : *collective.segments()) {
    segments.push_back(
        {pipeline.at(segment->rank()), bases[collective.arena()] + segment->offset(), segment->bytes()});
  }
  return segments;
}

Result<void> HostExecutor::load() {
  const Mesh &mesh = environment.mesh;
  const int pipelineRank = mesh.pipelineRank(rank());
  auto allocated = RankMemory::allocate(file, mesh, rank(), environment.device, environment.host);
  if (!allocated) {
    return allocated.takeError();
  }
  memory = std::move(*allocated);
  const ArenaBases &bases = memory.addresses();
  for (const executable::Program *program : *plan().programs()) {
    if (auto ok = prepareProgram(*program); !ok) {
      return ok;
    }
  }
  const auto tasksOf = [&](schedule::Purpose purpose, TaskShare share) {
    return planTasks(file, pipelineRank, mesh.updater(rank()), purpose, bases, environment.poison, share);
  };
  const RankRole role = mesh.role(rank());
  trainTasks = tasksOf(schedule::Purpose::Training, role == RankRole::Complete ? TaskShare::All
                                                    : role == RankRole::Server ? TaskShare::OfServer
                                                                               : TaskShare::OfReplica);
  if (role != RankRole::Server) {
    evaluateTasks = tasksOf(schedule::Purpose::Evaluation, TaskShare::All);
  }
  if (role == RankRole::Replica) {
    updateTasks = tasksOf(schedule::Purpose::Training, TaskShare::Update);
  }
  for (TaskPlan *tasks : {&trainTasks, &evaluateTasks, &updateTasks}) {
    for (Post &post : tasks->posts) {
      post.peer = pipelineOf(mesh, rank()).at(post.peer);
    }
  }
  trainCollective = segmentsOf(*plan().train_collective(), bases, pipelineOf(mesh, rank()));
  evaluateCollective = segmentsOf(*plan().evaluate_collective(), bases, pipelineOf(mesh, rank()));
  auto format = WireFormat::create(gradientWire(*file.file().contract()), environment.isa);
  if (!format) {
    return format.takeError();
  }
  wire = std::move(*format);
  auto linked = ServerLink::create(file, mesh, bases, environment.device, environment.communicator);
  if (!linked) {
    return linked.takeError();
  }
  link = std::move(*linked);
  planExchanges();
  requests.resize(trainTasks.requests);
  for (const Hooks &hooks : environment.hooks) {
    replacesBodies = replacesBodies || hooks.replaceBody;
  }
  return {};
}

/// What a rank does not run, it has no memory for.
Result<void> HostExecutor::prepareProgram(const executable::Program &program) {
  programs.emplace_back();
  if (!runs(environment.mesh.role(rank()), program.kind())) {
    return {};
  }
  auto prepared = PreparedProgram::prepare(file, environment.mesh, rank(), program, memory.addresses(),
                                           environment.isa, group);
  if (!prepared) {
    return prepared.takeError();
  }
  programs.back() = std::move(*prepared);
  return {};
}

/// What belongs to single replicas. Evaluation, on the first replica alone, has all of it.
void HostExecutor::planExchanges() {
  for (unsigned i = 0; plan().exchanges() && i < plan().exchanges()->size(); ++i) {
    const executable::Exchange &exchange = *plan().exchanges()->Get(i);
    if (movesOffloaded(exchange.kind())) {
      exchanges.push_back(std::make_unique<OffloadExchange>(exchange, memory, replica()));
    } else {
      exchanges.push_back(std::make_unique<ReplicaExchange>(
          exchange, plan(), memory, environment.communicator,
          exchange.kind() == executable::ExchangeKind::Gather
              ? shardGroupOf(environment.mesh, rank(), file.shardGroup())
              : replicas(),
          file.shardGroup(), unsent, wire.get(), static_cast<const float *>(scalar("loss_scale"))));
    }
  }
  unsent.reserve(exchanges.size());
  if (environment.mesh.replicas == 1) {
    return;
  }
  for (unsigned i = 0; plan().reductions() && i < plan().reductions()->size(); ++i) {
    const executable::Reduction &sum = *plan().reductions()->Get(i);
    if (sum.replica() >= 0 && !link) {
      sums[sum.stage()].push_back(
          {replicas().at(sum.replica()), data(sum.arena(), sum.offset()), sum.bytes()});
    }
  }
  for (unsigned i = 0; plan().gathers() && i < plan().gathers()->size(); ++i) {
    const executable::ReplicaGather &piece = *plan().gathers()->Get(i);
    const auto task = static_cast<schedule::TaskKind>(piece.task());
    const RankGroup others = sharingWith(task);
    if (link) { // which has the weights; servers share partial sums of the norm
      if (task == schedule::TaskKind::AllGather && environment.mesh.isServer(rank())) {
        gathers[{task, piece.stage()}].push_back(
            {others.at(piece.replica()), data(piece.arena(), piece.offset()), piece.bytes()});
      }
    } else if (others.contains(replicas().at(piece.replica()))) {
      gathers[{task, piece.stage()}].push_back(
          {replicas().at(piece.replica()), data(piece.arena(), piece.offset()), piece.bytes()});
    }
  }
}

Result<void> HostExecutor::train(InputSource &source, std::uint64_t step) {
  auto trained = run(trainTasks, trainCollective, &source, true, step);
  if (trained && link) {
    environment.status.begin(step, "the end of a step with parameter servers");
    trained = link->endStep();
    environment.status.finish();
  }
  return trained;
}

Result<void> HostExecutor::catchUp() {
  while (link && link->missing() > 0) {
    const std::uint64_t update = link->beginUpdate();
    auto taken = run(updateTasks, {}, nullptr, true, update);
    if (taken = taken ? link->endUpdate() : std::move(taken); !taken) {
      return taken;
    }
  }
  return link ? link->flush() : Result<void>();
}

Result<void> HostExecutor::evaluate(InputSource &source, std::uint64_t pass, OutputSink *outputs) {
  return run(evaluateTasks, evaluateCollective, &source, false, pass, outputs);
}

Result<void> HostExecutor::prepareWeights() {
  std::optional<TilePool::Lease> lease(std::in_place, environment.pool);
  for (unsigned i = 0; i < programs.size(); ++i) {
    if (plan().programs()->Get(i)->kind() == executable::ProgramKind::Prepare) {
      if (auto ok = runProgram(i, trainTasks.slotsOf(-1), 0, false, lease); !ok) {
        return ok;
      }
    }
  }
  return {};
}

Result<void> HostExecutor::run(TaskPlan &tasks, const std::vector<Segment> &collective, InputSource *source,
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
      fill(*source, tasks.fills[i].input, task.task.microBatch, tasks.fills[i].data);
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

Result<void> HostExecutor::handOut(const schedule::Task &task, OutputSink &outputs) {
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

Result<void> HostExecutor::waitFor(const TaskPlan &tasks, IndexRange range) {
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

Result<void> HostExecutor::runTask(const TaskPlan &tasks, const PlannedTask &task,
                                   const std::vector<Segment> &collective, const TaskEvent &event) {
  const bool computes = task.programs[0] >= 0 || task.programs[1] >= 0;
  const bool replaced = replacesBodies && isCompute(task.task.kind);
  if (computes && !replaced) {
    return compute(tasks, task, event);
  }
  before(environment.hooks, event);
  if (replaced) {
    for (const Hooks &hooks : environment.hooks) {
      if (hooks.replaceBody) {
        hooks.replaceBody(hooks.context, event);
      }
    }
  }
  auto outcome = communicate(tasks, task, collective, event);
  after(environment.hooks, event);
  return outcome;
}

Result<void> HostExecutor::communicate(const TaskPlan &tasks, const PlannedTask &task,
                                       const std::vector<Segment> &collective, const TaskEvent &event) {
  const schedule::Task &own = task.task;
  if (link && (own.kind == schedule::TaskKind::Reduce || own.kind == schedule::TaskKind::Gather)) {
    auto ok = own.kind == schedule::TaskKind::Reduce ? link->reduce(own.stage) : link->gather(own.stage);
    environment.status.advance();
    return ok;
  }
  if (own.kind == schedule::TaskKind::Reduce) {
    auto reduced = reduce(own.stage, event.step);
    return reduced ? gather(own.kind, own.stage) : reduced;
  }
  if (own.kind == schedule::TaskKind::Gather) {
    return gather(own.kind, own.stage);
  }
  if (!task.gathers) {
    return post(tasks, task.posts);
  }
  for (int stage = 0; event.training && stage < file.trainSchedule().stages; ++stage) {
    if (auto ok = gather(own.kind, stage); !ok) {
      return ok;
    }
  }
  auto gathered = environment.communicator.allGather(collective, pipelineOf(environment.mesh, rank()));
  gathered = gathered && event.training ? reduce(-1, event.step) : std::move(gathered);
  return gathered && event.training && link ? link->shareLoss() : gathered;
}

/// Updated weights go to the replicas that have the same ones, all else to all of them; of servers, partial
/// sums to servers.
RankGroup HostExecutor::sharingWith(schedule::TaskKind task) const {
  if (environment.mesh.isServer(rank())) {
    return serversOf(environment.mesh, rank());
  }
  const bool ofShards = task == schedule::TaskKind::Gather && file.file().recipe()->zero() == 3;
  return ofShards ? sameShardOf(environment.mesh, rank(), file.shardGroup()) : replicas();
}

/// From and to the same pipeline rank of the other replicas.
Result<void> HostExecutor::gather(schedule::TaskKind task, int stage) {
  const auto pieces = gathers.find({task, stage});
  auto ok = pieces == gathers.end() ? Result<void>()
                                    : environment.communicator.allGather(pieces->second, sharingWith(task));
  environment.status.advance();
  return ok;
}

Result<void> HostExecutor::endExchange(unsigned number, std::uint64_t step) {
  ProgramExchange &exchange = *exchanges[number];
  auto ok = exchange.end();
  environment.status.advance();
  for (const Hooks &hooks : environment.hooks) {
    if (ok && hooks.afterExchange) {
      hooks.afterExchange(hooks.context,
                          {rank(), step, plan().exchanges()->Get(number)->stage(), static_cast<int>(number),
                           exchange.bytes(), exchange.begunAt(), monotonicNanoseconds()});
    }
  }
  return ok;
}

/// What the stage's last W has not ended, and what is not exchanged there.
Result<void> HostExecutor::reduce(int stage, std::uint64_t step) {
  for (unsigned i = 0; i < exchanges.size(); ++i) {
    if (plan().exchanges()->Get(i)->stage() == stage &&
        exchanges[i]->what() == executable::ExchangeKind::Reduce &&
        (exchanges[i]->isUnderWay() || replacesBodies)) {
      if (auto ok = endExchange(i, step); !ok) {
        return ok;
      }
    }
  }
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
    if (reduction.stage() != stage || reduction.replica() >= 0 ||
        (link && reduction.tensor() !=
                     environment.mesh.isServer(rank()))) { // servers have the norm, replicas the loss
      continue;
    }
    const bool isDouble = reduction.dtype() == executable::DType::F64;
    const std::size_t count = reduction.bytes() / (isDouble ? sizeof(double) : sizeof(float));
    std::byte *values = data(reduction.arena(), reduction.offset());
    auto ok = environment.communicator.allReduce(values, count, isDouble ? Element::F64 : Element::F32,
                                                 reduction.tensor() ? tensorRanksOf(environment.mesh, rank())
                                                                    : replicas());
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

Result<void> HostExecutor::compute(const TaskPlan &tasks, const PlannedTask &task, const TaskEvent &event) {
  std::optional<TilePool::Lease> lease(std::in_place, environment.pool);
  before(environment.hooks, event);
  Result<void> outcome;
  for (const int program : task.programs) {
    if (program >= 0 && outcome) {
      outcome = runProgram(static_cast<unsigned>(program), tasks.slotsOf(task.task.microBatch), event.step,
                           event.training && task.lastGradient, lease);
    }
  }
  after(environment.hooks, event);
  return outcome;
}

/// Commands with a permit, between them exchanges and collectives without one: others compute while this rank
/// waits. Sums are exchanged in the stage's last W only.
Result<void> HostExecutor::runProgram(unsigned program, const std::uint64_t *slots, std::uint64_t step,
                                      bool reduces, std::optional<TilePool::Lease> &lease) {
  PreparedProgram &prepared = programs[program];
  unsigned done = 0;
  const auto waiting = [&](auto wait) {
    lease.reset();
    Result<void> ok = wait();
    lease.emplace(environment.pool);
    return ok;
  };
  auto next = prepared.collectives().begin();
  const auto runTo = [&](unsigned command) -> Result<void> {
    for (; next != prepared.collectives().end() && *next < command; ++next) {
      const unsigned collective = *next;
      prepared.run(done, collective, slots, environment.pool, environment.status, environment.hooks);
      done = collective + 1;
      auto ok = waiting([&] {
        return prepared.runCollective(collective, slots, group, environment.status, environment.hooks);
      });
      if (!ok) {
        return ok;
      }
    }
    prepared.run(done, command, slots, environment.pool, environment.status, environment.hooks);
    done = command;
    return {};
  };
  const auto *points = plan().programs()->Get(program)->points();
  for (unsigned i = 0; points && i < points->size(); ++i) {
    const executable::ExchangePoint &point = *points->Get(i);
    ProgramExchange &exchange = *exchanges[point.exchange()];
    if ((exchange.what() == executable::ExchangeKind::Reduce && !reduces) || exchange.bytes() == 0) {
      continue;
    }
    auto ok = runTo(point.command());
    ok = ok ? waiting([&] { return point.begins() ? exchange.begin() : endExchange(point.exchange(), step); })
            : std::move(ok);
    if (!ok) {
      return ok;
    }
  }
  if (auto ok = runTo(prepared.commands()); !ok) {
    return ok;
  }
  if (environment.poison) {
    releaseWeights(program);
  }
  return {};
}

/// Poison mode: weights that a program has gathered for itself end with it.
void HostExecutor::releaseWeights(unsigned program) {
  const executable::Program &entry = *plan().programs()->Get(program);
  for (unsigned i = 0; entry.points() && i < entry.points()->size(); ++i) {
    const unsigned number = entry.points()->Get(i)->exchange();
    const auto &pieces = *plan().exchanges()->Get(number)->pieces();
    for (unsigned j = 0; exchanges[number]->what() == executable::ExchangeKind::Gather && j < pieces.size();
         ++j) {
      const executable::ExchangePiece &piece = *pieces.Get(j);
      // Evaluation's results lie in the same arena, until they have been handed out.
      if (plan().arenas()->Get(piece.arena())->arena_class() == executable::ArenaClass::Workspace &&
          entry.kind() != executable::ProgramKind::Evaluate) {
        poison({piece.arena(), piece.offset(), piece.bytes()});
      }
    }
  }
}

Result<void> HostExecutor::post(const TaskPlan &tasks, IndexRange range) {
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

void HostExecutor::poison(const DeadBytes &bytes) {
  memory.poison(bytes.arena, bytes.offset, bytes.bytes);
}

} // namespace stagewright::runtime
