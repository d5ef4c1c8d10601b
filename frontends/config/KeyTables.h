// The rows of the table of configuration keys, one function per part of DeepSpeed's documentation, and how a
// row is written.
#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_KEYTABLES_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_KEYTABLES_H

#include "frontends/config/ConfigKeys.h"

#include <cfloat>
#include <span>

namespace stagewright::keys {

std::span<const ConfigKey> topLevelKeys(); ///< scalars, batch sizes, pipeline, stagewright
std::span<const ConfigKey> optimizerKeys();
std::span<const ConfigKey> schedulerKeys();
std::span<const ConfigKey> precisionKeys(); ///< fp16, bf16, amp, data types
std::span<const ConfigKey> zeroKeys();      ///< zero_optimization and aio
std::span<const ConfigKey> outputKeys();    ///< profilers, monitors, checkpoints
std::span<const ConfigKey> featureKeys();   ///< every other block

using Type = ValueRule::Type;

inline constexpr ValueRule kFlag{.type = Type::Boolean};
inline constexpr ValueRule kText{.type = Type::String};
inline constexpr ValueRule kList{.type = Type::List};
inline constexpr ValueRule kNumber{.type = Type::Number};
inline constexpr ValueRule kCount{.type = Type::Count, .minimum = 0};
inline constexpr ValueRule kPositive{.type = Type::Count, .minimum = 1};
inline constexpr ValueRule kWhole{.type = Type::Count};
inline constexpr ValueRule kFraction{.type = Type::Number, .minimum = 0, .maximum = 1};
/// Finite as a float too, which is what the kernels compute with.
inline constexpr ValueRule kNonNegative{.type = Type::Number, .minimum = 0, .maximum = FLT_MAX};
constexpr ValueRule integer(double minimum, double maximum) {
  return {.type = Type::Integer, .minimum = minimum, .maximum = maximum};
}
constexpr ValueRule choice(std::string_view choices) {
  return {.type = Type::String, .choices = choices};
}

constexpr ConfigKey block(std::string_view path, std::string_view why = {}) {
  return {path, {.type = Type::Block}, "{}", Treatment::WithoutEffect, why};
}
constexpr ConfigKey openBlock(std::string_view path, std::string_view why = {}) {
  return {path, {.type = Type::OpenBlock}, "{}", Treatment::WithoutEffect, why};
}
constexpr ConfigKey honoured(std::string_view path, ValueRule rule, std::string_view defaultText,
                             std::string_view why, std::string_view types = {}) {
  return {path, rule, defaultText, Treatment::Honoured, why, {}, {}, types};
}
constexpr ConfigKey ignored(std::string_view path, ValueRule rule, std::string_view defaultText,
                            std::string_view why = {}) {
  return {path, rule, defaultText, Treatment::WithoutEffect, why};
}
constexpr ConfigKey offOnly(std::string_view path, ValueRule rule, std::string_view defaultText,
                            std::string_view why, std::string_view instead, std::string_view off = {}) {
  return {path, rule, defaultText, Treatment::OffOnly, why, instead, off};
}
constexpr ConfigKey refused(std::string_view path, ValueRule rule, std::string_view defaultText,
                            std::string_view why, std::string_view instead) {
  return {path, rule, defaultText, Treatment::Refused, why, instead};
}

} // namespace stagewright::keys

#endif
