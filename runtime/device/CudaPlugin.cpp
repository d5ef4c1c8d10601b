#include "runtime/device/CudaPlugin.h"

#include "kernels/cuda/plugin/Door.h"

#include <dlfcn.h>
#include <filesystem>

namespace stagewright::runtime {

Result<std::unique_ptr<cuda::Api>> openCuda(const std::vector<std::string> &folders, int rank) {
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
                              "build it again, or train with --target host");
    }
    Result<std::unique_ptr<cuda::Api>> opened = bugError(path, "did not answer");
    reinterpret_cast<cuda::OpenFunction>(symbol)(cuda::kTableVersion, rank, &opened);
    return opened;
  }
  return environmentError(kName, "is not there: this build has no CUDA",
                          "build on a machine with the CUDA Toolkit 13 (nvcc), or train with --target host");
}

} // namespace stagewright::runtime
