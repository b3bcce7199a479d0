// Twin of attention: every score, every probability, every output element in turn.
#include "kernels/element.hpp"
#include "kernels/reference_ops.hpp"
#include "kernels/require.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace eps::kernels::reference {
namespace {

/// q . key of (row, head) with the key of row `key_row`: nope part from kv, rope part from the shared key.
float dot(const Rows& q, const Rows& kv, const Rows& k_rope, const AttentionArgs& args, std::int64_t head,
          std::int64_t row, std::int64_t key_row) {
    const std::int64_t q_col = head * (args.nope_dim + args.rope_dim);
    const std::int64_t key_col = head * (args.nope_dim + args.v_dim);
    float sum = 0;
    for (std::int64_t i = 0; i < args.nope_dim; ++i)
        sum += get(q, row, q_col + i) * get(kv, key_row, key_col + i);
    for (std::int64_t i = 0; i < args.rope_dim; ++i) {
        sum += get(q, row, q_col + args.nope_dim + i) * get(k_rope, key_row, i);
    }
    return sum;
}

/// exp(s - max) / sum, rounded to `dtype`.
void softmax(std::vector<float>& scores, DType dtype) {
    const float largest = *std::max_element(scores.begin(), scores.end());
    float sum = 0;
    for (float& s : scores) {
        s = std::exp(s - largest);
        sum += s;
    }
    for (float& s : scores) s = rounded_to(dtype, s / sum);
}

}  // namespace

void attention(Rows q, Rows kv, Rows k_rope, std::span<const std::int64_t> starts, const AttentionArgs& args,
               Rows out, int) {
    require(q.num_cols == args.num_heads * (args.nope_dim + args.rope_dim) &&
                kv.num_cols == args.num_heads * (args.nope_dim + args.v_dim),
            "attention", "q [T, heads*(nope+rope)], kv [T, heads*(nope+v)]", q, kv);
    require(k_rope.num_cols == args.rope_dim && out.num_cols == args.num_heads * args.v_dim, "attention",
            "k_rope [T, rope], out [T, heads*v]", k_rope, out);
    for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
        for (std::int64_t head = 0; head < args.num_heads; ++head) {
            for (std::int64_t row = starts[s]; row < starts[s + 1]; ++row) {
                std::vector<float> scores;
                for (std::int64_t key = starts[s]; key <= row; ++key) {
                    scores.push_back(dot(q, kv, k_rope, args, head, row, key) *
                                     static_cast<float>(args.scale));
                }
                softmax(scores, out.dtype);
                for (std::int64_t col = 0; col < args.v_dim; ++col) {
                    const std::int64_t v_col = head * (args.nope_dim + args.v_dim) + args.nope_dim + col;
                    float sum = 0;
                    for (std::size_t j = 0; j < scores.size(); ++j) {
                        sum += scores[j] * get(kv, starts[s] + static_cast<std::int64_t>(j), v_col);
                    }
                    set(out, row, head * args.v_dim + col, sum);
                }
            }
        }
    }
}

}  // namespace eps::kernels::reference
