// Errors as values. Every function that can fail for a reason outside the program returns Result<T>; nothing
// of ours throws across a library boundary, and user input never reaches an assert.
#ifndef STAGEWRIGHT_ERROR_ERROR_H
#define STAGEWRIGHT_ERROR_ERROR_H

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace stagewright {

/// Who has to act. The value is the exit code of the program.
enum class ErrorKind : int {
  User = 2,         ///< wrong input: a model, a config, a file or an option
  Environment = 3,  ///< this machine: no memory, no disk, no MPI, no GPU
  Rank = 4,         ///< a rank died or stopped moving
  Bug = 70,         ///< our own invariant does not hold
  Interrupted = 130 ///< Ctrl-C or SIGTERM
};

/// Of the errors of several ranks: true if `a` is nearer to the cause, as a wrong input is than what follows
/// from it in the other ranks.
inline bool explainsMore(ErrorKind a, ErrorKind b) {
  const auto weight = [](ErrorKind kind) {
    return kind == ErrorKind::Interrupted ? 0 : kind == ErrorKind::Rank ? 1 : 2;
  };
  return weight(a) > weight(b);
}

/// What is wrong, where, and what to do about it.
struct Error {
  ErrorKind kind = ErrorKind::Bug;
  std::string place;  ///< "file:line:column", "file at byte N", a JSON pointer, or an option; may be empty
  std::string what;   ///< one sentence without a full stop
  std::string advice; ///< one sentence that says what to do; may be empty

  /// "place: what; advice", the form in which the program prints it.
  std::string text() const {
    std::string out = place.empty() ? what : place + ": " + what;
    return advice.empty() ? out : out + "; " + advice;
  }
};

inline Error userError(std::string place, std::string what, std::string advice = {}) {
  return {ErrorKind::User, std::move(place), std::move(what), std::move(advice)};
}
inline Error environmentError(std::string place, std::string what, std::string advice = {}) {
  return {ErrorKind::Environment, std::move(place), std::move(what), std::move(advice)};
}
inline Error rankError(std::string place, std::string what, std::string advice = {}) {
  return {ErrorKind::Rank, std::move(place), std::move(what), std::move(advice)};
}
inline Error bugError(std::string place, std::string what) {
  return {ErrorKind::Bug, std::move(place), std::move(what),
          "please report this with the command that you ran"};
}

/// A value or an Error.
template <typename T>
class [[nodiscard]] Result {
public:
  Result(T value) : state(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state.index() == 0; }
  T &operator*() { return std::get<0>(state); }
  const T &operator*() const { return std::get<0>(state); }
  T *operator->() { return &std::get<0>(state); }
  const T *operator->() const { return &std::get<0>(state); }
  const Error &error() const { return std::get<1>(state); }
  Error takeError() { return std::move(std::get<1>(state)); }

private:
  std::variant<T, Error> state;
};

/// Success or an Error.
template <>
class [[nodiscard]] Result<void> {
public:
  Result() = default;
  Result(Error error) : failure(std::move(error)) {}

  explicit operator bool() const { return !failure.has_value(); }
  const Error &error() const { return *failure; }
  Error takeError() { return std::move(*failure); }

private:
  std::optional<Error> failure;
};

} // namespace stagewright

#endif
