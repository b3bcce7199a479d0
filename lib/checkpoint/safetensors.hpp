// Reads safetensors files: 8 bytes of header length, a JSON header, raw little-endian data. Everything the
// header claims is checked against the file before any of it is used.
#pragma once

#include "checkpoint/mapped_file.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace eps::checkpoint {

struct StoredTensor {
    std::string name;
    std::string dtype;  // as the format spells it: "BF16", "F32", "I64", "F8_E4M3", ...
    std::vector<std::int64_t> shape;
    std::int64_t offset = 0;  // of the first byte in the file; not aligned to anything
    std::int64_t bytes = 0;

    std::int64_t num_values() const;
};

/// Throws Error(data) "where: message".
[[noreturn]] void refuse(const std::string& where, const std::string& message);

/// "[102400, 5120]"
std::string shape_text(const std::vector<std::int64_t>& shape);

class Safetensors {
  public:
    /// Throws Error(data) naming file and tensor: file missing, truncated or with bytes that belong to no
    /// tensor; header longer than the file or not JSON; duplicate names; unknown dtype; shapes that are
    /// negative, fractional or too large, or do not fit the bytes; offsets outside of the file, overlapping
    /// or leaving a gap.
    explicit Safetensors(const std::string& path);

    const std::string& path() const { return path_; }
    /// In the order of their data.
    const std::vector<StoredTensor>& tensors() const { return tensors_; }
    /// nullptr when there is none of that name.
    const StoredTensor* find(const std::string& name) const;

    const std::byte* data(const StoredTensor& tensor) const { return file_.data() + tensor.offset; }
    void will_need(std::int64_t offset, std::int64_t bytes) const { file_.will_need(offset, bytes); }

    /// All values of an I64 or I32 tensor. Throws Error(data) when it is missing or of another dtype.
    std::vector<std::int64_t> integers(const std::string& name) const;
    /// All values of an F32, F16 or BF16 tensor, likewise.
    std::vector<float> floats(const std::string& name) const;

  private:
    const StoredTensor& require(const std::string& name) const;

    std::string path_;
    MappedFile file_;
    std::vector<StoredTensor> tensors_;
    std::unordered_map<std::string, std::size_t> index_of_name_;
};

}  // namespace eps::checkpoint
