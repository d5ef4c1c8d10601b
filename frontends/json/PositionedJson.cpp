#include "frontends/json/PositionedJson.h"

#include <nlohmann/json.hpp>
#include <openssl/evp.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <unordered_map>

namespace stagewright::json {

namespace {

constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::string_view kPunctuation = "{}[],:";

bool isContinuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

/// Position of a byte that is reached by walking forwards from an earlier one.
class Walker {
public:
  explicit Walker(std::string_view text) : text(text) {}
  Position advance(std::size_t target) {
    for (; offset < target && offset < text.size(); ++offset) {
      if (text[offset] == '\n')
        position = {position.line + 1, 1};
      else if (!isContinuation(text[offset]))
        ++position.column;
    }
    return position;
  }

private:
  std::string_view text;
  std::size_t offset = 0;
  Position position;
};

Position locate(std::string_view text, std::size_t offset) {
  return Walker(text).advance(offset);
}

/// First byte that is not part of well-formed UTF-8 (RFC 3629), or npos.
std::size_t findInvalidUtf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    unsigned char lead = text[i];
    std::size_t length = lead < 0x80   ? 1
                         : lead < 0xC2 ? 0
                         : lead < 0xE0 ? 2
                         : lead < 0xF0 ? 3
                         : lead < 0xF5 ? 4
                                       : 0;
    if (length == 0 || i + length > text.size())
      return i;
    for (std::size_t k = 1; k < length; ++k)
      if (!isContinuation(text[i + k]))
        return i;
    unsigned char second = length > 1 ? text[i + 1] : 0;
    bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
    bool surrogateOrTooLarge = (lead == 0xED && second >= 0xA0) || (lead == 0xF4 && second >= 0x90);
    if (overlong || surrogateOrTooLarge)
      return i;
    i += length;
  }
  return std::string_view::npos;
}

/// Offset behind the string that begins at `start`, or the end of the text if it is not closed.
std::size_t skipString(std::string_view text, std::size_t start) {
  for (std::size_t i = start + 1; i < text.size(); ++i) {
    if (text[i] == '\\')
      ++i;
    else if (text[i] == '"')
      return i + 1;
  }
  return text.size();
}

/// Offset behind the token that begins at `start`.
std::size_t skipToken(std::string_view text, std::size_t start) {
  if (start >= text.size() || kPunctuation.find(text[start]) != std::string_view::npos)
    return std::min(start + 1, text.size());
  if (text[start] == '"')
    return skipString(text, start);
  return std::min(text.find_first_of(" \t\r\n{}[],:\"", start), text.size());
}

/// Overwrites comments and trailing commas with blanks, so that every other byte keeps its place.
/// Returns the offset of a comment that does not end, or npos.
std::size_t blankExtensions(std::string &text) {
  auto blank = [&](std::size_t begin, std::size_t end) {
    for (std::size_t k = begin; k < end; ++k)
      if (text[k] != '\n')
        text[k] = ' ';
  };
  std::size_t comma = std::string::npos; // a comma with only blanks behind it so far
  char previous = '{';                   // last byte that is neither blank nor comment
  for (std::size_t i = 0; i < text.size();) {
    std::string_view rest = std::string_view(text).substr(i, 2);
    if (rest == "//" || rest[0] == '#') {
      std::size_t end = std::min(text.find('\n', i), text.size());
      blank(i, end);
      i = end;
    } else if (rest == "/*") {
      std::size_t end = text.find("*/", i + 2);
      if (end == std::string::npos)
        return i;
      blank(i, end + 2);
      i = end + 2;
    } else if (kBlanks.find(text[i]) != std::string_view::npos) {
      ++i;
    } else {
      if ((text[i] == '}' || text[i] == ']') && comma != std::string::npos)
        text[comma] = ' ';
      bool behindValue = std::string_view("{[,:").find(previous) == std::string_view::npos;
      comma = text[i] == ',' && behindValue ? i : std::string::npos;
      previous = text[i];
      i = text[i] == '"' ? skipString(text, i) : i + 1;
    }
  }
  return std::string::npos;
}

/// SAX handler. nlohmann's lexer does not tell where a token begins, but each event belongs to exactly one
/// token, in order; so a cursor that skips blanks, ',' and ':' finds the token of each event.
class TreeBuilder {
public:
  /// `text` is `original` with comments and trailing commas blanked; positions count the original's
  /// characters.
  TreeBuilder(Document &document, std::string_view original, std::string_view text)
      : document(document), original(original), text(text), walker(original) {}

  bool null() { return add(); }
  bool boolean(bool value) {
    return add([&](Value &v) {
      v.kind = Value::Kind::Boolean;
      v.boolean = value;
    });
  }
  bool number_integer(std::int64_t value) {
    return add([&](Value &v) {
      v.kind = Value::Kind::Integer;
      v.integer = value;
      v.natural = value < 0 ? 0 : value;
      v.number = static_cast<double>(value);
    });
  }
  bool number_unsigned(std::uint64_t value) {
    return add([&](Value &v) {
      v.kind = Value::Kind::Integer;
      v.integer = static_cast<std::int64_t>(std::min<std::uint64_t>(value, INT64_MAX));
      v.natural = value;
      v.number = static_cast<double>(value);
    });
  }
  bool number_float(double value, const std::string &spelling) {
    if (!add([&](Value &v) {
          v.kind = Value::Kind::Number;
          v.number = value;
        }))
      return false;
    if (spelling.find_first_of(".eE") != std::string::npos)
      return true;
    return fail(last, "the whole number " + inQuotes(spelling) + " does not fit in 64 bits",
                "use a smaller one");
  }
  bool string(std::string &value) {
    return add([&](Value &v) {
      v.kind = Value::Kind::String;
      v.string = std::move(value);
    });
  }
  bool binary(nlohmann::json::binary_t &) { return false; } // JSON text has none
  bool start_object(std::size_t) { return open(Value::Kind::Object); }
  bool start_array(std::size_t) { return open(Value::Kind::Array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string &name) {
    nextToken();
    auto [earlier, isNew] = keys.back().try_emplace(name, last);
    if (!isNew)
      return fail(last,
                  "the key " + inQuotes(name) + " occurs twice in one object, first at " +
                      document.place(earlier->second),
                  "remove one of the two");
    parents.back()->members.push_back({std::move(name), last, {}});
    return true;
  }
  bool parse_error(std::size_t position, const std::string &, const nlohmann::json::exception &exception);

  std::optional<Error> error;

private:
  template <typename Fill>
  bool add(Fill fill) {
    nextToken();
    fill(place());
    return true;
  }
  bool add() {
    return add([](Value &) {});
  }
  void nextToken() {
    lastStart = std::min(text.find_first_not_of(" \t\r\n,:", cursor), text.size());
    cursor = skipToken(text, lastStart);
    last = walker.advance(lastStart);
  }
  /// The new value in its parent. Pointers in `parents` stay valid: an open container is its parent's last
  /// value.
  Value &place() {
    Value *value = &document.root;
    if (!parents.empty() && parents.back()->kind == Value::Kind::Object)
      value = &parents.back()->members.back().value;
    else if (!parents.empty())
      value = &parents.back()->items.emplace_back();
    value->position = last;
    return *value;
  }
  bool open(Value::Kind kind) {
    add([&](Value &v) {
      v.kind = kind;
      parents.push_back(&v);
      keys.emplace_back();
    });
    if (parents.size() > kMaximumDepth)
      return fail(last, "more than " + std::to_string(kMaximumDepth) + " objects and lists in each other",
                  "nest them less deeply");
    return true;
  }
  bool close() {
    nextToken();
    parents.pop_back();
    keys.pop_back();
    return true;
  }
  bool fail(Position position, std::string what, std::string advice = {}) {
    error = document.error(position, std::move(what), std::move(advice));
    return false;
  }

  Document &document;
  std::string_view original, text;
  Walker walker;
  std::size_t lastStart = 0, cursor = 0; ///< of the last event's token, and behind it
  Position last;
  std::vector<Value *> parents;
  std::vector<std::unordered_map<std::string, Position>> keys;
};

/// The part of a message between two markers, or empty.
std::string_view between(std::string_view message, std::string_view begin, std::string_view end) {
  std::size_t at = message.rfind(begin);
  if (at == std::string_view::npos)
    return {};
  message.remove_prefix(at + begin.size());
  return message.substr(0, message.rfind(end));
}

bool TreeBuilder::parse_error(std::size_t position, const std::string &,
                              const nlohmann::json::exception &exception) {
  std::string_view message = exception.what();
  // The parser has read `position` bytes. A token that is no JSON is the next one behind ',' and ':'; one
  // that stands in the wrong place holds the last byte read. "01" is two tokens to the parser, of which the
  // first was good.
  bool isLexical = message.find("; last read: '") != std::string_view::npos;
  std::size_t wrong = position == 0 ? 0 : position - 1, start = lastStart, end = cursor;
  while (end <= wrong && start < text.size()) {
    start = std::min(text.find_first_not_of(kBlanks, end), text.size());
    end = skipToken(text, start);
    if (isLexical && start < text.size() && kPunctuation.find(text[start]) == std::string_view::npos)
      break;
  }
  if (exception.id == 406) // out of range
    return fail(locate(original, start),
                "the number " + inQuotes(text.substr(start, end - start)) + " is too large",
                "use a smaller one");

  // "... syntax error while parsing CONTEXT - PROBLEM[; last read: '...'][; expected WANTED]"
  std::string wanted(between(message, "; expected ", ""));
  if (wanted.empty() || wrong < cursor)
    wanted = "'[', '{', or a literal";
  if (wanted == "string literal")
    wanted = "a key in double quotes";
  else if (wanted == "'}'" || wanted == "']'")
    wanted = "',' or " + wanted;
  else if (wanted == "'[', '{', or a literal")
    wanted = "a value";
  else if (wanted == "end of input")
    wanted = "the end of the file";
  std::string expected = ", expected " + wanted;

  if (start >= text.size()) {
    std::string inside = parents.empty()
                             ? ""
                             : std::string(" inside the ") +
                                   (parents.back()->kind == Value::Kind::Object ? "object" : "list") +
                                   " that begins at " + document.place(parents.back()->position);
    return fail(locate(original, text.size()), "the file ends too early" + inside + expected,
                "close every { and [ and check that the file is complete");
  }
  std::string_view problem = between(message, "invalid string: ", "; last read");
  if (problem.find("missing closing quote") != std::string_view::npos)
    return fail(locate(original, start), "this string is not closed", "end it with a double quote");
  if (!problem.empty())
    return fail(locate(original, wrong), "invalid string: " + std::string(problem),
                "escape it as JSON does, for example \\n and \\\\");
  bool isString = text[start] == '"'; // a closed one, as the parser knew it for a string
  std::string_view token =
      isString ? text.substr(start + 1, end - start - 2) : text.substr(start, end - start);
  return fail(locate(original, start), "unexpected " + inQuotes(token) + expected,
              isString ? "check the commas and colons"
                       : "check the commas and colons; strings and keys stand in double quotes");
}

std::string sha256(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr) != 1)
    return {};
  std::string hex;
  for (unsigned int i = 0; i < length; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

/// What no JSON text may begin with or contain.
std::optional<Error> checkBytes(const Document &document, std::string_view bytes) {
  if (bytes.size() > kMaximumBytes)
    return userError(document.file, "the file is larger than " + std::to_string(kMaximumBytes >> 20) + " MiB",
                     "check its name: it is read as a model or a configuration");
  if (bytes.starts_with("\xEF\xBB\xBF") || bytes.starts_with("\xFF\xFE") || bytes.starts_with("\xFE\xFF"))
    return document.error({}, "the file begins with a byte order mark", "save it as UTF-8 without one");
  if (bytes.find_first_not_of(kBlanks) == std::string_view::npos)
    return document.error({}, "the file is empty", "expected a JSON object");
  if (std::size_t nul = bytes.find('\0'); nul != std::string_view::npos)
    return document.error(locate(bytes, nul), "a NUL byte", "this is not a text file");
  if (std::size_t bad = findInvalidUtf8(bytes); bad != std::string_view::npos)
    return document.error(locate(bytes, bad), "a byte that is not valid UTF-8", "save the file as UTF-8");
  return {};
}

} // namespace

const Value *Value::find(std::string_view key) const {
  for (const Member &member : members)
    if (member.key == key)
      return &member.value;
  return nullptr;
}

static nlohmann::ordered_json toJson(const Value &value) {
  switch (value.kind) {
  case Value::Kind::Null:
    return nullptr;
  case Value::Kind::Boolean:
    return value.boolean;
  case Value::Kind::Integer:
    return value.integer < 0 ? nlohmann::ordered_json(value.integer) : nlohmann::ordered_json(value.natural);
  case Value::Kind::Number:
    return value.number;
  case Value::Kind::String:
    return value.string;
  case Value::Kind::Array: {
    auto out = nlohmann::ordered_json::array();
    for (const Value &item : value.items)
      out.push_back(toJson(item));
    return out;
  }
  case Value::Kind::Object: {
    auto out = nlohmann::ordered_json::object();
    for (const Member &member : value.members)
      out.push_back({member.key, toJson(member.value)});
    return out;
  }
  }
  return nullptr;
}

std::string Value::text() const {
  return toJson(*this).dump();
}

std::string Document::place(Position position) const {
  return file + ":" + std::to_string(position.line) + ":" + std::to_string(position.column);
}

std::string jsonText(std::string_view string) {
  return nlohmann::json(string).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string jsonText(double number) {
  return nlohmann::json(number).dump();
}

std::string inQuotes(std::string_view name) {
  constexpr std::size_t kShownBytes = 80;
  bool isCut = name.size() > kShownBytes;
  name = name.substr(0, kShownBytes);
  while (isCut && !name.empty() && isContinuation(name.back()))
    name.remove_suffix(1);
  return jsonText(isCut ? std::string(name) + "..." : std::string(name));
}

std::string shown(const Value &value) {
  switch (value.kind) {
  case Value::Kind::Array:
    return "a list";
  case Value::Kind::Object:
    return "an object";
  case Value::Kind::String:
    return inQuotes(value.string);
  default:
    return value.text();
  }
}

Result<Document> parseDocument(std::string file, std::string_view bytes) {
  Document document;
  document.file = std::move(file);
  if (std::optional<Error> error = checkBytes(document, bytes))
    return *std::move(error);
  document.sha256 = sha256(bytes);
  if (document.sha256.empty())
    return environmentError(document.file, "libcrypto computes no SHA-256");

  std::string text(bytes);
  if (std::size_t open = blankExtensions(text); open != std::string::npos)
    return document.error(locate(bytes, open), "this comment is not closed", "end it with */");
  TreeBuilder builder(document, bytes, text);
  try {
    if (!nlohmann::json::sax_parse(text, &builder))
      return builder.error ? *std::move(builder.error)
                           : bugError(document.file, "the JSON parser stopped without a reason");
  } catch (const std::exception &exception) {
    return bugError(document.file, std::string("the JSON parser failed: ") + exception.what());
  }
  return document;
}

Result<Document> readDocument(const std::string &path) {
  std::error_code code;
  if (std::filesystem::is_directory(path, code))
    return userError(path, "this is a directory, not a file", "name a JSON file");
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  std::string bytes;
  for (char chunk[1 << 16]; stream && bytes.size() <= kMaximumBytes;) {
    stream.read(chunk, sizeof(chunk));
    bytes.append(chunk, static_cast<std::size_t>(stream.gcount()));
  }
  if (!stream.is_open() || stream.bad())
    return userError(path, "the file cannot be read: " + std::generic_category().message(errno ? errno : EIO),
                     "check the name and the permissions");
  return parseDocument(path, bytes);
}

} // namespace stagewright::json
