// multiply_tile for AVX-512 (f32 and bf16 pairs), AVX2 and plain loops; the transposition that fills panels.
#include "kernels/cpu/tile.hpp"

// GCC 12 takes the undefined operands inside its own intrinsics for mistakes.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "kernels/cpu/simd.hpp"

#include <cstring>

#define EPS_TARGET_BF16 __attribute__((noinline, target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace eps::kernels {
namespace {

struct Tile {
    const void* a;
    std::int64_t a_stride;  // in 32-bit units: one f32 or one pair of bf16
    const void* panel;
    std::int64_t depth;  // in units
    float* c;
    std::int64_t c_stride;
    bool accumulate;
};

template <int kVectors>
EPS_TARGET_AVX512 void tile_f32_avx512(const Tile& t) {
    __m512 sums[kTileRows][kVectors];
    for (auto& row : sums) {
        for (__m512& sum : row) sum = _mm512_setzero_ps();
    }
    const float* a = static_cast<const float*>(t.a);
    const float* panel = static_cast<const float*>(t.panel);
    for (std::int64_t d = 0; d < t.depth; ++d, panel += kPanelCols) {
        __m512 b[kVectors];
        for (int v = 0; v < kVectors; ++v) b[v] = _mm512_loadu_ps(panel + v * kLanes);
        for (int r = 0; r < kTileRows; ++r) {
            const __m512 x = _mm512_set1_ps(a[r * t.a_stride + d]);
            for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_fmadd_ps(x, b[v], sums[r][v]);
        }
    }
    for (int r = 0; r < kTileRows; ++r) {
        for (int v = 0; v < kVectors; ++v) {
            float* c = t.c + r * t.c_stride + v * kLanes;
            _mm512_storeu_ps(c, t.accumulate ? _mm512_add_ps(_mm512_loadu_ps(c), sums[r][v]) : sums[r][v]);
        }
    }
}

template <int kVectors>
EPS_TARGET_BF16 void tile_bf16_avx512(const Tile& t) {
    __m512 sums[kTileRows][kVectors];
    for (auto& row : sums) {
        for (__m512& sum : row) sum = _mm512_setzero_ps();
    }
    const char* a = static_cast<const char*>(t.a);
    const char* panel = static_cast<const char*>(t.panel);
    for (std::int64_t d = 0; d < t.depth; ++d, panel += 4 * kPanelCols) {
        __m512i b[kVectors];
        for (int v = 0; v < kVectors; ++v) b[v] = _mm512_loadu_si512(panel + 4 * v * kLanes);
        for (int r = 0; r < kTileRows; ++r) {
            int pair;
            std::memcpy(&pair, a + 4 * (r * t.a_stride + d), sizeof pair);
            const auto x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
            for (int v = 0; v < kVectors; ++v) {
                sums[r][v] = _mm512_dpbf16_ps(sums[r][v], x, reinterpret_cast<__m512bh>(b[v]));
            }
        }
    }
    for (int r = 0; r < kTileRows; ++r) {
        for (int v = 0; v < kVectors; ++v) {
            float* c = t.c + r * t.c_stride + v * kLanes;
            _mm512_storeu_ps(c, t.accumulate ? _mm512_add_ps(_mm512_loadu_ps(c), sums[r][v]) : sums[r][v]);
        }
    }
}

/// Six rows by 16 columns: 12 of the 16 registers hold sums.
EPS_TARGET_AVX2 void tile_f32_avx2(const Tile& t) {
    __m256 sums[kTileRows][2];
    for (auto& row : sums) row[0] = row[1] = _mm256_setzero_ps();
    const float* a = static_cast<const float*>(t.a);
    const float* panel = static_cast<const float*>(t.panel);
    for (std::int64_t d = 0; d < t.depth; ++d, panel += kPanelCols) {
        const __m256 low = _mm256_loadu_ps(panel);
        const __m256 high = _mm256_loadu_ps(panel + 8);
        for (int r = 0; r < kTileRows; ++r) {
            const __m256 x = _mm256_set1_ps(a[r * t.a_stride + d]);
            sums[r][0] = _mm256_fmadd_ps(x, low, sums[r][0]);
            sums[r][1] = _mm256_fmadd_ps(x, high, sums[r][1]);
        }
    }
    for (int r = 0; r < kTileRows; ++r) {
        for (int v = 0; v < 2; ++v) {
            float* c = t.c + r * t.c_stride + v * 8;
            _mm256_storeu_ps(c, t.accumulate ? _mm256_add_ps(_mm256_loadu_ps(c), sums[r][v]) : sums[r][v]);
        }
    }
}

void tile_f32_baseline(const Tile& t) {
    const float* a = static_cast<const float*>(t.a);
    for (std::int64_t r = 0; r < kTileRows; ++r) {
        float sums[kLanes] = {};
        const float* panel = static_cast<const float*>(t.panel);
        for (std::int64_t d = 0; d < t.depth; ++d, panel += kPanelCols) {
            const float x = a[r * t.a_stride + d];
#pragma omp simd
            for (std::int64_t i = 0; i < kLanes; ++i) sums[i] += x * panel[i];
        }
        float* c = t.c + r * t.c_stride;
        for (std::int64_t i = 0; i < kLanes; ++i) c[i] = t.accumulate ? c[i] + sums[i] : sums[i];
    }
}

/// For instruction sets whose tile is one vector of 16 columns wide.
void by_vectors(void (*tile)(const Tile&), Tile t, std::int64_t num_vectors) {
    for (std::int64_t v = 0; v < num_vectors; ++v) {
        tile(t);
        t.panel = static_cast<const float*>(t.panel) + kLanes;
        t.c += kLanes;
    }
}

using TileFunction = void (*)(const Tile&);
constexpr TileFunction kF32Avx512[] = {tile_f32_avx512<1>, tile_f32_avx512<2>, tile_f32_avx512<3>,
                                       tile_f32_avx512<4>};
constexpr TileFunction kBf16Avx512[] = {tile_bf16_avx512<1>, tile_bf16_avx512<2>, tile_bf16_avx512<3>,
                                        tile_bf16_avx512<4>};

/// 16 x 16 units: in [16][in_stride] to out [16][64], rows become columns. Four rounds of pairwise exchange.
EPS_TARGET_AVX512 void transpose_avx512(const std::uint32_t* in, std::int64_t in_stride, std::uint32_t* out) {
    __m512i x[kLanes];
    __m512i y[kLanes];
    for (int i = 0; i < kLanes; ++i) x[i] = _mm512_loadu_si512(in + i * in_stride);
    for (int i = 0; i < kLanes; i += 2) {
        y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
    for (int i = 0; i < kLanes; i += 4) {
        x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {  // x[4g + i] holds units i, 4+i, 8+i, 12+i of rows 4g .. 4g+3
        const __m512i even01 = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
        const __m512i odd01 = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
        const __m512i even23 = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        const __m512i odd23 = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
        _mm512_storeu_si512(out + i * kPanelCols, _mm512_shuffle_i32x4(even01, even23, 0x88));
        _mm512_storeu_si512(out + (i + 4) * kPanelCols, _mm512_shuffle_i32x4(odd01, odd23, 0x88));
        _mm512_storeu_si512(out + (i + 8) * kPanelCols, _mm512_shuffle_i32x4(even01, even23, 0xdd));
        _mm512_storeu_si512(out + (i + 12) * kPanelCols, _mm512_shuffle_i32x4(odd01, odd23, 0xdd));
    }
}

void transpose_plain(const std::uint32_t* in, std::int64_t in_stride, std::uint32_t* out) {
    for (std::int64_t i = 0; i < kLanes; ++i) {
        for (std::int64_t j = 0; j < kLanes; ++j) out[i * kPanelCols + j] = in[j * in_stride + i];
    }
}

void transpose_units(const void* rows, std::int64_t num_units, void* panel) {
    const auto* in = static_cast<const std::uint32_t*>(rows);
    auto* out = static_cast<std::uint32_t*>(panel);
    const auto transpose = active_isa() >= Isa::avx512 ? transpose_avx512 : transpose_plain;
    for (std::int64_t unit = 0; unit < num_units; unit += kLanes) {
        for (std::int64_t col = 0; col < kPanelCols; col += kLanes) {
            transpose(in + col * num_units + unit, num_units, out + unit * kPanelCols + col);
        }
    }
}

}  // namespace

bool has_bf16_tiles() {
    return active_isa() >= Isa::avx512_bf16;
}

void multiply_tile(const float* a, std::int64_t a_stride, const float* panel, std::int64_t depth, float* c,
                   std::int64_t c_stride, std::int64_t num_vectors, bool accumulate) {
    const Tile tile{a, a_stride, panel, depth, c, c_stride, accumulate};
    const Isa isa = active_isa();
    if (isa >= Isa::avx512)
        kF32Avx512[num_vectors - 1](tile);
    else
        by_vectors(isa == Isa::avx2 ? tile_f32_avx2 : tile_f32_baseline, tile, num_vectors);
}

void multiply_tile(const Bf16* a, std::int64_t a_stride, const Bf16* panel, std::int64_t depth, float* c,
                   std::int64_t c_stride, std::int64_t num_vectors, bool accumulate) {
    kBf16Avx512[num_vectors - 1]({a, a_stride / 2, panel, depth / 2, c, c_stride, accumulate});
}

void transpose_into_panel(const float* rows, std::int64_t depth, float* panel) {
    transpose_units(rows, depth, panel);
}

void transpose_into_panel(const Bf16* rows, std::int64_t depth, Bf16* panel) {
    transpose_units(rows, depth / 2, panel);
}

void interleave_into_panel(const float* rows, std::int64_t, float* panel) {
    std::memcpy(panel, rows, kPanelCols * sizeof(float));
}

void interleave_into_panel(const Bf16* rows, std::int64_t stride, Bf16* panel) {
    vectorised([=]() EPS_INLINE {
#pragma omp simd
        for (std::int64_t i = 0; i < kPanelCols; ++i) {
            panel[2 * i] = rows[i];
            panel[2 * i + 1] = rows[stride + i];
        }
    });
}

}  // namespace eps::kernels
