#include "TemporaryFile.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace stagewright {

TemporaryFile::TemporaryFile(std::string_view content) {
  // In memory where that is possible: tens of thousands of small files take minutes on a disk.
  std::error_code code;
  std::filesystem::path memory = "/dev/shm", parent = std::filesystem::temp_directory_path();
  std::string name =
      ((std::filesystem::is_directory(memory, code) ? memory : parent) / "frontends.XXXXXX").string();
  EXPECT_NE(mkdtemp(name.data()), nullptr);
  folder = name;
  file = folder + "/input.json";
  write(content);
}

TemporaryFile::~TemporaryFile() {
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
}

void TemporaryFile::write(std::string_view content) const {
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  stream << content;
  stream.close();
  ASSERT_TRUE(stream.good());
}

void expectError(const Error &error, const BadInput &input, const std::string &file) {
  SCOPED_TRACE(input.content.substr(0, 200) + "\n -> " + error.text());
  EXPECT_EQ(error.kind, ErrorKind::User);
  bool isPosition = !input.place.empty() && input.place[0] >= '0' && input.place[0] <= '9';
  EXPECT_EQ(error.place, isPosition ? file + ":" + input.place : input.place);
  EXPECT_FALSE(error.what.empty());
  EXPECT_FALSE(error.advice.empty());
  EXPECT_EQ(error.text().find('\n'), std::string::npos);
  for (const std::string &word : input.words)
    EXPECT_NE(error.text().find(word), std::string::npos) << "missing: " << word;
}

} // namespace stagewright
