// How the tables of the catalogue write an entry.
#ifndef STAGEWRIGHT_CATALOGUE_ENTRY_H
#define STAGEWRIGHT_CATALOGUE_ENTRY_H

#include "catalogue/Signature.h"

#include <algorithm>

namespace stagewright::catalogue {

/// Text as a template argument.
template <std::size_t Size>
struct Text {
  char data[Size];
  consteval Text(const char (&text)[Size]) { std::copy_n(text, Size, data); }
  constexpr std::string_view view() const { return {data, Size - 1}; }
};

template <Text Name, Text Signature>
Result<void> checkShapesOf(std::span<const Shape> shapes) {
  return matchShapes(Name.view(), Signature.view(), shapes);
}

using Workspace = std::size_t (*)(std::span<const Shape> shapes, std::string_view target);
using TogetherRule = Result<void> (*)(std::span<const Shape> shapes, std::span<const Attribute> attributes);

/// One entry of the catalogue. The shape rule, the operands and the error texts all come from the
/// signature.
template <Text Name, Text Signature, int Version = 1>
Kernel entry(std::vector<AttributeRule> attributes = {}, std::vector<InPlacePair> inPlace = {},
             Workspace workspace = nullptr, TogetherRule together = nullptr) {
  static constexpr Text kName = Name;
  static constexpr Text kSignature = Signature;
  return {.name = kName.view(),
          .version = Version,
          .operands = operandsOf(kSignature.view()),
          .attributes = std::move(attributes),
          .inPlace = std::move(inPlace),
          .signature = kSignature.view(),
          .checkShapes = checkShapesOf<Name, Signature>,
          .workspaceBytes = workspace,
          .checkTogether = together};
}

/// The entry of a kernel that other devices do not have.
inline Kernel only(Devices on, Kernel kernel) {
  kernel.on = on;
  return kernel;
}

/// Workspace of a matrix product: on CUDA kCudaWorkspace, on the host none.
std::size_t productWorkspace(std::span<const Shape> shapes, std::string_view target);
/// Workspace of sums over the rows of the first operand [M,N]: on CUDA those of chunks of rows, f32
/// [chunks,N].
std::size_t chunkSums(std::span<const Shape> shapes, std::string_view target);
/// Workspace: four bytes for each row of the first operand.
std::size_t rowResults(std::span<const Shape> shapes, std::string_view target);
/// Workspace: an fp64 partial for each granule of the first operand.
std::size_t granuleResults(std::span<const Shape> shapes, std::string_view target);

} // namespace stagewright::catalogue

#endif
