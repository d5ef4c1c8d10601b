// Writes the generated files of docs/ anew.
#include "ReferenceFiles.h"

#include <cstdio>
#include <fstream>

int main(int argc, char **argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DOCS_FOLDER\n", argv[0]);
    return 2;
  }
  for (const auto &[path, content] : stagewright::referenceFiles(argv[1])) {
    std::ofstream stream(path, std::ios::binary);
    stream << content;
    stream.close();
    if (!stream) {
      std::fprintf(stderr, "cannot write %s\n", path.c_str());
      return 3;
    }
    std::printf("%s\n", path.c_str());
  }
  return 0;
}
