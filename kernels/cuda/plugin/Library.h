// A library of the CUDA Toolkit, opened on use: the plug-in starts without it and says what is missing when
// it is needed.
#ifndef STAGEWRIGHT_KERNELS_CUDA_PLUGIN_LIBRARY_H
#define STAGEWRIGHT_KERNELS_CUDA_PLUGIN_LIBRARY_H

#include "error/Error.h"

#include <dlfcn.h>
#include <string>

namespace stagewright::cuda {

class Library {
public:
  /// `what`: of which package it is. It stays open.
  static Result<Library> open(const std::string &name, const std::string &what) {
    void *handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      return environmentError(name, std::string("cannot be opened: ") + dlerror(),
                              "install " + what + ", or add its folder to LD_LIBRARY_PATH");
    }
    return Library(name, handle);
  }

  template <typename Function>
  Result<void> load(const char *symbol, Function &function) const {
    function = reinterpret_cast<Function>(dlsym(handle, symbol));
    return function ? Result<void>()
                    : environmentError(name, std::string("has no function ") + symbol,
                                       "install the version that this program was built for");
  }

private:
  Library(std::string name, void *handle) : name(std::move(name)), handle(handle) {}
  std::string name;
  void *handle;
};

} // namespace stagewright::cuda

#endif
