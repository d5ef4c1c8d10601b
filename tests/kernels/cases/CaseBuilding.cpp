#include "CaseBuilding.h"

namespace stagewright::kernels {

std::mt19937_64 &engine() {
  static std::mt19937_64 state(20261121);
  return state;
}
double uniform(double low, double high) {
  // std::uniform_real_distribution takes a logarithm per number.
  return low + (high - low) * std::ldexp(double(engine()() >> 11), -53);
}
std::int64_t integer(std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(engine());
}

KernelCase makeCase(std::string_view name, std::vector<Shape> shapes,
                    std::vector<catalogue::Attribute> attributes, int version) {
  KernelCase out;
  out.instance = {catalogue::find(name, version), std::move(shapes), std::move(attributes)};
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

} // namespace stagewright::kernels
