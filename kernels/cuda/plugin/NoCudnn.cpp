// In a build without cuDNN's headers.
#include "kernels/cuda/plugin/Cudnn.h"

namespace stagewright::cuda {

Result<std::unique_ptr<Cudnn>> Cudnn::open() {
  return environmentError("cuDNN", "this program was built without it",
                          "build it where cudnn.h is installed");
}

} // namespace stagewright::cuda
