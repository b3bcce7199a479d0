// Finds the folders that travel with the program (configs/models, configs/calibrations), wherever it is
// started from.
#pragma once

#include <string>
#include <vector>

namespace eps {

/// The path of `folder` ("configs/models"): the first of FOLDER and share/eps-bench/FOLDER in the
/// executable's folder, its parent, and so on to the root; else the one in the source tree that the program
/// was built from; "" when there is none.
std::string find_shipped(const std::string& folder);

/// Sorted names, without .json, of the JSON files of a shipped folder.
std::vector<std::string> shipped_names(const std::string& folder);

}  // namespace eps
