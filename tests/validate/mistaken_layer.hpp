// A decoder layer as a fast pass would compute it: values rounded to the run's dtype after every op, and, for
// tests of the check, with one mistake of choice.
#pragma once

#include "validate/arithmetic.hpp"
#include "validate/attention.hpp"
#include "validate/check.hpp"
#include "validate/reference.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

enum class Mistake {
    none,
    no_rope,
    half_layout,       // rotates halves instead of neighbours
    plain_rope,        // YaRN's frequencies are ignored
    scaled_rope,       // every frequency is divided by the factor
    no_mscale,         // the softmax factor is missing
    mscale_once,       // it is there once instead of squared
    no_cos_factor,     // the factor on cos and sin is missing
    nope_scale,        // the softmax scale counts the nope part only
    not_causal,        // tokens see later ones
    one_sequence,      // tokens see the sequence before
    no_group_limit,    // experts are taken from all groups
    group_sum_of_two,  // groups are chosen by the sum of their two best experts
    norm_ignored,      // norm_topk_prob does nothing
    no_factor,         // routed_scaling_factor does nothing
    no_shared,         // shared experts are missing
    no_residual,       // of the MLP half
    lost_expert,       // the last slot's expert is not added
};

class MistakenLayer {
  public:
    MistakenLayer(const eps::model::ModelSpec& spec, const eps::checkpoint::WeightSource& source,
                  eps::DType dtype, Mistake mistake)
        : spec_(spec), weights_(source, dtype), dtype_(dtype), mistake_(mistake) {}

    eps::validate::LayerCapture run(std::int64_t layer, const std::vector<std::int64_t>& starts,
                                    std::vector<float> x) const {
        using namespace eps::validate;
        x = rounded(x);
        const std::vector<float> middle = rounded(sum(x, attention(layer, starts, x)));
        eps::model::ModelSpec spec = spec_;
        if (mistake_ == Mistake::no_group_limit) spec.group_limited = false;
        if (mistake_ == Mistake::norm_ignored) spec.norm_topk_prob = false;
        if (mistake_ == Mistake::no_factor) spec.routed_scaling_factor = 1;
        const std::vector<float> normed = norm(layer_tensor(layer, "post_attention_layernorm.weight"), middle,
                                               spec_.hidden_size, spec_.rms_norm_eps);
        LayerCapture out;
        std::vector<float> update;
        if (!spec_.is_moe(layer)) {
            update = mlp(layer_tensor(layer, "mlp."), normed, spec_.intermediate_size);
        } else {
            auto logits = weights_.project(layer_tensor(layer, "mlp.gate.weight"), spec_.n_routed_experts,
                                           normed, spec_.hidden_size);
            GateResult gate = decide(spec, logits);
            if (mistake_ == Mistake::group_sum_of_two) {
                const std::vector<std::int32_t> ids = ids_by_sum_of_two(gate);
                gate = decide(spec, logits, ForcedIds(ids));
            }
            update = routed(layer, normed, gate);
            if (spec_.n_shared_experts > 0 && mistake_ != Mistake::no_shared)
                update = sum(update, mlp(layer_tensor(layer, "mlp.shared_experts."), normed,
                                         spec_.n_shared_experts * spec_.moe_intermediate_size));
            out.ids = gate.ids;
            out.weights = gate.weights;
        }
        out.hidden = rounded(mistake_ == Mistake::no_residual ? update : sum(middle, update));
        return out;
    }

  private:
    using Values = std::vector<float>;

    Values rounded(Values x) const {
        for (float& v : x) v = eps::rounded_to(dtype_, v);
        return x;
    }

    Values norm(const std::string& name, const Values& x, std::int64_t size, double eps) const {
        const Values scaled = eps::validate::rms_norm(x, Values(static_cast<std::size_t>(size), 1.0F), eps);
        const Values weight = weights_.vector(name, size);
        Values out = rounded(scaled);
        for (std::size_t i = 0; i < out.size(); ++i) out[i] *= weight[i % weight.size()];
        return rounded(out);
    }

    Values linear(const std::string& name, std::int64_t num_out, const Values& x, std::int64_t num_in) const {
        return rounded(weights_.project(name, num_out, x, num_in));
    }

    Values mlp(const std::string& name, const Values& x, std::int64_t width) const {
        const Values gate = linear(name + "gate_proj.weight", width, x, spec_.hidden_size);
        const Values up = linear(name + "up_proj.weight", width, x, spec_.hidden_size);
        return linear(name + "down_proj.weight", spec_.hidden_size, rounded(eps::validate::swiglu(gate, up)),
                      width);
    }

    Values routed(std::int64_t layer, const Values& x, const eps::validate::GateResult& gate) const {
        const auto hidden = static_cast<std::size_t>(spec_.hidden_size);
        const auto top_k = static_cast<std::size_t>(spec_.num_experts_per_tok);
        Values out(x.size());
        for (std::size_t slot = 0; slot < gate.ids.size(); ++slot) {
            if (mistake_ == Mistake::lost_expert && slot % top_k == top_k - 1) continue;
            const std::size_t t = slot / top_k;
            const Values row(x.begin() + static_cast<std::ptrdiff_t>(t * hidden),
                             x.begin() + static_cast<std::ptrdiff_t>((t + 1) * hidden));
            const std::string expert =
                eps::validate::layer_tensor(layer, "mlp.experts." + std::to_string(gate.ids[slot]) + ".");
            const Values y = mlp(expert, row, spec_.moe_intermediate_size);
            for (std::size_t j = 0; j < hidden; ++j) out[t * hidden + j] += gate.weights[slot] * y[j];
        }
        return rounded(out);  // the wire's dtype
    }

    std::vector<std::int32_t> ids_by_sum_of_two(const eps::validate::GateResult& gate) const {
        const std::int64_t size = spec_.n_routed_experts / spec_.n_group;
        std::vector<std::int32_t> ids;
        for (auto row = gate.scores.begin(); row != gate.scores.end(); row += spec_.n_routed_experts) {
            std::vector<std::pair<float, std::int64_t>> groups;
            for (std::int64_t g = 0; g < spec_.n_group; ++g) {
                Values members(row + g * size, row + (g + 1) * size);
                std::sort(members.rbegin(), members.rend());
                groups.emplace_back(members.size() > 1 ? members[0] + members[1] : members[0], g);
            }
            std::sort(groups.rbegin(), groups.rend());
            std::vector<std::pair<float, std::int32_t>> open;
            for (std::int64_t g = 0; g < spec_.topk_group; ++g)
                for (std::int64_t e = groups[static_cast<std::size_t>(g)].second * size, n = 0; n < size;
                     ++e, ++n)
                    open.emplace_back(row[e], static_cast<std::int32_t>(e));
            std::sort(open.rbegin(), open.rend());
            for (std::int64_t k = 0; k < spec_.num_experts_per_tok; ++k)
                ids.push_back(open[static_cast<std::size_t>(k)].second);
        }
        return ids;
    }

    eps::validate::RotaryTable rotary() const {
        eps::model::ModelSpec plain = spec_;
        plain.yarn.reset();
        eps::validate::RotaryTable table = eps::validate::rotary_table(spec_);
        if (mistake_ == Mistake::no_cos_factor) table.factor = 1;
        if (mistake_ == Mistake::no_rope)
            std::fill(table.inverse_frequencies.begin(), table.inverse_frequencies.end(), 0);
        if (mistake_ == Mistake::plain_rope || mistake_ == Mistake::scaled_rope)
            table.inverse_frequencies = eps::validate::rotary_table(plain).inverse_frequencies;
        if (mistake_ == Mistake::scaled_rope && spec_.yarn)
            for (double& f : table.inverse_frequencies) f /= spec_.yarn->factor;
        return table;
    }

    double scale() const {
        const double plain =
            1 / std::sqrt(static_cast<double>(spec_.qk_nope_head_dim + spec_.qk_rope_head_dim));
        const double full = eps::validate::softmax_scale(spec_);
        if (mistake_ == Mistake::no_mscale) return plain;
        if (mistake_ == Mistake::mscale_once) return std::sqrt(full * plain);
        if (mistake_ == Mistake::nope_scale)
            return full / plain / std::sqrt(static_cast<double>(spec_.qk_nope_head_dim));
        return full;
    }

    void rotate(float* values, std::int64_t position, const eps::validate::RotaryTable& table) const {
        const auto n = static_cast<std::size_t>(spec_.qk_rope_head_dim);
        Values pairs(values, values + n);
        if (mistake_ == Mistake::half_layout)
            for (std::size_t i = 0; i < n / 2; ++i) {
                pairs[2 * i] = values[i];
                pairs[2 * i + 1] = values[i + n / 2];
            }
        eps::validate::rotate(pairs, position, table);
        std::copy(pairs.begin(), pairs.end(),
                  values);  // an order of its own, but the same in queries and keys
    }

    Values attention(std::int64_t layer, const std::vector<std::int64_t>& starts, const Values& x) const {
        const auto name = [&](const std::string& tensor) {
            return eps::validate::layer_tensor(layer, "self_attn." + tensor + ".weight");
        };
        const std::int64_t nh = spec_.num_attention_heads, dn = spec_.qk_nope_head_dim,
                           dr = spec_.qk_rope_head_dim, dv = spec_.v_head_dim, rank = spec_.kv_lora_rank,
                           hidden = spec_.hidden_size;
        const Values normed =
            norm(eps::validate::layer_tensor(layer, "input_layernorm.weight"), x, hidden, spec_.rms_norm_eps);
        Values q;
        if (spec_.q_lora_rank == 0) {
            q = linear(name("q_proj"), nh * (dn + dr), normed, hidden);
        } else {
            const Values low = linear(name("q_a_proj"), spec_.q_lora_rank, normed, hidden);
            q = linear(name("q_b_proj"), nh * (dn + dr),
                       norm(name("q_a_layernorm"), low, spec_.q_lora_rank, 1e-6), spec_.q_lora_rank);
        }
        const Values both = linear(name("kv_a_proj_with_mqa"), rank + dr, normed, hidden);
        Values latent, rope_key;
        for (auto row = both.begin(); row != both.end(); row += rank + dr) {
            latent.insert(latent.end(), row, row + rank);
            rope_key.insert(rope_key.end(), row + rank, row + rank + dr);
        }
        const Values kv =
            linear(name("kv_b_proj"), nh * (dn + dv), norm(name("kv_a_layernorm"), latent, rank, 1e-6), rank);

        const auto table = rotary();
        const std::vector<std::int64_t> positions = eps::validate::positions_of(starts);
        const auto num_tokens = static_cast<std::int64_t>(positions.size());
        for (std::int64_t t = 0; t < num_tokens; ++t) {
            const std::int64_t position = positions[static_cast<std::size_t>(t)];
            for (std::int64_t h = 0; h < nh; ++h)
                rotate(q.data() + (t * nh + h) * (dn + dr) + dn, position, table);
            rotate(rope_key.data() + t * dr, position, table);
        }
        q = rounded(q);
        rope_key = rounded(rope_key);

        Values attended(static_cast<std::size_t>(num_tokens * nh * dv));
        for (std::size_t s = 0; s + 1 < starts.size(); ++s)
            for (std::int64_t t = starts[s]; t < starts[s + 1]; ++t)
                for (std::int64_t h = 0; h < nh; ++h) {
                    const std::int64_t first = mistake_ == Mistake::one_sequence ? 0 : starts[s];
                    const std::int64_t end = mistake_ == Mistake::not_causal ? starts[s + 1] : t + 1;
                    std::vector<double> p;
                    for (std::int64_t u = first; u < end; ++u) {
                        const float* query = q.data() + (t * nh + h) * (dn + dr);
                        p.push_back(scale() *
                                    (eps::validate::dot(query, kv.data() + (u * nh + h) * (dn + dv), dn) +
                                     eps::validate::dot(query + dn, rope_key.data() + u * dr, dr)));
                    }
                    eps::validate::softmax(p);
                    for (std::int64_t j = 0; j < dv; ++j) {
                        double total = 0;
                        for (std::int64_t u = first; u < end; ++u)
                            total += eps::rounded_to(
                                         dtype_, static_cast<float>(p[static_cast<std::size_t>(u - first)])) *
                                     kv[static_cast<std::size_t>((u * nh + h) * (dn + dv) + dn + j)];
                        attended[static_cast<std::size_t>((t * nh + h) * dv + j)] = static_cast<float>(total);
                    }
                }
        return linear(name("o_proj"), hidden, rounded(attended), nh * dv);
    }

    eps::model::ModelSpec spec_;
    eps::validate::Weights weights_;
    eps::DType dtype_;
    Mistake mistake_;
};
