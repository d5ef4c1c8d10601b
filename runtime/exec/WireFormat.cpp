#include "runtime/exec/WireFormat.h"

#include <algorithm>
#include <cstring>

namespace stagewright::runtime {

namespace {

/// On the calling thread. A cast needs no scratch.
class CallingThread : public kernels::TileRunner {
public:
  void run(int tiles, void (*tile)(void *context, int index, int worker), void *context) override {
    for (int index = 0; index < tiles; ++index) {
      tile(context, index, 0);
    }
  }
  void *scratch(int) override { return nullptr; }
};

void cast(kernels::PreparedKernel &kernel, void *from, void *to) {
  CallingThread runner;
  void *operands[] = {from, to};
  kernel.run(operands, nullptr, runner);
}

} // namespace

Result<std::unique_ptr<WireFormat>> WireFormat::create(executable::DType type, kernels::Isa isa) {
  auto format = std::make_unique<WireFormat>();
  for (auto [name, kernel] : {std::pair("cast_to", &format->narrows), {"cast_from", &format->widens}}) {
    const auto block = static_cast<std::int64_t>(kBlock);
    auto prepared = kernels::prepare(
        {catalogue::find(name, 1), {{block}, {block}}, {}, static_cast<catalogue::DType>(type)}, isa);
    if (!prepared) {
      return prepared.takeError();
    }
    *kernel = std::move(*prepared);
  }
  return format;
}

void WireFormat::narrow(const float *from, std::byte *to, std::size_t count) {
  std::memcpy(wide, from, 4 * count);
  cast(*narrows, wide, narrowed);
  std::memcpy(to, narrowed, 2 * count);
}

void WireFormat::widen(const std::byte *from, float *to, std::size_t count) {
  std::memcpy(narrowed, from, 2 * count);
  cast(*widens, narrowed, wide);
  std::memcpy(to, wide, 4 * count);
}

} // namespace stagewright::runtime
