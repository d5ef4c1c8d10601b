#include "runtime/exec/CudaCalls.h"

#include "kernels/cuda/Fusion.h"

#include <algorithm>
#include <array>
#include <optional>

namespace stagewright::runtime {
namespace {

using cuda::Epilogue;

/// Two commands as a product. What the second writes may lie where the product still reads, as the file's
/// memory plan ends the life of the first one's operands between the two: then the product writes scratch,
/// which is copied at the second's place. So does what a sum is added to: it may be with the other replicas
/// until then.
///
///     first            exchange begins, ends           second
///     product -> scratch                               copy or accumulate: scratch -> its place
struct Pair {
  cuda::Product product;
  std::array<CudaOperand, 5> operands; ///< a, b, d, bias, aux
  const char *finish = nullptr;        ///< kernel that takes what lies in scratch; null: nothing does
  int fromScratch = -1;                ///< number of the operand that lies there
  CudaOperand result;                  ///< where it belongs
  catalogue::Shape shape;              ///< of it
};

bool overlap(const CudaOperand &a, const CudaOperand &b) {
  return a.base && b.base && a.slot == b.slot && a.base < b.base + b.bytes && b.base < a.base + a.bytes;
}
bool isSame(const CudaOperand &a, const CudaOperand &b) {
  return a.base && a.base == b.base && a.slot == b.slot && a.bytes == b.bytes;
}

/// Whether a command from `begin` on, or another program, reads the value. Memory that is written again was
/// free.
bool isReadFrom(const std::vector<CudaCommand> &commands, std::size_t begin,
                const std::vector<CudaOperand> &readApart, const CudaOperand &value) {
  if (value.slot != 0) {
    return true; // it outlives the program
  }
  if (std::ranges::any_of(readApart, [&](const CudaOperand &read) { return overlap(read, value); })) {
    return true;
  }
  for (std::size_t i = begin; i < commands.size(); ++i) {
    bool isWritten = false;
    for (std::size_t k = 0; k < commands[i].operands.size(); ++k) {
      if (!overlap(commands[i].operands[k], value)) {
        continue;
      }
      if (commands[i].instance.kernel->operands[k].access != catalogue::Access::Write) {
        return true;
      }
      isWritten = true;
    }
    if (isWritten) {
      return false;
    }
  }
  return false;
}

std::optional<Pair> pairOf(const std::vector<CudaCommand> &commands, std::size_t at,
                           const std::vector<CudaOperand> &readApart, bool fusesGelu) {
  const CudaCommand &first = commands[at], &second = commands[at + 1];
  if (first.block < 0 || first.block != second.block || first.number + 1 != second.number) {
    return {};
  }
  const auto fusion = cuda::fusionOf(first.instance, second.instance);
  if (!fusion) {
    return {};
  }
  const auto operand = [&](const cuda::FusedOperand &of) {
    return of.kernel < 0 ? CudaOperand()
                         : (of.kernel == 0 ? first : second).operands[static_cast<std::size_t>(of.number)];
  };
  const CudaOperand between = operand(fusion->shared[0]);
  if (!isSame(between, operand(fusion->shared[1]))) {
    return {};
  }
  Pair pair{fusion->product,
            {operand(fusion->a), operand(fusion->b), operand(fusion->d), operand(fusion->bias),
             operand(fusion->aux)}};
  auto &[a, b, d, bias, aux] = pair.operands;
  if (pair.product.epilogue == Epilogue::RowSums) {
    pair.finish = "accumulate";
    pair.fromScratch = 4;
    pair.result = second.operands[1];
    pair.shape = second.instance.shapes[1];
    aux.bytes = pair.result.bytes;
    return pair;
  }
  const bool isKept = !isSame(between, d) && isReadFrom(commands, at + 2, readApart, between);
  if (!fusesGelu || (isKept && pair.product.epilogue == Epilogue::GeluGrad)) {
    return {};
  }
  if (!isKept && pair.product.epilogue == Epilogue::GeluAux) {
    pair.product.epilogue = Epilogue::Gelu;
    aux = {};
  }
  if (overlap(d, a) || overlap(d, b) || overlap(d, bias) || overlap(d, aux)) {
    pair.finish = "copy";
    pair.fromScratch = 2;
    pair.result = d;
    pair.shape = {pair.product.m, pair.product.n};
  }
  return pair;
}

bool hasSameAttributes(const kernels::KernelInstance &a, const kernels::KernelInstance &b) {
  return std::equal(a.attributes.begin(), a.attributes.end(), b.attributes.begin(), b.attributes.end(),
                    [](const catalogue::Attribute &one, const catalogue::Attribute &other) {
                      return one.name == other.name && one.value == other.value;
                    });
}

/// Whether two commands differ in their tensors alone.
bool isAlike(const CudaCommand &a, const CudaCommand &b, std::uint32_t tensors) {
  if (a.instance.kernel != b.instance.kernel || a.instance.element != b.instance.element ||
      !hasSameAttributes(a.instance, b.instance)) {
    return false;
  }
  for (std::size_t i = 0; i < a.operands.size(); ++i) {
    const CudaOperand &one = a.operands[i], &other = b.operands[i];
    const bool isOwn = (tensors >> i & 1) != 0;
    if (isOwn ? !one.base != !other.base : one.base != other.base || one.slot != other.slot) {
      return false;
    }
  }
  return true;
}

/// Commands from `at` on that are one call.
std::size_t countAlike(const std::vector<CudaCommand> &commands, std::size_t at,
                       const std::vector<unsigned> &cuts) {
  const std::uint32_t tensors = cuda::tensorOperands(*commands[at].instance.kernel);
  const auto cut = std::upper_bound(cuts.begin(), cuts.end(), commands[at].number);
  std::size_t count = 1;
  while (tensors != 0 && at + count < commands.size() &&
         (cut == cuts.end() || commands[at + count].number < *cut) &&
         isAlike(commands[at], commands[at + count], tensors)) {
    ++count;
  }
  return count;
}

/// Commands that differ in their tensors alone, or one.
Result<CudaCall> callOf(std::span<CudaCommand> commands, cuda::KernelCache &kernels) {
  std::vector<kernels::KernelInstance> instances;
  std::vector<CudaOperand> operands;
  for (const CudaCommand &command : commands) {
    instances.push_back(command.instance);
    operands.insert(operands.end(), command.operands.begin(), command.operands.end());
  }
  auto prepared = cuda::prepare(instances, kernels);
  if (!prepared) {
    return prepared.takeError();
  }
  return CudaCall{commands[0].number, std::move(*prepared), std::move(operands), commands[0].workspace};
}

/// False: cuBLASLt does not have it.
Result<bool> append(Pair pair, const CudaCommand &first, const CudaCommand &second,
                    const CudaScratch &scratch, cuda::KernelCache &kernels, std::vector<CudaCall> &calls) {
  auto product = cuda::prepare(pair.product, kernels);
  if (!product) {
    return product.takeError();
  }
  if (!*product) {
    return false;
  }
  CudaOperand inScratch;
  if (pair.finish) {
    inScratch = {scratch.data(), 0, pair.operands[static_cast<std::size_t>(pair.fromScratch)].bytes};
    pair.operands[static_cast<std::size_t>(pair.fromScratch)] = inScratch;
  }
  calls.push_back(
      {first.number, std::move(*product), {pair.operands.begin(), pair.operands.end()}, first.workspace});
  if (!pair.finish) {
    return true;
  }
  CudaCommand finish{second.number,
                     second.block,
                     {catalogue::find(pair.finish, 1),
                      {pair.shape, pair.shape},
                      {},
                      static_cast<catalogue::DType>(pair.product.result)},
                     {inScratch, pair.result},
                     nullptr};
  auto call = callOf({&finish, 1}, kernels);
  if (!call) {
    return call.takeError();
  }
  calls.push_back(std::move(*call));
  return true;
}

} // namespace

CudaScratch::~CudaScratch() {
  if (start) {
    api.release(start);
  }
}

Result<void> CudaScratch::allocate(std::size_t bytes) {
  if (bytes == 0) {
    return {};
  }
  auto made = api.allocate(bytes);
  if (!made) {
    return made.takeError();
  }
  start = static_cast<std::byte *>(*made);
  size = bytes;
  return {};
}

Result<std::vector<CudaCall>> cudaCalls(std::vector<CudaCommand> commands, const std::vector<unsigned> &cuts,
                                        const std::vector<CudaOperand> &readApart, bool fusesGelu,
                                        CudaScratch &scratch, cuda::KernelCache &kernels) {
  std::vector<std::optional<Pair>> pairs(commands.size());
  std::size_t bytes = 0;
  for (std::size_t i = 0; i + 1 < commands.size(); ++i) {
    pairs[i] = pairOf(commands, i, readApart, fusesGelu);
    if (pairs[i] && pairs[i]->finish) {
      bytes = std::max(bytes, pairs[i]->operands[static_cast<std::size_t>(pairs[i]->fromScratch)].bytes);
    }
  }
  if (auto ok = scratch.allocate(bytes); !ok) {
    return ok.takeError();
  }
  std::vector<CudaCall> calls;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    if (pairs[i]) {
      auto isOne = append(std::move(*pairs[i]), commands[i], commands[i + 1], scratch, kernels, calls);
      if (!isOne) {
        return isOne.takeError();
      }
      if (*isOne) {
        ++i;
        continue;
      }
    }
    const std::size_t count = countAlike(commands, i, cuts);
    auto call = callOf({commands.data() + i, count}, kernels);
    if (!call) {
      return call.takeError();
    }
    calls.push_back(std::move(*call));
    i += count - 1;
  }
  return calls;
}

} // namespace stagewright::runtime
