// Writes a safetensors file tensor after tensor, without ever holding more than what is handed over.
#pragma once

#include "base/dtype.hpp"
#include "base/output_path.hpp"
#include "base/rows.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace eps::checkpoint {

struct TensorToWrite {
    std::string name;
    DType dtype = DType::f32;
    std::vector<std::int64_t> shape;
};

/// The file appears, whole, with commit(); before that nothing is at the path. Values are handed over in the
/// order of the tensors, each tensor's row by row, in pieces of any size that do not reach into the next
/// tensor.
class SafetensorsWriter {
  public:
    /// `what` names the file in messages ("dump"). Throws Error(usage) as OutputFile does, also when the path
    /// is taken and `overwrite` is not set.
    SafetensorsWriter(const std::string& path, const std::string& what, bool overwrite,
                      std::vector<TensorToWrite> tensors);

    /// Values of the current tensor, in its dtype. Throws Error(resource) on a full disk.
    void append(const void* values, std::int64_t bytes);
    /// Rows of the current tensor, converted (f32 and bf16 both ways).
    void append_rows(const Rows& rows);

    /// Throws Error(internal) when values are missing.
    void commit();

  private:
    void skip_finished_tensors();

    OutputFile file_;
    std::vector<TensorToWrite> tensors_;
    std::size_t tensor_idx_ = 0;      // the tensor being written
    std::int64_t bytes_to_come_ = 0;  // of that tensor
};

}  // namespace eps::checkpoint
