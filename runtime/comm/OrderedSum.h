// Sums of what ranks contribute, elementwise and in the order in which they are given: the same bits wherever
// a range is cut.
#ifndef STAGEWRIGHT_RUNTIME_COMM_ORDEREDSUM_H
#define STAGEWRIGHT_RUNTIME_COMM_ORDEREDSUM_H

#include "runtime/comm/Communicator.h"

#include <cstddef>
#include <cstring>
#include <span>

namespace stagewright::runtime {

inline constexpr std::size_t kLineBytes = 64;

/// sum[i] += term[i], of `count` elements that do not overlap.
template <typename T>
void addTo(T *__restrict sum, const T *__restrict term, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    sum[i] = sum[i] + term[i];
  }
}

/// sum[i] = (terms[0][i] + terms[1][i]) + ..., of `count` elements; `sum` may be one of the terms. The sums
/// also go to `copy`, past the caches, if it is not null; it begins with a cache line.
template <typename T>
void addInOrder(std::span<const T *const> terms, std::size_t count, T *sum, T *copy) {
  constexpr std::size_t step = kLineBytes / sizeof(T);
  using Line [[gnu::vector_size(kLineBytes)]] = T;
  std::size_t i = 0;
  for (; i + step <= count; i += step) {
    Line total, term;
    std::memcpy(&total, terms[0] + i, kLineBytes);
    for (const T *next : terms.subspan(1)) {
      std::memcpy(&term, next + i, kLineBytes);
      total = total + term;
    }
    std::memcpy(sum + i, &total, kLineBytes);
    if (copy) {
      __builtin_nontemporal_store(total, reinterpret_cast<Line *>(copy + i));
    }
  }
  for (; i < count; ++i) {
    T total = terms[0][i];
    for (const T *next : terms.subspan(1)) {
      total = total + next[i];
    }
    sum[i] = total;
    if (copy) {
      copy[i] = total;
    }
  }
}

/// The same of elements whose type is known when it runs.
inline void addInOrder(std::span<const std::byte *const> terms, std::size_t bytes, Element element,
                       std::byte *sum, std::byte *copy = nullptr) {
  const auto add = [&]<typename T>(T *) {
    const std::span typed(reinterpret_cast<const T *const *>(terms.data()), terms.size());
    addInOrder<T>(typed, bytes / sizeof(T), reinterpret_cast<T *>(sum), reinterpret_cast<T *>(copy));
  };
  element == Element::F32 ? add(static_cast<float *>(nullptr)) : add(static_cast<double *>(nullptr));
}

} // namespace stagewright::runtime

#endif
