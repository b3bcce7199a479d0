#include "kernels/cuda/attention.hpp"
#include "kernels/require.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include <fmt/format.h>

#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

namespace eps::kernels::device {
namespace {

namespace fe = cudnn_frontend;

/// The tensors of a plan, as they are named to cuDNN.
enum TensorId : std::int64_t {
    kQuery = 1,
    kKeys,
    kValues,
    kOut,
    kLengths,
    kQueryOffsets,
    kKvOffsets,
    kOutOffsets
};

/// One compiled kernel: `num_sequences` of `longest` rows each (whole), or of up to that many (lists tell).
struct Shape {
    std::int64_t num_sequences, longest;
    bool whole;
    auto operator<=>(const Shape&) const = default;
};

struct Plan {
    std::shared_ptr<fe::graph::Graph> graph;  // null: cuDNN has none
    std::int64_t workspace_bytes = 0;
};

void require_cudnn(cudnnStatus_t status, const char* what) {
    if (status != CUDNN_STATUS_SUCCESS)
        throw Error(Exit::internal, fmt::format("cuDNN: {}: {}", what, cudnnGetErrorString(status)));
}

std::int64_t rounded_up(std::int64_t bytes) {
    return (bytes + 255) / 256 * 256;
}

std::vector<std::int64_t> longest_first(std::span<const std::int64_t> starts) {
    std::vector<std::int64_t> lengths;
    for (std::size_t s = 0; s + 1 < starts.size(); ++s) lengths.push_back(starts[s + 1] - starts[s]);
    std::ranges::sort(lengths, std::greater());
    return lengths;
}

/// Sequences of one length that fills whole tiles are a plain batch; others share a plan with all whose
/// longest takes as many tiles. nullopt: no rows.
std::optional<Shape> shape_of_sequences(std::span<const std::int64_t> starts) {
    constexpr std::int64_t kTile = 128;
    const std::vector<std::int64_t> lengths = longest_first(starts);
    if (lengths.empty() || lengths.front() == 0) return std::nullopt;
    const bool whole = lengths.front() == lengths.back() && lengths.front() % kTile == 0;
    return Shape{std::ssize(lengths), (lengths.front() + kTile - 1) / kTile * kTile, whole};
}

/// softmax(scale Q K^T, causal) V over [sequences, heads, rows, dim], where a token's heads lie side by side.
class GraphBuilder {
  public:
    GraphBuilder(const AttentionArgs& args, const Shape& shape)
        : args_(args), shape_(shape), graph_(std::make_shared<fe::graph::Graph>()) {
        graph_->set_io_data_type(fe::DataType_t::BFLOAT16)
            .set_intermediate_data_type(fe::DataType_t::FLOAT)
            .set_compute_data_type(fe::DataType_t::FLOAT);
    }

    /// The compiled kernel, or what cuDNN says against it.
    std::string build(cudnnHandle_t handle, Plan& plan) {
        const std::int64_t key_dim = args_.nope_dim + args_.rope_dim, kv_dim = args_.nope_dim + args_.v_dim;
        auto query = input("query", kQuery, key_dim, key_dim, kQueryOffsets);
        auto keys = input("keys", kKeys, key_dim, key_dim, kQueryOffsets);
        auto values = input("values", kValues, args_.v_dim, kv_dim, kKvOffsets);
        auto options = fe::graph::SDPA_attributes()
                           .set_name("attention")
                           .set_generate_stats(false)
                           .set_attn_scale(static_cast<float>(args_.scale))
                           .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                           .set_diagonal_band_right_bound(0);
        if (!shape_.whole) {
            const auto lengths = list("lengths", kLengths, shape_.num_sequences, fe::DataType_t::INT32);
            options.set_padding_mask(true).set_seq_len_q(lengths).set_seq_len_kv(lengths);
        }
        auto out = graph_->sdpa(query, keys, values, options)[0];
        out->set_output(true).set_uid(kOut);
        place(*out, args_.v_dim, args_.v_dim, kOutOffsets);

        fe::error_t error = graph_->build(handle, {fe::HeurMode_t::A});
        if (error.is_bad()) return error.get_message();
        plan = {graph_, graph_->get_workspace_size()};
        return {};
    }

  private:
    using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

    Tensor list(const char* name, TensorId id, std::int64_t count, fe::DataType_t type) {
        return graph_->tensor(fe::graph::Tensor_attributes()
                                  .set_name(name)
                                  .set_uid(id)
                                  .set_dim({count, 1, 1, 1})
                                  .set_stride({1, 1, 1, 1})
                                  .set_data_type(type));
    }

    // `distance`: elements between the heads of a token.
    void place(fe::graph::Tensor_attributes& tensor, std::int64_t dim, std::int64_t distance,
               TensorId offsets) {
        const std::int64_t row = args_.num_heads * distance;
        tensor.set_dim({shape_.num_sequences, args_.num_heads, shape_.longest, dim})
            .set_stride({shape_.longest * row, distance, row, 1});
        if (shape_.whole) return;
        Tensor& known = offsets_[offsets];
        if (!known) known = list("offsets", offsets, shape_.num_sequences + 1, fe::DataType_t::INT64);
        tensor.set_ragged_offset(known);
    }

    Tensor input(const char* name, TensorId id, std::int64_t dim, std::int64_t distance, TensorId offsets) {
        auto attributes = fe::graph::Tensor_attributes().set_name(name).set_uid(id);
        place(attributes, dim, distance, offsets);
        return graph_->tensor(attributes);
    }

    const AttentionArgs& args_;
    Shape shape_;
    std::shared_ptr<fe::graph::Graph> graph_;
    std::map<TensorId, Tensor> offsets_;
};

bool fits_cudnn(const AttentionArgs& args, DType dtype) {
    const std::int64_t key_dim = args.nope_dim + args.rope_dim;
    return dtype == DType::bf16 && args.num_heads > 0 && key_dim <= 256 && args.v_dim <= 256 &&
           key_dim % 8 == 0 && args.nope_dim % 8 == 0 && args.v_dim % 8 == 0 && args.v_dim > 0;
}

}  // namespace

struct Attention::Plans {
    cudnnHandle_t handle = nullptr;
    std::map<Shape, Plan> known;
    std::string refusal;  // what cuDNN said first

    Plans() { require_cudnn(cudnnCreate(&handle), "handle"); }
    ~Plans() { cudnnDestroy(handle); }
    Plans(const Plans&) = delete;
    Plans& operator=(const Plans&) = delete;

    const Plan& of(const AttentionArgs& args, const Shape& shape) {
        const auto found = known.find(shape);
        if (found != known.end()) return found->second;
        Plan& plan = known[shape];
        const std::string refused = GraphBuilder(args, shape).build(handle, plan);
        if (refusal.empty()) refusal = refused;
        return plan;
    }
};

Attention::Attention(const AttentionArgs& args, DType dtype) : args_(args), dtype_(dtype) {
    if (fits_cudnn(args, dtype)) plans_ = std::make_unique<Plans>();
}

Attention::~Attention() = default;

std::int64_t Attention::prepare(std::span<const std::int64_t> starts) {
    const std::int64_t lists = sequence_lists_bytes(std::ssize(starts) - 1);
    const std::optional<Shape> shape = shape_of_sequences(starts);
    if (!plans_ || !shape) return lists;
    const Plan& plan = plans_->of(args_, *shape);
    if (!plan.graph) return lists;
    const std::int64_t key_bytes =
        starts.back() * args_.num_heads * (args_.nope_dim + args_.rope_dim) * bytes_of(dtype_);
    return rounded_up(key_bytes) + rounded_up(plan.workspace_bytes) + lists;
}

void Attention::run(Stream stream, Rows q, Rows kv, Rows k_rope, std::span<const std::int64_t> starts,
                    Rows out, std::byte* scratch) {
    const std::int64_t key_dim = args_.nope_dim + args_.rope_dim;
    require(!starts.empty() && starts.front() == 0 && starts.back() == q.num_rows, "attention",
            "the sequences cover the rows", q, out);
    require(q.stride == args_.num_heads * key_dim &&
                kv.stride == args_.num_heads * (args_.nope_dim + args_.v_dim) &&
                out.stride == args_.num_heads * args_.v_dim,
            "attention", "rows without gaps", q, kv);
    const std::optional<Shape> shape = shape_of_sequences(starts);
    if (!shape || args_.num_heads == 0) return;
    const Plan* plan = plans_ ? &plans_->of(args_, *shape) : nullptr;
    if (plan == nullptr || !plan->graph) {
        // Offsets in rows: the starts themselves.
        const SequenceLists lists = place_sequence_lists(scratch, std::ssize(starts) - 1);
        write_sequence_lists(stream, starts, 1, 1, 1, lists);
        attention(stream, q, kv, k_rope, lists.query_offsets, std::ssize(starts) - 1,
                  longest_first(starts).front(), args_, out);
        return;
    }
    const Rows keys{scratch, dtype_, q.num_rows, q.num_cols, q.num_cols};
    assemble_keys(stream, kv, k_rope, args_, keys);
    scratch += rounded_up(keys.num_rows * keys.num_cols * bytes_of(dtype_));
    std::byte* const workspace = scratch;
    scratch += rounded_up(plan->workspace_bytes);

    std::unordered_map<std::int64_t, void*> tensors{{kQuery, q.data},
                                                    {kKeys, keys.data},
                                                    {kValues, kv.columns(args_.nope_dim, args_.v_dim).data},
                                                    {kOut, out.data}};
    if (!shape->whole) {
        const SequenceLists lists = place_sequence_lists(scratch, shape->num_sequences);
        write_sequence_lists(stream, starts, q.stride, kv.stride, out.stride, lists);
        tensors.insert({{kLengths, lists.lengths},
                        {kQueryOffsets, lists.query_offsets},
                        {kKvOffsets, lists.kv_offsets},
                        {kOutOffsets, lists.out_offsets}});
    }
    require_cudnn(cudnnSetStream(plans_->handle, stream), "stream");
    fe::error_t error = plan->graph->execute(plans_->handle, tensors, workspace);
    if (error.is_bad()) throw Error(Exit::internal, "cuDNN: attention: " + error.get_message());
}

std::string Attention::describe() const {
    if (!plans_) return "plain attention";
    const std::size_t version = cudnnGetVersion();
    const std::string name =
        fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
    return plans_->refusal.empty() ? name : "plain attention where " + name + " refuses: " + plans_->refusal;
}

}  // namespace eps::kernels::device
