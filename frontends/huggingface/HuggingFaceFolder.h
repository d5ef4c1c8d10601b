// Models of Hugging Face folders: config.json says the architecture and its sizes. The layers carry names
// under which their parameters are called as transformers calls them.
#ifndef STAGEWRIGHT_FRONTENDS_HUGGINGFACE_HUGGINGFACEFOLDER_H
#define STAGEWRIGHT_FRONTENDS_HUGGINGFACE_HUGGINGFACEFOLDER_H

#include "frontends/layerspec/ModelSpec.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright {

enum class FolderKind { LayerSpec, HuggingFace };

/// What a folder with a model holds: model.json, or the config.json of transformers. Errors (User): neither,
/// or both; a config.json that is not JSON.
Result<FolderKind> modelFolderKind(const std::string &folder);

struct FolderOptions {
  std::optional<std::int64_t> sequenceLength; ///< tokens of a sample; none: as many as config.json says
};

/// Reads the folder's config.json and checks the model. Errors (User, with file:line:column): syntax, a
/// missing value or one of a wrong type, and all that this version does not have in one error, each with what
/// to use instead.
Result<ModelSpec> readHuggingFaceFolder(const std::string &folder, const FolderOptions &options);

/// Values of "architectures" that this version reads.
std::vector<std::string_view> architectureNames();

} // namespace stagewright

#endif
