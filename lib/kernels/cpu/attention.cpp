// attention: tasks over heads and stretches of rows; what a task does is in attention_head.hpp.
#include "kernels/cpu/attention_head.hpp"
#include "kernels/cpu/ops.hpp"
#include "kernels/cpu/parallel.hpp"
#include "kernels/require.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace eps::kernels::cpu {
namespace {

using Task = AttentionTask;

/// Stretches of about equal work (row i sees i + 1 keys), the longest work first; several a thread, to even
/// out.
std::vector<Task> tasks_of(std::span<const std::int64_t> starts, std::int64_t num_heads, int threads) {
    const auto num_sequences = static_cast<std::int64_t>(starts.size()) - 1;
    const std::int64_t wanted = threads == 1 ? 1 : 4 * threads;
    const std::int64_t num_parts = (wanted + num_sequences * num_heads - 1) / (num_sequences * num_heads);
    std::vector<Task> tasks;
    for (std::size_t s = 0; s + 1 < starts.size(); ++s) {
        const std::int64_t length = starts[s + 1] - starts[s];
        std::int64_t begin = 0;
        for (std::int64_t part = 1; part <= num_parts; ++part) {
            const double share = std::sqrt(static_cast<double>(part) / static_cast<double>(num_parts));
            const auto cut =
                round_up(static_cast<std::int64_t>(share * static_cast<double>(length)), kBlockRows);
            const std::int64_t end = part == num_parts ? length : std::min(cut, length);
            for (std::int64_t head = 0; head < num_heads && begin < end; ++head) {
                tasks.push_back({starts[s], head, {begin, end}});
            }
            begin = std::max(begin, end);
        }
    }
    const auto pairs_seen = [](const Task& t) {
        return t.rows.end * t.rows.end - t.rows.begin * t.rows.begin;
    };
    std::stable_sort(tasks.begin(), tasks.end(),
                     [&](const Task& a, const Task& b) { return pairs_seen(a) > pairs_seen(b); });
    return tasks;
}

template <typename In, typename T>
void run_tasks(const AttentionOperands& operands, const std::vector<Task>& tasks, int team) {
    for_tasks(static_cast<std::int64_t>(tasks.size()), team, [&](std::int64_t i) {
        thread_local AttentionRoom room;
        HeadAttention<In, T>(operands, tasks[static_cast<std::size_t>(i)], room).run();
    });
}

}  // namespace

void attention(Rows q, Rows kv, Rows k_rope, std::span<const std::int64_t> starts, const AttentionArgs& args,
               Rows out, int threads) {
    const AttentionOperands operands{q, kv, k_rope, out, args};
    require(q.num_cols == args.num_heads * operands.q_width() &&
                kv.num_cols == args.num_heads * operands.kv_width(),
            "attention", "q [T, heads*(nope+rope)], kv [T, heads*(nope+v)]", q, kv);
    require(k_rope.num_cols == args.rope_dim && out.num_cols == args.num_heads * args.v_dim, "attention",
            "k_rope [T, rope], out [T, heads*v]", k_rope, out);
    require(same_dtype(q, kv) && same_dtype(q, k_rope) && same_dtype(q, out), "attention", "one dtype", q,
            out);
    require(args.scale > 0, "attention", "scale > 0", q, out);
    if (starts.size() < 2 || args.num_heads == 0) return;
    require(starts.front() >= 0 && starts.back() <= out.num_rows, "attention", "sequences within the rows", q,
            out);

    const std::vector<Task> tasks = tasks_of(starts, args.num_heads, threads);
    std::int64_t work = 0;  // multiply-adds
    for (const Task& t : tasks) work += t.rows.size() * t.rows.end * (operands.q_width() + args.v_dim);
    constexpr std::int64_t kWorkWorthAThread = 1 << 20;
    const int team = team_size(threads, static_cast<std::int64_t>(tasks.size()), work, kWorkWorthAThread);
    if (q.dtype == DType::f32)
        run_tasks<float, float>(operands, tasks, team);
    else if (has_bf16_tiles())
        run_tasks<Bf16, Bf16>(operands, tasks, team);
    else
        run_tasks<Bf16, float>(operands, tasks, team);
}

}  // namespace eps::kernels::cpu
