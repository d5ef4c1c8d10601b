#include "runtime/observe/NanFinder.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

namespace stagewright::runtime {

namespace {

template <typename T>
T valueAt(const KernelOperand &operand, std::uint64_t index) {
  T value;
  std::memcpy(&value, static_cast<const std::byte *>(operand.data) + index * sizeof value, sizeof value);
  return value;
}

/// All exponent bits set: an infinity or a NaN.
template <typename Bits>
std::optional<std::uint64_t> firstWith(const KernelOperand &operand, Bits exponent) {
  for (std::uint64_t i = 0; i < operand.elements; ++i) {
    if ((valueAt<Bits>(operand, i) & exponent) == exponent) {
      return i;
    }
  }
  return std::nullopt;
}

/// Integers are always finite. A row of attention that sees nothing has the log-sum-exp -infinity.
std::optional<std::uint64_t> firstNotFinite(const KernelOperand &operand, std::string_view name) {
  if (!operand.data || name == "log_sum_exp") {
    return std::nullopt;
  }
  switch (operand.dtype) {
  case catalogue::DType::F32:
    return firstWith<std::uint32_t>(operand, 0x7f800000);
  case catalogue::DType::F16:
    return firstWith<std::uint16_t>(operand, 0x7c00);
  case catalogue::DType::BF16:
    return firstWith<std::uint16_t>(operand, 0x7f80);
  case catalogue::DType::F64:
    return firstWith<std::uint64_t>(operand, 0x7ff0000000000000);
  default:
    return std::nullopt;
  }
}

/// Of a value that is not finite.
const char *textOf(const KernelOperand &operand, std::uint64_t index) {
  std::uint64_t bits = 0;
  const std::size_t size = catalogue::byteSize(operand.dtype);
  std::memcpy(&bits, static_cast<const std::byte *>(operand.data) + index * size, size);
  const int mantissa = operand.dtype == catalogue::DType::F64   ? 52
                       : operand.dtype == catalogue::DType::F32 ? 23
                       : operand.dtype == catalogue::DType::F16 ? 10
                                                                : 7;
  const bool isNan = (bits & ((std::uint64_t{1} << mantissa) - 1)) != 0;
  return isNan ? "nan" : bits >> (8 * size - 1) ? "-inf" : "inf";
}

} // namespace

NanFinder::NanFinder(const Executable &executable, int ranks, void (*report)(const std::string &line))
    : executable(executable), report(report), tasks(static_cast<std::size_t>(ranks)) {}

Hooks NanFinder::hooks() {
  Hooks hooks;
  hooks.context = this;
  hooks.beforeTask = [](void *context, const TaskEvent &event) {
    static_cast<NanFinder *>(context)->tasks[static_cast<std::size_t>(event.rank)] = event;
  };
  hooks.afterKernel = [](void *context, const KernelEvent &event) {
    static_cast<NanFinder *>(context)->look(event);
  };
  return hooks;
}

void NanFinder::look(const KernelEvent &event) {
  if (found.load(std::memory_order_relaxed)) {
    return;
  }
  for (std::size_t i = 0; i < event.operands.size(); ++i) {
    const catalogue::OperandRule &rule = event.kernel->operands[i];
    if (rule.access == catalogue::Access::Read) {
      continue;
    }
    if (const auto index = firstNotFinite(event.operands[i], rule.name); index && !found.exchange(true)) {
      report(describe(event, i, *index));
      return;
    }
  }
}

std::string NanFinder::describe(const KernelEvent &event, std::size_t operand, std::uint64_t index) const {
  const TaskEvent &task = tasks[static_cast<std::size_t>(event.rank)];
  const std::string name(event.kernel->operands[operand].name);
  std::string line = "rank " + std::to_string(event.rank) + ", step " + std::to_string(task.step) + ", " +
                     (task.text ? task.text : "") + ": kernel " + std::string(event.kernel->name);
  if (event.block >= 0) {
    line += " of layer \"" +
            executable.file().blocks()->Get(static_cast<unsigned>(event.block))->name()->str() + "\"";
  }
  line += " made " + name + "[" + std::to_string(index) + "] = " + textOf(event.operands[operand], index) +
          " (of " + std::to_string(event.operands[operand].elements) + " values)";
  for (std::size_t i = 0; i < event.operands.size(); ++i) {
    const catalogue::OperandRule &rule = event.kernel->operands[i];
    const auto read =
        rule.access == catalogue::Access::Read ? firstNotFinite(event.operands[i], rule.name) : std::nullopt;
    if (read) {
      return line + "; it read " + std::string(rule.name) + "[" + std::to_string(*read) +
             "] = " + textOf(event.operands[i], *read) +
             ", which no kernel of this process made: look at the data, the weights, and the ranks that sent "
             "it";
    }
  }
  return line + "; all that it read was finite";
}

} // namespace stagewright::runtime
