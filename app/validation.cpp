#include "app/validation.hpp"

#include "app/output_hash.hpp"
#include "app/results.hpp"
#include "checkpoint/safetensors_writer.hpp"
#include "comm/collectives.hpp"
#include "plan/hash.hpp"
#include "schedule/check_input.hpp"
#include "validate/agreement.hpp"
#include "validate/arithmetic.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>

namespace eps {

using backend::Tensor;

namespace {

// Of a case's spot checks, about a second; cases that enter their layers with the same bits share them.
constexpr double kSpotFlopsOfAThread = 1e9;
constexpr int kFewestSpotThreads = 2, kMostSpotThreads = 8;
constexpr std::int64_t kMostCompared = 1024;  // output rows that spot-checked cases are compared by

validate::Scope to_validate(schedule::Scope scope) {
    switch (scope) {
        case schedule::Scope::model:
            return validate::Scope::model;
        case schedule::Scope::layer:
            return validate::Scope::layer;
        case schedule::Scope::moe:
            return validate::Scope::moe;
    }
    throw Error(Exit::internal, "unknown scope");
}

validate::Kind kind_of(const config::RunConfig& config, validate::Scope scope) {
    switch (config.validate) {
        case config::ValidateKind::reference:
            return validate::Kind::reference;
        case config::ValidateKind::spot:
            return validate::Kind::spot;
        case config::ValidateKind::automatic:
            return validate::choose_kind(config.model, scope, config.workload.sequence_lengths);
    }
    throw Error(Exit::internal, "unknown kind of validation");
}

validate::Tolerance tolerance_for(const config::Case& asked) {
    const placement::Placement& placement = asked.placement;
    return validate::tolerance_of(asked.dtype,
                                  placement.attention_tp > 1 || placement.ep * placement.etp > 1);
}

report::Check to_report(const validate::CheckResult& result) {
    return {.kind = result.kind,
            .passed = result.passed(),
            .decisive = result.decisive,
            .compared = result.compared,
            .max_error = result.max_error,
            .bound = result.bound,
            .origin = result.origin,
            .tokens = result.tokens,
            .near_ties = result.flips,
            .tokens_left_out = result.tokens_left_out,
            .reason = result.reason};
}

std::vector<std::uint64_t> numbers_in(const comm::Bytes& bytes) {
    std::vector<std::uint64_t> numbers(bytes.size() / sizeof(std::uint64_t));
    std::memcpy(numbers.data(), bytes.data(), bytes.size());
    return numbers;
}

// Cases with equal text compute every sum in the same order (design section 6); empty: no such promise.
std::string order_of(const config::Case& asked, const std::string& kinds) {
    if (kinds.find(' ') != std::string::npos || kinds == "mixed") return "";
    const bool one_sum = asked.schedule.combine == schedule::Combine::per_token ||
                         asked.schedule.chunk_by == schedule::ChunkBy::none || asked.schedule.chunks == 1;
    if (!one_sum) return "";
    return fmt::format("{}, {}, {} micro-batches, dedup {}, gemm {}", placement::to_string(asked.placement),
                       name_of(asked.dtype), asked.schedule.micro_batches, asked.schedule.dedup, kinds);
}

}  // namespace

Validation::Proof::Proof(const config::RunConfig& config, const checkpoint::WeightSource& source, DType dtype,
                         int threads, const validate::PassWork& work)
    : weights(source, dtype, threads),
      reference(config.model, weights),
      pass_check(reference, work),
      spots(reference, work.scope) {}

Validation::Validation(const config::RunConfig& config, const backend::Prompts& prompts,
                       const checkpoint::WeightSource& source, const Launch& launch, int threads)
    : config_(config),
      prompts_(prompts),
      source_(source),
      launch_(launch),
      threads_(threads),
      scope_(to_validate(config.scope)),
      kind_(kind_of(config, scope_)),
      layers_(validate::layers_of(config.model, scope_)),
      dump_pending_(config.dump_path.has_value()) {
    if (kind_ == validate::Kind::spot)
        samples_ = validate::choose_spot_samples(
            config.model, scope_, prompts.batch.starts,
            kSpotFlopsOfAThread * std::clamp(threads, kFewestSpotThreads, kMostSpotThreads));
    work_.scope = scope_;
    work_.starts = prompts.batch.starts;
    if (!launch.speaks() || kind_ == validate::Kind::spot) return;
    const auto num_tokens = static_cast<std::size_t>(prompts.batch.num_tokens());
    if (prompts.token_ids != nullptr) {
        work_.token_ids.resize(num_tokens);
        prompts.token_ids->write(all_tokens(), work_.token_ids);
    }
    if (prompts.forced == nullptr) return;
    for (const std::int64_t layer : layers_) {
        if (!config.model.is_moe(layer)) continue;
        std::vector<std::int32_t>& ids = work_.forced[layer];
        ids.resize(num_tokens * static_cast<std::size_t>(config.model.num_experts_per_tok));
        prompts.forced->write_ids(layer, all_tokens(), ids);
    }
}

Validation::Proof& Validation::proof_of(DType dtype) {
    auto& proof = proofs_[dtype];
    if (proof == nullptr) proof = std::make_unique<Proof>(config_, source_, dtype, threads_, work_);
    return *proof;
}

// Everything, or what the samples and the comparison of outputs need.
std::vector<Range> Validation::wanted(Tensor tensor, std::int64_t layer, bool everything) const {
    const std::int64_t num_tokens = prompts_.batch.num_tokens(),
                       num_sequences = prompts_.batch.num_sequences();
    if (tensor == Tensor::logits)
        return {{0, everything ? num_sequences : std::min<std::int64_t>(num_sequences, 64)}};
    if (everything || tensor == Tensor::topk_ids)
        return {{0, num_tokens}};  // ids: legality follows every row
    std::set<std::int64_t> tokens;
    for (const validate::SpotSample& sample : samples_) {
        const Range sequence = prompts_.batch.tokens_of(sample.sequence);
        const std::int64_t token = sequence.begin + sample.position;
        const auto place = std::ranges::find(layers_, sample.layer) - layers_.begin();
        const bool enters = tensor == Tensor::embed
                                ? place == 0
                                : tensor == Tensor::hidden && place > 0 &&
                                      layers_[static_cast<std::size_t>(place - 1)] == layer;
        if (enters)
            for (std::int64_t t = sequence.begin; t <= token; ++t) tokens.insert(t);
        if (tensor != Tensor::embed && sample.layer == layer) tokens.insert(token);
    }
    if (tensor == Tensor::hidden && layer == layers_.back()) {
        if (scope_ == validate::Scope::model) tokens.insert(prompts_.batch.tokens_of(0).end - 1);
        const std::int64_t count = std::min(num_tokens, kMostCompared);
        for (std::int64_t i = 0; i < count && scope_ != validate::Scope::model; ++i)
            tokens.insert(i * num_tokens / count);
    }
    std::vector<Range> ranges;
    for (const std::int64_t token : tokens) {
        if (!ranges.empty() && ranges.back().end == token) {
            ++ranges.back().end;
        } else {
            ranges.push_back({token, token + 1});
        }
    }
    return ranges;
}

// Rows that enter layers_[layer_place].
std::vector<float> Validation::layer_input(const backend::Gathered& gathered, std::size_t layer_place,
                                           Range tokens, DType dtype) const {
    const std::int64_t hidden = config_.model.hidden_size;
    if (layer_place > 0) return gathered.floats(Tensor::hidden, layers_[layer_place - 1], tokens, hidden);
    if (scope_ == validate::Scope::model) return gathered.floats(Tensor::embed, -1, tokens, hidden);
    std::vector<float> rows(static_cast<std::size_t>(tokens.size() * hidden));
    workload::write_input_rows(
        config_.workload.seed, tokens,
        {reinterpret_cast<std::byte*>(rows.data()), DType::f32, tokens.size(), hidden, hidden});
    for (float& value : rows) value = rounded_to(dtype, value);
    return rows;
}

validate::CheckResult Validation::check_all(const backend::Gathered& gathered, const config::Case& asked) {
    const DType dtype = asked.dtype;
    const model::ModelSpec& spec = config_.model;
    validate::PassCapture capture;
    capture.input = layer_input(gathered, 0, all_tokens(), dtype);
    for (const std::int64_t layer : layers_) {
        validate::LayerCapture& of_layer = capture.layers.emplace_back();
        of_layer.hidden = gathered.floats(Tensor::hidden, layer, all_tokens(), spec.hidden_size);
        if (!spec.is_moe(layer)) continue;
        of_layer.ids = gathered.ints(Tensor::topk_ids, layer, all_tokens(), spec.num_experts_per_tok);
        of_layer.weights =
            gathered.floats(Tensor::topk_weights, layer, all_tokens(), spec.num_experts_per_tok);
    }
    if (scope_ == validate::Scope::model)
        capture.logits =
            gathered.floats(Tensor::logits, -1, {0, prompts_.batch.num_sequences()}, spec.vocab_size);
    return proof_of(dtype).pass_check.check(capture, tolerance_for(asked));
}

validate::CheckResult Validation::check_samples(const backend::Gathered& gathered,
                                                const config::Case& asked) {
    const DType dtype = asked.dtype;
    const model::ModelSpec& spec = config_.model;
    const validate::Tolerance tolerance = tolerance_for(asked);
    Proof& proof = proof_of(dtype);
    std::vector<validate::SpotCapture> captures;
    for (const validate::SpotSample& sample : samples_) {
        const Range sequence = prompts_.batch.tokens_of(sample.sequence);
        const std::int64_t token = sequence.begin + sample.position;
        const Range row{token, token + 1};
        const auto place =
            static_cast<std::size_t>(std::ranges::find(layers_, sample.layer) - layers_.begin());
        validate::SpotCapture capture{.sample = sample, .prefix = {}, .actual = {}, .forced = {}};
        const Range prefix = scope_ == validate::Scope::moe ? row : Range{sequence.begin, token + 1};
        capture.prefix = layer_input(gathered, place, prefix, dtype);
        capture.actual.hidden = gathered.floats(Tensor::hidden, sample.layer, row, spec.hidden_size);
        if (spec.is_moe(sample.layer)) {
            capture.actual.ids = gathered.ints(Tensor::topk_ids, sample.layer, row, spec.num_experts_per_tok);
            capture.actual.weights =
                gathered.floats(Tensor::topk_weights, sample.layer, row, spec.num_experts_per_tok);
            if (prompts_.forced != nullptr) {
                capture.forced.resize(capture.actual.ids.size());
                prompts_.forced->write_ids(sample.layer, row, capture.forced);
            }
        }
        captures.push_back(std::move(capture));
    }
    std::vector<validate::CheckResult> parts = {validate::check_spots(proof.spots, tolerance, captures)};
    if (scope_ == validate::Scope::model) {
        const std::int64_t last = prompts_.batch.tokens_of(0).end - 1;
        parts.push_back(validate::spot_logits(
            proof.reference, tolerance,
            gathered.floats(Tensor::hidden, layers_.back(), {last, last + 1}, spec.hidden_size),
            gathered.floats(Tensor::logits, -1, {0, 1}, spec.vocab_size)));
    }
    return validate::combined("spot", parts);
}

Validation::Outputs Validation::outputs_of(const LiveCase& live, const backend::Gathered& gathered,
                                           const std::string& order) {
    Outputs outputs{.name = live.config.name,
                    .order = order,
                    .dtype = live.config.dtype,
                    .num_cols = 0,
                    .values = {},
                    .ids = {},
                    .hashes = {}};
    const bool logits = scope_ == validate::Scope::model;
    const Tensor tensor = logits ? Tensor::logits : Tensor::hidden;
    const std::int64_t layer = logits ? -1 : layers_.back();
    outputs.num_cols = logits ? config_.model.vocab_size : config_.model.hidden_size;
    for (const Range rows : wanted(tensor, layer, kind_ == validate::Kind::reference)) {
        const std::vector<float> values = gathered.floats(tensor, layer, rows, outputs.num_cols);
        outputs.values.insert(outputs.values.end(), values.begin(), values.end());
    }
    if (kind_ == validate::Kind::spot) return outputs;
    for (const std::int64_t of_layer : layers_)
        if (config_.model.is_moe(of_layer))
            outputs.ids.push_back(
                gathered.ints(Tensor::topk_ids, of_layer, all_tokens(), config_.model.num_experts_per_tok));
    return outputs;
}

// With the first case that promises equal bits, and with the first of the same dtype.
std::vector<validate::CheckResult> Validation::check_agreement(const Outputs& outputs) const {
    const auto twin = std::ranges::find_if(proven_, [&](const Outputs& other) {
        return !outputs.order.empty() && other.order == outputs.order;
    });
    if (twin != proven_.end()) {
        validate::CheckResult result = validate::check_same_bits(twin->name, twin->values, outputs.values);
        if (result.passed() && twin->hashes != outputs.hashes)
            result.reason = fmt::format(
                "outputs differ from those of {} in rows that were not compared one by one", twin->name);
        return {result};
    }
    const auto first =
        std::ranges::find_if(proven_, [&](const Outputs& other) { return other.dtype == outputs.dtype; });
    if (first == proven_.end()) return {};
    std::vector<bool> left_out = validate::rows_after_flips(
        prompts_.batch.starts, config_.model.num_experts_per_tok, first->ids, outputs.ids);
    if (scope_ == validate::Scope::model && !left_out.empty()) {
        std::vector<bool> of_sequences;
        for (std::int64_t s = 0; s < prompts_.batch.num_sequences(); ++s)
            of_sequences.push_back(left_out[static_cast<std::size_t>(prompts_.batch.tokens_of(s).end - 1)]);
        left_out = std::move(of_sequences);
    }
    if (outputs.ids.empty()) left_out.clear();
    return {validate::check_agreement(first->name, outputs.dtype, first->values, outputs.values,
                                      outputs.num_cols, left_out)};
}

void Validation::write_dump(const backend::Gathered& gathered, const LiveCase& live) {
    const model::ModelSpec& spec = config_.model;
    const std::int64_t tokens = prompts_.batch.num_tokens(), hidden = spec.hidden_size,
                       k = spec.num_experts_per_tok;
    std::vector<checkpoint::TensorToWrite> list;
    const bool whole = scope_ == validate::Scope::model;
    if (whole) list.push_back({"embed", DType::f32, {tokens, hidden}});
    for (const std::int64_t layer : layers_) {
        const std::string prefix = fmt::format("layers.{}.", layer);
        list.push_back({prefix + "hidden", DType::f32, {tokens, hidden}});
        if (!spec.is_moe(layer)) continue;
        list.push_back({prefix + "topk_ids", DType::i64, {tokens, k}});
        list.push_back({prefix + "topk_weights", DType::f32, {tokens, k}});
    }
    if (whole) {
        list.push_back({"final_norm", DType::f32, {tokens, hidden}});
        list.push_back({"logits_last", DType::f32, {prompts_.batch.num_sequences(), spec.vocab_size}});
    }
    checkpoint::SafetensorsWriter writer(*config_.dump_path, "dump", launch_.options.overwrite, list);
    const auto append = [&](const auto& values) {
        writer.append(values.data(), static_cast<std::int64_t>(values.size() * sizeof(values[0])));
    };
    if (whole) append(gathered.floats(Tensor::embed, -1, all_tokens(), hidden));
    for (const std::int64_t layer : layers_) {
        append(gathered.floats(Tensor::hidden, layer, all_tokens(), hidden));
        if (!spec.is_moe(layer)) continue;
        const std::vector<std::int32_t> ids = gathered.ints(Tensor::topk_ids, layer, all_tokens(), k);
        append(std::vector<std::int64_t>(ids.begin(), ids.end()));
        append(gathered.floats(Tensor::topk_weights, layer, all_tokens(), k));
    }
    if (whole) {
        // The pass norms last rows only; the others are normed here.
        const auto last = gathered.floats(Tensor::hidden, layers_.back(), all_tokens(), hidden);
        append(validate::rms_norm(last,
                                  proof_of(live.config.dtype).weights.vector("model.norm.weight", hidden),
                                  spec.rms_norm_eps));
        append(gathered.floats(Tensor::logits, -1, {0, prompts_.batch.num_sequences()}, spec.vocab_size));
    }
    writer.commit();
}

// The eight rules over all ranks' plans, lowered here from what the gates chose; what ran must have been the
// same.
report::Check Validation::check_plans(const LiveCase& live, const backend::Gathered& gathered,
                                      const std::vector<std::uint64_t>& ran) const {
    const schedule::PassSetup& setup = live.runner->tables().setup;
    std::vector<plan::GateChoices> choices;
    for (const std::int64_t layer : layers_) {
        if (!config_.model.is_moe(layer)) continue;
        const auto ids =
            gathered.ints(Tensor::topk_ids, layer, all_tokens(), config_.model.num_experts_per_tok);
        for (std::int64_t m = 0; m < setup.schedule.micro_batches; ++m)
            choices.push_back(schedule::gate_choices(setup, layer, m, ids));
    }
    report::Check check{.kind = "plan",
                        .passed = false,
                        .decisive = true,
                        .compared = 0,
                        .max_error = 0,
                        .bound = 0,
                        .origin = "rules R1 to R8 over the plans of all ranks",
                        .tokens = 0,
                        .near_ties = 0,
                        .tokens_left_out = 0,
                        .reason = ""};
    std::vector<std::unique_ptr<backend::PassRunner>> runners;
    std::vector<schedule::LoweredRank> lowered;
    for (std::int64_t rank = 0; rank < setup.placement.world(); ++rank) {
        const auto& runner = runners.emplace_back(std::make_unique<backend::PassRunner>(setup, rank));
        std::vector<std::int32_t> counts;
        runner->lower_pass([&](std::int64_t layer, std::int64_t micro_batch) {
            const auto of_gate = std::ranges::find_if(choices, [&](const plan::GateChoices& c) {
                return c.layer == layer && c.micro_batch == micro_batch;
            });
            counts = schedule::counts_of(runner->tables(), *of_gate);
            return schedule::view_of(runner->tables(), counts);
        });
        lowered.push_back({&runner->tables(), &runner->plan()});
        if (plan::hash_of(runner->plan()) != ran[static_cast<std::size_t>(rank)]) {
            check.reason = fmt::format("rank {} ran another plan than its counts lower to", rank);
            return check;
        }
    }
    plan::PassUnderCheck pass = schedule::pass_under_check(lowered);
    pass.gates = std::move(choices);
    try {
        check.compared = plan::check_all(pass);
        check.passed = true;
    } catch (const Error& error) {
        check.reason = error.what();
    }
    return check;
}

void Validation::prove(LiveCase& live, backend::Executor& executor) {
    const bool everything = kind_ == validate::Kind::reference || dump_pending_;
    const bool dump = std::exchange(dump_pending_, false);
    backend::Capture capture(live.runner->tables(), executor, [&](Tensor tensor, std::int64_t layer) {
        return wanted(tensor, layer, everything);
    });
    live.inputs->write_rows(executor);
    launch_.world->barrier();
    launch_.board->set_phase("validation");
    live.runner->run(executor, false, [&](const plan::Segment& segment) { capture.observe(segment); });
    launch_.board->set_phase("validation", comm::Patience::unlimited);  // for the others, while rank 0 checks

    const OutputHash hash = hash_outputs(live, executor);
    live.output_hash = hash.hash;
    const std::string kinds = gemm_kinds_of_all(*launch_.world, live.runner->plan());
    live.result.chosen = chosen_of(live, kinds, *launch_.backend);
    const bool finite = comm::max_over_ranks(*launch_.world, static_cast<std::int64_t>(!hash.finite)) == 0;
    const comm::Bytes hashes =
        comm::all_gather_bytes(*launch_.world, std::as_bytes(std::span(&hash.hash, 1)));
    const std::uint64_t plan_hash = plan::hash_of(live.runner->plan());
    const comm::Bytes plan_hashes =
        comm::all_gather_bytes(*launch_.world, std::as_bytes(std::span(&plan_hash, 1)));
    const std::vector<comm::Bytes> pieces = comm::gather_bytes(*launch_.world, 0, capture.bytes());

    on_first_rank(*launch_.world, [&] {
        report::Result& result = live.result;
        if (!finite) result.invalid_reasons.emplace_back("the outputs of the validation pass are not finite");
        backend::Gathered gathered;
        for (const comm::Bytes& piece : pieces) gathered.add(piece);
        if (dump) write_dump(gathered, live);

        const validate::CheckResult proof = kind_ == validate::Kind::reference
                                                ? check_all(gathered, live.config)
                                                : check_samples(gathered, live.config);
        result.checks.push_back(to_report(proof));
        if (!proof.passed())
            result.invalid_reasons.push_back(fmt::format("check {}: {}", proof.kind, proof.reason));

        Outputs outputs = outputs_of(live, gathered, order_of(live.config, kinds));
        outputs.hashes = numbers_in(hashes);
        for (const validate::CheckResult& agreement : check_agreement(outputs)) {
            result.checks.push_back(to_report(agreement));
            if (!agreement.passed() && agreement.decisive)
                result.invalid_reasons.push_back(fmt::format("check agreement: {}", agreement.reason));
        }
        result.checks.push_back(check_plans(live, gathered, numbers_in(plan_hashes)));
        if (!result.checks.back().passed)
            result.invalid_reasons.push_back("check plan: " + result.checks.back().reason);
        if (result.invalid_reasons.empty()) proven_.push_back(std::move(outputs));
    });
}

}  // namespace eps
