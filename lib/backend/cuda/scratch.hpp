// What ops of a group of cases need beside their buffers: tables that never change and scratch memory of
// kernels and libraries. Part of the executor's one allocation.
#pragma once

#include "backend/backend.hpp"
#include "backend/cuda/lists.hpp"
#include "backend/cuda/memory.hpp"
#include "kernels/cuda/attention.hpp"
#include "kernels/cuda/gemms.hpp"
#include "kernels/cuda/maps.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace eps::backend::cuda {

class Scratch {
  public:
    /// Adds to `layout` what the cases need; attention plans are built here. Nothing is allocated yet.
    Scratch(const Cases& cases, Layout& layout);

    /// Adds the same without attention's scratch, whose size is known only when its plans are built.
    static void take_fixed(const Cases& cases, Layout& layout) { Scratch().take(cases, layout); }

    /// The memory that `layout` became: fills the tables. Cases as before.
    void place(std::byte* memory, const Cases& cases);

    kernels::device::Gemms& gemms() { return *gemms_; }
    kernels::device::Attention& attention() { return *attention_; }
    std::byte* attention_scratch() const { return memory_ + attention_offset_; }
    const float* cos_sin() const { return reinterpret_cast<const float*>(memory_ + cos_sin_offset_); }
    std::int64_t num_pairs() const { return num_pairs_; }
    float* logits() const { return reinterpret_cast<float*>(memory_ + logits_offset_); }
    const std::int32_t* part_begin() const {
        return reinterpret_cast<const std::int32_t*>(memory_ + part_begin_offset_);
    }
    /// How the experts form chunks, on the dispatch lane: written anew for every layer.
    std::int32_t* chunk_bounds() const {
        return reinterpret_cast<std::int32_t*>(memory_ + chunk_bounds_offset_);
    }
    /// Of the compute lane and of the dispatch lane.
    void* compute_maps() const { return memory_ + compute_maps_offset_; }
    void* dispatch_maps() const { return memory_ + dispatch_maps_offset_; }
    Lists& lists() { return *lists_; }

  private:
    Scratch() = default;
    void take(const Cases& cases, Layout& layout);

    std::byte* memory_ = nullptr;
    std::unique_ptr<kernels::device::Gemms> gemms_;
    std::unique_ptr<kernels::device::Attention> attention_;  // null: no case has any
    std::unique_ptr<Lists> lists_;
    std::int64_t num_pairs_ = 0, longest_ = 0, most_experts_ = 0;
    std::int64_t gemms_offset_ = 0, attention_offset_ = 0, cos_sin_offset_ = 0, logits_offset_ = 0,
                 part_begin_offset_ = 0, chunk_bounds_offset_ = 0, compute_maps_offset_ = 0,
                 dispatch_maps_offset_ = 0, lists_offset_ = 0;
};

/// The rows of a block on the device without lists: shape and options.
kernels::device::Block block_of(const schedule::Tables& tables);

/// The most tokens that one rank of the block owns, over all micro-batches: source numbers stay below.
std::int64_t most_owned_tokens(const schedule::Tables& tables);

}  // namespace eps::backend::cuda
