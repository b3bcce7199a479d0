#include "tests/catch.hpp"
#include "validate/agreement.hpp"

#include <limits>

using namespace eps;
using validate::check_agreement;
using validate::check_same_bits;
using Values = std::vector<float>;
using Ids = std::vector<std::int32_t>;

TEST_CASE("Equal bits pass, any other bit is named") {
    const Values a{1, 2, 3, 4};
    const auto same = check_same_bits("ep", a, a);
    CHECK(same.passed());
    CHECK(same.kind == "agreement");
    CHECK(same.compared == 4);
    CHECK(same.bound == 0);
    CHECK_THAT(same.origin, contains_text("bit for bit with ep"));

    const auto other = check_same_bits("ep", a, Values{1, 2.0000002F, 3.5F, 4});
    CHECK_THAT(other.reason, contains_text("2 of 4 values differ") && contains_text("the first is value 1"));
    CHECK(other.max_error == 0.5);
    CHECK_FALSE(check_same_bits("ep", Values{0.0F}, Values{-0.0F}).passed());
    CHECK_FALSE(check_same_bits("ep", a, Values{1, 2, 3}).passed());
    CHECK_FALSE(check_same_bits("ep", {}, {}).passed());
    const float nan = std::numeric_limits<float>::quiet_NaN();
    CHECK_FALSE(check_same_bits("ep", Values{1}, Values{nan}).passed());
}

TEST_CASE("Agreement is decisive in f32 and reported in bf16") {
    const Values a{1, 2, 3, 4}, near{1, 2, 3, 4.0002F}, far{1, 2, 3, 5};
    CHECK(check_agreement("ep", DType::f32, a, near, 2, {}).passed());
    const auto f32 = check_agreement("ep", DType::f32, a, far, 2, {});
    CHECK_FALSE(f32.passed());
    CHECK(f32.decisive);
    CHECK(f32.max_error == 0.25);
    CHECK(f32.compared == 4);
    CHECK_THAT(f32.origin, contains_text("ep"));
    const auto bf16 = check_agreement("ep", DType::bf16, a, far, 2, {});
    CHECK_FALSE(bf16.passed());
    CHECK_FALSE(bf16.decisive);
    CHECK(bf16.max_error == 0.25);
    CHECK_FALSE(check_agreement("ep", DType::f32, a, Values{1, 2}, 2, {}).passed());
    CHECK_FALSE(check_agreement("ep", DType::f32, {}, {}, 2, {}).passed());
}

TEST_CASE("Rows that went other ways leave the agreement, but half must stay") {
    const Values a{1, 2, 3, 4, 5, 6, 7, 8}, b{1, 2, 9, 9, 5, 6, 7, 8};
    CHECK_FALSE(check_agreement("ep", DType::f32, a, b, 2, {}).passed());
    const auto result = check_agreement("ep", DType::f32, a, b, 2, {false, true, false, false});
    CHECK(result.passed());
    CHECK(result.compared == 6);
    CHECK(result.tokens == 4);
    CHECK(result.tokens_left_out == 1);
    CHECK(check_agreement("ep", DType::f32, a, b, 2, {false, true, true, false}).passed());
    CHECK_THAT(check_agreement("ep", DType::f32, a, b, 2, {true, true, true, false}).reason,
               contains_text("left only 1 of 4"));
    CHECK_FALSE(check_agreement("ep", DType::f32, a, b, 2, {true, true, true, true}).passed());
    CHECK_THROWS_WITH(check_agreement("ep", DType::f32, a, b, 2, {true}), contains_text("4 rows"));
}

TEST_CASE("A flip reaches the later tokens of its sequence") {
    const std::vector<std::int64_t> starts{0, 3, 5};
    const Ids a{0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
    Ids order = a, flip = a;
    std::swap(order[2], order[3]);
    flip[2] = 7;
    using Layers = std::vector<Ids>;
    CHECK(validate::rows_after_flips(starts, 2, Layers{a, a}, Layers{a, order}) ==
          std::vector<bool>(5, false));
    CHECK(validate::rows_after_flips(starts, 2, Layers{a, a}, Layers{a, flip}) ==
          std::vector<bool>{false, true, true, false, false});
    CHECK(validate::rows_after_flips(starts, 2, Layers{}, Layers{}) == std::vector<bool>(5, false));
    CHECK_THROWS(validate::rows_after_flips(starts, 2, Layers{a}, Layers{}));
}
