#include "kernels/host/Host.h"

#include "kernels/host/Family.h"

#include <algorithm>
#include <array>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace stagewright::kernels {

// Tables of families, closed by null. An instruction set that this build does not have is an empty table.
#if defined(STAGEWRIGHT_X86)
namespace avx512 {
extern const Family *const families[];
}
namespace avx2 {
extern const Family *const families[];
}
#endif
namespace portable {
extern const Family *const families[];
}

namespace {

static_assert(catalogue::kMaxDimensions == std::size(CallOperand{}.sizes));
static_assert(catalogue::kMaxListEntries == std::size(CallList{}.values));

const Family *const *familiesOf(Isa isa) {
#if defined(STAGEWRIGHT_X86)
  if (isa == Isa::Avx512)
    return avx512::families;
  if (isa == Isa::Avx2)
    return avx2::families;
#endif
  return portable::families;
}

/// What the families call an element type; f32 for any other.
Element elementOf(catalogue::DType dtype) {
  return dtype == catalogue::DType::F16    ? Element::F16
         : dtype == catalogue::DType::BF16 ? Element::BF16
                                           : Element::F32;
}

RunKernel findRun(const catalogue::Kernel &kernel, Element element, Isa isa) {
  for (const Family *const *family = familiesOf(isa); *family; ++family)
    for (int i = 0; i < (*family)->count; ++i)
      if (const HostKernel &found = (*family)->kernels[i];
          found.name == kernel.name && found.version == kernel.version && found.element == element)
        return found.run;
  return nullptr;
}

Call makeCall(const KernelInstance &instance) {
  Call call;
  for (std::size_t i = 0; i < instance.shapes.size(); ++i) {
    CallOperand &operand = call.operands[i];
    operand.present = true;
    operand.rank = int(instance.shapes[i].size());
    std::ranges::copy(instance.shapes[i], operand.sizes);
    operand.elements = catalogue::elements(instance.shapes[i]);
  }
  const catalogue::Kernel &kernel = *instance.kernel;
  for (std::size_t i = 0; i < kernel.attributes.size(); ++i) {
    const catalogue::AttributeRule &rule = kernel.attributes[i];
    call.reals[i] = catalogue::floatAttribute(kernel, instance.attributes, rule.name);
    call.integers[i] = catalogue::integerAttribute(kernel, instance.attributes, rule.name);
    const std::vector<std::int64_t> list = catalogue::listAttribute(kernel, instance.attributes, rule.name);
    call.lists[i].size = int(list.size());
    std::ranges::copy(list, call.lists[i].values);
    if (std::holds_alternative<std::string>(rule.fallback))
      call.integers[i] =
          std::ranges::find(rule.choices,
                            catalogue::stringAttribute(kernel, instance.attributes, rule.name)) -
          rule.choices.begin();
  }
  return call;
}

class HostPreparedKernel final : public PreparedKernel {
public:
  HostPreparedKernel(const Call &call, RunKernel function) : call(call), function(function) {}

  void run(void *const *operands, void *workspace, TileRunner &tiles) const override {
    function(call, operands, workspace, tiles);
  }

private:
  Call call;
  RunKernel function;
};

} // namespace

PreparedKernel::~PreparedKernel() = default;

std::string_view name(Isa isa) {
  static constexpr std::array<std::string_view, 3> kNames = {"portable", "avx2", "avx512"};
  return kNames[std::size_t(isa)];
}

bool isSupported(Isa isa) {
  if (isa == Isa::Portable)
    return true;
#if defined(STAGEWRIGHT_X86)
  if (isa == Isa::Avx2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("fma");
#else
  return false;
#endif
}

Isa bestIsa() {
  return isSupported(Isa::Avx512) ? Isa::Avx512 : isSupported(Isa::Avx2) ? Isa::Avx2 : Isa::Portable;
}

Result<std::unique_ptr<PreparedKernel>> prepare(const KernelInstance &instance, Isa isa) {
  const catalogue::Kernel *kernel = instance.kernel;
  if (!kernel)
    return bugError("prepare", "there is no kernel");
  if (!isSupported(isa))
    return environmentError("kernel " + std::string(kernel->name),
                            "this CPU does not run " + std::string(name(isa)) + " kernels",
                            "choose another one");
  std::vector<catalogue::DType> dtypes;
  for (std::size_t i = 0; i < instance.shapes.size() && i < kernel->operands.size(); ++i)
    dtypes.push_back(kernel->operands[i].element ? instance.element : kernel->operands[i].dtype);
  dtypes.resize(instance.shapes.size());
  if (Result<void> fine = catalogue::check(*kernel, dtypes, instance.shapes, instance.attributes); !fine)
    return fine.takeError();
  const RunKernel run = findRun(*kernel, elementOf(catalogue::elementOf(*kernel, dtypes)), isa);
  if (!run)
    return userError("kernel " + std::string(kernel->name),
                     "version " + std::to_string(kernel->version) + " for elements of " +
                         std::string(catalogue::name(instance.element)) + " does not run on the host",
                     "compile for another target");
  return std::unique_ptr<PreparedKernel>(std::make_unique<HostPreparedKernel>(makeCall(instance), run));
}

void setFlushToZero() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040); // FTZ and DAZ
#elif defined(__aarch64__)
  std::uint64_t control = 0;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  asm volatile("msr fpcr, %0" ::"r"(control | (std::uint64_t(1) << 24))); // FZ
#endif
}

} // namespace stagewright::kernels
