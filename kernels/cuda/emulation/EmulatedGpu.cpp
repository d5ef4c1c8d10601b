#include "kernels/cuda/emulation/EmulatedGpu.h"

#include "kernels/cuda/emulation/EmulatedDnn.h"
#include "kernels/cuda/emulation/EmulatedProduct.h"
#include "kernels/host/Host.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

namespace stagewright::cuda::emulation {

/// One rank's table. The lock is held in every call: ranks are threads.
class EmulatedApi final : public Api {
public:
  EmulatedApi(EmulatedGpu &gpu, std::string bus) : gpu(gpu), bus(std::move(bus)) {}

  Result<DeviceProperties> properties() override {
    constexpr std::size_t kBytes = std::size_t{8} << 30;
    return DeviceProperties{"emulated GPU", bus, 9, 0, kBytes, kBytes - gpu.allocatedBytes(), 1};
  }
  Result<void> select() override { return {}; }

  Result<void *> allocate(std::size_t bytes) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.allocations;
    void *data = std::aligned_alloc(256, (std::max<std::size_t>(bytes, 1) + 255) / 256 * 256);
    // As on a GPU nobody may rely on what is there; of a workspace that is never touched the system need not
    // make pages.
    std::memset(data, 0xFF, std::min<std::size_t>(bytes, std::size_t{1} << 20));
    gpu.sizes[data] = bytes;
    return data;
  }
  void release(void *data) override {
    const std::lock_guard lock(gpu.mutex);
    gpu.count.releases += data != nullptr;
    if (const auto found = gpu.sizes.find(data); found != gpu.sizes.end()) {
      gpu.finder.forget(data, found->second);
      gpu.sizes.erase(found);
    }
    std::free(data);
  }
  Result<void *> allocatePinned(std::size_t bytes) override {
    auto made = allocate(bytes);
    const std::lock_guard lock(gpu.mutex);
    gpu.pinned.insert(*made);
    return made;
  }
  void releasePinned(void *data) override {
    {
      const std::lock_guard lock(gpu.mutex);
      gpu.pinned.erase(data);
    }
    release(data);
  }

  Result<Stream> createStream() override {
    const std::lock_guard lock(gpu.mutex);
    gpu.states.push_back(std::make_unique<EmulatedGpu::StreamState>());
    gpu.states.back()->number = static_cast<unsigned>(gpu.states.size() - 1);
    gpu.living.insert(gpu.states.back().get());
    return Stream{gpu.states.back().get()};
  }
  void destroy(Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    gpu.living.erase(state(stream));
  }
  Result<Event> createEvent() override { return Event{new EmulatedGpu::EventState}; }
  void destroy(Event event) override { delete static_cast<EmulatedGpu::EventState *>(event.handle); }

  Result<void> copy(void *to, const void *from, std::size_t bytes, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.copies;
    return gpu.give(stream,
                    {[=]() -> Result<void> {
                       std::memmove(to, from, bytes);
                       return {};
                     },
                     {{from, bytes, false}, {to, bytes, true}}},
                    host);
  }
  Result<void> fill(void *to, std::uint8_t byte, std::size_t bytes, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    return gpu.give(stream,
                    {[=]() -> Result<void> {
                       std::memset(to, byte, bytes);
                       return {};
                     },
                     {{to, bytes, true}}},
                    host);
  }
  Result<void> launch(const Launch &launch, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.launches;
    ++gpu.launched[static_cast<const Kernel *>(launch.function.handle)->name];
    const auto *bytes = static_cast<const std::byte *>(launch.arguments);
    return gpu.give(
        stream,
        {[this, launch,
          arguments = std::vector<std::byte>(bytes, bytes + launch.argumentBytes)]() -> Result<void> {
           if (!gpu.computes) {
             return {};
           }
           auto grid = launch.grid;
           grid[0] = std::min(grid[0], gpu.mostBlocks);
           return emulation::run(*static_cast<const Kernel *>(launch.function.handle), grid, launch.threads,
                                 launch.sharedBytes, arguments.data(), arguments.size(), gpu.order);
         },
         state(stream)->declared},
        host);
  }
  Result<void> call(const HostCall &call, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.hostCalls;
    return gpu.give(stream,
                    {[this, call]() -> Result<void> {
                       if (gpu.computes) {
                         call.run(call.context);
                       }
                       return {};
                     },
                     state(stream)->declared},
                    host);
  }
  void declare(std::span<const Access> accesses, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    state(stream)->declared.assign(accesses.begin(), accesses.end());
  }
  Result<void> record(Event event, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    auto &recorded = *static_cast<EmulatedGpu::EventState *>(event.handle);
    recorded.record = ++gpu.calls;
    recorded.clock = state(stream)->clock;
    gpu.openRecords.insert(recorded.record);
    state(stream)->items.push_back({nullptr, recorded.record, 0, nullptr});
    return {};
  }
  Result<void> wait(Stream stream, Event event) override {
    const std::lock_guard lock(gpu.mutex);
    EmulatedGpu::StreamState &waiting = *state(stream);
    ++gpu.count.waits;
    const std::uint64_t number = waiting.waits++;
    const auto &omitted = gpu.omittedWait;
    if (!omitted || omitted->stream != waiting.number || omitted->number != number) {
      const auto &awaited = *static_cast<EmulatedGpu::EventState *>(event.handle);
      waiting.items.push_back({nullptr, ++gpu.calls, awaited.record, nullptr});
      join(waiting.clock, awaited.clock);
    }
    return {};
  }
  Result<void> synchronize(Stream stream) override {
    std::unique_lock lock(gpu.mutex);
    ++gpu.count.synchronizations;
    join(host, state(stream)->clock);
    return gpu.drain(*state(stream), lock);
  }
  Result<bool> isDone(Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    auto done = gpu.drain(*state(stream));
    if (done && *done) {
      join(host, state(stream)->clock);
    }
    return done;
  }

  Result<void> beginCapture(Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    state(stream)->capture = new std::vector<EmulatedGpu::Step>;
    return {};
  }
  Result<Graph> endCapture(Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.graphs;
    return Graph{std::exchange(state(stream)->capture, nullptr)};
  }
  Result<void> launch(Graph graph, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.graphLaunches;
    for (const EmulatedGpu::Step &step : *static_cast<std::vector<EmulatedGpu::Step> *>(graph.handle)) {
      if (auto ok = gpu.give(stream, step, host); !ok) {
        return ok;
      }
    }
    return {};
  }
  void destroy(Graph graph) override { delete static_cast<std::vector<EmulatedGpu::Step> *>(graph.handle); }

  Result<Function> function(const std::string &name) override {
    const Kernel *found = find(name);
    if (!found) {
      return bugError("function", "there is no kernel " + name);
    }
    return Function{found};
  }

  Result<Plan> plan(const Product &product, std::size_t) override {
    const std::lock_guard lock(gpu.mutex);
    if (product.epilogue != Epilogue::None && !gpu.hasEpilogue(product)) {
      return Plan{};
    }
    ++gpu.count.plans;
    return Plan{new Product(product)};
  }
  Result<void> multiply(Plan plan, const ProductOperands &operands, void *, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    const Product &asked = *static_cast<const Product *>(plan.handle);
    ++gpu.count.products;
    ++gpu.count.epilogues[static_cast<std::size_t>(asked.epilogue)];
    gpu.count.tf32Products += asked.allowsTf32 ? 1 : 0;
    return gpu.give(stream,
                    {[=, this, product = asked]() -> Result<void> {
                       if (gpu.computes) {
                         computeProduct(product, operands);
                       }
                       return {};
                     },
                     state(stream)->declared},
                    host);
  }
  void destroy(Plan plan) override { delete static_cast<Product *>(plan.handle); }

  Result<DnnPlan> plan(const Convolution &convolution, std::size_t workspaceBytes) override {
    return answer(gpu.hasConvolution, convolution, computeConvolution, workspaceBytes);
  }
  Result<DnnPlan> plan(const Attention &attention, std::size_t workspaceBytes) override {
    return answer(gpu.hasAttention, attention, computeAttention, workspaceBytes);
  }
  Result<void> run(const DnnPlan &plan, std::span<void *const> operands, void *workspace,
                   Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.dnnRuns;
    return gpu.give(stream,
                    {[this, plan = *static_cast<const EmulatedDnnPlan *>(plan.handle), workspace,
                      operands = std::vector<void *>(operands.begin(), operands.end())]() -> Result<void> {
                       if (!gpu.computes) {
                         return {};
                       }
                       const std::size_t used = std::min(plan.workspaceBytes, std::size_t{1} << 20);
                       std::memset(workspace, 0xFF, used); // it is the library's while it runs
                       plan.compute(operands);
                       std::memset(workspace, 0xFF, used);
                       return {};
                     },
                     state(stream)->declared},
                    host);
  }
  void destroy(const DnnPlan &plan) override { delete static_cast<EmulatedDnnPlan *>(plan.handle); }

  Result<ConnectionId> connectionId() override {
    const std::lock_guard lock(gpu.mutex);
    return gpu.nccl.id();
  }
  Result<Connection> connect(const ConnectionId &id, int rank, int ranks, int) override {
    std::unique_lock lock(gpu.mutex);
    ++gpu.count.connections;
    auto made = gpu.nccl.connect(id, rank, ranks, lock, gpu.changed);
    return made ? Result<Connection>(Connection{*made}) : made.takeError();
  }
  Result<void> exchange(Connection connection, std::span<const Exchanged> messages, Stream stream) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.exchanges;
    std::vector<Access> accesses;
    for (const Exchanged &message : messages) {
      accesses.push_back({message.data, message.bytes, !message.sends});
    }
    auto ok = gpu.give(stream, {nullptr, std::move(accesses)}, host);
    state(stream)->items.back().exchange =
        gpu.nccl.begin(static_cast<EmulatedNccl::Communicator *>(connection.handle), messages);
    return ok;
  }
  Result<void> failureOf(Connection) override {
    const std::lock_guard lock(gpu.mutex);
    return gpu.connectionFailure ? Result<void>(*gpu.connectionFailure) : Result<void>();
  }
  void disconnect(Connection connection) override {
    const std::lock_guard lock(gpu.mutex);
    auto *const own = static_cast<EmulatedNccl::Communicator *>(connection.handle);
    gpu.count.hangs += gpu.nccl.isUnderWay(*own);
    --gpu.count.connections;
    gpu.nccl.leave(own);
  }
  void abort(Connection connection) override {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.aborts;
    --gpu.count.connections;
    gpu.nccl.abort(static_cast<EmulatedNccl::Communicator *>(connection.handle));
    ++gpu.moves;
    gpu.changed.notify_all();
  }

private:
  struct EmulatedDnnPlan {
    std::function<void(std::span<void *const>)> compute;
    std::size_t workspaceBytes = 0;
  };
  template <typename Description>
  Result<DnnPlan> answer(const std::function<bool(const Description &)> &has, const Description &description,
                         void (*compute)(const Description &, std::span<void *const>),
                         std::size_t workspaceBytes) {
    const std::lock_guard lock(gpu.mutex);
    ++gpu.count.dnnQuestions;
    if (!has || !has(description)) {
      return DnnPlan{nullptr, "the emulated GPU has no cuDNN"};
    }
    return DnnPlan{
        new EmulatedDnnPlan{[=](std::span<void *const> operands) { compute(description, operands); },
                            workspaceBytes},
        ""};
  }
  static EmulatedGpu::StreamState *state(Stream stream) {
    return static_cast<EmulatedGpu::StreamState *>(stream.handle);
  }
  EmulatedGpu &gpu;
  const std::string bus;
  Clock host; ///< what the rank has waited for
};

std::unique_ptr<Api> EmulatedGpu::api(std::string bus) {
  const std::lock_guard lock(mutex);
  ++tables;
  return std::make_unique<EmulatedApi>(*this, bus.empty() ? std::to_string(tables) : std::move(bus));
}

void EmulatedGpu::failConnections(const Error &error) {
  const std::lock_guard lock(mutex);
  connectionFailure = error;
}

std::int64_t EmulatedGpu::launchesOf(const std::string &kernel) const {
  const std::lock_guard lock(mutex);
  const auto found = launched.find(kernel);
  return found == launched.end() ? 0 : found->second;
}

EmulatedGpu::Counts EmulatedGpu::counts() const {
  const std::lock_guard lock(mutex);
  return count;
}
std::vector<std::uint64_t> EmulatedGpu::waitsOfStreams() const {
  const std::lock_guard lock(mutex);
  std::vector<std::uint64_t> waits;
  for (const auto &state : states) {
    waits.push_back(state->waits);
  }
  return waits;
}
std::vector<std::string> EmulatedGpu::races() const {
  const std::lock_guard lock(mutex);
  return finder.races();
}
std::size_t EmulatedGpu::allocatedBytes() const {
  const std::lock_guard lock(mutex);
  std::size_t bytes = 0;
  for (const auto &[data, size] : sizes) {
    bytes += pinned.count(data) ? 0 : size;
  }
  return bytes;
}

Result<void> EmulatedGpu::give(Stream stream, Step step, const Clock &host) {
  auto *state = static_cast<StreamState *>(stream.handle);
  if (state->capture) {
    state->capture->push_back(std::move(step));
    return {};
  }
  join(state->clock, host);
  state->clock.resize(std::max<std::size_t>(state->clock.size(), state->number + 1));
  ++state->clock[state->number];
  finder.add(state->number, state->clock, step.accesses);
  state->items.push_back({std::move(step.work), ++calls, 0, nullptr});
  ++moves;
  changed.notify_all();
  return {};
}

bool EmulatedGpu::mayRun(const StreamState &stream) const {
  if (stream.items.empty()) {
    return false;
  }
  const Item &item = stream.items.front();
  return (item.after == 0 || !openRecords.count(item.after)) &&
         !(item.exchange && item.exchange->isUnderWay && item.exchange->open > 0);
}

EmulatedGpu::StreamState *EmulatedGpu::choose(StreamState *a, StreamState *b) const {
  const bool aNamed = a->number == policy.stream, bNamed = b->number == policy.stream;
  if (policy.kind != Policy::Oldest && aNamed != bNamed) {
    return (policy.kind == Policy::Prefer) == aNamed ? a : b;
  }
  return a->items.front().number < b->items.front().number ? a : b;
}

EmulatedGpu::StreamState *EmulatedGpu::next() {
  StreamState *chosen = nullptr;
  for (StreamState *stream : living) {
    if (mayRun(*stream)) {
      chosen = chosen ? choose(chosen, stream) : stream;
    }
  }
  return chosen;
}

Result<bool> EmulatedGpu::drain(const StreamState &awaited) {
  const kernels::KeepSubnormals asOnGpus;
  while (!awaited.items.empty()) {
    StreamState *stream = next();
    if (!stream) {
      return false;
    }
    if (EmulatedNccl::Exchange *exchange = stream->items.front().exchange.get()) {
      auto done = nccl.advance(*exchange);
      if (!done) {
        return done;
      }
      if (!*done) {
        continue; // the other sides are not under way yet
      }
    }
    const Item item = std::move(stream->items.front());
    stream->items.pop_front();
    ++moves;
    changed.notify_all();
    openRecords.erase(item.number);
    if (item.work) {
      if (auto ok = item.work(); !ok) {
        return ok.takeError();
      }
    }
  }
  return true;
}

Result<void> EmulatedGpu::drain(const StreamState &awaited, std::unique_lock<std::mutex> &lock) {
  constexpr std::chrono::seconds kPatience{60};
  for (;;) {
    auto done = drain(awaited);
    if (!done || *done) {
      return done ? Result<void>() : done.takeError();
    }
    const std::uint64_t before = moves;
    const bool isInMessages = std::ranges::any_of(living, [](const StreamState *stream) {
      return !stream->items.empty() && stream->items.front().exchange;
    });
    if (!isInMessages || !changed.wait_for(lock, kPatience, [&] { return moves != before; })) {
      return bugError("emulated GPU",
                      isInMessages ? "a message has no other side" : "a stream waits for itself");
    }
  }
}

} // namespace stagewright::cuda::emulation
