// Family optimizer: the gradient norm, clipping and the update rules.
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

namespace stagewright::catalogue {

/// sgd: momentum needs its buffer.
Result<void> checkMomentum(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  if (floatAttribute(*find("sgd", 1), attributes, "momentum") != 0.0 && shapes.size() < 6)
    return userError("kernel sgd", "momentum is not 0 and there is no momentum_buffer");
  return {};
}

/// lamb: the squares of two norms for each granule; on CUDA their ratio as well.
std::size_t lambNorms(std::span<const Shape> shapes, std::string_view target) {
  return 2 * granuleResults(shapes, "host") + (target == "host" ? 0 : sizeof(double));
}

std::vector<Kernel> optimizerKernels() {
  return {
      entry<"gradient_norm_partials", "grad f32[X...] R, partials f64[granules(X)] W">(),
      // norm = sqrt(sum of partials) / loss_scale; coefficient = min(1, max_norm / (norm + 1e-6)) /
      // loss_scale, without the minimum where max_norm is 0. skip 1: not a number where norm is not finite.
      entry<"clip_coefficient",
            "partials f64[G] R, coefficient f32[1] W, norm f64[1] W, loss_scale f32[1] R?">(
          {{"max_norm", 1.0}, {"skip", std::int64_t(0)}}),
      // grad is multiplied by coefficient first, and zero afterwards. A coefficient that is not a number
      // skips the step: parameters and state stay as they are.
      entry<"sgd", "param f32[X...] RW, grad f32[X...] RW, learning_rate f64[1] R, coefficient f32[1] R, "
                   "step i32[1] R, "
                   "momentum_buffer f32[X...] RW?">(
          {{"momentum", 0.0}, {"dampening", 0.0}, {"nesterov", std::int64_t(0)}, {"weight_decay", 0.0}}, {},
          nullptr, checkMomentum),
      // first_beta, of a schedule that cycles the momentum, takes the place of beta1.
      entry<"adam", "param f32[X...] RW, grad f32[X...] RW, learning_rate f64[1] R, coefficient f32[1] R, "
                    "bias_corrections f64[2] R, exp_avg f32[X...] RW, exp_avg_sq f32[X...] RW, "
                    "first_beta f64[1] R?">({{"beta1", 0.9},
                                             {"beta2", 0.999},
                                             {"epsilon", 1e-8},
                                             {"weight_decay", 0.0},
                                             {"decoupled", std::int64_t(1)}}),
      entry<"lion", "param f32[X...] RW, grad f32[X...] RW, learning_rate f64[1] R, coefficient f32[1] R, "
                    "exp_avg f32[X...] RW, first_beta f64[1] R?">(
          {{"beta1", 0.9}, {"beta2", 0.99}, {"weight_decay", 0.0}}),
      entry<"adagrad", "param f32[X...] RW, grad f32[X...] RW, learning_rate f64[1] R, coefficient f32[1] R, "
                       "step i32[1] R, sum f32[X...] RW">(
          {{"lr_decay", 0.0}, {"epsilon", 1e-10}, {"weight_decay", 0.0}}),
      entry<"lamb", "param f32[X...] RW, grad f32[X...] RW, learning_rate f64[1] R, coefficient f32[1] R, "
                    "bias_corrections f64[2] R, exp_avg f32[X...] RW, exp_avg_sq f32[X...] RW, "
                    "first_beta f64[1] R?">({{"beta1", 0.9},
                                             {"beta2", 0.999},
                                             {"epsilon", 1e-8},
                                             {"weight_decay", 0.0},
                                             {"max_coeff", 10.0},
                                             {"min_coeff", 0.01}},
                                            {}, lambNorms),
  };
}

} // namespace stagewright::catalogue
