#include "runtime/train/Session.h"

#include "runtime/device/CudaPlugin.h"
#include "runtime/device/RankPinning.h"
#include "runtime/exec/CudaExecutor.h"
#include "runtime/exec/DeviceCopies.h"
#include "runtime/exec/HostExecutor.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <system_error>
#include <unistd.h>

namespace stagewright::runtime {

/// How long ranks may take to come back after the watchdog has ended a run.
static constexpr std::chrono::seconds kGrace{2};

Result<Session::Handle> Session::open(const EngineOptions &options, Split split, Replicas replicas,
                                      const Extra &extra) {
  auto executable = Executable::load(options.stage, options.target);
  if (!executable) {
    return executable.takeError();
  }
  return open(options, std::make_shared<const Executable>(std::move(*executable)), split, replicas, extra);
}

Result<Session::Handle> Session::open(const EngineOptions &options,
                                      std::shared_ptr<const Executable> executable,
                                      std::optional<Split> split, Replicas replicas, const Extra &extra) {
  Handle session(std::shared_ptr<Session>(new Session(options, std::move(executable), replicas)));
  if (auto ok = session->connect(); !ok) {
    return ok.takeError();
  }
  if (auto ok = session->agree(guarded([&] { return session->prepare(split, extra); })); !ok) {
    return ok.takeError();
  }
  // Last: a run that is refused leaves an old trace alone.
  if (auto ok = session->agree(session->trace ? session->trace->open() : Result<void>()); !ok) {
    return ok.takeError();
  }
  return session;
}

Result<void> Session::guarded(const std::function<Result<void>()> &body) {
  const auto noMemory = [] {
    return environmentError("memory", "there is not enough of it",
                            "use a smaller data set or batch, or a machine with more memory");
  };
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return noMemory();
  } catch (const std::length_error &) {
    return noMemory();
  } catch (const std::exception &error) {
    return environmentError("", std::string("stopped by an exception: ") + error.what(),
                            "if no callback of yours threw it, look at the limits of this machine");
  } catch (...) {
    return environmentError("", "stopped by an exception of unknown type", "look at your callbacks");
  }
}

/// A bound for what is outstanding on a channel: a step's transfers, or the segments of a collective.
std::size_t Session::channelCapacity() const {
  std::size_t most = std::max<std::size_t>(64, mesh.servers > 0 ? ServerLink::messagesOf(executable) : 0);
  for (int rank = 0; rank < executable.rankCount(); ++rank) {
    const executable::RankPlan &plan = executable.rank(rank);
    most = std::max({most, std::size_t{plan.transfers()->size()} * executable.trainSchedule().microBatches,
                     std::size_t{plan.train_collective()->segments()->size()},
                     ReplicaExchange::messagesOf(plan, executable.shardGroup()),
                     isCuda() && plan.gathers() ? std::size_t{plan.gathers()->size()} : 0,
                     std::size_t{plan.evaluate_collective()->segments()->size()}});
  }
  return most;
}

Result<void> Session::connect() {
  const int ranks = mesh.size();
  statuses = std::vector<RankStatus>(static_cast<std::size_t>(ranks));
  executors.resize(static_cast<std::size_t>(ranks));
  if (auto ok = isCuda() ? refuseOnCuda() : Result<void>(); !ok) {
    return ok;
  }
  if (isCuda()) {
    askForQueues();
  }
  if (options.ranks == RankMode::Threads) {
    group = std::make_unique<ThreadGroup>(ranks, channelCapacity(),
                                          isCuda() && !usesNccl() ? moveDeviceCopy : moveBytes);
    return takeBoard(JobBoard::local(ranks));
  }
  auto started = MpiSession::start(); // which may start CUDA
  if (!started) {
    return started.takeError();
  }
  mpi = std::move(*started);
  if (mpi->size() != ranks) {
    return userError(options.stage,
                     "the file has " + std::to_string(ranks) + " ranks" +
                         (mesh.replicas < executable.mesh().replicas
                              ? " in the first replica, on which evaluation runs"
                              : "") +
                         ", the job has " + std::to_string(mpi->size()) + " processes",
                     "start " + std::to_string(ranks) + " processes");
  }
  auto made = mpi->makeCommunicator(channelCapacity());
  if (!made) {
    return made.takeError();
  }
  process = std::move(*made);
  // The ranks of a machine are children of one mpirun.
  auto noted = agree(takeBoard(JobBoard::shared(ranks, std::to_string(::getppid()))));
  if (board) {
    board->forgetName();
  }
  return noted;
}

Result<void> Session::takeBoard(Result<std::unique_ptr<JobBoard>> made) {
  if (!made) {
    return made.takeError();
  }
  board = std::move(*made);
  return {};
}

Result<void> Session::agreeToGoOn(Result<void> own) {
  return agree(own ? checkInterrupt() : std::move(own));
}

Result<void> Session::checkInterrupt() const {
  if (options.interrupt && options.interrupt->raised()) {
    return Error{ErrorKind::Interrupted, "", "interrupted", ""};
  }
  return {};
}

Result<void> Session::prepare(std::optional<Split> split, const Extra &extra) {
  if (!options.trace.empty()) {
    auto created = TraceFile::create(options.trace, processRank(), mesh.size());
    if (!created) {
      return created.takeError();
    }
    trace = std::move(*created);
  }
  const int processes = mpi ? mpi->localSize() : 1;
  const int threads = options.threads != 0 ? options.threads : std::max(1, usableCores() / processes);
  auto made = TilePool::create(threads, kernels::setFlushToZero, trace ? trace->busyTrace() : BusyTrace{});
  if (!made) {
    return made.takeError();
  }
  pool = std::move(*made);
  if (auto ok = split ? loadData(*split) : Result<void>(); !ok) {
    return ok;
  }
  if (auto ok = checkInterrupt(); !ok) {
    return ok;
  }
  if (auto ok = makeExecutors(); !ok) {
    return ok;
  }
  if (auto ok =
          options.init.empty() ? initializeWeights(localRanks()) : loadWeights(localRanks(), options.init);
      !ok) {
    return ok;
  }
  if (auto ok = checkInterrupt(); !ok) {
    return ok;
  }
  return extra(*this);
}

/// The inputs that the local ranks read.
Result<void> Session::loadData(Split split) {
  std::vector<int> inputs;
  for (int rank = 0; rank < executable.rankCount(); ++rank) {
    for (const executable::InputBinding *binding : *executable.rank(rank).inputs()) {
      if (binding->input() >= 0 && (!mpi || mesh.pipelineRank(mpi->rank()) == rank)) {
        inputs.push_back(binding->input());
      }
    }
  }
  std::sort(inputs.begin(), inputs.end());
  inputs.erase(std::unique(inputs.begin(), inputs.end()), inputs.end());
  auto loaded = Dataset::load(executable, options.data, split, inputs);
  if (!loaded) {
    return loaded.takeError();
  }
  dataset.emplace(std::move(*loaded));
  return {};
}

/// What a run on GPUs does not do.
Result<void> Session::refuseOnCuda() const {
  const auto no = [](const std::string &option, const std::string &what, const std::string &advice) {
    return userError(option, what + " with --target cuda yet", advice);
  };
  if (!options.trace.empty()) {
    return no("--trace", "no trace is written", "trace a run on the host");
  }
  if (options.onNotFinite) {
    return no("--find-nan", "values are not looked at", "look for them in a run on the host");
  }
  if (options.taskSleepMilliseconds > 0) {
    return no("sleeping tasks", "tasks cannot sleep", "measure the order of tasks on the host");
  }
  return {};
}

/// On the device that the run is for.
Result<std::unique_ptr<Executor>> Session::makeExecutor(int rank, const std::vector<Hooks> &hooks) {
  const RankEnvironment environment{.device = device,
                                    .host = host,
                                    .pool = *pool,
                                    .communicator = communicator(rank),
                                    .mesh = mesh,
                                    .status = statuses[rank],
                                    .interrupt = options.interrupt,
                                    .isa = options.isa.value_or(kernels::bestIsa()),
                                    .hooks = hooks,
                                    .usesNccl = usesNccl(),
                                    .poison = options.poison};
  if (!isCuda()) {
    auto made = HostExecutor::create(executable, environment);
    return made ? Result<std::unique_ptr<Executor>>(std::move(*made)) : made.takeError();
  }
  return makeCudaExecutor(rank, environment);
}

Result<std::unique_ptr<Executor>> Session::makeCudaExecutor(int rank, const RankEnvironment &environment) {
  tables.resize(static_cast<std::size_t>(mesh.size()));
  if (!options.openDevice) {
    return bugError("--target cuda", "nobody has said how a GPU is opened");
  }
  auto opened = options.openDevice(mpi ? mpi->localRank() : rank, mpi ? 1 : mesh.size());
  if (!opened) {
    return opened.takeError();
  }
  tables[rank] = std::move(*opened);
  const auto before = tables[rank]->properties();
  if (!before) {
    return before.error();
  }
  auto made = CudaExecutor::create(executable, environment, *tables[rank]);
  if (!made) {
    return made.takeError();
  }
  const auto after = tables[rank]->properties();
  if (!after) {
    return after.error();
  }
  takenOnDevices += before->freeBytes - std::min(before->freeBytes, after->freeBytes);
  return std::unique_ptr<Executor>(std::move(*made));
}

Result<void> Session::makeExecutors() {
  std::vector<Hooks> hooks = options.hooks;
  if (trace) {
    hooks.push_back(trace->hooks());
  }
  if (options.taskSleepMilliseconds > 0) {
    sleep.emplace(std::chrono::milliseconds(options.taskSleepMilliseconds));
    hooks.push_back(sleep->hooks());
  }
  if (options.onNotFinite) {
    nanFinder.emplace(executable, mesh.size(), options.onNotFinite);
    hooks.push_back(nanFinder->hooks());
  }
  for (int rank = 0; rank < mesh.size(); ++rank) {
    if (mpi && mpi->rank() != rank) {
      continue;
    }
    auto executor = makeExecutor(rank, hooks);
    if (!executor) {
      return executor.takeError();
    }
    executors[rank] = std::move(*executor);
    if (executable.file().recipe()->gradient_clipping() == 0) { // no program writes it then
      *static_cast<float *>(executors[rank]->scalar("clip_coefficient")) = 1;
    }
  }
  return {};
}

LocalRanks Session::localRanks() {
  LocalRanks ranks{executable, mesh, {}, process.get()};
  for (const auto &executor : executors) {
    ranks.executors.push_back(executor.get());
  }
  return ranks;
}

std::uint64_t Session::plannedBytes() const {
  std::uint64_t total = 0, ofServers = 0;
  for (int rank = 0; rank < executable.rankCount(); ++rank) {
    constexpr auto device = executable::MemoryTier::Device;
    total += executable.plannedBytes(rank, device, mesh.role(0));
    ofServers += mesh.servers > 0 ? executable.plannedBytes(rank, device, RankRole::Server) : 0;
    for (const executable::Arena *arena : *executable.rank(rank).arenas()) {
      total += arena->tier() == executable::MemoryTier::Device
                   ? wholePages(arena->bytes() * RankMemory::copiesOf(*arena, executable, mesh)) -
                         wholePages(arena->bytes())
                   : 0;
    }
  }
  return total * static_cast<unsigned>(mesh.perPipelineRank()) +
         ofServers * static_cast<unsigned>(mesh.servers * mesh.tensor);
}

std::uint64_t Session::allocatedBytes() const {
  std::uint64_t bytes = device.mappedBytes();
  for (const auto &executor : executors) {
    bytes += executor ? executor->deviceBytes() : 0;
  }
  return bytes;
}

std::optional<DeviceUse> Session::deviceUse() const {
  if (!isCuda()) {
    return {};
  }
  DeviceUse use{.bytes = takenOnDevices};
  for (const auto &executor : executors) {
    use.graphs += executor ? executor->graphs() : 0;
  }
  for (const std::string &kernel : cuda::dnnKernels()) {
    use.dnn.kernels[kernel] = {};
  }
  for (const auto &table : tables) {
    if (!table) {
      continue;
    }
    for (const auto &[kernel, calls] : table->dnnUses.kernels) {
      use.dnn.kernels[kernel].byDnn += calls.byDnn;
      use.dnn.kernels[kernel].byOwn += calls.byOwn;
    }
    use.dnn.refusal = use.dnn.refusal.empty() ? table->dnnUses.refusal : use.dnn.refusal;
  }
  return use;
}

namespace {
class CatchUp final : public RankWork {
public:
  Result<void> run(Executor &executor) override { return executor.catchUp(); }
};
} // namespace

Result<void> Session::catchUp() {
  return mesh.servers > 0 && executable.file().contract()->staleness() > 0
             ? runRanks(std::make_shared<CatchUp>())
             : Result<void>();
}

Result<double> Session::sumOverProcesses(double value) {
  if (process) {
    if (auto ok = process->allReduce(&value, 1, Element::F64); !ok) {
      return ok.takeError();
    }
  }
  return value;
}

Result<void> Session::agree(Result<void> own) {
  if (!process) {
    return own;
  }
  std::vector<double> kinds(static_cast<std::size_t>(process->size()), 0); // ErrorKind; 0: none
  if (!own) {
    kinds[process->rank()] = static_cast<int>(own.error().kind);
  }
  if (auto ok = process->allReduce(kinds.data(), kinds.size(), Element::F64); !ok) {
    return ok;
  }
  const auto kindOf = [&](std::size_t rank) { return static_cast<ErrorKind>(kinds[rank]); };
  std::size_t cause = kinds.size();
  for (std::size_t rank = 0; rank < kinds.size(); ++rank) {
    if (kinds[rank] != 0 && (cause == kinds.size() || explainsMore(kindOf(rank), kindOf(cause)))) {
      cause = rank;
    }
  }
  if (cause == kinds.size()) {
    return {};
  }
  // Every rank returns it, because the first one to end with an error has the others killed.
  Error error{kindOf(cause), "", "", ""};
  if (static_cast<int>(cause) == process->rank()) {
    error = own.takeError();
  }
  for (std::string *text : {&error.place, &error.what, &error.advice}) {
    if (auto ok = broadcastText(*text, static_cast<int>(cause)); !ok) {
      return ok;
    }
  }
  return error;
}

Result<void> Session::broadcastText(std::string &text, int root) {
  std::uint64_t size = text.size();
  if (auto ok = process->broadcast(&size, sizeof size, root); !ok || size == 0) {
    return ok;
  }
  text.resize(size);
  return process->broadcast(text.data(), size, root);
}

/// Called by a rank's thread or by the watchdog.
void Session::fail(const Error &error) {
  {
    std::lock_guard lock(mutex);
    if (!firstError) {
      firstError = error;
    }
  }
  if (process) {
    // The other processes wait for this one, so the job cannot end in good order.
    if (trace) {
      (void)trace->flush();
    }
    process->abort(error);
  } else {
    group->communicator(0).abort(error);
  }
}

/// The thread of a rank: parked but while there is work.
void Session::serveRank(int rank) {
  kernels::setFlushToZero();
  Result<void> pinned;
  if (options.isolateRanks) {
    if (auto core = pinRank(mpi ? mpi->localRank() : rank); !core) {
      pinned = core.takeError();
    }
  }
  std::unique_lock lock(mutex);
  for (std::uint64_t served = 0;; ++served) {
    wake.wait(lock, [&] { return round > served || stopping; });
    if (stopping) {
      return;
    }
    std::shared_ptr<RankWork> work = current;
    lock.unlock();
    const auto body = [&]() -> Result<void> { return pinned ? work->run(*executors[rank]) : pinned; };
    const auto outcome = guarded(std::cref(body)); // by reference: a copy would be allocated
    work.reset();
    if (!outcome) {
      fail(outcome.error());
    }
    lock.lock();
    --running;
    changed.notify_all();
  }
}

Result<void> Session::startThreads() {
  std::vector<WatchedRank> watched;
  for (int rank = 0; rank < mesh.size(); ++rank) {
    if (executors[rank]) {
      watched.push_back({&statuses[rank], &communicator(rank)});
    }
  }
  Watchdog::Settings settings{
      options.watchdogSeconds, board.get(), options.interrupt, {}, options.printWatchdog};
  settings.end = [this](const Error &error) {
    fail(error);
    std::lock_guard lock(mutex);
    ending = true;
    changed.notify_all();
  };
  try {
    threads.reserve(watched.size());
    watchdog.emplace(watched, std::move(settings));
    for (const WatchedRank &rank : watched) {
      threads.emplace_back(
          [self = shared_from_this(), number = rank.communicator->rank()] { self->serveRank(number); });
    }
  } catch (const std::system_error &error) {
    return environmentError("--ranks", std::string("cannot start the threads of the ranks: ") + error.what(),
                            "raise the limits on threads and memory (ulimit -u, -v)");
  }
  return {};
}

Result<void> Session::runRanks(std::shared_ptr<RankWork> work) {
  std::unique_lock lock(mutex);
  if (threads.empty() && !firstError) {
    lock.unlock();
    if (auto started = startThreads(); !started) {
      fail(started.error());
    }
    lock.lock();
  }
  if (!firstError) {
    lock.unlock();
    watchdog->resume(); // not under our lock: its thread takes both, its own first
    lock.lock();
    current = std::move(work);
    running = static_cast<int>(threads.size());
    ++round;
    wake.notify_all();
    changed.wait(lock, [this] { return running == 0 || ending; });
    changed.wait_for(lock, kGrace, [this] { return running == 0; });
    lock.unlock();
    watchdog->pause();
    lock.lock();
  }
  if (firstError) {
    return *firstError;
  }
  return {};
}

void Session::endThreads() {
  watchdog.reset();
  std::unique_lock lock(mutex);
  stopping = true;
  wake.notify_all();
  for (std::thread &thread : threads) {
    if (running == 0) {
      lock.unlock();
      thread.join();
      lock.lock();
    } else {
      thread.detach(); // stuck in a kernel: it keeps the session
    }
  }
  threads.clear();
}

} // namespace stagewright::runtime
