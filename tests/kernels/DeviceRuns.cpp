#include "DeviceRuns.h"

#include <cmath>
#include <limits>
#include <sstream>

namespace stagewright::cuda {

using kernels::Buffer;
using kernels::KernelCase;

namespace {

constexpr std::size_t kLine = Buffer::kGuard;
constexpr std::uint8_t kNan = 0xFF; // as every byte of a number

Error outside(const std::string &call, const std::string &where) {
  return bugError(call, "bytes in front of or behind " + where + " were written");
}

/// In units of its tolerance; a NaN is infinitely far off.
double errorOf(double got, double want, double tolerance) {
  const double error = std::abs(got - want);
  return error <= tolerance                      ? (tolerance > 0 ? error / tolerance : 0)
         : tolerance > 0 && std::isfinite(error) ? error / tolerance
                                                 : std::numeric_limits<double>::infinity();
}

} // namespace

std::vector<const catalogue::Kernel *> cudaKernels() {
  std::vector<const catalogue::Kernel *> kernels;
  for (const catalogue::Kernel &kernel : catalogue::kernels()) {
    if (!kernel.isCollective && catalogue::existsOn(kernel, "cuda:sm_90")) {
      kernels.push_back(&kernel);
    }
  }
  return kernels;
}

DeviceRuns::~DeviceRuns() {
  if (memory) {
    api.release(memory);
  }
  if (stream.handle) {
    api.destroy(stream);
  }
}

Result<void> DeviceRuns::reserve(std::size_t bytes) {
  if (!stream.handle) {
    auto made = api.createStream();
    if (!made) {
      return made.takeError();
    }
    stream = *made;
  }
  if (bytes <= capacity) {
    return {};
  }
  if (memory) {
    api.release(std::exchange(memory, nullptr));
  }
  capacity = 0;
  auto made = api.allocate(bytes);
  if (!made) {
    return made.takeError();
  }
  memory = static_cast<std::byte *>(*made);
  capacity = bytes;
  return {};
}

/// `onHost`: an empty buffer, which is nothing but its guards.
Result<void> DeviceRuns::copyGuards(std::byte *workspace, std::size_t bytes, Buffer &onHost, bool toDevice) {
  std::byte *guards = onHost.withGuards().data();
  for (std::byte *onDevice : {workspace - kLine, workspace + bytes}) {
    auto ok =
        toDevice ? api.copy(onDevice, guards, kLine, stream) : api.copy(guards, onDevice, kLine, stream);
    if (!ok) {
      return ok;
    }
    guards += kLine;
  }
  return {};
}

Result<std::vector<Buffer>> DeviceRuns::run(const KernelCase &call,
                                            std::optional<catalogue::InPlacePair> aliased) {
  const auto prepared = prepare(call.instance, cache);
  if (!prepared) {
    return prepared.error();
  }
  const auto rule = call.instance.kernel->workspaceBytes;
  std::vector<Buffer> operands = call.operands;
  operands.resize(call.instance.kernel->operands.size(), Buffer(catalogue::DType::F32, 0)); // absent ones
  auto results = run(**prepared, std::move(operands), rule ? rule(call.instance.shapes, "cuda:sm_90") : 0,
                     call.text(), aliased);
  if (results) {
    results->resize(call.operands.size(), Buffer(catalogue::DType::F32, 0));
  }
  return results;
}

Result<std::vector<Buffer>> DeviceRuns::run(const PreparedKernel &kernel, std::vector<Buffer> operands,
                                            std::size_t workspaceBytes, const std::string &text,
                                            std::optional<catalogue::InPlacePair> aliased) {
  std::size_t bytes = workspaceBytes + 2 * kLine;
  for (Buffer &operand : operands) {
    bytes += operand.withGuards().size();
  }
  auto ok = reserve(bytes);
  std::vector<void *> pointers;
  std::byte *next = memory;
  for (std::size_t i = 0; ok && i < operands.size(); ++i) {
    const std::span<std::byte> all = operands[i].withGuards();
    pointers.push_back(operands[i].elements > 0 ? next + kLine : nullptr);
    ok = api.copy(next, all.data(), all.size(), stream);
    next += all.size();
  }
  if (ok && aliased) {
    pointers[std::size_t(aliased->output)] = pointers[std::size_t(aliased->input)];
  }
  std::byte *workspace = next + kLine;
  Buffer guards(catalogue::DType::F32, 0);
  ok = ok && workspaceBytes > 0 ? api.fill(workspace, kNan, workspaceBytes, stream) : std::move(ok);
  ok = ok ? copyGuards(workspace, workspaceBytes, guards, true) : std::move(ok);
  ok = ok ? kernel.enqueue(pointers.data(), workspace, stream) : std::move(ok);
  next = memory;
  for (std::size_t i = 0; ok && i < operands.size(); ++i) {
    const std::span<std::byte> all = operands[i].withGuards();
    ok = api.copy(all.data(), next, all.size(), stream);
    next += all.size();
  }
  ok = ok ? copyGuards(workspace, workspaceBytes, guards, false) : std::move(ok);
  ok = ok ? api.synchronize(stream) : std::move(ok);
  if (!ok) {
    return ok.takeError();
  }
  if (aliased) {
    operands[std::size_t(aliased->output)] = operands[std::size_t(aliased->input)];
  }
  for (std::size_t i = 0; i < operands.size(); ++i) {
    if (!operands[i].guardsIntact()) {
      return outside(text, "operand " + std::to_string(i));
    }
  }
  return guards.guardsIntact() ? Result<std::vector<Buffer>>(std::move(operands))
                               : outside(text, "workspace");
}

Parity compareWithReference(const KernelCase &one, const std::vector<Buffer> &results, double more) {
  Parity parity;
  kernels::ReferenceOperands expected;
  for (const Buffer &operand : one.operands) {
    expected.push_back(operand.values());
  }
  if (!runReference(one.instance, expected)) {
    parity.fault = one.text() + " has no reference";
  }
  for (std::size_t operand = 0; parity.fault.empty() && operand < results.size(); ++operand) {
    const auto &rule = one.instance.kernel->operands[operand];
    if (rule.access == catalogue::Access::Read) {
      if (!results[operand].sameBits(one.operands[operand])) {
        parity.fault = one.text() + " changed " + std::string(rule.name);
      }
      continue;
    }
    for (std::int64_t i = 0; i < results[operand].elements; ++i) {
      const double want = expected[operand][std::size_t(i)], got = results[operand].at(i);
      const double error =
          errorOf(got, want, one.absolute + one.relative * std::abs(want) + more * (1 + std::abs(want)));
      parity.largestError = std::max(parity.largestError, error);
      if (error > 1 && parity.fault.empty()) {
        std::ostringstream text;
        text << one.text() << " " << rule.name << "[" << i << "] is " << got << ", not " << want;
        parity.fault = text.str();
      }
    }
  }
  return parity;
}

} // namespace stagewright::cuda
