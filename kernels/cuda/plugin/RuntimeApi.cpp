// The function table on a GPU: the CUDA runtime, and the libraries that are opened on use.
#include "kernels/cuda/plugin/CublasLt.h"
#include "kernels/cuda/plugin/Cudnn.h"
#include "kernels/cuda/plugin/DeviceCode.h"
#include "kernels/cuda/plugin/Door.h"
#include "kernels/cuda/plugin/Nccl.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <vector>

namespace stagewright::cuda {
namespace {

Result<void> check(cudaError_t status, const char *call) {
  if (status == cudaSuccess) {
    return {};
  }
  const bool isMemory = status == cudaErrorMemoryAllocation;
  return environmentError(
      call, cudaGetErrorString(status),
      isMemory ? "free memory of the GPU, or compile for more stages or smaller micro-batches"
               : "run it under compute-sanitizer, and look for Xid in the kernel's log (dmesg)");
}

template <typename Handle, typename Native>
Result<Handle> handleOf(cudaError_t status, const char *call, Native native) {
  if (auto ok = check(status, call); !ok) {
    return ok.takeError();
  }
  return Handle{native};
}

/// What all tables of a GPU share: its code.
class LoadedCode {
public:
  /// Of the calling thread's GPU.
  Result<Function> function(const std::string &name) {
    const std::lock_guard lock(mutex);
    if (auto ok = load(); !ok) {
      return ok.takeError();
    }
    const auto known = functions.find(name);
    return known != functions.end() ? Result<Function>(known->second)
                                    : bugError("function " + name, "the plug-in has no such kernel");
  }

private:
  Result<void> load() {
    for (std::size_t i = libraries.size(); i < deviceCodeCount(); ++i) {
      libraries.emplace_back();
      auto ok = check(
          cudaLibraryLoadData(&libraries.back(), deviceCode(i), nullptr, nullptr, 0, nullptr, nullptr, 0),
          "cudaLibraryLoadData");
      if (!ok) {
        libraries.pop_back();
        return ok;
      }
      if (ok = list(libraries.back()); !ok) {
        libraries.pop_back();
        return ok;
      }
    }
    return {};
  }
  /// Asking each library for a name would be calls that fail, which compute-sanitizer reports.
  Result<void> list(cudaLibrary_t library) {
    unsigned count = 0;
    auto ok = check(cudaLibraryGetKernelCount(&count, library), "cudaLibraryGetKernelCount");
    std::vector<cudaKernel_t> kernels(count);
    ok =
        ok ? check(cudaLibraryEnumerateKernels(kernels.data(), count, library), "cudaLibraryEnumerateKernels")
           : std::move(ok);
    for (std::size_t i = 0; ok && i < kernels.size(); ++i) {
      const char *name = nullptr;
      ok = check(cudaFuncGetName(&name, kernels[i]), "cudaFuncGetName");
      if (ok) {
        functions.emplace(name, Function{kernels[i]});
      }
    }
    return ok;
  }

  std::mutex mutex;
  std::vector<cudaLibrary_t> libraries;
  std::map<std::string, Function> functions;
};

LoadedCode &code() {
  static LoadedCode loaded;
  return loaded;
}

class RuntimeApi final : public Api {
public:
  explicit RuntimeApi(int device) : device(device) {}

  Result<DeviceProperties> properties() override {
    cudaDeviceProp found = {};
    DeviceProperties out;
    auto ok = check(cudaGetDeviceProperties(&found, device), "cudaGetDeviceProperties");
    ok = ok ? check(cudaMemGetInfo(&out.freeBytes, &out.bytes), "cudaMemGetInfo") : std::move(ok);
    if (!ok) {
      return ok.takeError();
    }
    out.name = found.name;
    std::array<char, 32> bus = {};
    if (auto asked = check(cudaDeviceGetPCIBusId(bus.data(), static_cast<int>(bus.size()), device),
                           "cudaDeviceGetPCIBusId");
        !asked) {
      return asked.takeError();
    }
    out.bus = bus.data();
    out.major = found.major;
    out.minor = found.minor;
    out.multiprocessors = found.multiProcessorCount;
    return out;
  }
  Result<void> select() override { return check(cudaSetDevice(device), "cudaSetDevice"); }

  Result<void *> allocate(std::size_t bytes) override {
    void *data = nullptr;
    return handleOf<void *>(cudaMalloc(&data, bytes), "cudaMalloc", data);
  }
  void release(void *data) override { (void)cudaFree(data); }
  Result<void *> allocatePinned(std::size_t bytes) override {
    void *data = nullptr;
    if (cudaMallocHost(&data, bytes) != cudaSuccess) {
      (void)cudaGetLastError();
      return environmentError("cudaMallocHost",
                              "there is no pinned memory of " + std::to_string(bytes) + " bytes",
                              "free memory of the host, raise `ulimit -l`, or offload less");
    }
    return data;
  }
  void releasePinned(void *data) override { (void)cudaFreeHost(data); }

  Result<Stream> createStream() override {
    cudaStream_t stream = nullptr;
    return handleOf<Stream>(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                            "cudaStreamCreateWithFlags", stream);
  }
  void destroy(Stream stream) override { (void)cudaStreamDestroy(native(stream)); }
  Result<Event> createEvent() override {
    cudaEvent_t event = nullptr;
    return handleOf<Event>(cudaEventCreateWithFlags(&event, cudaEventDisableTiming),
                           "cudaEventCreateWithFlags", event);
  }
  void destroy(Event event) override { (void)cudaEventDestroy(native(event)); }

  Result<void> copy(void *to, const void *from, std::size_t bytes, Stream stream) override {
    return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, native(stream)), "cudaMemcpyAsync");
  }
  Result<void> fill(void *to, std::uint8_t byte, std::size_t bytes, Stream stream) override {
    return check(cudaMemsetAsync(to, byte, bytes, native(stream)), "cudaMemsetAsync");
  }
  Result<void> launch(const Launch &launch, Stream stream) override {
    constexpr std::size_t kAlways = 48 * 1024; // bytes of shared memory that need no permission
    if (launch.sharedBytes > kAlways) {
      auto ok =
          check(cudaFuncSetAttribute(launch.function.handle, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(launch.sharedBytes)),
                "cudaFuncSetAttribute");
      if (!ok) {
        return ok;
      }
    }
    cudaLaunchConfig_t configuration = {};
    configuration.gridDim = {launch.grid[0], launch.grid[1], launch.grid[2]};
    configuration.blockDim = {launch.threads, 1, 1};
    configuration.dynamicSmemBytes = launch.sharedBytes;
    configuration.stream = native(stream);
    void *arguments[] = {const_cast<void *>(launch.arguments)}; // only read
    return check(cudaLaunchKernelExC(&configuration, launch.function.handle, arguments),
                 "cudaLaunchKernelExC");
  }
  Result<void> call(const HostCall &call, Stream stream) override {
    return check(cudaLaunchHostFunc(native(stream), call.run, call.context), "cudaLaunchHostFunc");
  }
  Result<void> record(Event event, Stream stream) override {
    return check(cudaEventRecord(native(event), native(stream)), "cudaEventRecord");
  }
  Result<void> wait(Stream stream, Event event) override {
    return check(cudaStreamWaitEvent(native(stream), native(event), 0), "cudaStreamWaitEvent");
  }
  Result<void> synchronize(Stream stream) override {
    return check(cudaStreamSynchronize(native(stream)), "cudaStreamSynchronize");
  }
  Result<bool> isDone(Stream stream) override {
    const cudaError_t status = cudaStreamQuery(native(stream));
    if (status == cudaErrorNotReady) {
      (void)cudaGetLastError(); // no error
      return false;
    }
    auto ok = check(status, "cudaStreamQuery");
    return ok ? Result<bool>(true) : ok.takeError();
  }

  Result<void> beginCapture(Stream stream) override {
    return check(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeThreadLocal),
                 "cudaStreamBeginCapture");
  }
  Result<Graph> endCapture(Stream stream) override {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    auto ok = check(cudaStreamEndCapture(native(stream), &graph), "cudaStreamEndCapture");
    ok = ok ? check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate") : std::move(ok);
    if (graph) {
      (void)cudaGraphDestroy(graph);
    }
    if (!ok) {
      return ok.takeError();
    }
    return Graph{executable};
  }
  Result<void> launch(Graph graph, Stream stream) override {
    return check(cudaGraphLaunch(native(graph), native(stream)), "cudaGraphLaunch");
  }
  void destroy(Graph graph) override { (void)cudaGraphExecDestroy(native(graph)); }

  Result<Function> function(const std::string &name) override { return code().function(name); }

  Result<Plan> plan(const Product &product, std::size_t workspaceBytes) override {
    if (!products) {
      auto opened = CublasLt::open();
      if (!opened) {
        return opened.takeError();
      }
      products = std::move(*opened);
    }
    auto made = products->plan(product, workspaceBytes);
    return made ? Result<Plan>(Plan{*made}) : made.takeError();
  }
  Result<void> multiply(Plan plan, const ProductOperands &operands, void *workspace, Stream stream) override {
    return products->run(plan.handle, operands, workspace, native(stream));
  }
  void destroy(Plan plan) override { products->destroy(plan.handle); }

  Result<DnnPlan> plan(const Convolution &convolution, std::size_t workspaceBytes) override {
    return opensDnn() ? dnn->plan(convolution, workspaceBytes) : DnnPlan{nullptr, noDnn};
  }
  Result<DnnPlan> plan(const Attention &attention, std::size_t workspaceBytes) override {
    return opensDnn() ? dnn->plan(attention, workspaceBytes) : DnnPlan{nullptr, noDnn};
  }
  Result<void> run(const DnnPlan &plan, std::span<void *const> operands, void *workspace,
                   Stream stream) override {
    return dnn->run(plan, operands, workspace, native(stream));
  }
  void destroy(const DnnPlan &plan) override { dnn->destroy(plan); }

  Result<ConnectionId> connectionId() override {
    auto ok = openMessages();
    return ok ? messages->id() : ok.takeError();
  }
  Result<Connection> connect(const ConnectionId &id, int rank, int ranks, int mostBlocks) override {
    auto ok = openMessages();
    return ok ? messages->connect(id, rank, ranks, mostBlocks) : ok.takeError();
  }
  Result<void> exchange(Connection connection, std::span<const Exchanged> exchanged, Stream stream) override {
    return messages->exchange(connection, exchanged, native(stream));
  }
  Result<void> failureOf(Connection connection) override { return messages->failureOf(connection); }
  void disconnect(Connection connection) override { messages->disconnect(connection); }
  void abort(Connection connection) override { messages->abort(connection); }

private:
  Result<void> openMessages() {
    if (!messages) {
      auto opened = Nccl::open();
      if (!opened) {
        return opened.takeError();
      }
      messages = std::move(*opened);
    }
    return {};
  }
  /// Whether cuDNN is there: asked once.
  bool opensDnn() {
    if (!dnn && noDnn.empty()) {
      auto opened = Cudnn::open();
      if (opened) {
        dnn = std::move(*opened);
      } else {
        noDnn = opened.error().text();
      }
    }
    return dnn != nullptr;
  }

  static cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }
  static cudaEvent_t native(Event event) { return static_cast<cudaEvent_t>(event.handle); }
  static cudaGraphExec_t native(Graph graph) { return static_cast<cudaGraphExec_t>(graph.handle); }

  const int device;
  std::unique_ptr<CublasLt> products;
  std::unique_ptr<Cudnn> dnn;
  std::unique_ptr<Nccl> messages;
  std::string noDnn; ///< why not
};

/// Ranks of one process copy from each other's GPUs without the host's memory between, where they can.
void openPeers(int device, int count, int ranks) {
  if (ranks == 1) { // a context on a GPU that others use takes memory there
    return;
  }
  for (int peer = 0; peer < std::min(count, ranks); ++peer) {
    int canAccess = 0;
    if (peer != device && cudaDeviceCanAccessPeer(&canAccess, device, peer) == cudaSuccess && canAccess) {
      (void)cudaDeviceEnablePeerAccess(peer, 0); // also when it is open already
    }
  }
  (void)cudaGetLastError();
}

/// How many GPUs there are; none is an error that says what to do.
Result<int> countDevices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    return environmentError("CUDA", "there is no NVIDIA driver on this machine, or one that is too old",
                            "install a driver for CUDA 13 (580 or newer), or use --target host");
  }
  if (status != cudaSuccess || count == 0) {
    return environmentError("CUDA",
                            status == cudaSuccess || status == cudaErrorNoDevice
                                ? std::string("there is no NVIDIA GPU on this machine")
                                : std::string(cudaGetErrorString(status)),
                            "see what nvidia-smi lists, or use --target host");
  }
  return count;
}

} // namespace
} // namespace stagewright::cuda

using namespace stagewright;

extern "C" __attribute__((visibility("default"))) void
stagewright_cuda_open(int tableVersion, int rank, int ranks, Result<std::unique_ptr<cuda::Api>> *result) {
  if (tableVersion != cuda::kTableVersion) {
    *result = environmentError("libstagewright_cuda.so", "is of another version than this program",
                               "build and install both together");
    return;
  }
  auto count = cuda::countDevices();
  if (!count) {
    *result = count.takeError();
    return;
  }
  auto api = std::make_unique<cuda::RuntimeApi>(rank % *count);
  if (auto ok = api->select(); !ok) {
    *result = ok.takeError();
    return;
  }
  cuda::openPeers(rank % *count, *count, ranks);
  *result = std::unique_ptr<cuda::Api>(std::move(api));
}
