// What a kernel family of CUDA sees when a call is enqueued, and the table that it exports.
#ifndef STAGEWRIGHT_KERNELS_CUDA_FAMILY_H
#define STAGEWRIGHT_KERNELS_CUDA_FAMILY_H

#include "kernels/cuda/Cuda.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>

namespace stagewright::cuda {

using kernels::Call;

/// Blocks and threads of a launch.
struct Grid {
  std::array<unsigned, 3> blocks = {1, 1, 1};
  unsigned threads = 256;
  std::size_t sharedBytes = 0;
};

/// One thread for each of `items`, or fewer that go on in strides of the grid.
inline Grid gridFor(std::int64_t items, unsigned threads = 256) {
  constexpr std::int64_t kMostBlocks = 1 << 16;
  const std::int64_t blocks = std::clamp<std::int64_t>((items + threads - 1) / threads, 1, kMostBlocks);
  return {{static_cast<unsigned>(blocks), 1, 1}, threads, 0};
}

/// A call that is being given to a stream.
class Enqueue {
public:
  Enqueue(const Call &call, void *const *operands, void *workspace, KernelCache &cache, Stream stream)
      : call(call), workspace(workspace), stream(stream), cache(cache), operands(operands) {}

  const Call &call;
  void *const workspace;
  const Stream stream;
  KernelCache &cache;

  template <typename T>
  T *operand(int number) const {
    return static_cast<T *>(operands[number]);
  }
  void *operand(int number) const { return operands[number]; }
  bool has(int number) const { return call.operands[number].present; }

  /// STAGEWRIGHT_KERNEL(name, Arguments)
  template <typename Arguments>
  Result<void> launch(const char *name, const Grid &grid, const Arguments &arguments) const {
    return launchSymbol(std::string(name) + "_kernel", grid, &arguments, sizeof arguments);
  }
  /// STAGEWRIGHT_KERNELS(name, Arguments), of the call's element type or another.
  template <typename Arguments>
  Result<void> launchTyped(const char *name, const Grid &grid, const Arguments &arguments) const {
    return launchTyped(name, grid, arguments, call.element);
  }
  template <typename Arguments>
  Result<void> launchTyped(const char *name, const Grid &grid, const Arguments &arguments,
                           kernels::Element element) const {
    static constexpr const char *kSuffixes[] = {"_f32", "_f16", "_bf16"};
    return launchSymbol(name + std::string(kSuffixes[static_cast<int>(element)]), grid, &arguments,
                        sizeof arguments);
  }
  /// By cuBLASLt, which may use all of the workspace.
  Result<void> multiply(const Product &product, const void *a, const void *b, void *d,
                        const void *bias = nullptr) const;
  /// By cuDNN. `scratch`: as many bytes as the plan was made for.
  Result<void> run(const DnnPlan &plan, std::initializer_list<void *> operands, void *scratch) const;

private:
  Result<void> launchSymbol(const std::string &symbol, const Grid &grid, const void *arguments,
                            std::size_t bytes) const;

  void *const *const operands;
};

/// Who runs a call that a library may run.
enum class Runner { Own, Dnn };

struct CudaKernel {
  const char *name;
  int version;
  Result<void> (*enqueue)(const Enqueue &call); ///< of all element types; null: see enqueueAll
  /// Asks a library for the plans that the call will need: making them is no work for a stream that is being
  /// captured. Null: none is needed.
  Result<Runner> (*plan)(const Call &call, KernelCache &cache) = nullptr;
  /// In place of `enqueue`: one call or many, with equal attributes and equal memory but for the operands
  /// whose bits are set in `tensors`.
  Result<void> (*enqueueAll)(std::span<const Enqueue> calls) = nullptr;
  std::uint32_t tensors = 0;
};

using Family = std::span<const CudaKernel>;

// One for each file of this folder.
Family activationFamily();
Family arithmeticFamily();
Family attentionFamily();
Family attentionGradFamily();
Family broadcastFamily();
Family channelNormFamily();
Family convolutionFamily();
Family dropoutFamily();
Family embeddingFamily();
Family linearFamily();
Family lossFamily();
Family maskedMeanFamily();
Family movementFamily();
Family optimizerFamily();
Family poolingFamily();
Family rowNormFamily();
Family rotaryFamily();
Family softmaxFamily();

} // namespace stagewright::cuda

#endif
