#include "ReferenceFiles.h"

#include "frontends/config/ConfigReference.h"
#include "frontends/layerspec/ModelSchema.h"

#include <fstream>
#include <iterator>

namespace stagewright {

std::string fileBytes(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::map<std::string, std::string> referenceFiles(const std::string &docs) {
  const std::string begin = "<!-- generated: begin -->\n", end = "<!-- generated: end -->\n";
  std::string page = fileBytes(docs + "/config.md");
  std::size_t first = page.find(begin), last = page.find(end);
  if (first != std::string::npos && last != std::string::npos) {
    first += begin.size();
    page.replace(first, last - first, configTables());
  }
  return {{docs + "/config.md", page},
          {docs + "/config.schema.json", configSchema()},
          {docs + "/model.schema.json", modelSchema()}};
}

} // namespace stagewright
