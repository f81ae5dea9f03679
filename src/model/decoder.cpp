#include "luce/model/decoder.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/base/random.h"
#include "luce/data/weights.h"
#include "luce/ops/device.h"
#include "luce/ops/thin_linear.h"

namespace luce {
namespace {

std::string numbered(const std::string& name, size_t block) {
  std::string out = name;
  const auto at = out.find("{}");
  return out.replace(at, 2, std::to_string(block));
}

at::ScalarType scalar_type_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return at::kDouble;
    case DType::f32:
      return at::kFloat;
    case DType::f16:
      return at::kHalf;
    case DType::bf16:
      return at::kBFloat16;
    case DType::i64:
      return at::kLong;
    case DType::i32:
      return at::kInt;
    case DType::i16:
      return at::kShort;
    case DType::i8:
      return at::kChar;
    case DType::u8:
      return at::kByte;
    case DType::boolean:
      return at::kBool;
  }
  throw ArgumentError("[Decoder] unknown dtype of a stored tensor");
}

DType stored_type_of(at::ScalarType type) {
  return type == at::kDouble ? DType::f64 : type == at::kBFloat16 ? DType::bf16 : DType::f32;
}

std::string config_name_of(at::ScalarType type) {
  return type == at::kDouble ? "float64" : type == at::kBFloat16 ? "bfloat16" : "float32";
}

}  // namespace

at::ScalarType dtype_of(const std::string& name, const std::string& where) {
  if (name == "float32") return at::kFloat;
  if (name == "float64") return at::kDouble;
  if (name == "bfloat16") return at::kBFloat16;
  throw UsageError(cat(where, ": dtype must be float32, float64 or bfloat16; got \"", name, "\""));
}

c10::Device device_of(const std::string& name, const std::string& where) {
  if (name != "auto" && name != "cpu" && name != "cuda")
    throw UsageError(cat(where, ": device must be auto, cpu or cuda; got \"", name, "\""));
  if (name == "cpu") return c10::Device(c10::kCPU);
  const std::string missing = why_no_gpu();
  if (missing.empty()) return c10::Device(c10::kCUDA, 0);
  if (name == "cuda") throw ResourceError(cat(where, ": device \"cuda\": ", missing));
  return c10::Device(c10::kCPU);
}

Decoder::Decoder(ModelConfig config, ModelOptions options)
    : config_(std::move(config)),
      options_(options),
      inverse_frequencies_(rope_inverse_frequencies(config_)) {
  if (options_.batch_invariant && (options_.dtype != at::kFloat || !options_.device.is_cpu()))
    throw UsageError(cat("model.batch_invariant needs float32 on the CPU; this model is ",
                         config_name_of(options_.dtype), " on ", options_.device.str()));
  const Architecture& names = architecture_of(config_);
  const int64_t d = config_.hidden_size, f = config_.intermediate_size;
  const int64_t q = config_.num_attention_heads * config_.head_dim;
  const int64_t kv = config_.num_key_value_heads * config_.head_dim;
  embedding_ = declare(names.embedding, {config_.vocab_size, d}, true);
  for (size_t i = 0; i < static_cast<size_t>(config_.num_hidden_layers); ++i) {
    Block b;
    const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
      return declare_linear(numbered(name, i), out, in, bias);
    };
    b.input_norm = declare(numbered(names.input_norm, i), {d}, false);
    b.q = linear(names.q, q, d, config_.attention_bias);
    b.k = linear(names.k, kv, d, config_.attention_bias);
    b.v = linear(names.v, kv, d, config_.attention_bias);
    b.o = linear(names.o, d, q, config_.attention_bias);
    b.post_attention_norm = declare(numbered(names.post_attention_norm, i), {d}, false);
    b.gate = linear(names.gate, f, d, config_.mlp_bias);
    b.up = linear(names.up, f, d, config_.mlp_bias);
    b.down = linear(names.down, d, f, config_.mlp_bias);
    blocks_.push_back(b);
  }
  final_norm_ = declare(names.final_norm, {d}, false);
}

size_t Decoder::declare(const std::string& name, std::vector<int64_t> shape, bool decay) {
  Parameter p;
  p.name = name;
  p.decay = decay;
  // A shape without memory: a config may ask for more than its weights turn out to hold.
  p.work = at::empty(shape, at::TensorOptions().dtype(options_.dtype).device(at::kMeta));
  parameters_.push_back(std::move(p));
  packed_.emplace_back();
  return parameters_.size() - 1;
}

Decoder::Linear Decoder::declare_linear(const std::string& name, int64_t out, int64_t in,
                                        bool bias) {
  Linear linear;
  linear.weight = declare(name, {out, in}, true);
  const std::string suffix = "weight";
  if (bias)
    linear.bias = declare(name.substr(0, name.size() - suffix.size()) + "bias", {out}, false);
  return linear;
}

void Decoder::read_new(const std::filesystem::path& folder, const std::vector<size_t>& optional) {
  const at::NoGradGuard no_grad;
  const Weights weights = Weights::open(folder);
  std::set<std::string> unread;
  for (const auto& name : weights.names()) unread.insert(name);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = parameters_[i];
    const TensorInfo* info = weights.find(p.name);
    if (info == nullptr) {
      if (std::find(optional.begin(), optional.end(), i) != optional.end()) continue;
      throw DataError(cat(folder.string(), ": the weights hold no tensor \"", p.name,
                          "\", which config.json asks for"));
    }
    if (at::IntArrayRef(info->shape) != p.work.sizes())
      throw DataError(cat(folder.string(), ": the tensor \"", p.name, "\" has shape ",
                          at::IntArrayRef(info->shape), "; config.json asks for ", p.work.sizes()));
    const auto stored = scalar_type_of(info->dtype);
    if (!at::isFloatingType(stored))
      throw DataError(cat(folder.string(), ": the tensor \"", p.name, "\" holds ",
                          name_of(info->dtype), " values; floating point is needed"));
    Tensor buffer = at::empty(info->shape, at::TensorOptions().dtype(stored));
    weights.read(p.name, buffer.data_ptr());
    p.work = buffer.to(options_.device, options_.dtype);
    p.master = p.work;
    unread.erase(p.name);
  }
  for (const auto& name : ignored()) unread.erase(name);
  if (!unread.empty())
    log::warn(folder.string(), ": ", unread.size(),
              " tensors of the file are not part of the model, ", "the first is \"",
              *unread.begin(), "\"");
}

void Decoder::read_weights(const std::filesystem::path& folder) {
  const at::NoGradGuard no_grad;
  const Weights weights = Weights::open(folder);
  for (auto& p : parameters_) {
    const TensorInfo* info = weights.find(p.name);
    if (info == nullptr || at::IntArrayRef(info->shape) != p.work.sizes() ||
        !at::isFloatingType(scalar_type_of(info->dtype)))
      throw DataError(cat(folder.string(), ": these are the weights of another model: \"", p.name,
                          "\" is missing or of another shape"));
    Tensor buffer = at::empty(info->shape, at::TensorOptions().dtype(scalar_type_of(info->dtype)));
    weights.read(p.name, buffer.data_ptr());
    p.work.detach().copy_(buffer);
  }
}

void Decoder::draw(size_t first, double deviation, uint64_t seed) {
  const at::NoGradGuard no_grad;
  const Random random(seed, Purpose::init);
  for (size_t i = first; i < parameters_.size(); ++i) {
    auto& p = parameters_[i];
    Tensor values = at::zeros(p.work.sizes(), at::TensorOptions().dtype(at::kDouble));
    if (p.work.dim() == 2) {
      double* out = values.data_ptr<double>();
      for (int64_t j = 0; j < values.numel(); ++j)
        out[j] = deviation * random.normal(i, static_cast<uint64_t>(j), 0);
    } else if (!p.name.ends_with(".bias")) {
      values.fill_(1);
    }
    p.work = values.to(options_.device, options_.dtype);
    p.master = p.work;
  }
}

void Decoder::copy_weights(const Decoder& other) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i].work = other.parameters_[i].work.detach().clone();
    parameters_[i].master = parameters_[i].work;
  }
}

void Decoder::save(const std::filesystem::path& folder) const {
  std::vector<Tensor> alive;  // contiguous CPU copies, until they are written
  std::vector<TensorData> data;
  for (const auto& p : parameters_) {
    alive.push_back(p.work.detach().to(at::kCPU).contiguous());
    const Tensor& t = alive.back();
    data.push_back({p.name, stored_type_of(t.scalar_type()), t.sizes().vec(), t.data_ptr()});
  }
  write_weights(folder, data);
  write_file_atomic(folder / "config.json",
                    config_json(config_name_of(options_.dtype)).dump(2) + "\n");
}

int64_t Decoder::num_parameters() const {
  int64_t count = 0;
  for (const auto& p : parameters_) count += p.work.numel();
  return count;
}

double Decoder::attention_scale() const {
  return 1.0 / std::sqrt(static_cast<double>(config_.head_dim));
}

Tensor Decoder::embed(const Tensor& tokens) const {
  return parameters_[embedding_].work.detach().index_select(0, tokens);
}

Tensor Decoder::apply(const Linear& layer, const Tensor& x) const {
  const Tensor& w = parameters_[layer.weight].work;
  const Tensor bias = layer.bias ? parameters_[*layer.bias].work : Tensor();
  return options_.batch_invariant ? ordered_linear(x, w, bias, packed_[layer.weight])
                                  : linear(x, w, bias);
}

std::vector<Tensor> Decoder::apply(const std::vector<const Linear*>& layers, const Tensor& x,
                                   Products products) const {
  std::vector<Tensor> out;
  if (products == Products::with_graph) {
    for (const Linear* layer : layers) out.push_back(apply(*layer, x));
    return out;
  }
  std::vector<LinearWeights> weights;
  for (const Linear* layer : layers)
    weights.push_back(
        {parameters_[layer->weight].work, layer->bias ? parameters_[*layer->bias].work : Tensor()});
  return thin_linear(x, weights);
}

Normed Decoder::finish(const Block& block, const Tensor& attended, const Tensor& stream,
                       size_t next_norm, Products products) const {
  const auto norm = [&](const Tensor& x, const Tensor& more, size_t weight) {
    return add_rms_norm(x, more, parameters_[weight].work, config_.rms_norm_eps);
  };
  const Normed mid =
      norm(stream, apply({&block.o}, attended, products)[0], block.post_attention_norm);
  const auto ffn = apply({&block.gate, &block.up}, mid.y, products);
  return norm(mid.sum, apply({&block.down}, swiglu(ffn[0], ffn[1]), products)[0], next_norm);
}

Normed Decoder::apply(const Block& block, size_t index, const Normed& in, const RotaryTable& rotary,
                      const Attend& attend, size_t next_norm, Products products) const {
  const int64_t n = in.y.size(0), d = config_.head_dim;
  const auto qkv = apply({&block.q, &block.k, &block.v}, in.y, products);
  const Tensor q = rotate(qkv[0].view({n, -1, d}), rotary);
  const Tensor k = rotate(qkv[1].view({n, -1, d}), rotary);
  const Tensor attended = attend(index, q, k, qkv[2].view({n, -1, d})).view({n, -1});
  return finish(block, attended, in.sum, next_norm, products);
}

size_t Decoder::norm_before(size_t block) const {
  return block < blocks_.size() ? blocks_[block].input_norm : final_norm_;
}

Tensor Decoder::trunk(const Tensor& embedded, const Tensor& positions, const Attend& attend) const {
  return run(embedded, positions, attend, Products::with_graph);
}

Tensor Decoder::run(const Tensor& embedded, const Tensor& positions, const Attend& attend,
                    Products products) const {
  expect_dim(embedded, 2, "trunk", "embedded");
  const auto rotary =
      rotary_table(positions, inverse_frequencies_, statistics_type(options_.dtype));
  Normed x{embedded, rms_norm(embedded, parameters_[norm_before(0)].work, config_.rms_norm_eps)};
  for (size_t i = 0; i < blocks_.size(); ++i)
    x = apply(blocks_[i], i, x, rotary, attend, norm_before(i + 1), products);
  return x.y;
}

Tensor Decoder::trunk_at(const Tensor& rows, const Tensor& embedded, const Tensor& positions,
                         const std::vector<TreeSegment>& segments) const {
  return trunk_at(rows, embedded, positions, attention_over(segments), Products::with_graph);
}

Tensor Decoder::trunk_at(const Tensor& rows, const Tensor& embedded, const Tensor& positions,
                         const Attend& attend, Products products) const {
  const int64_t n = embedded.size(0), d = config_.head_dim;
  if (rows.size(0) == 0 || 10 * rows.size(0) > 9 * n)  // nothing to save
    return run(embedded, positions, attend, products).index_select(0, rows);
  const auto rotary =
      rotary_table(positions, inverse_frequencies_, statistics_type(options_.dtype));
  Normed x{embedded, rms_norm(embedded, parameters_[norm_before(0)].work, config_.rms_norm_eps)};
  const size_t last = blocks_.size() - 1;
  for (size_t i = 0; i < last; ++i)
    x = apply(blocks_[i], i, x, rotary, attend, norm_before(i + 1), products);
  // Keys and values come from every row, all else from these. A row that is asked for twice is run
  // once: its gradient adds up where it is read.
  const auto [unique, inverse, counts] = at::_unique2(rows, true, true, false);
  const Block& block = blocks_[last];
  const auto kv = apply({&block.k, &block.v}, x.y, products);
  const Tensor k = rotate(kv[0].view({n, -1, d}), rotary), v = kv[1].view({n, -1, d});
  const int64_t r = unique.size(0);
  const Tensor q_rows =
      rotate(apply({&block.q}, x.y.index_select(0, unique), products)[0].view({r, -1, d}),
             {rotary.cos.index_select(0, unique), rotary.sin.index_select(0, unique)});
  const Tensor q =
      at::zeros({n, q_rows.size(1), d}, q_rows.options()).index_copy(0, unique, q_rows);
  const Tensor attended = attend(last, q, k, v).view({n, -1}).index_select(0, unique);
  return finish(block, attended, x.sum.index_select(0, unique), final_norm_, products)
      .y.index_select(0, inverse);
}

Attend Decoder::attention_over(const std::vector<TreeSegment>& segments) const {
  return [&, scale = attention_scale()](size_t, const Tensor& q, const Tensor& k, const Tensor& v) {
    return tree_attention(q, k, v, segments, {.scale = scale});
  };
}

Tensor Decoder::trunk(const Tensor& embedded, const Tensor& positions,
                      const std::vector<TreeSegment>& segments) const {
  return trunk(embedded, positions, attention_over(segments));
}

}  // namespace luce
