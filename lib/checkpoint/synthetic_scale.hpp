// How large synthetic weights are, so that activations stay of order 1.
#pragma once

#include "model/catalog.hpp"
#include "model/spec.hpp"

namespace eps::checkpoint {

/// A weight is mean + deviation * n, n about normal with variance 1.
struct WeightScale {
    float mean = 0;
    float deviation = 1;
};

class SyntheticScales {
  public:
    explicit SyntheticScales(const model::ModelSpec& spec);
    WeightScale of(const model::Tensor& tensor) const;

  private:
    double branch_;  // what one attention or MLP adds to the hidden rows, relative to their size in the first
                     // layer
    double routed_;  // size of a sum of top-k outputs of size 1, weighted by the gate
};

}  // namespace eps::checkpoint
