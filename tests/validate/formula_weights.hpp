// Weights that are a formula of (tensor name, row, column), the same as in odd_configs.py.
#pragma once

#include "base/random.hpp"
#include "checkpoint/weight_source.hpp"

#include <string>
#include <string_view>

class FormulaWeights : public eps::checkpoint::WeightSource {
  public:
    static float value(const std::string& name, std::int64_t row, std::int64_t column) {
        const auto index = static_cast<std::uint64_t>(row * 4096 + column);
        const auto bits = eps::mix_bits(eps::stream_key(7, name) ^ index) >> 44;
        const float unit = static_cast<float>(bits) / 524288.0F - 1;
        return name.ends_with("norm.weight") ? 1 + unit / 2 : unit / 2;
    }

    void read(const std::string& name, eps::Range rows, eps::Range columns, eps::Rows out) const override {
        for (std::int64_t r = 0; r < rows.size(); ++r)
            for (std::int64_t c = 0; c < columns.size(); ++c)
                out.row<float>(r)[c] = value(name, rows.begin + r, columns.begin + c);
    }
};
