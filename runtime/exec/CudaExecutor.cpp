#include "runtime/exec/CudaExecutor.h"

#include "runtime/comm/MessageTags.h"
#include "runtime/device/CudaPlugin.h"
#include "runtime/exec/MeshGroups.h"
#include "runtime/exec/NcclMessages.h"

#include <algorithm>

namespace stagewright::runtime {
namespace {

bool receives(schedule::TaskKind kind) {
  return kind == schedule::TaskKind::ReceiveForward || kind == schedule::TaskKind::ReceiveBackward;
}

} // namespace

Result<std::unique_ptr<CudaExecutor>>
CudaExecutor::create(const Executable &executable, const RankEnvironment &environment, cuda::Api &api) {
  std::unique_ptr<CudaExecutor> executor(new CudaExecutor(executable, environment, api));
  if (auto ok = executor->load(); !ok) {
    return ok.takeError();
  }
  return executor;
}

CudaExecutor::~CudaExecutor() {
  if (isTalking) { // an exception
    endTalk();
  }
  if (partsGathered.handle.handle) {
    api.destroy(partsGathered.handle);
  }
  for (List *list : {&trainList, &evaluateList}) {
    for (const std::vector<OrderedEvent> *events : {&list->done, &list->filled}) {
      for (const OrderedEvent &event : *events) {
        if (event.handle.handle) {
          api.destroy(event.handle);
        }
      }
    }
  }
}

/// What the executor does not do.
Result<void> CudaExecutor::refuse() const {
  const auto no = [](const std::string &what, const std::string &instead) {
    return userError("--target cuda", what + " does not run on CUDA yet", instead);
  };
  if (environment.mesh.servers > 0) {
    return no("training with parameter servers", "leave them out of the configuration, or train on the host");
  }
  if (environment.mesh.replicas > 1 && !gradientWire(*file.file().contract()).isExact()) {
    return no("sending gradients in 16 bits or compressed",
              "leave communication_data_type and gradient_compression out, or train on the host");
  }
  for (const executable::Arena *arena : *plan().arenas()) {
    if (arena->tier() == executable::MemoryTier::File) {
      return no("offload to files", "offload to device \"cpu\", or train on the host");
    }
  }
  if (environment.usesNccl && environment.mesh.replicas > 1 && file.file().recipe()->weights_offload()) {
    return no("offload_param of several replicas with ranks as processes",
              "leave out one of them, as NCCL sends from devices: offload_optimizer and threads as ranks do");
  }
  for (const Hooks &hooks : environment.hooks) {
    if (hooks.beforeKernel || hooks.afterKernel || hooks.replaceBody) {
      return no("watching single kernels", "run on the host to look at them");
    }
  }
  return {};
}

Result<void> CudaExecutor::load() {
  if (auto ok = refuse(); !ok) {
    return ok;
  }
  if (auto ok = api.select(); !ok) {
    return ok;
  }
  if (auto ok = arenas.allocate(file, environment.mesh, rank(), offload.updatesOnHost()); !ok) {
    return ok;
  }
  auto copies = RankMemory::mirror(file, environment.mesh, rank(), mirror, arenas.pinned(), hasCopyOnHost);
  if (!copies) {
    return copies.takeError();
  }
  memory = std::move(*copies);
  if (auto ok = preparePrograms(); !ok) {
    return ok;
  }
  staging.addScalars(plan());
  evaluateList.training = false;
  trainList.collective = plan().train_collective();
  evaluateList.collective = plan().evaluate_collective();
  planList(trainList, schedule::Purpose::Training);
  planList(evaluateList, schedule::Purpose::Evaluation);
  auto ok = openStreams();
  ok = ok ? openEvents(trainList) : std::move(ok);
  ok = ok ? openEvents(evaluateList) : std::move(ok);
  ok = ok ? warmUp() : std::move(ok);
  ok = ok ? captureGraphs(trainList) : std::move(ok);
  ok = ok ? captureGraphs(evaluateList) : std::move(ok);
  if (!ok) {
    return ok;
  }
  return staging.allocate();
}

/// By NCCL a rank's streams are its own, those of channels behind them; threads look at each other's, too.
Result<void> CudaExecutor::openStreams() {
  const bool isAlone = environment.usesNccl;
  const std::size_t first = isAlone ? 0 : kStreams * static_cast<std::size_t>(rank());
  const std::size_t all =
      isAlone ? kStreams + channels.size() : kStreams * static_cast<std::size_t>(environment.mesh.size());
  auto ok = computing.open(first, all);
  ok = ok ? filling.open(first + 1, all) : std::move(ok);
  if (!ok) {
    return ok;
  }
  const auto ends = static_cast<std::size_t>(environment.mesh.pipeline); // of each segment's messages
  trainList.firstGathered = std::max(trainList.tasks.requests, evaluateList.tasks.requests);
  evaluateList.firstGathered = trainList.firstGathered + trainList.collective->segments()->size() * ends;
  const std::size_t count = evaluateList.firstGathered + evaluateList.collective->segments()->size() * ends;
  awaited.reserve(count);
  unfinished.reserve(count - trainList.firstGathered);
  if (auto opened = messages->open(count, first + 2, all); !opened) {
    return opened;
  }
  auto event = computing.makeEvent();
  if (!event) {
    return event.takeError();
  }
  partsGathered = std::move(*event);
  auto opened = replicas.open(arenas.addresses(), first + 3, all);
  opened = opened ? offload.open(arenas.addresses(), arenas.pinned(), first + 4, all) : std::move(opened);
  return opened ? groups.open(arenas.addresses(), first + 4 + CudaOffload::kStreams, all) : std::move(opened);
}

Result<void> CudaExecutor::preparePrograms() {
  for (const executable::Program *program : *plan().programs()) {
    programs.push_back(std::make_unique<CudaProgram>(api));
    if (auto ok = programs.back()->prepare(file, plan(), environment.mesh.updater(rank()), *program,
                                           arenas.addresses(), kernels);
        !ok) {
      return ok;
    }
    for (const CudaProgram::Apart &apart : programs.back()->apart()) {
      if (apart.x) {
        groups.expect(apart.call);
      }
    }
  }
  return {};
}

/// Before the first work of all ranks.
Result<void> CudaExecutor::connect() {
  if (isConnected) {
    return {};
  }
  auto ok = environment.usesNccl ? checkQueues(kStreams + channels.size()) : Result<void>();
  ok = ok && environment.usesNccl ? checkOwnGpus(api, environment.communicator) : std::move(ok);
  const RankGroup all[] = {pipeline()};
  ok = ok ? messages->connect(channels, std::span(all, pipeline().size > 1 ? 1 : 0)) : std::move(ok);
  ok = ok ? replicas.connect() : std::move(ok);
  ok = ok ? groups.connect() : std::move(ok);
  isConnected = bool(ok);
  return ok;
}

void CudaExecutor::planList(List &list, schedule::Purpose purpose) {
  list.tasks = planTasks(file, environment.mesh.pipelineRank(rank()), environment.mesh.updater(rank()),
                         purpose, arenas.addresses(), false);
  for (Post &post : list.tasks.posts) {
    post.peer = pipeline().at(post.peer);
    const DeviceMessages::Channel channel{post.send, post.peer, post.tag};
    if (std::ranges::find(channels, channel) == channels.end()) {
      channels.push_back(channel);
    }
  }
  list.streams = planStreams(file, environment.mesh.pipelineRank(rank()), list.tasks, list.training);
  for (const Fill &fill : list.tasks.fills) {
    list.stagedAt.push_back(staging.add(fill.bytes));
  }
  for (const PlannedTask &task : list.tasks.tasks) {
    for (unsigned k = 0; !list.training && task.task.kind == schedule::TaskKind::Forward &&
                         plan().outputs() && k < plan().outputs()->size();
         ++k) {
      const executable::OutputBinding &output = *plan().outputs()->Get(k);
      if (output.stage() == task.task.stage) {
        staging.addOutput(output, task.task.microBatch);
      }
    }
  }
}

Result<void> CudaExecutor::openEvents(List &list) {
  for (std::size_t i = 0; i < list.tasks.tasks.size(); ++i) {
    const PlannedTask &task = list.tasks.tasks[i];
    for (auto [events, isUsed] : {std::pair{&list.done, bool{list.streams.records[i]}},
                                  std::pair{&list.filled, task.fills.begin < task.fills.end}}) {
      events->emplace_back();
      if (isUsed) {
        auto event = computing.makeEvent();
        if (!event) {
          return event.takeError();
        }
        events->back() = std::move(*event);
      }
    }
  }
  return {};
}

/// Runs every program once, on zeros: kernels are loaded, libraries choose their algorithms. Then all is zero
/// again.
Result<void> CudaExecutor::warmUp() {
  auto ok = arenas.clear(computing.handle());
  for (std::size_t i = 0; ok && i < programs.size(); ++i) {
    ok = programs[i]->enqueue(trainList.tasks.slotsOf(0), computing.handle());
  }
  return ok ? arenas.clear(computing.handle()) : std::move(ok);
}

Result<void> CudaExecutor::captureGraphs(const List &list) {
  for (const PlannedTask &task : list.tasks.tasks) {
    for (const int program : task.programs) {
      auto ok = forEachPart(
          program, list.training && task.lastGradient,
          [&](CudaProgram::Part part) {
            return programs[static_cast<std::size_t>(program)]->capture(
                part, list.tasks.slotsOf(task.task.microBatch), computing.handle());
          },
          [](const auto &) { return Result<void>(); });
      if (!ok) {
        return ok;
      }
    }
  }
  return {};
}

template <typename Run, typename Between>
Result<void> CudaExecutor::forEachPart(int program, bool reduces, Run run, Between between) {
  if (program < 0) {
    return {};
  }
  const CudaProgram &prepared = *programs[static_cast<std::size_t>(program)];
  const auto *points = plan().programs()->Get(static_cast<unsigned>(program))->points();
  unsigned done = 0;
  auto next = prepared.apart().begin();
  const auto runTo = [&](unsigned command) {
    Result<void> ok;
    for (; ok && next != prepared.apart().end() && next->command < command; ++next) {
      ok = run(CudaProgram::Part{done, next->command});
      ok = ok ? between(*next) : std::move(ok);
      done = next->command + 1;
    }
    ok = ok ? run(CudaProgram::Part{done, command}) : std::move(ok);
    done = command;
    return ok;
  };
  for (unsigned i = 0; points && i < points->size(); ++i) {
    const executable::ExchangePoint &point = *points->Get(i);
    const executable::ExchangeKind kind = plan().exchanges()->Get(point.exchange())->kind();
    if ((kind == executable::ExchangeKind::Reduce && !reduces) ||
        (movesOffloaded(kind) && !offload.moves(point.exchange()))) {
      continue;
    }
    auto ok = runTo(point.command());
    if (ok = ok ? between(point) : std::move(ok); !ok) {
      return ok;
    }
  }
  return runTo(prepared.commands());
}

Result<void> CudaExecutor::launchProgram(int program, const std::uint64_t *slots, bool reduces) {
  auto ok = forEachPart(
      program, reduces,
      [&](CudaProgram::Part part) {
        return programs[static_cast<std::size_t>(program)]->launch(part, slots, computing.handle());
      },
      [&]<typename What>(const What &what) {
        if constexpr (std::is_same_v<What, CudaProgram::Apart>) {
          return !what.x ? offload.update(static_cast<unsigned>(program), what.command)
                         : groups.run(what.call, what.x + slots[what.xSlot], what.y + slots[what.ySlot]);
        } else if (movesOffloaded(plan().exchanges()->Get(what.exchange())->kind())) {
          return what.begins() ? offload.begin(what.exchange()) : offload.end(what.exchange());
        } else {
          return what.begins() ? replicas.begin(what.exchange()) : replicas.end(what.exchange());
        }
      });
  return ok ? offload.finish() : std::move(ok);
}

std::size_t CudaExecutor::graphs() const {
  std::size_t count = 0;
  for (const auto &program : programs) {
    count += program->graphs();
  }
  return count;
}

RankGroup CudaExecutor::pipeline() const {
  return pipelineOf(environment.mesh, rank());
}

/// Whatever fails in between ends the talk: others may wait for what does not come, and this rank for them.
template <typename Body>
Result<void> CudaExecutor::talk(Body body) {
  isTalking = true;
  auto ok = api.select();
  ok = ok ? connect() : std::move(ok);
  ok = ok ? body() : std::move(ok);
  if (!ok) {
    endTalk();
  }
  isTalking = false;
  return ok;
}

void CudaExecutor::endTalk() {
  for (DeviceMessages *const each : {messages.get(), &replicas.talk(), &groups.talk()}) {
    each->abort();
  }
}

/// The host waits for the stream of programs.
Result<void> CudaExecutor::finish() {
  DeviceMessages *const others[] = {&replicas.talk(), &groups.talk()};
  auto ok = messages->finish(computing, others);
  filling.follow(computing);
  messages->follow(computing);
  replicas.follow(computing);
  offload.follow(computing);
  groups.follow(computing);
  return ok;
}

Result<void> CudaExecutor::train(InputSource &source, std::uint64_t step) {
  return talk([&] { return run(trainList, source, step, nullptr); });
}

Result<void> CudaExecutor::evaluate(InputSource &source, std::uint64_t pass, OutputSink *outputs) {
  return talk([&] { return run(evaluateList, source, pass, outputs); });
}

Result<void> CudaExecutor::prepareWeights() {
  return talk([&] {
    auto ok = staging.send(memory.addresses(), arenas.addresses(), computing.handle());
    return ok ? runPrepare() : std::move(ok);
  });
}

Result<void> CudaExecutor::runPrepare() {
  for (unsigned i = 0; i < programs.size(); ++i) {
    if (plan().programs()->Get(i)->kind() == executable::ProgramKind::Prepare) {
      const std::uint64_t *slots = trainList.tasks.slotsOf(-1);
      auto ok = forEachPart(
          static_cast<int>(i), false,
          [&](CudaProgram::Part part) { return programs[i]->capture(part, slots, computing.handle()); },
          [](const auto &) { return Result<void>(); });
      ok = ok ? launchProgram(static_cast<int>(i), slots, false) : std::move(ok);
      if (!ok) {
        return ok;
      }
    }
  }
  return finish();
}

Result<void> CudaExecutor::run(List &list, InputSource &source, std::uint64_t step, OutputSink *outputs) {
  staging.beginPass(outputs != nullptr);
  auto ok = staging.send(memory.addresses(), arenas.addresses(), computing.handle());
  for (std::size_t position = 0; ok && position < list.tasks.tasks.size(); ++position) {
    if (environment.interrupt && environment.interrupt->raised()) {
      return Error{ErrorKind::Interrupted, "", "interrupted", ""};
    }
    const PlannedTask &task = list.tasks.tasks[position];
    environment.status.begin(step, task.text.c_str());
    const TaskEvent event{rank(),    list.training,    step, static_cast<int>(position),
                          task.task, task.text.c_str()};
    ok = static_cast<int>(position) == list.streams.gatherBefore ? finishGather() : Result<void>();
    ok = ok ? waitFor(list.tasks, task.waits, receives(task.task.kind)) : std::move(ok);
    ok = ok ? fillInputs(list, position, source) : std::move(ok);
    for (const Hooks &hooks : environment.hooks) {
      if (ok && hooks.beforeTask) {
        hooks.beforeTask(hooks.context, event);
      }
    }
    ok = ok ? runTask(list, position) : std::move(ok);
    for (const Hooks &hooks : environment.hooks) {
      if (ok && hooks.afterTask) {
        hooks.afterTask(hooks.context, event);
      }
    }
    environment.status.advance();
  }
  ok = ok ? waitFor(list.tasks, list.tasks.endWaits, false) : std::move(ok);
  ok = ok ? replicas.finishStep() : std::move(ok);
  ok = ok ? finishList() : std::move(ok);
  ok = ok && outputs ? staging.handOut(*outputs) : std::move(ok);
  if (ok) {
    environment.status.finish();
  }
  return ok;
}

Result<void> CudaExecutor::runTask(List &list, std::size_t position) {
  const PlannedTask &task = list.tasks.tasks[position];
  if (task.gathers) {
    return gatherAll(list);
  }
  const bool shares =
      task.task.kind == schedule::TaskKind::Reduce || task.task.kind == schedule::TaskKind::Gather;
  if (!shares && task.programs[0] < 0 && task.programs[1] < 0) {
    return post(list, task.posts);
  }
  auto ok = replicas.finishSends(task.task.kind);
  ok = !ok ? std::move(ok) : shares ? share(task) : launch(list, task);
  ok = ok && task.task.kind == schedule::TaskKind::Forward
           ? staging.fetchOutputs(task.task, arenas.addresses(), computing.handle())
           : std::move(ok);
  return ok && list.streams.records[position] ? computing.record(list.done[position]) : std::move(ok);
}

Result<void> CudaExecutor::fillInputs(List &list, std::size_t position, InputSource &source) {
  const PlannedTask &task = list.tasks.tasks[position];
  if (task.fills.begin == task.fills.end) {
    return {};
  }
  for (std::uint32_t i = task.fills.begin; i < task.fills.end; ++i) {
    const Fill &fill = list.tasks.fills[i];
    std::byte *place = staging.at(list.stagedAt[i]);
    Executor::fill(source, fill.input, task.task.microBatch, place);
    const OrderedEvent *const free = eventAt(list, list.streams.fillAfter[i]);
    auto ok = free ? filling.wait(*free) : Result<void>();
    ok = ok ? api.copy(fill.data, place, fill.bytes, filling.handle()) : std::move(ok);
    if (!ok) {
      return ok;
    }
  }
  auto ok = filling.record(list.filled[position]);
  return ok ? computing.wait(list.filled[position]) : std::move(ok);
}

Result<void> CudaExecutor::launch(const List &list, const PlannedTask &task) {
  Result<void> ok;
  for (const int program : task.programs) {
    ok = ok ? launchProgram(program, list.tasks.slotsOf(task.task.microBatch),
                            list.training && task.lastGradient)
            : std::move(ok);
  }
  return ok;
}

/// REDUCE and GATHER of a stage.
Result<void> CudaExecutor::share(const PlannedTask &task) {
  if (task.task.kind == schedule::TaskKind::Reduce) {
    auto ok = replicas.reduce(task.task.stage);
    if (ok = ok ? groups.reduce(task.task.stage) : std::move(ok); !ok) {
      return ok;
    }
  }
  auto gatheredAny = replicas.gather(task.task.kind, task.task.stage);
  return gatheredAny ? Result<void>() : gatheredAny.takeError();
}

Result<void> CudaExecutor::post(const List &list, IndexRange range) {
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    const Post &transfer = list.tasks.posts[i];
    if (auto ok = messages->post(transfer.request, transfer.send, transfer.peer, transfer.tag, transfer.data,
                                 transfer.bytes, eventAt(list, list.streams.postAfter[i]));
        !ok) {
      return ok;
    }
  }
  return {};
}

/// What the last collective has sent may be written again.
Result<void> CudaExecutor::finishGather() {
  awaited.clear();
  for (const std::size_t message : unfinished) {
    if (auto ok = await(message); !ok) {
      return ok;
    }
  }
  unfinished.clear();
  return computing.wait(awaited);
}

/// Of the replicas, then of the pipeline, then the losses of the replicas.
Result<void> CudaExecutor::gatherAll(const List &list) {
  const OrderedEvent *made = eventAt(list, list.streams.gatherAfter);
  for (int stage = 0; list.training && stage < file.trainSchedule().stages; ++stage) {
    auto hasParts = replicas.gather(schedule::TaskKind::AllGather, stage);
    if (!hasParts) {
      return hasParts.takeError();
    }
    made = *hasParts ? &partsGathered : made;
  }
  auto ok = made == &partsGathered ? computing.record(partsGathered) : Result<void>();
  ok = ok ? gather(list, made) : std::move(ok);
  ok = ok && list.training ? replicas.reduce(-1) : std::move(ok);
  if (!ok || !list.training || environment.mesh.tensor == 1) {
    return ok;
  }
  ok = replicas.finishSends(schedule::TaskKind::Norm); // parts of the sums are on their way to other replicas
  return ok ? groups.reduce(-1) : std::move(ok);
}

/// Whether losses or norms are added up in bytes of this segment behind the gather, in place.
bool CudaExecutor::addsUpIn(unsigned arena, const executable::Segment &segment) const {
  for (unsigned i = 0; plan().reductions() && i < plan().reductions()->size(); ++i) {
    const executable::Reduction &sum = *plan().reductions()->Get(i);
    if (sum.stage() < 0 && sum.arena() == arena && sum.offset() < segment.offset() + segment.bytes() &&
        segment.offset() < sum.offset() + sum.bytes()) {
      return true;
    }
  }
  return false;
}

/// Every segment of its rank to all others. All messages are posted before any is waited for; what is sent
/// need not have arrived before it is written again.
Result<void> CudaExecutor::gather(const List &list, const OrderedEvent *made) {
  const auto &segments = *list.collective->segments();
  const RankGroup ranks = pipeline();
  const int own = ranks.position(rank());
  if (auto ok = finishGather(); !ok) { // of a list in which nobody writes it
    return ok;
  }
  const auto forEach = [&](auto body) {
    Result<void> ok;
    std::size_t number = list.firstGathered;
    for (const executable::Segment *segment : segments) {
      const bool sends = segment->rank() == own;
      for (int other = 0; ok && other < ranks.size; ++other) {
        if (other != own && (sends || other == segment->rank())) {
          ok = body(*segment, sends, ranks.at(other), number++);
        }
      }
    }
    return ok;
  };
  const unsigned arena = list.collective->arena();
  auto ok = messages->beginGroup(ranks);
  ok = ok ? forEach([&](const executable::Segment &segment, bool sends, int peer, std::size_t number) {
    return messages->post(number, sends, peer, tags::kStages, arenas.addresses()[arena] + segment.offset(),
                          segment.bytes(), sends ? made : nullptr);
  })
          : std::move(ok);
  ok = ok ? messages->endGroup() : std::move(ok);
  awaited.clear();
  ok = ok ? forEach([&](const executable::Segment &segment, bool sends, int, std::size_t number) {
    if (!sends || addsUpIn(arena, segment)) {
      return await(number);
    }
    unfinished.push_back(number);
    return Result<void>();
  })
          : std::move(ok);
  return ok ? computing.wait(awaited) : std::move(ok);
}

/// Adds it to what the next wait is for.
Result<void> CudaExecutor::await(std::size_t message) {
  auto arrived = messages->arrival(message);
  if (!arrived) {
    return arrived.takeError();
  }
  awaited.push_back(*arrived);
  environment.status.advance();
  return {};
}

Result<void> CudaExecutor::waitFor(const TaskPlan &tasks, IndexRange range, bool receives) {
  awaited.clear();
  for (std::uint32_t i = range.begin; i < range.end; ++i) {
    if (auto ok = await(tasks.waits[i]); !ok) {
      return ok;
    }
  }
  return receives ? messages->receiveBehind(awaited) : computing.wait(awaited);
}

/// What the host reads is there when it returns.
Result<void> CudaExecutor::finishList() {
  auto ok = staging.fetch(arenas.addresses(), computing.handle());
  ok = ok ? finish() : std::move(ok);
  if (ok) {
    staging.take(memory.addresses());
  }
  return ok;
}

Result<void> CudaExecutor::copyState(bool toDevice) {
  auto ok = api.select();
  ok = ok && toDevice ? replicas.finishSends() : std::move(ok);
  for (unsigned i = 0; ok && i < plan().arenas()->size(); ++i) {
    const executable::Arena &arena = *plan().arenas()->Get(i);
    const std::uint64_t bytes = arena.bytes() * RankMemory::copiesOf(arena, file, environment.mesh);
    std::byte *onHost = data(i, 0), *onDevice = arenas.addresses()[i];
    if (hasCopyOnHost(arena.arena_class()) && bytes > 0 && onHost != onDevice) {
      ok = toDevice ? api.copy(onDevice, onHost, bytes, computing.handle())
                    : api.copy(onHost, onDevice, bytes, computing.handle());
    }
  }
  return ok ? api.synchronize(computing.handle()) : std::move(ok);
}

} // namespace stagewright::runtime
