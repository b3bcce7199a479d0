// The report as people read it in a terminal: one line a case, columns only for parameters that vary.
#pragma once

#include "report/report.hpp"

#include <string>

namespace eps::report {

/// ASCII, lines end in newlines, no trailing blanks. Reasons, flags and notes follow below the table.
std::string to_table(const Report& report);

}  // namespace eps::report
