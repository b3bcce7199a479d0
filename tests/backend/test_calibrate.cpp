// Which sizes are measured and what becomes of the times, with micro-benchmarks that know them beforehand.
#include "backend/calibrate.hpp"
#include "tests/catch.hpp"

#include <map>
#include <set>
#include <utility>

namespace {

using namespace eps;
using backend::Grain;
using plan::GemmKind;

class KnownTimes : public backend::MicroBench {
  public:
    explicit KnownTimes(Grain grain) : grain_(std::move(grain)) {}

    Grain grain(const cost::Calibration& /*made*/) const override { return grain_; }
    backend::SecondsAt linear(const cost::Wanted& /*wanted*/) override {
        return [](std::int64_t rows) { return 1e-6 + 1e-6 * static_cast<double>(rows); };
    }
    bool kinds_differ(const cost::Wanted& /*wanted*/) const override { return different; }
    bool with_swiglu(const cost::Wanted& wanted, GemmKind kind) const override {
        return wanted.gate_up && kind == GemmKind::group;
    }
    backend::ExpertSeconds experts(const cost::Wanted& /*wanted*/, std::int64_t most_experts,
                                   std::int64_t most_rows) override {
        return [=](GemmKind kind, std::int64_t num_experts, std::int64_t rows) {
            CHECK(num_experts <= most_experts);
            CHECK(num_experts * rows <= most_rows);
            const double of_kind = kind == GemmKind::dense ? 2 : 1;
            return of_kind * 1e-7 * static_cast<double>(num_experts * rows);
        };
    }
    backend::SecondsAt gate(const cost::Wanted& wanted) override { return linear(wanted); }
    backend::SecondsAt attention(const cost::Wanted& wanted) override { return linear(wanted); }
    backend::SecondsAt memory_op(std::string_view /*op*/, DType /*dtype*/, std::int64_t /*cols*/,
                                 std::int64_t /*most_rows*/, bool /*on_exchange_lane*/) override {
        return [](std::int64_t rows) { return 1e-8 * static_cast<double>(rows); };
    }
    double index_op(std::string_view /*op*/, const backend::IndexWork& work) override {
        arrived[work.num_tokens] = work.num_arrived;
        return 1e-6;
    }
    std::unique_ptr<backend::ExchangeBench> exchanges(comm::Communicator& /*ranks*/,
                                                      std::int64_t /*most_bytes*/) override {
        return nullptr;
    }
    std::unique_ptr<backend::BusyLane> keep_busy() override { return nullptr; }
    std::unique_ptr<backend::Group> load(const backend::Cases& /*cases*/,
                                         const checkpoint::WeightSource& /*source*/) override {
        return nullptr;
    }

    bool different = true;
    std::map<std::int64_t, std::int64_t> arrived;  // rows at the first part, by tokens

  private:
    Grain grain_;
};

cost::DTypeTimes measured(KnownTimes& bench, const cost::Wanted& wanted) {
    model::ModelSpec spec;
    spec.n_routed_experts = 8;
    spec.num_experts_per_tok = 2;
    cost::DTypeTimes times;
    backend::measure_ops({.world = nullptr, .spec = &spec, .bench = &bench}, wanted, times);
    return times;
}

TEST_CASE("GEMMs are measured at one row, then in steps of the backend up to the largest") {
    KnownTimes coarse({.group_sizes = {1}});
    const cost::Wanted wanted{cost::Asked::linear, DType::bf16, 64, 32, 100};
    CHECK(measured(coarse, wanted).gemms.at(0).by_rows.sizes == std::vector<double>{1, 4, 16, 64, 100});
    KnownTimes fine({.second_size = 64, .step = 2, .group_sizes = {1}});
    CHECK(measured(fine, wanted).gemms.at(0).by_rows.sizes == std::vector<double>{1, 64, 100});
    cost::Wanted few = wanted;
    few.most = 1;
    CHECK(measured(fine, few).gemms.at(0).by_rows.sizes == std::vector<double>{1});
    cost::Wanted many = wanted;  // 65537 us are long enough
    many.most = 1 << 20;
    CHECK(measured(fine, many).gemms.at(0).by_rows.sizes.back() == 1 << 15);
}

TEST_CASE("experts: groups that a rank has, all their rows within bounds, both kinds") {
    KnownTimes bench({.group_sizes = {1, 4, 16}, .most_group_rows = 64});
    const cost::Wanted wanted{cost::Asked::experts, DType::bf16, 64, 32, 100, 10};
    const auto experts = measured(bench, wanted).gemms.at(0).experts;
    REQUIRE(experts.size() == 4);
    CHECK(experts[0].num_experts == 1);
    CHECK(experts[0].by_rows.sizes == std::vector<double>{1, 4, 16, 64, 100});
    CHECK(experts[1].num_experts == 4);
    CHECK(experts[1].by_rows.sizes == std::vector<double>{1, 4, 16});
    CHECK(experts[3].kind == GemmKind::dense);
    CHECK(experts[3].by_rows.seconds[2] == Approx(2 * experts[1].by_rows.seconds[2]));
    CHECK(!experts[1].with_swiglu);
    bench.different = false;
    const auto alike = measured(bench, wanted).gemms.at(0).experts;
    REQUIRE(alike.size() == 4);
    CHECK(alike[3].kind == GemmKind::dense);
    CHECK(alike[3].by_rows == alike[1].by_rows);
    bench.different = true;
    const auto gate_up =
        measured(bench, {cost::Asked::experts, DType::bf16, 64, 32, 100, 10, true}).gemms.at(0).experts;
    REQUIRE(gate_up.size() == 4);
    CHECK(gate_up[1].with_swiglu);
    CHECK(!gate_up[3].with_swiglu);
}

TEST_CASE("memory-bound ops by the bytes they move, index ops by those they go through") {
    KnownTimes bench({.group_sizes = {1}});
    const auto place = [](std::string_view op) {
        return static_cast<std::int64_t>(std::ranges::find(plan::kOpNames, op) - std::begin(plan::kOpNames));
    };
    const auto sums = measured(bench, {cost::Asked::compute_op, DType::bf16, place("add"), 10, 6000});
    CHECK(sums.compute_ops.at("add").sizes == std::vector<double>{60, 480, 3840, 6000});
    CHECK(sums.compute_ops.at("add").seconds[1] == Approx(8e-8));

    // On an exchange lane rows come from two ranks: each token's slots, of which half arrive at one of two.
    const auto maps = measured(bench, {cost::Asked::exchange_op, DType::bf16, place("map_rows"), 1, 2000});
    const cost::TimeTable& table = maps.exchange_ops.at("map_rows");
    REQUIRE(table.sizes.size() == 5);
    CHECK(table.sizes[1] == 4 * 4 * (1 + 2 * 2));
    const auto at_four = static_cast<double>(bench.arrived.at(4));
    CHECK(at_four >= 1);
    CHECK(table.seconds[1] == Approx(1e-6 * 4 / at_four));
}

}  // namespace
