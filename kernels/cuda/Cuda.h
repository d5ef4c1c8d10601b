// CUDA kernels: every kernel of the catalogue for NVIDIA GPUs. A kernel is prepared once, when a plan is
// loaded, and enqueued any number of times; the same call gives the same bits on the same GPU. No CUDA header
// is needed here: all calls go through the function table (Api.h).
#ifndef STAGEWRIGHT_KERNELS_CUDA_CUDA_H
#define STAGEWRIGHT_KERNELS_CUDA_CUDA_H

#include "call/KernelInstance.h"
#include "kernels/cuda/Api.h"

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright::cuda {

/// What the library of one device remembers: kernels by name, and the libraries' plans. One thread uses it.
class KernelCache {
public:
  /// `allowsTf32`: libraries may round the factors of fp32 products to 10 bits of mantissa; kernels of ours
  /// never do.
  explicit KernelCache(Api &api, bool allowsTf32 = false) : table(api), allowsTf32(allowsTf32) {}
  ~KernelCache();
  KernelCache(const KernelCache &) = delete;

  Api &api() const { return table; }
  Result<Function> function(const std::string &name);
  /// One for each product: algorithms are chosen once, so that equal calls have equal bits. Null: there is
  /// none for the product's epilogue, now and ever.
  Result<Plan> plan(const Product &product);
  std::size_t plans() const { return products.size(); }
  /// cuDNN's, or its refusal, which is kept as well: what ran by a kernel of ours once does so always.
  Result<const DnnPlan *> plan(const Convolution &convolution, std::size_t workspaceBytes);
  Result<const DnnPlan *> plan(const Attention &attention, std::size_t workspaceBytes);

  const std::map<std::string, DnnUse> &dnnUse() const { return table.dnnUses.kernels; }
  void countUse(std::string_view kernel, bool isByDnn);
  const std::string &refusal() const { return table.dnnUses.refusal; }

private:
  template <typename Description>
  Result<const DnnPlan *> ask(std::map<Description, DnnPlan> &known, const Description &description,
                              std::size_t workspaceBytes);

  Api &table;
  const bool allowsTf32;
  std::map<std::string, Function> functions;
  std::map<Product, Plan> products;
  std::map<Convolution, DnnPlan> convolutions;
  std::map<Attention, DnnPlan> attentions;
};

class PreparedKernel {
public:
  virtual ~PreparedKernel() = default;
  /// Gives the call to a stream. `operands`: device addresses in the catalogue's order; absent optional ones
  /// are null. `workspace`: as many bytes as the catalogue says for this target. Errors: of the table.
  virtual Result<void> enqueue(void *const *operands, void *workspace, Stream stream) const = 0;
};

/// Errors: a wrong shape or attribute (User), a kernel without an implementation here (User). `cache`
/// outlives the kernel.
Result<std::unique_ptr<PreparedKernel>> prepare(const kernels::KernelInstance &instance, KernelCache &cache);

/// The same of calls of one kernel that differ in shapes and tensorOperands() alone, as few launches. The
/// operands of enqueue() are those of one call behind those of the other, each as many as the kernel has.
Result<std::unique_ptr<PreparedKernel>> prepare(std::span<const kernels::KernelInstance> instances,
                                                KernelCache &cache);
/// Names of kernels that cuDNN may run.
std::vector<std::string> dnnKernels();
/// Bits of these operands; 0: the kernel's calls are launched one by one.
std::uint32_t tensorOperands(const catalogue::Kernel &kernel);

} // namespace stagewright::cuda

#endif
