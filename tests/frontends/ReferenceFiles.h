#ifndef STAGEWRIGHT_TESTS_FRONTENDS_REFERENCEFILES_H
#define STAGEWRIGHT_TESTS_FRONTENDS_REFERENCEFILES_H

#include <map>
#include <string>

namespace stagewright {

/// The files below `docs` that are generated from the tables of keys and layer types, by path, as they should
/// be. config.md keeps its hand-written text: the part between its two markers is generated.
std::map<std::string, std::string> referenceFiles(const std::string &docs);

std::string fileBytes(const std::string &path); ///< empty if it cannot be read

} // namespace stagewright

#endif
