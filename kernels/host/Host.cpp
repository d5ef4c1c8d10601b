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

const Family *const *familiesOf(Isa isa) {
#if defined(STAGEWRIGHT_X86)
  if (isa == Isa::Avx512)
    return avx512::families;
  if (isa == Isa::Avx2)
    return avx2::families;
#endif
  return portable::families;
}

RunKernel findRun(const catalogue::Kernel &kernel, Element element, Isa isa) {
  for (const Family *const *family = familiesOf(isa); *family; ++family)
    for (int i = 0; i < (*family)->count; ++i)
      if (const HostKernel &found = (*family)->kernels[i];
          found.name == kernel.name && found.version == kernel.version && found.element == element)
        return found.run;
  return nullptr;
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
  Result<Call> call = makeCall(instance);
  if (!call)
    return call.takeError();
  const RunKernel run = findRun(*kernel, call->element, isa);
  if (!run)
    return userError("kernel " + std::string(kernel->name),
                     "version " + std::to_string(kernel->version) + " for elements of " +
                         std::string(catalogue::name(instance.element)) + " does not run on the host",
                     "compile for another target");
  return std::unique_ptr<PreparedKernel>(std::make_unique<HostPreparedKernel>(*call, run));
}

#if defined(__x86_64__)
static constexpr std::uint64_t kFlush = 0x8040; // FTZ and DAZ
static std::uint64_t floatControl() {
  return _mm_getcsr();
}
static void setFloatControl(std::uint64_t control) {
  _mm_setcsr(static_cast<unsigned>(control));
}
#elif defined(__aarch64__)
static constexpr std::uint64_t kFlush = std::uint64_t(1) << 24; // FZ
static std::uint64_t floatControl() {
  std::uint64_t control = 0;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  return control;
}
static void setFloatControl(std::uint64_t control) {
  asm volatile("msr fpcr, %0" ::"r"(control));
}
#else
static constexpr std::uint64_t kFlush = 0;
static std::uint64_t floatControl() {
  return 0;
}
static void setFloatControl(std::uint64_t) {}
#endif

void setFlushToZero() {
  setFloatControl(floatControl() | kFlush);
}

KeepSubnormals::KeepSubnormals() : before(floatControl()) {
  setFloatControl(before & ~kFlush);
}
KeepSubnormals::~KeepSubnormals() {
  setFloatControl(before);
}

} // namespace stagewright::kernels
