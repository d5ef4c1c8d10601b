// What the files of the library share and its users do not see.
#ifndef STAGEWRIGHT_API_INTERNALS_H
#define STAGEWRIGHT_API_INTERNALS_H

#include "stagewright/Data.h"
#include "stagewright/Executable.h"

#include "runtime/executable/Executable.h"
#include "runtime/train/Session.h"

#include <string>
#include <vector>

namespace stagewright {
inline namespace v0 {

class Internals {
public:
  static StagedExecutable wrap(std::shared_ptr<const runtime::Executable> plan,
                               std::vector<std::string> withoutEffect = {}) {
    StagedExecutable executable(std::move(plan));
    executable.withoutEffect = std::move(withoutEffect);
    return executable;
  }
  static const std::shared_ptr<const runtime::Executable> &planOf(const StagedExecutable &executable) {
    return executable.plan;
  }
};

/// A model as the text of a model file, one entry a line.
struct ModelText {
  std::string text;
  /// What stands in each line: `layer "fc1"`; empty: nothing of its own.
  std::vector<std::string> lines;
};
Result<ModelText> modelText(const Model &model);

/// body()'s result; exceptions, also those of the user's code, become errors.
template <typename T, typename Body>
Result<T> guarded(const Body &body) {
  std::optional<Result<T>> result;
  const auto call = [&]() -> Result<void> {
    result.emplace(body());
    return {};
  };
  auto ended = runtime::Session::guarded(std::cref(call)); // by reference: a copy would be allocated
  return ended ? std::move(*result) : Result<T>(ended.takeError());
}

} // namespace v0
} // namespace stagewright

#endif
