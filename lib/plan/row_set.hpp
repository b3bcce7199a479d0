// A set of rows, as disjoint ranges.
#pragma once

#include "base/range.hpp"

#include <algorithm>
#include <vector>

namespace eps::plan {

class RowSet {
  public:
    void add(Range rows) {
        if (rows.empty()) return;
        const auto touches = [&](Range r) { return r.begin <= rows.end && rows.begin <= r.end; };
        for (const Range r : ranges_)
            if (touches(r)) rows = {std::min(rows.begin, r.begin), std::max(rows.end, r.end)};
        std::erase_if(ranges_, touches);
        ranges_.push_back(rows);
    }

    bool holds(Range rows) const {
        return rows.empty() || std::any_of(ranges_.begin(), ranges_.end(), [&](Range r) {
                   return r.begin <= rows.begin && rows.end <= r.end;
               });
    }

    bool empty() const { return ranges_.empty(); }

  private:
    std::vector<Range> ranges_;  // no two of them touch
};

}  // namespace eps::plan
