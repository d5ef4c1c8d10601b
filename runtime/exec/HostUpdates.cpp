#include "runtime/exec/HostUpdates.h"

#include <algorithm>
#include <set>

namespace stagewright::runtime {

using executable::ArenaClass;

namespace {

const catalogue::Kernel &kernelOf(const Executable &file, const executable::Command &command) {
  const executable::KernelRef &reference = *file.file().kernels()->Get(command.kernel());
  return *catalogue::find(reference.name()->str(), reference.version());
}

/// Tiles of the ranks' pool, with the arithmetic of GPUs.
class DeviceArithmetic final : public kernels::TileRunner {
public:
  explicit DeviceArithmetic(TilePool &pool) : pool(pool) {}

  void run(int tiles, void (*tile)(void *context, int index, int worker), void *context) override {
    struct Body {
      void (*tile)(void *context, int index, int worker);
      void *context;
    } body{tile, context};
    pool.run(
        tiles,
        [](void *given, int index, int worker) {
          const kernels::KeepSubnormals asOnGpus;
          const Body &inner = *static_cast<const Body *>(given);
          inner.tile(inner.context, index, worker);
        },
        &body);
  }
  void *scratch(int worker) override { return pool.scratch(worker); }

private:
  TilePool &pool;
};

} // namespace

bool usesWindows(const executable::Command &command, const executable::RankPlan &plan) {
  return std::ranges::any_of(*command.operands(), [&](const executable::Operand *operand) {
    return plan.arenas()->Get(operand->arena())->arena_class() == ArenaClass::Windows;
  });
}

bool runsOnHost(const Executable &executable, const executable::Command &command,
                const executable::RankPlan &plan) {
  static const std::set<std::string_view> sameBits = {"sgd", "adam", "lion", "adagrad"};
  const auto isOfDevice = [&](const executable::Operand *operand) {
    return plan.arenas()->Get(operand->arena())->arena_class() == ArenaClass::OptimizerState;
  };
  return usesWindows(command, plan) && sameBits.contains(kernelOf(executable, command).name) &&
         std::ranges::none_of(*command.operands(), isOfDevice);
}

HostUpdates::HostUpdates(const Executable &executable, const RankEnvironment &environment, cuda::Api &api,
                         OrderedStream &computing, OrderedStream &down, OrderedStream &up)
    : file(executable), environment(environment),
      rankPlan(executable.rank(environment.mesh.pipelineRank(environment.communicator.rank()))), api(api),
      computing(computing), down(down), up(up), host(api), staging(api) {}

HostUpdates::~HostUpdates() {
  if (host.handle().handle) { // behind a step that has failed: what functions use is about to go
    (void)api.synchronize(host.handle());
    (void)api.synchronize(down.handle());
    (void)api.synchronize(up.handle());
  }
  for (const OrderedEvent *event :
       {&made, &uploaded, &places[0].filled, &places[0].used, &places[1].filled, &places[1].used}) {
    if (event->handle.handle) {
      api.destroy(event->handle);
    }
  }
}

Result<void> HostUpdates::openEvents() {
  for (OrderedEvent *event :
       {&made, &uploaded, &places[0].filled, &places[0].used, &places[1].filled, &places[1].used}) {
    auto opened = computing.makeEvent();
    if (!opened) {
      return opened.takeError();
    }
    *event = std::move(*opened);
  }
  return {};
}

Result<void> HostUpdates::open(const ArenaBases &arenas, const ArenaBases &copies, std::size_t number,
                               std::size_t streams) {
  auto ok = host.open(number, streams);
  if (ok = ok ? openEvents() : std::move(ok); !ok) {
    return ok;
  }
  std::uint64_t most = 0, ofScalars = 0;
  for (unsigned i = 0; i < rankPlan.arenas()->size(); ++i) {
    const executable::Arena &arena = *rankPlan.arenas()->Get(i);
    ofScalars += arena.arena_class() == ArenaClass::Scalars ? catalogue::aligned(arena.bytes()) : 0;
  }
  for (const executable::Program *program : *rankPlan.programs()) {
    for (const executable::Command *command : *program->commands()) {
      for (const executable::Operand *operand : *command->operands()) {
        most = runsOnHost(file, *command, rankPlan) ? std::max(most, catalogue::aligned(bytesOf(*operand)))
                                                    : most;
      }
    }
  }
  if (ok = staging.allocate(places.size() * most + ofScalars); !ok) {
    return ok;
  }
  for (std::size_t i = 0; i < places.size(); ++i) {
    places[i].gradient = staging.data() + ofScalars + i * most;
  }
  for (unsigned i = 0; ok && i < rankPlan.programs()->size(); ++i) {
    ok = plan(*rankPlan.programs()->Get(i), i, arenas, copies);
  }
  return ok;
}

/// Walks through commands and loads, which say what lies in which window.
Result<void> HostUpdates::plan(const executable::Program &program, unsigned number, const ArenaBases &arenas,
                               const ArenaBases &copies) {
  Homes homes;
  unsigned next = 0;
  const unsigned points = program.points() ? program.points()->size() : 0;
  for (unsigned i = 0; i < program.commands()->size(); ++i) {
    for (; next < points && program.points()->Get(next)->command() <= i; ++next) {
      const executable::ExchangePoint &point = *program.points()->Get(next);
      const executable::Exchange &exchange = *rankPlan.exchanges()->Get(point.exchange());
      for (const executable::ExchangePiece *piece : *exchange.pieces()) {
        if (point.begins() && exchange.kind() == executable::ExchangeKind::Load &&
            piece->replica() == environment.mesh.replica(rank())) {
          homes[arenas[piece->arena()] + piece->offset()] =
              arenas[static_cast<unsigned>(piece->shard_arena())] + piece->shard_offset();
        }
      }
    }
    const executable::Command &command = *program.commands()->Get(i);
    if (!runsOnHost(file, command, rankPlan) ||
        (command.replica() >= 0 && command.replica() != environment.mesh.updater(rank()))) {
      continue;
    }
    Update update;
    update.program = number;
    update.command = i;
    update.place = updates.size() % places.size();
    update.pool = &environment.pool;
    auto ok = prepare(command, update);
    ok = ok ? bind(command, homes, arenas, copies, update) : std::move(ok);
    if (!ok) {
      return ok;
    }
    updates.push_back(std::move(update));
  }
  return {};
}

Result<void> HostUpdates::prepare(const executable::Command &command, Update &update) const {
  kernels::KernelInstance instance{&kernelOf(file, command), {}, attributesOf(command)};
  std::vector<catalogue::DType> dtypes;
  for (const executable::Operand *operand : *command.operands()) {
    instance.shapes.emplace_back(operand->shape()->begin(), operand->shape()->end());
    dtypes.push_back(static_cast<catalogue::DType>(operand->dtype()));
  }
  instance.element = catalogue::elementOf(*instance.kernel, dtypes);
  auto prepared = kernels::prepare(instance, environment.isa);
  if (!prepared) {
    return prepared.takeError();
  }
  update.kernel = std::move(*prepared);
  update.operands.resize(instance.kernel->operands.size());
  return {};
}

/// Where the host finds the operands.
Result<void> HostUpdates::bind(const executable::Command &command, const Homes &homes,
                               const ArenaBases &arenas, const ArenaBases &copies, Update &update) {
  for (unsigned i = 0; i < command.operands()->size(); ++i) {
    const executable::Operand &operand = *command.operands()->Get(i);
    const std::uint64_t bytes = bytesOf(operand);
    std::byte *const onDevice = arenas[operand.arena()] + operand.offset();
    std::byte *onHost = nullptr;
    switch (rankPlan.arenas()->Get(operand.arena())->arena_class()) {
    case ArenaClass::Windows:
      if (const auto home = homes.find(onDevice); home != homes.end()) {
        onHost = home->second;
      }
      break;
    case ArenaClass::Gradients:
      onHost = places[update.place].gradient;
      update.gradient = {onHost, onDevice, bytes};
      break;
    case ArenaClass::Parameters:
      onHost = copies[operand.arena()] ? copies[operand.arena()] + operand.offset() : nullptr;
      update.weight = {onDevice, onHost, bytes};
      break;
    case ArenaClass::Scalars:
      onHost = scalarAt(operand, onDevice);
      break;
    default:
      break;
    }
    if (!onHost) {
      return bugError("an update on the host", "an operand has no place there");
    }
    update.operands[i] = onHost;
    update.accesses.push_back(
        {onHost, bytes, rankPlan.arenas()->Get(operand.arena())->arena_class() != ArenaClass::Scalars});
  }
  return {};
}

/// A copy of the cell, for all updates that read it.
std::byte *HostUpdates::scalarAt(const executable::Operand &operand, std::byte *onDevice) {
  const auto known =
      std::ranges::find_if(scalars, [&](const Copy &scalar) { return scalar.from == onDevice; });
  if (known != scalars.end()) {
    return known->to;
  }
  std::byte *to =
      scalars.empty() ? staging.data() : scalars.back().to + catalogue::aligned(scalars.back().bytes);
  scalars.push_back({to, onDevice, bytesOf(operand)});
  return to;
}

void HostUpdates::runOnHost(void *context) {
  const Update &update = *static_cast<const Update *>(context);
  const TilePool::Lease lease(*update.pool);
  const kernels::KeepSubnormals asOnGpus;
  DeviceArithmetic tiles(*update.pool);
  update.kernel->run(update.operands.data(), nullptr, tiles);
}

/// The device has made gradients and scalars, and has read the weights.
Result<void> HostUpdates::begin() {
  underWay = true;
  uploads = false;
  auto ok = computing.record(made);
  ok = ok ? down.wait(made) : std::move(ok);
  for (const Copy &scalar : scalars) {
    ok = ok ? api.copy(scalar.to, scalar.from, scalar.bytes, down.handle()) : std::move(ok);
  }
  return ok;
}

Result<void> HostUpdates::run(unsigned program, unsigned command) {
  const auto found =
      std::ranges::lower_bound(updates, std::pair(program, command), {}, [](const Update &update) {
        return std::pair(update.program, update.command);
      });
  if (found == updates.end() || found->program != program || found->command != command) {
    return bugError("an update on the host", "it has not been prepared");
  }
  Update &update = *found;
  Place &place = places[last = update.place];
  auto ok = underWay ? Result<void>() : begin();
  ok = ok ? down.wait(place.used) : std::move(ok);
  ok = ok ? api.copy(update.gradient.to, update.gradient.from, update.gradient.bytes, down.handle())
          : std::move(ok);
  ok = ok ? api.fill(update.gradient.from, 0, update.gradient.bytes, down.handle()) : std::move(ok);
  ok = ok ? down.record(place.filled) : std::move(ok);
  ok = ok ? host.wait(place.filled) : std::move(ok);
  if (!ok) {
    return ok;
  }
  api.declare(update.accesses, host.handle());
  ok = api.call({runOnHost, &update}, host.handle());
  ok = ok ? host.record(place.used) : std::move(ok);
  if (!ok || update.weight.bytes == 0) {
    return ok;
  }
  uploads = true;
  ok = up.wait(place.used);
  return ok ? api.copy(update.weight.to, update.weight.from, update.weight.bytes, up.handle())
            : std::move(ok);
}

Result<void> HostUpdates::finish() {
  if (!underWay) {
    return {};
  }
  underWay = false;
  const OrderedEvent *awaited[] = {&places[last].filled, &places[last].used, &uploaded};
  auto ok = uploads ? up.record(uploaded) : Result<void>();
  return ok ? computing.wait(std::span(awaited, uploads ? 3 : 2)) : std::move(ok);
}

} // namespace stagewright::runtime
