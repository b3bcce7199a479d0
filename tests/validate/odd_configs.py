"""What unusual configs of the DeepSeek-V2 family compute, in float64 and plain Python: odd_configs.json is its output.

    python3 tests/validate/odd_configs.py > tests/validate/odd_configs.json

Written from the published formulas, apart from the C++ code that is tested against it. Weights are a formula of
(tensor name, row, column), the same as in formula_weights.hpp.
"""
import functools
import json
import math

MASK = (1 << 64) - 1
ROW_STRIDE = 4096


def mixed(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def unit(name, row, col):
    """In [-1, 1), 20 bits: exact in f32 after any of the scalings below."""
    key = functools.reduce(lambda h, c: mixed(h ^ c), name.encode(), mixed(7))
    return (mixed(key ^ (row * ROW_STRIDE + col)) >> 44) / 2**19 - 1


@functools.lru_cache(maxsize=None)
def matrix(name, rows, cols):
    return [[unit(name, r, c) / 2 for c in range(cols)] for r in range(rows)]


def vector(name, size):
    offset = 1 if name.endswith("norm.weight") else 0
    return [offset + unit(name, 0, c) / 2 for c in range(size)]


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b))


def apply(w, x):
    return [dot(row, x) for row in w]


def plus(a, b):
    return [x + y for x, y in zip(a, b)]


def rms(x, weight, eps):
    root = math.sqrt(dot(x, x) / len(x) + eps)
    return [w * v / root for w, v in zip(weight, x)]


def mlp(prefix, x, width):
    gate = apply(matrix(prefix + "gate_proj.weight", width, len(x)), x)
    up = apply(matrix(prefix + "up_proj.weight", width, len(x)), x)
    return apply(matrix(prefix + "down_proj.weight", len(x), width), [g / (1 + math.exp(-g)) * u for g, u in zip(gate, up)])


def yarn_magnitude(factor, mscale):
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def angles(c):
    """Inverse frequencies and the factor on cos and sin."""
    d, theta, scaling = c["qk_rope_head_dim"], c["rope_theta"], c["rope_scaling"]
    plain = [theta ** (-2 * i / d) for i in range(d // 2)]
    if scaling is None:
        return plain, 1.0
    factor, orig = scaling["factor"], scaling["original_max_position_embeddings"]

    def dim(turns):
        return d * math.log(orig / (2 * math.pi * turns)) / (2 * math.log(theta))

    low = max(math.floor(dim(scaling.get("beta_fast", 32))), 0)
    high = min(math.ceil(dim(scaling.get("beta_slow", 1))), d - 1)
    if low == high:
        high += 0.001
    ramp = [min(max((i - low) / (high - low), 0), 1) for i in range(d // 2)]
    inverse = [f / factor * r + f * (1 - r) for f, r in zip(plain, ramp)]
    return inverse, yarn_magnitude(factor, scaling.get("mscale", 1)) / yarn_magnitude(factor, scaling.get("mscale_all_dim", 0))


def rotated(pairs, position, c):
    inverse, factor = angles(c)
    out = []
    for i, f in enumerate(inverse):
        turned = complex(pairs[2 * i], pairs[2 * i + 1]) * complex(math.cos(position * f), math.sin(position * f)) * factor
        out += [turned.real, turned.imag]
    return out


def attention(c, layer, sequence):
    """attn_out of each row of one sequence, from its input rows."""
    p = f"model.layers.{layer}.self_attn."
    hidden, heads, rank = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    dn, dr, dv = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    scale = (dn + dr) ** -0.5
    if c["rope_scaling"] and c["rope_scaling"].get("mscale_all_dim", 0):
        scale *= yarn_magnitude(c["rope_scaling"]["factor"], c["rope_scaling"]["mscale_all_dim"]) ** 2

    def bias(name, size):
        return vector(p + name + ".bias", size) if c["attention_bias"] else [0.0] * size

    queries, keys, values = [], [], []
    for position, row in enumerate(sequence):
        x = rms(row, vector(f"model.layers.{layer}.input_layernorm.weight", hidden), c["rms_norm_eps"])
        if c["q_lora_rank"]:
            low = c["q_lora_rank"]
            qa = plus(apply(matrix(p + "q_a_proj.weight", low, hidden), x), bias("q_a_proj", low))
            qa = rms(qa, vector(p + "q_a_layernorm.weight", low), 1e-6)
            q = apply(matrix(p + "q_b_proj.weight", heads * (dn + dr), low), qa)
        else:
            q = apply(matrix(p + "q_proj.weight", heads * (dn + dr), hidden), x)
        both = plus(apply(matrix(p + "kv_a_proj_with_mqa.weight", rank + dr, hidden), x), bias("kv_a_proj_with_mqa", rank + dr))
        latent = rms(both[:rank], vector(p + "kv_a_layernorm.weight", rank), 1e-6)
        kv = apply(matrix(p + "kv_b_proj.weight", heads * (dn + dv), rank), latent)
        rope_key = rotated(both[rank:], position, c)
        head_q = [q[h * (dn + dr):(h + 1) * (dn + dr)] for h in range(heads)]
        head_kv = [kv[h * (dn + dv):(h + 1) * (dn + dv)] for h in range(heads)]
        queries.append([v[:dn] + rotated(v[dn:], position, c) for v in head_q])
        keys.append([v[:dn] + rope_key for v in head_kv])
        values.append([v[dn:] for v in head_kv])

    out = []
    for t in range(len(sequence)):
        mixed_heads = []
        for h in range(heads):
            weights = [math.exp(dot(queries[t][h], keys[s][h]) * scale) for s in range(t + 1)]
            total = math.fsum(weights)
            mixed_heads += [dot(weights, [values[s][h][j] for s in range(t + 1)]) / total for j in range(dv)]
        out.append(plus(apply(matrix(p + "o_proj.weight", hidden, heads * dv), mixed_heads), bias("o_proj", hidden)))
    return out


def chosen(c, scores):
    """(id, weight) by descending score."""
    candidates = range(len(scores))
    if c["topk_method"] == "group_limited_greedy":
        size = len(scores) // c["n_group"]
        groups = sorted(range(c["n_group"]), key=lambda g: -max(scores[g * size:(g + 1) * size]))[:c["topk_group"]]
        candidates = [e for e in candidates if e // size in groups]
    ids = sorted(candidates, key=lambda e: -scores[e])[:c["num_experts_per_tok"]]
    weights = [scores[e] for e in ids]
    if c["norm_topk_prob"] and len(ids) > 1:
        return ids, [w / (sum(weights) + 1e-20) for w in weights]
    return ids, [w * c["routed_scaling_factor"] for w in weights]


def is_moe(c, layer):
    return bool(c["n_routed_experts"]) and layer >= c["first_k_dense_replace"] and layer % c["moe_layer_freq"] == 0


def mlp_half(c, layer, row):
    """mlp_out, ids, weights of one row."""
    p = f"model.layers.{layer}."
    x = rms(row, vector(p + "post_attention_layernorm.weight", len(row)), c["rms_norm_eps"])
    if not is_moe(c, layer):
        return mlp(p + "mlp.", x, c["intermediate_size"]), [], []
    logits = apply(matrix(p + "mlp.gate.weight", c["n_routed_experts"], len(x)), x)
    total = math.fsum(map(math.exp, logits))
    ids, weights = chosen(c, [math.exp(v) / total for v in logits])
    width = c["moe_intermediate_size"]
    out = [0.0] * len(x)
    for e, w in zip(ids, weights):
        out = [o + w * v for o, v in zip(out, mlp(f"{p}mlp.experts.{e}.", x, width))]
    if c["n_shared_experts"]:
        out = plus(out, mlp(p + "mlp.shared_experts.", x, c["n_shared_experts"] * width))
    return out, ids, weights


def forward(c, sequences):
    vocab, hidden = c["vocab_size"], c["hidden_size"]
    rows = [[matrix("model.embed_tokens.weight", vocab, hidden)[i] for i in ids] for ids in sequences]
    layers = []
    for layer in range(c["num_hidden_layers"]):
        attn = [attention(c, layer, sequence) for sequence in rows]
        middle = [[plus(x, a) for x, a in zip(*both)] for both in zip(rows, attn)]
        mlps = [[mlp_half(c, layer, x) for x in sequence] for sequence in middle]
        rows = [[plus(x, m[0]) for x, m in zip(*both)] for both in zip(middle, mlps)]
        flat = [m for sequence in mlps for m in sequence]
        layers.append({"hidden": joined(rows), "topk_ids": [e for m in flat for e in m[1]],
                       "topk_weights": [rounded(w) for m in flat for w in m[2]]})
    head = "model.embed_tokens.weight" if c["tie_word_embeddings"] else "lm_head.weight"
    final = [rms(s[-1], vector("model.norm.weight", hidden), c["rms_norm_eps"]) for s in rows]
    return {"layers": layers, "logits_last": [rounded(v) for x in final for v in apply(matrix(head, vocab, hidden), x)]}


def rounded(v):
    return float(f"{v:.9g}")


def joined(sequences):
    return [rounded(v) for sequence in sequences for row in sequence for v in row]


COMMON = {
    "model_type": "deepseek_v2", "hidden_act": "silu", "vocab_size": 23, "hidden_size": 18, "num_hidden_layers": 3,
    "num_attention_heads": 3, "num_key_value_heads": 3, "q_lora_rank": 7, "kv_lora_rank": 9, "qk_nope_head_dim": 5,
    "qk_rope_head_dim": 4, "v_head_dim": 5, "attention_bias": False, "rope_theta": 10000, "rope_scaling": None,
    "intermediate_size": 13, "moe_intermediate_size": 6, "n_routed_experts": 7, "n_shared_experts": 1,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "num_experts_per_tok": 2, "topk_method": "greedy", "n_group": 1,
    "topk_group": 1, "norm_topk_prob": False, "routed_scaling_factor": 1.0, "scoring_func": "softmax",
    "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "max_position_embeddings": 2048, "torch_dtype": "float32",
}
ODD = {
    "wide values, biases, both mscales, large eps": {
        "v_head_dim": 8, "attention_bias": True, "rms_norm_eps": 0.05, "qk_rope_head_dim": 6, "routed_scaling_factor": 1.7,
        "rope_theta": 500, "rope_scaling": {"type": "yarn", "factor": 8, "beta_fast": 4, "beta_slow": 1, "mscale": 0.7,
                                            "mscale_all_dim": 1.3, "original_max_position_embeddings": 64}},
    "no shared experts, every second layer, tied, no q_lora, norm ignores the factor": {
        "n_shared_experts": None, "moe_layer_freq": 2, "num_hidden_layers": 5, "tie_word_embeddings": True, "q_lora_rank": None,
        "norm_topk_prob": True, "routed_scaling_factor": 3.0, "n_routed_experts": 5, "num_experts_per_tok": 3,
        "attention_bias": True, "v_head_dim": 3, "qk_rope_head_dim": 10,
        "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}},
    "groups, one expert a token, norm without effect": {
        "n_routed_experts": 12, "n_group": 4, "topk_group": 1, "topk_method": "group_limited_greedy", "num_experts_per_tok": 1,
        "norm_topk_prob": True, "routed_scaling_factor": 0.5, "first_k_dense_replace": 0, "n_shared_experts": 3,
        "rope_scaling": {"type": "yarn", "factor": 4, "mscale": 0.5, "mscale_all_dim": 0,
                         "original_max_position_embeddings": 16}},
    "dense layers only": {"n_routed_experts": None, "n_shared_experts": None, "num_hidden_layers": 2},
    "every expert chosen": {"n_routed_experts": 3, "num_experts_per_tok": 3, "norm_topk_prob": True, "num_attention_heads": 1},
}
SEQUENCES = [[3], [1, 22, 7, 7, 0], [5, 9, 14]]


def document():
    cases = []
    for name, changes in ODD.items():
        config = {**COMMON, **changes}
        matrix.cache_clear()
        cases.append({"name": name, "config": config, "sequences": SEQUENCES, "expected": forward(config, SEQUENCES)})
    return cases


if __name__ == "__main__":
    print("[" + ",\n".join(json.dumps(case) for case in document()) + "]")
