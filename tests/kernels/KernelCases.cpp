#include "cases/CaseBuilding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <random>

namespace stagewright::kernels {

Buffer::Buffer(DType dtype, std::int64_t elements) : dtype(dtype), elements(elements) {
  const std::size_t size = std::size_t(elements) * catalogue::byteSize(dtype);
  lines.resize((size + 63) / 64 + 2);
  std::memset(lines.data(), 0x5a, lines.size() * 64);
  std::memset(data(), 0, size);
}

namespace {

/// The upper half of a float, to the nearest with ties to even.
std::uint16_t bf16Bits(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value))
    return std::uint16_t(bits >> 16 | 0x40);
  return std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

} // namespace

double Buffer::at(std::int64_t i) const {
  switch (dtype) {
  case DType::F16:
    return double(static_cast<const _Float16 *>(data())[i]);
  case DType::BF16:
    return double(std::bit_cast<float>(std::uint32_t(static_cast<const std::uint16_t *>(data())[i]) << 16));
  case DType::F32:
    return static_cast<const float *>(data())[i];
  case DType::F64:
    return static_cast<const double *>(data())[i];
  case DType::I32:
    return static_cast<const std::int32_t *>(data())[i];
  default:
    return double(static_cast<const std::int64_t *>(data())[i]);
  }
}

void Buffer::set(std::int64_t i, double value) {
  switch (dtype) {
  case DType::F16:
    as<_Float16>()[i] = _Float16(value);
    break;
  case DType::BF16:
    as<std::uint16_t>()[i] = bf16Bits(float(value));
    break;
  case DType::F32:
    as<float>()[i] = float(value);
    break;
  case DType::F64:
    as<double>()[i] = value;
    break;
  case DType::I32:
    as<std::int32_t>()[i] = std::int32_t(value);
    break;
  default:
    as<std::int64_t>()[i] = std::int64_t(value);
  }
}

std::vector<double> Buffer::values() const {
  std::vector<double> out;
  for (std::int64_t i = 0; i < elements; ++i)
    out.push_back(at(i));
  return out;
}

bool Buffer::guardsIntact() const {
  const auto *all = reinterpret_cast<const unsigned char *>(lines.data());
  const std::size_t begin = 64, end = begin + std::size_t(elements) * catalogue::byteSize(dtype);
  for (std::size_t i = 0; i < lines.size() * 64; ++i)
    if ((i < begin || i >= end) && all[i] != 0x5a)
      return false;
  return true;
}

bool Buffer::sameBits(const Buffer &other) const {
  if (dtype != other.dtype || elements != other.elements)
    return false;
  for (std::int64_t i = 0; i < elements; ++i) {
    const double a = at(i), b = other.at(i);
    if (std::bit_cast<std::uint64_t>(a) != std::bit_cast<std::uint64_t>(b) &&
        !(std::isnan(a) && std::isnan(b)))
      return false;
  }
  return true;
}

std::string KernelCase::text() const {
  std::string out(instance.kernel->name);
  out += " " + std::string(catalogue::name(instance.element));
  for (const Shape &shape : instance.shapes) {
    out += " [";
    for (std::size_t i = 0; i < shape.size(); ++i)
      out += (i ? "," : "") + std::to_string(shape[i]);
    out += "]";
  }
  return out;
}

KernelCase caseOf(const char *kernel, std::vector<Shape> shapes,
                  const std::vector<std::vector<double>> &contents,
                  std::vector<catalogue::Attribute> attributes) {
  KernelCase out{{catalogue::find(kernel, 1), std::move(shapes), std::move(attributes)}, {}, 0, 0};
  for (std::size_t i = 0; i < out.instance.shapes.size(); ++i) {
    out.operands.emplace_back(out.instance.kernel->operands[i].dtype,
                              catalogue::elements(out.instance.shapes[i]));
    for (std::size_t k = 0; i < contents.size() && k < contents[i].size(); ++k)
      out.operands[i].set(std::int64_t(k), contents[i][k]);
  }
  return out;
}

KernelCase withElement(const KernelCase &one, DType element) {
  KernelCase out = one;
  if (element == DType::F32)
    return out;
  out.instance.element = element;
  for (std::size_t i = 0; i < out.operands.size(); ++i) {
    if (!out.instance.kernel->operands[i].element)
      continue;
    out.operands[i] = Buffer(element, one.operands[i].elements);
    for (std::int64_t k = 0; k < one.operands[i].elements; ++k)
      out.operands[i].set(k, one.operands[i].at(k));
  }
  out.relative += element == DType::F16 ? 0x1p-11 : 0x1p-8;
  out.absolute += element == DType::F16 ? 0x1p-25 : 0x1p-134;
  return out;
}

std::vector<DType> elementTypes(const catalogue::Kernel &kernel) {
  if (std::ranges::any_of(kernel.operands, &catalogue::OperandRule::element))
    return {DType::F32, DType::F16, DType::BF16};
  return {DType::F32};
}

static std::vector<TableEntry> table() {
  std::vector<TableEntry> all;
  for (auto family : {linearCases, activationCases, channelNormCases, convolutionCases, poolingCases,
                      arithmeticCases, movementCases, lossCases, optimizerCases, rowNormCases, softmaxCases,
                      embeddingCases, rotaryCases, dropoutCases, attentionCases, maskedMeanCases})
    std::ranges::copy(family(), std::back_inserter(all));
  return all;
}

std::vector<KernelCase> casesOf(std::string_view kernel, int version) {
  for (const TableEntry &entry : table())
    if (entry.kernel == kernel && entry.version == version) {
      engine().seed(20261121);
      Cases cases = entry.cases(kernel);
      const std::size_t floats = cases.size();
      for (DType element : elementTypes(*catalogue::find(kernel, version)))
        for (std::size_t i = 0; element != DType::F32 && i < floats; ++i)
          cases.push_back(withElement(cases[i], element));
      return cases;
    }
  return {};
}

std::vector<std::string> testedKernels() {
  std::vector<std::string> out;
  for (const TableEntry &entry : table())
    if (catalogue::existsOn(*catalogue::find(entry.kernel, entry.version), "host"))
      out.emplace_back(entry.kernel);
  return out;
}

std::vector<Buffer> runCase(const KernelCase &call, Isa isa, TileRunner &runner,
                            std::optional<catalogue::InPlacePair> aliased) {
  if (onKernelCall)
    onKernelCall(call.instance);
  std::vector<Buffer> operands = call.operands;
  std::vector<void *> pointers;
  for (Buffer &operand : operands)
    pointers.push_back(operand.data());
  pointers.resize(call.instance.kernel->operands.size()); // absent ones are null
  if (aliased)
    pointers[std::size_t(aliased->output)] = pointers[std::size_t(aliased->input)];
  auto prepared = prepare(call.instance, isa);
  if (!prepared) {
    ADD_FAILURE() << call.text() << ": " << prepared.error().text();
    return operands;
  }
  const auto workspaceBytes = call.instance.kernel->workspaceBytes;
  Buffer workspace(DType::F64,
                   workspaceBytes ? std::int64_t(workspaceBytes(call.instance.shapes, "host") + 7) / 8 : 0);
  (*prepared)->run(pointers.data(), workspace.data(), runner);
  if (aliased)
    operands[std::size_t(aliased->output)] = operands[std::size_t(aliased->input)];
  EXPECT_TRUE(workspace.guardsIntact()) << call.text();
  for (std::size_t i = 0; i < operands.size(); ++i)
    EXPECT_TRUE(operands[i].guardsIntact()) << call.text() << " operand " << i;
  return operands;
}

std::vector<Isa> supportedIsas() {
  std::vector<Isa> out;
  for (Isa isa : {Isa::Portable, Isa::Avx2, Isa::Avx512})
    if (isSupported(isa))
      out.push_back(isa);
  return out;
}

} // namespace stagewright::kernels
