#include "runtime/exec/CudaStaging.h"

#include <cstring>

namespace stagewright::runtime {

std::size_t CudaStaging::add(std::size_t added) {
  const std::size_t place = bytes;
  bytes += catalogue::aligned(added);
  return place;
}

void CudaStaging::addScalars(const executable::RankPlan &plan) {
  for (const executable::Scalar *scalar : *plan.scalars()) {
    const std::size_t size =
        scalar->count() * catalogue::byteSize(static_cast<catalogue::DType>(scalar->dtype()));
    bool isShared = false;
    for (const executable::Collective *collective : {plan.train_collective(), plan.evaluate_collective()}) {
      for (const executable::Segment *segment : *collective->segments()) {
        isShared = isShared || (scalar->arena() == collective->arena() &&
                                scalar->offset() < segment->offset() + segment->bytes() &&
                                segment->offset() < scalar->offset() + size);
      }
    }
    scalars.push_back({scalar->arena(), scalar->offset(), size, add(size), isShared});
  }
}

void CudaStaging::addOutput(const executable::OutputBinding &output, int microBatch) {
  outputs.push_back({&output, microBatch, add(bytesOf(*output.value()))});
}

Result<void> CudaStaging::send(const ArenaBases &onHost, const ArenaBases &onDevice, cuda::Stream stream) {
  Result<void> ok;
  for (const Scalar &scalar : scalars) {
    if (ok && !scalar.isShared) {
      std::memcpy(at(scalar.place), onHost[scalar.arena] + scalar.offset, scalar.bytes);
      ok = api.copy(onDevice[scalar.arena] + scalar.offset, at(scalar.place), scalar.bytes, stream);
    }
  }
  return ok;
}

Result<void> CudaStaging::fetch(const ArenaBases &onDevice, cuda::Stream stream) {
  Result<void> ok;
  for (const Scalar &scalar : scalars) {
    ok = ok ? api.copy(at(scalar.place), onDevice[scalar.arena] + scalar.offset, scalar.bytes, stream)
            : std::move(ok);
  }
  return ok;
}

void CudaStaging::take(const ArenaBases &onHost) const {
  for (const Scalar &scalar : scalars) {
    std::memcpy(onHost[scalar.arena] + scalar.offset, at(scalar.place), scalar.bytes);
  }
}

Result<void> CudaStaging::fetchOutputs(const schedule::Task &task, const ArenaBases &onDevice,
                                       cuda::Stream stream) {
  Result<void> ok;
  for (; ok && next < outputs.size(); ++next) {
    const Output &output = outputs[next];
    if (output.binding->stage() != task.stage || output.microBatch != task.microBatch) {
      break;
    }
    const executable::Operand &value = *output.binding->value();
    ok = api.copy(at(output.place), onDevice[value.arena()] + value.offset(), bytesOf(value), stream);
  }
  return ok;
}

Result<void> CudaStaging::handOut(OutputSink &sink) const {
  Result<void> ok;
  for (const Output &output : outputs) {
    ok = ok ? sink.take(output.microBatch, *output.binding->value(), at(output.place)) : std::move(ok);
  }
  return ok;
}

} // namespace stagewright::runtime
