#include "runtime/device/CudaPlugin.h"

#include "kernels/cuda/plugin/Door.h"

#include <algorithm>
#include <cstdlib>
#include <dlfcn.h>
#include <filesystem>

namespace stagewright::runtime {

Result<std::unique_ptr<cuda::Api>> openCuda(const std::vector<std::string> &folders, int rank, int ranks) {
  constexpr const char *kName = "libstagewright_cuda.so";
  for (const std::string &folder : folders) {
    const std::filesystem::path path = std::filesystem::path(folder) / kName;
    if (std::error_code ignored; !std::filesystem::exists(path, ignored)) {
      continue;
    }
    void *plugin = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    void *symbol = plugin ? dlsym(plugin, cuda::kOpenSymbol) : nullptr;
    if (!symbol) {
      return environmentError(path, std::string("cannot be loaded: ") + dlerror(),
                              "build it again, or use --target host");
    }
    Result<std::unique_ptr<cuda::Api>> opened = bugError(path, "did not answer");
    reinterpret_cast<cuda::OpenFunction>(symbol)(cuda::kTableVersion, rank, ranks, &opened);
    return opened;
  }
  return environmentError(kName, "is not there: this build has no CUDA",
                          "build on a machine with the CUDA Toolkit 13 (nvcc), or use --target host");
}

constexpr const char *kQueues = "CUDA_DEVICE_MAX_CONNECTIONS";
constexpr int kMostQueues = 32;

void askForQueues() {
  constexpr int kOverwrites = 0;
  (void)setenv(kQueues, std::to_string(kMostQueues).c_str(), kOverwrites);
}

Result<void> checkQueues(std::size_t streams) {
  const char *const set = std::getenv(kQueues);
  if (streams > kMostQueues) {
    return environmentError(
        "NCCL",
        "this rank has " + std::to_string(streams) + " streams, and a GPU has " +
            std::to_string(kMostQueues) +
            " queues: a stream that waits for another rank must not hold up the others",
        "compile with fewer stages or fewer values that skip stages, or leave out --ranks "
        "processes");
  }
  if (!set || std::atoi(set) >= static_cast<int>(streams)) {
    return {};
  }
  return environmentError(
      kQueues,
      std::string("is ") + set + ", and this rank has " + std::to_string(streams) +
          " streams, of which one that waits for another rank must not hold up the others",
      "leave it unset, or set it to " + std::to_string(kMostQueues));
}

} // namespace stagewright::runtime
