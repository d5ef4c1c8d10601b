#include "schema/Checksum.h"

#include "schema/stage_generated.h"

#include <cstring>
#include <memory>
#include <openssl/evp.h>

namespace stagewright::executable {

/// Byte position of the field `checksum`.
static std::size_t checksumOffset(std::span<const std::uint8_t> file) {
  const auto *field = reinterpret_cast<const std::uint8_t *>(GetExecutable(file.data())->checksum());
  return static_cast<std::size_t>(field - file.data());
}

Result<Digest> checksum(std::span<const std::uint8_t> file) {
  const std::size_t at = checksumOffset(file);
  const Digest zeros{};
  Digest digest{};
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (!context || !EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) ||
      !EVP_DigestUpdate(context.get(), file.data(), at) ||
      !EVP_DigestUpdate(context.get(), zeros.data(), zeros.size()) ||
      !EVP_DigestUpdate(context.get(), file.data() + at + zeros.size(), file.size() - at - zeros.size()) ||
      !EVP_DigestFinal_ex(context.get(), digest.data(), nullptr)) {
    return environmentError("", "libcrypto cannot compute SHA-256", "check the OpenSSL installation");
  }
  return digest;
}

Result<void> sealExecutable(std::span<std::uint8_t> file) {
  auto digest = checksum(file);
  if (!digest) {
    return digest.takeError();
  }
  std::memcpy(file.data() + checksumOffset(file), digest->data(), digest->size());
  return {};
}

} // namespace stagewright::executable
