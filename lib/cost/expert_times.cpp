#include "cost/expert_times.hpp"

#include <algorithm>

namespace eps::cost {

namespace {

template <typename T>
void make_ascending(std::vector<T>& values, T otherwise) {
    if (values.empty()) values.push_back(otherwise);
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

ExpertTimes::ExpertTimes(const OpTimes& times, std::int64_t hidden, std::int64_t width,
                         std::int64_t most_experts) {
    for (const GemmTimes& gemm : times.calibration().find(times.dtype())->gemms)
        for (const ExpertGemmTimes& entry : gemm.experts) {
            group_sizes_.push_back(entry.num_experts);
            grid_.insert(grid_.end(), entry.by_rows.sizes.begin(), entry.by_rows.sizes.end());
        }
    make_ascending<double>(grid_, 1);
    make_ascending<std::int64_t>(group_sizes_, 1);
    const auto enough = std::ranges::lower_bound(group_sizes_, most_experts);
    if (enough != group_sizes_.end()) group_sizes_.erase(enough + 1, group_sizes_.end());
    for (const std::int64_t num_experts : group_sizes_) {
        std::vector<SecondsByKind>& by_rows = seconds_.emplace_back();
        for (const double rows : grid_) {
            const auto of = [&](plan::GemmKind kind) {
                return times.expert_seconds(kind, 2 * width, hidden, num_experts, rows) +
                       times.expert_seconds(kind, hidden, width, num_experts, rows);
            };
            by_rows.push_back({of(plan::GemmKind::group), of(plan::GemmKind::dense)});
        }
    }
    before_.resize(group_sizes_.size());
}

void ExpertTimes::set_rows(std::span<const std::int64_t> rows) {
    rows_.assign(rows.begin(), rows.end());
    places_.clear();
    for (const std::int64_t of_expert : rows)
        places_.push_back(place_of(static_cast<double>(of_expert), grid_));
    for (std::size_t size = 0; size < group_sizes_.size(); ++size) {
        before_[size].resize(rows.size() + 1);
        SecondsByKind sum;
        for (std::size_t e = 0; e < rows.size(); ++e) {
            before_[size][e] = sum;
            sum = sum + seconds_at(places_[e], seconds_[size]);
        }
        before_[size].back() = sum;
    }
}

// `sum(i)`: of all experts, each beside as many as group_sizes_[i] says; `longest`: of the one with the most
// rows.
template <typename Sum>
SecondsByKind ExpertTimes::of_chunk(std::int64_t num_busy, Place longest, Sum&& sum) const {
    if (num_busy == 0) return {};
    // Between the measured numbers of experts by a straight line.
    std::size_t above = 0;
    while (above < group_sizes_.size() && group_sizes_[above] < num_busy) ++above;
    SecondsByKind seconds;
    if (above == group_sizes_.size()) {
        seconds = sum(above - 1);
    } else if (above == 0 || group_sizes_[above] == num_busy) {
        seconds = sum(above);
    } else {
        const std::int64_t few = group_sizes_[above - 1], many = group_sizes_[above];
        const double place = static_cast<double>(num_busy - few) / static_cast<double>(many - few);
        const SecondsByKind by_few = sum(above - 1);
        seconds = by_few + place * (sum(above) - by_few);
    }
    // Whatever the kind, as long as its longest expert alone.
    const SecondsByKind alone = seconds_at(longest, seconds_.front());
    return {std::max(seconds.group, alone.group), std::max(seconds.dense, alone.dense)};
}

SecondsByKind ExpertTimes::seconds(Range experts) const {
    const std::size_t begin = at(experts.begin), end = at(experts.end);
    std::int64_t num_busy = 0;
    std::size_t longest = begin;
    for (std::size_t e = begin; e < end; ++e) {
        num_busy += rows_[e] > 0 ? 1 : 0;
        if (rows_[e] > rows_[longest]) longest = e;
    }
    return of_chunk(num_busy, num_busy > 0 ? places_[longest] : Place{},
                    [&](std::size_t size) { return before_[size][end] - before_[size][begin]; });
}

SecondsByKind ExpertTimes::seconds(std::span<const std::int64_t> offsets) const {
    std::int64_t num_busy = 0, most = 0;
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
        num_busy += offsets[i + 1] > offsets[i] ? 1 : 0;
        most = std::max(most, offsets[i + 1] - offsets[i]);
    }
    const auto place = [&](std::int64_t rows) { return place_of(static_cast<double>(rows), grid_); };
    return of_chunk(num_busy, place(most), [&](std::size_t size) {
        SecondsByKind sum;
        for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
            sum = sum + seconds_at(place(offsets[i + 1] - offsets[i]), seconds_[size]);
        return sum;
    });
}

}  // namespace eps::cost
