#include "backend/inputs.hpp"

namespace eps::backend {

namespace {

using schedule::MicroBatchTables;
using schedule::Scope;

void write_ints(Executor& executor, std::vector<std::int32_t>& values, plan::BufferId buffer,
                std::int64_t cols) {
    const std::int64_t rows = std::ssize(values) / cols;
    executor.write({reinterpret_cast<std::byte*>(values.data()), DType::i32, rows, cols, cols},
                   {buffer, {0, rows}});
}

void write_micro_batch(const Prompts& prompts, const MicroBatchTables& batch, std::int64_t top_k,
                       Executor& executor) {
    std::vector<std::int32_t> ints(static_cast<std::size_t>(batch.num_tokens()));
    workload::write_positions(prompts.batch, batch.tokens, ints);
    write_ints(executor, ints, batch.positions, 1);
    if (prompts.token_ids != nullptr) {
        prompts.token_ids->write(batch.tokens, ints);
        write_ints(executor, ints, batch.token_ids, 1);
    }
    ints.clear();
    for (std::int64_t s = 0; s < batch.num_sequences(); ++s)
        ints.push_back(static_cast<std::int32_t>(batch.starts[static_cast<std::size_t>(s + 1)] - 1));
    write_ints(executor, ints, batch.last_rows, 1);
    const Range owned{batch.tokens.begin + batch.owned.begin, batch.tokens.begin + batch.owned.end};
    for (std::size_t layer = 0; layer < batch.forced.size(); ++layer) {
        if (batch.forced[layer] == plan::kNoBuffer) continue;
        ints.resize(static_cast<std::size_t>(owned.size() * top_k));
        prompts.forced->write_ids(static_cast<std::int64_t>(layer), owned, ints);
        write_ints(executor, ints, batch.forced[layer], top_k);
    }
}

}  // namespace

Inputs::Inputs(const Prompts& prompts, const PassRunner& runner, const Inputs* other)
    : prompts_(prompts), runner_(runner) {
    const schedule::Tables& tables = runner.tables();
    if (tables.setup.scope == Scope::model || tables.position.stage > 0) return;
    const std::int64_t cols = tables.spec().hidden_size;
    const DType dtype = tables.setup.dtype;
    for (const MicroBatchTables& batch : tables.micro_batches) {
        // Attention starts from all rows of the dp group, the experts from the owned ones.
        const Range local = tables.setup.scope == Scope::layer ? Range{0, batch.num_tokens()} : batch.owned;
        InputRows& input = rows_.emplace_back();
        input.slice = {batch.hidden, local};
        input.tokens = {batch.tokens.begin + local.begin, batch.tokens.begin + local.end};
        if (other != nullptr)
            for (const InputRows& drawn : other->rows_)
                if (drawn.tokens == input.tokens && drawn.rows.dtype == dtype) {
                    input.bytes = drawn.bytes;
                    input.rows = drawn.rows;
                }
        if (input.bytes != nullptr) continue;
        input.bytes = std::make_shared<std::vector<std::byte>>(
            static_cast<std::size_t>(local.size() * cols * bytes_of(dtype)));
        input.rows = {input.bytes->data(), dtype, local.size(), cols, cols};
        workload::write_input_rows(prompts.seed, input.tokens, input.rows);
    }
}

void Inputs::write(Executor& executor) const {
    const schedule::Tables& tables = runner_.tables();
    for (const MicroBatchTables& batch : tables.micro_batches)
        write_micro_batch(prompts_, batch, tables.spec().num_experts_per_tok, executor);
}

void Inputs::write_rows(Executor& executor) {
    for (const InputRows& input : rows_) executor.write_again(input.rows, input.slice);
}

}  // namespace eps::backend
