#include "kernels/cuda/dense_gemm.hpp"

#include "kernels/require.hpp"

#include <algorithm>
#include <compare>
#include <cstdint>
#include <map>

#include <cublasLt.h>
#include <fmt/format.h>

namespace eps::kernels::device {

/// What decides the algorithm.
struct DenseGemmClass {
    std::int64_t m, n, k;
    DType in, out;
    bool bias;
    int num_sms;
    std::int64_t in_alignment, weight_alignment, out_alignment;
    auto operator<=>(const DenseGemmClass&) const = default;
};

namespace {

void require_cublas(cublasStatus_t status, const char* what) {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw Error(Exit::internal, fmt::format("cuBLASLt: {}: {}", what, cublasLtGetStatusString(status)));
}

cudaDataType_t cublas_type(DType dtype) {
    return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

/// The product as the library sees it: column-major out^T [n, m] = (weight^T)^T in^T.
struct Product {
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t weight, in, out;

    Product(const DenseGemmClass& shape, std::int64_t weight_stride, std::int64_t in_stride,
            std::int64_t out_stride, const void* bias) {
        require_cublas(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "descriptor");
        set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
        if (shape.bias) {
            set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
            set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
        }
        if (shape.num_sms > 0) set(CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, std::int32_t{shape.num_sms});
        const auto rows = [](std::int64_t count) { return static_cast<std::uint64_t>(count); };
        const cudaDataType_t type = cublas_type(shape.in);
        require_cublas(cublasLtMatrixLayoutInit(&weight, type, rows(shape.k), rows(shape.n), weight_stride),
                       "layout of the weight");
        require_cublas(cublasLtMatrixLayoutInit(&in, type, rows(shape.k), rows(shape.m), in_stride),
                       "layout of the input");
        require_cublas(
            cublasLtMatrixLayoutInit(&out, cublas_type(shape.out), rows(shape.n), rows(shape.m), out_stride),
            "layout of the output");
    }

    template <typename T>
    void set(cublasLtMatmulDescAttributes_t attribute, T value) {
        require_cublas(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof(value)),
                       "descriptor");
    }
};

class Preference {
  public:
    Preference() { require_cublas(cublasLtMatmulPreferenceInit(&preference_), "preference"); }
    template <typename T>
    void set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
        require_cublas(cublasLtMatmulPreferenceSetAttribute(&preference_, attribute, &value, sizeof(value)),
                       "preference");
    }
    cublasLtMatmulPreference_t get() { return &preference_; }

  private:
    cublasLtMatmulPreferenceOpaque_t preference_;
};

cublasLtMatmulAlgo_t choose(cublasLtHandle_t handle, const DenseGemmClass& shape, const void* bias) {
    Product product(shape, shape.k, shape.k, shape.n, bias);
    Preference preference;
    preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{DenseGemm::kWorkspaceBytes});
    preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                   static_cast<std::uint32_t>(shape.weight_alignment));
    preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                   static_cast<std::uint32_t>(shape.in_alignment));
    preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                   static_cast<std::uint32_t>(shape.out_alignment));
    preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                   static_cast<std::uint32_t>(shape.out_alignment));
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(handle, &product.operation, &product.weight, &product.in, &product.out,
                                       &product.out, preference.get(), 1, &found, &count);
    if (status != CUBLAS_STATUS_SUCCESS || count == 0)
        throw Error(Exit::internal,
                    fmt::format("cuBLASLt has no algorithm for {} [{}, {}] x [{}, {}]: {}", name_of(shape.in),
                                shape.m, shape.k, shape.n, shape.k, cublasLtGetStatusString(status)));
    return found.algo;
}

bool is_aligned(const void* data, std::int64_t alignment) {
    return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(alignment) == 0;
}

}  // namespace

std::int64_t row_alignment(const Rows& rows) {
    const std::int64_t bytes = rows.stride * bytes_of(rows.dtype);
    return std::min<std::int64_t>(16, bytes & -bytes);
}

struct DenseGemm::Algorithms {
    cublasLtHandle_t handle = nullptr;
    std::map<DenseGemmClass, cublasLtMatmulAlgo_t> known;

    Algorithms() { require_cublas(cublasLtCreate(&handle), "handle"); }
    ~Algorithms() { cublasLtDestroy(handle); }
    Algorithms(const Algorithms&) = delete;
    Algorithms& operator=(const Algorithms&) = delete;
};

DenseGemm::DenseGemm() : algorithms_(std::make_unique<Algorithms>()) {}
DenseGemm::~DenseGemm() = default;

void DenseGemm::run(Stream stream, const Rows& in, const Rows& weight, const Rows* bias, const Rows& out,
                    int num_sms, std::byte* workspace) {
    require(in.num_rows == out.num_rows && in.num_cols == weight.num_cols &&
                out.num_cols == weight.num_rows && (bias == nullptr || bias->num_cols == out.num_cols),
            "linear", "in [m, k], weight [n, k], bias [1, n], out [m, n]", in, out);
    require(in.dtype == weight.dtype &&
                (out.dtype == in.dtype || (out.dtype == DType::f32 && bias == nullptr)) &&
                (bias == nullptr || bias->dtype == out.dtype),
            "linear", "one dtype, or f32 out", in, out);
    if (in.num_rows == 0 || out.num_cols == 0) return;
    const DenseGemmClass shape{.m = in.num_rows,
                               .n = out.num_cols,
                               .k = in.num_cols,
                               .in = in.dtype,
                               .out = out.dtype,
                               .bias = bias != nullptr,
                               .num_sms = num_sms,
                               .in_alignment = row_alignment(in),
                               .weight_alignment = row_alignment(weight),
                               .out_alignment = row_alignment(out)};
    require(is_aligned(in.data, shape.in_alignment) && is_aligned(weight.data, shape.weight_alignment) &&
                is_aligned(out.data, shape.out_alignment),
            "linear", "rows as aligned as their stride", in, out);
    const void* bias_data = bias == nullptr ? nullptr : bias->data;
    auto known = algorithms_->known.find(shape);
    if (known == algorithms_->known.end())
        known = algorithms_->known.emplace(shape, choose(algorithms_->handle, shape, bias_data)).first;

    Product product(shape, weight.stride, in.stride, out.stride, bias_data);
    const float one = 1, zero = 0;
    require_cublas(cublasLtMatmul(algorithms_->handle, &product.operation, &one, weight.data, &product.weight,
                                  in.data, &product.in, &zero, out.data, &product.out, out.data, &product.out,
                                  &known->second, workspace, kWorkspaceBytes, stream),
                   "product");
}

std::string DenseGemm::describe() {
    const std::size_t version = cublasLtGetVersion();
    return fmt::format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace eps::kernels::device
