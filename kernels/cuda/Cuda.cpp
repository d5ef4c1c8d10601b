#include "kernels/cuda/Family.h"

namespace stagewright::cuda {
namespace {

std::array<Family, 18> families() {
  return {activationFamily(), arithmeticFamily(),  attentionFamily(),   attentionGradFamily(),
          broadcastFamily(),  channelNormFamily(), convolutionFamily(), dropoutFamily(),
          embeddingFamily(),  linearFamily(),      lossFamily(),        maskedMeanFamily(),
          movementFamily(),   optimizerFamily(),   poolingFamily(),     rowNormFamily(),
          rotaryFamily(),     softmaxFamily()};
}

const CudaKernel *findKernel(const catalogue::Kernel &kernel) {
  for (const Family family : families()) {
    for (const CudaKernel &found : family) {
      if (found.name == kernel.name && found.version == kernel.version) {
        return &found;
      }
    }
  }
  return nullptr;
}

/// One call, or many that are enqueued together.
class CudaPreparedKernel final : public PreparedKernel {
public:
  CudaPreparedKernel(std::span<const kernels::KernelInstance> instances, std::vector<Call> made,
                     const CudaKernel &kernel, KernelCache &cache)
      : calls(std::move(made)), kernel(kernel), cache(cache), stride(instances[0].kernel->operands.size()) {
    for (std::size_t number = 0; number < instances.size(); ++number) {
      const kernels::KernelInstance &instance = instances[number];
      for (std::size_t i = 0; i < instance.shapes.size(); ++i) {
        const catalogue::OperandRule &rule = instance.kernel->operands[i];
        const catalogue::DType dtype = rule.element ? instance.element : rule.dtype;
        const auto elements = static_cast<std::size_t>(calls[number].elements(static_cast<int>(i)));
        accesses.push_back({nullptr, elements * byteSize(dtype), rule.access != catalogue::Access::Read});
        positions.push_back(number * stride + i);
      }
    }
    const auto rule = instances[0].kernel->workspaceBytes;
    accesses.push_back({nullptr, rule ? rule(instances[0].shapes, "cuda:sm_90") : 0, true});
  }

  Result<void> enqueue(void *const *operands, void *workspace, Stream stream) const override {
    std::vector<Access> own = accesses;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      own[i].data = operands[positions[i]];
    }
    own.back().data = workspace;
    cache.api().declare(own, stream);
    if (!kernel.enqueueAll) {
      return kernel.enqueue(Enqueue(calls[0], operands, workspace, cache, stream));
    }
    std::vector<Enqueue> all;
    for (std::size_t number = 0; number < calls.size(); ++number) {
      all.emplace_back(calls[number], operands + number * stride, workspace, cache, stream);
    }
    return kernel.enqueueAll(all);
  }

private:
  const std::vector<Call> calls;
  const CudaKernel &kernel;
  KernelCache &cache;
  const std::size_t stride;           ///< operands of a call
  std::vector<Access> accesses;       ///< of the operands that are there, then of the workspace
  std::vector<std::size_t> positions; ///< of the former, among all calls' operands
};

} // namespace

KernelCache::~KernelCache() {
  for (const auto &[product, plan] : products) {
    if (plan.handle) {
      table.destroy(plan);
    }
  }
  const auto destroyAll = [&](const auto &plans) {
    for (const auto &[description, plan] : plans) {
      if (plan.handle) {
        table.destroy(plan);
      }
    }
  };
  destroyAll(convolutions);
  destroyAll(attentions);
}

Result<Function> KernelCache::function(const std::string &name) {
  if (const auto known = functions.find(name); known != functions.end()) {
    return known->second;
  }
  auto found = table.function(name);
  if (found) {
    functions.emplace(name, *found);
  }
  return found;
}

Result<Plan> KernelCache::plan(const Product &plain) {
  Product product = plain;
  product.allowsTf32 = plain.allowsTf32 || (allowsTf32 && plain.element == Element::F32);
  if (const auto known = products.find(product); known != products.end()) {
    return known->second;
  }
  auto made = table.plan(product, catalogue::kCudaWorkspace);
  if (made) {
    products.emplace(product, *made);
  }
  return made;
}

template <typename Description>
Result<const DnnPlan *> KernelCache::ask(std::map<Description, DnnPlan> &known,
                                         const Description &description, std::size_t workspaceBytes) {
  if (const auto found = known.find(description); found != known.end()) {
    return &found->second;
  }
  auto made = table.plan(description, workspaceBytes);
  if (!made) {
    return made.takeError();
  }
  if (!made->handle && table.dnnUses.refusal.empty()) {
    table.dnnUses.refusal = made->refusal;
  }
  return &known.emplace(description, std::move(*made)).first->second;
}

Result<const DnnPlan *> KernelCache::plan(const Convolution &convolution, std::size_t workspaceBytes) {
  Convolution asked = convolution;
  asked.allowsTf32 = convolution.allowsTf32 || (allowsTf32 && convolution.element == Element::F32);
  return ask(convolutions, asked, workspaceBytes);
}

void KernelCache::countUse(std::string_view kernel, bool isByDnn) {
  DnnUse &use = table.dnnUses.kernels[std::string(kernel)];
  ++(isByDnn ? use.byDnn : use.byOwn);
}

Result<const DnnPlan *> KernelCache::plan(const Attention &attention, std::size_t workspaceBytes) {
  return ask(attentions, attention, workspaceBytes);
}

Result<void> Enqueue::launchSymbol(const std::string &symbol, const Grid &grid, const void *arguments,
                                   std::size_t bytes) const {
  auto function = cache.function(symbol);
  if (!function) {
    return function.takeError();
  }
  return cache.api().launch({*function, grid.blocks, grid.threads, grid.sharedBytes, arguments, bytes},
                            stream);
}

Result<void> Enqueue::multiply(const Product &product, const void *a, const void *b, void *d,
                               const void *bias) const {
  auto plan = cache.plan(product);
  if (!plan) {
    return plan.takeError();
  }
  return cache.api().multiply(*plan, {.a = a, .b = b, .d = d, .bias = bias}, workspace, stream);
}

Result<void> Enqueue::run(const DnnPlan &plan, std::initializer_list<void *> operands, void *scratch) const {
  return cache.api().run(plan, {operands.begin(), operands.size()}, scratch, stream);
}

Result<std::unique_ptr<PreparedKernel>> prepare(std::span<const kernels::KernelInstance> instances,
                                                KernelCache &cache) {
  const catalogue::Kernel &entry = *instances[0].kernel;
  std::vector<Call> calls;
  for (const kernels::KernelInstance &instance : instances) {
    auto call = kernels::makeCall(instance);
    if (!call) {
      return call.takeError();
    }
    calls.push_back(*call);
  }
  const CudaKernel *kernel = findKernel(entry);
  if (!kernel) {
    return userError("kernel " + std::string(entry.name),
                     "version " + std::to_string(entry.version) + " does not run on CUDA",
                     "compile for another target");
  }
  if (kernel->plan) {
    auto runner = kernel->plan(calls[0], cache);
    if (!runner) {
      return runner.takeError();
    }
    cache.countUse(entry.name, *runner == Runner::Dnn);
  }
  return std::unique_ptr<PreparedKernel>(
      std::make_unique<CudaPreparedKernel>(instances, std::move(calls), *kernel, cache));
}

Result<std::unique_ptr<PreparedKernel>> prepare(const kernels::KernelInstance &instance, KernelCache &cache) {
  return prepare(std::span(&instance, 1), cache);
}

std::vector<std::string> dnnKernels() {
  std::vector<std::string> names;
  for (const Family family : families()) {
    for (const CudaKernel &kernel : family) {
      if (kernel.plan) {
        names.emplace_back(kernel.name);
      }
    }
  }
  return names;
}

std::uint32_t tensorOperands(const catalogue::Kernel &kernel) {
  const CudaKernel *found = findKernel(kernel);
  return found ? found->tensors : 0;
}

} // namespace stagewright::cuda
