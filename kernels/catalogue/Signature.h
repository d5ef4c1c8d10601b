// Signatures: operands of a kernel and the rule of their shapes, as one line of text.
//
//   signature := operand {", " operand}
//   operand   := name " " dtype "[" size {"," size} "]" " " ("R" | "W" | "RW") ["?"]
//   dtype     := "f32" | "i32" | ...  a type of Catalogue.h
//              | "T"                  the call's element type: f32, f16 or bf16
//   size      := number | S            a letter stands for one size, the same wherever it occurs
//              | X...                  any number of sizes, the same wherever it occurs
//              | count(X)...           any sizes whose product is that of X
//              | packed(K,N)           packedElements(K, N)
//              | granules(X)           granules(product of X)
#ifndef STAGEWRIGHT_CATALOGUE_SIGNATURE_H
#define STAGEWRIGHT_CATALOGUE_SIGNATURE_H

#include "catalogue/Catalogue.h"

namespace stagewright::catalogue {

/// The operands that a signature declares. The names point into `signature`.
std::vector<OperandRule> operandsOf(std::string_view signature);

/// Checks shapes against a signature; trailing optional operands may be missing. Any number of any sizes is
/// safe.
Result<void> matchShapes(std::string_view kernel, std::string_view signature, std::span<const Shape> shapes);

} // namespace stagewright::catalogue

#endif
