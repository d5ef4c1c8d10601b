#include "catalogue/Signature.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace stagewright::catalogue {

namespace {

struct OperandText {
  std::string_view name, dtype, sizes, access;
  bool optional = false;
};

/// Splits at commas outside of brackets; spaces after a comma are dropped.
std::vector<std::string_view> splitAtCommas(std::string_view text) {
  std::vector<std::string_view> parts;
  int depth = 0;
  std::size_t start = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && (text[i] == '[' || text[i] == '(')) {
      ++depth;
    } else if (i < text.size() && (text[i] == ']' || text[i] == ')')) {
      --depth;
    } else if (i == text.size() || (text[i] == ',' && depth == 0)) {
      parts.push_back(text.substr(start, i - start));
      start = text.find_first_not_of(' ', i + 1);
    }
  }
  return parts;
}

OperandText parseOperand(std::string_view text) {
  const std::size_t space = text.find(' '), open = text.find('['), close = text.rfind(']');
  OperandText out;
  out.name = text.substr(0, space);
  out.dtype = text.substr(space + 1, open - space - 1);
  out.sizes = text.substr(open + 1, close - open - 1);
  out.access = text.substr(close + 2);
  out.optional = out.access.ends_with('?');
  if (out.optional)
    out.access.remove_suffix(1);
  return out;
}

DType dtypeNamed(std::string_view text) {
  for (int i = 0; i < kDTypes; ++i)
    if (name(DType(i)) == text)
      return DType(i);
  return DType::F32;
}

std::string text(std::span<const std::int64_t> shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size() && i < kMaxDimensions + 1; ++i)
    out += (i ? "," : "") + std::to_string(shape[i]);
  return out + (shape.size() > kMaxDimensions + 1 ? ",...]" : "]");
}

/// What the letters of one signature stand for, as far as the operands seen tell.
class Letters {
public:
  /// Whether `shape` can be what `sizes` says. Letters that are not bound yet are bound; sizes computed from
  /// letters are compared only when `computed`.
  bool match(std::string_view sizes, std::span<const std::int64_t> shape, bool computed) {
    for (std::string_view size : splitAtCommas(sizes)) {
      if (size.ends_with("..."))
        return matchRest(size, shape, computed);
      if (shape.empty() || (!(isComputed(size) && !computed) && !matchOne(size, shape.front())))
        return false;
      shape = shape.subspan(1);
    }
    return shape.empty();
  }

  /// " with M=16, N=256": the bound letters that occur in `sizes`.
  std::string values(std::string_view sizes) const {
    std::string out;
    for (char letter = 'A'; letter <= 'Z'; ++letter) {
      const std::optional<Shape> &shape = at(letter);
      if (!shape || sizes.find(letter) == std::string_view::npos)
        continue;
      const bool rest = sizes.find(std::string(1, letter) + "...") != std::string_view::npos;
      const bool whole = rest || sizes.find("(" + std::string(1, letter) + ")") != std::string_view::npos;
      out += std::string(out.empty() ? " with " : ", ") + letter + (rest ? "..." : "") + "=" +
             (whole ? text(*shape) : std::to_string(shape->front()));
    }
    return out;
  }

private:
  std::optional<Shape> &at(char letter) { return bound[static_cast<std::size_t>(letter - 'A')]; }
  const std::optional<Shape> &at(char letter) const { return bound[static_cast<std::size_t>(letter - 'A')]; }

  static bool isComputed(std::string_view size) { return size.find('(') != std::string_view::npos; }

  bool bind(char letter, std::span<const std::int64_t> shape) {
    if (!at(letter))
      at(letter) = Shape(shape.begin(), shape.end());
    return std::ranges::equal(*at(letter), shape);
  }

  bool matchRest(std::string_view size, std::span<const std::int64_t> shape, bool computed) {
    if (!isComputed(size))
      return bind(size[0], shape);
    const std::optional<Shape> &other = at(size[size.find('(') + 1]);
    return !computed || (other && elements(*other) == elements(Shape(shape.begin(), shape.end())));
  }

  bool matchOne(std::string_view size, std::int64_t value) {
    if (isComputed(size)) {
      const std::size_t open = size.find('(');
      const std::optional<Shape> &first = at(size[open + 1]);
      if (size.starts_with("granules"))
        return first && granules(elements(*first)) == value;
      const std::optional<Shape> &second = at(size[open + 3]);
      return first && second && packedElements(first->front(), second->front()) == value;
    }
    if (size[0] >= 'A' && size[0] <= 'Z')
      return bind(size[0], std::span(&value, 1));
    std::int64_t number = 0;
    std::from_chars(size.data(), size.data() + size.size(), number);
    return number == value;
  }

  std::array<std::optional<Shape>, 26> bound;
};

Result<void> checkOperandSizes(const std::string &place, const OperandText &operand, const Shape &shape) {
  const auto refuse = [&](const std::string &why) {
    return userError(place,
                     "operand " + std::string(operand.name) + " has shape " + text(shape) + ", and " + why);
  };
  if (shape.size() > kMaxDimensions)
    return refuse("a shape has at most " + std::to_string(kMaxDimensions) + " sizes");
  if (std::ranges::any_of(shape, [](std::int64_t size) { return size < 1; }))
    return refuse("every size must be at least 1");
  if (elements(shape) < 0 || elements(shape) > kMaxElements)
    return refuse("a tensor has at most 2^44 elements");
  return {};
}

} // namespace

std::vector<OperandRule> operandsOf(std::string_view signature) {
  std::vector<OperandRule> out;
  for (std::string_view part : splitAtCommas(signature)) {
    const OperandText operand = parseOperand(part);
    const Access access = operand.access == "RW"  ? Access::ReadWrite
                          : operand.access == "W" ? Access::Write
                                                  : Access::Read;
    out.push_back({operand.name, access, dtypeNamed(operand.dtype), operand.optional, operand.dtype == "T"});
  }
  return out;
}

Result<void> matchShapes(std::string_view kernel, std::string_view signature, std::span<const Shape> shapes) {
  const std::string place = "kernel " + std::string(kernel);
  const std::string advice = std::string(kernel) + " takes " + std::string(signature);
  std::vector<OperandText> operands;
  for (std::string_view part : splitAtCommas(signature))
    operands.push_back(parseOperand(part));
  const auto required = std::ranges::count(operands, false, &OperandText::optional);
  if (shapes.size() < std::size_t(required) || shapes.size() > operands.size())
    return userError(place, "there are " + std::to_string(shapes.size()) + " operands", advice);
  for (std::size_t i = 0; i < shapes.size(); ++i)
    if (Result<void> fine = checkOperandSizes(place, operands[i], shapes[i]); !fine)
      return fine;

  // Twice: a size that is computed may use letters that a later operand binds.
  Letters letters;
  for (bool computed : {false, true})
    for (std::size_t i = 0; i < shapes.size(); ++i)
      if (!letters.match(operands[i].sizes, shapes[i], computed))
        return userError(place,
                         "operand " + std::string(operands[i].name) + " has shape " + text(shapes[i]) +
                             ", not [" + std::string(operands[i].sizes) + "]" +
                             letters.values(operands[i].sizes),
                         advice);
  return {};
}

} // namespace stagewright::catalogue
