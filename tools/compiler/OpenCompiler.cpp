#include "compiler/OpenCompiler.h"

#include <dlfcn.h>
#include <filesystem>

namespace stagewright {

Result<CompileFunction> openCompiler(const std::vector<std::string> &folders) {
  std::filesystem::path path;
  std::error_code ignored;
  for (const std::string &folder : folders) {
    path = std::filesystem::path(folder) / "libstagewright_compiler.so";
    if (std::filesystem::exists(path, ignored)) {
      break;
    }
  }
  void *module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void *symbol = module ? dlsym(module, kCompileSymbol) : nullptr;
  if (!symbol) {
    return environmentError(path, std::string("the compiler module cannot be loaded: ") + dlerror(),
                            "build and install the target stagewright_compiler (STAGEWRIGHT_COMPILER=ON)");
  }
  return reinterpret_cast<CompileFunction>(symbol);
}

} // namespace stagewright
