// What a wrong name may have meant.
#ifndef STAGEWRIGHT_ERROR_NEARESTNAME_H
#define STAGEWRIGHT_ERROR_NEARESTNAME_H

#include <string>
#include <string_view>
#include <vector>

namespace stagewright {

/// The known name with the fewest edits from `name` (insert, delete, replace, swap of neighbours; case does
/// not count); the earlier one on a tie. Empty only if `known` is empty.
std::string_view nearestName(std::string_view name, const std::vector<std::string_view> &known);

/// The letters A-Z in lower case.
std::string lowerCase(std::string_view text);

/// "a, b, c".
std::string joined(const std::vector<std::string_view> &names);

} // namespace stagewright

#endif
