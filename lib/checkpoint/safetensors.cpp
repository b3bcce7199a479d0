#include "checkpoint/safetensors.hpp"

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/nearest.hpp"
#include "checkpoint/convert.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace eps::checkpoint {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");
constexpr std::int64_t kLengthBytes = 8;
constexpr std::int64_t kLongestHeader = 100'000'000;  // the format's own limit

struct StoredType {
    std::string_view name;
    std::int64_t bits;
};
constexpr StoredType kStoredTypes[] = {
    {"F64", 64},        {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"I64", 64},    {"I32", 32},
    {"I16", 16},        {"I8", 8},      {"U64", 64},    {"U32", 32},    {"U16", 16},    {"U8", 8},
    {"BOOL", 8},        {"C64", 64},    {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4}};

/// A name from a file, fit for a message of one line.
std::string printable(std::string name) {
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '?');
    return name;
}

bool is_count(const json& value) {
    return value.is_number_unsigned() && value.get<std::uint64_t>() <= std::uint64_t{INT64_MAX};
}

/// The JSON header's text, once its length is plausible.
std::string header_text(const MappedFile& file, const std::string& path) {
    if (file.size() < kLengthBytes)
        refuse(path, fmt::format("has {} bytes: too short for a safetensors file (truncated?)", file.size()));
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof(length));
    if (length > static_cast<std::uint64_t>(file.size() - kLengthBytes))
        refuse(path,
               fmt::format(
                   "its header of {} bytes is longer than the file of {} (truncated, or no safetensors file)",
                   length, file.size()));
    if (length > static_cast<std::uint64_t>(kLongestHeader))
        refuse(path, fmt::format("its header of {} bytes is longer than the format allows ({})", length,
                                 kLongestHeader));
    const char* const text = reinterpret_cast<const char*>(file.data() + kLengthBytes);
    return {text, text + length};
}

std::int64_t bits_of(const json& dtype, const std::string& where) {
    for (const StoredType& type : kStoredTypes)
        if (dtype == type.name) return type.bits;
    refuse(where, fmt::format("dtype is {}, which is none of safetensors'", shown(dtype)));
}

std::vector<std::int64_t> shape_of(const json& shape, const std::string& where) {
    if (!shape.is_array() || !std::all_of(shape.begin(), shape.end(), is_count))
        refuse(where, fmt::format("shape is {}, expected a list of integers from 0 up", shown(shape)));
    return shape.get<std::vector<std::int64_t>>();
}

/// Bytes of a tensor of that shape; fails when they could not be in any file.
std::int64_t bytes_of_shape(const std::vector<std::int64_t>& shape, std::int64_t bits,
                            const std::string& where) {
    std::int64_t total_bits = bits;
    const bool is_empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
    for (const std::int64_t size : shape)
        if (!is_empty && __builtin_mul_overflow(total_bits, size, &total_bits))
            refuse(where, fmt::format("shape {} is too large for any file", shape_text(shape)));
    if (is_empty) return 0;
    if (total_bits % 8 != 0)
        refuse(where, fmt::format("shape {} does not fill whole bytes", shape_text(shape)));
    return total_bits / 8;
}

/// `data_start` and `file_size` in bytes of the file; offsets in the header count from `data_start`.
StoredTensor parse_entry(const std::string& name, const json& entry, std::int64_t data_start,
                         std::int64_t file_size, const std::string& where) {
    for (const char* key : {"dtype", "shape", "data_offsets"})
        if (!entry.is_object() || !entry.contains(key))
            refuse(where, fmt::format("has no {} in the header", key));
    const std::int64_t bits = bits_of(entry["dtype"], where);
    StoredTensor tensor{name, entry["dtype"].get<std::string>(), shape_of(entry["shape"], where)};
    tensor.bytes = bytes_of_shape(tensor.shape, bits, where);
    const json& offsets = entry["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !is_count(offsets[0]) || !is_count(offsets[1]))
        refuse(where, fmt::format("data_offsets are {}, expected two integers from 0 up", shown(offsets)));
    const auto begin = offsets[0].get<std::int64_t>(), end = offsets[1].get<std::int64_t>();
    const std::int64_t data_size = file_size - data_start;
    if (begin > end) refuse(where, fmt::format("data_offsets {} run backwards", shown(offsets)));
    if (end > data_size)
        refuse(where, fmt::format("its data end at byte {} but the file holds {} bytes of data (truncated?)",
                                  end, data_size));
    if (end - begin != tensor.bytes)
        refuse(where, fmt::format("data_offsets {} hold {} bytes, expected {} for {} {}", shown(offsets),
                                  end - begin, tensor.bytes, tensor.dtype, shape_text(tensor.shape)));
    tensor.offset = data_start + begin;
    return tensor;
}

/// Data fill the file without overlap and gap. `tensors` are in the order of their data.
void check_layout(const std::vector<StoredTensor>& tensors, std::int64_t data_start, std::int64_t file_size,
                  const std::string& path) {
    std::int64_t end = data_start;
    const StoredTensor* previous = nullptr;
    for (const StoredTensor& tensor : tensors) {
        if (tensor.offset < end && tensor.bytes > 0)
            refuse(path, fmt::format("tensors {} and {} overlap in the file", printable(previous->name),
                                     printable(tensor.name)));
        if (tensor.offset > end)
            refuse(path, fmt::format("{} bytes before tensor {} belong to no tensor", tensor.offset - end,
                                     tensor.name));
        if (tensor.bytes > 0) previous = &tensor;
        end = std::max(end, tensor.offset + tensor.bytes);
    }
    if (end != file_size)
        refuse(path, fmt::format("{} bytes at its end belong to no tensor", file_size - end));
}

void check_metadata(const json& metadata, const std::string& path) {
    const auto is_text = [](const json& value) { return value.is_string(); };
    if (!metadata.is_object() || !std::all_of(metadata.begin(), metadata.end(), is_text))
        refuse(path, fmt::format("__metadata__ is {}, expected an object of texts", shown(metadata)));
}

}  // namespace

std::int64_t StoredTensor::num_values() const {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    return count;
}

void refuse(const std::string& where, const std::string& message) {
    throw Error(Exit::data, where + ": " + message);
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    return fmt::format("[{}]", fmt::join(shape, ", "));
}

Safetensors::Safetensors(const std::string& path) : path_(path), file_(path) {
    const std::string text = header_text(file_, path);
    const json header = parse_json_strict(text, path + ": header", Exit::data);
    if (!header.is_object()) refuse(path, fmt::format("its header is {}, expected an object", shown(header)));
    const std::int64_t data_start = kLengthBytes + static_cast<std::int64_t>(text.size());
    for (const auto& [name, entry] : header.items()) {
        if (name == "__metadata__") {
            check_metadata(entry, path);
        } else {
            tensors_.push_back(
                parse_entry(name, entry, data_start, file_.size(), path + ": tensor " + printable(name)));
        }
    }
    std::sort(tensors_.begin(), tensors_.end(), [](const StoredTensor& a, const StoredTensor& b) {
        return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
    });
    check_layout(tensors_, data_start, file_.size(), path);
    for (std::size_t i = 0; i < tensors_.size(); ++i) index_of_name_.emplace(tensors_[i].name, i);
}

const StoredTensor* Safetensors::find(const std::string& name) const {
    const auto found = index_of_name_.find(name);
    return found == index_of_name_.end() ? nullptr : &tensors_[found->second];
}

const StoredTensor& Safetensors::require(const std::string& name) const {
    const StoredTensor* const tensor = find(name);
    if (tensor != nullptr) return *tensor;
    std::vector<std::string> names;
    for (const StoredTensor& other : tensors_) names.push_back(other.name);
    refuse(path_, fmt::format("has no tensor {}{}", name,
                              names.empty() ? "" : "; nearest: " + nearest(name, names)));
}

std::vector<std::int64_t> Safetensors::integers(const std::string& name) const {
    const StoredTensor& tensor = require(name);
    std::vector<std::int64_t> values(static_cast<std::size_t>(tensor.num_values()));
    const auto bytes = static_cast<std::size_t>(tensor.bytes);
    if (tensor.dtype == "I64") {
        if (bytes > 0) std::memcpy(values.data(), data(tensor), bytes);
    } else if (tensor.dtype == "I32") {
        std::vector<std::int32_t> narrow(values.size());
        if (bytes > 0) std::memcpy(narrow.data(), data(tensor), bytes);
        std::copy(narrow.begin(), narrow.end(), values.begin());
    } else {
        refuse(path_, fmt::format("tensor {} has dtype {}, expected I64 or I32", name, tensor.dtype));
    }
    return values;
}

std::vector<float> Safetensors::floats(const std::string& name) const {
    const StoredTensor& tensor = require(name);
    const auto dtype = float_dtype(tensor.dtype);
    if (!dtype)
        refuse(path_, fmt::format("tensor {} has dtype {}, expected F32, BF16 or F16", name, tensor.dtype));
    std::vector<float> values(static_cast<std::size_t>(tensor.num_values()));
    convert_values(data(tensor), *dtype, reinterpret_cast<std::byte*>(values.data()), DType::f32,
                   tensor.num_values());
    return values;
}

}  // namespace eps::checkpoint
