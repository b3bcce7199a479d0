// The pipeline's recurrence, reckoned by hand.
#include "cost/pipeline.hpp"
#include "tests/catch.hpp"

using namespace eps::cost;

namespace {

SegmentWork even(std::int64_t num_chunks, double exchange, double compute) {
    SegmentWork work;
    work.num_chunks = num_chunks;
    const ExchangeWork each{.packing = 0, .processor = 0, .beside = 0, .wire = exchange};
    work.dispatch.assign(static_cast<std::size_t>(num_chunks), each);
    work.combine.assign(static_cast<std::size_t>(num_chunks), each);
    work.compute.assign(static_cast<std::size_t>(num_chunks), compute);
    return work;
}

}  // namespace

TEST_CASE("one chunk: everything in turn, shared experts under the dispatch") {
    Pipeline pipeline;
    SegmentWork work = even(1, 10, 30);
    CHECK(pipeline.overlapped(work) == 50);
    CHECK(serial_seconds(work) == 50);
    work.before_s = 1;
    work.after_s = 2;
    CHECK(pipeline.overlapped(work) == 53);
    work.covered_s = 4;
    CHECK(pipeline.overlapped(work) == 53);
    work.covered_s = 20;
    CHECK(pipeline.overlapped(work) == 62);
    CHECK(serial_seconds(work) == 72);
}

TEST_CASE("several chunks: the longer of the two hides the other") {
    Pipeline pipeline;
    // D 0-5, F 5-20, F 20-35, C 35-40; the second dispatch and the first way home are hidden.
    CHECK(pipeline.overlapped(even(2, 5, 15)) == 40);
    // D 0-15, D 15-30, F 15-20 and 30-35, C 30-45 and 45-60: the wire never rests.
    CHECK(pipeline.overlapped(even(2, 15, 5)) == 60);
    CHECK(serial_seconds(even(2, 5, 15)) == 50);
}

TEST_CASE("the slowest part holds up what goes home, and only that") {
    Pipeline pipeline;
    SegmentWork work = even(2, 5, 0);
    work.num_parts = 2;
    work.compute = {10, 10, 30, 2};
    // D 0-5, 5-10; part 1: 5-35, 35-37; C 35-40, 40-45
    CHECK(pipeline.overlapped(work) == 45);
}

TEST_CASE("beside computation an exchange takes longer, and computation loses time") {
    Pipeline pipeline;
    SegmentWork work = even(2, 0, 100);
    for (auto* list : {&work.dispatch, &work.combine})
        for (ExchangeWork& e : *list) e = {.packing = 2, .processor = 3, .beside = 6, .wire = 0};
    // D 0-5, D 5-13 beside F 5-105, F -205; C 105-113 beside F; C 205-210
    CHECK(pipeline.overlapped(work) == 210);
    work.slowdown = 2;
    work.loss = 1;
    // D 0-5, D 5-15 beside F, which loses 5: F 5-110, -210; C 110-120 beside F: -215; C 215-220
    CHECK(pipeline.overlapped(work) == 220);
}
