#include "KernelCases.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <random>

namespace stagewright::kernels {

using catalogue::DType;
using catalogue::Shape;

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

namespace {

std::mt19937_64 &engine() {
  static std::mt19937_64 state(20261121);
  return state;
}
double uniform(double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(engine());
}
std::int64_t integer(std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(engine());
}

/// A call whose floating-point operands are uniform in [-1, 1]; integer operands and written ones are zero.
KernelCase makeCase(std::string_view name, std::vector<Shape> shapes,
                    std::vector<catalogue::Attribute> attributes = {}) {
  KernelCase out;
  out.instance = {catalogue::find(name, 1), std::move(shapes), std::move(attributes)};
  const auto &rules = out.instance.kernel->operands;
  for (std::size_t i = 0; i < out.instance.shapes.size(); ++i) {
    out.operands.emplace_back(rules[i].dtype, catalogue::elements(out.instance.shapes[i]));
    Buffer &buffer = out.operands.back();
    const bool isReal = buffer.dtype == DType::F32 || buffer.dtype == DType::F64;
    for (std::int64_t k = 0; isReal && rules[i].access != catalogue::Access::Write && k < buffer.elements;
         ++k)
      buffer.set(k, uniform(-1, 1));
  }
  return out;
}

void fill(Buffer &buffer, const std::function<double()> &value) {
  for (std::int64_t i = 0; i < buffer.elements; ++i)
    buffer.set(i, value());
}

struct Product {
  std::int64_t m, k, n;
};

/// Odd sizes, sizes around the tiles (112 x 256), the chunk (256), several chunks, and random ones.
std::vector<Product> products() {
  std::vector<Product> out = {{1, 1, 1},       {3, 10, 17},   {1, 784, 10},    {16, 784, 256}, {17, 31, 33},
                              {33, 100, 31},   {15, 401, 65}, {130, 33, 290},  {29, 1025, 40}, {5, 2100, 35},
                              {113, 257, 100}, {300, 8, 8},   {31, 1024, 300}, {6, 40, 1030}};
  for (int i = 0; i < 12; ++i)
    out.push_back({integer(1, 70), integer(1, 120), integer(1, 120)});
  return out;
}

using Cases = std::vector<KernelCase>;

Cases packCases(std::string_view name) {
  Cases out;
  for (const auto &[m, k, n] : products())
    out.push_back(makeCase(name, {{n, k},
                                  {name == "pack_linear_forward" ? catalogue::packedElements(k, n)
                                                                 : catalogue::packedElements(n, k)}}));
  return out;
}

/// Padding is NaN: nothing of it may reach a result.
void spoilPadding(Buffer &packed, std::int64_t depth, std::int64_t columns) {
  Buffer clean = packed;
  fill(packed, [] { return std::nan(""); });
  for (std::int64_t step = 0; step < depth; ++step)
    for (std::int64_t column = 0; column < columns; ++column) {
      const std::int64_t i = packedIndex(depth, columns, step, column);
      packed.set(i, clean.at(i));
    }
}

Cases linearCases(std::string_view name) {
  Cases out;
  for (const auto &[m, k, n] : products())
    for (bool bias : {false, true}) {
      std::vector<Shape> shapes = {{m, k}, {catalogue::packedElements(k, n)}, {m, n}};
      if (bias && name != "linear")
        continue;
      if (bias)
        shapes.push_back({n});
      KernelCase one = makeCase(name, shapes);
      spoilPadding(one.operands[1], k, n);
      one.absolute = 0x1p-23 * double(k + 2);
      out.push_back(std::move(one));
    }
  return out;
}

Cases weightGradCases(std::string_view name) {
  Cases out;
  for (const auto &[k, m, n] : products()) {
    out.push_back(makeCase(name, {{m, n}, {m, k}, {n, k}}));
    out.back().absolute = 0x1p-23 * double(m + 2);
  }
  return out;
}

Cases biasGradCases(std::string_view name) {
  Cases out;
  for (const auto &[m, k, n] : products()) {
    out.push_back(makeCase(name, {{m * 3, n}, {n}}));
    out.back().absolute = 0x1p-23 * double(3 * m + 2);
  }
  out.push_back(makeCase(name, {{1000, 97}, {97}}));
  out.back().absolute = 1e-4;
  return out;
}

/// Sizes around a vector (16) and a tile (16384; up to 32768 run as one).
std::vector<Shape> elementShapes() {
  return {{},
          {1},
          {3, 5},
          {16},
          {17},
          {10, 10},
          {7, 11, 13},
          {32768},
          {32769},
          {5, 10001},
          {1, 1, 1, 2, 1, 1, 1, 3}};
}

Cases mapCases(std::string_view name, std::vector<catalogue::Attribute> attributes, double range,
               double absolute, double relative) {
  Cases out;
  for (const Shape &shape : elementShapes()) {
    const std::size_t count = catalogue::find(name, 1)->operands.size();
    out.push_back(makeCase(name, std::vector<Shape>(count, shape), attributes));
    for (Buffer &buffer : out.back().operands)
      fill(buffer, [&] { return uniform(-range, range); });
    out.back().absolute = absolute;
    out.back().relative = relative;
  }
  return out;
}

/// The bounds of docs/kernels.md; a gradient's is for g = 1, and g is up to 6 here.
Cases geluCases(std::string_view name) {
  const double factor = name == "gelu_grad" ? 6 : 1;
  Cases out = mapCases(name, {}, 6, factor * 5e-7, 5e-7);
  for (KernelCase &one : mapCases(name, {{"approximate", std::string("tanh")}}, 6, factor * 1e-6, 1e-6))
    out.push_back(std::move(one));
  return out;
}

Cases copyCases(std::string_view name) {
  Cases out = mapCases(name, {}, 1, 0, 0);
  out.push_back(makeCase(name, {{6, 50}, {3, 10, 10}}));
  return out;
}

Cases rowCases(std::string_view name,
               const std::function<std::vector<Shape>(std::int64_t, std::int64_t)> &shapes) {
  Cases out;
  for (auto [rows, columns] :
       {std::pair{1, 1}, {1, 2}, {16, 10}, {33, 17}, {7, 1000}, {300, 130}, {3, 31}, {5000, 7}, {2, 40000}}) {
    out.push_back(makeCase(name, shapes(rows, columns)));
    KernelCase &one = out.back();
    fill(one.operands[0], [] { return uniform(-5, 5); });
    if (one.operands[1].dtype == DType::I32)
      fill(one.operands[1], [columns] { return double(integer(0, columns - 1)); });
    for (std::size_t i = 0; i < one.operands.size(); ++i)
      if (one.instance.kernel->operands[i].name == "valid_rows")
        one.operands[i].set(0, rows == 33 ? 0.0 : double(integer(1, rows)));
  }
  return out;
}

Cases crossEntropyCases(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto c) { return std::vector<Shape>{{m, c}, {m}, {1}, {1}, {m}}; });
  for (KernelCase &one : out)
    one.absolute = one.relative = 1e-6;
  return out;
}

Cases crossEntropyGradCases(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto c) { return std::vector<Shape>{{m, c}, {m}, {m}, {m, c}}; });
  for (KernelCase &one : out) {
    fill(one.operands[2], [] { return uniform(5, 7); });
    one.instance.attributes = {{"scale", 0.0625}};
    one.absolute = 1e-7;
    one.relative = 2e-6; // exp of a difference of up to 12
  }
  return out;
}

Cases mseCases(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto c) { return std::vector<Shape>{{m, c}, {m, c}, {1}, {1}}; });
  out.push_back(makeCase(name, {{9, 3, 5}, {9, 3, 5}, {1}, {1}}));
  out.back().operands[2].set(0, 4);
  for (KernelCase &one : out)
    one.relative = 3e-7;
  return out;
}

Cases mseGradCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : {Shape{1}, Shape{17, 3}, Shape{4, 33, 300}}) {
    out.push_back(makeCase(name, {shape, shape, shape}, {{"scale", 2.0 / 51}}));
    out.back().relative = 3e-7;
  }
  return out;
}

Cases countCases(std::string_view name) {
  Cases out = rowCases(name, [](auto m, auto c) { return std::vector<Shape>{{m, c}, {m}, {1}, {1}}; });
  // Few different values: many ties, and many correct rows.
  for (KernelCase &one : out)
    fill(one.operands[0], [] { return double(integer(0, 2)); });
  return out;
}

Cases meanCases(std::string_view name) {
  Cases out;
  for (std::int64_t count : {1, 7, 128}) {
    out.push_back(makeCase(name, {{count}, {1}}));
    out.back().absolute = 1e-14;
  }
  return out;
}

Cases normCases(std::string_view name) {
  Cases out;
  for (const Shape &shape :
       {Shape{1}, Shape{10, 10}, Shape{16384}, Shape{16385}, Shape{300, 300}, Shape{32768}}) {
    out.push_back(makeCase(name, {shape, {catalogue::granules(catalogue::elements(shape))}}));
    out.back().relative = 1e-13;
  }
  return out;
}

Cases clipCases(std::string_view name) {
  Cases out;
  for (double bound : {0.5, 1.0, 1e9})
    for (std::int64_t count : {1, 5, 1000}) {
      out.push_back(makeCase(name, {{count}, {1}, {1}}, {{"max_norm", bound}}));
      fill(out.back().operands[0], [] { return uniform(0, 4); });
      out.back().relative = 1e-7;
    }
  return out;
}

/// learning_rate, coefficient and what else is not drawn from [-1, 1].
void setScalars(KernelCase &one, double coefficient) {
  one.operands[2].set(0, 0.0625);
  one.operands[3].set(0, coefficient);
  one.absolute = one.relative = 3e-7;
}

Cases sgdCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (int step : {1, 2})
      for (int variant = 0; variant < 4; ++variant) {
        std::vector<Shape> shapes = {shape, shape, {1}, {1}, {1}};
        std::vector<catalogue::Attribute> attributes;
        if (variant > 0)
          attributes.push_back({"weight_decay", 0.01});
        if (variant > 1) {
          shapes.push_back(shape);
          attributes.push_back({"momentum", 0.9});
          attributes.push_back({"nesterov", std::int64_t(variant == 3)});
          attributes.push_back({"dampening", variant == 3 ? 0.0 : 0.1});
        }
        out.push_back(makeCase(name, shapes, attributes));
        setScalars(out.back(), variant == 1 ? 1.0 : 0.3);
        out.back().operands[4].set(0, step);
      }
  return out;
}

Cases adamCases(std::string_view name) {
  Cases out;
  for (const Shape &shape : elementShapes())
    for (int variant = 0; variant < 4; ++variant) {
      out.push_back(
          makeCase(name, {shape, shape, {1}, {1}, {2}, shape, shape},
                   {{"weight_decay", variant / 2 * 0.1}, {"decoupled", std::int64_t(variant % 2)}}));
      KernelCase &one = out.back();
      setScalars(one, variant == 1 ? 1.0 : 0.3);
      const int step = variant + 1;
      one.operands[4].set(0, 1 - std::pow(0.9, step));
      one.operands[4].set(1, 1 - std::pow(0.999, step));
      fill(one.operands[6], [] { return uniform(0, 1); });
      one.absolute = 1e-6; // the step is up to 0.0625 * 10
    }
  return out;
}

struct TableEntry {
  std::string_view kernel;
  std::function<Cases(std::string_view)> cases;
};

Cases exactMap(std::string_view name) {
  return mapCases(name, {}, 2, 0, 0);
}
Cases tanhMap(std::string_view name) {
  return mapCases(name, {}, 9, 0, 0x1p-22);
}
Cases tanhGradMap(std::string_view name) {
  return mapCases(name, {}, 1, 1e-7, 3e-7);
}

const TableEntry kTable[] = {{"pack_linear_forward", packCases},
                             {"pack_linear_input_grad", packCases},
                             {"linear", linearCases},
                             {"linear_input_grad", linearCases},
                             {"linear_weight_grad", weightGradCases},
                             {"bias_grad", biasGradCases},
                             {"relu", exactMap},
                             {"relu_grad", exactMap},
                             {"tanh", tanhMap},
                             {"tanh_grad", tanhGradMap},
                             {"gelu", geluCases},
                             {"gelu_grad", geluCases},
                             {"copy", copyCases},
                             {"softmax_cross_entropy", crossEntropyCases},
                             {"softmax_cross_entropy_grad", crossEntropyGradCases},
                             {"mse_loss", mseCases},
                             {"mse_loss_grad", mseGradCases},
                             {"count_correct", countCases},
                             {"mean_loss", meanCases},
                             {"gradient_norm_partials", normCases},
                             {"clip_coefficient", clipCases},
                             {"sgd", sgdCases},
                             {"adam", adamCases}};

} // namespace

/// The same call on elements of two bytes: rounding the result costs half a unit in its last place.
static KernelCase withElement(const KernelCase &one, DType element) {
  KernelCase out = one;
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

std::vector<KernelCase> casesOf(std::string_view kernel) {
  for (const TableEntry &entry : kTable)
    if (entry.kernel == kernel) {
      engine().seed(20261121);
      Cases cases = entry.cases(kernel);
      const bool hasElements =
          std::ranges::any_of(catalogue::find(kernel, 1)->operands, &catalogue::OperandRule::element);
      const std::size_t floats = cases.size();
      for (DType element : {DType::F16, DType::BF16})
        for (std::size_t i = 0; hasElements && i < floats; ++i)
          cases.push_back(withElement(cases[i], element));
      return cases;
    }
  return {};
}

std::vector<std::string> testedKernels() {
  std::vector<std::string> out;
  for (const TableEntry &entry : kTable)
    out.emplace_back(entry.kernel);
  return out;
}

std::vector<Buffer> runCase(const KernelCase &call, Isa isa, TileRunner &runner,
                            std::optional<catalogue::InPlacePair> aliased) {
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
