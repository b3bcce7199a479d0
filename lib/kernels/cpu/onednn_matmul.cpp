// oneDNN 2.x and 3.x behind onednn_matmul.hpp.
#include "kernels/cpu/onednn_matmul.hpp"

#include "base/error.hpp"
#include "base/random.hpp"
#include "kernels/cpu/aligned_buffer.hpp"

#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include <dnnl.hpp>
#include <fmt/format.h>
#include <omp.h>

namespace eps::kernels {
namespace {

using dnnl::memory;

dnnl::engine& cpu_engine() {
    static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    return engine;
}

/// In order, and nothing is left running when execute returns; one for each thread that computes.
dnnl::stream& this_threads_stream() {
    thread_local dnnl::stream stream(cpu_engine());
    return stream;
}

memory::data_type data_type_of(DType dtype) {
    return dtype == DType::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

/// oneDNN reads the OpenMP setting of the calling thread, when it makes a primitive and when it runs one.
class OmpThreads {
  public:
    explicit OmpThreads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
    ~OmpThreads() { omp_set_num_threads(before_); }
    OmpThreads(const OmpThreads&) = delete;
    OmpThreads& operator=(const OmpThreads&) = delete;

  private:
    int before_;
};

/// Runs `f`; an error of the library becomes ours, with the shape.
template <typename F>
auto explained(const MatmulShape& shape, const char* what, F&& f) {
    try {
        return f();
    } catch (const dnnl::error& error) {
        throw Error(Exit::internal,
                    fmt::format("oneDNN cannot {} matmul {} m {} n {} k {} on {} threads: {} (status {})",
                                what, name_of(shape.dtype), shape.m, shape.n, shape.k, shape.threads,
                                error.what(), static_cast<int>(error.status)));
    }
}

/// [k, n] as stored: the plain weight is [n, k].
memory::desc plain_weight(const MatmulShape& shape) {
    return memory::desc({shape.k, shape.n}, data_type_of(shape.dtype), memory::dims{1, shape.k});
}

memory::desc dense(std::int64_t rows, std::int64_t cols, memory::data_type type) {
    return memory::desc({rows, cols}, type, memory::dims{cols, 1});
}

dnnl::matmul::primitive_desc describe(const MatmulShape& shape, const memory::desc& weight) {
    const OmpThreads setting(shape.threads);
    const memory::desc a = dense(shape.m, shape.k, data_type_of(shape.dtype));
    const memory::desc c = dense(shape.m, shape.n, data_type_of(shape.dtype));
    const memory::desc bias = shape.has_bias ? dense(1, shape.n, memory::data_type::f32) : memory::desc();
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
    if (shape.has_bias) return {cpu_engine(), a, weight, bias, c, attributes};
    return {cpu_engine(), a, weight, c, attributes};
#else
    if (shape.has_bias) return {dnnl::matmul::desc(a, weight, bias, c), attributes, cpu_engine()};
    return {dnnl::matmul::desc(a, weight, c), attributes, cpu_engine()};
#endif
}

dnnl::matmul::primitive_desc describe_any(const MatmulShape& shape) {
    return describe(shape,
                    memory::desc({shape.k, shape.n}, data_type_of(shape.dtype), memory::format_tag::any));
}

/// The shape whose favourite layout every m gets.
MatmulShape packing_shape(DType dtype, std::int64_t n, std::int64_t k) {
    return {.m = 64, .n = n, .k = k, .dtype = dtype};
}

memory::desc packed_layout(DType dtype, std::int64_t n, std::int64_t k) {
    const MatmulShape shape = packing_shape(dtype, n, k);
    return explained(shape, "describe", [&] { return describe_any(shape).weights_desc(); });
}

class OnednnMatrix : public PackedMatrix {
  public:
    explicit OnednnMatrix(memory packed) : packed_(std::move(packed)) {}
    std::int64_t bytes() const override { return static_cast<std::int64_t>(packed_.get_desc().get_size()); }
    const memory& packed() const { return packed_; }

  private:
    memory packed_;
};

struct HashShape {
    std::size_t operator()(const MatmulShape& s) const {
        std::uint64_t h = mix_bits(static_cast<std::uint64_t>(s.m));
        h = mix_bits(h ^ static_cast<std::uint64_t>(s.n));
        h = mix_bits(h ^ static_cast<std::uint64_t>(s.k));
        const int rest = (s.threads * 8 + static_cast<int>(s.dtype)) * 2 + (s.has_bias ? 1 : 0);
        return static_cast<std::size_t>(mix_bits(h ^ static_cast<std::uint64_t>(rest)));
    }
};

/// A primitive and the descriptors of its operands.
struct Matmul {
    memory::desc a;
    memory::desc bias;
    memory::desc c;
    memory::desc scratchpad;
    dnnl::matmul primitive;

    explicit Matmul(const dnnl::matmul::primitive_desc& pd)
        : a(pd.src_desc()),
          bias(pd.bias_desc()),
          c(pd.dst_desc()),
          scratchpad(pd.scratchpad_desc()),
          primitive(pd) {}
};

/// All primitives of the process; none is ever dropped, so that a warm pass makes none.
class Primitives {
  public:
    /// References stay valid: unordered_map does not move its values.
    const Matmul& find_or_make(const MatmulShape& shape, const memory::desc& weight) {
        {
            const std::shared_lock lock(mutex_);
            const auto found = by_shape_.find(shape);
            if (found != by_shape_.end()) return found->second;
        }
        // Made outside the lock: experts side by side make theirs at once. Two makers of one shape make equal
        // ones.
        Matmul made = explained(shape, "make", [&] {
            const OmpThreads setting(shape.threads);
            return Matmul(describe(shape, weight));
        });
        const std::unique_lock lock(mutex_);
        return by_shape_.try_emplace(shape, std::move(made)).first->second;
    }

    std::int64_t size() const {
        const std::shared_lock lock(mutex_);
        return static_cast<std::int64_t>(by_shape_.size());
    }

  private:
    mutable std::shared_mutex mutex_;
    std::unordered_map<MatmulShape, Matmul, HashShape> by_shape_;
};

Primitives& primitives() {
    static Primitives all;
    return all;
}

std::string chosen_kernel(DType dtype) {
    const MatmulShape shape = packing_shape(dtype, 1024, 1024);
    return explained(shape, "describe", [&] { return std::string(describe_any(shape).impl_info_str()); });
}

/// Names of kernels that multiply bf16 in hardware end in their instruction set.
bool multiplies_bf16() {
    try {
        const std::string name = chosen_kernel(DType::bf16);
        for (const char* set : {"bf16", "fp16", "amx", "avx10"}) {
            if (name.find(set) != std::string::npos) return true;
        }
    } catch (const Error&) {
        // unimplemented below AVX-512
    }
    return false;
}

/// Operands are only read, but oneDNN's handles know no const.
void* writable(const void* p) {
    return const_cast<void*>(p);
}

}  // namespace

std::string onednn_version() {
    const dnnl_version_t* version = dnnl_version();
    return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

DType gemm_dtype(DType dtype) {
    static const bool native = multiplies_bf16();
    return dtype == DType::bf16 && native ? DType::bf16 : DType::f32;
}

std::string matmul_implementation(DType dtype) {
    return chosen_kernel(dtype);
}

std::string matmul_implementation(const MatmulShape& shape) {
    const memory::desc weight = packed_layout(shape.dtype, shape.n, shape.k);
    return explained(shape, "describe", [&] { return std::string(describe(shape, weight).impl_info_str()); });
}

std::int64_t packed_matrix_bytes(DType dtype, std::int64_t n, std::int64_t k) {
    return static_cast<std::int64_t>(packed_layout(dtype, n, k).get_size());
}

std::unique_ptr<PackedMatrix> pack_matrix(DType dtype, std::int64_t n, std::int64_t k, const void* rows) {
    const MatmulShape shape = packing_shape(dtype, n, k);
    return explained(shape, "pack the weight of", [&] {
        const OmpThreads setting(1);  // ranks pack side by side
        memory packed(packed_layout(dtype, n, k), cpu_engine());
        memory plain(plain_weight(shape), cpu_engine(), writable(rows));
        dnnl::reorder(plain, packed).execute(this_threads_stream(), plain, packed);
        this_threads_stream().wait();
        return std::make_unique<OnednnMatrix>(std::move(packed));
    });
}

void matmul(const MatmulShape& shape, const void* a, const PackedMatrix& w, const float* bias, void* c) {
    const memory& weight = dynamic_cast<const OnednnMatrix&>(w).packed();
    const Matmul& op = primitives().find_or_make(shape, weight.get_desc());
    thread_local AlignedBuffer scratch;
    explained(shape, "run", [&] {
        const OmpThreads setting(shape.threads);
        const auto scratch_bytes = static_cast<std::int64_t>(op.scratchpad.get_size());
        std::unordered_map<int, memory> operands{
            {DNNL_ARG_SRC, memory(op.a, cpu_engine(), writable(a))},
            {DNNL_ARG_WEIGHTS, weight},
            {DNNL_ARG_DST, memory(op.c, cpu_engine(), c)},
            {DNNL_ARG_SCRATCHPAD,
             memory(op.scratchpad, cpu_engine(), scratch.room_for<std::byte>(scratch_bytes))},
        };
        if (shape.has_bias) operands.emplace(DNNL_ARG_BIAS, memory(op.bias, cpu_engine(), writable(bias)));
        op.primitive.execute(this_threads_stream(), operands);
        this_threads_stream().wait();
    });
}

std::int64_t num_primitives() {
    return primitives().size();
}

}  // namespace eps::kernels
