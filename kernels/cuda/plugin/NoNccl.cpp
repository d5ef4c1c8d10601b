// In a build without NCCL's header.
#include "kernels/cuda/plugin/Nccl.h"

namespace stagewright::cuda {

Result<std::unique_ptr<Nccl>> Nccl::open() {
  return environmentError("NCCL", "this program was built without it",
                          "build it where nccl.h is installed, or leave out --ranks processes");
}

} // namespace stagewright::cuda
