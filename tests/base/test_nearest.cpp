#include "base/nearest.hpp"
#include "tests/catch.hpp"

TEST_CASE("edit distance counts the four ways to mistype") {
    CHECK(eps::edit_distance("", "") == 0);
    CHECK(eps::edit_distance("chunks", "chunks") == 0);
    CHECK(eps::edit_distance("", "abc") == 3);
    CHECK(eps::edit_distance("chunk", "chunks") == 1);
    CHECK(eps::edit_distance("chunks", "chunk") == 1);
    CHECK(eps::edit_distance("chanks", "chunks") == 1);
    CHECK(eps::edit_distance("hcunks", "chunks") == 1);
    CHECK(eps::edit_distance("kitten", "sitting") == 3);
    CHECK(eps::edit_distance("Dtype", "dtype") == 0.5);
}

TEST_CASE("the nearest name, the first of equals") {
    const std::vector<std::string> known{"batch", "sequence_length", "tokens", "routing", "seed"};
    CHECK(eps::nearest("sequence_lenght", known) == "sequence_length");
    CHECK(eps::nearest("token", known) == "tokens");
    CHECK(eps::nearest("SEED", known) == "seed");
    CHECK(eps::nearest("x", {"a", "b"}) == "a");
    CHECK(eps::nearest("x", {}).empty());
}

TEST_CASE("names for a message") {
    CHECK(eps::any_of_names({}).empty());
    CHECK(eps::any_of_names({"f32"}) == "\"f32\"");
    CHECK(eps::any_of_names({"cpu", "cuda", "sim"}) == "\"cpu\", \"cuda\" or \"sim\"");
}
