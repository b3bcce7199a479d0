#include "backend/capture.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace eps::backend {

namespace {

struct Header {
    std::int64_t tensor, layer, row_begin, row_end, col_begin, col_end;
};

}  // namespace

void Capture::keep(Tensor tensor, std::int64_t layer, plan::Slice from, std::int64_t global, Range columns) {
    const DType dtype = tensor == Tensor::topk_ids       ? DType::i32
                        : tensor == Tensor::topk_weights ? DType::f32
                                                         : tables_.setup.dtype;
    for (const Range wanted : wanted_(tensor, layer)) {
        const Range rows{std::max(wanted.begin, global), std::min(wanted.end, global + from.rows.size())};
        if (rows.empty() || columns.empty()) continue;
        const std::int64_t first = from.rows.begin + rows.begin - global;
        std::vector<std::byte> stored(
            static_cast<std::size_t>(rows.size() * columns.size() * bytes_of(dtype)));
        executor_.read({from.buffer, {first, first + rows.size()}},
                       {stored.data(), dtype, rows.size(), columns.size(), columns.size()});
        const Header header{
            static_cast<std::int64_t>(tensor), layer, rows.begin, rows.end, columns.begin, columns.end};
        const auto values = static_cast<std::size_t>(rows.size() * columns.size());
        const std::size_t at = bytes_.size();
        bytes_.resize(at + sizeof header + 4 * values);
        std::memcpy(bytes_.data() + at, &header, sizeof header);
        std::byte* out = bytes_.data() + at + sizeof header;
        if (dtype != DType::bf16) {
            std::memcpy(out, stored.data(), 4 * values);
            continue;
        }
        for (std::size_t i = 0; i < values; ++i) {
            Bf16 value;
            std::memcpy(&value, stored.data() + 2 * i, 2);
            const float wide = value;
            std::memcpy(out + 4 * i, &wide, 4);
        }
    }
}

void Capture::observe(const plan::Segment& segment) {
    const model::ModelSpec& spec = tables_.spec();
    const auto& batch = tables_.micro_batches[static_cast<std::size_t>(segment.micro_batch)];
    const Range hidden_columns{0, spec.hidden_size};
    const bool speaks = !tables_.replicated || tables_.position.tp == 0;  // replicated rows are kept once
    const std::int64_t first_owned = batch.tokens.begin + batch.owned.begin;
    switch (segment.kind) {
        case plan::SegmentKind::embed:
            if (tables_.position.tp == 0)
                keep(Tensor::embed, -1, {batch.hidden, {0, batch.num_tokens()}}, batch.tokens.begin,
                     hidden_columns);
            return;
        case plan::SegmentKind::gate:
            if (!speaks) return;
            keep(Tensor::topk_ids, segment.layer, {tables_.buffers.topk_ids, {0, batch.owned.size()}},
                 first_owned, {0, spec.num_experts_per_tok});
            keep(Tensor::topk_weights, segment.layer, {tables_.buffers.topk_weights, {0, batch.owned.size()}},
                 first_owned, {0, spec.num_experts_per_tok});
            return;
        case plan::SegmentKind::dense:
        case plan::SegmentKind::experts:
            if (speaks)
                keep(Tensor::hidden, segment.layer, {batch.hidden, batch.owned}, first_owned, hidden_columns);
            return;
        case plan::SegmentKind::head:
            keep(Tensor::logits, -1, {batch.logits, {0, batch.num_sequences()}}, batch.sequences.begin,
                 tables_.shards.vocabulary);
            return;
        case plan::SegmentKind::attention:
        case plan::SegmentKind::stage_in:
        case plan::SegmentKind::stage_out:
            return;
    }
}

void Gathered::add(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        Header header;
        std::memcpy(&header, bytes.data(), sizeof header);
        bytes = bytes.subspan(sizeof header);
        Piece piece{{header.row_begin, header.row_end}, {header.col_begin, header.col_end}, {}};
        const auto size = static_cast<std::size_t>(4 * piece.rows.size() * piece.columns.size());
        piece.values.assign(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
        bytes = bytes.subspan(size);
        pieces_[{static_cast<Tensor>(header.tensor), header.layer}].push_back(std::move(piece));
    }
}

void Gathered::copy(Tensor tensor, std::int64_t layer, Range rows, std::int64_t num_cols,
                    std::byte* out) const {
    std::int64_t values = 0;
    if (const auto found = pieces_.find({tensor, layer}); found != pieces_.end()) {
        for (const Piece& piece : found->second) {
            const Range common{std::max(rows.begin, piece.rows.begin), std::min(rows.end, piece.rows.end)};
            const std::int64_t width = piece.columns.size();
            for (std::int64_t row = common.begin; row < common.end; ++row)
                std::memcpy(out + 4 * ((row - rows.begin) * num_cols + piece.columns.begin),
                            piece.values.data() + 4 * (row - piece.rows.begin) * width,
                            static_cast<std::size_t>(4 * width));
            if (!common.empty()) values += common.size() * width;
        }
    }
    if (values != rows.size() * num_cols)
        throw Error(Exit::internal, "captured " + std::to_string(values) + " values of " +
                                        std::to_string(rows.size() * num_cols) + " (tensor " +
                                        std::to_string(static_cast<int>(tensor)) + ", layer " +
                                        std::to_string(layer) + ")");
}

std::vector<float> Gathered::floats(Tensor tensor, std::int64_t layer, Range rows,
                                    std::int64_t num_cols) const {
    std::vector<float> out(static_cast<std::size_t>(rows.size() * num_cols));
    copy(tensor, layer, rows, num_cols, reinterpret_cast<std::byte*>(out.data()));
    return out;
}

std::vector<std::int32_t> Gathered::ints(Tensor tensor, std::int64_t layer, Range rows,
                                         std::int64_t num_cols) const {
    std::vector<std::int32_t> out(static_cast<std::size_t>(rows.size() * num_cols));
    copy(tensor, layer, rows, num_cols, reinterpret_cast<std::byte*>(out.data()));
    return out;
}

}  // namespace eps::backend
