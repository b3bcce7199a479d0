#include "validate/spot.hpp"

#include "base/error.hpp"
#include "validate/arithmetic.hpp"
#include "validate/attention.hpp"

#include <algorithm>
#include <numeric>

namespace eps::validate {
namespace {

// The last row of one prefix, and what it attends to.
struct LastRow {
    std::span<const float> query;  // [nh*(dn+dr)]
    Latents keys;                  // of the whole prefix
};

// One head of one row, in the latent space: scores are (W_k^T q_nope) . latent + q_rope . rope_key, and the
// values' sum is W_v applied to the weighted sum of latents. `w` [dn+dv, rank]: the head's rows of kv_b_proj.
void attend_head(const model::ModelSpec& spec, double scale, const LastRow& row, std::int64_t head,
                 std::span<const float> w, float* out) {
    const std::int64_t dn = spec.qk_nope_head_dim, dr = spec.qk_rope_head_dim, rank = spec.kv_lora_rank;
    const float* query = row.query.data() + head * (dn + dr);
    std::vector<double> latent_query(static_cast<std::size_t>(rank));
    for (std::int64_t i = 0; i < dn; ++i)
        for (std::int64_t r = 0; r < rank; ++r)
            latent_query[static_cast<std::size_t>(r)] +=
                static_cast<double>(query[i]) * w[static_cast<std::size_t>(i * rank + r)];

    std::vector<double> p(row.keys.rope_key.size() / static_cast<std::size_t>(dr));
    for (std::size_t s = 0; s < p.size(); ++s) {
        const float* latent = row.keys.latent.data() + static_cast<std::int64_t>(s) * rank;
        const float* rope_key = row.keys.rope_key.data() + static_cast<std::int64_t>(s) * dr;
        p[s] = std::inner_product(latent_query.begin(), latent_query.end(), latent,
                                  dot(query + dn, rope_key, dr)) *
               scale;
    }
    softmax(p);
    std::vector<double> mixed(static_cast<std::size_t>(rank));
    for (std::size_t s = 0; s < p.size(); ++s)
        for (std::int64_t r = 0; r < rank; ++r)
            mixed[static_cast<std::size_t>(r)] +=
                p[s] * row.keys.latent[s * static_cast<std::size_t>(rank) + static_cast<std::size_t>(r)];
    for (std::int64_t j = 0; j < spec.v_head_dim; ++j)
        out[j] = static_cast<float>(
            std::inner_product(mixed.begin(), mixed.end(), w.data() + (dn + j) * rank, 0.0));
}

std::vector<std::int64_t> layers_in_order_of_interest(const model::ModelSpec& spec, Scope scope) {
    const std::vector<std::int64_t> all = layers_of(spec, scope);
    std::vector<std::int64_t> layers;
    const auto add = [&](std::int64_t layer) {
        if (layer >= 0 && std::find(layers.begin(), layers.end(), layer) == layers.end())
            layers.push_back(layer);
    };
    add(spec.first_moe_layer());
    if (!all.empty()) add(all.back());
    for (const std::int64_t layer : all) add(layer);
    return layers;
}

// The last position of `sample`'s sequence, of `length` tokens, whose spot check takes at most `max_flops`;
// not before the sample's own.
std::int64_t far_position(const model::ModelSpec& spec, Scope scope, SpotSample sample, std::int64_t length,
                          double max_flops) {
    const double first = spot_flops(spec, scope, sample);
    ++sample.position;
    const double a_row = spot_flops(spec, scope, sample) - first;
    const auto more = static_cast<double>(length - sample.position);
    const double affordable = a_row > 0 ? std::clamp((max_flops - first) / a_row, 0.0, more) : more;
    return sample.position - 1 + static_cast<std::int64_t>(affordable);
}

}  // namespace

double spot_flops(const model::ModelSpec& spec, Scope scope, const SpotSample& sample) {
    const auto f = [](std::int64_t v) { return static_cast<double>(v); };
    const double hidden = f(spec.hidden_size);
    double mlp = 6 * hidden * f(spec.intermediate_size);
    if (spec.is_moe(sample.layer)) {
        const std::int64_t experts = spec.num_experts_per_tok + spec.n_shared_experts;
        mlp = 2 * hidden * f(spec.n_routed_experts) + 6 * hidden * f(experts * spec.moe_intermediate_size);
    }
    if (scope == Scope::moe) return mlp;

    const double heads = f(spec.num_attention_heads), rank = f(spec.kv_lora_rank),
                 dr = f(spec.qk_rope_head_dim), dn = f(spec.qk_nope_head_dim), dv = f(spec.v_head_dim),
                 q_rank = f(spec.q_lora_rank);
    const double query =
        2 * heads * (dn + dr) * (q_rank > 0 ? q_rank : hidden) + 2 * q_rank * hidden + 2 * heads * dn * rank;
    const double per_row = 2 * hidden * (rank + dr) + 2 * heads * (2 * rank + dr);
    const double output = 2 * heads * dv * (rank + hidden);
    return mlp + query + output + per_row * f(sample.position + 1);
}

std::vector<SpotSample> choose_spot_samples(const model::ModelSpec& spec, Scope scope,
                                            std::span<const std::int64_t> starts, double max_flops,
                                            std::int64_t max_samples) {
    constexpr std::int64_t kNearStart = 3;
    const std::vector<std::int64_t> layers = layers_in_order_of_interest(spec, scope);
    const auto num_sequences = static_cast<std::int64_t>(starts.size()) - 1;
    std::vector<SpotSample> samples;
    double flops = 0;
    // A step round the sequences that meets all of them, about 0.6 of the way each time.
    std::int64_t stride = std::max<std::int64_t>(num_sequences * 3 / 5, 1);
    while (std::gcd(stride, num_sequences) != 1) --stride;
    // Two rounds over all (layer, sequence) pairs, layers fastest; near_start swaps in the second.
    const std::int64_t num_pairs = static_cast<std::int64_t>(layers.size()) * num_sequences;
    for (std::int64_t i = 0; i < 2 * num_pairs && static_cast<std::int64_t>(samples.size()) < max_samples;
         ++i) {
        const std::int64_t round = i / num_pairs, pair = i % num_pairs;
        const std::int64_t step = pair / static_cast<std::int64_t>(layers.size());
        const std::int64_t layer_place = pair % static_cast<std::int64_t>(layers.size());
        const std::int64_t sequence = (step + layer_place) * stride % num_sequences;
        const std::int64_t length =
            starts[static_cast<std::size_t>(sequence) + 1] - starts[static_cast<std::size_t>(sequence)];
        if (length == 0) continue;
        const bool near_start = (pair + round) % 2 == 0;
        SpotSample sample{layers[static_cast<std::size_t>(layer_place)], sequence,
                          std::min(kNearStart, length - 1)};
        if (!near_start) sample.position = far_position(spec, scope, sample, length, max_flops / 2);
        const double cost = spot_flops(spec, scope, sample);
        const bool known = std::find(samples.begin(), samples.end(), sample) != samples.end();
        if (known || (flops + cost > max_flops && !samples.empty())) continue;
        samples.push_back(sample);
        flops += cost;
    }
    std::stable_sort(samples.begin(), samples.end(),
                     [](const SpotSample& a, const SpotSample& b) { return a.layer < b.layer; });
    return samples;
}

std::vector<float> spot_attention(const Reference& reference, std::int64_t layer,
                                  std::span<const std::vector<float>> prefixes) {
    const model::ModelSpec& spec = reference.spec();
    const Weights& weights = reference.weights();
    const std::int64_t hidden = spec.hidden_size, rank = spec.kv_lora_rank;
    const std::int64_t head_rows = spec.qk_nope_head_dim + spec.v_head_dim;

    std::vector<LastRow> rows;
    std::vector<float> last_inputs;
    std::vector<std::int64_t> last_positions;
    for (const std::vector<float>& prefix : prefixes) {
        const std::int64_t length = static_cast<std::int64_t>(prefix.size()) / hidden;
        if (length == 0) throw Error(Exit::internal, "a spot check needs at least one row of its sequence");
        const std::vector<float> normed = attention_input(weights, spec, layer, prefix);
        const std::vector<std::int64_t> starts{0, length};
        rows.push_back({{}, latents(weights, spec, layer, normed, positions_of(starts), reference.rotary())});
        last_inputs.insert(last_inputs.end(), normed.end() - hidden, normed.end());
        last_positions.push_back(length - 1);
    }
    const std::vector<float> q =
        queries(weights, spec, layer, last_inputs, last_positions, reference.rotary());
    const std::size_t q_width = rows.empty() ? 0 : q.size() / rows.size();
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].query = std::span(q).subspan(i * q_width, q_width);

    const std::int64_t out_width = spec.num_attention_heads * spec.v_head_dim;
    std::vector<float> attended(rows.size() * static_cast<std::size_t>(out_width));
    for_parts(spec.num_attention_heads, weights.threads(), [&](Range heads) {
        for (std::int64_t h = heads.begin; h < heads.end; ++h) {
            const std::vector<float> w = weights.rows(layer_tensor(layer, "self_attn.kv_b_proj.weight"),
                                                      {h * head_rows, (h + 1) * head_rows}, rank);
            for (std::size_t i = 0; i < rows.size(); ++i)
                attend_head(spec, softmax_scale(spec), rows[i], h, w,
                            attended.data() + static_cast<std::int64_t>(i) * out_width + h * spec.v_head_dim);
        }
    });
    return attention_output(weights, spec, layer, attended);
}

LayerResult spot_layer(const Reference& reference, Scope scope, std::int64_t layer,
                       std::span<const std::vector<float>> prefixes, ForcedIds forced) {
    const std::int64_t hidden = reference.spec().hidden_size;
    std::vector<float> last_rows;
    for (const std::vector<float>& prefix : prefixes)
        last_rows.insert(last_rows.end(), prefix.end() - hidden, prefix.end());
    if (scope == Scope::moe) return reference.mlp_layer(layer, last_rows, forced);
    std::vector<float> attn_out = spot_attention(reference, layer, prefixes);
    LayerResult result = reference.mlp_layer(layer, sum(last_rows, attn_out), forced);
    result.attn_out = std::move(attn_out);
    return result;
}

const LayerResult& SpotResults::of(std::int64_t layer, const std::vector<std::vector<float>>& prefixes,
                                   const std::vector<std::int32_t>& forced) {
    Known& known = known_[layer];
    if (known.prefixes != prefixes || known.forced != forced) {
        known.result =
            spot_layer(reference_, scope_, layer, prefixes, forced.empty() ? ForcedIds() : ForcedIds(forced));
        known.prefixes = prefixes;
        known.forced = forced;
    }
    return known.result;
}

CheckResult check_spots(SpotResults& expected, const Tolerance& tolerance,
                        std::span<const SpotCapture> captures) {
    const Reference& reference = expected.reference();
    const std::int64_t hidden = reference.spec().hidden_size;
    std::vector<std::int64_t> layers;
    for (const SpotCapture& c : captures)
        if (std::find(layers.begin(), layers.end(), c.sample.layer) == layers.end())
            layers.push_back(c.sample.layer);

    std::vector<CheckResult> results;
    for (const std::int64_t layer : layers) {
        std::vector<std::vector<float>> prefixes;
        std::vector<float> input;
        std::vector<std::int32_t> forced;
        LayerCapture actual;
        for (const SpotCapture& c : captures) {
            if (c.sample.layer != layer) continue;
            prefixes.push_back(c.prefix);
            input.insert(input.end(), c.prefix.end() - hidden, c.prefix.end());
            forced.insert(forced.end(), c.forced.begin(), c.forced.end());
            actual.hidden.insert(actual.hidden.end(), c.actual.hidden.begin(), c.actual.hidden.end());
            actual.ids.insert(actual.ids.end(), c.actual.ids.begin(), c.actual.ids.end());
            actual.weights.insert(actual.weights.end(), c.actual.weights.begin(), c.actual.weights.end());
        }
        const Routing routing = forced.empty() ? Routing::gate : Routing::forced;
        results.push_back(check_layer(reference.spec(), tolerance, layer, input,
                                      expected.of(layer, prefixes, forced), actual, routing,
                                      Tokens::samples));
    }
    return combined("spot", results);
}

CheckResult spot_logits(const Reference& reference, const Tolerance& tolerance, std::span<const float> hidden,
                        std::span<const float> logits, std::int64_t count) {
    const model::ModelSpec& spec = reference.spec();
    const Weights& weights = reference.weights();
    if (static_cast<std::int64_t>(logits.size()) != spec.vocab_size)
        throw Error(Exit::internal, "a spot check of logits needs one row over the whole vocabulary");
    const std::vector<float> norm = weights.vector("model.norm.weight", spec.hidden_size);
    std::vector<std::int64_t> vocab_ids;
    std::vector<float> actual;
    for (std::int64_t i = 0; i < std::min(count, spec.vocab_size); ++i) {
        vocab_ids.push_back(part_of(spec.vocab_size, std::min(count, spec.vocab_size), i).begin);
        actual.push_back(logits[static_cast<std::size_t>(vocab_ids.back())]);
    }
    const std::vector<float> expected =
        reference.logits_at(rms_norm(hidden, norm, spec.rms_norm_eps), vocab_ids);
    return check_values(tolerance, "sampled logits", expected, actual);
}

}  // namespace eps::validate
