#include "kernels/cuda/plugin/CudnnFunctions.h"

#include "kernels/cuda/plugin/Library.h"

#include <cudnn.h>

#define STAGEWRIGHT_FUNCTIONS(one)                                                                           \
  one(cudnnGetCudartVersion) one(cudnnCreate) one(cudnnDestroy) one(cudnnSetStream) one(cudnnGetStream)      \
      one(cudnnGetVersion) one(cudnnGetErrorString) one(cudnnGetLastErrorString)                             \
          one(cudnnBackendCreateDescriptor) one(cudnnBackendDestroyDescriptor) one(cudnnBackendFinalize)     \
              one(cudnnBackendSetAttribute) one(cudnnBackendGetAttribute) one(cudnnBackendExecute)

namespace {

struct Functions {
#define STAGEWRIGHT_MEMBER(name) decltype(&::name) name = nullptr;
  STAGEWRIGHT_FUNCTIONS(STAGEWRIGHT_MEMBER)
#undef STAGEWRIGHT_MEMBER
};
Functions cudnn;

stagewright::Result<void> load() {
  auto library = stagewright::cuda::Library::open("libcudnn.so.9", "cuDNN 9 for CUDA 13");
  if (!library) {
    return library.takeError();
  }
#define STAGEWRIGHT_LOAD(name)                                                                               \
  if (auto ok = library->load(#name, cudnn.name); !ok) {                                                     \
    return ok;                                                                                               \
  }
  STAGEWRIGHT_FUNCTIONS(STAGEWRIGHT_LOAD)
#undef STAGEWRIGHT_LOAD
  // Those for CUDA 12 and 13 have one name.
  if (const std::size_t version = cudnn.cudnnGetCudartVersion(); version < 13000) {
    return stagewright::environmentError(
        "libcudnn.so.9", "is for CUDA " + std::to_string(version / 1000),
        "install cuDNN 9 for CUDA 13, or put its folder first in LD_LIBRARY_PATH");
  }
  return {};
}

} // namespace

stagewright::Result<void> stagewright::cuda::loadCudnn() {
  static const Result<void> loaded = load();
  return loaded;
}

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
  return cudnn.cudnnCreate(handle);
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  return cudnn.cudnnDestroy(handle);
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  return cudnn.cudnnSetStream(handle, stream);
}
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *stream) {
  return cudnn.cudnnGetStream(handle, stream);
}
size_t cudnnGetVersion() {
  return cudnn.cudnnGetVersion();
}
const char *cudnnGetErrorString(cudnnStatus_t status) {
  return cudnn.cudnnGetErrorString(status);
}
void cudnnGetLastErrorString(char *message, size_t size) {
  cudnn.cudnnGetLastErrorString(message, size);
}
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *descriptor) {
  return cudnn.cudnnBackendCreateDescriptor(type, descriptor);
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  return cudnn.cudnnBackendDestroyDescriptor(descriptor);
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  return cudnn.cudnnBackendFinalize(descriptor);
}
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *elements) {
  return cudnn.cudnnBackendSetAttribute(descriptor, name, type, count, elements);
}
cudnnStatus_t cudnnBackendGetAttribute(const cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                       int64_t room, int64_t *count, void *elements) {
  return cudnn.cudnnBackendGetAttribute(descriptor, name, type, room, count, elements);
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variantPack) {
  return cudnn.cudnnBackendExecute(handle, plan, variantPack);
}

} // extern "C"
