// The program with one kernel that errs: end-to-end tests ask it whether the run notices.
// EPS_TEST_WRONG_KERNEL names the kernel; EPS_TEST_WRONG_HOW (value) is value, hang or throw;
// EPS_TEST_WRONG_AFTER (0) is the number of calls that are still right, EPS_TEST_WRONG_RANK (all) the only
// rank that errs.
#include "app/program.hpp"
#include "backend/cpu/backend.hpp"
#include "base/dtype.hpp"
#include "base/error.hpp"
#include "kernels/cpu/ops.hpp"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>

#include <unistd.h>

namespace {

using namespace eps;
using kernels::Kernels;

Kernels wrong;                    // the table that the program gets
std::atomic<std::int64_t> calls;  // of the wrong kernel

std::int64_t number(const char* name, std::int64_t fallback) {
    const char* text = std::getenv(name);
    return text == nullptr ? fallback : std::atoll(text);
}

bool errs_now() {
    static const std::int64_t right_calls = number("EPS_TEST_WRONG_AFTER", 0);
    static const std::int64_t only_rank = number("EPS_TEST_WRONG_RANK", -1);
    static const std::int64_t rank = number("OMPI_COMM_WORLD_RANK", 0);
    static const char* const how = std::getenv("EPS_TEST_WRONG_HOW");
    const bool errs = (only_rank < 0 || rank == only_rank) && calls++ >= right_calls;
    if (errs && how != nullptr && std::strcmp(how, "hang") == 0)
        for (;;) pause();
    if (errs && how != nullptr && std::strcmp(how, "throw") == 0)
        throw Error(Exit::resource, "this kernel throws: it was asked to");
    return errs;
}

// Every value 1 % too large.
void spoil(Rows out) {
    if (!errs_now()) return;
    with_float_type(out.dtype, [&]<typename T>() {
        for (std::int64_t row = 0; row < out.num_rows; ++row)
            for (std::int64_t col = 0; col < out.num_cols; ++col)
                out.row<T>(row)[col] = static_cast<T>(static_cast<float>(out.row<T>(row)[col]) * 1.01F);
    });
}

// By name: replaces a function of `wrong` by one that runs the right one and spoils what it wrote.
const std::map<std::string, std::function<void()>> kWays = {
    {"rms_norm",
     [] {
         wrong.rms_norm = [](Rows in, Rows weight, double eps, Rows out, int threads) {
             kernels::cpu_kernels().rms_norm(in, weight, eps, out, threads);
             spoil(out);
         };
     }},
    {"linear",
     [] {
         wrong.linear = [](Rows in, const kernels::GemmWeight& weight, const Rows* bias, Rows out,
                           int threads) {
             kernels::cpu_kernels().linear(in, weight, bias, out, threads);
             spoil(out);
         };
     }},
    {"expert_gemm",
     [] {
         wrong.expert_gemm = [](Rows in, std::span<const kernels::ExpertRows> experts, kernels::GemmKind kind,
                                Rows out, int threads) {
             kernels::cpu_kernels().expert_gemm(in, experts, kind, out, threads);
             for (const auto& expert : experts) spoil(out.slice(expert.rows.begin, expert.rows.end));
         };
     }},
    {"attention",
     [] {
         wrong.attention = [](Rows q, Rows kv, Rows k_rope, std::span<const std::int64_t> starts,
                              const kernels::AttentionArgs& args, Rows out, int threads) {
             kernels::cpu_kernels().attention(q, kv, k_rope, starts, args, out, threads);
             spoil(out);
         };
     }},
    {"rope",
     [] {
         wrong.rope = [](Rows x, std::span<const std::int32_t> positions, const kernels::RopeTable& table,
                         std::int64_t num_heads, std::int64_t head_stride, std::int64_t offset, int threads) {
             kernels::RopeTable other = table;
             if (errs_now())
                 for (double& frequency : other.inverse_frequencies) frequency *= 1.01;
             kernels::cpu_kernels().rope(x, positions, other, num_heads, head_stride, offset, threads);
         };
     }},
    {"gate",
     [] {
         wrong.gate = [](Rows in, Rows weight, const kernels::GateArgs& args, std::int32_t* ids,
                         float* weights, int threads) {
             kernels::cpu_kernels().gate(in, weight, args, ids, weights, threads);
             if (errs_now())
                 for (std::int64_t i = 0; i < in.num_rows * args.top_k; ++i) weights[i] *= 1.01F;
         };
     }},
    {"swiglu",
     [] {
         wrong.swiglu = [](Rows in, Rows out, int threads) {
             kernels::cpu_kernels().swiglu(in, out, threads);
             spoil(out);
         };
     }},
    {"local_reduce",
     [] {
         wrong.local_reduce = [](Rows in, std::span<const std::int32_t> starts,
                                 std::span<const std::int32_t> index, std::span<const float> weights,
                                 Rows out, int threads) {
             kernels::cpu_kernels().local_reduce(in, starts, index, weights, out, threads);
             spoil(out);
         };
     }},
    {"unpack_sum",
     [] {
         wrong.unpack_sum = [](Rows in, std::span<const std::int32_t> starts,
                               std::span<const std::int32_t> index, const Rows* shared, const Rows* residual,
                               Rows out, int threads) {
             kernels::cpu_kernels().unpack_sum(in, starts, index, shared, residual, out, threads);
             spoil(out);
         };
     }},
    {"sum_rows",
     [] {
         wrong.sum_rows = [](std::span<const Rows> parts, Rows out, int threads) {
             kernels::cpu_kernels().sum_rows(parts, out, threads);
             spoil(out);
         };
     }},
    {"sum_rows of many",  // exchanges between more than two ranks, not the residual
     [] {
         wrong.sum_rows = [](std::span<const Rows> parts, Rows out, int threads) {
             kernels::cpu_kernels().sum_rows(parts, out, threads);
             if (parts.size() > 2) spoil(out);
         };
     }},
};

}  // namespace

int main(int argc, char** argv) {
    wrong = kernels::cpu_kernels();
    if (const char* name = std::getenv("EPS_TEST_WRONG_KERNEL"); name != nullptr) {
        const auto way = kWays.find(name);
        if (way == kWays.end()) {
            std::fprintf(stderr, "no way is known to make the kernel '%s' wrong\n", name);
            return 70;
        }
        way->second();
    }
    const backend::Backends backends{
        {"cpu",
         {.make = [](const backend::BackendSetup& setup) { return backend::cpu::make_backend(setup, wrong); },
          .devices = nullptr}}};
    return run_program(argc, argv, backends);
}
