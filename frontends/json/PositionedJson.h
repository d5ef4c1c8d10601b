// A JSON file as an ordered tree in which every value and every key knows its line and column. HJSON's
// comments
// (//, /* */, #) and trailing commas are allowed; duplicate keys are errors.
#ifndef STAGEWRIGHT_FRONTENDS_JSON_POSITIONEDJSON_H
#define STAGEWRIGHT_FRONTENDS_JSON_POSITIONEDJSON_H

#include "error/Error.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright::json {

/// Both from 1; columns count Unicode code points.
struct Position {
  int line = 1, column = 1;
  bool operator==(const Position &) const = default;
};

struct Member;

struct Value {
  enum class Kind { Null, Boolean, Integer, Number, String, Array, Object };
  Kind kind = Kind::Null;
  Position position; ///< of the first character
  bool boolean = false;
  std::int64_t integer = 0;  ///< Integer; 2^63-1 where it is larger
  std::uint64_t natural = 0; ///< Integer >= 0, exact
  double number = 0;         ///< Integer and Number, finite
  std::string string;
  std::vector<Value> items;
  std::vector<Member> members; ///< in the order of the file

  bool isNumber() const { return kind == Kind::Integer || kind == Kind::Number; }
  const Value *find(std::string_view key) const; ///< null if there is no such member
  std::string text() const;                      ///< compact JSON
};

struct Member {
  std::string key;
  Position position;
  Value value;
};

struct Document {
  std::string file;
  std::string sha256; ///< hex, of the bytes of the file
  Value root;

  std::string place(Position position) const; ///< "file:line:column"
  Error error(Position position, std::string what, std::string advice = {}) const {
    return userError(place(position), std::move(what), std::move(advice));
  }
};

inline constexpr std::size_t kMaximumBytes = std::size_t(4) << 20;
inline constexpr std::size_t kMaximumDepth = 64;

/// Reads a file and parses it. Errors are ErrorKind::User: a file that cannot be read, and those of
/// parseDocument.
Result<Document> readDocument(const std::string &path);

/// `file` is the name that places carry. Errors, each with line and column: more than kMaximumBytes, a byte
/// order mark, a NUL byte, invalid UTF-8, syntax (what was found and what was expected), a duplicate key
/// (both places), nesting beyond kMaximumDepth, a number that fits neither 64 bits nor a double.
Result<Document> parseDocument(std::string file, std::string_view bytes);

/// A string and a number as JSON texts; the number with the fewest digits that read back to it.
std::string jsonText(std::string_view string);
std::string jsonText(double number);

/// A name in double quotes for a message: control characters escaped, long names cut.
std::string inQuotes(std::string_view name);
/// A value for a message: scalars as JSON, "an object", "a list".
std::string shown(const Value &value);

} // namespace stagewright::json

#endif
