// Choices from made-up calibrations whose best is known.
#include "cost/choose.hpp"
#include "tests/catch.hpp"
#include "tests/cost/made_up.hpp"
#include "tests/count_allocations.hpp"

#include <array>
#include <cmath>

using namespace cost_tests;
using eps::at;
using eps::plan::GemmKind;
using eps::routing::BlockShape;

namespace {

/// Two ranks, 60 experts each, hidden 16, width 4, in f32. An expert row takes 4 us by GroupGemm and nothing
/// else costs anything but the wire.
struct Made {
    Calibration calibration = made_up();
    ExpertLayer layer{.block = {120, 2, 1, 1}, .hidden = 16, .width = 4, .gemm = {}};
    std::vector<std::int32_t> counts;

    Made() {
        const TimeTable nothing{{1}, {1e-30}};
        calibration.exchanges = {{"mpi", 1, nothing, nothing}};
        calibration.copy = nothing;
        calibration.dtypes[0].compute_ops = calibration.dtypes[0].exchange_ops = {};
        calibration.chunk_overhead_s = calibration.segment_overhead_s = 0;
        set_rows(std::vector<std::int64_t>(120, 4));
    }
    // Both sources send as many rows to each expert, each token to one expert.
    void set_rows(const std::vector<std::int64_t>& rows) {
        counts.clear();
        for (int source = 0; source < 2; ++source)
            for (const std::int64_t n : rows)
                counts.insert(counts.end(), 3, static_cast<std::int32_t>(n / 2));
    }
    Prediction choose(std::vector<std::int64_t>& bounds) const {
        Chooser chooser(OpTimes(calibration, eps::DType::f32, ""), layer);
        const eps::routing::CountsView view{counts.data(), 2, 120, 3};
        chooser.choose(view, bounds);
        return chooser.predict(view, bounds);
    }
    Prediction predict(std::int64_t num_chunks) const {
        std::vector<std::int64_t> bounds;
        eps::routing::divide_evenly(layer.block, num_chunks, bounds);
        return Chooser(OpTimes(calibration, eps::DType::f32, ""), layer)
            .predict({counts.data(), 2, 120, 3}, bounds);
    }
};

}  // namespace

TEST_CASE("without overhead predictions are those of the pipeline by hand") {
    Made made;
    made.layer.gemm = GemmKind::group;
    // Of 240 rows of a rank 120 come from the other one, 64 bytes each, and as many go home.
    const double compute = 240 * 4e-6;
    made.layer.link = eps::Link{1e-9 / 1e-6, 0};
    double wire = 120 * 64 * 1e-6;  // the longer
    CHECK(made.predict(1).overlapped_s == Approx(2 * wire + compute));
    CHECK(made.predict(4).overlapped_s == Approx(2 * wire));
    CHECK(made.predict(4).serial_s == Approx(2 * wire + compute));
    made.layer.link = eps::Link{1e-9 / 1e-8, 0};
    wire = 120 * 64 * 1e-8;  // the shorter
    CHECK(made.predict(1).overlapped_s == Approx(2 * wire + compute));
    CHECK(made.predict(4).overlapped_s == Approx(2 * wire / 4 + compute));
}

TEST_CASE("the number of chunks is the paper's sqrt(C / k)") {
    // T(n) = compute + 2 * wire / n + k n where communication is the shorter: least at n = sqrt(2 * wire /
    // k).
    const double wire = 120 * 64 * 6e-8;
    for (const std::int64_t best : {1, 2, 3, 4}) {
        Made made;
        made.layer.gemm = GemmKind::group;
        made.layer.link = eps::Link{1e-9 / 6e-8, 0};
        made.calibration.chunk_overhead_s = 2 * wire / static_cast<double>(best * best);
        std::vector<std::int64_t> bounds;
        const Prediction choice = made.choose(bounds);
        CHECK(choice.num_chunks == best);
        CHECK(std::ssize(bounds) == 2 * (best + 1));
        CHECK(choice.overlapped_s == made.predict(best).overlapped_s);
        for (std::int64_t n = 1; n <= 60; ++n)
            CHECK(made.predict(n).overlapped_s >= choice.overlapped_s * (1 - 1e-12));
    }
}

TEST_CASE("of numbers of chunks that are nearly as good the least is chosen") {
    Made made;
    made.layer.gemm = GemmKind::group;
    made.layer.link = eps::Link{1e-9 / 6e-8, 0};
    made.calibration.chunk_overhead_s = 1e-6;
    std::vector<std::int64_t> bounds;
    const Prediction choice = made.choose(bounds);
    double least = 1;
    for (std::int64_t n = 1; n <= 60; ++n) least = std::min(least, made.predict(n).overlapped_s);
    CHECK(choice.overlapped_s <= least * (1 + 2 * kNotWorthwhile));
    CHECK(made.predict(choice.num_chunks - 1).overlapped_s > least * (1 + kNotWorthwhile));
}

TEST_CASE("a choice is good for computing that is slower than calibrated, too") {
    // On a wire that takes a little longer than computing, two chunks would hide all of it, and none to
    // spare.
    Made made;
    made.layer.gemm = GemmKind::group;
    const double compute = 240 * 4e-6;
    made.layer.link = eps::Link{1e-9 * 120 * 64 / (1.02 * compute), 0};
    made.calibration.chunk_overhead_s = 1e-6;
    std::vector<std::int64_t> bounds;
    const Prediction choice = made.choose(bounds);
    const double chosen = made.predict(choice.num_chunks).overlapped_s;
    Made slower = made;
    for (auto& gemm : slower.calibration.dtypes[0].gemms)
        for (auto& experts : gemm.experts)
            for (double& s : experts.by_rows.seconds) s *= kComputeSpread;
    double least = 1;
    for (std::int64_t n = 1; n <= 60; ++n) least = std::min(least, slower.predict(n).overlapped_s);
    CHECK(slower.predict(choice.num_chunks).overlapped_s <= least * 1.02);
    CHECK(chosen < made.predict(1).overlapped_s);
}

TEST_CASE("where exchanges cost nothing there is one chunk") {
    Made made;
    made.calibration.chunk_overhead_s = 1e-6;
    std::vector<std::int64_t> bounds;
    CHECK(made.choose(bounds).num_chunks == 1);
    CHECK(bounds == std::vector<std::int64_t>{0, 60, 60, 120});
}

TEST_CASE("a skewed load is divided by rows, not by experts") {
    Made made;
    made.layer.gemm = GemmKind::group;
    made.layer.link = eps::Link{1e-9 / 125e-9, 0};
    made.calibration.chunk_overhead_s = 64e-6;
    std::vector<std::int64_t> rows(120, 2);
    for (const std::size_t hot : {0U, 1U, 60U, 61U}) rows[hot] = 114;
    made.set_rows(rows);
    std::vector<std::int64_t> bounds;
    const Prediction choice = made.choose(bounds);
    REQUIRE(choice.num_chunks > 1);
    CHECK(choice.overlapped_s < made.predict(choice.num_chunks).overlapped_s);
    CHECK(bounds[1] < 3);  // the first chunk ends within the hot experts
    CHECK(bounds.front() == 0);
    CHECK(bounds.back() == 120);
}

TEST_CASE("each chunk gets the kind that is faster for its rows: they meet at 100") {
    Made made;
    Chooser chooser(OpTimes(made.calibration, eps::DType::f32, ""), made.layer);
    const std::array<std::int64_t, 3> few{0, 64, 128}, many{0, 256, 512}, mixed{0, 16, 416};
    CHECK(chooser.kind_of(few) == GemmKind::group);
    CHECK(chooser.kind_of(many) == GemmKind::dense);
    CHECK(chooser.kind_of(mixed) == GemmKind::dense);
    const std::array<std::int64_t, 2> none{7, 7};
    CHECK(chooser.kind_of(none) == GemmKind::group);
}

TEST_CASE("SwiGLU is counted for a kind unless its products hold it") {
    Made made;
    made.calibration.dtypes[0].compute_ops = {{"swiglu", line(0, 1e-6 / 48)}};  // 1 us a row
    const auto predicted = [&](GemmKind kind) {
        made.layer.gemm = kind;
        return made.predict(1).overlapped_s;
    };
    const auto kind_of = [&](std::int64_t rows) {
        const std::array<std::int64_t, 3> offsets{0, rows, 2 * rows};
        return Chooser(OpTimes(made.calibration, eps::DType::f32, ""), made.layer).kind_of(offsets);
    };
    CHECK(predicted(GemmKind::group) == Approx(240 * 5e-6));
    CHECK(kind_of(150) == GemmKind::dense);
    const double dense = predicted(GemmKind::dense);
    for (auto& gemm : made.calibration.dtypes[0].gemms)
        for (ExpertGemmTimes& entry : gemm.experts)
            entry.with_swiglu = gemm.n == 8 && entry.kind == GemmKind::group;
    CHECK(predicted(GemmKind::group) == Approx(240 * 4e-6));
    CHECK(predicted(GemmKind::dense) == dense);
    CHECK(kind_of(150) == GemmKind::group);  // now they meet at 200
    CHECK(kind_of(250) == GemmKind::dense);
}

TEST_CASE("a load on no expert, and one on a single expert") {
    Made made;
    made.layer.link = eps::Link{1e-9 / 1e-6, 0};
    made.calibration.chunk_overhead_s = 1e-6;
    std::vector<std::int64_t> bounds;
    made.set_rows(std::vector<std::int64_t>(120, 0));
    CHECK(made.choose(bounds).num_chunks == 1);
    std::vector<std::int64_t> one(120, 0);
    one[119] = 1000;
    made.set_rows(one);
    const Prediction choice = made.choose(bounds);
    CHECK(std::isfinite(choice.overlapped_s));
    CHECK(choice.overlapped_s <= made.predict(1).overlapped_s);
}

TEST_CASE("a warm choice allocates nothing and is the same again") {
    Made made;
    made.layer.link = eps::Link{1e-9 / 1e-7, 0};
    Chooser chooser(OpTimes(made.calibration, eps::DType::f32, ""), made.layer);
    const eps::routing::CountsView counts{made.counts.data(), 2, 120, 3};
    std::vector<std::int64_t> bounds, again;
    chooser.choose(counts, bounds);
    const Prediction first = chooser.predict(counts, bounds);
    chooser.choose(counts, again);
    const std::array<std::int64_t, 3> offsets{0, 64, 128};
    const std::int64_t before = num_allocations;
    chooser.choose(counts, again);
    chooser.kind_of(offsets);
    CHECK(num_allocations == before);
    CHECK(chooser.predict(counts, again).overlapped_s == first.overlapped_s);
    CHECK(again == bounds);
}
