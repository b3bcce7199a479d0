#include "cost/expert_times.hpp"

#include <algorithm>

namespace eps::cost {

namespace {

constexpr std::array kKinds{plan::GemmKind::group, plan::GemmKind::dense};

std::size_t index_of(plan::GemmKind kind) {
    return kind == plan::GemmKind::group ? 0 : 1;
}

template <typename T>
void make_ascending(std::vector<T>& values, T otherwise) {
    if (values.empty()) values.push_back(otherwise);
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

ExpertTimes::ExpertTimes(const OpTimes& times, std::int64_t hidden, std::int64_t width) {
    std::vector<std::int64_t> group_sizes;
    for (const GemmTimes& gemm : times.calibration().find(times.dtype())->gemms)
        for (const ExpertGemmTimes& entry : gemm.experts) {
            group_sizes.push_back(entry.num_experts);
            grid_.insert(grid_.end(), entry.by_rows.sizes.begin(), entry.by_rows.sizes.end());
        }
    make_ascending<double>(grid_, 1);
    make_ascending<std::int64_t>(group_sizes, 1);
    for (const plan::GemmKind kind : kKinds)
        for (const std::int64_t num_experts : group_sizes) {
            Beside& beside = kinds_[index_of(kind)].emplace_back();
            beside.num_experts = num_experts;
            for (const double rows : grid_)
                beside.seconds.push_back(times.expert_seconds(kind, 2 * width, hidden, num_experts, rows) +
                                         times.expert_seconds(kind, hidden, width, num_experts, rows));
        }
}

ExpertTimes::Place ExpertTimes::place_of(std::int64_t num_rows) const {
    if (num_rows <= 0) return {};
    const auto rows = static_cast<double>(num_rows);
    if (rows >= grid_.back()) return {grid_.size(), rows / grid_.back()};
    if (rows <= grid_.front()) return {0, 1};
    const auto above =
        static_cast<std::size_t>(std::upper_bound(grid_.begin(), grid_.end(), rows) - grid_.begin());
    return {above, (rows - grid_[above - 1]) / (grid_[above] - grid_[above - 1])};
}

double ExpertTimes::one(const Beside& beside, Place place) const {
    if (place.above == 0) return beside.seconds.front() * place.share;
    if (place.above == grid_.size()) return beside.seconds.back() * place.share;
    const double below = beside.seconds[place.above - 1];
    return below + place.share * (beside.seconds[place.above] - below);
}

void ExpertTimes::set_rows(std::span<const std::int64_t> rows) {
    rows_.assign(rows.begin(), rows.end());
    busy_before_.assign(1, 0);
    places_.clear();
    for (const std::int64_t of_expert : rows) {
        busy_before_.push_back(busy_before_.back() + (of_expert > 0 ? 1 : 0));
        places_.push_back(place_of(of_expert));
    }
    for (auto& kind : kinds_)
        for (Beside& beside : kind) {
            beside.before.assign(1, 0);
            for (const Place place : places_)
                beside.before.push_back(beside.before.back() + one(beside, place));
        }
}

double ExpertTimes::seconds(plan::GemmKind kind, Range experts) const {
    const std::size_t begin = at(experts.begin), end = at(experts.end);
    const std::int64_t num_busy = busy_before_[end] - busy_before_[begin];
    if (num_busy == 0) return 0;
    const std::vector<Beside>& all = kinds_[index_of(kind)];
    const auto sum = [&](const Beside& beside) { return beside.before[end] - beside.before[begin]; };
    // Between the measured numbers of experts by a straight line.
    std::size_t above = 0;
    while (above < all.size() && all[above].num_experts < num_busy) ++above;
    double seconds = 0;
    if (above == all.size()) {
        seconds = sum(all.back());
    } else if (above == 0 || all[above].num_experts == num_busy) {
        seconds = sum(all[above]);
    } else {
        const Beside &few = all[above - 1], &many = all[above];
        const double place = static_cast<double>(num_busy - few.num_experts) /
                             static_cast<double>(many.num_experts - few.num_experts);
        seconds = sum(few) + place * (sum(many) - sum(few));
    }
    // Whatever the kind, as long as its longest expert alone.
    const std::int64_t most = *std::max_element(rows_.begin() + experts.begin, rows_.begin() + experts.end);
    return std::max(seconds, one(all.front(), place_of(most)));
}

}  // namespace eps::cost
